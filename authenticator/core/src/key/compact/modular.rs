//! Arithmetic modulo odd numbers of up to 256 bits, in Montgomery form: `a` is kept as `a`·2²⁵⁶.

use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

/// A number of 256 bits: eight words, the lowest first.
pub(super) type Words = [u32; 8];

/// Does something for each of eight words. Written out, because here is where the time goes, and a compiler that is told
/// to make small code keeps loops.
macro_rules! for_each_word {
    ($at:ident => $do:expr) => {
        for_each_word!($at => $do; 0 1 2 3 4 5 6 7)
    };
    ($at:ident => $do:expr; $($number:literal)*) => {
        $({
            const $at: usize = $number;
            $do;
        })*
    };
}

/// A modulus, with what Montgomery's multiplication wants to know of it.
pub(super) struct Modulus {
    words: Words,
    /// −1/modulus, modulo 2³².
    inverse: u32,
    /// 2²⁵⁶: the number one in Montgomery form.
    pub(super) one: Words,
    /// 2⁵¹².
    square: Words,
}

impl Modulus {
    /// An odd modulus above 2²⁵².
    pub(super) const fn new(hexadecimal: &[u8; 64]) -> Self {
        let words = hex(hexadecimal);
        // Newton: every step doubles the bits that are right, of which an odd number has three at once.
        let mut inverse = words[0];
        let mut step = 0;
        while step < 4 {
            inverse = inverse.wrapping_mul(2_u32.wrapping_sub(words[0].wrapping_mul(inverse)));
            step += 1;
        }
        let mut modulus = Modulus { words, inverse: inverse.wrapping_neg(), one: ONE, square: ONE };
        let mut doublings = 0;
        while doublings < 512 {
            modulus.square = modulus.add(&modulus.square, &modulus.square);
            doublings += 1;
            if doublings == 256 {
                modulus.one = modulus.square;
            }
        }
        modulus
    }

    /// Any number, in Montgomery form.
    pub(super) const fn enter(&self, number: &Words) -> Words {
        self.mul(number, &self.square)
    }

    /// The number that is kept in this form, below the modulus.
    pub(super) const fn leave(&self, kept: &Words) -> Words {
        self.mul(kept, &ONE)
    }

    /// A number of 512 bits, in Montgomery form.
    pub(super) fn enter_wide(&self, low: &Words, high: &Words) -> Words {
        self.add(&self.enter(low), &self.enter(&self.enter(high)))
    }

    /// `a`·`b`/2²⁵⁶. `b` is below the modulus; `a` may be any number.
    #[inline(never)]
    pub(super) const fn mul(&self, a: &Words, b: &Words) -> Words {
        // Word by word of `a`, and each time a multiple of the modulus that makes the lowest word zero. What is left
        // after the eight is below twice the modulus, so the ninth word is 0 or 1.
        let mut sum = [0; 17];
        let mut at = 0;
        while at < 8 {
            let carry = add_product(&mut sum, at, b, a[at]);
            let multiple = sum[at].wrapping_mul(self.inverse);
            let high = carry as u64 + add_product(&mut sum, at, &self.words, multiple) as u64;
            let high = high + sum[at + 8] as u64;
            sum[at + 8] = high as u32;
            sum[at + 9] = (high >> 32) as u32;
            at += 1;
        }
        let [_, _, _, _, _, _, _, _, words @ .., high] = sum;
        self.reduce(words, high)
    }

    /// `a` + `b`, which are below twice the modulus together.
    #[inline(never)]
    pub(super) const fn add(&self, a: &Words, b: &Words) -> Words {
        let (mut sum, mut carry) = ([0; 8], false);
        for_each_word!(AT => (sum[AT], carry) = add_with_carry(a[AT], b[AT], carry));
        self.reduce(sum, carry as u32)
    }

    /// `a` − `b`, of numbers below the modulus.
    #[inline(never)]
    pub(super) const fn sub(&self, a: &Words, b: &Words) -> Words {
        // What `b` lacks to the modulus may be all of it: `add` takes that, too.
        let (negative, _) = subtract(&self.words, b);
        self.add(a, &negative)
    }

    /// 1/`a`, in Montgomery form as `a` is; 0 for 0. The modulus is a prime: by Fermat, `a` to the modulus less two.
    pub(super) fn invert(&self, a: &Words) -> Words {
        let (exponent, _) = subtract(&self.words, &[2, 0, 0, 0, 0, 0, 0, 0]);
        let mut power = self.one;
        for index in (0..256).rev() {
            power = self.mul(&power, &power);
            // The exponent is no secret.
            if super::bit(&exponent, index) == 1 {
                power = self.mul(&power, a);
            }
        }
        power
    }

    /// Whether a number is below the modulus.
    pub(super) fn holds(&self, number: &Words) -> bool {
        self.reduce(*number, 0).ct_eq(number).into()
    }

    /// A number below twice the modulus, whose ninth word is `high`, modulo the modulus.
    #[inline(never)]
    const fn reduce(&self, words: Words, high: u32) -> Words {
        let (mut reduced, borrow) = subtract(&words, &self.words);
        // Below the modulus already, if there was something to borrow and nothing to borrow it from.
        let mask = core::hint::black_box(borrow as u32 & !high).wrapping_neg();
        for_each_word!(AT => reduced[AT] ^= mask & (reduced[AT] ^ words[AT]));
        reduced
    }
}

