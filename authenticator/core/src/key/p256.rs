//! ECDSA on P-256 with SHA-256 (FIPS 186-5, nonces by RFC 6979), and key agreement (SP 800-56A).
//!
//! Scalars, points and nonces are the crates' or `compact`'s, as the feature `compact-curves` says.

#[cfg(not(feature = "compact-curves"))]
mod library;

use heapless::Vec;
use rand_core::CryptoRng;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

#[cfg(feature = "compact-curves")]
use super::compact::p256 as arithmetic;
use super::{PRIVATE_KEY_MAX, Signature};
use crate::cbor::Writer;
#[cfg(not(feature = "compact-curves"))]
use library as arithmetic;

/// A private key: a scalar above zero and below the order, big-endian.
pub(crate) type Scalar = Zeroizing<[u8; 32]>;

/// Makes a private key.
pub(crate) fn generate_scalar(rng: &mut impl CryptoRng) -> Scalar {
    let mut scalar = Zeroizing::new([0; 32]);
    // FIPS 186-5 §A.2.2: candidates until one is in range, which nearly all are.
    loop {
        rng.fill_bytes(&mut *scalar);
        if arithmetic::is_scalar(&scalar) {
            return scalar;
        }
    }
}

pub(super) fn generate(rng: &mut impl CryptoRng, bytes: &mut Vec<u8, PRIVATE_KEY_MAX>) {
    let _ = bytes.extend_from_slice(&*generate_scalar(rng));
}

pub(super) fn is_valid(bytes: &[u8]) -> bool {
    scalar(bytes).is_some()
}

fn scalar(bytes: &[u8]) -> Option<&[u8; 32]> {
    let bytes = bytes.try_into().ok()?;
    arithmetic::is_scalar(bytes).then_some(bytes)
}

/// FIPS 186-5 §6.4.1, from the scalar: the public key is not needed.
pub(super) fn sign(bytes: &[u8], message: &[u8], out: &mut Signature) -> Option<()> {
    let digest = Sha256::digest(message).into();
    write_der(&arithmetic::sign(scalar(bytes)?, &digest), out)
}

pub(super) fn write_public(bytes: &[u8], out: &mut Writer<'_>) -> Option<()> {
    write_point(out, scalar(bytes)?, -7);
    Some(())
}

/// A private key's point as a COSE_Key (kty EC2, crv P-256) under this algorithm.
fn write_point(out: &mut Writer<'_>, scalar: &[u8; 32], algorithm: i32) {
    let [x, y] = arithmetic::times_generator(scalar);
    out.map(5).int(1).int(2).int(3).int(algorithm).int(-1).int(1);
    out.int(-2).bytes(&x).int(-3).bytes(&y);
}

/// The public key of a private one for key agreement.
pub(crate) fn write_agreement_key(out: &mut Writer<'_>, scalar: &Scalar) {
    // ECDH-ES+HKDF-256, by convention.
    write_point(out, scalar, -25);
}

/// Z of a private key and somebody's point; `None` if that is no point of P-256.
pub(crate) fn agree(scalar: &Scalar, x: &[u8; 32], y: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
    // A point of the curve has both coordinates; there is no way here to name the identity.
    arithmetic::agree(scalar, x, y)
}

/// SEQUENCE of two INTEGERs (X.690; RFC 3279 §2.2.3).
fn write_der([r, s]: &[[u8; 32]; 2], out: &mut Signature) -> Option<()> {
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
