//! Suites: signatures, key wraps and sealing. Everything that is sealed is bound to its circle and its header.
//!
//! | offset | length | of a sealed message |
//! |---|---|---|
//! | 0 | 1 | version, 1 |
//! | 1 | 1 | suite |
//! | 2 | 8 | epoch |
//! | 10 | 12 | nonce |
//! | 22 | n | AES-256-GCM ciphertext of the padded plaintext |
//! | 22 + n | 16 | tag; the associated data are circle ‖ label ‖ bytes 0 to 21 |
//!
//! The whole has a Padmé length: its size tells at most 12 % more than its order of magnitude.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use hkdf::Hkdf;
use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::DhP256HkdfSha256;
use hpke::{Deserializable as _, Kem, OpModeR, OpModeS, Serializable as _};
use p256::NistP256;
use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::{Signature, VerifyingKey};
use p256::elliptic_curve::Generate as _;
use p256::elliptic_curve::sec1::ToSec1Point as _;
use rand_core::CryptoRng;
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::id::{CircleId, EpochId, LogId, hash};

/// What a circle's members sign, wrap and seal with. The founder chooses it for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum Suite {
    /// ECDSA P-256, HPKE with DHKEM(P-256, HKDF-SHA256), AES-256-GCM.
    P256 = 1,
    /// As suite 1, with the ML-KEM768-P256 hybrid as the HPKE's KEM.
    #[cfg(feature = "post-quantum")]
    MlKem768P256 = 2,
    /// No cryptography: keyed checksums that behave like it for honest code. For the simulator only.
    #[cfg(feature = "simulator")]
    Ideal = 0xf0,
}

impl Suite {
    /// The suite with this number, if this build has it.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Suite::P256),
            #[cfg(feature = "post-quantum")]
            2 => Some(Suite::MlKem768P256),
            #[cfg(feature = "simulator")]
            0xf0 => Some(Suite::Ideal),
            _ => None,
        }
    }
}

/// A device's secrets: identity (signs entries) and encryption (opens epoch wraps). Zeroized when dropped.
#[derive(Clone, ZeroizeOnDrop)]
pub struct DeviceKeys {
    #[zeroize(skip)]
    pub(crate) suite: Suite,
    pub(crate) identity: [u8; 32],
    pub(crate) encryption_seed: [u8; 32],
    #[zeroize(skip)]
    pub(crate) public: PublicKeys,
}

/// The public halves of a device's keys, and which incarnation of the device they speak for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKeys {
    /// Compressed SEC1 point that verifies the device's entries.
    pub identity: Vec<u8>,
    /// The HPKE public key that epoch secrets are wrapped for.
    pub encryption: Vec<u8>,
    /// Counts the lives of one device: a new one begins after its log has forked.
    pub incarnation: u32,
}

impl PublicKeys {
    /// The log these keys write.
    pub fn log(&self) -> LogId {
        LogId::of(&self.identity, self.incarnation)
    }
}

impl fmt::Debug for DeviceKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceKeys").field("log", &self.public.log()).finish_non_exhaustive()
    }
}

impl DeviceKeys {
    /// Makes new keys.
    pub fn generate(suite: Suite, rng: &mut impl CryptoRng) -> Self {
        let mut identity: [u8; 32] = match suite {
            #[cfg(feature = "simulator")]
            Suite::Ideal => random(rng),
            _ => p256::NonZeroScalar::generate_from_rng(rng).to_bytes().into(),
        };
        let mut encryption_seed = random(rng);
        let keys = Self::from_secrets(suite, &identity, &encryption_seed, 0);
        identity.zeroize();
        encryption_seed.zeroize();
        keys.expect("a generated scalar is a valid one")
    }

    /// Keys that anyone with the seed derives again: those of the recovery member.
    pub(crate) fn from_seed(suite: Suite, seed: &[u8; 16]) -> Self {
        let kdf = Hkdf::<Sha256>::new(None, seed);
        let mut encryption_seed = [0; 32];
        kdf.expand(b"recovery/encryption", &mut encryption_seed).expect("32 bytes are a valid length");
        for attempt in 0_u8.. {
            let mut identity = [0; 32];
            kdf.expand_multi_info(&[b"recovery/identity", &[attempt]], &mut identity)
                .expect("32 bytes are a valid length");
            if let Some(keys) = Self::from_secrets(suite, &identity, &encryption_seed, 0) {
                return keys;
            }
        }
        unreachable!("one in 2^32 scalars is out of range; 256 in a row are not")
    }

