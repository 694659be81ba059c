//! P-256 (NIST SP 800-186 §3.2.1.3): what ECDSA and key agreement do with scalars and points.

use subtle::{Choice, ConstantTimeEq as _};
use zeroize::{DefaultIsZeroes, Zeroizing};

use super::modular::{Modulus, Words, from_bytes, hex, select, to_bytes};
use super::nonces::Nonces;
use super::{Affine, Comb, bit, comb};

/// Whether these bytes are a number from 1 to the order less one.
pub(in super::super) fn is_scalar(bytes: &[u8; 32]) -> bool {
    let scalar = Zeroizing::new(from_bytes(bytes));
    ORDER.holds(&scalar) && !bool::from(bytes.ct_eq(&[0; 32]))
}

/// The coordinates of `scalar`·G.
pub(in super::super) fn times_generator(scalar: &[u8; 32]) -> [[u8; 32]; 2] {
    let scalar = Zeroizing::new(from_bytes(scalar));
    super::times_generator::<Projective>(&COMB, &FIELD.one, &scalar).affine()
}

/// A number modulo the order: bits2octets of RFC 6979 §2.3.4.
fn reduce(number: &[u8; 32]) -> [u8; 32] {
    to_bytes(&ORDER.leave(&ORDER.enter(&from_bytes(number))))
}

/// r and s of FIPS 186-5 §6.4.1 from the private key and the digest, with the nonce of RFC 6979.
pub(in super::super) fn sign(d: &[u8; 32], digest: &[u8; 32]) -> [[u8; 32]; 2] {
    let mut nonces = Nonces::new(d, &reduce(digest));
    loop {
        let nonce = nonces.next();
        if is_scalar(&nonce)
            && let Some(signature) = sign_with(d, digest, &nonce)
        {
            return signature;
        }
    }
}

/// Steps 6 to 9 of FIPS 186-5 §6.4.1; `None` for a nonce that does not do.
fn sign_with(d: &[u8; 32], digest: &[u8; 32], nonce: &[u8; 32]) -> Option<[[u8; 32]; 2]> {
    let [x, _] = times_generator(nonce);
    let scalar = |bytes| Zeroizing::new(ORDER.enter(&from_bytes(bytes)));
    let (d, z, k, r) = (scalar(d), scalar(digest), scalar(nonce), scalar(&x));
    let inverse = Zeroizing::new(ORDER.invert(&k));
    let sum = Zeroizing::new(ORDER.add(&z, &ORDER.mul(&r, &d)));
    let s = ORDER.mul(&inverse, &sum);
    let signature = [to_bytes(&ORDER.leave(&r)), to_bytes(&ORDER.leave(&s))];
    (!signature.contains(&[0; 32])).then_some(signature)
}

/// The x coordinate of `scalar` times a point; `None` if there is no such point (SP 800-56A §5.6.2.3.4).
pub(in super::super) fn agree(scalar: &[u8; 32], x: &[u8; 32], y: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
    let (x, y) = (from_bytes(x), from_bytes(y));
    let affine = [FIELD.enter(&x), FIELD.enter(&y)];
    if !FIELD.holds(&x) || !FIELD.holds(&y) || !is_on_curve(&affine) {
        return None;
    }
    let scalar = Zeroizing::new(from_bytes(scalar));
    let product = Projective::from(affine).times(&scalar);
    // The order is a prime, and the scalar below it: this is not the neutral point.
    Some(Zeroizing::new(product.affine()[0]))
}

/// y² = x³ − 3x + b.
fn is_on_curve([x, y]: &Affine) -> bool {
    let three_x = FIELD.add(&FIELD.add(x, x), x);
    let cube = FIELD.mul(&FIELD.mul(x, x), x);
    FIELD.mul(y, y) == FIELD.add(&FIELD.sub(&cube, &three_x), &B)
}

/// A point in homogeneous coordinates; Z = 0 is the neutral one.
#[derive(Clone, Copy, Default)]
struct Projective {
    x: Words,
    y: Words,
    z: Words,
}

impl DefaultIsZeroes for Projective {}

impl From<Affine> for Projective {
    fn from([x, y]: Affine) -> Self {
        Projective { x, y, z: FIELD.one }
    }
}

impl Projective {
    fn affine(&self) -> [[u8; 32]; 2] {
        let inverse = Zeroizing::new(FIELD.invert(&self.z));
        [self.x, self.y].map(|coordinate| to_bytes(&FIELD.leave(&FIELD.mul(&coordinate, &inverse))))
    }

