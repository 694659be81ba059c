//! Why a response was refused: facts, not judgements.

use std::fmt;

use super::attestation::AttestationError;
use super::authenticator_data::AuthenticatorDataError;
use super::cbor::CborError;
use super::cose::KeyError;
use super::transcript::{Step, Transcript};

/// A refused response: the step that refused it, the fact it found, and the whole transcript.
///
/// Whose fault: always the peer's. The caller's own mistakes (a stored public key that is no key) show as
/// [`Fact::StoredKeyMalformed`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The one step that refused.
    pub step: Step,
    /// What it found.
    pub fact: Fact,
    /// Every step; the refusing one is [`Verdict::Fail`](super::Verdict::Fail), later ones are skipped.
    pub transcript: Transcript,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {}: {}", self.step, self.fact)
    }
}

impl std::error::Error for Rejection {}

/// What a step found that refused the response.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fact {
    /// `type` of the credential is not `public-key`.
    NotAPublicKeyCredential,
    /// The response lacks a member of its kind, or it is not exact base64url, or belongs to the other kind.
    ResponseMalformed(&'static str),
    /// `id` and `rawId` of the envelope differ, or are not exact base64url.
    EnvelopeIdMismatch,
    /// The envelope's id is not the id in the authenticator data.
    CredentialIdMismatch,
    /// The credential is not in `allowCredentials`.
    CredentialNotAllowed,
    /// No credential with this id is stored.
    CredentialUnknown,
    /// The response's credential is not the stored one, or the stored one is another user's.
    CredentialOfAnotherUser,
    /// No user was identified before, and the response names none.
    UserHandleMissing,
    /// The response's user handle is not the owner's.
    UserHandleMismatch,
    /// The client data is not UTF-8.
    ClientDataNotUtf8,
    /// The client data is not one JSON object with the members and types of `CollectedClientData`.
    ClientDataNotJson(String),
    /// The client data has a member twice.
    ClientDataDuplicateMember(String),
    /// `type` of the client data is of another ceremony.
    CeremonyMismatch(String),
    /// The challenge is not the one that was issued, in exact base64url.
    ChallengeMismatch,
    /// The origin is not allowed.
    OriginMismatch(String),
    /// The ceremony ran in a cross-origin iframe, which was not expected.
    CrossOriginUnexpected,
    /// The top origin is not allowed.
    TopOriginMismatch(String),
    /// The attestation object is not the CBOR map it should be.
    AttestationObjectMalformed(CborError),
    /// The authenticator data is not laid out as its flags say.
    AuthenticatorDataMalformed(AuthenticatorDataError),
    /// The authenticator signed for another RP ID.
    RpIdMismatch,
    /// UP is 0.
    UserNotPresent,
    /// UV is 0 and was required.
    UserNotVerified,
    /// BS is 1 and BE is 0.
    BackedUpButNotEligible,
    /// BE is not what it was at registration.
    BackupEligibilityChanged,
    /// The credential's algorithm was not offered.
    AlgorithmNotOffered(i64),
    /// The credential public key does not fit its algorithm, or is no safe key.
    KeyUnacceptable(KeyError),
    /// The attestation statement format is unknown.
    AttestationFormatUnknown(String),
    /// The attestation statement is wrong for its format.
    AttestationWrong(AttestationError),
    /// The attestation is right but nobody we believe vouches for it.
    AttestationUntrusted(String),
    /// The credential id is empty or longer than 1023 bytes.
    CredentialIdLength(usize),
    /// The public key in the stored record is not a key: the caller's mistake, not the peer's.
    StoredKeyMalformed(KeyError),
    /// The assertion signature does not verify.
    SignatureInvalid,
    /// The signature counter did not grow.
    CounterNotGrown {
        /// The counter stored.
        stored: u32,
        /// The counter in the response.
        found: u32,
    },
}

impl Fact {
    /// Whether what was sent is no response of the ceremony's kind (§7.1 and §7.2 step 3). That depends on nothing that is
    /// stored, and so tells nothing of it.
    pub(crate) fn is_of_no_response(&self) -> bool {
        matches!(self, Self::NotAPublicKeyCredential | Self::ResponseMalformed(_) | Self::EnvelopeIdMismatch)
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAPublicKeyCredential => write!(f, "type of the credential is not public-key"),
            Self::ResponseMalformed(member) => {
                write!(f, "response.{member} is missing, malformed, or out of place")
            }
            Self::EnvelopeIdMismatch => write!(f, "id and rawId are not the same exact base64url"),
            Self::CredentialIdMismatch => write!(f, "id of the envelope is not the attested credential id"),
            Self::CredentialNotAllowed => write!(f, "credential is not in allowCredentials"),
            Self::CredentialUnknown => write!(f, "no such credential is stored"),
            Self::CredentialOfAnotherUser => write!(f, "credential is not one of this user's"),
            Self::UserHandleMissing => write!(f, "no user was identified and userHandle is absent"),
            Self::UserHandleMismatch => write!(f, "userHandle is not the owner's"),
            Self::ClientDataNotUtf8 => write!(f, "client data is not UTF-8"),
            Self::ClientDataNotJson(why) => write!(f, "client data: {why}"),
            Self::ClientDataDuplicateMember(name) => write!(f, "client data has the member {name:?} twice"),
            Self::CeremonyMismatch(found) => write!(f, "type is {found:?}"),
            Self::ChallengeMismatch => write!(f, "challenge is not the one issued"),
            Self::OriginMismatch(found) => write!(f, "origin is {found:?}"),
            Self::CrossOriginUnexpected => write!(f, "a cross-origin iframe was not expected"),
            Self::TopOriginMismatch(found) => write!(f, "topOrigin is {found:?}"),
            Self::AttestationObjectMalformed(why) => write!(f, "attestation object: {why}"),
            Self::AuthenticatorDataMalformed(why) => write!(f, "authenticator data: {why}"),
            Self::RpIdMismatch => write!(f, "rpIdHash is of another RP ID"),
            Self::UserNotPresent => write!(f, "UP is 0"),
            Self::UserNotVerified => write!(f, "UV is 0 and user verification is required"),
            Self::BackedUpButNotEligible => write!(f, "BS is 1 although BE is 0"),
            Self::BackupEligibilityChanged => write!(f, "BE is not what it was at registration"),
            Self::AlgorithmNotOffered(alg) => write!(f, "algorithm {alg} was not offered"),
            Self::KeyUnacceptable(why) => write!(f, "credential public key: {why}"),
            Self::AttestationFormatUnknown(fmt) => {
                write!(f, "attestation statement format {fmt:?} is unknown")
            }
            Self::AttestationWrong(why) => write!(f, "attestation statement: {why}"),
            Self::AttestationUntrusted(why) => write!(f, "attestation is not trusted: {why}"),
            Self::CredentialIdLength(length) => write!(f, "credential id has {length} bytes, not 1 to 1023"),
            Self::StoredKeyMalformed(why) => write!(f, "stored public key: {why}"),
            Self::SignatureInvalid => write!(f, "signature does not verify"),
            Self::CounterNotGrown { stored, found } => {
                write!(f, "signature counter is {found}, stored is {stored}")
            }
        }
    }
}