    /// Takes keys from their stored form. `None` if the identity is not a scalar of the curve.
    pub fn from_secrets(
        suite: Suite,
        identity: &[u8; 32],
        encryption_seed: &[u8; 32],
        incarnation: u32,
    ) -> Option<Self> {
        let (identity_public, encryption) = match suite {
            #[cfg(feature = "simulator")]
            Suite::Ideal => (hash(&[b"ideal", identity]).0.to_vec(), encryption_seed.to_vec()),
            Suite::P256 => (public_point(identity)?, public_of::<DhP256HkdfSha256>(encryption_seed)),
            #[cfg(feature = "post-quantum")]
            Suite::MlKem768P256 => {
                (public_point(identity)?, public_of::<hpke::kem::MlKem768P256>(encryption_seed))
            }
        };
        let public = PublicKeys { identity: identity_public, encryption, incarnation };
        Some(DeviceKeys { suite, identity: *identity, encryption_seed: *encryption_seed, public })
    }

    /// The public halves.
    pub fn public(&self) -> &PublicKeys {
        &self.public
    }

    /// What opens a circle at the relay with this address for whoever has these keys: hexadecimal, the same each time, and tells
    /// nothing about the keys.
    pub(crate) fn relay_token(&self, circle: &CircleId, base: &str) -> String {
        let mut token = Zeroizing::new([0; 16]);
        Hkdf::<Sha256>::new(Some(&circle.0), &self.encryption_seed)
            .expand_multi_info(&[b"device/relay", base.as_bytes()], &mut *token)
            .expect("16 bytes are a valid length");
        token.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(crate) fn sign(&self, message: &[&[u8]]) -> [u8; 64] {
        #[cfg(feature = "simulator")]
        if self.suite == Suite::Ideal {
            return ideal_signature(&self.public.identity, message);
        }
        let scalar = p256::NonZeroScalar::from_repr(self.identity.into())
            .into_option()
            .expect("checked when the keys were made");
        let digest = hash(message);
        let (signature, _) =
            ecdsa::hazmat::sign_prehashed_rfc6979::<NistP256, Sha256>(&scalar, &digest.0, &[]);
        signature.to_bytes().into()
    }

    pub(crate) fn unwrap(&self, wrapped: &[u8], info: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        match self.suite {
            #[cfg(feature = "simulator")]
            Suite::Ideal => {
                let (key, secret) = wrapped.split_at_checked(32)?;
                (key == self.encryption_seed).then(|| Zeroizing::new(secret.to_vec()))
            }
            Suite::P256 => hpke_open::<DhP256HkdfSha256>(&self.encryption_seed, wrapped, info),
            #[cfg(feature = "post-quantum")]
            Suite::MlKem768P256 => hpke_open::<hpke::kem::MlKem768P256>(&self.encryption_seed, wrapped, info),
        }
    }
}

/// Whether this identity key signed the message.
pub(crate) fn verify(suite: Suite, identity: &[u8], message: &[&[u8]], signature: &[u8; 64]) -> bool {
    #[cfg(feature = "simulator")]
    if suite == Suite::Ideal {
        return ideal_signature(identity, message) == *signature;
    }
    let _ = suite;
    let Ok(key) = VerifyingKey::from_sec1_bytes(identity) else { return false };
    let Ok(signature) = Signature::from_slice(signature) else { return false };
    key.verify(&message.concat(), &signature).is_ok()
}

/// Encrypts a secret to a public key, bound to `info`. `None` if the key is not one.
pub(crate) fn wrap(
    suite: Suite,
    encryption: &[u8],
    info: &[u8],
    secret: &[u8],
    rng: &mut impl CryptoRng,
) -> Option<Vec<u8>> {
    match suite {
        #[cfg(feature = "simulator")]
        Suite::Ideal => Some([encryption, secret].concat()),
        Suite::P256 => hpke_seal::<DhP256HkdfSha256>(encryption, info, secret, rng),
        #[cfg(feature = "post-quantum")]
        Suite::MlKem768P256 => hpke_seal::<hpke::kem::MlKem768P256>(encryption, info, secret, rng),
    }
}

/// The bytes of a sealed message before its ciphertext.
pub(crate) const HEADER: usize = 22;
pub(crate) const TAG: usize = 16;

/// An epoch's secret and the key that seals under one label. Zeroized when dropped.
#[derive(Clone, ZeroizeOnDrop)]
pub struct EpochKey {
    #[zeroize(skip)]
    suite: Suite,
    #[zeroize(skip)]
    pub(crate) circle: CircleId,
    #[zeroize(skip)]
    pub(crate) id: EpochId,
    pub(crate) secret: [u8; 32],
}

impl EpochKey {
    pub(crate) fn new(suite: Suite, circle: CircleId, secret: [u8; 32]) -> Self {
        EpochKey { suite, circle, id: EpochId::of(&circle, &secret), secret }
    }

