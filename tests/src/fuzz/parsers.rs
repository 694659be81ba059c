//! One parser each: any bytes, and nothing but a verdict. Those of the relying party are behind its feature `fuzzing`.

use doppelkey::vault::exchange::{cxf, json, private_key_from_pkcs8, private_key_to_pkcs8};
use doppelkey_core::Credential;
use doppelkey_relying_party::metadata::{Metadata, Providers, Publisher, RevocationLists};
use doppelkey_relying_party::policy::Policy;
use doppelkey_relying_party::verify::parsers;
use doppelkey_sync::simulator::Scenario;

/// Authenticator data, and the key in it.
pub fn authenticator_data(bytes: &[u8]) {
    parsers::authenticator_data(bytes);
}

/// Attestation objects, to the end of the procedure of their format.
pub fn attestation_object(bytes: &[u8]) {
    parsers::attestation_object(bytes);
}

/// Credential public keys.
pub fn cose_key(bytes: &[u8]) {
    parsers::cose_key(bytes);
}

/// Certificates, and chains of them.
pub fn certificate(der: &[u8]) {
    parsers::certificate(der);
}

/// Client data.
pub fn client_data(bytes: &[u8]) {
    parsers::client_data(bytes);
}

/// A credential as a store keeps it.
///
/// # Panics
/// If one that is read is written otherwise.
pub fn credential(bytes: &[u8]) {
    if let Some(credential) = Credential::decode(bytes) {
        let again = credential.encode();
        let read = Credential::decode(&again).expect("what was written can be read");
        assert_eq!(again, read.encode(), "there is one way to write a credential");
    }
}

/// Files of credentials: the first byte says CXF, ours, or a private key in PKCS#8.
///
/// # Panics
/// If what was read cannot be written and read again.
pub fn exchange(story: &[u8]) {
    let Some((which, bytes)) = story.split_first() else { return };
    let text = String::from_utf8_lossy(bytes);
    match which % 3 {
        0 => {
            if let Ok(read) = cxf::read(&text) {
                let again = cxf::write(&read.credentials, 0).expect("what was read can be written");
                let again = cxf::read(&again).expect("what was written can be read");
                assert_eq!(again.credentials.len(), read.credentials.len());
            }
        }
        1 => {
            if let Ok(read) = json::read(&text) {
                let again = json::write(&read).expect("what was read can be written");
                assert_eq!(json::read(&again).expect("what was written can be read").len(), read.len());
            }
        }
        _ => {
            if let Some(key) = private_key_from_pkcs8(bytes) {
                let again = private_key_to_pkcs8(&key).expect("what was read can be written");
                let read = private_key_from_pkcs8(&again).expect("what was written can be read");
                assert_eq!(read.as_bytes(), key.as_bytes());
            }
        }
    }
}

/// What an operator or a user writes: a policy, a persona, a scenario; and what they fetch: metadata, names of
/// providers. The first byte says which.
pub fn policies(story: &[u8]) {
    let Some((which, bytes)) = story.split_first() else { return };
    let text = String::from_utf8_lossy(bytes);
    match which % 5 {
        0 => {
            if let Ok(policy) = Policy::from_toml(&text) {
                assert_eq!(policy.check(), Ok(()), "a policy that is read is one that can be used");
            }
        }
        1 => {
            if let Ok(profile) = toml::from_str::<doppelkey::persona::Profile>(&text) {
                let _ = profile.configuration();
            }
        }
        2 => {
            let _ = Scenario::parse(&text);
        }
        3 => {
            let _ = RevocationLists::default().add(bytes);
            let publisher = Publisher { root: bytes, name: Publisher::FIDO };
            let _ = Metadata::read(&text, &publisher, RevocationLists::default(), 1_750_000_000, None);
        }
        _ => {
            let _ = Providers::default().extend(bytes);
        }
    }
}
