//! What only the RP2350 has: a true random number generator, and one-time memory.

use rp235x_hal::{otp, pac};
use zeroize::Zeroizing;

use crate::rng::EntropySource;

/// The true random number generator: 192 bits at a time, which have passed the block's own tests.
pub struct Trng {
    block: pac::TRNG,
    bits: [u8; 24],
    used: usize,
}

impl Trng {
    /// Takes the block out of reset, and starts it.
    pub fn new(block: pac::TRNG, resets: &mut pac::RESETS) -> Self {
        resets.reset().modify(|_, w| w.trng().clear_bit());
        while resets.reset_done().read().trng().bit_is_clear() {}
        #[expect(unsafe_code, reason = "fields without a name for their values")]
        // SAFETY: any value is allowed.
        unsafe {
            block.sample_cnt1().write(|w| w.bits(1000));
            block.rnd_source_enable().write(|w| w.bits(1));
        }
        Trng { block, bits: [0; 24], used: 24 }
    }

    /// The next 192 bits; zeros, which no health test passes, if there are none within some milliseconds, or the same ones
    /// again: a block that repeats itself looks random byte by byte.
    fn refill(&mut self) {
        let before = core::mem::take(&mut self.bits);
        for _ in 0..1_000_000 {
            if self.block.rng_isr().read().ehr_valid().bit_is_set() {
                let words = [
                    self.block.ehr_data0().read().bits(),
                    self.block.ehr_data1().read().bits(),
                    self.block.ehr_data2().read().bits(),
                    self.block.ehr_data3().read().bits(),
                    self.block.ehr_data4().read().bits(),
                    self.block.ehr_data5().read().bits(),
                ];
                for (bytes, word) in self.bits.chunks_exact_mut(4).zip(words) {
                    bytes.copy_from_slice(&word.to_le_bytes());
                }
                if self.bits == before {
                    self.bits = [0; 24];
                }
                break;
            }
        }
        self.used = 0;
    }
}

impl EntropySource for Trng {
    fn sample(&mut self) -> u8 {
        if self.used == self.bits.len() {
            self.refill();
        }
        self.used += 1;
        self.bits[self.used - 1]
    }
}

/// The secret in rows 0xC00 to 0xC0F of the one-time memory, if the chip's owner has written one there.
///
/// It is a part of the root key, so it must be there before the first start.
pub fn one_time_secret() -> Option<Zeroizing<[u8; 32]>> {
    let mut secret = Zeroizing::new([0; 32]);
    for (row, bytes) in (0xC00..).zip(secret.chunks_exact_mut(2)) {
        bytes.copy_from_slice(&otp::read_ecc_word(row).ok()?.to_le_bytes());
    }
    (*secret != [0; 32]).then_some(secret)
}
