//! OPRF(P-256, SHA-256) of RFC 9497, mode 0, and the same with the key in Shamir shares: whoever holds a share
//! answers a point it cannot tell from any other, and enough answers together are the key's.

use alloc::vec::Vec;

use p256::elliptic_curve::Generate as _;
use p256::elliptic_curve::PrimeField as _;
use p256::elliptic_curve::sec1::ToSec1Point as _;
use p256::hash2curve::GroupDigest as _;
use p256::{AffinePoint, NistP256, NonZeroScalar, ProjectivePoint, PublicKey, Scalar};
use rand_core::CryptoRng;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::id::hash;

/// A compressed point (SEC 1).
pub(crate) const POINT: usize = 33;

/// RFC 9497 §3.1 and §4.3: mode 0, this suite.
const HASH_TO_GROUP: &[u8] = b"HashToGroup-OPRFV1-\x00-P256-SHA256";

/// What hides an input from whoever evaluates it. Zeroized when dropped.
#[derive(ZeroizeOnDrop)]
pub(crate) struct Blind(NonZeroScalar);

impl Blind {
    pub(crate) fn random(rng: &mut impl CryptoRng) -> Self {
        Blind(NonZeroScalar::generate_from_rng(rng))
    }

    /// RFC 9497 §3.3.1, `Blind`.
    pub(crate) fn blind(&self, input: &[u8]) -> [u8; POINT] {
        let element = NistP256::hash_from_bytes(&[input], &[HASH_TO_GROUP])
            .expect("the tag is short, and the output length is the curve's own");
        encode(&(element * *self.0))
    }

    /// RFC 9497 §3.3.1, `Finalize`, of the answers with their holders' indices: of all of them together. `None` if one
    /// is no point, or an index comes twice.
    pub(crate) fn finalize(
        &self,
        input: &[u8],
        answers: &[(u8, [u8; POINT])],
    ) -> Option<Zeroizing<[u8; 32]>> {
        let mut evaluated = ProjectivePoint::IDENTITY;
        for (index, answer) in answers {
            evaluated += point(answer)? * coefficient(*index, answers.iter().map(|(other, _)| *other))?;
        }
        let inverse: Scalar = Option::from(self.0.invert())?;
        let unblinded = encode(&(evaluated * inverse));
        let length = |bytes: &[u8]| (bytes.len() as u16).to_be_bytes();
        let parts: [&[u8]; 5] = [&length(input), input, &length(&unblinded), &unblinded, b"Finalize"];
        Some(Zeroizing::new(hash(&parts).0))
    }
}

/// RFC 9497 §3.3.1, `BlindEvaluate`, with a key or a share of one. `None` if the key is no scalar or the blinded element
/// no point.
pub(crate) fn evaluate(key: &[u8; 32], blinded: &[u8; POINT]) -> Option<[u8; POINT]> {
    let key: Option<Scalar> = Scalar::from_repr((*key).into()).into_option();
    Some(encode(&(point(blinded)? * key?)))
}

/// A new key in `of` shares, by index from 1, any `needed` of which are as good as the key.
pub(crate) fn shared_key(needed: u8, of: u8, rng: &mut impl CryptoRng) -> Vec<(u8, Zeroizing<[u8; 32]>)> {
    // A polynomial over the scalars; its value at 0 is the key, which nobody ever computes but by enough answers.
    let polynomial: Vec<Zeroizing<Scalar>> =
        (0..needed).map(|_| Zeroizing::new(*NonZeroScalar::generate_from_rng(rng))).collect();
    let share = |index: u8| {
        let at = Scalar::from(u64::from(index));
        let value = polynomial.iter().rev().fold(Scalar::ZERO, |sum, coefficient| sum * at + **coefficient);
        (index, Zeroizing::new(value.to_bytes().into()))
    };
    (1..=of).map(share).collect()
}

/// Lagrange's coefficient at 0. Indices are no secret.
fn coefficient(index: u8, all: impl Iterator<Item = u8>) -> Option<Scalar> {
    let scalar = |index: u8| Scalar::from(u64::from(index));
    let (mut above, mut below, mut met) = (Scalar::ONE, Scalar::ONE, 0);
    for other in all {
        if other == index {
            met += 1;
            continue;
        }
        above *= scalar(other);
        below *= scalar(other) - scalar(index);
    }
    let below: Option<Scalar> = below.invert().into_option();
    (met == 1 && index != 0).then_some(above * below?)
}