    /// Seals a self-delimiting plaintext; zeros fill it up to a Padmé length.
    pub(crate) fn seal(&self, label: Label, mut plaintext: Vec<u8>, rng: &mut impl CryptoRng) -> Vec<u8> {
        plaintext.resize(padme(HEADER + plaintext.len() + TAG) - HEADER - TAG, 0);
        let mut sealed = Vec::with_capacity(HEADER + plaintext.len() + TAG);
        sealed.extend_from_slice(&[1, self.suite as u8]);
        sealed.extend_from_slice(&self.id.0);
        sealed.extend_from_slice(&random::<12>(rng));
        let aad = self.aad(label, &sealed);
        #[cfg(feature = "simulator")]
        if self.suite == Suite::Ideal {
            let tag = checksum(&[&self.secret, &aad, &plaintext]);
            sealed.extend_from_slice(&plaintext);
            sealed.extend_from_slice(&tag[..TAG]);
            return sealed;
        }
        let nonce: [u8; 12] = sealed[10..HEADER].try_into().expect("the header has a nonce of 12 bytes");
        let ciphertext = self
            .cipher(label)
            .encrypt(&Nonce::from(nonce), Payload { msg: &plaintext, aad: &aad })
            .expect("a message is far below the limit of GCM");
        plaintext.zeroize();
        sealed.extend_from_slice(&ciphertext);
        sealed
    }

    /// Opens what [`EpochKey::seal`] sealed, with its padding. `None` if a single bit is not as it was.
    pub(crate) fn open(&self, label: Label, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (header, ciphertext) = sealed.split_at_checked(HEADER)?;
        if header[..2] != [1, self.suite as u8] || header[2..10] != self.id.0 {
            return None;
        }
        let aad = self.aad(label, header);
        #[cfg(feature = "simulator")]
        if self.suite == Suite::Ideal {
            let (plaintext, tag) = ciphertext.split_at_checked(ciphertext.len().checked_sub(TAG)?)?;
            let expected = checksum(&[&self.secret, &aad, plaintext]);
            return (expected[..TAG] == *tag).then(|| Zeroizing::new(plaintext.to_vec()));
        }
        let nonce: [u8; 12] = header[10..].try_into().ok()?;
        let payload = Payload { msg: ciphertext, aad: &aad };
        self.cipher(label).decrypt(&Nonce::from(nonce), payload).ok().map(Zeroizing::new)
    }

    fn aad(&self, label: Label, header: &[u8]) -> Vec<u8> {
        [&self.circle.0, label.as_bytes(), header].concat()
    }

    fn cipher(&self, label: Label) -> Aes256Gcm {
        let mut key = [0; 32];
        Hkdf::<Sha256>::new(Some(&self.circle.0), &self.secret)
            .expand(label.as_bytes(), &mut key)
            .expect("32 bytes are a valid length");
        let cipher = Aes256Gcm::new(&key.into());
        key.zeroize();
        cipher
    }
}

impl fmt::Debug for EpochKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EpochKey({:?})", self.id)
    }
}

/// What a key derived from an epoch's secret is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Label {
    Entry,
    Peer,
    Snapshot,
}

impl Label {
    fn as_bytes(self) -> &'static [u8] {
        match self {
            Label::Entry => b"entry/1",
            Label::Peer => b"peer/1",
            Label::Snapshot => b"snapshot/1",
        }
    }
}

/// The epoch a sealed message claims, and `None` if it is not one of this version.
pub(crate) fn epoch_of(sealed: &[u8]) -> Option<EpochId> {
    if *sealed.first()? != 1 || sealed.len() < HEADER + TAG {
        return None;
    }
    sealed[2..10].try_into().ok().map(EpochId)
}

