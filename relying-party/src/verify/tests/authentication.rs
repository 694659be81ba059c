//! Mutants of §7.2.

use ciborium::Value as Cbor;
use p256::ecdsa::Signature;
use p256::ecdsa::signature::Signer as _;
use serde_json::{Value, json};

use super::super::response::to_base64url;
use super::workshop::{
    AT, Assertion, BE, BS, ED, UP, UV, cbor, credential_key, es256, other_key, sha256, sign, text_map,
};
use super::{Mutant, client_data, der, right, wrong};

pub(super) fn mutants() -> Vec<Mutant> {
    let mut all = vec![right("plain", Assertion::new().case())];
    all.extend(envelopes());
    all.extend(owners());
    all.extend(client_datas());
    all.extend(authenticator_datas());
    all.extend(signatures());
    all.extend(counters());
    all
}

fn changed(change: impl FnOnce(&mut Assertion)) -> Value {
    let mut assertion = Assertion::new();
    change(&mut assertion);
    assertion.case()
}

fn edited(change: impl FnOnce(&mut Value)) -> Value {
    let mut case = Assertion::new().case();
    change(&mut case);
    case
}

fn envelopes() -> Vec<Mutant> {
    let response = |member: &str, value: Value| edited(|case| case["credential"]["response"][member] = value);
    let credential = |member: &str, value: Value| edited(|case| case["credential"][member] = value);
    vec![
        right("envelope-unknown-members", credential("extra", json!({}))),
        right("client-extension-unasked", credential("clientExtensionResults", json!({ "appid": true }))),
        wrong("envelope-null", 3, edited(|case| case["credential"] = Value::Null)),
        wrong("envelope-type", 3, credential("type", json!("PUBLIC-KEY"))),
        wrong("envelope-id-other", 3, credential("id", json!("AAAA"))),
        wrong("envelope-client-data-missing", 3, response("clientDataJSON", Value::Null)),
        wrong("envelope-data-missing", 3, response("authenticatorData", Value::Null)),
        wrong("envelope-signature-missing", 3, response("signature", Value::Null)),
        wrong(
            "envelope-signature-padded",
            3,
            edited(|case| {
                let signature = &mut case["credential"]["response"]["signature"];
                *signature = format!("{}=", signature.as_str().unwrap()).into();
            }),
        ),
        wrong(
            "envelope-user-handle-not-base64url",
            3,
            response("userHandle", json!(to_base64url(b"user handle") + "=")),
        ),
        wrong("envelope-user-handle-number", 3, response("userHandle", json!(7))),
    ]
}

fn owners() -> Vec<Mutant> {
    let id = to_base64url(&[0xa5; 32]);
    let (user, stranger) = (to_base64url(b"user handle"), to_base64url(b"stranger"));
    let policy = |member: &str, value: Value| edited(|case| case["policy"][member] = value);
    let without_handle = |identified: Value| {
        edited(|case| {
            case["policy"]["identified_user"] = identified;
            case["credential"]["response"]["userHandle"] = Value::Null;
        })
    };
    vec![
        right("allowed", policy("allow_credentials", json!(["AAAA", id]))),
        right("identified", policy("identified_user", json!(user))),
        right("identified-without-handle", without_handle(json!(user))),
        right("allow-list-empty", policy("allow_credentials", json!([]))),
        wrong("not-allowed", 5, policy("allow_credentials", json!(["AAAA"]))),
        wrong("not-stored", 6, edited(|case| case["record"] = Value::Null)),
        wrong("stored-under-another-id", 6, edited(|case| case["record"]["id"] = json!("AAAA"))),
        wrong("identified-as-another", 6, policy("identified_user", json!(stranger))),
        wrong(
            "handle-of-another",
            6,
            edited(|case| case["credential"]["response"]["userHandle"] = json!(stranger)),
        ),
        wrong(
            "handle-prefix",
            6,
            edited(|case| {
                case["credential"]["response"]["userHandle"] = json!(to_base64url(b"user"));
            }),
        ),
        wrong(
            "handle-of-another-though-identified",
            6,
            edited(|case| {
                case["policy"]["identified_user"] = json!(user);
                case["credential"]["response"]["userHandle"] = json!(stranger);
            }),
        ),
        wrong("handle-missing", 6, without_handle(Value::Null)),
        wrong("handle-empty", 6, edited(|case| case["credential"]["response"]["userHandle"] = json!(""))),
    ]
}

