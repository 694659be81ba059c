//! Credentials that are put into a store by hand.
#![allow(dead_code, reason = "each test file uses some of it")]

use doppelkey_core::{Algorithm, Credential, CredentialProtection, PrivateKey, User};
use sha2::{Digest as _, Sha256};

/// A discoverable credential for this account; `number` makes its id and its key.
pub(crate) fn credential(rp_id: &str, user_id: &[u8], number: u8) -> Credential {
    Credential {
        id: heapless::Vec::from_slice(&[number; 16]).unwrap(),
        rp_id_hash: Sha256::digest(rp_id).into(),
        rp_id: rp_id.try_into().unwrap(),
        user: User {
            id: heapless::Vec::from_slice(user_id).unwrap(),
            name: Some("name".try_into().unwrap()),
            display_name: Some("Display Name".try_into().unwrap()),
        },
        key: PrivateKey::from_bytes(Algorithm::Es256, &[number; 32]).unwrap(),
        order: 0,
        sign_count: None,
        backup_eligible: false,
        backup_state: false,
        protection: CredentialProtection::Optional,
        cred_random: None,
        large_blob_key: None,
        cred_blob: None,
        third_party_payment: false,
        hidden: false,
    }
}
