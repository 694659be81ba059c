//! Mutants of the attestation statement: §7.1 steps 22, 23 and 25, and the procedures of §8.

use ciborium::Value as Cbor;
use p256::ecdsa::SigningKey;
use serde_json::{Value, json};

use super::super::response::to_base64url;
use super::der;
use super::workshop::{
    AT, Registration, UP, UV, cbor, credential_key, key, other_key, sha256, sign, text_map, unhex,
};
use super::{Mutant, right, wrong};

pub(crate) mod certified;
mod tpm;
mod trust;

use certified::Certified;

pub(super) fn mutants() -> Vec<Mutant> {
    let mut all = formats();
    all.extend(none());
    all.extend(packed_self());
    all.extend(packed());
    all.extend(fido_u2f());
    all.extend(tpm::mutants());
    all.extend(android_key());
    all.extend(apple());
    all.extend(compound());
    all.extend(trust::mutants());
    all
}

/// A registration with a format and a statement made from authenticator data and hash.
fn attested(format: &str, attest: impl Fn(&[u8], &[u8]) -> Cbor + 'static) -> Registration {
    Registration { format: format.into(), attest: Box::new(attest), ..Registration::new() }
}

fn formats() -> Vec<Mutant> {
    let named = |format: &str| attested(format, |_, _| Cbor::Map(vec![])).case();
    vec![
        wrong("format-unknown", 22, named("quantum")),
        wrong("format-case", 22, named("None")),
        wrong("format-space", 22, named("none ")),
        wrong("format-empty", 22, named("")),
        wrong("format-safetynet", 22, named("android-safetynet")),
    ]
}

fn none() -> Vec<Mutant> {
    let statement = |value: Cbor| attested("none", move |_, _| value.clone()).case();
    vec![
        wrong("none-with-a-member", 23, statement(text_map([("alg", (-7).into())]))),
        wrong("none-array", 23, statement(Cbor::Array(vec![]))),
        wrong("none-null", 23, statement(Cbor::Null)),
    ]
}

fn packed_self() -> Vec<Mutant> {
    fn signed(signer: &SigningKey, data: &[u8], hash: &[u8]) -> Cbor {
        sign(signer, &[data, hash].concat()).into()
    }
    let statement = |make: fn(&[u8], &[u8]) -> Cbor| attested("packed", make).case();
    vec![
        right(
            "packed-self",
            statement(|data, hash| {
                text_map([("alg", (-7).into()), ("sig", signed(&credential_key(), data, hash))])
            }),
        ),
        wrong(
            "packed-self-by-another-key",
            23,
            statement(|data, hash| {
                text_map([("alg", (-7).into()), ("sig", signed(&other_key(), data, hash))])
            }),
        ),
        wrong(
            "packed-self-of-other-data",
            23,
            statement(|data, _| {
                text_map([("alg", (-7).into()), ("sig", signed(&credential_key(), data, &[0; 32]))])
            }),
        ),
        wrong(
            "packed-self-other-alg",
            23,
            statement(|data, hash| {
                text_map([("alg", (-257).into()), ("sig", signed(&credential_key(), data, hash))])
            }),
        ),
        wrong(
            "packed-self-without-alg",
            23,
            statement(|data, hash| text_map([("sig", signed(&credential_key(), data, hash))])),
        ),
        wrong("packed-self-without-signature", 23, statement(|_, _| text_map([("alg", (-7).into())]))),
        wrong(
            "packed-self-ecdaa",
            23,
            statement(|data, hash| {
                text_map([
                    ("alg", (-7).into()),
                    ("sig", signed(&credential_key(), data, hash)),
                    ("ecdaaKeyId", vec![1].into()),
                ])
            }),
        ),
        wrong("packed-array", 23, statement(|_, _| Cbor::Array(vec![]))),
    ]
}