fn client_datas() -> Vec<Mutant> {
    let mut all =
        vec![wrong("type-create", 10, changed(|it| it.client_data.kind = "webauthn.create".into()))];
    for (name, step, change, policy) in client_data::changes() {
        let case = changed(|it| {
            change(&mut it.client_data);
            it.policy.as_object_mut().unwrap().extend(policy.as_object().unwrap().clone());
        });
        all.push(Mutant { name: name.into(), step: step.map(|number| number + 3), case });
    }
    all
}

fn authenticator_datas() -> Vec<Mutant> {
    let outputs = cbor(&text_map([("hmac-secret", vec![1; 48].into())]));
    let required = |flags: u8| {
        changed(|it| {
            it.flags = flags;
            it.policy["user_verification"] = json!("required");
        })
    };
    vec![
        right(
            "extension-unasked",
            changed(|it| {
                it.flags |= ED;
                it.tail = outputs.clone();
            }),
        ),
        right("flags-unverified", changed(|it| it.flags = UP | BE | BS)),
        right("flags-no-longer-backed-up", changed(|it| it.flags = UP | UV | BE)),
        right("flags-verified-as-required", required(UP | UV | BE | BS)),
        wrong("data-empty", 7, changed(|it| it.auth_data = Some(vec![]))),
        wrong(
            "data-too-short",
            7,
            changed(|it| {
                it.auth_data = Some([&sha256(b"example.org")[..], &[UP | UV | BE | BS, 0, 0, 0]].concat());
            }),
        ),
        wrong("data-trailing", 7, changed(|it| it.tail = vec![0])),
        wrong("data-promises-extensions", 7, changed(|it| it.flags |= ED)),
        wrong("data-extensions-unannounced", 7, changed(|it| it.tail = outputs.clone())),
        wrong(
            "data-extensions-array",
            7,
            changed(|it| {
                it.flags |= ED;
                it.tail = cbor(&Cbor::Array(vec![]));
            }),
        ),
        wrong("data-promises-a-credential", 7, changed(|it| it.flags |= AT)),
        wrong("rp-id-other", 15, changed(|it| it.rp_id = "example.com".into())),
        wrong("rp-id-child", 15, changed(|it| it.rp_id = "login.example.org".into())),
        wrong("flags-absent", 16, changed(|it| it.flags = UV | BE | BS)),
        wrong("flags-unverified-but-required", 17, required(UP | BE | BS)),
        wrong("flags-backed-up-but-not-eligible", 18, {
            let mut case = changed(|it| it.flags = UP | UV | BS);
            case["record"]["backup_eligible"] = json!(false);
            case
        }),
        wrong("flags-no-longer-eligible", 19, changed(|it| it.flags = UP | UV)),
        wrong("flags-newly-eligible", 19, edited(|case| case["record"]["backup_eligible"] = json!(false))),
    ]
}

