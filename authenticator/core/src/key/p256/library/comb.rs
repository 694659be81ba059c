//! Multiples of P-256's base point by a comb, in constant time.
//!
//! A scalar is laid out in four rows of 64 bits; each column is one addition from a table of 15 points, between
//! doublings. That is 64 doublings and 64 additions, where multiplying any point takes 256 and 64, and it costs a
//! kilobyte of constants and no memory to keep.

use ::p256::elliptic_curve::group::Group as _;
use ::p256::elliptic_curve::point::AffineCoordinates as _;
use ::p256::{AffinePoint, ProjectivePoint, Scalar};
use subtle::{ConditionallySelectable as _, ConstantTimeEq as _};
use zeroize::Zeroizing;

/// `scalar`·G.
pub(super) fn times_generator(scalar: &Scalar) -> ProjectivePoint {
    let table = TABLE.map(|[x, y]| {
        AffinePoint::from_coordinates(&x.into(), &y.into())
            .into_option()
            .expect("the table's points are on the curve: a test looks")
    });
    let bytes = Zeroizing::new(<[u8; 32]>::from(scalar.to_bytes()));
    let mut sum = ProjectivePoint::IDENTITY;
    for column in (0..COLUMNS).rev() {
        sum = sum.double() + select(&table, digit(&bytes, column));
    }
    sum
}

/// The four bits of a column of the big-endian scalar, the lowest row's first.
fn digit(bytes: &[u8; 32], column: usize) -> u8 {
    (0..ROWS).fold(0, |digit, row| {
        let bit = row * COLUMNS + column;
        digit | ((bytes[31 - bit / 8] >> (bit % 8)) & 1) << row
    })
}

/// The digit's point, with every point looked at; the identity for 0.
fn select(table: &[AffinePoint; 15], digit: u8) -> AffinePoint {
    let mut point = AffinePoint::IDENTITY;
    for (number, candidate) in (1_u8..).zip(table) {
        point.conditional_assign(candidate, number.ct_eq(&digit));
    }
    point
}

const fn hex(x: &[u8; 64], y: &[u8; 64]) -> [[u8; 32]; 2] {
    let mut out = [[0; 32]; 2];
    let mut index = 0;
    while index < 32 {
        out[0][index] = nibble(x[2 * index]) << 4 | nibble(x[2 * index + 1]);
        out[1][index] = nibble(y[2 * index]) << 4 | nibble(y[2 * index + 1]);
        index += 1;
    }
    out
}

const fn nibble(digit: u8) -> u8 {
    if digit <= b'9' { digit - b'0' } else { digit - b'a' + 10 }
}

const ROWS: usize = 4;
const COLUMNS: usize = 64;

/// Coordinates of the sums of 2⁰·G, 2⁶⁴·G, 2¹²⁸·G and 2¹⁹²·G that the bits of 1 to 15 choose.
#[rustfmt::skip]
const TABLE: [[[u8; 32]; 2]; 15] = [
    hex(b"6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296", b"4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"),
    hex(b"0fa822bc2811aaa58492592e326e25de29493baaad651f7e90e75cb48e14db63", b"bff44ae8f5dba80d6f4ad4bcb3df188b34b1a65050fe82f5e41124545f462ee7"),
    hex(b"300a4bbc89d6726fb257c0de95e02789e96c98fd0d35f1fa93391ce2097992af", b"72aac7e0d09b46447f1ddb25ff1e3c6f5bb1eeada9d806a5aa54a291c08127a0"),
    hex(b"447d739beedb5e67fb982fd588c6766efc35ff7dc297eac357c84fc9d789bd85", b"2d4825ab834131eee12e9d953a4aaff73d349b95a7fae5000c7e33c972e25b32"),
    hex(b"ef9519328a9c72ffddc6068bb91dfc60ef7fbd2b1a0a11b713949c932a1d367f", b"611e9fc37dbb2c9bc1ee9807022c219c23183b0895ca1740196035a77376d8a8"),
    hex(b"550663797b51f5d87dea6482e11238bf2936df5ec6c9bc36cae2b1920b57f4bc", b"157164848aecb8510afa40018d9d50e59fb3d576dbdefbe144ffe216348a964c"),
    hex(b"eb5d7745b21141eaa2e8f483f43e43917ccd84e70d715f26e48ecafffc5cde01", b"eafd72ebdbecc17b0990e6a158006cee85f22cfe2844b645cac917e2731a3479"),
    hex(b"a6d39677a78492762736ff8344315fc596439591a3c6b94a6cf20ffb313728be", b"674f84749b0b881666b8babd2d27ecdf824a920c2284059bf2bab833c357f5f4"),
    hex(b"4e769e7672c9ddad31855f7db8c7fedb74e02f080203a56b2df48c04677c8a3e", b"42b99082de8306631ec0057206947281fb9ae16f3b9122a5a4c36165b824bbb0"),
    hex(b"78878ef61c6ce04d7fdc1ca008a1c478d1f89e799c0ce1316ef95150dda868b9", b"b6cb3f5d7b72c321de53142c12309def6ace570ebde08d4f9c62b9121fe0d976"),
    hex(b"0c88bc4d716b1287595c5220812ffcae5b82dd5bd54fb4967f991ed2c31a3573", b"dd5ddea3f3901dc618d1b5b39c04e6aa7c8181f4df2564f33a57bf635f48aca8"),
    hex(b"68f344af6b317466efe0a423083e49f343a0a28c42ba792fe96a79fb3e72ad0c", b"31b9c405f8540a20604ed93c24d67ff3668bfc2271f5c626cdfe17db3fb24d4a"),
    hex(b"4052bf4b6f461db9663c62c3edbad7a00d1a10144ec39c28d36b4789a2582e7f", b"fecf4d5190b0fc61862be6bd71d70cc8e724f33999bfcc5b235a27c3188d25eb"),
    hex(b"1eddbae2c802e41a123202a8f62bff7aafdf5cc08526a7a474346c10a1d4cfac", b"43104d86560ebcfc0c45f45273db33a036e06b7e4c7019178fa0af2dd603f844"),
    hex(b"b48e26b484f7a21c0a4a46fb6aaf363a66b0de3225c4744b9615b5110d1d78e5", b"fac015404d4d3dab64131bcdfed6f668c004e4048b7b0f9806ebb0f621a01b2d"),
];

#[cfg(test)]
mod tests {
    use ::p256::elliptic_curve::Generate as _;

    use super::*;
    use crate::testing::SeededRng;

    #[test]
    fn the_comb_gives_what_the_library_gives() {
        let mut rng = SeededRng::new(1);
        let edges = [Scalar::ZERO, Scalar::ONE, -Scalar::ONE, Scalar::from(2_u64), Scalar::from(u64::MAX)];
        let random = (0..50).map(|_| Scalar::generate_from_rng(&mut rng));
        for scalar in edges.into_iter().chain(random) {
            assert_eq!(times_generator(&scalar), ProjectivePoint::GENERATOR * scalar);
        }
    }

    #[test]
    fn every_point_of_the_table_is_the_sum_it_says() {
        for (number, [x, y]) in (1_u8..).zip(TABLE) {
            let mut scalar = [0; 32];
            for row in (0..ROWS).filter(|row| number >> row & 1 == 1) {
                scalar[31 - row * 8] = 1;
            }
            let scalar = <Scalar as ::p256::elliptic_curve::PrimeField>::from_repr(scalar.into());
            let expected = (ProjectivePoint::GENERATOR * scalar.expect("below the order")).to_affine();
            assert_eq!((expected.x(), expected.y()), (x.into(), y.into()), "{number}");
        }
    }
}
