//! CTAP2 and U2F as a state machine without I/O.
#![no_std]

mod authenticator;
mod credential;
mod store;
mod time;
mod user;

pub use authenticator::*;
pub use credential::*;
pub use store::*;
pub use time::*;
pub use user::*;
