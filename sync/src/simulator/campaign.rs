//! Many device-years: scenario after scenario, seed after seed, on all cores; the sum does not depend on how many.
//!
//! What must hold is asked of every run: an invariant, or what a scenario expects. What may happen, but not often, is a
//! rate: asked of all runs of a scenario together, since one unlucky seed says nothing about it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::format;
use std::string::String;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::vec::Vec;

use super::outcome::Outcome;
use super::scenario::Scenario;
use super::{failures, run};

/// Runs of the product, one seed of every scenario after the other, until enough device-years have passed.
pub struct Campaign {
    scenarios: Vec<Scenario>,
    first_seed: u64,
    runs: usize,
}

/// What has come of a campaign so far.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// How many runs are done.
    pub done: usize,
    /// Of how many.
    pub runs: usize,
    /// The counts of all runs that are done; without times and violations.
    pub sum: Outcome,
    /// What did not hold.
    pub broken: Vec<Broken>,
    /// The same of each scenario by itself, by its name.
    pub scenarios: BTreeMap<String, Part>,
}

/// A scenario's part of a campaign.
#[derive(Clone, Debug, Default)]
pub struct Part {
    /// How many of its runs are done.
    pub done: u64,
    /// How many of them broke something.
    pub broken: u64,
    /// Their counts.
    pub sum: Outcome,
    /// What happened more often than it may, in words. Known once all runs are done.
    pub missed: Vec<String>,
}

/// How often something happened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// What, of how many.
    pub what: &'static str,
    /// How often it was.
    pub value: f64,
}

/// What a rate is called, what is counted, among what, and for how many of those it is told.
const RATES: [(&str, &str, &str, f64); 9] = [
    ("sign-ins that succeed, of 100", "signed_in", "signins", 100.0),
    ("sign-ins for which the passkey had not come yet, of 1,000", "not_yet", "signins", 1e3),
    ("sign-ins that fail everywhere, of 1,000", "lockouts", "signins", 1e3),
    ("sign-ins that fail everywhere as BS = 0 had announced, of 1,000", "announced", "signins", 1e3),
    ("backup claims that nobody could know to be late, of 1,000 passkeys", "unaware", "created", 1e3),
    ("deletes that nobody had heard of when a device was lost, of 1,000 passkeys", "unheard", "created", 1e3),
    ("passkeys that a thief reads although made after the revocation, of 1,000", "exposed", "created", 1e3),
    ("runs with a false alarm, in 10,000 device-days", "false_alarms", "device_days", 1e4),
    ("kilobytes sent, a device and day", "bytes", "device_days", 1e-3),
];

/// A run that did not hold what its scenario expects.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Broken {
    /// The scenario's name.
    pub scenario: String,
    /// The seed: `doppelkey simulate FILE --replay SEED` tells the story.
    pub seed: u64,
    /// What did not hold, in words.
    pub failures: Vec<String>,
}

impl Campaign {
    /// As many rounds of all scenarios, from `first_seed` on, as make at least so many device-years.
    pub fn new(scenarios: Vec<Scenario>, first_seed: u64, years: u64) -> Self {
        let round: u64 = scenarios.iter().map(Scenario::device_days).sum();
        let rounds = (years * 365).div_ceil(round.max(1));
        let runs = scenarios.len() * usize::try_from(rounds).unwrap_or(usize::MAX);
        Campaign { scenarios, first_seed, runs }
    }

