//! A credential's public key as a page gets it: SubjectPublicKeyInfo in DER (WebAuthn §5.2.1.1).

use crate::cbor::{self, Map};

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;

/// Object identifiers of algorithms, encoded with their parameters.
mod algorithm {
    pub(super) const P256: &[u8] =
        b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
    pub(super) const P384: &[u8] = b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22";
    pub(super) const P521: &[u8] = b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x23";
    pub(super) const SECP256K1: &[u8] = b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x0a";
    pub(super) const ED25519: &[u8] = b"\x06\x03\x2b\x65\x70";
    pub(super) const RSA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
    pub(super) const ML_DSA_44: &[u8] = b"\x06\x09\x60\x86\x48\x01\x65\x03\x04\x03\x11";
    pub(super) const ML_DSA_65: &[u8] = b"\x06\x09\x60\x86\x48\x01\x65\x03\x04\x03\x12";
    pub(super) const ML_DSA_87: &[u8] = b"\x06\x09\x60\x86\x48\x01\x65\x03\x04\x03\x13";
}

/// The COSE algorithm of this key.
pub(crate) fn cose_algorithm(key: &Map) -> Option<i64> {
    key.get(3).and_then(cbor::signed)
}

/// The key in DER; `None` for a kind of key that this client does not know, as the specification has it.
pub(crate) fn to_spki(key: &Map) -> Option<Vec<u8>> {
    let bytes = |label| key.get(label)?.as_bytes().map(Vec::as_slice);
    let (algorithm, public) = match (key.get(1).and_then(cbor::signed)?, cose_algorithm(key)?) {
        (1, _) => (algorithm::ED25519, bytes(-2)?.to_vec()),
        (2, _) => {
            let curve = match key.get(-1).and_then(cbor::signed)? {
                1 => algorithm::P256,
                2 => algorithm::P384,
                3 => algorithm::P521,
                8 => algorithm::SECP256K1,
                _ => return None,
            };
            (curve, [&[4], bytes(-2)?, bytes(-3)?].concat())
        }
        (3, _) => {
            let numbers = [integer(bytes(-1)?), integer(bytes(-2)?)].concat();
            (algorithm::RSA, tagged(SEQUENCE, &numbers))
        }
        (7, -48) => (algorithm::ML_DSA_44, bytes(-1)?.to_vec()),
        (7, -49) => (algorithm::ML_DSA_65, bytes(-1)?.to_vec()),
        (7, -50) => (algorithm::ML_DSA_87, bytes(-1)?.to_vec()),
        _ => return None,
    };
    let bits = tagged(BIT_STRING, &[&[0], public.as_slice()].concat());
    Some(tagged(SEQUENCE, &[tagged(SEQUENCE, algorithm), bits].concat()))
}

/// An unsigned number as a DER INTEGER: no leading zeros but the one that keeps it positive.
fn integer(number: &[u8]) -> Vec<u8> {
    let digits = &number[number.iter().take_while(|digit| **digit == 0).count()..];
    let sign: &[u8] = if digits.first().is_none_or(|digit| digit & 0x80 != 0) { &[0] } else { &[] };
    tagged(INTEGER, &[sign, digits].concat())
}

/// Tag, length, contents.
fn tagged(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = contents.len().to_be_bytes();
    let length = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    let mut out = vec![tag];
    if contents.len() < 0x80 {
        out.push(contents.len() as u8);
    } else {
        out.push(0x80 | length.len() as u8);
        out.extend_from_slice(length);
    }
    out.extend_from_slice(contents);
    out
}

#[cfg(test)]
mod tests {
    use ciborium::Value;

    use super::*;

    #[test]
    fn a_p256_key_has_the_26_byte_prologue_that_everybody_knows() {
        let key = Map::new()
            .with(1, 2)
            .with(3, -7)
            .with(-1, 1)
            .with(-2, Value::Bytes(vec![1; 32]))
            .with(-3, Value::Bytes(vec![2; 32]));
        let spki = to_spki(&key).unwrap();
        let prologue = [
            0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
            0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
        ];
        assert_eq!(spki[..26], prologue);
        assert_eq!((spki.len(), spki[26]), (91, 4));
    }

    #[test]
    fn an_rsa_key_is_two_positive_integers() {
        let mut modulus = vec![0x80; 256];
        modulus[255] = 1;
        let key = Map::new()
            .with(1, 3)
            .with(3, -257)
            .with(-1, Value::Bytes(modulus))
            .with(-2, Value::Bytes(vec![1, 0, 1]));
        let spki = to_spki(&key).unwrap();
        assert_eq!(spki.len(), 294);
        assert_eq!(spki[spki.len() - 5..], [2, 3, 1, 0, 1]);
    }

    #[test]
    fn an_unknown_kind_of_key_is_none() {
        assert_eq!(to_spki(&Map::new().with(1, 99).with(3, -7)), None);
    }
}
