//! The Doppelkey authenticator on microcontrollers: what a board adds to `doppelkey-core` and `doppelkey-ctaphid`.
//!
//! The library is the part that no board changes, and it is tested on the host; a board is one file in `src/bin`.
#![no_std]

#[cfg(feature = "boot-rom")]
pub mod boot_rom;
pub mod clock;
pub mod flash_store;
#[cfg(feature = "mps2")]
pub mod mps2;
#[cfg(any(feature = "board-nrf52833-dk", feature = "board-nrf52840-dongle"))]
pub mod nrf52;
pub mod port;
pub mod rng;
pub mod root_key;
#[cfg(feature = "board-pico2")]
pub mod rp2350;
pub mod shelf;
#[cfg(target_os = "none")]
pub mod stack;
pub mod start;
#[cfg(feature = "trussed")]
pub mod trussed;
pub mod worker;
