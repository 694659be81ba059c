//! Randomness: raw bits of the hardware, tested, conditioned, stretched.
//!
//! A source is taken to give at least one bit of entropy in each byte, and is asked for twice what a seed needs. What
//! it gives passes the two health tests of SP 800-90B §4.4 first: a source that is stuck or strongly biased is an
//! error at power-up, never a weak key and never a hang.

use hmac::{Hmac, KeyInit, Mac};
use rand_core::{TryCryptoRng, TryRng};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Where raw bits come from: eight samples a call, unconditioned.
pub trait EntropySource {
    /// The next eight samples. Takes a bounded time, also where the hardware is broken.
    fn sample(&mut self) -> u8;
}

/// The source failed a health test: it is broken, or someone is breaking it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceFailed;

/// A generator with fast key erasure over HMAC-SHA-256: what it gave out cannot be found from what it holds later.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Rng {
    key: [u8; 32],
}

impl Rng {
    /// Seeds a generator from the source.
    ///
    /// # Errors
    /// [`SourceFailed`] if the source does not pass its health tests.
    pub fn from_source(source: &mut impl EntropySource) -> Result<Self, SourceFailed> {
        let mut tests = HealthTests::new();
        // Power-up tests (§4.3): these samples are not used.
        for _ in 0..STARTUP {
            tests.take(source.sample())?;
        }
        let mut conditioner = Sha256::new();
        for _ in 0..SEED {
            let sample = source.sample();
            tests.take(sample)?;
            conditioner.update([sample]);
        }
        Ok(Rng { key: conditioner.finalize().into() })
    }

    /// A generator with this seed: for emulated boards whose transcript must repeat.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Rng { key: seed }
    }

    /// A second generator, independent of this one.
    pub fn fork(&mut self) -> Self {
        let mut key = [0; 32];
        self.fill(&mut key);
        Rng { key }
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        let mac =
            <Hmac<Sha256> as KeyInit>::new_from_slice(&self.key).expect("HMAC takes a key of any length");
        for (number, chunk) in (1_u32..).zip(bytes.chunks_mut(32)) {
            let mut block: [u8; 32] =
                mac.clone().chain_update(number.to_le_bytes()).finalize().into_bytes().into();
            chunk.copy_from_slice(&block[..chunk.len()]);
            block.zeroize();
        }
        self.key = mac.chain_update(0_u32.to_le_bytes()).finalize().into_bytes().into();
    }
}

impl TryRng for Rng {
    type Error = core::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        let mut bytes = [0; 4];
        self.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.fill(bytes);
        Ok(())
    }
}

impl TryCryptoRng for Rng {}

/// The repetition count test and the adaptive proportion test, each with a false alarm in 2²⁰.
struct HealthTests {
    last: Option<u8>,
    repeated: u16,
    first: u8,
    position: u16,
    same: u16,
}

impl HealthTests {
    const fn new() -> Self {
        HealthTests { last: None, repeated: 0, first: 0, position: 0, same: 0 }
    }

    fn take(&mut self, sample: u8) -> Result<(), SourceFailed> {
        self.repeated = if self.last == Some(sample) { self.repeated + 1 } else { 1 };
        self.last = Some(sample);
        if self.position == 0 {
            (self.first, self.same) = (sample, 0);
        }
        self.same += u16::from(sample == self.first);
        self.position = (self.position + 1) % WINDOW;
        if self.repeated >= REPETITION_CUTOFF || self.same >= PROPORTION_CUTOFF {
            return Err(SourceFailed);
        }
        Ok(())
    }
}

/// Samples that are tested before any is used.
const STARTUP: u16 = 1024;
/// Samples of a seed: twice the 256 bits, at one bit a sample.
const SEED: u16 = 512;
/// 1 + 20 / H, for H = 1 bit a sample.
const REPETITION_CUTOFF: u16 = 21;
/// The window of the adaptive proportion test, and its cutoff for H = 1.
const WINDOW: u16 = 512;
const PROPORTION_CUTOFF: u16 = 311;

#[cfg(test)]
mod tests {
    use super::*;

    struct Source<F>(F);

    impl<F: FnMut() -> u8> EntropySource for Source<F> {
        fn sample(&mut self) -> u8 {
            self.0()
        }
    }

    #[test]
    fn a_stuck_source_is_refused_at_once() {
        for stuck in [0x00, 0xFF, 0x5A] {
            let mut samples = 0;
            let mut source = Source(|| {
                samples += 1;
                stuck
            });
            assert!(Rng::from_source(&mut source).is_err());
            assert_eq!(samples, REPETITION_CUTOFF);
        }
    }

    #[test]
    fn a_source_that_is_mostly_one_value_is_refused() {
        let mut count = 0_u32;
        // Two of three samples are the same, never 21 in a row.
        let mut source = Source(|| {
            count += 1;
            if count.is_multiple_of(3) { count as u8 } else { 0xAA }
        });
        assert!(Rng::from_source(&mut source).is_err());
    }

    #[test]
    fn a_varied_source_seeds_generators_that_differ() {
        let mut state = 1_u32;
        let mut varied = Source(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        });
        let [mut one, mut other] = [(); 2].map(|()| Rng::from_source(&mut varied).expect("it varies"));
        let (mut a, mut b, mut c) = ([0; 100], [0; 100], [0; 100]);
        one.fill(&mut a);
        one.fill(&mut b);
        other.fill(&mut c);
        assert!(a != b && a != c && b != c);
        assert!(a[..32] != a[32..64], "blocks differ");
    }

    #[test]
    fn the_key_is_another_after_every_use() {
        let mut rng = Rng::from_seed([1; 32]);
        let before = rng.key;
        rng.fill(&mut []);
        assert_ne!(rng.key, before);
        let mut fork = rng.fork();
        let (mut a, mut b) = ([0; 32], [0; 32]);
        rng.fill(&mut a);
        fork.fill(&mut b);
        assert_ne!(a, b);
    }
}
