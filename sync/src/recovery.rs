//! Recovery: a seed that derives a member of the circle which is no device.
//!
//! The seed is printed, or cut into shares of which some suffice; with it and any mailbox everything comes back,
//! and the devices that were lost can be revoked: the recovery member is senior to whoever admitted it.

mod letters;

use alloc::string::String;
use alloc::vec::Vec;

use hkdf::Hkdf;
use rand_core::CryptoRng;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, ZeroizeOnDrop, Zeroizing};

use crate::crypto::{DeviceKeys, Suite, random};
use crate::id::{CircleId, hash};
use crate::membership;
use crate::text;

/// 128 random bits, on paper.
#[derive(Clone, ZeroizeOnDrop)]
pub struct RecoveryKey([u8; 16]);

/// In constant time.
impl PartialEq for RecoveryKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for RecoveryKey {}

impl core::fmt::Debug for RecoveryKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("RecoveryKey(…)")
    }
}

impl RecoveryKey {
    /// A new one.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        RecoveryKey(random(rng))
    }

    /// For paper: six groups of base32 with a checksum.
    pub fn to_text(&self) -> String {
        text::grouped(&text::encode("recovery", &self.0))
    }

    /// Reads it back. `None` for a mistyped one, but for one in 65,536: that gives another key, which opens nothing.
    pub fn parse(text: &str) -> Option<Self> {
        Some(RecoveryKey(text::decode("recovery", text)?.try_into().ok()?))
    }

    /// The random bits, for whoever keeps them sealed (`escrow.rs`).
    #[cfg(any(test, feature = "escrow"))]
    pub(crate) fn seed(&self) -> &[u8; 16] {
        &self.0
    }

    #[cfg(any(test, feature = "escrow"))]
    pub(crate) fn from_seed(seed: &[u8]) -> Option<Self> {
        Some(RecoveryKey(seed.try_into().ok()?))
    }

    /// The keys of the member it derives.
    pub fn keys(&self, suite: Suite) -> DeviceKeys {
        DeviceKeys::from_seed(suite, &self.0)
    }

    /// The signature that its member in a circle ends, for a day when nobody has the key any more: any member of the circle
    /// ends that member with it (`Event::Retire`), and it is good for nothing else.
    pub fn consent(&self, suite: Suite, circle: CircleId) -> [u8; 64] {
        membership::consent(&self.keys(suite), &circle)
    }

    /// What opens the circle at a relay for whoever holds the key: hexadecimal, and tells nothing about the key.
    pub fn relay_token(&self) -> String {
        let digest = hash(&[b"recovery/relay", &self.0]);
        let mut token = String::new();
        digest.0[..16].iter().for_each(|byte| token.push_str(&alloc::format!("{byte:02x}")));
        token
    }

    /// What the first letter to the recovery member is bound to (`letters.rs`): only who has the key knows it.
    fn letter_secret(&self) -> Zeroizing<[u8; 32]> {
        let mut secret = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(None, &self.0)
            .expand(b"recovery/letter", &mut *secret)
            .expect("32 bytes are a valid length");
        secret
    }

    /// Cuts it into `of` shares, any `needed` of which give it back, and fewer of which tell nothing about it.
    /// `None` unless 2 ≤ `needed` ≤ `of`.
    pub fn split(&self, needed: u8, of: u8, rng: &mut impl CryptoRng) -> Option<Vec<Share>> {
        if needed < 2 || needed > of {
            return None;
        }
        let set: [u8; 4] = random(rng);
        // Shamir's scheme over GF(2^8): one polynomial a byte, its value at 0 is the secret.
        let mut polynomials: Vec<Vec<u8>> = Vec::new();
        for byte in self.0 {
            let mut coefficients = alloc::vec![byte];
            coefficients.resize(usize::from(needed), 0);
            rng.fill_bytes(&mut coefficients[1..]);
            polynomials.push(coefficients);
        }
        let shares = (1..=of).map(|index| {
            let mut bytes = [0; 16];
            for (byte, coefficients) in bytes.iter_mut().zip(&polynomials) {
                *byte = coefficients.iter().rev().fold(0, |sum, coefficient| times(sum, index) ^ coefficient);
            }
            Share { set, needed, index, bytes }
        });
        let shares = shares.collect();
        polynomials.iter_mut().for_each(Vec::zeroize);
        Some(shares)
    }

    /// Puts shares together. `None` if they are too few, or not of one set.
    pub fn combine(shares: &[Share]) -> Option<Self> {
        let first = shares.first()?;
        let mut chosen: Vec<&Share> = Vec::new();
        for share in shares {
            if (share.set, share.needed) != (first.set, first.needed) {
                return None;
            }
            if chosen.iter().all(|other| other.index != share.index) {
                chosen.push(share);
            }
        }
        if chosen.len() < usize::from(first.needed) {
            return None;
        }
        chosen.truncate(usize::from(first.needed));
        let mut secret = [0; 16];
        for share in &chosen {
            // Lagrange's coefficient at 0; subtraction is XOR here.
            let others = chosen.iter().filter(|other| other.index != share.index);
            let coefficient = others.fold(1, |product, other| {
                times(product, times(other.index, inverse(other.index ^ share.index)))
            });
            secret.iter_mut().zip(share.bytes).for_each(|(sum, byte)| *sum ^= times(byte, coefficient));
        }
        Some(RecoveryKey(secret))
    }
}

