//! P-256 by the crate `p256`, with or without its tables of the base point's multiples.

use p256::elliptic_curve::ops::{Invert as _, Reduce as _};
use p256::elliptic_curve::point::AffineCoordinates as _;
use p256::elliptic_curve::{Field as _, Group as _};
use p256::{AffinePoint, FieldBytes, NonZeroScalar, ProjectivePoint, PublicKey, Scalar};
use zeroize::Zeroizing;

/// Whether these bytes are a number from 1 to the order less one.
pub(super) fn is_scalar(bytes: &[u8; 32]) -> bool {
    parse(bytes).is_some()
}

fn parse(bytes: &[u8; 32]) -> Option<Zeroizing<NonZeroScalar>> {
    NonZeroScalar::from_repr((*bytes).into()).into_option().map(Zeroizing::new)
}

/// A scalar that [`is_scalar`] let through.
fn scalar(bytes: &[u8; 32]) -> Zeroizing<NonZeroScalar> {
    parse(bytes).expect("the caller asked whether it is one")
}

/// The coordinates of `scalar`·G.
pub(super) fn times_generator(bytes: &[u8; 32]) -> [[u8; 32]; 2] {
    let point = ProjectivePoint::mul_by_generator(&scalar(bytes)).to_affine();
    [point.x().into(), point.y().into()]
}

/// A number modulo the order: bits2octets of RFC 6979 §2.3.4.
pub(super) fn reduce(number: &[u8; 32]) -> [u8; 32] {
    modulo_order(number).to_bytes().into()
}

fn modulo_order(number: &[u8; 32]) -> Scalar {
    Scalar::reduce(&FieldBytes::from(*number))
}

/// r and s of FIPS 186-5 §6.4.1, steps 6 to 9, from the private key, the digest, and a nonce; `None` for a nonce that
/// does not do.
pub(super) fn sign(d: &[u8; 32], digest: &[u8; 32], nonce: &[u8; 32]) -> Option<[[u8; 32]; 2]> {
    let [x, _] = times_generator(nonce);
    let (z, r) = (modulo_order(digest), modulo_order(&x));
    let inverse = Zeroizing::new(*scalar(nonce).invert());
    let s = *inverse * (z + r * **scalar(d));
    let signature = [r.to_bytes().into(), s.to_bytes().into()];
    (!bool::from(r.is_zero()) && !bool::from(s.is_zero())).then_some(signature)
}

/// The x coordinate of `scalar` times a point; `None` if there is no such point (SP 800-56A §5.6.2.3.4).
pub(super) fn agree(bytes: &[u8; 32], x: &[u8; 32], y: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
    let point = AffinePoint::from_coordinates(&(*x).into(), &(*y).into()).into_option()?;
    let key = PublicKey::from_affine(point).ok()?;
    let z = p256::ecdh::diffie_hellman(&*scalar(bytes), key.as_affine());
    let mut out = Zeroizing::new([0; 32]);
    out.copy_from_slice(z.raw_secret_bytes());
    Some(out)
}