fn signatures() -> Vec<Mutant> {
    let signed = |make: fn(&[u8]) -> Vec<u8>| changed(|it| it.sign = Box::new(make));
    fn scalars(message: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let signature: Signature = credential_key().sign(message);
        let (r, s) = signature.split_bytes();
        (r.to_vec(), s.to_vec())
    }
    /// As DER, whatever the bytes.
    fn pair(r: &[u8], s: &[u8]) -> Vec<u8> {
        der::sequence(&[der::tlv(&[0x02], r), der::tlv(&[0x02], s)])
    }
    /// A positive integer, as short as can be.
    fn positive(scalar: &[u8]) -> Vec<u8> {
        let scalar = &scalar[scalar.iter().take_while(|byte| **byte == 0).count()..];
        if scalar.first().is_some_and(|byte| *byte < 0x80) {
            scalar.to_vec()
        } else {
            [&[0], scalar].concat()
        }
    }
    vec![
        right(
            "signature-high-s",
            signed(|message| {
                let signature: Signature = credential_key().sign(message);
                let low = signature.normalize_s();
                let high = Signature::from_scalars(low.r(), -low.s()).unwrap();
                high.to_der().as_bytes().to_vec()
            }),
        ),
        wrong("signature-by-another-key", 21, signed(|message| sign(&other_key(), message))),
        wrong(
            "signature-of-other-client-data",
            21,
            signed(|message| sign(&credential_key(), &[&message[..message.len() - 32], &[0; 32]].concat())),
        ),
        wrong(
            "signature-without-client-data",
            21,
            signed(|message| sign(&credential_key(), &message[..message.len() - 32])),
        ),
        wrong("signature-of-a-digest", 21, signed(|message| sign(&credential_key(), &sha256(message)))),
        wrong("signature-empty", 21, signed(|_| vec![])),
        wrong(
            "signature-raw",
            21,
            signed(|message| {
                let (r, s) = scalars(message);
                [r, s].concat()
            }),
        ),
        wrong(
            "signature-trailing",
            21,
            signed(|message| [sign(&credential_key(), message), vec![0]].concat()),
        ),
        wrong(
            "signature-trailing-inside",
            21,
            signed(|message| {
                let der = sign(&credential_key(), message);
                der::tlv(&[0x30], &[&der[2..], &[0x05, 0x00]].concat())
            }),
        ),
        wrong(
            "signature-long-length",
            21,
            signed(|message| {
                let der = sign(&credential_key(), message);
                [&[0x30, 0x81, der[1]], &der[2..]].concat()
            }),
        ),
        wrong("signature-negative-integer", 21, signed(|_| pair(&[0x80; 32], &[0x01; 32]))),
        wrong(
            "signature-padded-integer",
            21,
            signed(|message| {
                let (r, s) = scalars(message);
                pair(&[&[0], &positive(&r)[..]].concat(), &positive(&s))
            }),
        ),
        wrong("signature-zero-r", 21, signed(|message| pair(&[0], &positive(&scalars(message).1)))),
        wrong("signature-zero-s", 21, signed(|message| pair(&positive(&scalars(message).0), &[0]))),
        wrong("signature-zeros", 21, signed(|_| pair(&[0], &[0]))),
        wrong(
            "signature-order-as-r",
            21,
            signed(|message| pair(&ORDER_OF_P256, &positive(&scalars(message).1))),
        ),
        wrong(
            "signature-swapped",
            21,
            signed(|message| {
                let (r, s) = scalars(message);
                pair(&positive(&s), &positive(&r))
            }),
        ),
        wrong("stored-key-other", 21, changed(|it| it.key = cbor(&es256(&other_key())))),
        wrong("stored-key-malformed", 21, changed(|it| it.key = vec![0xa0])),
        wrong("stored-key-not-cbor", 21, changed(|it| it.key = vec![])),
    ]
}

fn counters() -> Vec<Mutant> {
    let counted = |stored: u32, found: u32, rule: &str| {
        let mut case = changed(|it| it.sign_count = found);
        case["record"]["sign_count"] = stored.into();
        case["policy"]["counter"] = rule.into();
        case
    };
    vec![
        right("counter-none", counted(0, 0, "refuse")),
        right("counter-jumps", counted(1, u32::MAX, "refuse")),
        right("counter-back-but-only-flagged", counted(9, 8, "flag")),
        wrong("counter-equal", 22, counted(8, 8, "refuse")),
        wrong("counter-back", 22, counted(9, 8, "refuse")),
        wrong("counter-back-to-zero", 22, counted(9, 0, "refuse")),
        wrong("counter-wrapped", 22, counted(u32::MAX, 1, "refuse")),
    ]
}

/// With the zero byte that keeps it positive.
const ORDER_OF_P256: [u8; 33] = [
    0x00, 0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];
