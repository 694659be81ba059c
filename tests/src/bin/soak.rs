//! Long runs, at any length, with figures:
//!
//! ```console
//! $ cargo run -p end-to-end --bin soak -- plugs 1000             # cycles of each of 64 devices
//! $ cargo run -p end-to-end --bin soak -- ceremonies 1000000
//! $ cargo run -p end-to-end --bin soak -- credentials 100000     # in one vault
//! $ cargo run -p end-to-end --bin soak -- day 20000              # visits in 24 simulated hours
//! $ cargo run -p end-to-end --bin soak -- kills 10000            # shared out among vault, relying party and relay
//! ```
//!
//! A folder as a further argument gets a drawing of memory, descriptors and threads.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use end_to_end::soak::{self, Kills, Trace};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (Some(what), Some(Ok(count))) =
        (arguments.first(), arguments.get(1).map(|count| count.parse::<u64>()))
    else {
        eprintln!(
            "error: say what and how often\nhint: soak plugs|ceremonies|credentials|day|kills COUNT [FOLDER]"
        );
        return ExitCode::from(2);
    };
    #[expect(clippy::disallowed_methods, reason = "it measures")]
    let started = Instant::now();
    let trace = match what.as_str() {
        "plugs" => Some(soak::plugs(64, count)),
        "ceremonies" => Some(soak::ceremonies(count)),
        "day" => {
            let day = soak::day(count, 1);
            println!("{} users, {} log-ins, {} requests", day.users, day.log_ins, day.requests);
            Some(day.trace)
        }
        "credentials" => {
            println!("{:?}", soak::credentials(u32::try_from(count).unwrap_or(u32::MAX)));
            None
        }
        "kills" => {
            kills(count);
            None
        }
        unknown => {
            eprintln!("error: there is no {unknown}\nhint: plugs, ceremonies, credentials, day or kills");
            return ExitCode::from(2);
        }
    };
    println!("{what} {count}: {:.1} s", started.elapsed().as_secs_f64());
    trace.map_or(ExitCode::SUCCESS, |trace| report(&trace, what, arguments.get(2)))
}

fn kills(count: u64) {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let say = |what: &str, Kills { kills, answers }: Kills| {
        println!("{what}: killed {kills} times; all {answers} answers were there afterwards");
    };
    say("run, vault and sync journal", soak::vault_kills(count.div_ceil(3), seed));
    say("relying party", soak::relying_party_kills(count.div_ceil(3), seed));
    say("relay", soak::relay_kills(count.div_ceil(3), seed));
}

fn report(trace: &Trace, what: &str, folder: Option<&String>) -> ExitCode {
    println!("{}", trace.summary());
    if let Some(folder) = folder {
        let path = Path::new(folder).join(format!("{what}.svg"));
        if let Err(error) = std::fs::write(&path, trace.svg()) {
            eprintln!("error: {} cannot be written: {error}\nhint: name a folder", path.display());
            return ExitCode::FAILURE;
        }
    }
    match trace.is_flat() {
        Ok(()) => ExitCode::SUCCESS,
        Err(grown) => {
            eprintln!("error: {grown}\nhint: something is kept that should be let go");
            ExitCode::FAILURE
        }
    }
}