    /// By windows of four bits.
    fn times(&self, scalar: &Words) -> Zeroizing<Self> {
        let mut multiples = Zeroizing::new([Projective { y: FIELD.one, ..Projective::default() }; 16]);
        for number in 1..16 {
            multiples[number] = super::Point::plus(&multiples[number - 1], self);
        }
        let mut sum = Zeroizing::new(multiples[0]);
        for window in (0..64).rev() {
            for _ in 0..4 {
                *sum = super::Point::plus(&*sum, &sum);
            }
            let digit = (0..4).fold(0, |digit, index| digit | bit(scalar, window * 4 + index) << index);
            let mut chosen = multiples[0];
            for (number, candidate) in (0_u8..).zip(&*multiples) {
                let right = number.ct_eq(&digit);
                chosen.x = select(&chosen.x, &candidate.x, right);
                chosen.y = select(&chosen.y, &candidate.y, right);
                chosen.z = select(&chosen.z, &candidate.z, right);
            }
            *sum = super::Point::plus(&*sum, &chosen);
        }
        sum
    }
}

impl super::Point for Projective {
    fn new([x, y]: &Affine, identity: Choice) -> Self {
        Projective { x: *x, y: *y, z: select(&FIELD.one, &[0; 8], identity) }
    }

    /// Renes, Costello, Batina: Complete addition formulas for prime order elliptic curves (2015), algorithm 4.
    #[inline(never)]
    fn plus(&self, other: &Self) -> Self {
        let field = &FIELD;
        let cross = |a: &Words, b: &Words, c: &Words, d: &Words, ac: &Words, bd: &Words| {
            // a·d + b·c
            field.sub(&field.mul(&field.add(a, b), &field.add(c, d)), &field.add(ac, bd))
        };
        let triple = |a: &Words| field.add(&field.add(a, a), a);
        let xx = field.mul(&self.x, &other.x);
        let yy = field.mul(&self.y, &other.y);
        let zz = field.mul(&self.z, &other.z);
        let xy = cross(&self.x, &self.y, &other.x, &other.y, &xx, &yy);
        let yz = cross(&self.y, &self.z, &other.y, &other.z, &yy, &zz);
        let xz = cross(&self.x, &self.z, &other.x, &other.z, &xx, &zz);
        let v = triple(&field.sub(&xz, &field.mul(&B, &zz)));
        let (minus, plus) = (field.sub(&yy, &v), field.add(&yy, &v));
        let zz3 = triple(&zz);
        let w = triple(&field.sub(&field.sub(&field.mul(&B, &xz), &zz3), &xx));
        let t = field.sub(&triple(&xx), &zz3);
        Projective {
            x: field.sub(&field.mul(&plus, &xy), &field.mul(&yz, &w)),
            y: field.add(&field.mul(&plus, &minus), &field.mul(&t, &w)),
            z: field.add(&field.mul(&yz, &minus), &field.mul(&xy, &t)),
        }
    }
}