/// The Padmé length for `len` bytes (Nikitin et al., PETS 2019): at most 12 % above, few distinct values.
pub fn padme(len: usize) -> usize {
    if len < 2 {
        return len;
    }
    let exponent = len.ilog2();
    let kept = exponent.ilog2_or_zero() + 1;
    let mask = (1_usize << exponent.saturating_sub(kept)) - 1;
    (len + mask) & !mask
}

trait Ilog2OrZero {
    fn ilog2_or_zero(self) -> u32;
}

impl Ilog2OrZero for u32 {
    fn ilog2_or_zero(self) -> u32 {
        self.checked_ilog2().unwrap_or(0)
    }
}

pub(crate) fn random<const N: usize>(rng: &mut impl CryptoRng) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill_bytes(&mut bytes);
    bytes
}

fn public_point(identity: &[u8; 32]) -> Option<Vec<u8>> {
    let scalar = p256::NonZeroScalar::from_repr((*identity).into()).into_option()?;
    Some(p256::PublicKey::from_secret_scalar(&scalar).to_sec1_point(true).as_bytes().to_vec())
}

fn public_of<K: Kem>(seed: &[u8; 32]) -> Vec<u8> {
    K::derive_keypair(seed).1.to_bytes().to_vec()
}

fn hpke_seal<K: Kem>(public: &[u8], info: &[u8], secret: &[u8], rng: &mut impl CryptoRng) -> Option<Vec<u8>> {
    let public = K::PublicKey::from_bytes(public).ok()?;
    let (encapsulated, ciphertext) = hpke::single_shot_seal_with_rng::<AesGcm256, HkdfSha256, K>(
        &OpModeS::Base,
        &public,
        info,
        secret,
        b"",
        rng,
    )
    .ok()?;
    Some([&encapsulated.to_bytes(), ciphertext.as_slice()].concat())
}

fn hpke_open<K: Kem>(seed: &[u8; 32], wrapped: &[u8], info: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (encapsulated, ciphertext) = wrapped.split_at_checked(K::EncappedKey::size())?;
    let encapsulated = K::EncappedKey::from_bytes(encapsulated).ok()?;
    let private = K::derive_keypair(seed).0;
    hpke::single_shot_open::<AesGcm256, HkdfSha256, K>(
        &OpModeR::Base,
        &private,
        &encapsulated,
        info,
        ciphertext,
        b"",
    )
    .ok()
    .map(Zeroizing::new)
}

#[cfg(feature = "simulator")]
fn ideal_signature(identity: &[u8], message: &[&[u8]]) -> [u8; 64] {
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&checksum(&[b"ideal", identity, &checksum(message)]));
    signature
}

/// Four 64-bit checksums of the parts, one after the other: many times as quick as a hash, and as good among those who
/// do not attack it. Every seal and signature of a simulation is one.
#[cfg(feature = "simulator")]
fn checksum(parts: &[&[u8]]) -> [u8; 32] {
    // An odd factor and starts of no meaning: digits of pi.
    const FACTOR: u64 = 0x243f_6a88_85a3_08d3;
    let mut lanes: [u64; 4] =
        [0x1319_8a2e_0370_7344, 0xa409_3822_299f_31d0, 0x082e_fa98_ec4e_6c89, 0x4528_21e6_38d0_1377];
    let absorb = |lane: &mut u64, word: u64| *lane = (*lane ^ word).wrapping_mul(FACTOR).rotate_left(29);
    for part in parts {
        absorb(&mut lanes[0], part.len() as u64);
        let (blocks, rest) = part.as_chunks::<32>();
        for block in blocks.iter().copied().chain((!rest.is_empty()).then(|| {
            let mut last = [0; 32];
            last[..rest.len()].copy_from_slice(rest);
            last
        })) {
            let (words, _) = block.as_chunks::<8>();
            lanes.iter_mut().zip(words).for_each(|(lane, word)| absorb(lane, u64::from_le_bytes(*word)));
        }
    }
    // Twice around, so that every lane depends on all.
    for step in 0..8 {
        let from = lanes[(step + 1) % 4];
        let lane = &mut lanes[step % 4];
        *lane = (*lane ^ from).wrapping_mul(FACTOR);
        *lane ^= *lane >> 31;
    }
    let mut out = [0; 32];
    out.chunks_exact_mut(8).zip(lanes).for_each(|(bytes, lane)| bytes.copy_from_slice(&lane.to_le_bytes()));
    out
}
