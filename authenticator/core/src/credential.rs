//! A credential, as it is kept.

use heapless::{String, Vec};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The longest credential id in bytes that is made, kept or looked up.
pub const CREDENTIAL_ID_MAX: usize = 255;
/// The longest RP ID in bytes: a DNS name.
pub const RP_ID_MAX: usize = 253;
/// The longest user handle in bytes (WebAuthn §5.4.3).
pub const USER_ID_MAX: usize = 64;
/// Names are cut to this many bytes at a character boundary (CTAP §6.1.2: at least 64 bytes are kept).
pub const NAME_MAX: usize = 64;
/// The longest credBlob in bytes.
pub const CRED_BLOB_MAX: usize = 32;

/// A discoverable credential with everything that is kept of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// The credential id: random, and unique in a store.
    pub id: Vec<u8, CREDENTIAL_ID_MAX>,
    /// SHA-256 of the RP ID.
    pub rp_id_hash: [u8; 32],
    /// The RP ID.
    pub rp_id: String<RP_ID_MAX>,
    /// The account.
    pub user: User,
    /// The private key.
    pub key: PrivateKey,
    /// Position in the order of creation, given by the store.
    pub order: u64,
    /// The signature counter to start above; `None` for a credential that has none (0 is sent, always).
    pub sign_count: Option<u32>,
    /// BE: may be copied to other devices. Never changes (WebAuthn §6.1.3).
    pub backup_eligible: bool,
    /// BS: is now kept on more than this device.
    pub backup_state: bool,
    /// credProtect level.
    pub protection: CredentialProtection,
    /// hmac-secret's two CredRandoms, with UV (first) and without.
    pub cred_random: Option<CredRandom>,
    /// largeBlobKey.
    pub large_blob_key: Option<[u8; 32]>,
    /// credBlob.
    pub cred_blob: Option<Vec<u8, CRED_BLOB_MAX>>,
    /// thirdPartyPayment.
    pub third_party_payment: bool,
    /// Hidden by the relying party through the Signal API: kept, and not offered.
    pub hidden: bool,
}

/// The account a credential belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// The user handle, 1 to 64 bytes.
    pub id: Vec<u8, USER_ID_MAX>,
    /// `user.name`.
    pub name: Option<String<NAME_MAX>>,
    /// `user.displayName`.
    pub display_name: Option<String<NAME_MAX>>,
}

/// credProtect (CTAP §12.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum CredentialProtection {
    /// userVerificationOptional.
    #[default]
    Optional = 1,
    /// userVerificationOptionalWithCredentialIDList.
    OptionalWithCredentialIdList = 2,
    /// userVerificationRequired.
    Required = 3,
}

/// hmac-secret's per-credential secrets; zeroized when dropped.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct CredRandom {
    /// Used when the user was verified.
    pub with_uv: [u8; 32],
    /// Used when not.
    pub without_uv: [u8; 32],
}

impl core::fmt::Debug for CredRandom {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("CredRandom(…)")
    }
}

/// The longest private key in bytes, as it is kept.
pub const PRIVATE_KEY_MAX: usize = 32;

/// A private key and its algorithm; zeroized when dropped.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct PrivateKey {
    /// The COSE algorithm: -7 (ES256), -8 (EdDSA).
    pub algorithm: i32,
    /// The scalar or seed, big-endian, of the length the algorithm says.
    pub bytes: Vec<u8, PRIVATE_KEY_MAX>,
}

impl core::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "PrivateKey({}, …)", self.algorithm)
    }
}
