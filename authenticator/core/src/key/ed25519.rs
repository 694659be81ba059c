//! Ed25519 (RFC 8032).

use ed25519_dalek::{Signer as _, SigningKey};

use super::Signature;
use crate::cbor::Writer;

pub(super) fn sign(seed: &[u8], message: &[u8], out: &mut Signature) -> Option<()> {
    let key = SigningKey::from_bytes(seed.try_into().ok()?);
    out.extend_from_slice(&key.sign(message).to_bytes()).ok()
}

/// kty OKP, crv Ed25519.
pub(super) fn write_public(seed: &[u8], out: &mut Writer<'_>) -> Option<()> {
    let key = SigningKey::from_bytes(seed.try_into().ok()?);
    out.map(4).int(1).int(1).int(3).int(-8).int(-1).int(6);
    out.int(-2).bytes(key.verifying_key().as_bytes());
    Some(())
}
