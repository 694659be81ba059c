//! The platform's half of the PIN/UV auth protocols (CTAP §6.5.4), written apart from the core's. What the device
//! answers wrongly is a panic.

use alloc::vec;
use alloc::vec::Vec;

use aes::cipher::block_padding::NoPadding;
use aes::cipher::{BlockModeDecrypt as _, BlockModeEncrypt as _, KeyIvInit as _};
use ciborium::Value;
use hmac::{Hmac, KeyInit as _, Mac as _};
use p256::elliptic_curve::sec1::ToSec1Point as _;
use sha2::{Digest as _, Sha256};

use super::World;
use super::wire::{bytes, get, map, send};
use crate::CredentialStore;

/// Make credentials.
pub const MC: u8 = 0x01;
/// Get assertions.
pub const GA: u8 = 0x02;
/// Manage credentials.
pub const CM: u8 = 0x04;
/// Enrol fingerprints.
pub const BE: u8 = 0x08;
/// Write large blobs.
pub const LBW: u8 = 0x10;
/// Configure the authenticator.
pub const ACFG: u8 = 0x20;
/// Read credential management, for good.
pub const PCMR: u8 = 0x40;

/// A platform that speaks one of the protocols.
#[derive(Clone, Copy, Debug)]
pub struct Platform(/** The protocol's number. */ pub u8);

/// Both.
pub const BOTH: [Platform; 2] = [Platform(1), Platform(2)];

/// A shared secret.
pub struct Secret {
    platform: Platform,
    /// The platform's public key, as a request carries it.
    pub platform_key: Value,
    hmac_key: [u8; 32],
    aes_key: [u8; 32],
}

/// A pinUvAuthToken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    protocol: u8,
    /// The token itself.
    pub bytes: Vec<u8>,
}

impl Platform {
    /// getKeyAgreement, and the shared secret that comes of it.
    pub fn agree<S: CredentialStore>(self, world: &mut World<S>) -> Secret {
        let response = send(world, 0x06, &map([(1, self.0.into()), (2, 2.into())])).unwrap();
        let theirs = get(&response, 1).unwrap();
        assert_eq!(get(theirs, 3), Some(&Value::from(-25)), "by convention");
        let coordinate = |key| get(theirs, key).unwrap().as_bytes().unwrap().clone();
        let sec1 = [vec![4], coordinate(-2), coordinate(-3)].concat();
        let theirs = p256::PublicKey::from_sec1_bytes(&sec1).unwrap();
        let ours = p256::SecretKey::from_slice(&[7; 32]).unwrap();
        let z = p256::ecdh::diffie_hellman(ours.to_nonzero_scalar(), theirs.as_affine());
        let (mut hmac_key, mut aes_key) = ([0; 32], [0; 32]);
        if self.0 == 1 {
            hmac_key.copy_from_slice(&Sha256::digest(z.raw_secret_bytes()));
            aes_key = hmac_key;
        } else {
            let hkdf = hkdf::Hkdf::<Sha256>::new(Some(&[0; 32]), z.raw_secret_bytes());
            hkdf.expand(b"CTAP2 HMAC key", &mut hmac_key).unwrap();
            hkdf.expand(b"CTAP2 AES key", &mut aes_key).unwrap();
        }
        let point = ours.public_key().to_sec1_point(false);
        let (x, y) = point.as_bytes()[1..].split_at(32);
        let platform_key =
            map([(1, 2.into()), (3, Value::from(-25)), (-1, 1.into()), (-2, bytes(x)), (-3, bytes(y))]);
        Secret { platform: self, platform_key, hmac_key, aes_key }
    }

    /// A clientPIN request with the shared secret's key agreement and these further members.
    pub fn client_pin<S: CredentialStore>(
        self,
        world: &mut World<S>,
        subcommand: u8,
        secret: &Secret,
        members: impl IntoIterator<Item = (i32, Value)>,
    ) -> Result<Value, u8> {
        let first = [(1, self.0.into()), (2, subcommand.into()), (3, secret.platform_key.clone())];
        send(world, 0x06, &map(first.into_iter().chain(members)))
    }

    /// setPIN.
    pub fn set_pin<S: CredentialStore>(self, world: &mut World<S>, pin: &str) -> Result<Value, u8> {
        let secret = self.agree(world);
        let new_pin = secret.encrypt(&padded(pin));
        let parameter = secret.authenticate(&new_pin);
        self.client_pin(world, 3, &secret, [(4, parameter), (5, bytes(new_pin))])
    }

    /// changePIN.
    pub fn change_pin<S: CredentialStore>(
        self,
        world: &mut World<S>,
        old: &str,
        new: &str,
    ) -> Result<Value, u8> {
        let secret = self.agree(world);
        let new_pin = secret.encrypt(&padded(new));
        let hash = secret.encrypt(&pin_hash(old));
        let parameter = secret.authenticate(&[&new_pin[..], &hash].concat());
        self.client_pin(world, 4, &secret, [(4, parameter), (5, bytes(new_pin)), (6, bytes(hash))])
    }

