//! Long runs, at any length, with figures:
//!
//! ```console
//! $ cargo run -p end-to-end --bin soak -- plugs 1000             # cycles of each of 64 devices
//! $ cargo run -p end-to-end --bin soak -- ceremonies 1000000
//! $ cargo run -p end-to-end --bin soak -- credentials 100000     # in one vault
//! $ cargo run -p end-to-end --bin soak -- day 20000              # visits in 24 simulated hours
//! $ cargo run -p end-to-end --bin soak -- kills 10000            # at random moments, a third each of vault, relying party, relay
//! $ cargo run -p end-to-end --bin soak -- steps 1                # a kill at every step (2: at every other) of three stories
//! $ cargo run -p end-to-end --bin soak -- power 1                # a power cut after each
//! ```
//!
//! A folder as a further argument gets a drawing of memory, descriptors and threads. `SEED` sets another seed. What is
//! measured on a disk is on that of temporary files: `TMPDIR` names another.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use end_to_end::soak::{self, Kills, Story, Trace};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (Some(what), Some(Ok(count))) =
        (arguments.first(), arguments.get(1).map(|count| count.parse::<u64>()))
    else {
        eprintln!(
            "error: say what and how often\n\
             hint: soak plugs|ceremonies|credentials|day|kills|steps|power COUNT [FOLDER]"
        );
        return ExitCode::from(2);
    };
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    #[expect(clippy::disallowed_methods, reason = "it measures")]
    let started = Instant::now();
    let traces = match what.as_str() {
        "plugs" => vec![(what.clone(), soak::plugs(64, count))],
        "ceremonies" => vec![(what.clone(), soak::ceremonies(count))],
        "day" => vec![(what.clone(), day(count, seed))],
        "credentials" => credentials(count),
        "kills" => kills(count, seed),
        "steps" => steps(count.max(1)),
        "power" => power(count.max(1), seed),
        unknown => {
            eprintln!(
                "error: there is no {unknown}\nhint: plugs, ceremonies, credentials, day, kills, steps or power"
            );
            return ExitCode::from(2);
        }
    };
    println!("{what} {count}: {:.1} s", started.elapsed().as_secs_f64());
    let reports = traces.iter().map(|(name, trace)| report(trace, name, arguments.get(2)));
    // All of them are told, also after one that is not flat.
    let failed = reports.filter(Result::is_err).count();
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn day(visits: u64, seed: u64) -> Trace {
    let day = soak::day(visits, seed);
    println!("{} users, {} log-ins, {} requests", day.users, day.log_ins, day.requests);
    day.trace
}

fn credentials(count: u64) -> Vec<(String, Trace)> {
    let figures = soak::credentials(u32::try_from(count).unwrap_or(u32::MAX));
    println!(
        "put {:?}, on average; open {:?}; sign-in {:?}, on average; file {:.1} MB",
        figures.put,
        figures.open,
        figures.sign_in,
        figures.file_bytes as f64 / 1e6
    );
    // It is drawn, and grows: an entry of the index for each.
    vec![(FILLING.into(), figures.filling), ("credentials".into(), figures.signing_in)]
}

fn kills(count: u64, seed: u64) -> Vec<(String, Trace)> {
    let each = count.div_ceil(3);
    let programs: [(&str, Killing); 3] = [
        ("vault", soak::vault_kills),
        ("relying-party", soak::relying_party_kills),
        ("relay", soak::relay_kills),
    ];
    let killed = programs.map(|(what, kill)| {
        let told = kill(each, seed);
        println!("{what}: killed {} times; all {} answers were there afterwards", told.kills, told.answers);
        (format!("kills-{what}"), told.trace)
    });
    killed.into()
}

fn steps(stride: u64) -> Vec<(String, Trace)> {
    for story in Story::ALL {
        match soak::sweep(story, 1, stride) {
            Some(told) => println!(
                "{story:?}: {} steps; killed {} times at one of them; all {} promises were kept",
                told.steps, told.kills, told.kept
            ),
            None => end_to_end::skipped("cc, a C compiler"),
        }
    }
    Vec::new()
}

fn power(stride: u64, seed: u64) -> Vec<(String, Trace)> {
    for story in Story::ALL {
        match soak::power_cuts(story, 1, stride, seed) {
            Some(told) => println!(
                "{story:?}: {} steps; started from {} disks that a power cut may leave; all {} promises were kept",
                told.steps, told.disks, told.kept
            ),
            None => end_to_end::skipped("cc, a C compiler"),
        }
    }
    Vec::new()
}

fn report(trace: &Trace, what: &str, folder: Option<&String>) -> Result<(), ()> {
    println!("{what}: {}", trace.summary());
    if let Some(folder) = folder {
        let path = Path::new(folder).join(format!("{what}.svg"));
        std::fs::write(&path, trace.svg()).map_err(|error| {
            eprintln!("error: {} cannot be written: {error}\nhint: name a folder", path.display());
        })?;
    }
    if what == FILLING {
        return Ok(());
    }
    trace.is_flat().map_err(|grown| {
        eprintln!("error: {what}: {grown}\nhint: something is kept that should be let go");
    })
}

/// Kills so many times, with this seed.
type Killing = fn(u64, u64) -> Kills;

const FILLING: &str = "filling";