pub(crate) fn is_point(bytes: &[u8; POINT]) -> bool {
    point(bytes).is_some()
}

/// A point of the curve that is not the identity.
fn point(bytes: &[u8; POINT]) -> Option<ProjectivePoint> {
    Some(PublicKey::from_sec1_bytes(bytes).ok()?.to_projective())
}

/// Compressed. The identity, which no honest party comes to, is zeros: no point, so it is refused where it is read.
fn encode(point: &ProjectivePoint) -> [u8; POINT] {
    let encoded = AffinePoint::from(*point).to_sec1_point(true);
    encoded.as_bytes().try_into().unwrap_or([0; POINT])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded::Seeded;

    fn hex<const N: usize>(text: &str) -> [u8; N] {
        let digits = |index: usize| u8::from_str_radix(&text[2 * index..2 * index + 2], 16).unwrap();
        core::array::from_fn(digits)
    }

    /// RFC 9497 A.3.1: input, blinded element, evaluation element, output.
    const VECTORS: [(&[u8], &str, &str, &str); 2] = [
        (
            &[0],
            "03723a1e5c09b8b9c18d1dcbca29e8007e95f14f4732d9346d490ffc195110368d",
            "030de02ffec47a1fd53efcdd1c6faf5bdc270912b8749e783c7ca75bb412958832",
            "a0b34de5fa4c5b6da07e72af73cc507cceeb48981b97b7285fc375345fe495dd",
        ),
        (
            &[0x5a; 17],
            "03cc1df781f1c2240a64d1c297b3f3d16262ef5d4cf102734882675c26231b0838",
            "03a0395fe3828f2476ffcd1f4fe540e5a8489322d398be3c4e5a869db7fcb7c52c",
            "c748ca6dd327f0ce85f4ae3a8cd6d4d5390bbb804c9e12dcf94f853fece3dcce",
        ),
    ];

    #[test]
    fn the_function_is_that_of_rfc_9497() {
        let key = hex("159749d750713afe245d2d39ccfaae8381c53ce92d098a9375ee70739c7ac0bf");
        let blind: [u8; 32] = hex("3338fa65ec36e0290022b48eb562889d89dbfa691d1cde91517fa222ed7ad364");
        let blind = Blind(NonZeroScalar::from_repr(blind.into()).unwrap());
        for (input, blinded, evaluated, output) in VECTORS {
            assert_eq!(blind.blind(input), hex(blinded));
            let answer = evaluate(&key, &hex(blinded)).unwrap();
            assert_eq!(answer, hex(evaluated));
            assert_eq!(*blind.finalize(input, &[(1, answer)]).unwrap(), hex(output));
        }
    }

    #[test]
    fn any_two_of_three_holders_give_one_output_and_one_gives_another() {
        let mut rng = Seeded::new(1);
        let shares = shared_key(2, 3, &mut rng);
        let output = |holders: &[usize], rng: &mut Seeded| {
            let blind = Blind::random(rng);
            let blinded = blind.blind(b"1234");
            let answer = |holder: &usize| {
                let (index, share) = &shares[*holder];
                (*index, evaluate(share, &blinded).unwrap())
            };
            blind.finalize(b"1234", &holders.iter().map(answer).collect::<Vec<_>>())
        };
        let whole = output(&[0, 1], &mut rng).unwrap();
        assert_eq!(output(&[2, 0], &mut rng).unwrap(), whole, "whatever the blind");
        assert_eq!(output(&[1, 2], &mut rng).unwrap(), whole);
        assert_ne!(output(&[1], &mut rng).unwrap(), whole);
        assert!(output(&[1, 1], &mut rng).is_none(), "one holder is not two");
    }

    #[test]
    fn what_is_no_point_is_refused() {
        for wrong in [[0; POINT], [0xff; POINT], [4; POINT]] {
            assert!(evaluate(&[1; 32], &wrong).is_none());
        }
        assert!(
            evaluate(&[0xff; 32], &Blind::random(&mut Seeded::new(2)).blind(b"x")).is_none(),
            "no scalar"
        );
    }
}
