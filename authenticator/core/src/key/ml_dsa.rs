//! ML-DSA (FIPS 204; in COSE, RFC 9964): kept as its seed, signing without randomness.

use ::ml_dsa::{MlDsa44, MlDsa65, MlDsa87, MlDsaParams, Seed, SigningKey};

use super::Signature;
use crate::cbor::Writer;

fn key<P: MlDsaParams>(seed: &[u8]) -> Option<SigningKey<P>> {
    Some(SigningKey::from_seed(&Seed::try_from(seed).ok()?))
}

fn sign<P: MlDsaParams>(seed: &[u8], message: &[u8], out: &mut Signature) -> Option<()> {
    let signature = key::<P>(seed)?.expanded_key().sign_deterministic(message, &[]).ok()?;
    out.extend_from_slice(&signature.encode()).ok()
}

/// kty AKP.
fn write_public<P: MlDsaParams>(seed: &[u8], number: i32, out: &mut Writer<'_>) -> Option<()> {
    let public = key::<P>(seed)?.expanded_key().verifying_key().encode();
    out.map(3).int(1).int(7).int(3).int(number).int(-1).bytes(&public);
    Some(())
}

pub(super) fn sign_44(seed: &[u8], message: &[u8], out: &mut Signature) -> Option<()> {
    sign::<MlDsa44>(seed, message, out)
}

pub(super) fn sign_65(seed: &[u8], message: &[u8], out: &mut Signature) -> Option<()> {
    sign::<MlDsa65>(seed, message, out)
}

pub(super) fn sign_87(seed: &[u8], message: &[u8], out: &mut Signature) -> Option<()> {
    sign::<MlDsa87>(seed, message, out)
}

pub(super) fn write_public_44(seed: &[u8], number: i32, out: &mut Writer<'_>) -> Option<()> {
    write_public::<MlDsa44>(seed, number, out)
}

pub(super) fn write_public_65(seed: &[u8], number: i32, out: &mut Writer<'_>) -> Option<()> {
    write_public::<MlDsa65>(seed, number, out)
}

pub(super) fn write_public_87(seed: &[u8], number: i32, out: &mut Writer<'_>) -> Option<()> {
    write_public::<MlDsa87>(seed, number, out)
}
