//! What a computer adds to the authenticator core: doors, a vault, control, a platform client.
//!
//! The program `doppelkey` is a thin composition of these modules; Rust tests may use them directly.

pub mod bridge;
mod cbor;
pub mod cli;
pub mod client;
pub mod clock;
pub mod control;
mod data_directory;
pub mod device;
pub mod hidraw;
pub mod hybrid;
pub mod key_mailbox;
mod large_blobs;
mod listener;
pub mod packets;
pub mod persona;
mod private_file;
pub mod replicate;
mod stack;
mod text;
mod token;
pub mod uhid;
pub mod usbip;
pub mod user_interface;
pub mod vault;
