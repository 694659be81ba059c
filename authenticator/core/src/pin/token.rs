//! The pinUvAuthToken and what it allows (CTAP §6.5.2.1).

use core::time::Duration;

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::pin_protocol::Protocol;
use crate::time::Time;

/// How long a token may wait for its first use, in USB's case (§6.5.2.1, initial usage time limit).
const FIRST_USE_WITHIN: Duration = Duration::from_secs(30);
/// How long the presence that came with a token counts (§6.5.2.1, user present time limit).
const PRESENT_FOR: Duration = Duration::from_secs(30);
/// How long a token may be used at all (§6.5.2.1, max usage time period).
const VALID_FOR: Duration = Duration::from_secs(600);

/// What a token may be used for (§6.5.5.7, pinUvAuthToken permissions).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Permissions(u8);

impl Permissions {
    /// None: whatever asks for one is refused.
    pub(crate) const NONE: Self = Permissions(0);
    /// mc.
    pub(crate) const MAKE_CREDENTIAL: Self = Permissions(0x01);
    /// ga.
    pub(crate) const GET_ASSERTION: Self = Permissions(0x02);
    /// cm.
    pub(crate) const CREDENTIAL_MANAGEMENT: Self = Permissions(0x04);
    /// be.
    pub(crate) const BIO_ENROLLMENT: Self = Permissions(0x08);
    /// lbw.
    pub(crate) const LARGE_BLOB_WRITE: Self = Permissions(0x10);
    /// acfg.
    pub(crate) const AUTHENTICATOR_CONFIGURATION: Self = Permissions(0x20);
    /// pcmr.
    pub(crate) const PERSISTENT_READ_ONLY: Self = Permissions(0x40);

    /// The permissions with these bits; bits that mean nothing here are ignored, as §6.5.5.7 wants.
    pub(crate) const fn from_bits(bits: u64) -> Self {
        Permissions((bits & 0x7F) as u8)
    }

    pub(crate) const fn with(self, other: Self) -> Self {
        Permissions(self.0 | other.0)
    }

    /// Whether any of `other` is among these.
    pub(crate) const fn any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// A pinUvAuthToken in use; one that is not in use does not exist.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct Token {
    pub(super) bytes: [u8; 32],
    #[zeroize(skip)]
    pub(super) protocol: Protocol,
    #[zeroize(skip)]
    pub(super) permissions: Permissions,
    /// SHA-256 of the permissions RP ID.
    pub(super) rp_id_hash: Option<[u8; 32]>,
    pub(super) user_verified: bool,
    /// Whether built-in verification issued it, which also brought the user's presence.
    pub(super) by_built_in: bool,
    user_present: bool,
    #[zeroize(skip)]
    issued: Time,
    pub(super) used: bool,
}

impl Token {
    /// beginUsingPinUvAuthToken.
    pub(super) fn begin(
        bytes: [u8; 32],
        protocol: Protocol,
        permissions: Permissions,
        rp_id_hash: Option<[u8; 32]>,
        user_present: bool,
        issued: Time,
    ) -> Self {
        Token {
            bytes,
            protocol,
            permissions,
            rp_id_hash,
            user_verified: true,
            by_built_in: user_present,
            user_present,
            issued,
            used: false,
        }
    }

    /// pinUvAuthTokenUsageTimerObserver: whether the token is still in use at this time.
    pub(super) fn is_in_use(&self, now: Time) -> bool {
        let age = now.saturating_sub(self.issued);
        age < VALID_FOR && (self.used || age < FIRST_USE_WITHIN)
    }

    /// getUserPresentFlagValue.
    pub(super) fn user_present(&self, now: Time) -> bool {
        self.user_present && now.saturating_sub(self.issued) < PRESENT_FOR
    }

    /// clearUserPresentFlag, clearUserVerifiedFlag and clearPinUvAuthTokenPermissionsExceptLbw.
    pub(super) fn spend(&mut self) {
        self.user_present = false;
        self.user_verified = false;
        self.permissions = Permissions(self.permissions.0 & Permissions::LARGE_BLOB_WRITE.0);
    }
}
