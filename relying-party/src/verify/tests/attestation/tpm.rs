//! Mutants of TPM attestation (§8.3): the statement, the certificate, and areas of every kind of key.

use sha2::{Digest as _, Sha384};

use super::super::workshop::label_map;
use super::certified::{MANUFACTURER, MODEL, VERSION};
use super::*;

pub(super) fn mutants() -> Vec<Mutant> {
    let case = |change: fn(&mut Certified)| Certified::tpm(change).case();
    let mut all = vec![
        right("tpm", case(|_| {})),
        wrong("tpm-version", 23, case(|it| it.tpm.ver = "1.2")),
        wrong("tpm-magic", 23, case(|it| it.tpm.magic = 0xff54_4348)),
        wrong("tpm-type", 23, case(|it| it.tpm.kind = 0x8018)),
        wrong("tpm-extra-data", 23, case(|it| it.tpm.extra_data = |_| vec![0; 32])),
        wrong(
            "tpm-extra-data-sha1",
            23,
            case(|it| it.tpm.extra_data = |message| sha256(message)[..20].to_vec()),
        ),
        wrong("tpm-name", 23, case(|it| it.tpm.name = |_| [&[0, 0x0b][..], &[0; 32]].concat())),
        wrong("tpm-name-without-algorithm", 23, case(|it| it.tpm.name = sha256)),
        wrong("tpm-info-trailing", 23, case(|it| it.tpm.tail = vec![0])),
        wrong("tpm-area-of-another-key", 23, case(|it| it.tpm.key = other_key())),
        wrong("tpm-area-other-curve", 23, case(|it| it.tpm.curve = 4)),
        wrong("tpm-area-unknown-curve", 23, case(|it| it.tpm.curve = 6)),
        wrong("tpm-area-trailing", 23, case(|it| it.tpm.area_tail = vec![0])),
        wrong("tpm-area-storage-key", 23, case(|it| it.tpm.symmetric = 6)),
        wrong(
            "tpm-name-algorithm-unknown",
            23,
            case(|it| {
                // SM3
                it.tpm.name_algorithm = 0x0012;
                it.tpm.name = |area| [&[0x00, 0x12][..], &sha256(area)].concat();
            }),
        ),
        wrong("tpm-alg-without-hash", 23, case(|it| it.alg = Some(-8))),
        wrong("tpm-signed-by-another-key", 23, case(|it| it.signer = other_key())),
        wrong("tpm-subject", 23, case(|it| it.subject = vec![("2.5.4.3", der::utf8("TPM"))])),
        wrong("tpm-without-alternative-name", 23, case(|it| drop(it.extensions.remove(2)))),
        wrong(
            "tpm-without-manufacturer",
            23,
            case(|it| it.extensions[2] = certified::tpm_name(&[MODEL, VERSION])),
        ),
        wrong(
            "tpm-manufacturer-form",
            23,
            case(|it| {
                it.extensions[2] = certified::tpm_name(&[("2.23.133.2.1", "Vendor"), MODEL, VERSION]);
            }),
        ),
        wrong(
            "tpm-without-model",
            23,
            case(|it| it.extensions[2] = certified::tpm_name(&[MANUFACTURER, VERSION])),
        ),
        wrong(
            "tpm-without-version",
            23,
            case(|it| it.extensions[2] = certified::tpm_name(&[MANUFACTURER, MODEL])),
        ),
        wrong("tpm-without-purpose", 23, case(|it| drop(it.extensions.remove(1)))),
        wrong("tpm-other-purpose", 23, case(|it| it.extensions[1] = certified::purpose("1.3.6.1.5.5.7.3.2"))),
        wrong("tpm-ca", 23, case(|it| it.extensions[0] = certified::basic_constraints(true))),
        wrong("tpm-version-1", 23, case(|it| it.version = None)),
        wrong(
            "tpm-aaguid-other",
            23,
            case(|it| {
                it.extensions.push(der::extension(AAGUID, false, &der::octets(&[8; 16])));
            }),
        ),
    ];
    all.extend(areas());
    all
}

/// A statement about this credential key instead of the usual one.
fn about(key: Cbor, change: impl FnOnce(&mut Certified)) -> Value {
    let mut registration = Certified::tpm(change).registration();
    registration.key = cbor(&key);
    registration.case()
}

