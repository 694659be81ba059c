//! Mutants of §7.1, but for the attestation statement.

use ciborium::Value as Cbor;
use serde_json::{Value, json};

use super::super::response::to_base64url;
use super::workshop::{
    AT, BE, BS, ED, Registration, UP, UV, cbor, credential_key, es256, label_map, text_map, unhex,
};
use super::{Mutant, client_data, right, wrong};

pub(super) fn mutants() -> Vec<Mutant> {
    let mut all = vec![right("plain", Registration::new().case())];
    all.extend(envelopes());
    all.extend(client_datas());
    all.extend(attestation_objects());
    all.extend(authenticator_datas());
    all.extend(flags());
    all.extend(keys());
    all.extend(credential_ids());
    all
}

/// One change of a registration before it is put together.
fn changed(change: impl FnOnce(&mut Registration)) -> Value {
    let mut registration = Registration::new();
    change(&mut registration);
    registration.case()
}

/// One change of the finished case.
fn edited(change: impl FnOnce(&mut Value)) -> Value {
    let mut case = Registration::new().case();
    change(&mut case);
    case
}

fn envelopes() -> Vec<Mutant> {
    let response = |member: &str, value: Value| edited(|case| case["credential"]["response"][member] = value);
    let credential = |member: &str, value: Value| edited(|case| case["credential"][member] = value);
    let id = to_base64url(&[0xa5; 32]);
    vec![
        right("envelope-unknown-members", credential("extra", json!([1]))),
        right("envelope-without-attachment", credential("authenticatorAttachment", Value::Null)),
        right("envelope-convenience-members", response("publicKeyAlgorithm", json!(-7))),
        right(
            "client-extension-unasked",
            credential("clientExtensionResults", json!({ "prf": { "enabled": true } })),
        ),
        wrong("envelope-null", 3, edited(|case| case["credential"] = Value::Null)),
        wrong("envelope-type", 3, credential("type", json!("password"))),
        wrong("envelope-type-missing", 3, credential("type", Value::Null)),
        wrong("envelope-id-other", 3, credential("id", json!(to_base64url(&[0xa4; 32])))),
        wrong(
            "envelope-raw-id-padded",
            3,
            edited(|case| {
                case["credential"]["id"] = format!("{id}=").into();
                case["credential"]["rawId"] = format!("{id}=").into();
            }),
        ),
        wrong("envelope-raw-id-missing", 3, credential("rawId", Value::Null)),
        wrong("envelope-response-missing", 3, credential("response", Value::Null)),
        wrong("envelope-client-data-missing", 3, response("clientDataJSON", Value::Null)),
        wrong("envelope-client-data-array", 3, response("clientDataJSON", json!([1, 2]))),
        wrong("envelope-object-missing", 3, response("attestationObject", Value::Null)),
        wrong("envelope-object-not-base64url", 3, response("attestationObject", json!("o2Nm+bXRk"))),
        wrong("envelope-of-an-assertion", 3, response("signature", json!("AAAA"))),
    ]
}

fn client_datas() -> Vec<Mutant> {
    let mut all = vec![wrong("type-get", 7, changed(|it| it.client_data.kind = "webauthn.get".into()))];
    for (name, step, change, policy) in client_data::changes() {
        let case = changed(|it| {
            change(&mut it.client_data);
            it.policy.as_object_mut().unwrap().extend(policy.as_object().unwrap().clone());
        });
        all.push(Mutant { name: name.into(), step, case });
    }
    all
}

