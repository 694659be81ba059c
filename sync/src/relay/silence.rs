//! How long a stream of news may be silent, and how a device and its relay find that out.
//!
//! Whoever waits for news must hear something now and then: networks and proxies on the way end connections that are
//! silent, some of them without a word to either end. How long they wait nobody says (nginx a minute, balancers of clouds one
//! to four, home routers five and more), and each sign of life costs. So a stream begins as if the way were
//! a strict one, and dares more while nothing happens:
//!
//! | who | says | what |
//! |---|---|---|
//! | device | `GET /c/{circle}/watch?silent_ms=S` | what it thinks this way bears |
//! | relay | a comment of server-sent events, `: G` | the next sign comes in G milliseconds, if no news come before; a bare `:` says G as before |
//!
//! G is [`FIRST_SIGN`] at first, and twice as long after each sign, up to S and to what the relay's operator allows. A
//! device that hears nothing for S and [`SPARE`] ends the connection and makes a new one. If it broke in a silence that
//! was longer than any before on this connection, S becomes the longest that was borne; after a day without a break twice
//! as much is tried. Where nothing stands in the way a day has some 150 signs, and what breaks unseen is noticed within
//! eleven minutes.

use std::time::Duration;

/// The first silence of every stream: less than the minute after which the strictest of common proxies end one.
pub const FIRST_SIGN: Duration = Duration::from_secs(45);

/// The longest silence, unless an operator or the way allows less only.
pub const LONGEST_SILENCE: Duration = Duration::from_secs(600);

/// How late a sign may be: what was lost on the way is sent again by then.
const SPARE: Duration = Duration::from_secs(60);

/// After how long without a break more is tried.
const MORE_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// What a device knows of one way to one relay. Kept from connection to connection.
#[derive(Clone, Debug)]
pub struct Silence {
    most: Duration,
    spare: Duration,
    /// What is asked for.
    longest: Duration,
    /// The longest that this connection bore.
    borne: Duration,
    /// The one that lasts, as the relay announced it.
    lasting: Option<Duration>,
    /// How long all were together.
    calm: Duration,
}

impl Default for Silence {
    /// Up to [`LONGEST_SILENCE`], and a minute's patience beyond.
    fn default() -> Self {
        Silence::new(LONGEST_SILENCE, SPARE)
    }
}

impl Silence {
    /// Not longer than `most`, and with `spare` for a sign that is late.
    pub fn new(most: Duration, spare: Duration) -> Self {
        let none = Duration::ZERO;
        Silence { most, spare, longest: most, borne: none, lasting: None, calm: none }
    }

    /// How long the next connection is asked to be silent at most.
    pub fn longest(&self) -> Duration {
        self.longest
    }

    /// When to take a silent connection for broken.
    pub(super) fn limit(&self) -> Duration {
        self.longest + self.spare
    }

    /// A connection begins.
    pub(super) fn begin(&mut self) {
        if self.dares_more() {
            self.longest = (2 * self.longest).min(self.most);
        }
        (self.borne, self.lasting, self.calm) = (Duration::ZERO, None, Duration::ZERO);
    }

    /// The relay gave a sign, and announced when the next comes if that changes. Whether the connection is to go on: not if
    /// more can be tried.
    pub(super) fn sign(&mut self, next: Option<Duration>) -> bool {
        if let Some(borne) = self.lasting {
            self.borne = self.borne.max(borne);
            self.calm += borne;
        }
        self.lasting = next.or(self.lasting);
        !self.dares_more()
    }

    /// The connection broke.
    pub(super) fn broke(&mut self) {
        if self.lasting.take().is_some_and(|lasted| lasted > self.borne) {
            self.longest = self.borne.max(FIRST_SIGN).min(self.longest);
        }
    }

    fn dares_more(&self) -> bool {
        self.longest < self.most && self.calm >= MORE_AFTER
    }
}

/// When a relay's stream gives its signs.
#[derive(Debug)]
pub(super) struct Signs {
    gap: Duration,
    most: Duration,
}

