//! Whether what should not be guessed can be. The tests of the relying party and of sync have this file, too.
#![allow(unreachable_pub, reason = "some have it in a test, which has no outside")]

/// So many that a bit which is not free shows.
pub const SAMPLES: usize = 256;

/// Every bit of these is 1 about half of the time, and equals its neighbour, and that of the one before, about half of the
/// time; and there are `bits` of them. A right source fails this once in 100 billion bits: each may be off by 6.9
/// standard deviations.
///
/// # Panics
/// If it is not so.
pub fn assert_every_bit_is_free(what: &str, bits: usize, samples: &[impl AsRef<[u8]>]) {
    assert_eq!(samples.len(), SAMPLES, "{what}: so many samples");
    for sample in samples {
        assert_eq!(sample.as_ref().len() * 8, bits, "{what}: so many bits");
    }
    let bit = |sample: &dyn AsRef<[u8]>, at: usize| sample.as_ref()[at / 8] >> (at % 8) & 1;
    let half = SAMPLES / 2;
    let near_half = half - 55..=half + 55;
    for at in 0..bits {
        let ones = samples.iter().filter(|sample| bit(sample, at) == 1).count();
        assert!(near_half.contains(&ones), "{what}: bit {at} is 1 in {ones} of {SAMPLES}");
        let next = (at + 1) % bits;
        let equal = samples.iter().filter(|sample| bit(sample, at) == bit(sample, next)).count();
        assert!(near_half.contains(&equal), "{what}: bits {at} and {next} are equal in {equal} of {SAMPLES}");
        let as_before = samples.windows(2).filter(|two| bit(&two[0], at) == bit(&two[1], at)).count();
        assert!(near_half.contains(&as_before), "{what}: bit {at} is as before in {as_before} of {SAMPLES}");
    }
}
