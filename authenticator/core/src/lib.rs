//! CTAP2 and U2F as a state machine without I/O.
//!
//! # Features
//! * `full`, the default: everything of CTAP 2.3. It consists of `authenticator-config`, `built-in-verification`,
//!   `credential-management`, `further-extensions`, `large-blobs`, `persistent-token` and `u2f`, so that a
//!   microcontroller can leave out what it has no room for; what is left out is not advertised either, whatever a
//!   [`Configuration`] says.
//! * `alloc`: `MemoryStore`, and attestation formats that the host makes.
//! * `precomputed-tables`: faster ES256 and EdDSA, for memory. For computers.
//! * `compact-curves`: P-256 and Ed25519 by the core's own small code, not by the crates `p256` and `ed25519-dalek`.
//! * `es384`, `es512`, `es256k`, `rsa`, `ml-dsa`: further algorithms.
//! * `testing`: a device in a fake world, for the tests of whoever builds on this crate.
//! * `faults`: an authenticator that misbehaves on request. Never in firmware.
#![no_std]
#![cfg_attr(
    not(feature = "full"),
    allow(dead_code, unused_variables, reason = "what only commands that are left out have a use for")
)]

#[cfg(feature = "alloc")]
extern crate alloc;

pub mod aes256;
mod attestation;
mod authenticator;
mod authenticator_data;
mod cbor;
mod configuration;
mod credential;
mod ctap2;
mod extensions;
mod faults;
#[cfg(feature = "built-in-verification")]
mod fingerprint;
mod identity;
mod key;
#[cfg(feature = "alloc")]
mod memory_store;
mod pending;
mod pin;
mod pin_protocol;
mod settings;
mod status;
mod store;
#[cfg(feature = "testing")]
pub mod testing;
mod time;
#[cfg(feature = "u2f")]
mod u2f;
mod user;
mod verification;
mod wrapped;

pub use attestation::Attestation;
#[cfg(feature = "alloc")]
pub use attestation::{AttestationRequest, Attester, CertificateFault, Members, Statement};
pub use authenticator::{Authenticator, Input, MESSAGE_MAX, Message, Output};
pub use configuration::*;
pub use credential::*;
pub use faults::{Fault, Faults};
pub use key::{Algorithm, PRIVATE_KEY_MAX, PUBLIC_KEY_MAX, PrivateKey, SIGNATURE_MAX, Signature};
#[cfg(feature = "alloc")]
pub use memory_store::MemoryStore;
pub use pin::{PinStatus, pin_status, remove_pin};
pub use status::Status;
pub use store::*;
pub use time::*;
pub use user::*;
