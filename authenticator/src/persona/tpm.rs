//! The structures of a TPM 2.0 that attest to a P-256 key (TPM 2.0 Library, parts 1 and 2; WebAuthn §8.3).

use sha2::{Digest as _, Sha256};

use super::certificate::extension;
use super::der::{explicit, oid, sequence, set, utf8};

/// TPMT_PUBLIC of this uncompressed point: a key that only signs, made in this TPM.
pub(super) fn pub_area(point: &[u8; 65]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(ALG_ECC.to_be_bytes());
    out.extend(ALG_SHA256.to_be_bytes());
    // fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, sign.
    out.extend(0x0004_0072_u32.to_be_bytes());
    out.extend(sized(&[]));
    // symmetric, scheme: none; the curve; key derivation: none.
    for parameter in [ALG_NULL, ALG_NULL, ECC_NIST_P256, ALG_NULL] {
        out.extend(parameter.to_be_bytes());
    }
    out.extend(sized(&point[1..33]));
    out.extend(sized(&point[33..]));
    out
}

/// TPMS_ATTEST of TPM2_Certify: this TPM holds the key of this public area. `extra` is the hash of what is attested.
pub(super) fn cert_info(extra: &[u8], pub_area: &[u8]) -> Vec<u8> {
    let name = [&ALG_SHA256.to_be_bytes()[..], &Sha256::digest(pub_area)].concat();
    let mut out = Vec::new();
    out.extend(GENERATED.to_be_bytes());
    out.extend(ST_ATTEST_CERTIFY.to_be_bytes());
    out.extend(sized(&name));
    out.extend(sized(extra));
    // clock, resetCount, restartCount, safe; firmwareVersion.
    out.extend([0; 16]);
    out.push(1);
    out.extend([0; 8]);
    out.extend(sized(&name));
    out.extend(sized(&name));
    out
}

/// What the certificate of an attestation identity key must have (§8.3.1): who made the TPM, and what the key is for.
pub(super) fn aik_extensions() -> Vec<Vec<u8>> {
    let part = |identifier: &str, value: &str| set(&sequence(&[&oid(identifier), &utf8(value)]));
    // Microsoft, whose TPM simulator this most resembles: verifiers refuse manufacturers they do not know.
    let name = sequence(&[
        &part("2.23.133.2.1", "id:4D534654"),
        &part("2.23.133.2.2", "Doppelkey"),
        &part("2.23.133.2.3", "id:00000001"),
    ]);
    let alternative_name = sequence(&[&explicit(4, &name)]);
    let usage = sequence(&[&oid("2.23.133.8.3")]);
    vec![extension("2.5.29.17", true, &alternative_name), extension("2.5.29.37", false, &usage)]
}

/// A TPM2B: the length in two bytes, then the bytes.
fn sized(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("everything here is a hash or a coordinate");
    [&length.to_be_bytes()[..], bytes].concat()
}

const ALG_SHA256: u16 = 0x000B;
const ALG_NULL: u16 = 0x0010;
const ALG_ECC: u16 = 0x0023;
const ECC_NIST_P256: u16 = 0x0003;
const GENERATED: u32 = 0xFF54_4347;
const ST_ATTEST_CERTIFY: u16 = 0x8017;
