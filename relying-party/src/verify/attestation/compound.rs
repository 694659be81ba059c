//! Compound attestation (WebAuthn Level 3 §8.9): several statements about one credential.

use super::super::cbor::{self, Value};
use super::{Attestation, AttestationError, AttestationKind, Format, Subject};

/// Most parts; no authenticator has as many formats.
const MAX_PARTS: usize = 8;

/// Every part must be right: a wrong one is a sign of trouble even beside a right one.
pub(super) fn verify(value: &Value, subject: &Subject<'_>) -> Result<Attestation, AttestationError> {
    let parts = value.as_array().ok_or(AttestationError::Shape)?;
    if !(2..=MAX_PARTS).contains(&parts.len()) {
        return Err(AttestationError::CompoundParts);
    }
    let parts = parts.iter().map(|part| verify_part(part, subject)).collect::<Result<_, _>>()?;
    Ok(Attestation { kind: AttestationKind::Compound, parts, ..Attestation::default() })
}

fn verify_part(value: &Value, subject: &Subject<'_>) -> Result<Attestation, AttestationError> {
    let part = value.as_map().ok_or(AttestationError::Shape)?;
    let name = cbor::member(part, "fmt").and_then(Value::as_text).ok_or(AttestationError::Member("fmt"))?;
    let statement = cbor::member(part, "attStmt").ok_or(AttestationError::Member("attStmt"))?;
    let format = Format::named(name).ok_or(AttestationError::CompoundFormat)?;
    if format == Format::Compound {
        return Err(AttestationError::CompoundParts);
    }
    Ok(Attestation { format: name.to_owned(), ..super::verify(format, statement, subject)? })
}
