//! PIN/UV auth protocols one and two from the platform's side (CTAP §6.5).

use aes::cipher::block_padding::NoPadding;
use aes::cipher::{BlockModeDecrypt as _, BlockModeEncrypt as _, KeyIvInit as _};
use ciborium::Value;
use hmac::{Hmac, KeyInit as _, Mac as _};
use p256::elliptic_curve::Generate as _;
use p256::elliptic_curve::sec1::{FromSec1Point as _, ToSec1Point as _};
use rand_core::CryptoRng;
use sha2::{Digest as _, Sha256};
use unicode_normalization::UnicodeNormalization as _;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::channel::{Channel, Limit};
use super::ctap::{self, Info, command};
use super::error::{Error, NotVerified};
use crate::cbor::Map;

/// Permissions of a pinUvAuthToken (§6.5.5.7).
pub(crate) mod permission {
    pub(crate) const MAKE_CREDENTIAL: u8 = 0x01;
    pub(crate) const GET_ASSERTION: u8 = 0x02;
    pub(crate) const LARGE_BLOB_WRITE: u8 = 0x10;
}

/// Subcommands of authenticatorClientPIN (§6.5.5).
mod subcommand {
    pub(super) const GET_KEY_AGREEMENT: u64 = 0x02;
    pub(super) const SET_PIN: u64 = 0x03;
    pub(super) const CHANGE_PIN: u64 = 0x04;
    pub(super) const GET_PIN_TOKEN: u64 = 0x05;
    pub(super) const GET_TOKEN_USING_UV: u64 = 0x06;
    pub(super) const GET_TOKEN_USING_PIN: u64 = 0x09;
}

/// A PIN of at most 63 bytes is padded with zeros to this.
const PADDED_PIN: usize = 64;

/// What platform and authenticator share after key agreement. Secrets are zeroized when dropped.
#[derive(ZeroizeOnDrop)]
pub(crate) struct SharedSecret {
    #[zeroize(skip)]
    protocol: u64,
    #[zeroize(skip)]
    platform_key: Value,
    hmac_key: [u8; 32],
    aes_key: [u8; 32],
}

/// A pinUvAuthToken, and the protocol it is for.
#[derive(ZeroizeOnDrop)]
pub(crate) struct Token {
    #[zeroize(skip)]
    pub(crate) protocol: u64,
    bytes: Vec<u8>,
}

impl Token {
    /// `authenticate(token, message)`.
    pub(crate) fn authenticate(&self, message: &[u8]) -> Vec<u8> {
        authenticate(self.protocol, &self.bytes, message)
    }

    /// The token itself and its protocol.
    pub(crate) fn parts(&self) -> (&[u8], u64) {
        (&self.bytes, self.protocol)
    }
}

/// `authenticate(key, message)`: HMAC-SHA-256, of which protocol one keeps 16 bytes.
pub(crate) fn authenticate(protocol: u64, key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of every length");
    mac.update(message);
    let mut tag = mac.finalize().into_bytes().to_vec();
    if protocol == 1 {
        tag.truncate(16);
    }
    tag
}

impl SharedSecret {
    /// Agrees on a key, by the newest protocol both speak (§6.5.5.4, `encapsulate`).
    pub(crate) fn agree(
        channel: &mut Channel,
        info: &Info,
        rng: &mut dyn CryptoRng,
        limit: &Limit,
    ) -> Result<Self, Error> {
        let protocol = match &info.pin_protocols {
            // Before CTAP 2.1 the list was not there, and protocol one the only one.
            none if none.is_empty() => 1,
            some => some
                .iter()
                .copied()
                .find(|p| *p == 2)
                .or_else(|| some.iter().copied().find(|p| *p == 1))
                .ok_or(Error::Unsupported(
                    "the authenticator speaks no PIN/UV auth protocol that this client knows",
                ))?,
        };
        let parameters = Map::new().with(1, protocol).with(2, subcommand::GET_KEY_AGREEMENT);
        let answer = ctap::call(channel, command::CLIENT_PIN, parameters, limit)?;
        let authenticator_key = answer.map(1)?.ok_or(Error::BadAnswer("no key agreement key"))?;
        Self::encapsulate(protocol, &authenticator_key, rng)
    }

