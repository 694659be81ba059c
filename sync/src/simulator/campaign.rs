//! Many device-years: scenario after scenario, seed after seed, on all cores; the sum does not depend on how many.

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
}

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
            tally.done += 1;
            tally.sum.add(&outcome);
            if !broken.failures.is_empty() {
                tally.broken.push(broken);
            }
            progress(&tally);
        });
        tally.broken.sort();
        tally
    }
}

impl Tally {
    /// The counts as one JSON object.
    pub fn to_json(&self) -> String {
        let mut json = format!("{{\"runs\":{},\"broken\":{}", self.done, self.broken.len());
        for (name, count) in Outcome::COUNTS.iter().zip(self.sum.counts()) {
            let _ = write!(json, ",\"{name}\":{count}");
        }
        json.push_str("}\n");
        json
    }
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
