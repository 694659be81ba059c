//! What the relying party asked for: the half of a ceremony that the verifier is told and believes.

use serde::Deserialize;

/// COSE algorithm numbers this verifier can check, strongest habit first: what to offer if in doubt.
///
/// ES256, EdDSA, RS256, then ES384, ES512, Ed448, ES256K, PS256, and ML-DSA-44, -65, -87.
pub const SUPPORTED_ALGORITHMS: [i64; 11] = [-7, -8, -257, -35, -36, -53, -47, -37, -48, -49, -50];

/// `userVerification` of the options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UserVerification {
    /// A response without UV is refused.
    Required,
    /// UV is noted, never required.
    #[default]
    Preferred,
    /// UV is noted, never required.
    Discouraged,
}

/// `mediation` of the creation options, as far as it changes the verification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mediation {
    /// The user takes part: UP must be set.
    #[default]
    Optional,
    /// A silent upgrade after a password sign-in: UP may be 0 (registration only, §7.1 step 15).
    Conditional,
}

/// What both ceremonies must agree with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelyingParty {
    /// The RP ID, whose SHA-256 the authenticator signs.
    pub rp_id: String,
    /// The exact origins allowed; compared character for character, so any scheme works
    /// (`android:apk-key-hash:…` too).
    pub origins: Vec<String>,
    /// Whether a ceremony in a cross-origin iframe is expected.
    pub cross_origin: bool,
    /// The exact top origins allowed around such an iframe.
    pub top_origins: Vec<String>,
}

impl RelyingParty {
    /// One RP ID, one origin, no iframes.
    #[must_use]
    pub fn new(rp_id: impl Into<String>, origin: impl Into<String>) -> Self {
        Self {
            rp_id: rp_id.into(),
            origins: vec![origin.into()],
            cross_origin: false,
            top_origins: Vec::new(),
        }
    }
}

/// Who vouches for an attestation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AttestationTrust {
    /// Any attestation will do, none too; but a statement that is wrong for its format is refused.
    #[default]
    NotRequired,
    /// The attestation certificate must chain to one of `anchors`.
    Required {
        /// Trust anchors, DER certificates. A leaf that is itself an anchor is accepted.
        anchors: Vec<Vec<u8>>,
        /// Unix time in seconds at which the certificates must be valid.
        now_s: u64,
        /// Whether self attestation is acceptable all the same.
        accept_self: bool,
        /// Whether no attestation is acceptable all the same.
        accept_none: bool,
    },
}

impl AttestationTrust {
    pub(crate) fn is_required(&self) -> bool {
        matches!(self, Self::Required { .. })
    }

    pub(crate) fn describe(&self) -> String {
        match self {
            Self::NotRequired => "nobody needs to vouch for the authenticator".into(),
            Self::Required { anchors, .. } => format!("{} trust anchors", anchors.len()),
        }
    }
}

/// The policy and state of one registration ceremony.
#[derive(Clone, Debug)]
pub struct RegistrationOptions {
    /// RP ID and origins.
    pub relying_party: RelyingParty,
    /// The challenge that was issued.
    pub challenge: Vec<u8>,
    /// COSE algorithm numbers that were offered (`pubKeyCredParams`).
    pub algorithms: Vec<i64>,
    /// Whether UV must be set.
    pub user_verification: UserVerification,
    /// Whether the ceremony was a conditional create.
    pub mediation: Mediation,
    /// Whom to believe about the authenticator.
    pub attestation: AttestationTrust,
}

/// What a relying party does about a signature counter that does not grow (§7.2 step 22).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CounterRule {
    /// Refuse the response.
    #[default]
    Refuse,
    /// Accept it and say so in [`Authentication::counter_regressed`](super::Authentication).
    Flag,
}

/// The policy and state of one authentication ceremony.
#[derive(Clone, Debug)]
pub struct AuthenticationOptions {
    /// RP ID and origins.
    pub relying_party: RelyingParty,
    /// The challenge that was issued.
    pub challenge: Vec<u8>,
    /// Whether UV must be set.
    pub user_verification: UserVerification,
    /// The credential ids that were sent; empty means that none was.
    pub allow_credentials: Vec<Vec<u8>>,
    /// The user handle of the user identified before the ceremony, if any.
    pub identified_user: Option<Vec<u8>>,
    /// What to do about a counter that does not grow.
    pub counter: CounterRule,
}

/// A stored credential (WebAuthn's "credential record"), as far as verification needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialRecord {
    /// Credential id, 1 to 1023 bytes.
    pub id: Vec<u8>,
    /// The credential public key, a `COSE_Key`, exactly as it was registered.
    pub public_key_cose: Vec<u8>,
    /// The last signature counter seen.
    pub sign_count: u32,
    /// BE; never changes in a credential's life.
    pub backup_eligible: bool,
    /// BS when last seen.
    pub backup_state: bool,
    /// Whom the credential belongs to.
    pub user_handle: Vec<u8>,
}