static FIELD: Modulus = Modulus::new(b"ffffffff00000001000000000000000000000000ffffffffffffffffffffffff");
static ORDER: Modulus = Modulus::new(b"ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
static B: Words = FIELD.enter(&hex(b"5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b"));

#[rustfmt::skip]
static COMB: Comb = comb(&FIELD, &[
    [b"6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296", b"4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"],
    [b"0fa822bc2811aaa58492592e326e25de29493baaad651f7e90e75cb48e14db63", b"bff44ae8f5dba80d6f4ad4bcb3df188b34b1a65050fe82f5e41124545f462ee7"],
    [b"300a4bbc89d6726fb257c0de95e02789e96c98fd0d35f1fa93391ce2097992af", b"72aac7e0d09b46447f1ddb25ff1e3c6f5bb1eeada9d806a5aa54a291c08127a0"],
    [b"447d739beedb5e67fb982fd588c6766efc35ff7dc297eac357c84fc9d789bd85", b"2d4825ab834131eee12e9d953a4aaff73d349b95a7fae5000c7e33c972e25b32"],
    [b"ef9519328a9c72ffddc6068bb91dfc60ef7fbd2b1a0a11b713949c932a1d367f", b"611e9fc37dbb2c9bc1ee9807022c219c23183b0895ca1740196035a77376d8a8"],
    [b"550663797b51f5d87dea6482e11238bf2936df5ec6c9bc36cae2b1920b57f4bc", b"157164848aecb8510afa40018d9d50e59fb3d576dbdefbe144ffe216348a964c"],
    [b"eb5d7745b21141eaa2e8f483f43e43917ccd84e70d715f26e48ecafffc5cde01", b"eafd72ebdbecc17b0990e6a158006cee85f22cfe2844b645cac917e2731a3479"],
    [b"a6d39677a78492762736ff8344315fc596439591a3c6b94a6cf20ffb313728be", b"674f84749b0b881666b8babd2d27ecdf824a920c2284059bf2bab833c357f5f4"],
    [b"4e769e7672c9ddad31855f7db8c7fedb74e02f080203a56b2df48c04677c8a3e", b"42b99082de8306631ec0057206947281fb9ae16f3b9122a5a4c36165b824bbb0"],
    [b"78878ef61c6ce04d7fdc1ca008a1c478d1f89e799c0ce1316ef95150dda868b9", b"b6cb3f5d7b72c321de53142c12309def6ace570ebde08d4f9c62b9121fe0d976"],
    [b"0c88bc4d716b1287595c5220812ffcae5b82dd5bd54fb4967f991ed2c31a3573", b"dd5ddea3f3901dc618d1b5b39c04e6aa7c8181f4df2564f33a57bf635f48aca8"],
    [b"68f344af6b317466efe0a423083e49f343a0a28c42ba792fe96a79fb3e72ad0c", b"31b9c405f8540a20604ed93c24d67ff3668bfc2271f5c626cdfe17db3fb24d4a"],
    [b"4052bf4b6f461db9663c62c3edbad7a00d1a10144ec39c28d36b4789a2582e7f", b"fecf4d5190b0fc61862be6bd71d70cc8e724f33999bfcc5b235a27c3188d25eb"],
    [b"1eddbae2c802e41a123202a8f62bff7aafdf5cc08526a7a474346c10a1d4cfac", b"43104d86560ebcfc0c45f45273db33a036e06b7e4c7019178fa0af2dd603f844"],
    [b"b48e26b484f7a21c0a4a46fb6aaf363a66b0de3225c4744b9615b5110d1d78e5", b"fac015404d4d3dab64131bcdfed6f668c004e4048b7b0f9806ebb0f621a01b2d"],
]);

#[cfg(test)]
mod tests {
    use ::p256::ecdsa::signature::Signer as _;
    use ::p256::ecdsa::{Signature, SigningKey};
    use ::p256::elliptic_curve::point::AffineCoordinates as _;
    use ::p256::elliptic_curve::{Generate as _, PrimeField as _};
    use ::p256::{AffinePoint, FieldBytes, ProjectivePoint, Scalar};
    use sha2::{Digest as _, Sha256};

    use super::*;
    use crate::testing::SeededRng;

    /// Numbers at the edges, and random ones: neither zero nor above the order.
    fn scalars() -> impl Iterator<Item = Scalar> {
        let mut rng = SeededRng::new(1);
        let one = Scalar::ONE;
        let edges = [one, -one, one + one, -(one + one), Scalar::from(u64::MAX), -Scalar::from(u64::MAX)];
        let powers = (0..256).map(|bit| {
            let mut bytes = [0; 32];
            bytes[bit / 8] = 1 << (bit % 8);
            Option::from(Scalar::from_repr(bytes.into())).unwrap_or(Scalar::ONE)
        });
        edges.into_iter().chain(powers).chain((0..60).map(move |_| Scalar::generate_from_rng(&mut rng)))
    }

    fn coordinates(point: AffinePoint) -> [[u8; 32]; 2] {
        [point.x().into(), point.y().into()]
    }

    #[test]
    fn multiples_of_the_base_point_are_those_of_the_library() {
        for scalar in scalars() {
            let expected = (ProjectivePoint::GENERATOR * scalar).to_affine();
            assert_eq!(times_generator(&scalar.to_repr().into()), coordinates(expected), "{scalar:?}");
        }
    }

    #[test]
    fn multiples_of_any_point_are_those_of_the_library() {
        let mut point = ProjectivePoint::GENERATOR;
        for scalar in scalars() {
            let [x, y] = coordinates(point.to_affine());
            let expected = (point * scalar).to_affine().x();
            let agreed = agree(&scalar.to_repr().into(), &x, &y).expect("it is a point");
            assert_eq!(FieldBytes::from(*agreed), expected, "{scalar:?}");
            point = point * scalar + ProjectivePoint::GENERATOR;
        }
    }

    #[test]
    fn signatures_are_those_of_the_library() {
        for (number, scalar) in (0_u32..).zip(scalars()) {
            let key: [u8; 32] = scalar.to_repr().into();
            let message = number.to_be_bytes();
            let theirs: Signature = SigningKey::from_slice(&key).expect("it is a key").sign(&message);
            let ours = sign(&key, &Sha256::digest(message).into());
            assert_eq!(ours.as_flattened(), &theirs.to_bytes()[..], "{number}");
        }
    }

    #[test]
    fn a_point_beside_the_curve_is_refused_and_so_is_a_coordinate_above_the_field() {
        let [x, y] = times_generator(&[7; 32]);
        assert!(agree(&[1; 32], &x, &y).is_some());
        let mut beside = y;
        beside[31] ^= 1;
        assert!(agree(&[1; 32], &x, &beside).is_none());
        assert!(agree(&[1; 32], &[0; 32], &[0; 32]).is_none());
        assert!(agree(&[1; 32], &[0xFF; 32], &y).is_none());
        assert!(agree(&[1; 32], &x, &[0xFF; 32]).is_none());
    }

    #[test]
    fn a_scalar_is_above_zero_and_below_the_order() {
        let order: [u8; 32] =
            to_bytes(&hex(b"ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"));
        let mut last = order;
        last[31] -= 1;
        let mut one = [0; 32];
        one[31] = 1;
        assert!(is_scalar(&one) && is_scalar(&last));
        assert!(!is_scalar(&[0; 32]) && !is_scalar(&order) && !is_scalar(&[0xFF; 32]));
        assert_eq!((reduce(&order), reduce(&last)), ([0; 32], last));
    }
}
