//! A credential, as it is kept.

use heapless::{String, Vec};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::cbor::{Item, Writer};
use crate::key::{Algorithm, PRIVATE_KEY_MAX, PrivateKey};

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

/// A discoverable credential with everything that is kept of it. Its secrets are zeroized when dropped, and compared in
/// constant time.
#[derive(Clone)]
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
    pub large_blob_key: Option<Zeroizing<[u8; 32]>>,
    /// credBlob.
    pub cred_blob: Option<CredBlob>,
    /// thirdPartyPayment.
    pub third_party_payment: bool,
    /// Not offered, and found by its id only: one that is not discoverable and yet kept here, or one that the
    /// relying party hid through the Signal API.
    pub hidden: bool,
    /// Made as one that is not discoverable, and yet kept here. Such a one is [`hidden`](Self::hidden), and stays so.
    ///
    /// Never changes. Credentials that were kept before there was this member lack it: there `hidden` stands for
    /// both.
    pub non_discoverable: bool,
}

/// The most bytes [`Credential::encode`] gives.
pub const CREDENTIAL_ENCODED_MAX: usize = 992 + PRIVATE_KEY_MAX;

impl Credential {
    /// A credential with nothing but its key: discoverable, device-bound, without a counter, an extension, or protection.
    /// Its id, RP ID and user are empty, for the caller to fill in.
    pub fn new(rp_id_hash: [u8; 32], key: PrivateKey) -> Self {
        Self {
            id: Vec::new(),
            rp_id_hash,
            rp_id: String::new(),
            user: User::default(),
            key,
            order: 0,
            sign_count: None,
            backup_eligible: false,
            backup_state: false,
            protection: CredentialProtection::default(),
            cred_random: None,
            large_blob_key: None,
            cred_blob: None,
            third_party_payment: false,
            hidden: false,
            non_discoverable: false,
        }
    }

    /// The credential as bytes, for a store to seal and keep. Holds secrets.
    ///
    /// A canonical CBOR map with these keys; members at their default are left out, and unknown ones are ignored
    /// when read, so that a later version's credentials can be read by an earlier one.
    ///
    /// | key | member | key | member |
    /// |---|---|---|---|
    /// | 1 | id | 10 | backup state |
    /// | 2 | RP ID hash | 11 | protection |
    /// | 3 | RP ID | 12, 13 | CredRandom with and without UV |
    /// | 4, 5, 6 | user id, name, display name | 14 | largeBlobKey |
    /// | 7 | order | 15 | credBlob |
    /// | 8 | signature counter | 16 | thirdPartyPayment |
    /// | 9 | backup eligible | 17 | hidden |
    /// | 18, 19 | COSE algorithm, private key | 20 | not discoverable |
    pub fn encode(&self) -> Zeroizing<Vec<u8, CREDENTIAL_ENCODED_MAX>> {
        self.encode_with_order(self.order)
    }

    /// As [`encode`](Self::encode), with this [`order`](Self::order) instead of its own: a store gives it.
    pub fn encode_with_order(&self, order: u64) -> Zeroizing<Vec<u8, CREDENTIAL_ENCODED_MAX>> {
        let mut out = Zeroizing::new(Vec::new());
        let flags = [
            (9, self.backup_eligible),
            (10, self.backup_state),
            (16, self.third_party_payment),
            (17, self.hidden),
        ];
        let members = 8
            + usize::from(self.user.name.is_some())
            + usize::from(self.user.display_name.is_some())
            + usize::from(self.sign_count.is_some())
            + 2 * usize::from(self.cred_random.is_some())
            + usize::from(self.large_blob_key.is_some())
            + usize::from(self.cred_blob.is_some())
            + flags.iter().filter(|(_, set)| *set).count()
            + usize::from(self.non_discoverable);
        let mut writer = Writer::new(&mut *out);
        writer.map(members).int(1).bytes(&self.id).int(2).bytes(&self.rp_id_hash).int(3).text(&self.rp_id);
        writer.int(4).bytes(&self.user.id);
        for (key, name) in [(5, &self.user.name), (6, &self.user.display_name)] {
            if let Some(name) = name {
                writer.int(key).text(name);
            }
        }
        writer.int(7).unsigned(order);
        if let Some(count) = self.sign_count {
            writer.int(8).unsigned(u64::from(count));
        }
        for (key, _) in flags[..2].iter().filter(|(_, set)| *set) {
            writer.int(*key).boolean(true);
        }
        writer.int(11).unsigned(self.protection as u64);
        if let Some(random) = &self.cred_random {
            writer.int(12).bytes(&random.with_uv).int(13).bytes(&random.without_uv);
        }
        if let Some(key) = &self.large_blob_key {
            writer.int(14).bytes(&**key);
        }
        if let Some(blob) = &self.cred_blob {
            writer.int(15).bytes(blob);
        }
        for (key, _) in flags[2..].iter().filter(|(_, set)| *set) {
            writer.int(*key).boolean(true);
        }
        writer.int(18).int(self.key.algorithm().cose()).int(19).bytes(self.key.as_bytes());
        if self.non_discoverable {
            writer.int(20).boolean(true);
        }
        writer.finish().expect("a credential of the longest members fits: a test makes one");
        out
    }

