//! Somebody guesses at the recovery PIN.
//!
//! Deposits, questions, answers and proofs are the product's (`crate::escrow`); a relay is a count in memory that
//! follows the rule of `relay/escrow.rs`: it counts, then answers, and with the last guess it destroys its share. PINs
//! are drawn evenly; people are worse at that, so a real PIN falls sooner.

use std::format;
use std::string::String;
use std::vec::Vec;

use super::scenario::Pin;
use crate::CircleId;
use crate::escrow::{Answer, Deposit, EscrowPin, Guess, Opened};
use crate::recovery::RecoveryKey;
use crate::seeded::Seeded;

const CIRCLE: CircleId = CircleId([0xe5; 16]);

/// Argon2id at its least: the time a guess takes is not what is looked at here.
const STRETCH: (u32, u32, u32) = (8, 1, 1);

/// What the relays of a run keep for a PIN.
pub(super) struct Escrow {
    rng: Seeded,
    pins: u64,
    pin: u64,
    digits: usize,
    key: RecoveryKey,
    first_wait_ms: u64,
    holders: Vec<Holder>,
}

/// One relay.
struct Holder {
    deposit: Option<Deposit>,
    allowed: u8,
    left: u8,
    next_ms: u64,
}

/// What came of an attack.
pub(super) struct Attacked {
    /// The guesses that were answered.
    pub(super) answered: u64,
    /// Whether one was right.
    pub(super) opened: bool,
}

impl Escrow {
    /// A PIN is set. The randomness is the escrow's own: it moves nothing else in the run.
    pub(super) fn new(pin: &Pin, seed: u64) -> Self {
        let mut rng = Seeded::new(seed ^ 0x5049_4e00);
        let pins = 10_u64.pow(pin.digits.into());
        let key = RecoveryKey::generate(&mut rng);
        let number = rng.below(pins);
        let digits = usize::from(pin.digits);
        let text = format!("{number:0digits$}");
        let stretched = EscrowPin::stretched(CIRCLE, text.as_bytes(), STRETCH);
        let deposits =
            Deposit::lock(&key, CIRCLE, &stretched, (pin.needed, pin.relays), pin.guesses, &mut rng)
                .expect("the scenario was checked");
        let holder = |deposit: Deposit| {
            let allowed = deposit.guesses;
            Holder { deposit: Some(deposit), allowed, left: allowed, next_ms: 0 }
        };
        let holders = deposits.into_iter().map(holder).collect();
        Escrow { rng, pins, pin: number, digits, key, first_wait_ms: pin.wait_s * 1000, holders }
    }

    /// Whether nobody can open it any more, not even with the PIN.
    pub(super) fn is_destroyed(&self) -> bool {
        self.holders.iter().any(|holder| holder.deposit.is_none())
    }

    /// The user, with nothing left but the PIN.
    pub(super) fn opens_for_the_user(&mut self, mut now_ms: u64) -> bool {
        self.wait(&mut now_ms);
        self.guess(self.pin, now_ms)
    }

    /// Somebody tries PINs, each once, as soon as the relays allow. `sets_back`: who can write the relays' databases, and
    /// sets their counts back before each guess.
    pub(super) fn attack(&mut self, guesses: u64, sets_back: bool, mut now_ms: u64) -> Attacked {
        let mut attacked = Attacked { answered: 0, opened: false };
        let first = self.rng.below(self.pins);
        for number in 0..guesses.min(self.pins) {
            if sets_back {
                self.holders
                    .iter_mut()
                    .for_each(|holder| (holder.left, holder.next_ms) = (holder.allowed, 0));
            }
            if self.is_destroyed() {
                break;
            }
            self.wait(&mut now_ms);
            attacked.answered += 1;
            if self.guess((first + number) % self.pins, now_ms) {
                attacked.opened = true;
                break;
            }
        }
        attacked
    }

    fn wait(&self, now_ms: &mut u64) {
        *now_ms = self.holders.iter().map(|holder| holder.next_ms).fold(*now_ms, u64::max);
    }

    /// One guess at all relays. Whether it opened the box.
    fn guess(&mut self, number: u64, now_ms: u64) -> bool {
        let digits = self.digits;
        let text = format!("{number:0digits$}");
        let stretched = EscrowPin::stretched(CIRCLE, text.as_bytes(), STRETCH);
        let guess = Guess::new(CIRCLE, stretched, &mut self.rng);
        let question = guess.question();
        let first_wait_ms = self.first_wait_ms;
        let ask = |holder: &mut Holder| holder.answer(&question, now_ms, first_wait_ms);
        let answers: Vec<Answer> = self.holders.iter_mut().filter_map(ask).collect();
        let Some(Opened { key, proofs }) = guess.open(&answers) else { return false };
        assert!(key == self.key && proofs.len() == answers.len(), "what opens is what was locked in");
        let kept = self.holders.iter_mut().filter(|holder| holder.deposit.is_some());
        kept.for_each(|holder| (holder.left, holder.next_ms) = (holder.allowed, 0));
        true
    }
}

impl Holder {
    fn answer(&mut self, question: &[u8], now_ms: u64, first_wait_ms: u64) -> Option<Answer> {
        if self.left == 0 || now_ms < self.next_ms {
            return None;
        }
        self.next_ms = now_ms + (first_wait_ms << (self.allowed - self.left));
        self.left -= 1;
        let deposit = if self.left == 0 { self.deposit.take() } else { self.deposit.clone() };
        deposit?.answer(question, self.left)
    }
}

/// For a trace.
pub(super) fn told(attacked: &Attacked, escrow: &Escrow) -> String {
    let end = match (attacked.opened, escrow.is_destroyed()) {
        (true, _) => "and one opened it",
        (false, true) => "and then it was destroyed",
        (false, false) => "and none was right",
    };
    format!("somebody guesses at the PIN: {} guesses are answered, {end}", attacked.answered)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(digits: u8, guesses: u8, (needed, relays): (u8, u8)) -> Pin {
        Pin { digits, guesses, needed, relays, wait_s: 30 }
    }

    #[test]
    fn ten_guesses_are_answered_and_the_eleventh_finds_nothing() {
        let mut escrow = Escrow::new(&pin(6, 10, (2, 3)), 1);
        let attacked = escrow.attack(1_000_000, false, 0);
        assert!(attacked.answered == 10 && !attacked.opened && escrow.is_destroyed());
        assert!(!escrow.opens_for_the_user(0));
    }

    #[test]
    fn the_user_comes_in_time_while_a_guess_is_left_and_the_count_begins_anew() {
        let mut escrow = Escrow::new(&pin(6, 10, (1, 1)), 2);
        assert_eq!(escrow.attack(9, false, 0).answered, 9);
        assert!(escrow.opens_for_the_user(0) || escrow.is_destroyed(), "the tenth guess was the right one");
        let mut escrow = Escrow::new(&pin(6, 10, (1, 1)), 2);
        assert_eq!(escrow.attack(8, false, 0).answered, 8);
        assert!(escrow.opens_for_the_user(0) && escrow.attack(9, false, u64::MAX >> 20).answered == 9);
    }

    #[test]
    fn who_writes_the_databases_finds_a_short_pin() {
        let mut escrow = Escrow::new(&pin(2, 10, (1, 2)), 3);
        let attacked = escrow.attack(100, true, 0);
        assert!(attacked.opened, "the count protects from everybody but who keeps it");
    }
}