fn attestation_objects() -> Vec<Mutant> {
    let object = |bytes: Vec<u8>| changed(|it| it.attestation_object = Some(bytes));
    let plain = Registration::new();
    let (whole, auth_data) = (plain.attestation_object(), plain.auth_data());
    let (fmt, statement) = (Cbor::from("none"), Cbor::Map(vec![]));
    let members = |members: &[(&str, Cbor)]| {
        cbor(&Cbor::Map(members.iter().map(|(name, value)| ((*name).into(), value.clone())).collect()))
    };
    let data = Cbor::from(auth_data.clone());
    vec![
        right(
            "object-other-order",
            object(members(&[
                ("authData", data.clone()),
                ("fmt", fmt.clone()),
                ("attStmt", statement.clone()),
            ])),
        ),
        wrong("object-trailing", 13, object([&whole[..], b"\x00"].concat())),
        wrong("object-truncated", 13, object(whole[..whole.len() - 1].to_vec())),
        wrong("object-empty", 13, object(vec![])),
        wrong("object-array", 13, object(cbor(&Cbor::Array(vec![])))),
        wrong(
            "object-without-fmt",
            13,
            object(members(&[("attStmt", statement.clone()), ("authData", data.clone())])),
        ),
        wrong(
            "object-without-statement",
            13,
            object(members(&[("fmt", fmt.clone()), ("authData", data.clone())])),
        ),
        wrong(
            "object-without-data",
            13,
            object(members(&[("fmt", fmt.clone()), ("attStmt", statement.clone())])),
        ),
        wrong(
            "object-fmt-number",
            13,
            object(members(&[("fmt", 0.into()), ("attStmt", statement.clone()), ("authData", data.clone())])),
        ),
        wrong(
            "object-data-text",
            13,
            object(members(&[
                ("fmt", fmt.clone()),
                ("attStmt", statement.clone()),
                ("authData", "text".into()),
            ])),
        ),
        wrong(
            "object-duplicate-fmt",
            13,
            object(members(&[
                ("fmt", fmt.clone()),
                ("fmt", fmt.clone()),
                ("attStmt", statement.clone()),
                ("authData", data.clone()),
            ])),
        ),
        wrong("object-indefinite", 13, object([b"\xbf", &whole[1..], b"\xff"].concat())),
        wrong("object-long-length", 13, object([b"\xb8\x03", &whole[1..]].concat())),
        wrong("object-tagged", 13, object([b"\xd9\xd9\xf7", &whole[..]].concat())),
        wrong("object-nested-too-deeply", 13, object([&[0x81; 5000][..], b"\x00"].concat())),
        wrong("object-huge-length", 13, object(b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff".to_vec())),
    ]
}

fn authenticator_datas() -> Vec<Mutant> {
    let plain = Registration::new().auth_data();
    let data = |bytes: Vec<u8>| changed(|it| it.auth_data = Some(bytes));
    let outputs = cbor(&text_map([("credProtect", 2.into())]));
    let bare = |flags| [&plain[..32], &[flags, 0, 0, 0, 0]].concat();
    vec![
        right(
            "extension-unasked",
            changed(|it| {
                it.flags |= ED;
                it.extensions = outputs.clone();
            }),
        ),
        wrong("data-empty", 13, data(vec![])),
        wrong("data-too-short", 13, data(plain[..36].to_vec())),
        wrong("data-without-credential", 13, data(bare(UP | UV))),
        wrong("data-promises-a-credential", 13, data(bare(UP | UV | AT))),
        wrong("data-credential-unannounced", 13, changed(|it| it.flags &= !AT)),
        wrong("data-trailing", 13, changed(|it| it.tail = vec![0])),
        wrong("data-truncated", 13, data(plain[..plain.len() - 1].to_vec())),
        wrong("data-id-length-beyond", 13, changed(|it| it.id_length = Some(u16::MAX))),
        wrong("data-id-length-short", 13, changed(|it| it.id_length = Some(31))),
        wrong("data-promises-extensions", 13, changed(|it| it.flags |= ED)),
        wrong("data-extensions-unannounced", 13, changed(|it| it.extensions = outputs.clone())),
        wrong(
            "data-extensions-array",
            13,
            changed(|it| {
                it.flags |= ED;
                it.extensions = cbor(&Cbor::Array(vec![]));
            }),
        ),
        wrong(
            "data-extensions-duplicate",
            13,
            changed(|it| {
                it.flags |= ED;
                it.extensions = b"\xa2\x61a\x01\x61a\x02".to_vec();
            }),
        ),
        wrong(
            "data-extensions-trailing",
            13,
            changed(|it| {
                it.flags |= ED;
                it.extensions = [&outputs[..], b"\xa0"].concat();
            }),
        ),
        wrong("data-key-number", 13, changed(|it| it.key = vec![0x01])),
        wrong(
            "data-key-duplicate-label",
            13,
            changed(|it| {
                it.key = [b"\xa6\x01\x02", &it.key[1..]].concat();
            }),
        ),
        wrong("rp-id-other", 14, changed(|it| it.rp_id = "example.com".into())),
        wrong("rp-id-parent", 14, changed(|it| it.rp_id = "org".into())),
        wrong("rp-id-child", 14, changed(|it| it.rp_id = "www.example.org".into())),
        wrong("rp-id-origin", 14, changed(|it| it.rp_id = "https://example.org".into())),
        wrong("rp-id-case", 14, changed(|it| it.rp_id = "Example.org".into())),
        wrong("rp-id-empty", 14, changed(|it| it.rp_id.clear())),
    ]
}

fn flags() -> Vec<Mutant> {
    let policy = |member: &str, value: &str, flags: u8| {
        changed(|it| {
            it.flags = flags | AT;
            it.policy[member] = value.into();
        })
    };
    vec![
        right("flags-device-bound", changed(|it| it.flags = UP | UV | AT)),
        right("flags-eligible-only", changed(|it| it.flags = UP | UV | BE | AT)),
        right("flags-reserved", changed(|it| it.flags |= 0x22)),
        right("flags-unverified", changed(|it| it.flags = UP | AT)),
        right("flags-verified-as-required", policy("user_verification", "required", UP | UV)),
        right("flags-absent-in-conditional-create", policy("mediation", "conditional", UV)),
        wrong("flags-absent", 15, changed(|it| it.flags = UV | AT)),
        wrong("flags-absent-and-optional", 15, policy("mediation", "optional", UV)),
        wrong("flags-unverified-but-required", 16, policy("user_verification", "required", UP)),
        wrong("flags-backed-up-but-not-eligible", 17, changed(|it| it.flags = UP | UV | BS | AT)),
    ]
}

fn keys() -> Vec<Mutant> {
    let Cbor::Map(plain) = es256(&credential_key()) else { panic!("a COSE key is a map") };
    let key = |value: Cbor| changed(|it| it.key = cbor(&value));
    let with = |label: i64, value: Cbor| {
        let replaced = plain.iter().filter(|(name, _)| *name != Cbor::from(label)).cloned();
        key(Cbor::Map(replaced.chain([(label.into(), value)]).collect()))
    };
    let without = |label: i64| {
        key(Cbor::Map(plain.iter().filter(|(name, _)| *name != Cbor::from(label)).cloned().collect()))
    };
    let okp = |alg: i64, crv: i64, x: Vec<u8>| {
        label_map([(1, 1.into()), (3, alg.into()), (-1, crv.into()), (-2, x.into())])
    };
    let rsa = |modulus: Vec<u8>, exponent: Vec<u8>| {
        label_map([(1, 3.into()), (3, (-257).into()), (-1, modulus.into()), (-2, exponent.into())])
    };
    let big = |bytes: usize| [vec![0xc1; bytes - 1], vec![0x01]].concat();
    let f4 = vec![1, 0, 1];
    // RFC 8032, test 1 of Ed25519
    let ed25519 = unhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
    vec![
        right("key-rsa-2048", key(rsa(big(256), f4.clone()))),
        right("key-rsa-exponent-3", key(rsa(big(256), vec![3]))),
        right("key-ed25519", key(okp(-8, 6, ed25519.clone()))),
        right("key-any-order", key(Cbor::Map(plain.iter().rev().cloned().collect()))),
        wrong("key-alg-not-offered", 20, changed(|it| it.policy["algs"] = json!([-8, -257]))),
        wrong("key-alg-none-offered", 20, changed(|it| it.policy["algs"] = json!([]))),
        wrong("key-alg-missing", 20, without(3)),
        wrong("key-alg-unknown", 20, with(3, (-999).into())),
        wrong("key-alg-of-another-curve", 20, with(3, (-35).into())),
        wrong("key-alg-sha1", 20, with(3, (-65535).into())),
        wrong("key-kty-other", 20, with(1, 1.into())),
        wrong("key-kty-missing", 20, without(1)),
        wrong("key-crv-other", 20, with(-1, 2.into())),
        wrong("key-crv-missing", 20, without(-1)),
        wrong("key-x-short", 20, with(-2, vec![1; 31].into())),
        wrong("key-x-long", 20, with(-2, vec![0; 33].into())),
        wrong("key-x-text", 20, with(-2, "x".into())),
        wrong("key-y-missing", 20, without(-3)),
        wrong("key-y-sign", 20, with(-3, true.into())),
        wrong("key-off-the-curve", 20, with(-3, vec![1; 32].into())),
        wrong("key-at-infinity", 20, {
            key(label_map([
                (1, 2.into()),
                (3, (-7).into()),
                (-1, 1.into()),
                (-2, vec![0; 32].into()),
                (-3, vec![0; 32].into()),
            ]))
        }),
        wrong("key-with-private-part", 20, with(-4, vec![1; 32].into())),
        wrong("key-empty", 20, key(Cbor::Map(vec![]))),
        wrong("key-ed25519-short", 20, key(okp(-8, 6, ed25519[..31].to_vec()))),
        wrong("key-ed25519-small-order", 20, key(okp(-8, 6, [&[1][..], &[0; 31]].concat()))),
        wrong("key-ed25519-off-the-curve", 20, key(okp(-8, 6, [&[2][..], &[0; 31]].concat()))),
        wrong("key-eddsa-on-x25519", 20, key(okp(-8, 4, ed25519.clone()))),
        wrong("key-ed448-small-order", 20, key(okp(-53, 7, [&[1][..], &[0; 56]].concat()))),
        wrong("key-rsa-1024", 20, key(rsa(big(128), f4.clone()))),
        wrong("key-rsa-2040", 20, key(rsa(big(255), f4.clone()))),
        wrong("key-rsa-huge", 20, key(rsa(big(2048), f4.clone()))),
        wrong("key-rsa-leading-zeros", 20, key(rsa([vec![0; 128], big(128)].concat(), f4.clone()))),
        wrong("key-rsa-exponent-1", 20, key(rsa(big(256), vec![1]))),
        wrong("key-rsa-exponent-even", 20, key(rsa(big(256), vec![1, 0, 0]))),
        wrong("key-rsa-exponent-empty", 20, key(rsa(big(256), vec![]))),
        wrong("key-ml-dsa-44-short", 20, {
            key(label_map([(1, 7.into()), (3, (-48).into()), (-1, vec![1; 1311].into())]))
        }),
    ]
}

fn credential_ids() -> Vec<Mutant> {
    let id = |length: usize| changed(|it| it.id = vec![0x5a; length]);
    let envelope = |bytes: &[u8]| {
        edited(|case| {
            case["credential"]["id"] = to_base64url(bytes).into();
            case["credential"]["rawId"] = to_base64url(bytes).into();
        })
    };
    vec![
        right("id-1", id(1)),
        right("id-1023", id(1023)),
        wrong("id-empty", 26, id(0)),
        wrong("id-1024", 26, id(1024)),
        wrong("id-of-envelope-other", 26, envelope(&[0xa4; 32])),
        wrong("id-of-envelope-shorter", 26, envelope(&[0xa5; 31])),
        wrong("id-of-envelope-longer", 26, envelope(&[0xa5; 33])),
    ]
}
