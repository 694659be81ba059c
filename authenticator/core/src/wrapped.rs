//! Credentials that are kept in their own id, and nowhere else (WebAuthn: server-side credentials).
//!
//! | offset | size | |
//! |---|---|---|
//! | 0 | 1 | format, 1 |
//! | 1 | 12 | nonce, random |
//! | 13 | 1 | flags: credProtect level (2 bits), 4 hmac-secret, 8 thirdPartyPayment |
//! | 14 | 2 | COSE algorithm, big-endian |
//! | 16 | *n* | private key |
//! | 16 + *n* | 16 | tag |
//!
//! From offset 13 on it is AES-256-GCM under the device's wrapping key; the associated data is the format and the
//! SHA-256 of the RP ID, so that an id opens only for the RP it was made for. A reset makes a new wrapping key:
//! every id made before is then noise.

use aes_gcm::aead::{AeadInOut as _, KeyInit as _};
use aes_gcm::{Nonce, Tag};
use hkdf::Hkdf;
use rand_core::CryptoRng;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::aes256::Aes256Gcm;
use crate::credential::{CREDENTIAL_ID_MAX, CredRandom, Credential, CredentialProtection};
use crate::key::{Algorithm, PrivateKey};
use crate::status::{Status, Step};

type Id = heapless::Vec<u8, CREDENTIAL_ID_MAX>;

/// Whether a credential of this algorithm can be kept in its own id.
pub(crate) fn fits(algorithm: Algorithm) -> bool {
    algorithm.private_key_size() <= CREDENTIAL_ID_MAX - HEAD - FLAGS_AND_ALGORITHM - TAG_SIZE
}

/// Seals what of a credential is kept in its id, and gives the id.
pub(crate) fn wrap(wrapping_key: &[u8; 32], rng: &mut impl CryptoRng, credential: &Credential) -> Step<Id> {
    let mut id = Id::new();
    let mut nonce = [0; NONCE_SIZE];
    rng.fill_bytes(&mut nonce);
    let algorithm = i16::try_from(credential.key.algorithm().cose()).map_err(|_| Status::Other)?;
    let flags = credential.protection as u8
        | if credential.cred_random.is_some() { HMAC_SECRET } else { 0 }
        | if credential.third_party_payment { THIRD_PARTY_PAYMENT } else { 0 };
    let parts: [&[u8]; 5] =
        [&[FORMAT], &nonce, &[flags], &algorithm.to_be_bytes(), credential.key.as_bytes()];
    for part in parts {
        id.extend_from_slice(part).map_err(|_| Status::LimitExceeded)?;
    }
    let tag = Aes256Gcm::new(wrapping_key.into())
        .encrypt_inout_detached(
            &Nonce::from(nonce),
            &associated(&credential.rp_id_hash),
            (&mut id[HEAD..]).into(),
        )
        .map_err(|_| Status::Other)?;
    id.extend_from_slice(&tag).map_err(|_| Status::LimitExceeded)?;
    Ok(id)
}

/// The credential that this id holds, if this device made it for this RP.
pub(crate) fn unwrap(wrapping_key: &[u8; 32], rp_id_hash: &[u8; 32], id: &[u8]) -> Option<Credential> {
    let (&[format], rest) = id.split_first_chunk()?;
    let (nonce, rest) = rest.split_first_chunk::<NONCE_SIZE>()?;
    let (sealed, tag) = rest.split_last_chunk::<TAG_SIZE>()?;
    if format != FORMAT {
        return None;
    }
    let mut opened = Zeroizing::new(Id::from_slice(sealed).ok()?);
    Aes256Gcm::new(wrapping_key.into())
        .decrypt_inout_detached(
            &Nonce::from(*nonce),
            &associated(rp_id_hash),
            (&mut opened[..]).into(),
            &Tag::from(*tag),
        )
        .ok()?;
    let (&[flags, high, low], key) = opened.split_first_chunk()?;
    let algorithm = Algorithm::from_cose(i32::from(i16::from_be_bytes([high, low])))?;
    let key = PrivateKey::from_bytes(algorithm, key)?;
    Some(Credential {
        id: Id::from_slice(id).ok()?,
        cred_random: (flags & HMAC_SECRET != 0).then(|| cred_random(&key)),
        sign_count: Some(0),
        protection: CredentialProtection::from_number(u64::from(flags & PROTECTION))?,
        third_party_payment: flags & THIRD_PARTY_PAYMENT != 0,
        hidden: true,
        non_discoverable: true,
        ..Credential::new(*rp_id_hash, key)
    })
}

/// hmac-secret's CredRandoms of a credential that has no room for them: derived from its private key.
pub(crate) fn cred_random(key: &PrivateKey) -> CredRandom {
    let mut random = CredRandom { with_uv: [0; 32], without_uv: [0; 32] };
    let hkdf = Hkdf::<Sha256>::new(None, key.as_bytes());
    hkdf.expand(b"CredRandomWithUV", &mut random.with_uv).expect("32 bytes are within HKDF's limit");
    hkdf.expand(b"CredRandomWithoutUV", &mut random.without_uv).expect("32 bytes are within HKDF's limit");
    random
}

fn associated(rp_id_hash: &[u8; 32]) -> [u8; 33] {
    let mut associated = [FORMAT; 33];
    associated[1..].copy_from_slice(rp_id_hash);
    associated
}

const FORMAT: u8 = 1;
const NONCE_SIZE: usize = 12;
const TAG_SIZE: usize = 16;
/// Where what is sealed begins.
const HEAD: usize = 1 + NONCE_SIZE;
const FLAGS_AND_ALGORITHM: usize = 3;
const PROTECTION: u8 = 0b0011;
const HMAC_SECRET: u8 = 0b0100;
const THIRD_PARTY_PAYMENT: u8 = 0b1000;