fn packed() -> Vec<Mutant> {
    let case = |change: fn(&mut Certified)| Certified::packed(change).case();
    let mut all = vec![
        right("packed", case(|_| {})),
        right(
            "packed-aaguid",
            case(|it| it.extensions.push(der::extension(AAGUID, false, &der::octets(&[7; 16])))),
        ),
        wrong(
            "packed-aaguid-other",
            23,
            case(|it| {
                it.extensions.push(der::extension(AAGUID, false, &der::octets(&[8; 16])));
            }),
        ),
        wrong(
            "packed-aaguid-critical",
            23,
            case(|it| {
                it.extensions.push(der::extension(AAGUID, true, &der::octets(&[7; 16])));
            }),
        ),
        wrong(
            "packed-aaguid-not-wrapped",
            23,
            case(|it| it.extensions.push(der::extension(AAGUID, false, &[7; 16]))),
        ),
        wrong(
            "packed-aaguid-twice",
            23,
            case(|it| {
                it.extensions.push(der::extension(AAGUID, false, &der::octets(&[7; 16])));
                it.extensions.push(der::extension(AAGUID, false, &der::octets(&[7; 16])));
            }),
        ),
        wrong("packed-version-1", 23, case(|it| it.version = None)),
        wrong("packed-version-2", 23, case(|it| it.version = Some(1))),
        wrong("packed-ca", 23, case(|it| it.extensions[0] = certified::basic_constraints(true))),
        wrong("packed-without-constraints", 23, case(|it| drop(it.extensions.remove(0)))),
        wrong("packed-signed-by-another-key", 23, case(|it| it.signer = other_key())),
        wrong("packed-other-alg", 23, case(|it| it.alg = Some(-257))),
        wrong("packed-unknown-alg", 23, case(|it| it.alg = Some(-999))),
        wrong(
            "packed-sha1",
            23,
            case(|it| {
                it.alg = Some(-65535);
                it.public_key = Some(certified::rsa_public_key());
                it.sign = Some(certified::rsa_with_sha1);
            }),
        ),
        wrong("packed-without-alg", 23, case(|it| it.alg = None)),
        wrong("packed-other-data", 23, case(|it| it.message = |_, _| vec![0; 32])),
        wrong(
            "packed-certificate-garbage",
            23,
            case(|it| it.chain = |_| Cbor::Array(vec![vec![0x30, 0].into()])),
        ),
        wrong(
            "packed-certificate-trailing",
            23,
            case(|it| {
                it.chain = |leaf| Cbor::Array(vec![[leaf, &[0]].concat().into()]);
            }),
        ),
        wrong("packed-chain-empty", 23, case(|it| it.chain = |_| Cbor::Array(vec![]))),
        wrong("packed-chain-no-array", 23, case(|it| it.chain = |leaf| leaf.to_vec().into())),
        wrong(
            "packed-chain-too-long",
            23,
            case(|it| {
                it.chain = |leaf| Cbor::Array(vec![leaf.to_vec().into(); 9]);
            }),
        ),
    ];
    for (name, at) in [("country", 0), ("organization", 1), ("unit", 2), ("common-name", 3)] {
        let certified = Certified::packed(move |it| drop(it.subject.remove(at)));
        all.push(wrong(&format!("packed-without-{name}"), 23, certified.case()));
    }
    for (name, at, value) in [
        ("country-name", 0, der::printable("Utopia")),
        ("country-lower", 0, der::printable("aa")),
        ("organization-empty", 1, der::utf8("")),
        ("unit-other", 2, der::utf8("Authenticator attestation")),
        ("common-name-empty", 3, der::utf8("")),
    ] {
        let certified = Certified::packed(move |it| it.subject[at].1 = value);
        all.push(wrong(&format!("packed-{name}"), 23, certified.case()));
    }
    all
}

fn fido_u2f() -> Vec<Mutant> {
    let case = |change: fn(&mut Certified)| Certified::fido_u2f(change).case();
    let mut eddsa = Certified::fido_u2f(|_| {}).registration();
    // RFC 8032, test 1 of Ed25519
    let x = unhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
    eddsa.key =
        cbor(&super::workshop::label_map([(1, 1.into()), (3, (-8).into()), (-1, 6.into()), (-2, x.into())]));
    vec![
        right("u2f", case(|_| {})),
        right("u2f-aaguid-zero", {
            let mut registration = Certified::fido_u2f(|_| {}).registration();
            registration.aaguid = [0; 16];
            registration.case()
        }),
        wrong("u2f-other-key", 23, case(|it| it.signer = other_key())),
        wrong("u2f-message-of-packed", 23, case(|it| it.message = |data, hash| [data, hash].concat())),
        wrong("u2f-alg", 23, case(|it| it.alg = Some(-7))),
        wrong(
            "u2f-two-certificates",
            23,
            case(|it| it.chain = |leaf| Cbor::Array(vec![leaf.to_vec().into(); 2])),
        ),
        wrong(
            "u2f-certificate-of-another-curve",
            23,
            case(|it| {
                it.public_key = Some(der::sequence(&[
                    der::sequence(&[der::oid("1.2.840.10045.2.1"), der::oid("1.3.132.0.10")]),
                    der::bits(&k256_point()),
                ]));
            }),
        ),
        wrong("u2f-credential-not-p256", 23, eddsa.case()),
    ]
}

