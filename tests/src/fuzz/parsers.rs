//! One parser each: any bytes, and nothing but a verdict. Those of the relying party are behind its feature `fuzzing`.

use std::sync::LazyLock;

use doppelkey::vault::exchange::{cxf, json, private_key_from_pkcs8, private_key_to_pkcs8};
use doppelkey_core::Credential;
use doppelkey_relying_party::metadata::{self, Metadata, Providers, Publisher, RevocationLists};
use doppelkey_relying_party::policy::Policy;
use doppelkey_relying_party::verify::parsers;
use doppelkey_sync::simulator::Scenario;
use serde_json::Value;

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

/// What an operator or a user writes: a policy, a persona, a scenario; and what they fetch: metadata and the payload in
/// it, names of providers, lists of revoked certificates. The first byte says which. Whether it was taken.
///
/// # Panics
/// If a policy that is read is not one that can be used.
pub fn policies(story: &[u8]) -> bool {
    const NOW_S: u64 = 1_750_000_000;
    let Some((which, bytes)) = story.split_first() else { return false };
    let text = String::from_utf8_lossy(bytes);
    match which % 7 {
        0 => Policy::from_toml(&text).is_ok_and(|policy| {
            assert_eq!(policy.check(), Ok(()), "a policy that is read is one that can be used");
            true
        }),
        1 => toml::from_str::<doppelkey::persona::Profile>(&text)
            .is_ok_and(|profile| profile.configuration().is_ok()),
        2 => Scenario::parse(&text).is_ok(),
        3 => {
            let publisher = Publisher { root: &ROOT, name: Publisher::FIDO };
            Metadata::read(&text, &publisher, RevocationLists::default(), NOW_S, None).is_ok()
        }
        4 => Providers::default().extend(bytes).is_ok(),
        5 => metadata::parsers::payload(bytes),
        _ => {
            let mut lists = RevocationLists::default();
            let is_taken = lists.add(bytes).is_ok();
            let _ = lists.overdue(NOW_S);
            is_taken
        }
    }
}

/// The root of the attestations that are right.
static ROOT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let suite: Value = serde_json::from_str(include_str!("../../vectors/webauthn-l3-vectors.json"))
        .expect("the file holds the vectors");
    let hex = suite["attestation_root"]["attestation_ca_cert"].as_str().expect("they have a root");
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("it is written in hex");
    (0..hex.len()).step_by(2).map(byte).collect()
});