    /// Runs everything on so many threads; `progress` is told after each run, in the order in which they end.
    pub fn run(&self, jobs: usize, mut progress: impl FnMut(&Tally)) -> Tally {
        let mut tally = Tally { runs: self.runs, ..Tally::default() };
        let one = |index: usize| {
            let scenario = &self.scenarios[index % self.scenarios.len()];
            let seed = self.first_seed + (index / self.scenarios.len()) as u64;
            let (outcome, _) = run(scenario, "oplog", seed, false);
            let failures = failures(scenario, &outcome);
            let broken = Broken { scenario: scenario.name.clone(), seed, failures };
            (outcome.without_lists(), broken)
        };
        in_parallel(jobs, self.runs, one, |_, (outcome, broken)| {
            tally.add(&outcome, broken);
            progress(&tally);
        });
        tally.broken.sort();
        for scenario in &self.scenarios {
            if let Some(part) = tally.scenarios.get_mut(&scenario.name) {
                part.missed = missed(scenario, &part.sum, part.done);
            }
        }
        tally
    }
}

impl Tally {
    fn add(&mut self, outcome: &Outcome, broken: Broken) {
        let part = self.scenarios.entry(broken.scenario.clone()).or_default();
        self.done += 1;
        part.done += 1;
        self.sum.add(outcome);
        part.sum.add(outcome);
        if !broken.failures.is_empty() {
            part.broken += 1;
            self.broken.push(broken);
        }
    }

    /// What happened more often than its scenario allows in the mean, in words, with the scenario's name.
    pub fn missed(&self) -> Vec<String> {
        let parts = self.scenarios.iter();
        parts
            .flat_map(|(name, part)| part.missed.iter().map(move |missed| format!("{name}: {missed}")))
            .collect()
    }

    /// How often what may happen did.
    pub fn rates(&self) -> Vec<Rate> {
        rates(&self.sum)
    }

    /// The counts as one JSON object, and each scenario's.
    pub fn to_json(&self) -> String {
        let mut json = format!("{{\"runs\":{},\"broken\":{}", self.done, self.broken.len());
        write_counts(&mut json, &self.sum);
        json.push_str(",\"scenarios\":{");
        for (index, (name, part)) in self.scenarios.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let (name, missed) = (super::report::quoted(name), part.missed.len());
            let _ = write!(json, "{comma}{name}:{{\"runs\":{},\"broken\":{}", part.done, part.broken);
            let _ = write!(json, ",\"rates_missed\":{missed}");
            write_counts(&mut json, &part.sum);
            json.push('}');
        }
        json.push_str("}}\n");
        json
    }
}

fn write_counts(json: &mut String, outcome: &Outcome) {
    for (name, count) in Outcome::COUNTS.iter().zip(outcome.counts()) {
        let _ = write!(json, ",\"{name}\":{count}");
    }
}

/// How often what may happen did, in these runs. What they cannot tell is left out.
pub fn rates(outcome: &Outcome) -> Vec<Rate> {
    let rate = |&(what, counted, of, per): &(&'static str, &str, &str, f64)| {
        let (count, of) = (outcome.count(counted)?, outcome.count(of)?);
        (of > 0).then(|| Rate { what, value: per * count as f64 / of as f64 })
    };
    RATES.iter().filter_map(rate).collect()
}

/// What happened in this many runs of a scenario more often than it allows in the mean, in words.
pub(crate) fn missed(scenario: &Scenario, sum: &Outcome, runs: u64) -> Vec<String> {
    let over = |(name, most): (&String, &f64)| {
        let mean = sum.count(name)? as f64 / runs.max(1) as f64;
        (mean > *most)
            .then(|| format!("{name}: {mean:.2} a run in the mean of {runs}, at most {most} allowed"))
    };
    scenario.rates.iter().filter_map(over).collect()
}

/// Calls `work` with every number below `count`, on so many threads, and `done` with each result on this one, as they
/// come.
///
/// # Panics
/// If `work` does.
pub(crate) fn in_parallel<T: Send>(
    jobs: usize,
    count: usize,
    work: impl Fn(usize) -> T + Sync,
    mut done: impl FnMut(usize, T),
) {
    let next = AtomicUsize::new(0);
    let (send, receive) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, count.max(1)) {
            let (send, next, work) = (send.clone(), &next, &work);
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count || send.send((index, work(index))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(send);
        receive.iter().for_each(|(index, result)| done(index, result));
    });
}
