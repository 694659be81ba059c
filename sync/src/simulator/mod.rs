//! The laboratory: a user with some devices, days of virtual time, bad luck and bad servers, from one seed.
//!
//! The `oplog` fabric **is** the product's [`Replica`](crate::Replica); the other fabrics (`models.rs`) are models
//! with stated assumptions, to compare with on the same course of events; `mls` (feature `mls`) is a group of openmls. Nothing here reads a clock or real
//! randomness: a scenario and a seed give the same bytes every time, on every machine with the same `ln`.
//!
//! ```
//! use doppelkey_sync::simulator::{Scenario, run};
//!
//! let scenario = Scenario::parse(
//!     "name = 'two'\ndays = 3\nseeds = 1\n[devices]\nphone = { up = 0.9 }\nlaptop = { up = 0.4 }\n",
//! )?;
//! let (outcome, _) = run(&scenario, "oplog", 0, false);
//! assert_eq!((outcome.diverged, outcome.lies), (0, 0));
//! # Ok::<(), String>(())
//! ```

mod campaign;
mod engine;
#[cfg(feature = "mls")]
mod mls;
mod models;
mod oplog;
mod outcome;
mod pin_guesser;
mod report;
mod scenario;
#[cfg(test)]
mod tests;

use std::format;
use std::string::String;
use std::vec::Vec;

use engine::Engine;
use models::{Circle, CloudRows, Enclave, FileLww, FileMerge, Model};

pub use campaign::{Broken, Campaign, Part, Rate, Tally, rates};
pub use engine::{Account, Action, Attack, Context, Credential, Fabric, Node};
pub use outcome::{Outcome, Violation};
pub use report::{Report, Row, Run};
pub use scenario::{Device, Event, Expect, Link, Load, Parameter, Pin, Scenario, Shares, SuiteName, Sweep};

/// Every fabric.
pub const FABRICS: &[&str] = &[
    "oplog",
    "file-lww",
    "file-merge",
    "cloud-rows",
    "circle",
    "enclave",
    #[cfg(feature = "mls")]
    "mls",
];

/// Whether there is such a fabric in this build; the error says which there are, or what it takes to have it.
pub fn fabric_exists(name: &str) -> Result<(), String> {
    if FABRICS.contains(&name) {
        return Ok(());
    }
    if name == "mls" {
        return Err("the fabric mls is not in this build: build it with the cargo feature `mls` \
                    (cargo run --features mls -- simulate …)"
            .into());
    }
    Err(format!("there is no fabric {name:?}; there are {}", FABRICS.join(", ")))
}

/// Runs one seed on one fabric; with `trace`, also what happened, line by line.
///
/// # Panics
/// If there is no such fabric: [`Scenario::parse`] has checked those of the scenario.
pub fn run(scenario: &Scenario, fabric: &str, seed: u64, trace: bool) -> (Outcome, Option<Vec<String>>) {
    match fabric {
        "oplog" => Engine::<oplog::OpLog>::new(scenario, seed, trace).run(),
        "file-lww" => Engine::<Model<FileLww>>::new(scenario, seed, trace).run(),
        "file-merge" => Engine::<Model<FileMerge>>::new(scenario, seed, trace).run(),
        "cloud-rows" => Engine::<Model<CloudRows>>::new(scenario, seed, trace).run(),
        "circle" => Engine::<Model<Circle>>::new(scenario, seed, trace).run(),
        "enclave" => Engine::<Model<Enclave>>::new(scenario, seed, trace).run(),
        #[cfg(feature = "mls")]
        "mls" => Engine::<mls::Mls>::new(scenario, seed, trace).run(),
        other => panic!("there is no fabric {other:?}"),
    }
}

/// As [`run`], for a fabric of one's own.
pub fn run_with<F: Fabric>(scenario: &Scenario, seed: u64) -> Outcome {
    Engine::<F>::new(scenario, seed, false).run().0
}

/// What of the expectations a run of the `oplog` fabric does not meet, in words.
pub fn failures(scenario: &Scenario, outcome: &Outcome) -> Vec<String> {
    let expect = &scenario.expect;
    let mut failures = Vec::new();
    let limits = [
        ("I2: devices that differ after quiet days", outcome.diverged, expect.diverged),
        ("I3: deleted passkeys that are back", outcome.resurrected - outcome.unheard, expect.resurrected),
        ("I4: accounts lost although claimed to be backed up", outcome.lost_with_bs, expect.lost_with_bs),
        ("I4: untrue backup claims", outcome.lies, expect.lies),
        ("I9: false alarms", outcome.false_alarms, expect.false_alarms),
        ("I10: lock-outs", outcome.lockouts - outcome.announced, expect.lockouts),
        (
            "I8: attacks of which nobody told",
            outcome.attacks - outcome.seen.min(outcome.attacks),
            expect.unseen,
        ),
        ("recovery PINs guessed", outcome.pins_guessed, expect.pins_guessed),
        (
            "I5: passkeys exposed that were made on a device that knew of the revocation",
            outcome.exposed_aware,
            expect.exposed_aware,
        ),
    ];
    for (what, count, most) in limits {
        if count > most {
            failures.push(format!("{what}: {count}, at most {most} allowed"));
        }
    }
    failures.extend(
        outcome.violations.iter().map(|violation| format!("{}: {}", violation.invariant, violation.what)),
    );
    failures
}

/// The shortest beginning of a failing run that fails already, in days, found by bisection: where to look first.
/// `None` if the seed does not fail.
pub fn shrink(scenario: &Scenario, seed: u64) -> Option<u32> {
    let fails = |days: u32| {
        let shorter = Scenario { days, ..scenario.clone() };
        let (outcome, _) = run(&shorter, "oplog", seed, false);
        !failures(&shorter, &outcome).is_empty()
    };
    if !fails(scenario.days) {
        return None;
    }
    let (mut passes, mut failing) = (0, scenario.days);
    while passes + 1 < failing {
        let middle = passes + (failing - passes) / 2;
        if fails(middle) { failing = middle } else { passes = middle }
    }
    Some(failing)
}
