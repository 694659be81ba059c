//! P-256 by the crate `p256`, with its tables of the base point's multiples or, where there is no room, with a comb.

#[cfg(not(feature = "precomputed-tables"))]
mod comb;

use p256::elliptic_curve::ops::{Invert as _, Reduce as _};
use p256::elliptic_curve::point::AffineCoordinates as _;
use p256::elliptic_curve::{Curve as _, Field as _};
use p256::{AffinePoint, FieldBytes, NistP256, NonZeroScalar, PublicKey, Scalar};
use sha2::Sha256;
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
    let point = multiple(&scalar(bytes));
    [point.x().into(), point.y().into()]
}

#[cfg(not(feature = "precomputed-tables"))]
fn multiple(scalar: &Scalar) -> AffinePoint {
    comb::times_generator(scalar).to_affine()
}

#[cfg(feature = "precomputed-tables")]
fn multiple(scalar: &Scalar) -> AffinePoint {
    use p256::elliptic_curve::Group as _;
    p256::ProjectivePoint::mul_by_generator(scalar).to_affine()
}

/// r and s of FIPS 186-5 §6.4.1 from the private key and the digest, with the nonce of RFC 6979.
pub(super) fn sign(d: &[u8; 32], digest: &[u8; 32]) -> [[u8; 32]; 2] {
    let digest = FieldBytes::from(*digest);
    let z = Scalar::reduce(&digest);
    let order = NistP256::ORDER.get();
    let mut nonces = rfc6979::KGenerator::<Sha256, _>::new(&d[..], &digest, &[], &order);
    let d = scalar(d);
    loop {
        let mut nonce = Zeroizing::new([0; 32]);
        nonces.fill_next_k(&mut nonce[..]);
        let Some(k) = parse(&nonce) else { continue };
        let r = Scalar::reduce(&multiple(&k).x());
        let inverse = Zeroizing::new(*k.invert());
        let s = *inverse * (z + r * **d);
        if !bool::from(r.is_zero()) && !bool::from(s.is_zero()) {
            return [r.to_bytes().into(), s.to_bytes().into()];
        }
    }
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
