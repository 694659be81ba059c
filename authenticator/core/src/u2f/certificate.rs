//! A certificate for registrations that nobody else attests: U2F knows no other way than to send one.
//!
//! It holds the credential's own public key and is signed with the credential's own private key, so it says nothing
//! of the device and links no two registrations.

use heapless::Vec;

use crate::key::PrivateKey;

/// The most bytes of a certificate; with a signature of the longest it has 313.
const CERTIFICATE_MAX: usize = 384;

type Bytes = Vec<u8, CERTIFICATE_MAX>;

/// An X.509 certificate (RFC 5280 §4.1) of a P-256 key, given as an uncompressed point.
///
/// `None` only for a key that cannot sign.
pub(super) fn self_signed(key: &PrivateKey, point: &[u8; 65]) -> Option<Bytes> {
    let signature_algorithm = tlv(SEQUENCE, &[ECDSA_WITH_SHA256])?;
    let name = tlv(SEQUENCE, &[&tlv(SET, &[&tlv(SEQUENCE, &[COMMON_NAME, &tlv(UTF8_STRING, &[NAME])?])?])?])?;
    let validity = tlv(SEQUENCE, &[&tlv(UTC_TIME, &[NOT_BEFORE])?, &tlv(UTC_TIME, &[NOT_AFTER])?])?;
    let public_key = tlv(
        SEQUENCE,
        &[&tlv(SEQUENCE, &[EC_PUBLIC_KEY, PRIME256V1])?, &tlv(BIT_STRING, &[NO_UNUSED_BITS, point])?],
    )?;
    // Part of the public key serves as a serial number that is positive and another for each certificate.
    let serial = tlv(INTEGER, &[&[0x01], &point[1..9]])?;
    let to_be_signed =
        tlv(SEQUENCE, &[VERSION_3, &serial, &signature_algorithm, &name, &validity, &name, &public_key])?;
    let signature = key.sign(&to_be_signed)?;
    tlv(SEQUENCE, &[&to_be_signed, &signature_algorithm, &tlv(BIT_STRING, &[NO_UNUSED_BITS, &signature])?])
}

/// Tag, length and value in DER; `None` if it does not fit.
fn tlv(tag: u8, parts: &[&[u8]]) -> Option<Bytes> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let [high, low] = u16::try_from(length).ok()?.to_be_bytes();
    let header: &[u8] = match length {
        0..0x80 => &[tag, low],
        0x80..0x100 => &[tag, 0x81, low],
        _ => &[tag, 0x82, high, low],
    };
    let mut out = Bytes::new();
    for part in core::iter::once(&header).chain(parts) {
        out.extend_from_slice(part).ok()?;
    }
    Some(out)
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const UTF8_STRING: u8 = 0x0C;
const UTC_TIME: u8 = 0x17;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;

const NO_UNUSED_BITS: &[u8] = &[0];
/// `[0] INTEGER 2`.
const VERSION_3: &[u8] = &[0xA0, 0x03, 0x02, 0x01, 0x02];
const NAME: &[u8] = b"Doppelkey U2F";
const NOT_BEFORE: &[u8] = b"200101000000Z";
const NOT_AFTER: &[u8] = b"491231235959Z";
/// OBJECT IDENTIFIER 1.2.840.10045.4.3.2.
const ECDSA_WITH_SHA256: &[u8] = &[0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02];
/// OBJECT IDENTIFIER 1.2.840.10045.2.1.
const EC_PUBLIC_KEY: &[u8] = &[0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01];
/// OBJECT IDENTIFIER 1.2.840.10045.3.1.7.
const PRIME256V1: &[u8] = &[0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07];
/// OBJECT IDENTIFIER 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x06, 0x03, 0x55, 0x04, 0x03];
