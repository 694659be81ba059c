//! CTAP2 and U2F as a state machine without I/O.
#![no_std]

mod authenticator;
mod cbor;
mod credential;
mod key;
mod pin;
mod pin_protocol;
mod status;
mod store;
#[cfg(feature = "testing")]
pub mod testing;
mod time;
mod user;

pub use authenticator::*;
pub use credential::*;
pub use key::{Algorithm, PRIVATE_KEY_MAX, PrivateKey};
pub use status::Status;
pub use store::*;
pub use time::*;
pub use user::*;
