//! Packed attestation (WebAuthn Level 3 §8.2).

use super::super::cbor::Value;
use super::super::certificate::{Certificate, CertificateError};
use super::statement::Statement;
use super::{Attestation, AttestationError, AttestationKind, Subject, certified};

pub(super) fn verify(value: &Value, subject: &Subject<'_>) -> Result<Attestation, AttestationError> {
    let statement = Statement::open(value, &["alg", "sig", "x5c"])?;
    if statement.has("x5c") {
        verify_certified(&statement, subject)
    } else {
        verify_self(&statement, subject)
    }
}

/// With `x5c`: the attestation certificate's key signed.
fn verify_certified(
    statement: &Statement<'_>,
    subject: &Subject<'_>,
) -> Result<Attestation, AttestationError> {
    let (_, scheme) = statement.algorithm()?;
    let signature = statement.bytes("sig")?;
    let chain = statement.certificates()?;
    if !chain[0].key()?.verify(scheme, &subject.message(), signature) {
        return Err(AttestationError::SignatureInvalid);
    }
    check_certificate(&chain[0])?;
    check_aaguid(&chain[0], &subject.attested.aaguid)?;
    Ok(certified(AttestationKind::Certified, chain))
}

/// Without `x5c`: the credential's own key signed, by its own algorithm.
fn verify_self(statement: &Statement<'_>, subject: &Subject<'_>) -> Result<Attestation, AttestationError> {
    let (alg, _) = statement.algorithm()?;
    if alg != subject.key.alg {
        return Err(AttestationError::Algorithm(alg));
    }
    if !subject.key.verify(&subject.message(), statement.bytes("sig")?) {
        return Err(AttestationError::SignatureInvalid);
    }
    Ok(Attestation { kind: AttestationKind::SelfSigned, ..Attestation::default() })
}

/// §8.2.1: version 3, a subject of C, O, OU and CN, and not a CA.
fn check_certificate(certificate: &Certificate) -> Result<(), CertificateError> {
    certificate.require_version_3()?;
    let subject = |oid, name| certificate.subject(oid).ok_or(CertificateError::Subject(name));
    let country = subject(COUNTRY, "C")?;
    if country.len() != 2 || !country.bytes().all(|letter| letter.is_ascii_uppercase()) {
        return Err(CertificateError::Subject("C"));
    }
    subject(ORGANIZATION, "O")?;
    if subject(ORGANIZATIONAL_UNIT, "OU")? != "Authenticator Attestation" {
        return Err(CertificateError::Subject("OU"));
    }
    subject(COMMON_NAME, "CN")?;
    certificate.require_no_ca()
}

/// The extension `id-fido-gen-ce-aaguid`, where there is one: not critical, and the authenticator data's.
pub(super) fn check_aaguid(certificate: &Certificate, aaguid: &[u8; 16]) -> Result<(), AttestationError> {
    match certificate.extension(AAGUID)? {
        None => Ok(()),
        // an OCTET STRING of 16 bytes
        Some((false, [0x04, 16, found @ ..])) if found == aaguid => Ok(()),
        Some(_) => Err(AttestationError::CertificateAaguid),
    }
}

const COMMON_NAME: &str = "2.5.4.3";
const COUNTRY: &str = "2.5.4.6";
const ORGANIZATION: &str = "2.5.4.10";
const ORGANIZATIONAL_UNIT: &str = "2.5.4.11";
const AAGUID: &str = "1.3.6.1.4.1.45724.1.1.4";