/// Adds `words`·`digit` to the sum, from its word `at` on; what is carried out of the eighth.
#[inline(never)]
const fn add_product(sum: &mut [u32; 17], at: usize, words: &Words, digit: u32) -> u32 {
    let (_, sum) = sum.split_at_mut(at);
    let Some(sum) = sum.first_chunk_mut::<8>() else { return 0 };
    let mut carry = 0;
    for_each_word!(AT => {
        let wide = words[AT] as u64 * digit as u64 + sum[AT] as u64 + carry as u64;
        (sum[AT], carry) = (wide as u32, (wide >> 32) as u32);
    });
    carry
}

/// The library's `carrying_add`, which is not for constants yet.
#[inline(always)]
const fn add_with_carry(a: u32, b: u32, carry: bool) -> (u32, bool) {
    let (sum, first) = a.overflowing_add(b);
    let (sum, second) = sum.overflowing_add(carry as u32);
    (sum, first | second)
}

/// `a` − `b` modulo 2²⁵⁶, and whether it went below zero: the sum with what `b` lacks, for which processors' carries are
/// made.
#[inline(always)]
const fn subtract(a: &Words, b: &Words) -> (Words, bool) {
    let (mut difference, mut carry) = ([0; 8], true);
    for_each_word!(AT => (difference[AT], carry) = add_with_carry(a[AT], !b[AT], carry));
    (difference, !carry)
}

/// `b` if chosen, else `a`.
pub(super) fn select(a: &Words, b: &Words, choice: Choice) -> Words {
    core::array::from_fn(|at| u32::conditional_select(&a[at], &b[at], choice))
}

/// A big-endian number.
pub(super) fn from_bytes(bytes: &[u8; 32]) -> Words {
    let (chunks, _) = bytes.as_chunks();
    core::array::from_fn(|at| u32::from_be_bytes(chunks[7 - at]))
}

/// As [`from_bytes`] takes it.
pub(super) fn to_bytes(words: &Words) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (chunk, word) in bytes.as_chunks_mut().0.iter_mut().zip(words.iter().rev()) {
        *chunk = word.to_be_bytes();
    }
    bytes
}

/// A big-endian number in hexadecimal.
pub(super) const fn hex(digits: &[u8; 64]) -> Words {
    let mut words = [0; 8];
    let mut at = 0;
    while at < 64 {
        let digit = digits[63 - at];
        let value = if digit <= b'9' { digit - b'0' } else { digit - b'a' + 10 };
        words[at / 8] |= (value as u32) << (at % 8 * 4);
        at += 1;
    }
    words
}

const ONE: Words = [1, 0, 0, 0, 0, 0, 0, 0];

#[cfg(test)]
mod tests {
    use super::*;

    const MODULI: [Modulus; 4] = [
        Modulus::new(b"ffffffff00000001000000000000000000000000ffffffffffffffffffffffff"),
        Modulus::new(b"ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"),
        Modulus::new(b"7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffed"),
        Modulus::new(b"1000000000000000000000000000000014def9dea2f79cd65812631a5cf5d3ed"),
    ];

    /// What lies at the edges of words, of 256 bits, and of the modulus.
    fn edges(modulus: &Modulus) -> [Words; 9] {
        let below = |by| subtract(&modulus.words, &[by, 0, 0, 0, 0, 0, 0, 0]).0;
        let top = [0, 0, 0, 0, 0, 0, 0, 1 << 28];
        [
            [0; 8],
            ONE,
            [u32::MAX; 8],
            [0, 0, 0, 0, u32::MAX, 0, 0, 0],
            top,
            below(0),
            below(1),
            below(2),
            below(19),
        ]
    }

    #[test]
    fn a_number_that_was_entered_is_left_as_its_remainder() {
        for modulus in &MODULI {
            for number in edges(modulus) {
                let mut remainder = number;
                while !modulus.holds(&remainder) {
                    remainder = subtract(&remainder, &modulus.words).0;
                }
                assert_eq!(modulus.leave(&modulus.enter(&number)), remainder);
            }
        }
    }

    #[test]
    fn sums_differences_products_and_inverses_keep_their_laws_at_the_edges() {
        for modulus in &MODULI {
            let numbers = edges(modulus).map(|number| modulus.enter(&number));
            for a in &numbers {
                let inverse = modulus.invert(a);
                let expected = if *a == [0; 8] { [0; 8] } else { modulus.one };
                assert_eq!(modulus.mul(a, &inverse), expected);
                assert_eq!(modulus.sub(a, a), [0; 8]);
                for b in &numbers {
                    assert_eq!(modulus.sub(&modulus.add(a, b), b), *a);
                    assert_eq!(modulus.mul(a, b), modulus.mul(b, a));
                    // (a + b)² = a² + 2ab + b²
                    let sum = modulus.add(a, b);
                    let (squares, product) =
                        (modulus.add(&modulus.mul(a, a), &modulus.mul(b, b)), modulus.mul(a, b));
                    assert_eq!(
                        modulus.mul(&sum, &sum),
                        modulus.add(&squares, &modulus.add(&product, &product))
                    );
                }
            }
        }
    }

    #[test]
    fn a_number_of_512_bits_is_its_halves_together() {
        for modulus in &MODULI {
            for (low, high) in edges(modulus).iter().flat_map(|low| edges(modulus).map(|high| (*low, high))) {
                // 2²⁵⁶ is what `one` says.
                let shifted = modulus.mul(&modulus.enter(&high), &modulus.enter(&modulus.one));
                assert_eq!(modulus.enter_wide(&low, &high), modulus.add(&modulus.enter(&low), &shifted));
            }
        }
    }

    #[test]
    fn bytes_and_hexadecimal_digits_say_the_same_number() {
        let words = hex(b"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
        let bytes = core::array::from_fn(|at| at as u8);
        assert_eq!((from_bytes(&bytes), to_bytes(&words)), (words, bytes));
    }
}