    fn encapsulate(
        protocol: u64,
        authenticator_key: &Map,
        mut rng: &mut dyn CryptoRng,
    ) -> Result<Self, Error> {
        let public = parse_public(authenticator_key)?;
        let private = p256::SecretKey::generate_from_rng(&mut rng);
        let z = private.diffie_hellman(&public);
        let mut secret = SharedSecret {
            protocol,
            platform_key: cose_key(&private.public_key()),
            hmac_key: [0; 32],
            aes_key: [0; 32],
        };
        if protocol == 1 {
            secret.hmac_key.copy_from_slice(&Sha256::digest(z.raw_secret_bytes()));
            secret.aes_key = secret.hmac_key;
        } else {
            let hkdf = hkdf::Hkdf::<Sha256>::new(Some(&[0; 32]), z.raw_secret_bytes());
            let fits = "32 bytes are within HKDF's limit";
            hkdf.expand(b"CTAP2 HMAC key", &mut secret.hmac_key).expect(fits);
            hkdf.expand(b"CTAP2 AES key", &mut secret.aes_key).expect(fits);
        }
        Ok(secret)
    }

    /// The protocol's number.
    pub(crate) fn protocol(&self) -> u64 {
        self.protocol
    }

    /// The platform's public key, as a COSE_Key.
    pub(crate) fn platform_key(&self) -> Value {
        self.platform_key.clone()
    }

    /// `encrypt(shared secret, plaintext)`; the plaintext is whole blocks.
    pub(crate) fn encrypt(&self, plaintext: &[u8], rng: &mut dyn CryptoRng) -> Vec<u8> {
        debug_assert!(plaintext.len().is_multiple_of(16));
        let mut iv = [0; 16];
        let mut out = Vec::new();
        if self.protocol != 1 {
            rng.fill_bytes(&mut iv);
            out.extend_from_slice(&iv);
        }
        let cipher = cbc::Encryptor::<aes::Aes256>::new(&self.aes_key.into(), &iv.into());
        let start = out.len();
        out.extend_from_slice(plaintext);
        cipher
            .encrypt_padded::<NoPadding>(&mut out[start..], plaintext.len())
            .expect("whole blocks need no padding");
        out
    }

    /// `decrypt(shared secret, ciphertext)`.
    pub(crate) fn decrypt(&self, ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        let malformed = Error::BadAnswer("a ciphertext is not a whole number of blocks");
        let (iv, body) = if self.protocol == 1 {
            ([0; 16], ciphertext)
        } else {
            let Some((iv, body)) = ciphertext.split_first_chunk() else { return Err(malformed) };
            (*iv, body)
        };
        let mut plaintext = Zeroizing::new(body.to_vec());
        let cipher = cbc::Decryptor::<aes::Aes256>::new(&self.aes_key.into(), &iv.into());
        cipher.decrypt_padded::<NoPadding>(&mut plaintext).map_err(|_| malformed)?;
        Ok(plaintext)
    }

    /// `authenticate(shared secret, message)`.
    pub(crate) fn authenticate(&self, message: &[u8]) -> Vec<u8> {
        authenticate(self.protocol, &self.hmac_key, message)
    }

    fn parameters(&self, subcommand: u64) -> Map {
        Map::new().with(1, self.protocol).with(2, subcommand).with(3, self.platform_key())
    }
}

/// What a token is for.
#[derive(Clone, Copy)]
pub(crate) struct Purpose<'a> {
    pub(crate) permissions: u8,
    pub(crate) rp_id: &'a str,
}

/// A token for the PIN (§6.5.5.7.2; getPinToken where permissions are not known).
pub(crate) fn token_using_pin(
    channel: &mut Channel,
    info: &Info,
    pin: &str,
    purpose: Purpose<'_>,
    rng: &mut dyn CryptoRng,
    limit: &Limit,
) -> Result<Token, Error> {
    if info.force_pin_change {
        return Err(Error::NotVerified(NotVerified::PinMustChange));
    }
    let secret = SharedSecret::agree(channel, info, rng, limit)?;
    let hash = pin_hash(pin);
    let encrypted = Value::Bytes(secret.encrypt(&*hash, rng));
    let parameters = if info.is("pinUvAuthToken") {
        secret
            .parameters(subcommand::GET_TOKEN_USING_PIN)
            .with(6, encrypted)
            .with(9, u64::from(purpose.permissions))
            .with(10, purpose.rp_id)
    } else {
        secret.parameters(subcommand::GET_PIN_TOKEN).with(6, encrypted)
    };
    take_token(channel, &secret, parameters, limit)
}

/// A token for built-in verification: the user is asked for it now (§6.5.5.7.3).
pub(crate) fn token_using_uv(
    channel: &mut Channel,
    info: &Info,
    purpose: Purpose<'_>,
    rng: &mut dyn CryptoRng,
    limit: &Limit,
) -> Result<Token, Error> {
    let secret = SharedSecret::agree(channel, info, rng, limit)?;
    let parameters = secret
        .parameters(subcommand::GET_TOKEN_USING_UV)
        .with(9, u64::from(purpose.permissions))
        .with(10, purpose.rp_id);
    take_token(channel, &secret, parameters, limit)
}

