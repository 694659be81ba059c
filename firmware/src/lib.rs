//! The Doppelkey authenticator on microcontrollers: what a board adds to `doppelkey-core` and `doppelkey-ctaphid`.
//!
//! The library is the part that no board changes, and it is tested on the host; a board is one file in `src/bin`.
#![no_std]

#[cfg(feature = "boot-rom")]
pub mod boot_rom;
pub mod flash_store;
#[cfg(feature = "mps2")]
pub mod mps2;
pub mod port;
pub mod records;
pub mod rng;
pub mod root_key;
#[cfg(feature = "board-pico2")]
pub mod rp2350;
#[cfg(target_os = "none")]
pub mod stack;
pub mod start;
#[cfg(feature = "trussed")]
pub mod trussed;
pub mod worker;
