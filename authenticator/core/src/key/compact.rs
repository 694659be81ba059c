//! P-256 and Ed25519 for small memories: both curves by one arithmetic of 256 bits.
//!
//! The crates `p256` and `ed25519-dalek` bring two arithmetics of each curve's own, written out word by word, which are
//! several times as large. Nobody but its author has reviewed this one: it is for images that would not fit otherwise
//! (`compact-curves`).
//!
//! **Constant time**: no branch and no address depends on a secret. Exponents are moduli less two, which everybody
//! knows; a table is read whole for each digit; additions are complete, so that no point is special, and doubling is
//! one of them. What is left of a private key on the stack is overwritten.
//!
//! The tests hold everything here against the two crates, and against numbers at the edges.

pub(super) mod ed25519;
mod modular;
mod nonces;
pub(super) mod p256;

use modular::{Words, select};
use subtle::{Choice, ConstantTimeEq as _};
use zeroize::{DefaultIsZeroes, Zeroizing};

/// A point of a curve, whose addition has no exceptions.
trait Point: Copy + DefaultIsZeroes {
    /// The point with these affine coordinates in Montgomery form; (0, 1) with `identity` set is the neutral one.
    fn new(affine: &Affine, identity: Choice) -> Self;

    fn plus(&self, other: &Self) -> Self;
}

/// Affine coordinates in Montgomery form.
type Affine = [Words; 2];

/// The sums of 2⁰·G, 2⁶⁴·G, 2¹²⁸·G and 2¹⁹²·G that the bits of 1 to 15 choose.
type Comb = [Affine; 15];

/// `scalar`·G by a comb: the scalar is laid out in four rows of 64 bits, and each column is one addition from the
/// table, between doublings. That is 128 additions, where multiplying any point takes 335.
fn times_generator<P: Point>(comb: &Comb, one: &Words, scalar: &Words) -> Zeroizing<P> {
    let neutral = [[0; 8], *one];
    let mut sum = Zeroizing::new(P::new(&neutral, Choice::from(1)));
    for column in (0..COLUMNS).rev() {
        let digit = (0..4).fold(0, |digit, row| digit | bit(scalar, row * COLUMNS + column) << row);
        let mut chosen = neutral;
        for (number, candidate) in (1_u8..).zip(comb) {
            let right = number.ct_eq(&digit);
            for (chosen, candidate) in chosen.iter_mut().zip(candidate) {
                *chosen = select(chosen, candidate, right);
            }
        }
        *sum = sum.plus(&sum).plus(&P::new(&chosen, digit.ct_eq(&0)));
    }
    sum
}

/// A bit of a number.
fn bit(words: &Words, index: usize) -> u8 {
    (words[index / 32] >> (index % 32)) as u8 & 1
}

/// The combs' points, given as big-endian hexadecimal coordinates.
const fn comb(modulus: &modular::Modulus, points: &[[&[u8; 64]; 2]; 15]) -> Comb {
    let mut comb = [[[0; 8]; 2]; 15];
    let mut index = 0;
    while index < 15 {
        comb[index][0] = modulus.enter(&modular::hex(points[index][0]));
        comb[index][1] = modulus.enter(&modular::hex(points[index][1]));
        index += 1;
    }
    comb
}

const COLUMNS: usize = 64;
