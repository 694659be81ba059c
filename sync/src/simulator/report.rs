//! Results as CSV, JSON and one HTML page that needs nothing else.

mod page;
mod plot;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use super::campaign::{in_parallel, missed};
use super::outcome::{Outcome, quantile};
use super::scenario::Scenario;
use super::{failures, run};

/// One fabric's sum over all seeds of a scenario.
pub struct Row {
    /// The fabric.
    pub fabric: String,
    /// How many seeds.
    pub seeds: u32,
    /// The sum.
    pub outcome: Outcome,
    /// Each seed by itself.
    pub each: Vec<Run>,
    /// Seeds of `oplog` that broke an invariant that no expectation loosens.
    pub failed: Vec<(u64, Vec<String>)>,
}

/// One seed's result.
pub struct Run {
    /// The seed.
    pub seed: u64,
    /// What was counted, in the order of [`Outcome::COUNTS`].
    pub counts: Vec<u64>,
    /// What was measured: its name, and the value if there is one.
    pub measures: [(&'static str, Option<f64>); 7],
}

/// One scenario's results.
pub struct Report {
    /// The scenario.
    pub scenario: Scenario,
    /// One row a fabric.
    pub rows: Vec<Row>,
}

impl Report {
    /// Runs everything a scenario asks for, on so many threads; `progress` is told how many of how many runs are done.
    /// The result does not depend on how many threads there are.
    pub fn of(scenario: Scenario, jobs: usize, mut progress: impl FnMut(usize, usize)) -> Self {
        let seeds = scenario.seeds as usize;
        let all = seeds * scenario.fabrics.len();
        let one = |index: usize| {
            let (fabric, seed) = (&scenario.fabrics[index / seeds], index % seeds);
            run(&scenario, fabric, seed as u64, false).0
        };
        let mut outcomes: Vec<Option<Outcome>> = (0..all).map(|_| None).collect();
        let mut done = 0;
        in_parallel(jobs, all, one, |index, outcome| {
            outcomes[index] = Some(outcome);
            done += 1;
            progress(done, all);
        });
        let mut outcomes = outcomes.into_iter().flatten();
        let mut rows = Vec::new();
        for fabric in &scenario.fabrics {
            let mut row = Row {
                fabric: fabric.clone(),
                seeds: scenario.seeds,
                outcome: Outcome::default(),
                each: Vec::new(),
                failed: Vec::new(),
            };
            for (seed, outcome) in (0..u64::from(scenario.seeds)).zip(outcomes.by_ref()) {
                if fabric == "oplog" && !failures(&scenario, &outcome).is_empty() {
                    row.failed.push((seed, failures(&scenario, &outcome)));
                }
                row.each.push(Run { seed, counts: outcome.counts(), measures: measures(&outcome) });
                row.outcome.add(&outcome);
            }
            rows.push(row);
        }
        Report { scenario, rows }
    }

    /// What the product's fabric did not hold: what was asked of each seed, with the seeds, and the rates of all.
    pub fn failures(&self) -> Vec<String> {
        let oplog = self.rows.iter().filter(|row| row.fabric == "oplog");
        oplog
            .flat_map(|row| {
                let mut seeds: BTreeMap<&str, Vec<String>> = BTreeMap::new();
                for (seed, failures) in &row.failed {
                    for failure in failures {
                        seeds.entry(failure).or_default().push(seed.to_string());
                    }
                }
                let words = |(failure, seeds): (&str, Vec<String>)| {
                    let word = if seeds.len() == 1 { "seed" } else { "seeds" };
                    format!("{failure} ({word} {})", seeds.join(", "))
                };
                let each = seeds.into_iter().map(words);
                each.chain(missed(&self.scenario, &row.outcome, row.seeds.into()))
            })
            .collect()
    }

    /// One line a run, under [`Report::csv_header`].
    pub fn to_csv(&self) -> String {
        let mut csv = String::new();
        for (row, run) in self.rows.iter().flat_map(|row| row.each.iter().map(move |run| (row, run))) {
            let _ = write!(csv, "{},{},{}", self.scenario.title(), row.fabric, run.seed);
            for count in &run.counts {
                let _ = write!(csv, ",{count}");
            }
            for (_, value) in run.measures {
                let _ = write!(csv, ",{}", written(value, ""));
            }
            csv.push('\n');
        }
        csv
    }

    /// The names of the columns.
    pub fn csv_header() -> String {
        let measures = measures(&Outcome::default()).map(|(name, _)| name);
        format!("scenario,fabric,seed,{},{}\n", Outcome::COUNTS.join(","), measures.join(","))
    }

    /// One object a fabric, sums over all seeds.
    pub fn to_json(&self) -> String {
        let mut json = format!("{{\"scenario\":{},\"fabrics\":[", quoted(&self.scenario.title()));
        for (index, row) in self.rows.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let _ = write!(json, "{comma}{{\"fabric\":{},\"seeds\":{}", quoted(&row.fabric), row.seeds);
            for (name, count) in Outcome::COUNTS.iter().zip(row.outcome.counts()) {
                let _ = write!(json, ",\"{name}\":{count}");
            }
            for (name, value) in measures(&row.outcome) {
                let _ = write!(json, ",\"{name}\":{}", written(value, "null"));
            }
            json.push('}');
        }
        json.push_str("]}\n");
        json
    }
}

/// What is measured and not counted: times in milliseconds, sizes in bits.
fn measures(outcome: &Outcome) -> [(&'static str, Option<f64>); 7] {
    let time = |values: &[u64], part| quantile(values, part).map(|ms| ms as f64);
    [
        ("convergence_p50_ms", time(&outcome.convergence_ms, 0.5)),
        ("convergence_p99_ms", time(&outcome.convergence_ms, 0.99)),
        ("claim_p50_ms", time(&outcome.claim_ms, 0.5)),
        ("claim_p99_ms", time(&outcome.claim_ms, 0.99)),
        ("detection_p50_ms", time(&outcome.detection_ms, 0.5)),
        ("detection_p99_ms", time(&outcome.detection_ms, 0.99)),
        ("size_bits", outcome.size_bits()),
    ]
}

/// A number with at most two digits after the point.
fn written(value: Option<f64>, none: &str) -> String {
    value.map_or(none.to_string(), |value| format!("{}", (value * 100.0).round() / 100.0))
}

pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control < ' ' => {
                let _ = write!(quoted, "\\u{:04x}", control as u32);
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
