//! Attestation statements (WebAuthn Level 3 §8): whether they are right, and whether to believe them.
//!
//! One file a format. A format is verified completely, whatever the policy: a statement that is wrong for its
//! format is refused even where no attestation was asked for. `android-safetynet` is not known: the service
//! behind it was turned off, and Level 3 keeps it for history only.

mod android_key;
mod apple;
mod compound;
mod fido_u2f;
mod packed;
mod statement;
mod tpm;

use std::fmt;

use super::authenticator_data::{AttestedCredential, AuthenticatorData};
use super::cbor::Value;
use super::certificate::{self, Certificate, CertificateError};
use super::cose::{CoseKey, KeyError};
use super::options::AttestationTrust;
use super::revocation::RevocationLists;

/// What an attestation statement says, after verification.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attestation {
    /// The format, as the authenticator named it.
    pub format: String,
    /// What kind of proof it is.
    pub kind: AttestationKind,
    /// The attestation certificate and those above it, DER, as they came (`x5c`); empty without any.
    pub certificates: Vec<Vec<u8>>,
    /// Statements inside a compound one.
    pub parts: Vec<Attestation>,
    /// Whether the policy asked for trust and the statement gives it.
    pub trusted: bool,
}

/// Kinds of attestation (§6.5.3), as far as a statement alone tells them apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttestationKind {
    /// No attestation.
    #[default]
    None,
    /// The credential key signed for itself.
    SelfSigned,
    /// A certificate's key signed: basic or attestation CA.
    Certified,
    /// A certificate was made for this credential alone: anonymization CA.
    Anonymous,
    /// Several statements at once.
    Compound,
}

impl fmt::Display for Attestation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            AttestationKind::None => write!(f, "no attestation"),
            AttestationKind::SelfSigned => write!(f, "self attestation, signature verifies"),
            AttestationKind::Certified => {
                write!(
                    f,
                    "signature of an attestation certificate verifies, {} in x5c",
                    self.certificates.len()
                )
            }
            AttestationKind::Anonymous => write!(f, "a certificate made for this credential binds it"),
            AttestationKind::Compound => write!(f, "{} statements, each of them right", self.parts.len()),
        }
    }
}

/// Why an attestation statement is wrong for its format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttestationError {
    /// The statement is not the map (or array) of its format.
    Shape,
    /// A member is missing or of the wrong type.
    Member(&'static str),
    /// A member that the format does not have.
    UnexpectedMember,
    /// The algorithm is unknown, or does not fit the key.
    Algorithm(i64),
    /// The signature does not verify.
    SignatureInvalid,
    /// A certificate cannot be used, or breaks a rule of the format.
    Certificate(CertificateError),
    /// The certificate names another AAGUID, or marks the extension critical.
    CertificateAaguid,
    /// The key that was attested is not the credential's.
    KeyMismatch,
    /// The statement was made for other data than this response's.
    DataMismatch(&'static str),
    /// A rule that only TPM statements have.
    Tpm(&'static str),
    /// A rule that only Android key statements have.
    AndroidKey(&'static str),
    /// A compound statement has fewer than two parts, too many, or one inside another.
    CompoundParts,
    /// A part of a compound statement has a format that is unknown.
    CompoundFormat,
}

impl fmt::Display for AttestationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape => write!(f, "not of the shape of its format"),
            Self::Member(name) => write!(f, "{name} is missing or of the wrong type"),
            Self::UnexpectedMember => write!(f, "a member that the format does not have"),
            Self::Algorithm(alg) => write!(f, "algorithm {alg} is unknown, or not the key's"),
            Self::SignatureInvalid => write!(f, "signature does not verify"),
            Self::Certificate(why) => write!(f, "certificate: {why}"),
            Self::CertificateAaguid => {
                write!(f, "the certificate's AAGUID extension is critical or of another model")
            }
            Self::KeyMismatch => write!(f, "the attested key is not the credential's"),
            Self::DataMismatch(what) => write!(f, "{what} is not that of this response"),
            Self::Tpm(rule) | Self::AndroidKey(rule) => f.write_str(rule),
            Self::CompoundParts => write!(f, "a compound statement has 2 to 8 parts, none of them compound"),
            Self::CompoundFormat => write!(f, "a part has an unknown format"),
        }
    }
}