fn android_key() -> Vec<Mutant> {
    let case = |change: fn(&mut Certified)| Certified::android_key(change).case();
    vec![
        right("android", case(|_| {})),
        right("android-in-software", case(|it| it.android.swap = true)),
        wrong("android-lists-empty", 23, case(|it| it.android.members = vec![])),
        wrong("android-without-origin", 23, case(|it| drop(it.android.members.pop()))),
        wrong("android-without-purpose", 23, case(|it| drop(it.android.members.remove(0)))),
        wrong("android-imported", 23, case(|it| it.android.members[1] = der::explicit(702, &der::small(2)))),
        wrong(
            "android-for-encryption",
            23,
            case(|it| {
                it.android.members[0] = der::explicit(1, &der::set(&[der::small(0)]));
            }),
        ),
        wrong(
            "android-for-encryption-too",
            23,
            case(|it| {
                it.android.members[0] = der::explicit(1, &der::set(&[der::small(0), der::small(2)]));
            }),
        ),
        wrong(
            "android-all-applications",
            23,
            case(|it| {
                it.android.members.insert(1, der::explicit(600, &der::tlv(&[0x05], &[])));
            }),
        ),
        wrong("android-challenge", 23, case(|it| it.android.challenge = |_| vec![0; 32])),
        wrong("android-without-description", 23, case(|it| it.android.absent = true)),
        wrong("android-description-garbage", 23, case(|it| it.android.challenge = |_| vec![])),
        wrong("android-certificate-of-another-key", 23, case(|it| it.signer_and_subject(other_key()))),
        wrong("android-signed-by-another-key", 23, case(|it| it.signer = other_key())),
    ]
}

fn apple() -> Vec<Mutant> {
    let case = |change: fn(&mut Certified)| Certified::apple(change).case();
    vec![
        right("apple", case(|_| {})),
        right("apple-with-alg", case(|it| it.alg = Some(-7))),
        wrong("apple-nonce", 23, case(|it| it.apple.nonce = |_| vec![0; 32])),
        wrong(
            "apple-nonce-of-the-client-data",
            23,
            case(|it| {
                it.apple.nonce = |message| message[message.len() - 32..].to_vec();
            }),
        ),
        wrong("apple-without-nonce", 23, case(|it| it.apple.absent = true)),
        wrong("apple-certificate-of-another-key", 23, case(|it| it.signer_and_subject(other_key()))),
        wrong("apple-chain-empty", 23, case(|it| it.chain = |_| Cbor::Array(vec![]))),
    ]
}

fn compound() -> Vec<Mutant> {
    type Attest = fn(&[u8], &[u8]) -> Cbor;
    fn part(format: &str, statement: Cbor) -> Cbor {
        text_map([("fmt", format.into()), ("attStmt", statement)])
    }
    fn itself(data: &[u8], hash: &[u8]) -> Cbor {
        let signature = sign(&credential_key(), &[data, hash].concat());
        part("packed", text_map([("alg", (-7).into()), ("sig", signature.into())]))
    }
    fn basic(data: &[u8], hash: &[u8]) -> Cbor {
        part("packed", Certified::packed(|_| {}).statement(data, hash))
    }
    let case = |attest: Attest| attested("compound", attest).case();
    vec![
        right("compound", case(|data, hash| Cbor::Array(vec![itself(data, hash), basic(data, hash)]))),
        wrong("compound-empty", 23, case(|_, _| Cbor::Array(vec![]))),
        wrong("compound-map", 23, case(|_, _| Cbor::Map(vec![]))),
        wrong("compound-of-one", 23, case(|data, hash| Cbor::Array(vec![itself(data, hash)]))),
        wrong("compound-of-nine", 23, case(|data, hash| Cbor::Array(vec![itself(data, hash); 9]))),
        wrong(
            "compound-nested",
            23,
            case(|data, hash| {
                let inner = part("compound", Cbor::Array(vec![itself(data, hash), basic(data, hash)]));
                Cbor::Array(vec![inner, itself(data, hash)])
            }),
        ),
        wrong(
            "compound-part-wrong",
            23,
            case(|data, hash| Cbor::Array(vec![itself(data, hash), itself(data, &[0; 32])])),
        ),
        wrong(
            "compound-part-unknown",
            23,
            case(|data, hash| Cbor::Array(vec![itself(data, hash), part("quantum", Cbor::Map(vec![]))])),
        ),
        wrong(
            "compound-part-without-format",
            23,
            case(|data, hash| {
                Cbor::Array(vec![itself(data, hash), text_map([("attStmt", Cbor::Map(vec![]))])])
            }),
        ),
    ]
}

/// The generator of secp256k1: a point of another curve.
fn k256_point() -> Vec<u8> {
    unhex(
        "0479be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798\
         483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8",
    )
}

const AAGUID: &str = "1.3.6.1.4.1.45724.1.1.4";
