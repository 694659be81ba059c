//! Attestation: how a new credential proves where it comes from (WebAuthn §6.5, §8).
//!
//! The core makes `none` and `packed` self attestation. Every other format, with its certificates, comes from an
//! [`Attester`] that the host gives; it hands over data, and the core writes the CBOR.

#[cfg(feature = "alloc")]
mod attester;
mod statement;

#[cfg(feature = "alloc")]
pub use attester::{AttestationRequest, Attester, CertificateFault, Members, Statement};
pub(crate) use statement::Attested;

/// A way to attest.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Attestation {
    /// Format `none`.
    None,
    /// Format `packed`, signed with the credential's own key.
    PackedSelf,
    /// Whatever the host makes of it.
    #[cfg(feature = "alloc")]
    By(alloc::sync::Arc<dyn Attester>),
}

impl Attestation {
    /// The attestation statement format identifier (WebAuthn §8.1).
    pub fn format(&self) -> &str {
        match self {
            Attestation::None => "none",
            Attestation::PackedSelf => "packed",
            #[cfg(feature = "alloc")]
            Attestation::By(attester) => attester.format(),
        }
    }

    /// Whether this is for enterprise attestation only (CTAP §7.1).
    pub fn is_enterprise(&self) -> bool {
        match self {
            #[cfg(feature = "alloc")]
            Attestation::By(attester) => attester.is_enterprise(),
            _ => false,
        }
    }
}