    /// The credential that [`Credential::encode`] gave these bytes for; `None` for anything else.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let map = Item::parse(bytes).ok()?.map().ok()?;
        let bytes = |key| map.get(key).map(|item| item.bytes()).transpose().ok();
        let text = |key| map.get(key).map(|item| item.text()).transpose().ok();
        let flag =
            |key| map.get(key).map(|item| item.boolean()).transpose().ok().map(|set| set.unwrap_or(false));
        let name = |key| {
            text(key)?.map(|name| String::try_from(name).ok()).map_or(Some(None), |name| name.map(Some))
        };
        let algorithm = Algorithm::from_cose(map.get(18)?.int().ok()?)?;
        let cred_random = match (bytes(12)?, bytes(13)?) {
            (Some(with_uv), Some(without_uv)) => Some(CredRandom {
                with_uv: with_uv.try_into().ok()?,
                without_uv: without_uv.try_into().ok()?,
            }),
            _ => None,
        };
        Some(Credential {
            id: Vec::from_slice(bytes(1)??).ok()?,
            rp_id_hash: bytes(2)??.try_into().ok()?,
            rp_id: String::try_from(text(3)??).ok()?,
            user: User { id: Vec::from_slice(bytes(4)??).ok()?, name: name(5)?, display_name: name(6)? },
            key: PrivateKey::from_bytes(algorithm, bytes(19)??)?,
            order: map.get(7)?.unsigned().ok()?,
            sign_count: match map.get(8) {
                Some(count) => Some(count.unsigned().ok()?.try_into().ok()?),
                None => None,
            },
            backup_eligible: flag(9)?,
            backup_state: flag(10)?,
            protection: CredentialProtection::from_number(map.get(11)?.unsigned().ok()?)?,
            cred_random,
            large_blob_key: match bytes(14)? {
                Some(key) => Some(Zeroizing::new(key.try_into().ok()?)),
                None => None,
            },
            cred_blob: match bytes(15)? {
                Some(blob) => Some(Zeroizing::new(Vec::from_slice(blob).ok()?)),
                None => None,
            },
            third_party_payment: flag(16)?,
            hidden: flag(17)? || flag(20)?,
            non_discoverable: flag(20)?,
        })
    }
}

/// credBlob: a few bytes of the relying party's. They may be a secret.
pub type CredBlob = Zeroizing<Vec<u8, CRED_BLOB_MAX>>;

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

impl CredentialProtection {
    /// The level with this number, if there is one.
    pub fn from_number(number: u64) -> Option<Self> {
        match number {
            1 => Some(Self::Optional),
            2 => Some(Self::OptionalWithCredentialIdList),
            3 => Some(Self::Required),
            _ => None,
        }
    }

    /// Whether only a verified user may learn that the credential is here.
    pub fn is_required(self) -> bool {
        self == Self::Required
    }
}

/// hmac-secret's per-credential secrets; zeroized when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct CredRandom {
    /// Used when the user was verified.
    pub with_uv: [u8; 32],
    /// Used when not.
    pub without_uv: [u8; 32],
}

