//! ECDSA on the other curves of the NIST and on secp256k1: one module each, all alike.

/// A curve's module: its crate, its hash, the size of its field in bytes, and its numbers in COSE.
macro_rules! curve {
    ($name:ident, $package:ident, $curve:ident, $hash:ident, $size:literal, $alg:literal, $crv:literal) => {
        pub(super) mod $name {
            use ::$package::elliptic_curve::Generate as _;
            use ::$package::elliptic_curve::sec1::ToSec1Point as _;
            use ::$package::{NonZeroScalar, PublicKey, $curve};
            use ecdsa::hazmat::sign_prehashed_rfc6979;
            use heapless::Vec;
            use rand_core::CryptoRng;
            use sha2::{Digest as _, $hash};
            use zeroize::Zeroizing;

            use crate::cbor::Writer;
            use crate::key::{PRIVATE_KEY_MAX, Signature};

            pub(in crate::key) fn generate(rng: &mut impl CryptoRng, bytes: &mut Vec<u8, PRIVATE_KEY_MAX>) {
                let scalar = Zeroizing::new(NonZeroScalar::generate_from_rng(rng));
                let _ = bytes.extend_from_slice(&Zeroizing::new(<[u8; $size]>::from(scalar.to_bytes()))[..]);
            }

            pub(in crate::key) fn is_valid(bytes: &[u8]) -> bool {
                scalar(bytes).is_some()
            }

            fn scalar(bytes: &[u8]) -> Option<NonZeroScalar> {
                let bytes: [u8; $size] = bytes.try_into().ok()?;
                NonZeroScalar::from_repr(bytes.into()).into_option()
            }

            // From the scalar: a `SigningKey` would spend as long again on a public key that nobody asks for.
            pub(in crate::key) fn sign(bytes: &[u8], message: &[u8], out: &mut Signature) -> Option<()> {
                let digest = $hash::digest(message);
                let (signature, _) = sign_prehashed_rfc6979::<$curve, $hash>(&scalar(bytes)?, &digest, &[]);
                out.extend_from_slice(signature.to_der().as_bytes()).ok()
            }

            pub(in crate::key) fn write_public(bytes: &[u8], out: &mut Writer<'_>) -> Option<()> {
                // kty EC2 with both coordinates.
                let point = PublicKey::from_secret_scalar(&scalar(bytes)?).to_sec1_point(false);
                let (x, y) = point.as_bytes()[1..].split_at($size);
                out.map(5).int(1).int(2).int(3).int($alg).int(-1).int($crv);
                out.int(-2).bytes(x).int(-3).bytes(y);
                Some(())
            }
        }
    };
}

#[cfg(feature = "es384")]
curve!(p384, p384, NistP384, Sha384, 48, -35, 2);
#[cfg(feature = "es512")]
curve!(p521, p521, NistP521, Sha512, 66, -36, 3);
#[cfg(feature = "es256k")]
curve!(k256, k256, Secp256k1, Sha256, 32, -47, 8);
