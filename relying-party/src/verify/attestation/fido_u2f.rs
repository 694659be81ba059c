//! FIDO U2F attestation (WebAuthn Level 3 §8.6): a U2F registration in new clothes.

use super::super::cbor::{self, Value};
use super::super::signature::{Hash, PublicKey, Scheme};
use super::statement::Statement;
use super::{Attestation, AttestationError, AttestationKind, Subject, certified};

/// The AAGUID is not looked at: U2F knows none, and the W3C vector has one that is not zero.
pub(super) fn verify(value: &Value, subject: &Subject<'_>) -> Result<Attestation, AttestationError> {
    let statement = Statement::open(value, &["sig", "x5c"])?;
    let signature = statement.bytes("sig")?;
    let chain = statement.certificates()?;
    let [certificate] = &chain[..] else { return Err(AttestationError::Member("x5c")) };
    let certificate_key = certificate.key()?;
    if !matches!(certificate_key, PublicKey::P256(_)) {
        return Err(AttestationError::KeyMismatch);
    }
    let message = registration_message(subject)?;
    if !certificate_key.verify(Scheme::Ecdsa(Hash::Sha256), &message, signature) {
        return Err(AttestationError::SignatureInvalid);
    }
    Ok(certified(AttestationKind::Certified, chain))
}

/// 0x00, application parameter, challenge parameter, key handle, public key: what a U2F token signs.
fn registration_message(subject: &Subject<'_>) -> Result<Vec<u8>, AttestationError> {
    let PublicKey::P256(_) = subject.key.key else { return Err(AttestationError::KeyMismatch) };
    let key = subject.attested.key.as_map().ok_or(AttestationError::KeyMismatch)?;
    let coordinate =
        |label| cbor::labelled(key, label).and_then(Value::as_bytes).ok_or(AttestationError::KeyMismatch);
    let (x, y) = (coordinate(-2)?, coordinate(-3)?);
    let (application, challenge) = (subject.data.rp_id_hash, subject.client_data_hash);
    Ok([&[0x00], application, challenge, subject.attested.id, &[0x04], x, y].concat())
}
