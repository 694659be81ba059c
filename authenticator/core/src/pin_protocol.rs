//! PIN/UV auth protocols one and two (CTAP §6.5.6, §6.5.7): key agreement, encryption, authentication.

use aes::cipher::{BlockModeDecrypt as _, BlockModeEncrypt as _, KeyIvInit as _, block_padding::NoPadding};
use heapless::Vec;
use hmac::{Hmac, KeyInit as _, Mac as _};
use rand_core::CryptoRng;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::aes256::Aes256;
use crate::cbor::{Item, Writer};
use crate::key::{self, Scalar};
use crate::status::{Status, Step};

type HmacSha256 = Hmac<Sha256>;

/// The longest plaintext in bytes: a padded PIN, or two salts.
pub(crate) const PLAINTEXT_MAX: usize = 64;
/// The longest ciphertext in bytes: an initialisation vector before it (protocol two).
pub(crate) const CIPHERTEXT_MAX: usize = PLAINTEXT_MAX + 16;

/// A PIN/UV auth protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    One,
    Two,
}

impl Protocol {
    /// The protocol with this number.
    ///
    /// # Errors
    /// [`Status::InvalidParameter`] for a number that is not supported.
    pub(crate) fn from_number(number: u64) -> Step<Self> {
        match number {
            1 => Ok(Protocol::One),
            2 => Ok(Protocol::Two),
            _ => Err(Status::InvalidParameter),
        }
    }

    /// `authenticate(key, message)`, compared in constant time.
    pub(crate) fn verify(self, key: &[u8; 32], message: &[&[u8]], tag: &[u8]) -> bool {
        let mut mac = HmacSha256::new_from_slice(key).expect("HMAC takes keys of every length");
        for part in message {
            mac.update(part);
        }
        let expected = mac.finalize().into_bytes();
        let length = match self {
            Protocol::One => 16,
            Protocol::Two => 32,
        };
        expected[..length].ct_eq(tag).into()
    }
}

/// The authenticator's key pair for key agreement; made anew at power-up and after a wrong PIN.
pub(crate) struct KeyAgreement(Scalar);

impl KeyAgreement {
    pub(crate) fn generate(rng: &mut impl CryptoRng) -> Self {
        KeyAgreement(key::generate_scalar(rng))
    }

    /// Writes `getPublicKey()`: a COSE_Key whose algorithm is ECDH-ES+HKDF-256, by convention.
    pub(crate) fn write_public(&self, out: &mut Writer<'_>) {
        key::write_agreement_key(out, &self.0);
    }

    /// `decapsulate(platform key)`: the shared secret.
    ///
    /// # Errors
    /// [`Status::InvalidParameter`] for a key that is not a point of P-256; [`Status::MissingParameter`] for one
    /// that lacks a coordinate.
    pub(crate) fn decapsulate(&self, protocol: Protocol, platform_key: Item<'_>) -> Step<SharedSecret> {
        let platform_key = platform_key.map()?;
        let (x, y) = (platform_key.required(-2)?.bytes()?, platform_key.required(-3)?.bytes()?);
        let coordinate = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).map_err(|_| Status::InvalidParameter);
        let z = key::agree(&self.0, &coordinate(x)?, &coordinate(y)?).ok_or(Status::InvalidParameter)?;
        Ok(SharedSecret::derive(protocol, &*z))
    }
}

/// What platform and authenticator share; zeroized when dropped.
#[derive(ZeroizeOnDrop)]
pub(crate) struct SharedSecret {
    #[zeroize(skip)]
    protocol: Protocol,
    hmac_key: [u8; 32],
    aes_key: [u8; 32],
}

impl SharedSecret {
    /// `kdf(Z)`.
    fn derive(protocol: Protocol, z: &[u8]) -> Self {
        let mut secret = SharedSecret { protocol, hmac_key: [0; 32], aes_key: [0; 32] };
        match protocol {
            Protocol::One => {
                secret.hmac_key.copy_from_slice(&Sha256::digest(z));
                secret.aes_key = secret.hmac_key;
            }
            Protocol::Two => {
                let hkdf = hkdf::Hkdf::<Sha256>::new(Some(&[0; 32]), z);
                hkdf.expand(b"CTAP2 HMAC key", &mut secret.hmac_key)
                    .expect("32 bytes are within HKDF's limit");
                hkdf.expand(b"CTAP2 AES key", &mut secret.aes_key).expect("32 bytes are within HKDF's limit");
            }
        }
        secret
    }

    /// The protocol it was agreed under.
    pub(crate) fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// `verify(shared secret, message, signature)`.
    ///
    /// # Errors
    /// [`Status::PinAuthInvalid`].
    pub(crate) fn verify(&self, message: &[&[u8]], tag: &[u8]) -> Step {
        if self.protocol.verify(&self.hmac_key, message, tag) { Ok(()) } else { Err(Status::PinAuthInvalid) }
    }

    /// `decrypt(shared secret, ciphertext)`; `None` if its length cannot be one.
    pub(crate) fn decrypt(&self, ciphertext: &[u8]) -> Option<Plaintext> {
        let (iv, body): ([u8; 16], &[u8]) = match self.protocol {
            Protocol::One => ([0; 16], ciphertext),
            Protocol::Two => {
                let (iv, body) = ciphertext.split_first_chunk()?;
                (*iv, body)
            }
        };
        let mut plaintext = Plaintext(Vec::from_slice(body).ok()?);
        cbc::Decryptor::<Aes256>::new(&self.aes_key.into(), &iv.into())
            .decrypt_padded::<NoPadding>(&mut plaintext.0)
            .ok()?;
        Some(plaintext)
    }

    /// `encrypt(shared secret, plaintext)`; the plaintext is a whole number of 16-byte blocks.
    pub(crate) fn encrypt(&self, plaintext: &[u8], rng: &mut impl CryptoRng) -> Vec<u8, CIPHERTEXT_MAX> {
        debug_assert!(plaintext.len().is_multiple_of(16) && plaintext.len() <= PLAINTEXT_MAX);
        let mut iv = [0; 16];
        let mut out = Vec::new();
        if self.protocol == Protocol::Two {
            rng.fill_bytes(&mut iv);
            let _ = out.extend_from_slice(&iv);
        }
        let start = out.len();
        let _ = out.extend_from_slice(plaintext);
        cbc::Encryptor::<Aes256>::new(&self.aes_key.into(), &iv.into())
            .encrypt_padded::<NoPadding>(&mut out[start..], plaintext.len())
            .expect("whole blocks need no padding");
        out
    }
}

/// A decrypted parameter; zeroized when dropped.
#[derive(ZeroizeOnDrop, Zeroize)]
pub(crate) struct Plaintext(Vec<u8, PLAINTEXT_MAX>);

impl core::ops::Deref for Plaintext {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// The first 16 bytes of the SHA-256 of a PIN: all that is kept of it.
pub(crate) fn pin_hash(pin: &[u8]) -> Zeroizing<[u8; 16]> {
    let mut hash = Zeroizing::new([0; 16]);
    hash.copy_from_slice(&Sha256::digest(pin)[..16]);
    hash
}