/// A part of a recovery key, for a person or a place.
#[derive(Clone, ZeroizeOnDrop)]
pub struct Share {
    set: [u8; 4],
    needed: u8,
    index: u8,
    bytes: [u8; 16],
}

/// Of the secret part in constant time.
impl PartialEq for Share {
    fn eq(&self, other: &Self) -> bool {
        let open = |share: &Self| (share.set, share.needed, share.index);
        open(self) == open(other) && bool::from(self.bytes.ct_eq(&other.bytes))
    }
}

impl Eq for Share {}

impl core::fmt::Debug for Share {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Share({} of which {} are needed)", self.index, self.needed)
    }
}

impl Share {
    /// For paper.
    pub fn to_text(&self) -> String {
        let bytes = [self.set.as_slice(), &[self.needed, self.index], &self.bytes].concat();
        text::grouped(&text::encode("share", &bytes))
    }

    /// Reads it back. `None` for a mistyped one.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text::decode("share", text)?;
        let (set, rest) = bytes.split_first_chunk::<4>()?;
        let ([needed, index], secret) = rest.split_first_chunk::<2>()?;
        let sound = *needed >= 2 && *index >= 1;
        sound.then_some(Share { set: *set, needed: *needed, index: *index, bytes: secret.try_into().ok()? })
    }
}

/// Multiplies in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1, in constant time.
fn times(one: u8, other: u8) -> u8 {
    let mut product = 0;
    let mut shifted = one;
    for bit in 0..8 {
        product ^= shifted & (other >> bit & 1).wrapping_neg();
        shifted = shifted << 1 ^ 0x1b & (shifted >> 7).wrapping_neg();
    }
    product
}

/// The inverse: a^254.
fn inverse(of: u8) -> u8 {
    (0..7)
        .fold((1, of), |(result, power), _| {
            let square = times(power, power);
            (times(result, square), square)
        })
        .0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded::Seeded;

    #[test]
    fn the_field_is_that_of_aes() {
        assert_eq!(times(0x57, 0x83), 0xc1, "FIPS 197 §4.2");
        for element in 1..=255 {
            assert_eq!(times(element, inverse(element)), 1);
        }
    }

    #[test]
    fn any_two_of_three_shares_give_the_key_back_and_one_does_not() {
        let mut rng = Seeded::new(1);
        let key = RecoveryKey::generate(&mut rng);
        let shares = key.split(2, 3, &mut rng).unwrap();
        for (one, other) in [(0, 1), (0, 2), (2, 1)] {
            let pair = [shares[one].clone(), shares[other].clone()];
            assert_eq!(RecoveryKey::combine(&pair), Some(key.clone()));
        }
        assert_eq!(RecoveryKey::combine(&shares[..1]), None);
        assert_eq!(RecoveryKey::combine(&[shares[0].clone(), shares[0].clone()]), None);
        let others = key.split(2, 3, &mut rng).unwrap();
        assert_eq!(
            RecoveryKey::combine(&[shares[0].clone(), others[1].clone()]),
            None,
            "two sets do not mix"
        );
        assert_eq!(Share::parse(&shares[2].to_text()), Some(shares[2].clone()));
        assert!(key.split(1, 3, &mut rng).is_none() && key.split(4, 3, &mut rng).is_none());
    }

    #[test]
    fn a_recovery_key_survives_paper() {
        let key = RecoveryKey::generate(&mut Seeded::new(2));
        assert_eq!(RecoveryKey::parse(&key.to_text().to_lowercase()), Some(key.clone()));
        assert_eq!(key.to_text().len(), 29 + 5, "six groups");
        assert_eq!(RecoveryKey::parse("AAAAA-BBBBB"), None);
    }
}