/// Whether both are kept as the same bytes; how long that takes tells nothing of the secrets in them.
impl PartialEq for Credential {
    fn eq(&self, other: &Self) -> bool {
        self.encode().ct_eq(&other.encode()).into()
    }
}

impl Eq for Credential {}

impl PartialEq for CredRandom {
    fn eq(&self, other: &Self) -> bool {
        (self.with_uv.ct_eq(&other.with_uv) & self.without_uv.ct_eq(&other.without_uv)).into()
    }
}

impl Eq for CredRandom {}

/// Tells no secret, and nobody's name.
impl core::fmt::Debug for Credential {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Credential")
            .field("id", &self.id)
            .field("rp_id", &self.rp_id)
            .field("key", &self.key)
            .field("order", &self.order)
            .field("sign_count", &self.sign_count)
            .field("backup_eligible", &self.backup_eligible)
            .field("backup_state", &self.backup_state)
            .field("protection", &self.protection)
            .field("hidden", &self.hidden)
            .field("non_discoverable", &self.non_discoverable)
            .finish_non_exhaustive()
    }
}

impl core::fmt::Debug for CredRandom {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("CredRandom(…)")
    }
}

/// Cuts text to as many whole characters as fit.
pub(crate) fn truncated<const N: usize>(text: &str) -> String<N> {
    let mut end = text.len().min(N);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).and_then(|text| String::try_from(text).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn longest() -> Credential {
        Credential {
            id: Vec::from_slice(&[7; CREDENTIAL_ID_MAX]).unwrap(),
            rp_id_hash: [1; 32],
            rp_id: truncated(core::str::from_utf8(&[b'a'; RP_ID_MAX]).unwrap()),
            user: User {
                id: Vec::from_slice(&[2; USER_ID_MAX]).unwrap(),
                name: Some(truncated(core::str::from_utf8(&[b'n'; NAME_MAX]).unwrap())),
                display_name: Some(truncated(core::str::from_utf8(&[b'd'; NAME_MAX]).unwrap())),
            },
            key: PrivateKey::from_bytes(Algorithm::EdDsa, &[3; 32]).unwrap(),
            order: u64::MAX,
            sign_count: Some(u32::MAX),
            backup_eligible: true,
            backup_state: true,
            protection: CredentialProtection::Required,
            cred_random: Some(CredRandom { with_uv: [4; 32], without_uv: [5; 32] }),
            large_blob_key: Some([6; 32].into()),
            cred_blob: Some(Zeroizing::new(Vec::from_slice(&[8; CRED_BLOB_MAX]).unwrap())),
            third_party_payment: true,
            hidden: true,
            non_discoverable: true,
        }
    }

    #[test]
    fn the_longest_credential_survives_encoding() {
        let credential = longest();
        assert_eq!(Credential::decode(&credential.encode()), Some(credential));
    }

    #[test]
    fn the_shortest_credential_survives_encoding() {
        let mut credential = longest();
        (credential.user.name, credential.user.display_name) = (None, None);
        (credential.sign_count, credential.cred_random) = (None, None);
        (credential.large_blob_key, credential.cred_blob) = (None, None);
        (credential.backup_eligible, credential.backup_state) = (false, false);
        (credential.third_party_payment, credential.hidden) = (false, false);
        credential.non_discoverable = false;
        assert_eq!(Credential::decode(&credential.encode()), Some(credential));
    }

    #[test]
    fn one_that_is_not_discoverable_is_hidden_whatever_is_stored() {
        let mut credential = longest();
        credential.hidden = false;
        let read = Credential::decode(&credential.encode()).unwrap();
        assert!(read.hidden && read.non_discoverable);
    }

    #[test]
    fn no_truncated_encoding_is_a_credential() {
        let bytes = longest().encode();
        for length in 0..bytes.len() {
            assert_eq!(Credential::decode(&bytes[..length]), None);
        }
    }

    #[test]
    fn names_are_cut_at_a_character() {
        assert_eq!(truncated::<3>("aéé").as_str(), "aé");
        assert_eq!(truncated::<3>("ééé").as_str(), "é");
    }
}
