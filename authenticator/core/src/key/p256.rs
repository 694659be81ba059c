//! ECDSA on P-256 with SHA-256 (FIPS 186-5, nonces by RFC 6979), for small memories.
//!
//! The field, the scalars and the points are the crate `p256`'s; the base point's multiples are not, where there is no
//! room for its tables.

#[cfg(not(feature = "precomputed-tables"))]
mod comb;

use ::p256::elliptic_curve::ops::{Invert as _, Reduce as _};
use ::p256::elliptic_curve::point::AffineCoordinates as _;
use ::p256::elliptic_curve::{Curve as _, Field as _, Generate as _};
use ::p256::{AffinePoint, FieldBytes, NistP256, NonZeroScalar, Scalar};
use heapless::Vec;
use rand_core::CryptoRng;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{PRIVATE_KEY_MAX, Signature};
use crate::cbor::Writer;

pub(super) fn generate(rng: &mut impl CryptoRng, bytes: &mut Vec<u8, PRIVATE_KEY_MAX>) {
    let scalar = Zeroizing::new(NonZeroScalar::generate_from_rng(rng));
    let _ = bytes.extend_from_slice(&Zeroizing::new(<[u8; 32]>::from(scalar.to_bytes()))[..]);
}

pub(super) fn is_valid(bytes: &[u8]) -> bool {
    scalar(bytes).is_some()
}

fn scalar(bytes: &[u8]) -> Option<Zeroizing<NonZeroScalar>> {
    let bytes: [u8; 32] = bytes.try_into().ok()?;
    NonZeroScalar::from_repr(bytes.into()).into_option().map(Zeroizing::new)
}

/// FIPS 186-5 §6.4.1, from the scalar: the public key is not needed.
pub(super) fn sign(bytes: &[u8], message: &[u8], out: &mut Signature) -> Option<()> {
    let d = scalar(bytes)?;
    let digest = Sha256::digest(message);
    let z = Scalar::reduce(&digest);
    let key = Zeroizing::new(<[u8; 32]>::from(d.to_bytes()));
    let order = NistP256::ORDER.get();
    let mut nonces = rfc6979::KGenerator::<Sha256, _>::new(&key[..], &digest, &[], &order);
    loop {
        let mut nonce = Zeroizing::new([0; 32]);
        nonces.fill_next_k(&mut nonce[..]);
        let Some(k) = scalar(&nonce[..]) else { continue };
        let r = Scalar::reduce(&times_generator(&k).x());
        let inverse = Zeroizing::new(*k.invert());
        let s = *inverse * (z + r * **d);
        if !bool::from(r.is_zero()) && !bool::from(s.is_zero()) {
            return write_der(&r.to_bytes(), &s.to_bytes(), out);
        }
    }
}

pub(super) fn write_public(bytes: &[u8], out: &mut Writer<'_>) -> Option<()> {
    write_point(out, &times_generator(&*scalar(bytes)?), -7);
    Some(())
}

/// A point as a COSE_Key (kty EC2, crv P-256) under this algorithm.
fn write_point(out: &mut Writer<'_>, point: &AffinePoint, algorithm: i32) {
    out.map(5).int(1).int(2).int(3).int(algorithm).int(-1).int(1);
    out.int(-2).bytes(&point.x()).int(-3).bytes(&point.y());
}

/// The public key of a private one for key agreement.
pub(crate) fn write_agreement_key(out: &mut Writer<'_>, key: &::p256::SecretKey) {
    // ECDH-ES+HKDF-256, by convention.
    write_point(out, &times_generator(&key.to_nonzero_scalar()), -25);
}

#[cfg(not(feature = "precomputed-tables"))]
fn times_generator(scalar: &Scalar) -> AffinePoint {
    comb::times_generator(scalar).to_affine()
}

#[cfg(feature = "precomputed-tables")]
fn times_generator(scalar: &Scalar) -> AffinePoint {
    use ::p256::elliptic_curve::Group as _;
    ::p256::ProjectivePoint::mul_by_generator(scalar).to_affine()
}

/// SEQUENCE of two INTEGERs (X.690; RFC 3279 §2.2.3).
fn write_der(r: &FieldBytes, s: &FieldBytes, out: &mut Signature) -> Option<()> {
    let (r, s) = (Integer::of(r), Integer::of(s));
    out.extend_from_slice(&[0x30, r.size() + s.size()]).ok()?;
    r.write(out)?;
    s.write(out)
}

/// An unsigned number without leading zeros, but for one where it would else be negative.
struct Integer<'a> {
    bytes: &'a [u8],
    zero: bool,
}

impl<'a> Integer<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        let zeros = bytes.iter().take_while(|&&byte| byte == 0).count().min(bytes.len() - 1);
        let bytes = &bytes[zeros..];
        Integer { bytes, zero: bytes[0] & 0x80 != 0 }
    }

    /// With tag and length.
    fn size(&self) -> u8 {
        2 + u8::from(self.zero) + self.bytes.len() as u8
    }

    fn write(&self, out: &mut Signature) -> Option<()> {
        out.extend_from_slice(&[0x02, self.size() - 2]).ok()?;
        if self.zero {
            out.push(0).ok()?;
        }
        out.extend_from_slice(self.bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use ::p256::ecdsa::signature::Signer as _;
    use ::p256::ecdsa::{SigningKey, VerifyingKey, signature::Verifier as _};

    use super::*;
    use crate::testing::SeededRng;

    #[test]
    fn signatures_are_those_of_the_library() {
        let mut rng = SeededRng::new(1);
        // Enough for numbers with leading zeros, and with high bits.
        for number in 0..300_u32 {
            let mut key = Vec::new();
            generate(&mut rng, &mut key);
            let message = number.to_be_bytes();
            let mut signature = Signature::new();
            sign(&key, &message, &mut signature).expect("it is a key");
            let theirs = SigningKey::from_slice(&key).expect("it is a key");
            let expected: ::p256::ecdsa::DerSignature = theirs.sign(&message);
            assert_eq!(&signature[..], expected.as_bytes(), "{number}");
            VerifyingKey::from(&theirs).verify(&message, &expected).expect("it verifies");
        }
    }
}
