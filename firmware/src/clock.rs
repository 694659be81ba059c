//! A board's clock, from a timer of the chip's that counts microseconds in 32 bits and goes round every 71.6 minutes.
//!
//! The timer must be one that counts on while the core sleeps: see "Porting" in the folder's README.

use doppelkey_core::Time;

use crate::start;

/// The time since power-up, as it was seen last. It never goes back, and is exact for as long as the timer is looked at
/// once in a round, for which any tick of a board's is often enough.
pub struct Clock {
    micros: u64,
}

impl Clock {
    /// At power-up: the timer is at zero.
    pub const fn new() -> Self {
        Clock { micros: 0 }
    }

    /// The time, when the timer says this. Read the timer inside the critical section that lends the clock: a count that
    /// is older than the last would be taken for the next round's.
    pub fn at(&mut self, count: u32) -> Time {
        self.micros += u64::from(count.wrapping_sub(self.micros as u32));
        start::from_micros(self.micros)
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_when_the_timer_goes_round() {
        let mut clock = Clock::new();
        // A day of ticks, every 5 ms and a little late, and 20 rounds of the timer.
        let (mut micros, mut last) = (0_u64, Time::ZERO);
        while micros < 86_400_000_000 {
            micros += 5_000 + micros % 7;
            let now = clock.at(micros as u32);
            assert_eq!(now, Time::from_micros(micros));
            assert!(now > last);
            last = now;
        }
        assert_eq!(clock.at(micros as u32), last, "looked at twice");
    }

    #[test]
    fn a_tick_that_is_late_by_almost_a_round_loses_nothing() {
        let mut clock = Clock::new();
        assert_eq!(clock.at(u32::MAX), Time::from_micros(u64::from(u32::MAX)));
        assert_eq!(clock.at(u32::MAX - 1), Time::from_micros(u64::from(u32::MAX) * 2));
    }
}
