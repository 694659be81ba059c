//! `doppelkey simulate`: the sync laboratory.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use doppelkey_sync::simulator::{Campaign, Report, Scenario, Tally, fabric_exists, failures, run, shrink};

use super::{Failure, print};

/// Compare ways to sync passkeys: a user, some devices and bad luck, in virtual time
///
/// Each scenario file says what happens to whom. The fabric `oplog` is this program's own replica; the others are
/// models with stated assumptions. The same file and seeds give the same results every time:
///
///   doppelkey simulate sync/scenarios/normal.toml --html normal.html
///   doppelkey simulate sync/scenarios/flaky.toml --replay 3
///   doppelkey simulate sync/scenarios/*.toml --years 100
///
/// The exit status is 1 if the replica broke an invariant or an expectation of a scenario in any run, or if something
/// that may happen did so more often, over all runs, than a scenario's [rates] allow.
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
    #[arg(long, value_name = "NAME", value_parser = fabric)]
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
    /// Run the product alone, all scenarios seed after seed, until so many device-years have passed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000), conflicts_with_all = ["csv", "html", "seeds", "replay"])]
    years: Option<u64>,
    /// The first seed of --years; reports use those from 0 on
    #[arg(long, value_name = "SEED", default_value_t = 1000, requires = "years")]
    first_seed: u64,
    /// How many runs at a time; the results are the same [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
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
        let jobs = self.jobs.map_or_else(cores, usize::from);
        if let Some(years) = self.years {
            return self.years(scenarios, years, jobs);
        }
        let reports: Vec<Report> = scenarios
            .into_iter()
            .flat_map(Scenario::variants)
            .map(|one| run_with_progress(one, jobs))
            .collect();
        let json: String = reports.iter().map(Report::to_json).collect();
        match &self.json {
            Some(path) => write(path, &json)?,
            None => print(&json),
        }
        if let Some(path) = &self.csv {
            let lines: String = reports.iter().map(Report::to_csv).collect();
            write(path, &(Report::csv_header() + &lines))?;
        }
        if let Some(path) = &self.html {
            write(path, &Report::to_html(&reports))?;
        }
        let mut broken = 0;
        for report in &reports {
            for failure in report.failures() {
                log::error!("{}: {failure}", report.scenario.title());
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

    fn years(&self, scenarios: Vec<Scenario>, years: u64, jobs: usize) -> Result<(), Failure> {
        let campaign = Campaign::new(scenarios, self.first_seed, years);
        let mut told = 0;
        let tally = campaign.run(jobs, |tally| {
            // Twenty lines, however long it takes.
            let part = 20 * tally.done / tally.runs;
            if part > told {
                told = part;
                log::info!("{} %: {}", 5 * part, standing(tally));
            }
        });
        let json = tally.to_json();
        match &self.json {
            Some(path) => write(path, &json)?,
            None => print(&json),
        }
        for rate in tally.rates() {
            log::info!("{}: {:.3}", rate.what, rate.value);
        }
        for broken in &tally.broken {
            log::error!("{}, seed {}: {}", broken.scenario, broken.seed, broken.failures.join("; "));
        }
        let missed = tally.missed();
        missed.iter().for_each(|missed| log::error!("{missed}"));
        match (tally.broken.len(), missed.len()) {
            (0, 0) => Ok(()),
            (0, missed) => Err(Failure::new(
                format_args!("{missed} rates are higher than their scenarios allow, listed above"),
                "run more years with other seeds (--first-seed) to see whether it was chance",
            )),
            (runs, _) => Err(Failure::new(
                format_args!("the replica broke an expectation in {runs} runs, listed above"),
                "look at one with doppelkey simulate FILE --replay SEED",
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
        for scenario in scenarios.iter().cloned().flat_map(Scenario::variants) {
            for fabric in &scenario.fabrics {
                let (outcome, trace) = run(&scenario, fabric, seed, true);
                print(&format!("# {} on {fabric}, seed {seed}\n", scenario.title()));
                for line in trace.unwrap_or_default() {
                    print(&format!("{line}\n"));
                }
                for failure in failures(&scenario, &outcome) {
                    print(&format!("! {failure}\n"));
                }
            }
        }
        Ok(())
    }
}

/// A fabric that this build has; the error says what it would take to have it.
fn fabric(name: &str) -> Result<String, String> {
    fabric_exists(name).map(|()| name.to_owned())
}

/// How many threads this process can use at once.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Where a campaign stands, in a line.
fn standing(tally: &Tally) -> String {
    let sum = &tally.sum;
    format!(
        "{} device-years, {} passkeys, {} crashes: {} lost although BS = 1, {} untrue claims, {} back again, \
         {} differ, {} false alarms; {} runs of {} broke an expectation",
        sum.device_days / 365,
        sum.created,
        sum.crashes,
        sum.lost_with_bs,
        sum.lies,
        sum.resurrected,
        sum.diverged,
        sum.false_alarms,
        tally.broken.len(),
        tally.done
    )
}

/// Runs a scenario; on a terminal, a bar shows how far it is.
fn run_with_progress(scenario: Scenario, jobs: usize) -> Report {
    let name = scenario.title();
    let shown = std::io::stderr().is_terminal();
    let report = Report::of(scenario, jobs, |done, of| {
        if shown {
            let filled = 30 * done / of;
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
