//! What a verification did, step by step, in the numbers of WebAuthn Level 3.

use std::fmt;

use serde::{Serialize, Serializer};

use super::rejection::{Fact, Rejection};

/// Which of the two verification procedures of WebAuthn Level 3 a step belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ceremony {
    /// §7.1, registering a new credential; 29 steps.
    Registration,
    /// §7.2, verifying an authentication assertion; 25 steps.
    Authentication,
}

impl Ceremony {
    /// How many numbered steps the procedure has.
    #[must_use]
    pub const fn steps(self) -> u8 {
        match self {
            Self::Registration => 29,
            Self::Authentication => 25,
        }
    }
}

/// A numbered step of §7.1 or §7.2; shown as `7.1-9`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Step {
    /// The procedure.
    pub ceremony: Ceremony,
    /// The number of the step in it, from 1.
    pub number: u8,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let section = match self.ceremony {
            Ceremony::Registration => 1,
            Ceremony::Authentication => 2,
        };
        write!(f, "7.{section}-{}", self.number)
    }
}

impl Serialize for Step {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What became of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The step was carried out, or did not apply, and nothing speaks against the response.
    Pass,
    /// The step refused the response. At most one line of a transcript fails.
    Fail,
    /// The step needs what a pure function has not (the client, the database): it is the caller's.
    Caller,
    /// The step was not reached, because an earlier one failed.
    Skipped,
}

/// One line of a [`Transcript`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// The numbered step.
    pub step: Step,
    /// What was found, in plain words. Holds no secret; challenges are not repeated.
    pub found: String,
    /// What became of it.
    pub verdict: Verdict,
}

/// The whole verification: exactly one line for every numbered step, in order, whatever the outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Transcript {
    lines: Vec<Line>,
}

impl Transcript {
    /// The lines, in the order of the steps.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }
}

/// A step's refusal on its way to become a [`Rejection`].
#[derive(Debug)]
pub(crate) struct Refusal {
    number: u8,
    fact: Fact,
}

/// Carries out a step that gives a value for later ones, or returns its refusal. The last argument is what a test that
/// overlooks the step goes on with, an `Option`; outside of tests it is not there.
macro_rules! gate {
    ($recorder:expr, $number:literal, $outcome:expr, $instead:expr) => {{
        let outcome = $outcome;
        #[cfg(test)]
        let outcome = $recorder.overlook($number, outcome, || $instead);
        $recorder.value($number, outcome)?
    }};
}
pub(super) use gate;

/// Writes a [`Transcript`] in order; every step is written once.
#[derive(Debug)]
pub(crate) struct Recorder {
    ceremony: Ceremony,
    lines: Vec<Line>,
    /// A step whose refusal is let pass, so that a test can show that no other step refuses.
    #[cfg(test)]
    overlooked: Option<u8>,
}

impl Recorder {
    pub(crate) fn new(ceremony: Ceremony) -> Self {
        Self {
            ceremony,
            lines: Vec::with_capacity(usize::from(ceremony.steps())),
            #[cfg(test)]
            overlooked: None,
        }
    }

    /// Blind to one step.
    #[cfg(test)]
    pub(crate) fn overlooking(ceremony: Ceremony, number: u8) -> Self {
        Self { overlooked: Some(number), ..Self::new(ceremony) }
    }

    pub(crate) fn pass(&mut self, number: u8, found: impl Into<String>) {
        self.line(number, found.into(), Verdict::Pass);
    }

    pub(crate) fn caller(&mut self, number: u8, found: impl Into<String>) {
        self.line(number, found.into(), Verdict::Caller);
    }

    /// Carries out a step that gives a value for later ones; its line is written by a later call. See [`gate`].
    pub(crate) fn value<T>(&mut self, number: u8, outcome: Result<T, Fact>) -> Result<T, Refusal> {
        outcome.map_err(|fact| Refusal { number, fact })
    }

    /// What a verifier blind to a step goes on with, if there is anything to go on with.
    #[cfg(test)]
    pub(crate) fn overlook<T>(
        &self,
        number: u8,
        outcome: Result<T, Fact>,
        instead: impl FnOnce() -> Option<T>,
    ) -> Result<T, Fact> {
        if self.overlooked != Some(number) {
            return outcome;
        }
        outcome.or_else(|fact| instead().ok_or(fact))
    }

    /// Carries out a step that only judges, and writes its line.
    pub(crate) fn judge(&mut self, number: u8, outcome: Result<String, Fact>) -> Result<(), Refusal> {
        match outcome {
            Ok(found) => self.pass(number, found),
            #[cfg(test)]
            Err(fact) if self.overlooked == Some(number) => self.pass(number, format!("overlooked: {fact}")),
            Err(fact) => return Err(Refusal { number, fact }),
        }
        Ok(())
    }

    /// Writes the failing line and marks every later step as not reached.
    pub(crate) fn reject(mut self, refusal: Refusal) -> Rejection {
        let Refusal { number, fact } = refusal;
        self.line(number, fact.to_string(), Verdict::Fail);
        for later in number + 1..=self.ceremony.steps() {
            self.line(later, "not reached".into(), Verdict::Skipped);
        }
        let step = Step { ceremony: self.ceremony, number };
        Rejection { step, fact, transcript: Transcript { lines: self.lines } }
    }

    pub(crate) fn finish(self) -> Transcript {
        debug_assert_eq!(self.lines.len(), usize::from(self.ceremony.steps()));
        Transcript { lines: self.lines }
    }

    fn line(&mut self, number: u8, found: String, verdict: Verdict) {
        debug_assert_eq!(self.lines.len() + 1, usize::from(number), "a step was left out or told twice");
        self.lines.push(Line { step: Step { ceremony: self.ceremony, number }, found, verdict });
    }
}
