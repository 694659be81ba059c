//! What a peer supports: found out by asking for it, not read in its documentation.

use ciborium::Value;
use serde_json::{Map, Value as Json, json};

use crate::Peer;
use crate::cbor::{self, Options, encode, extension_outputs, field, make, text_field};

/// Asks for everything, one after the other. A panic would be an answer, too: the peer's program ends with it.
pub(crate) fn probe(peer: &mut impl Peer, options: &Options) -> Json {
    let mut found = Map::new();
    found.insert("algorithms".into(), algorithms(peer, options).into());
    found.insert("attestation".into(), attestation(peer, options));
    for (name, yes) in extensions(peer, options).into_iter().chain(commands(peer)) {
        found.insert(name.into(), yes.into());
    }
    found.insert("discoverable, two accounts".into(), two_accounts(peer, options).into());
    found.insert("U2F".into(), u2f(peer).into());
    found.into()
}

const ALGORITHMS: [(i64, &str); 9] = [
    (-7, "ES256"),
    (-8, "EdDSA"),
    (-35, "ES384"),
    (-36, "ES512"),
    (-47, "ES256K"),
    (-257, "RS256"),
    (-48, "ML-DSA-44"),
    (-49, "ML-DSA-65"),
    (-50, "ML-DSA-87"),
];

/// The algorithms that it makes a credential with when it may choose no other.
fn algorithms(peer: &mut impl Peer, options: &Options) -> Vec<&'static str> {
    let works =
        |(number, _): &(i64, &str)| peer.ctap2(&make(1, "a.example", *number, vec![], options))[0] == 0;
    ALGORITHMS.into_iter().filter(works).map(|(_, name)| name).collect()
}

/// The attestation format that it makes by itself, and whether that costs a signature.
fn attestation(peer: &mut impl Peer, options: &Options) -> Json {
    let answer = cbor::decode(&peer.ctap2(&make(1, "example.com", -7, vec![], options)));
    let format = field(&answer, 1).and_then(|format| format.into_text().ok());
    let signed = field(&answer, 3).is_some_and(|statement| text_field(&statement, "sig").is_some());
    json!({"format": format, "signed": signed})
}

fn extensions(peer: &mut impl Peer, options: &Options) -> Vec<(&'static str, bool)> {
    let mut with = |name, input| peer.ctap2(&make(2, "example.com", -7, vec![(name, input)], options));
    let yes = Some(Value::Bool(true));
    let protected = with("credProtect", 2.into());
    let secret = with("hmac-secret", true.into());
    let blob = with("credBlob", Value::Bytes(vec![7; 32]));
    let key = with("largeBlobKey", true.into());
    // passkey-rs's own extension of CTAP2, for a client in the same process
    let prf = with("prf", cbor::map(vec![("eval", cbor::map(vec![("first", Value::Bytes(vec![7; 32]))]))]));
    let unsigned = field(&cbor::decode(&prf), 6);
    let unsigned = unsigned.and_then(|outputs| text_field(&outputs, "prf"));
    let unsigned = unsigned.and_then(|prf| text_field(&prf, "enabled")) == yes;
    vec![
        ("credProtect", text_field(&extension_outputs(&protected), "credProtect") == Some(2.into())),
        ("hmac-secret", text_field(&extension_outputs(&secret), "hmac-secret") == yes),
        ("PRF without hmac-secret", unsigned),
        ("credBlob", text_field(&extension_outputs(&blob), "credBlob") == yes),
        ("largeBlobKey", field(&cbor::decode(&key), 5).is_some_and(|key| key.is_bytes())),
    ]
}

/// Whether it knows a command: what it does not know it answers with CTAP1_ERR_INVALID_COMMAND.
fn commands(peer: &mut impl Peer) -> Vec<(&'static str, bool)> {
    let mut status = |command, fields: &[(i64, i64)]| {
        let fields = fields.iter().map(|(key, value)| (*key, Value::from(*value))).collect();
        peer.ctap2(&encode(command, fields))[0]
    };
    vec![
        ("PIN protocol 1", status(0x06, &[(1, 1), (2, 2)]) == 0),
        ("PIN protocol 2", status(0x06, &[(1, 2), (2, 2)]) == 0),
        ("authenticatorLargeBlobs", status(0x0C, &[(1, 17), (3, 0)]) == 0),
        ("authenticatorSelection", status(0x0B, &[]) == 0),
        ("authenticatorCredentialManagement", status(0x0A, &[(1, 1)]) != 0x01),
        ("authenticatorBioEnrollment", status(0x09, &[(1, 1), (2, 1)]) != 0x01),
        ("authenticatorConfig", status(0x0D, &[(1, 2)]) != 0x01),
    ]
}

/// Two accounts of one relying party, found without an allow list, one after the other.
fn two_accounts(peer: &mut impl Peer, options: &Options) -> bool {
    for user in [1, 2] {
        peer.ctap2(&make(user, "two.example", -7, vec![], options));
    }
    let first = cbor::decode(&peer.ctap2(&cbor::get("two.example", None, options)));
    field(&first, 5) == Some(2.into()) && peer.ctap2(&[0x08])[0] == 0
}

/// U2F_VERSION.
fn u2f(peer: &mut impl Peer) -> bool {
    peer.u2f(&[0, 3, 0, 0, 0, 0, 0]).is_some_and(|answer| answer == b"U2F_V2\x90\x00")
}
