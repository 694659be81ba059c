//! Verification of WebAuthn responses (WebAuthn Level 3 §7.1 and §7.2): pure, and told step by step.
//!
//! Options, a stored record and the client's answer go in; a verdict and a [`Transcript`] come out. Nothing here
//! reads a clock, a file or a database, so the same bytes always give the same answer.
//!
//! * [`verify_registration`] carries out §7.1, [`verify_authentication`] §7.2.
//! * A [`Transcript`] has exactly one [`Line`] for every numbered step, whatever the outcome. Steps that a pure
//!   function cannot carry out (calling the client, asking the database) are marked [`Verdict::Caller`].
//! * A [`Rejection`] names the one step that refused and the [`Fact`] it found.
//! * [`cases`] is the same as text: one JSON case in, one JSON verdict out.
//!
//! The verifier never panics on what a peer sent, and the work it does is bounded by the size of the response,
//! which is bounded too (step 3).
//!
//! ```
//! use doppelkey_relying_party::verify::{
//!     AttestationTrust, Credential, Mediation, RegistrationOptions, RelyingParty, SUPPORTED_ALGORITHMS,
//!     UserVerification, verify_registration,
//! };
//!
//! let options = RegistrationOptions {
//!     relying_party: RelyingParty::new("example.org", "https://example.org"),
//!     challenge: vec![0; 32],
//!     algorithms: SUPPORTED_ALGORITHMS.to_vec(),
//!     user_verification: UserVerification::Preferred,
//!     mediation: Mediation::Optional,
//!     attestation: AttestationTrust::NotRequired,
//! };
//! let answer = Credential::from_json(serde_json::json!({ "type": "password" }));
//! let refused = verify_registration(&options, &answer).unwrap_err();
//! assert_eq!(refused.to_string(), "step 7.1-3: type of the credential is not public-key");
//! assert_eq!(refused.transcript.lines().len(), 29);
//! ```

mod attestation;
mod authentication;
mod authenticator_data;
pub mod cases;
mod cbor;
mod certificate;
mod claims;
mod client_data;
mod cose;
mod floor;
mod options;
#[cfg(feature = "fuzzing")]
pub mod parsers;
mod registration;
mod rejection;
mod response;
mod revocation;
mod signature;
mod transcript;

#[cfg(test)]
pub(crate) mod tests;

/// What metadata needs of the verifier to judge signatures and chains.
pub(crate) mod trust {
    pub(crate) use super::certificate::{Certificate, chains_to};
    pub(crate) use super::response::base64url;
    pub(crate) use super::revocation::RevocationLists;
    pub(crate) use super::signature::{Hash, Scheme};
}

pub use attestation::{Attestation, AttestationError, AttestationKind};
pub use authentication::{Authentication, verify_authentication};
pub use authenticator_data::AuthenticatorDataError;
pub use cbor::CborError;
pub use certificate::CertificateError;
pub(crate) use claims::Claims;
pub use cose::KeyError;
pub use floor::floor;
pub(crate) use floor::spend_the_time_of_a_signature;
pub use options::{
    AttestationTrust, AuthenticationOptions, CounterRule, CredentialRecord, Mediation, RegistrationOptions,
    RelyingParty, SUPPORTED_ALGORITHMS, UserVerification,
};
pub use registration::{Registration, verify_registration};
pub use rejection::{Fact, Rejection};
pub use response::Credential;
pub use revocation::{RevocationListError, RevocationLists};
pub use transcript::{Ceremony, Line, Step, Transcript, Verdict};