    /// getPinToken.
    pub fn pin_token<S: CredentialStore>(self, world: &mut World<S>, pin: &str) -> Result<Token, u8> {
        let secret = self.agree(world);
        let hash = secret.encrypt(&pin_hash(pin));
        let response = self.client_pin(world, 5, &secret, [(6, bytes(hash))])?;
        Ok(secret.token(&response))
    }

    /// getPinUvAuthTokenUsingPinWithPermissions.
    pub fn token<S: CredentialStore>(
        self,
        world: &mut World<S>,
        pin: &str,
        permissions: u8,
        rp_id: Option<&str>,
    ) -> Result<Token, u8> {
        let secret = self.agree(world);
        let hash = secret.encrypt(&pin_hash(pin));
        let members = [(6, bytes(hash)), (9, permissions.into())];
        let rp_id = rp_id.map(|rp_id| (10, rp_id.into()));
        let response = self.client_pin(world, 9, &secret, members.into_iter().chain(rp_id))?;
        Ok(secret.token(&response))
    }

    /// getPinUvAuthTokenUsingUvWithPermissions.
    pub fn uv_token<S: CredentialStore>(
        self,
        world: &mut World<S>,
        permissions: u8,
        rp_id: Option<&str>,
    ) -> Result<Token, u8> {
        let secret = self.agree(world);
        let rp_id = rp_id.map(|rp_id| (10, rp_id.into()));
        let members = [(9, permissions.into())].into_iter().chain(rp_id);
        let response = self.client_pin(world, 6, &secret, members)?;
        Ok(secret.token(&response))
    }

    /// getPINRetries: how many, and whether a power cycle is due.
    pub fn pin_retries<S: CredentialStore>(self, world: &mut World<S>) -> Result<(i128, bool), u8> {
        let response = send(world, 0x06, &map([(1, self.0.into()), (2, 1.into())]))?;
        let retries = get(&response, 3).unwrap().as_integer().unwrap().into();
        Ok((retries, get(&response, 4) == Some(&Value::Bool(true))))
    }

    /// getUVRetries.
    pub fn uv_retries<S: CredentialStore>(self, world: &mut World<S>) -> Result<i128, u8> {
        let response = send(world, 0x06, &map([(1, self.0.into()), (2, 7.into())]))?;
        Ok(get(&response, 5).unwrap().as_integer().unwrap().into())
    }
}

impl Secret {
    /// `encrypt`, with a fixed initialisation vector.
    pub fn encrypt(&self, plaintext: &[u8]) -> Vec<u8> {
        let iv = if self.platform.0 == 1 { [0; 16] } else { [0xA5; 16] };
        let mut out = plaintext.to_vec();
        cbc::Encryptor::<aes::Aes256>::new(&self.aes_key.into(), &iv.into())
            .encrypt_padded::<NoPadding>(&mut out, plaintext.len())
            .unwrap();
        if self.platform.0 == 1 { out } else { [&iv[..], &out].concat() }
    }

    /// `decrypt`.
    pub fn decrypt(&self, ciphertext: &[u8]) -> Vec<u8> {
        let (iv, body) = match self.platform.0 {
            1 => ([0; 16], ciphertext),
            _ => (ciphertext[..16].try_into().unwrap(), &ciphertext[16..]),
        };
        let mut out = body.to_vec();
        cbc::Decryptor::<aes::Aes256>::new(&self.aes_key.into(), &iv.into())
            .decrypt_padded::<NoPadding>(&mut out)
            .unwrap();
        out
    }

    /// `authenticate`: a pinUvAuthParam.
    pub fn authenticate(&self, message: &[u8]) -> Value {
        authenticate(self.platform.0, &self.hmac_key, message)
    }

    fn token(&self, response: &Value) -> Token {
        let encrypted = get(response, 2).unwrap().as_bytes().unwrap();
        Token { protocol: self.platform.0, bytes: self.decrypt(encrypted) }
    }
}

impl Token {
    /// A pinUvAuthParam for this message.
    pub fn authenticate(&self, message: &[u8]) -> Value {
        authenticate(self.protocol, &self.bytes, message)
    }

    /// The pinUvAuthProtocol.
    pub fn protocol(&self) -> Value {
        self.protocol.into()
    }
}

fn authenticate(protocol: u8, key: &[u8], message: &[u8]) -> Value {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(message);
    let tag = mac.finalize().into_bytes();
    bytes(if protocol == 1 { &tag[..16] } else { &tag[..] })
}

fn padded(pin: &str) -> [u8; 64] {
    let mut padded = [0; 64];
    padded[..pin.len()].copy_from_slice(pin.as_bytes());
    padded
}

fn pin_hash(pin: &str) -> Vec<u8> {
    Sha256::digest(pin)[..16].to_vec()
}
