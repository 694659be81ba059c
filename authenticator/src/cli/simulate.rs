//! `doppelkey simulate`: the sync laboratory.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use doppelkey_sync::simulator::{FABRICS, Report, Scenario, failures, run, shrink};

use super::{Failure, print};

/// Compare ways to sync passkeys: a user, some devices and bad luck, in virtual time
///
/// Each scenario file says what happens to whom. The fabric `oplog` is this program's own replica; the others are
/// models with stated assumptions. The same file and seeds give the same results every time:
///
///   doppelkey simulate sync/scenarios/normal.toml --html normal.html
///   doppelkey simulate sync/scenarios/flaky.toml --replay 3
///
/// The exit status is 1 if the replica broke an invariant or an expectation of a scenario.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Scenario files
    #[arg(value_name = "SCENARIO.toml", required = true)]
    scenarios: Vec<PathBuf>,
    /// How many seeds, in place of what the scenario says
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    seeds: Option<u32>,
    /// How many days, in place of what the scenario says
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    days: Option<u32>,
    /// Only these fabrics
    #[arg(long, value_name = "NAME", value_parser = FABRICS)]
    fabric: Vec<String>,
    /// Write one line a run
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Write sums as one JSON object a scenario and line [default: standard output]
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page with tables and plots
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print what happens in one seed, line by line, in place of running all
    #[arg(long, value_name = "SEED", conflicts_with_all = ["csv", "json", "html"])]
    replay: Option<u64>,
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        let scenarios = self.scenarios.iter().map(|path| self.load(path)).collect::<Result<Vec<_>, _>>()?;
        if let Some(seed) = self.replay {
            return self.replay(&scenarios, seed);
        }
        let reports: Vec<Report> = scenarios.into_iter().map(run_with_progress).collect();
        let json: String = reports.iter().map(Report::to_json).collect();
        match &self.json {
            Some(path) => write(path, &json)?,
            None => print(&json),
        }
        if let Some(path) = &self.csv {
            write(path, &reports.iter().map(Report::to_csv).collect::<String>())?;
        }
        if let Some(path) = &self.html {
            write(path, &Report::to_html(&reports))?;
        }
        let mut broken = 0;
        for report in &reports {
            for failure in report.failures() {
                log::error!("{}: {failure}", report.scenario.name);
                broken += 1;
            }
            for (seed, _) in report.rows.iter().flat_map(|row| &row.failed).take(1) {
                if let Some(day) = shrink(&report.scenario, *seed) {
                    log::error!("{}: seed {seed} fails within {day} days already", report.scenario.name);
                }
            }
        }
        match broken {
            0 => Ok(()),
            _ => Err(Failure::new(
                format_args!("the replica broke {broken} expectations, listed above"),
                "look at one seed with --replay SEED, cut short with --days N",
            )),
        }
    }

    fn load(&self, path: &Path) -> Result<Scenario, Failure> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Failure::new(
                format_args!("cannot read {}: {error}", path.display()),
                "scenarios to begin with are in sync/scenarios",
            )
        })?;
        let mut scenario = Scenario::parse(&text).map_err(|error| {
            let hint = "compare with the files in sync/scenarios";
            Failure::new(format_args!("{} is no scenario: {}", path.display(), error.trim_end()), hint)
        })?;
        scenario.seeds = self.seeds.unwrap_or(scenario.seeds);
        scenario.days = self.days.unwrap_or(scenario.days);
        if !self.fabric.is_empty() {
            scenario.fabrics.clone_from(&self.fabric);
        }
        Ok(scenario)
    }

    fn replay(&self, scenarios: &[Scenario], seed: u64) -> Result<(), Failure> {
        for scenario in scenarios {
            for fabric in &scenario.fabrics {
                let (outcome, trace) = run(scenario, fabric, seed, true);
                print(&format!("# {} on {fabric}, seed {seed}\n", scenario.name));
                for line in trace.unwrap_or_default() {
                    print(&format!("{line}\n"));
                }
                for failure in failures(scenario, &outcome) {
                    print(&format!("! {failure}\n"));
                }
            }
        }
        Ok(())
    }
}

/// Runs a scenario; on a terminal, a bar shows how far it is.
fn run_with_progress(scenario: Scenario) -> Report {
    let name = scenario.name.clone();
    let shown = std::io::stderr().is_terminal();
    let report = Report::of(scenario, |done, of| {
        if shown {
            let filled = (30 * done / of) as usize;
            let _ = write!(
                std::io::stderr(),
                "\r{name} [{}{}] {done}/{of} ",
                "#".repeat(filled),
                ".".repeat(30 - filled)
            );
        }
    });
    if shown {
        let _ = writeln!(std::io::stderr());
    }
    report
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|error| {
        Failure::new(
            format_args!("cannot write {}: {error}", path.display()),
            "choose a place you may write to",
        )
    })
}