fn take_token(
    channel: &mut Channel,
    secret: &SharedSecret,
    parameters: Map,
    limit: &Limit,
) -> Result<Token, Error> {
    let answer = ctap::call(channel, command::CLIENT_PIN, parameters, limit)?;
    let encrypted = answer.bytes(2)?.ok_or(Error::BadAnswer("no pinUvAuthToken"))?;
    let mut bytes = secret.decrypt(encrypted)?;
    Ok(Token { protocol: secret.protocol, bytes: std::mem::take(&mut *bytes) })
}

/// Sets the first PIN (§6.5.5.5).
pub(crate) fn set(
    channel: &mut Channel,
    info: &Info,
    pin: &str,
    rng: &mut dyn CryptoRng,
    limit: &Limit,
) -> Result<(), Error> {
    let secret = SharedSecret::agree(channel, info, rng, limit)?;
    let encrypted = secret.encrypt(&*padded(pin)?, rng);
    let tag = secret.authenticate(&encrypted);
    let parameters =
        secret.parameters(subcommand::SET_PIN).with(4, Value::Bytes(tag)).with(5, Value::Bytes(encrypted));
    store(channel, parameters, limit)
}

/// Changes the PIN (§6.5.5.6).
pub(crate) fn change(
    channel: &mut Channel,
    info: &Info,
    old: &str,
    new: &str,
    rng: &mut dyn CryptoRng,
    limit: &Limit,
) -> Result<(), Error> {
    let secret = SharedSecret::agree(channel, info, rng, limit)?;
    let encrypted = secret.encrypt(&*padded(new)?, rng);
    let old_hash = secret.encrypt(&*pin_hash(old), rng);
    let tag = secret.authenticate(&[encrypted.as_slice(), &old_hash].concat());
    let parameters = secret
        .parameters(subcommand::CHANGE_PIN)
        .with(4, Value::Bytes(tag))
        .with(5, Value::Bytes(encrypted))
        .with(6, Value::Bytes(old_hash));
    store(channel, parameters, limit)
}

/// Sends a command that stores a PIN. There, a policy that is violated (§8.2) is the new PIN's.
fn store(channel: &mut Channel, parameters: Map, limit: &Limit) -> Result<(), Error> {
    match ctap::call(channel, command::CLIENT_PIN, parameters, limit) {
        Err(Error::NotVerified(NotVerified::PinMustChange)) => {
            Err(Error::NotVerified(NotVerified::PinRefused))
        }
        other => other.map(drop),
    }
}

/// The PIN as the authenticator is to have it: Unicode's composed form, however its accents were typed (§6.5.1).
fn composed(pin: &str) -> Zeroizing<String> {
    // Three times the bytes at most: no copy is left behind by growing.
    let mut composed = Zeroizing::new(String::with_capacity(3 * pin.len()));
    composed.extend(pin.nfc());
    composed
}

fn pin_hash(pin: &str) -> Zeroizing<[u8; 16]> {
    let mut digest = Sha256::digest(composed(pin).as_str());
    let mut hash = Zeroizing::new([0; 16]);
    hash.copy_from_slice(&digest[..16]);
    digest.as_mut_slice().zeroize();
    hash
}

fn padded(pin: &str) -> Result<Zeroizing<[u8; PADDED_PIN]>, Error> {
    let pin = composed(pin);
    if pin.chars().count() < 4 || pin.len() >= PADDED_PIN {
        return Err(Error::Options("a PIN has at least 4 characters and at most 63 bytes".to_owned()));
    }
    let mut padded = Zeroizing::new([0; PADDED_PIN]);
    padded[..pin.len()].copy_from_slice(pin.as_bytes());
    Ok(padded)
}

fn parse_public(key: &Map) -> Result<p256::PublicKey, Error> {
    let malformed = || Error::BadAnswer("the key agreement key is not a point of P-256");
    let (x, y) = (key.bytes(-2)?.ok_or_else(malformed)?, key.bytes(-3)?.ok_or_else(malformed)?);
    let mut sec1 = vec![4];
    sec1.extend_from_slice(x);
    sec1.extend_from_slice(y);
    let point = p256::Sec1Point::from_bytes(&sec1).map_err(|_| malformed())?;
    p256::PublicKey::from_sec1_point(&point).into_option().ok_or_else(malformed)
}

/// The COSE_Key of a key agreement key; its algorithm is ECDH-ES+HKDF-256 by convention (§6.5.6).
fn cose_key(key: &p256::PublicKey) -> Value {
    let point = key.to_sec1_point(false);
    let bytes = point.as_bytes();
    Map::new()
        .with(1, 2)
        .with(3, -25)
        .with(-1, 1)
        .with(-2, Value::Bytes(bytes[1..33].to_vec()))
        .with(-3, Value::Bytes(bytes[33..].to_vec()))
        .into()
}
