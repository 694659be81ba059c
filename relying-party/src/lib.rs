//! A WebAuthn relying party.

pub mod verify;
