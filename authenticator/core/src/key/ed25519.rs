//! Ed25519 (RFC 8032): by the crate `ed25519-dalek` or by `compact`, as the feature `compact-curves` says.

use super::Signature;
#[cfg(feature = "compact-curves")]
use super::compact::ed25519 as arithmetic;
use crate::cbor::Writer;

pub(super) fn sign(seed: &[u8], message: &[u8], out: &mut Signature) -> Option<()> {
    out.extend_from_slice(&arithmetic::sign(seed.try_into().ok()?, message)).ok()
}

/// kty OKP, crv Ed25519.
pub(super) fn write_public(seed: &[u8], out: &mut Writer<'_>) -> Option<()> {
    let key = arithmetic::public_key(seed.try_into().ok()?);
    out.map(4).int(1).int(1).int(3).int(-8).int(-1).int(6);
    out.int(-2).bytes(&key);
    Some(())
}

#[cfg(not(feature = "compact-curves"))]
mod arithmetic {
    use ed25519_dalek::{Signer as _, SigningKey};

    pub(super) fn public_key(seed: &[u8; 32]) -> [u8; 32] {
        SigningKey::from_bytes(seed).verifying_key().to_bytes()
    }

    pub(super) fn sign(seed: &[u8; 32], message: &[u8]) -> [u8; 64] {
        SigningKey::from_bytes(seed).sign(message).to_bytes()
    }
}