impl From<CertificateError> for AttestationError {
    fn from(why: CertificateError) -> Self {
        Self::Certificate(why)
    }
}

impl From<KeyError> for AttestationError {
    fn from(why: KeyError) -> Self {
        Self::Certificate(CertificateError::Key(why))
    }
}

/// The formats of §8 that are verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    None,
    Packed,
    Tpm,
    AndroidKey,
    FidoU2f,
    Apple,
    Compound,
}

impl Format {
    /// By its name, case-sensitively (§8.1).
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "none" => Self::None,
            "packed" => Self::Packed,
            "tpm" => Self::Tpm,
            "android-key" => Self::AndroidKey,
            "fido-u2f" => Self::FidoU2f,
            "apple" => Self::Apple,
            "compound" => Self::Compound,
            _ => return None,
        })
    }
}

/// What a statement is about.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) auth_data: &'a [u8],
    pub(crate) data: &'a AuthenticatorData<'a>,
    pub(crate) attested: &'a AttestedCredential<'a>,
    pub(crate) key: &'a CoseKey,
    pub(crate) client_data_hash: &'a [u8],
}

impl Subject<'_> {
    /// Authenticator data, then the hash of the client data: what most formats sign.
    pub(crate) fn message(&self) -> Vec<u8> {
        [self.auth_data, self.client_data_hash].concat()
    }
}

/// Verifies a statement by the procedure of its format.
pub(crate) fn verify(
    format: Format,
    statement: &Value,
    subject: &Subject<'_>,
) -> Result<Attestation, AttestationError> {
    match format {
        Format::None => none(statement),
        Format::Packed => packed::verify(statement, subject),
        Format::Tpm => tpm::verify(statement, subject),
        Format::AndroidKey => android_key::verify(statement, subject),
        Format::FidoU2f => fido_u2f::verify(statement, subject),
        Format::Apple => apple::verify(statement, subject),
        Format::Compound => compound::verify(statement, subject),
    }
}

/// §8.7: the statement is an empty map.
fn none(statement: &Value) -> Result<Attestation, AttestationError> {
    match statement.as_map().map(Vec::as_slice) {
        Some([]) => Ok(Attestation::default()),
        Some(_) => Err(AttestationError::UnexpectedMember),
        None => Err(AttestationError::Shape),
    }
}

fn certified(kind: AttestationKind, chain: Vec<Certificate>) -> Attestation {
    let certificates = chain.into_iter().map(Certificate::into_der).collect();
    Attestation { kind, certificates, ..Attestation::default() }
}

/// Whether the policy believes a statement that is right (§7.1 steps 24 and 25).
pub(crate) fn assess(attestation: &Attestation, trust: &AttestationTrust) -> Result<String, String> {
    let AttestationTrust::Required { anchors, now_s, accept_self, accept_none } = trust else {
        return Ok("trust is not required".into());
    };
    match attestation.kind {
        AttestationKind::None if *accept_none => Ok("no attestation, which policy accepts".into()),
        AttestationKind::None => Err("there is none".into()),
        AttestationKind::SelfSigned if *accept_self => Ok("self attestation, which policy accepts".into()),
        AttestationKind::SelfSigned => Err("the credential vouches for itself only".into()),
        AttestationKind::Compound => {
            let believed = attestation.parts.iter().find_map(|part| assess(part, trust).ok());
            believed.ok_or_else(|| "no part of it is trusted".into())
        }
        AttestationKind::Certified | AttestationKind::Anonymous => {
            certificate::chains_to(&attestation.certificates, anchors, &RevocationLists::default(), *now_s)
                .map(|anchor| format!("chains to {anchor}"))
                .map_err(|why| why.to_string())
        }
    }
}
