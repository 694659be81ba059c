//! Sealing: the keys of one log file, and what they do to a record.

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::error::VaultError;

/// The key of a vault, as custody keeps it.
pub(super) type VaultKey = Zeroizing<[u8; KEY_LENGTH]>;

/// The length of a vault's key in bytes.
pub(super) const KEY_LENGTH: usize = 32;
pub(super) const NONCE_LENGTH: usize = 12;
pub(super) const TAG_LENGTH: usize = 16;

/// The keys of one log file: HKDF-SHA256 of the vault's key, salted with 32 bytes drawn for that file. Zeroized
/// when dropped.
///
/// A nonce is random and used once. A file's keys seal fewer than 2³² records, so that two nonces meet with a
/// chance below 2⁻³² (SP 800-38D §8.3), also if an old copy of the file is put back and written on.
pub(super) struct Sealer {
    records: Aes256Gcm,
    header: Aes256Gcm,
}

impl Sealer {
    pub(super) fn new(key: &VaultKey, salt: &[u8; 32]) -> Self {
        let derivation = Hkdf::<Sha256>::new(Some(salt), key.as_slice());
        let derive = |label: &[u8]| {
            let mut derived = Zeroizing::new([0; KEY_LENGTH]);
            derivation.expand(label, derived.as_mut()).expect("32 bytes are less than 255 blocks");
            Aes256Gcm::new((&*derived).into())
        };
        Sealer { records: derive(b"doppelkey vault 1 records"), header: derive(b"doppelkey vault 1 header") }
    }

    /// Encrypts in place.
    pub(super) fn seal(
        &self,
        nonce: &[u8; NONCE_LENGTH],
        associated: &[u8],
        body: &mut [u8],
    ) -> [u8; TAG_LENGTH] {
        self.records
            .encrypt_inout_detached(&Nonce::from(*nonce), associated, body.into())
            .expect("a record is shorter than 64 GiB")
            .into()
    }

    /// Decrypts in place; `None` (and the body unspecified) if anything is not as it was sealed.
    pub(super) fn open(
        &self,
        nonce: &[u8; NONCE_LENGTH],
        associated: &[u8],
        body: &mut [u8],
        tag: &[u8; TAG_LENGTH],
    ) -> Option<()> {
        self.records
            .decrypt_inout_detached(&Nonce::from(*nonce), associated, body.into(), &Tag::from(*tag))
            .ok()
    }

    /// The tag over a file's header. The header's key seals nothing else, so its nonce can be constant.
    pub(super) fn header_tag(&self, header: &[u8]) -> [u8; TAG_LENGTH] {
        let nothing: &mut [u8] = &mut [];
        self.header
            .encrypt_inout_detached(&Nonce::from([0; NONCE_LENGTH]), header, nothing.into())
            .expect("a header is short")
            .into()
    }

    /// Whether this is the header the tag was made for, under this key.
    pub(super) fn header_is_ours(&self, header: &[u8], tag: &[u8; TAG_LENGTH]) -> bool {
        let nothing: &mut [u8] = &mut [];
        let nonce = Nonce::from([0; NONCE_LENGTH]);
        self.header.decrypt_inout_detached(&nonce, header, nothing.into(), &Tag::from(*tag)).is_ok()
    }
}

/// Random bytes of the operating system.
pub(super) fn random<const N: usize>() -> Result<[u8; N], VaultError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| VaultError::NoRandomness)?;
    Ok(bytes)
}
