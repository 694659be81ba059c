//! The seam to the host's attestation formats.

use alloc::string::String;
use alloc::vec::Vec;

use crate::key::PrivateKey;

/// Makes attestation statements of one format: a vendor's batch certificate, a TPM, a phone.
pub trait Attester: core::fmt::Debug + Send + Sync {
    /// The attestation statement format identifier: `packed`, `fido-u2f`, `tpm`, `android-key`, `apple`, `compound`.
    fn format(&self) -> &str;

    /// Whether this is for enterprise attestation only.
    fn is_enterprise(&self) -> bool {
        false
    }

    /// The statement for a new credential; `None` if this credential cannot be attested (the command then fails).
    fn attest(&self, request: &AttestationRequest<'_>) -> Option<Statement>;
}

/// The credential an [`Attester`] is to attest.
#[derive(Debug)]
#[non_exhaustive]
pub struct AttestationRequest<'a> {
    /// The authenticator data, as it will be sent.
    pub authenticator_data: &'a [u8],
    /// The hash of the client data.
    pub client_data_hash: &'a [u8; 32],
    /// SHA-256 of the RP ID.
    pub rp_id_hash: &'a [u8; 32],
    /// The credential id.
    pub credential_id: &'a [u8],
    /// The public key as a COSE_Key.
    pub public_key: &'a [u8],
    /// The key of the credential: for formats in which it signs, and for certificates that carry its public half.
    pub key: &'a PrivateKey,
    /// What is to be wrong with the certificate; nothing, unless a test asked for it.
    pub fault: CertificateFault,
}

/// What is to be wrong with an attestation certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateFault {
    /// Nothing.
    #[default]
    None,
    /// It is not the one whose key signs.
    Wrong,
    /// It has expired.
    Expired,
    /// It names another AAGUID.
    AaguidWrong,
}

/// An attestation statement, as data.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Statement {
    /// A statement of one of the registered formats.
    Members(Members),
    /// `compound`: format identifiers and their statements.
    Compound(Vec<(String, Members)>),
}

/// The members of an attestation statement; those that are `None` or empty are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// `alg`: the COSE algorithm of the signature.
    pub alg: Option<i32>,
    /// `sig`.
    pub sig: Option<Vec<u8>>,
    /// `ver`: the version of the TPM specification.
    pub ver: Option<String>,
    /// `x5c`: certificates in DER, the attestation certificate first.
    pub x5c: Vec<Vec<u8>>,
    /// `pubArea`: a TPMT_PUBLIC.
    pub pub_area: Option<Vec<u8>>,
    /// `certInfo`: a TPMS_ATTEST.
    pub cert_info: Option<Vec<u8>>,
}
