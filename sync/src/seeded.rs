//! Randomness from a seed, for tests and simulations: fast, repeatable, and predictable by anyone.

use core::convert::Infallible;

use rand_core::{TryCryptoRng, TryRng};

/// xoshiro256++ (Blackman and Vigna). Claims to be a `CryptoRng` because replicas ask for one; it is none, so it
/// is compiled for tests and the simulator only.
#[derive(Clone, Debug)]
pub struct Seeded([u64; 4]);

impl Seeded {
    /// The generator of this seed. Different seeds give unrelated streams.
    pub fn new(seed: u64) -> Self {
        let mut state = seed;
        Seeded([(); 4].map(|()| {
            // SplitMix64, as the authors of xoshiro advise.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = state;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        }))
    }

    /// 64 bits.
    pub fn bits(&mut self) -> u64 {
        let Seeded([a, b, c, d]) = *self;
        let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let shifted = b << 17;
        let (mut c, mut d) = (c ^ a, d ^ b);
        let (b, a) = (b ^ c, a ^ d);
        c ^= shifted;
        d = d.rotate_left(45);
        self.0 = [a, b, c, d];
        result
    }

    /// A number in `0..bound`; 0 for a bound of 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    /// A number in `0.0..1.0`.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// A generator of its own for a part, so that what one part draws does not move another's stream.
    pub fn fork(&mut self) -> Self {
        Seeded::new(self.bits())
    }
}

impl TryRng for Seeded {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.bits() >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.bits())
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
        for chunk in dst.chunks_mut(8) {
            let bytes = self.bits().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
        Ok(())
    }
}

impl TryCryptoRng for Seeded {}