impl Signs {
    /// As a device asks, within what is allowed.
    pub(super) fn new(asked: Option<Duration>, allowed: Duration) -> Self {
        // Not so often that signs are work.
        let least = Duration::from_secs(1).min(allowed);
        let most = asked.unwrap_or(FIRST_SIGN).clamp(least, allowed);
        Signs { gap: FIRST_SIGN.min(most), most }
    }

    /// How long it may be until the next one.
    pub(super) fn gap(&self) -> Duration {
        self.gap
    }

    /// One is given: the next may take longer. How long, if that is to be announced.
    pub(super) fn give(&mut self) -> Option<Duration> {
        let before = self.gap;
        self.gap = (2 * before).min(self.most);
        (self.gap != before).then_some(self.gap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection over a way that bears this: the signs that arrive, until it breaks or ends by itself.
    fn connection(silence: &mut Silence, bears: Duration) -> u32 {
        silence.begin();
        let mut signs = Signs::new(Some(silence.longest()), LONGEST_SILENCE);
        silence.sign(Some(signs.gap()));
        for arrived in 0..100_000 {
            if signs.gap() > bears {
                silence.broke();
                return arrived;
            }
            if !silence.sign(signs.give()) {
                return arrived + 1;
            }
            if silence.longest() == LONGEST_SILENCE && signs.gap() == LONGEST_SILENCE {
                return arrived + 1;
            }
        }
        panic!("it is silent for ever");
    }

    #[test]
    fn a_way_without_limits_is_silent_for_ten_minutes_after_five_signs() {
        let mut silence = Silence::default();
        assert_eq!(connection(&mut silence, Duration::MAX), 4, "45 s, 90 s, 3 and 6 minutes");
        assert_eq!(silence.longest(), LONGEST_SILENCE);
        assert!(silence.limit() <= Duration::from_secs(11 * 60));
    }

    #[test]
    fn a_proxy_that_ends_what_is_silent_for_a_minute_breaks_one_connection_a_day() {
        let mut silence = Silence::default();
        let minute = Duration::from_secs(60);
        assert_eq!(connection(&mut silence, minute), 1);
        assert_eq!(silence.longest(), FIRST_SIGN);
        for _ in 0..3 {
            let signs = connection(&mut silence, minute);
            assert_eq!(signs, 24 * 3600 / 45, "a day is calm, then more is tried");
            assert_eq!(connection(&mut silence, minute), 1, "and that breaks");
            assert_eq!(silence.longest(), FIRST_SIGN);
        }
        // The device is somewhere else now: day by day it dares more.
        for longest in [90, 180, 360, 600_u64] {
            connection(&mut silence, Duration::MAX);
            silence.begin();
            assert_eq!(silence.longest(), Duration::from_secs(longest));
        }
    }

    #[test]
    fn a_relay_that_begins_anew_changes_nothing_for_who_was_silent_that_long_before() {
        let mut silence = Silence::default();
        silence.begin();
        let long = LONGEST_SILENCE;
        silence.sign(Some(long));
        silence.sign(None);
        silence.broke();
        assert_eq!(silence.longest(), long);
        silence.begin();
        silence.sign(Some(long));
        silence.broke();
        assert_eq!(silence.longest(), FIRST_SIGN, "one that was never borne is not tried again at once");
    }

    #[test]
    fn an_operator_and_a_device_each_may_want_less() {
        let second = Duration::from_secs(1);
        for (asked, allowed, first, then) in
            [(600, 600, 45, 90), (600, 60, 45, 60), (30, 600, 30, 30), (0, 600, 1, 1), (600, 20, 20, 20)]
        {
            let mut signs = Signs::new(Some(asked * second), allowed * second);
            assert_eq!(signs.gap(), first * second);
            let announced = signs.give();
            assert_eq!(signs.gap(), then * second);
            assert_eq!(announced, (then != first).then_some(then * second));
        }
        assert_eq!(Signs::new(None, LONGEST_SILENCE).most, FIRST_SIGN, "who does not ask gets what all bear");
    }
}
