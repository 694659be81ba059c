//! Apple anonymous attestation (WebAuthn Level 3 §8.8).

use super::super::cbor::Value;
use super::super::signature::Hash;
use super::statement::Statement;
use super::{Attestation, AttestationError, AttestationKind, Subject, certified};

/// Devices also send `alg`, which the format does not have; it is let be, since nothing rests on it.
pub(super) fn verify(value: &Value, subject: &Subject<'_>) -> Result<Attestation, AttestationError> {
    let statement = Statement::open(value, &["x5c", "alg"])?;
    let chain = statement.certificates()?;
    let nonce = Hash::Sha256.of(&subject.message());
    match chain[0].extension(NONCE)? {
        // SEQUENCE { [1] EXPLICIT OCTET STRING of 32 bytes }
        Some((_, [0x30, 36, 0xa1, 34, 0x04, 32, found @ ..])) if found == nonce => {}
        Some(_) => return Err(AttestationError::DataMismatch("the nonce of the certificate")),
        None => return Err(AttestationError::Member("nonce")),
    }
    if chain[0].key()? != subject.key.key {
        return Err(AttestationError::KeyMismatch);
    }
    Ok(certified(AttestationKind::Anonymous, chain))
}

const NONCE: &str = "1.2.840.113635.100.8.2";
