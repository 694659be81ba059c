//! Credentials that are put into a store by hand.
#![allow(dead_code, reason = "each test file uses some of it")]

use doppelkey_core::{Algorithm, Credential, PrivateKey, User};
use sha2::{Digest as _, Sha256};

/// A discoverable credential for this account; `number` makes its id and its key.
pub(crate) fn credential(rp_id: &str, user_id: &[u8], number: u8) -> Credential {
    Credential {
        id: heapless::Vec::from_slice(&[number; 16]).unwrap(),
        rp_id: rp_id.try_into().unwrap(),
        user: User {
            id: heapless::Vec::from_slice(user_id).unwrap(),
            name: Some("name".try_into().unwrap()),
            display_name: Some("Display Name".try_into().unwrap()),
        },
        ..Credential::new(
            Sha256::digest(rp_id).into(),
            PrivateKey::from_bytes(Algorithm::Es256, &[number; 32]).unwrap(),
        )
    }
}