fn areas() -> Vec<Mutant> {
    let rsa = |exponent: u32, area: (u16, u32)| {
        let modulus = [&[0xc1; 255][..], &[0x01]].concat();
        let significant: Vec<u8> = exponent.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
        let key = label_map([
            (1, 3.into()),
            (3, (-257).into()),
            (-1, modulus.clone().into()),
            (-2, significant.into()),
        ]);
        about(key, |it| it.tpm.rsa = Some((area.0, area.1, modulus)))
    };
    let p384 = p384::ecdsa::SigningKey::from_slice(&[1; 48]).unwrap().verifying_key().to_sec1_point(false);
    let p521 = [&[0][..], &[1; 65]].concat();
    let p521 = p521::ecdsa::SigningKey::from_slice(&p521).unwrap().verifying_key().to_sec1_point(false);
    let short = key_whose_x_starts_with_zero();
    vec![
        right("tpm-rsa", rsa(65537, (2048, 0))),
        right("tpm-rsa-exponent", rsa(3, (2048, 3))),
        wrong("tpm-rsa-another-exponent", 23, rsa(65537, (2048, 3))),
        wrong("tpm-rsa-exponent-left-out", 23, rsa(3, (2048, 0))),
        wrong("tpm-rsa-key-bits", 23, rsa(65537, (3072, 0))),
        right("tpm-p384", on_curve(-35, 4, p384.as_bytes())),
        wrong("tpm-p384-as-p256", 23, on_curve(-35, 3, p384.as_bytes())),
        right("tpm-p521", on_curve(-36, 5, p521.as_bytes())),
        right("tpm-coordinate-without-leading-zeros", {
            let point = short.verifying_key().to_sec1_point(false);
            let coordinates = [point.as_bytes()[2..33].to_vec(), point.as_bytes()[33..].to_vec()];
            about(super::super::workshop::es256(&short), |it| it.tpm.point = Some(coordinates))
        }),
        wrong("tpm-coordinate-too-long", 23, {
            let point = credential_key().verifying_key().to_sec1_point(false);
            let x = [&[0], &point.as_bytes()[1..33]].concat();
            let coordinates = [x, point.as_bytes()[33..].to_vec()];
            Certified::tpm(|it| it.tpm.point = Some(coordinates)).case()
        }),
        right("tpm-name-sha384", {
            let change = |it: &mut Certified| {
                it.tpm.name_algorithm = 0x000c;
                it.tpm.name = |area| [&[0x00, 0x0c][..], &Sha384::digest(area)].concat();
            };
            Certified::tpm(change).case()
        }),
        right("tpm-sha1", by_rsa(-65535, certified::rsa_with_sha1, sha1)),
        wrong("tpm-sha1-of-other-data", 23, by_rsa(-65535, certified::rsa_with_sha1, |_| vec![0; 20])),
    ]
}

/// A key of another curve than P-256, and an area that says so.
fn on_curve(alg: i64, curve: u16, point: &[u8]) -> Value {
    let (x, y) = point[1..].split_at(point.len() / 2);
    let crv = if alg == -35 { 2 } else { 3 };
    let key = label_map([
        (1, 2.into()),
        (3, alg.into()),
        (-1, crv.into()),
        (-2, x.to_vec().into()),
        (-3, y.to_vec().into()),
    ]);
    about(key, |it| (it.tpm.curve, it.tpm.point) = (curve, Some([x.to_vec(), y.to_vec()])))
}

/// An attestation key of RSA.
fn by_rsa(alg: i64, sign: certified::Bytes, hash: certified::Bytes) -> Value {
    let change = |it: &mut Certified| {
        (it.alg, it.sign, it.tpm.extra_data) = (Some(alg), Some(sign), hash);
        it.public_key = Some(certified::rsa_public_key());
    };
    Certified::tpm(change).case()
}

fn sha1(message: &[u8]) -> Vec<u8> {
    sha1::Sha1::digest(message).to_vec()
}

fn key_whose_x_starts_with_zero() -> SigningKey {
    let keys = (1..=u16::MAX).map(|number| {
        let scalar = [&[0; 30][..], &number.to_be_bytes()].concat();
        SigningKey::from_slice(&scalar).unwrap()
    });
    let starts_with_zero =
        |key: &SigningKey| key.verifying_key().to_sec1_point(false).as_bytes()[1..3] < [0, 0xff][..];
    keys.into_iter().find(starts_with_zero).unwrap()
}
