//! The command line: one file a subcommand.
//!
//! A new subcommand is a file with an `Arguments` type that derives [`clap::Args`] (its doc comment is the help) and
//! a method `run(self) -> Result<(), Failure>`; and two lines here: `mod name;` and one in `subcommands!`.

mod attach;
mod bridge;
mod completions;
mod credentials;
mod demo;
mod detach;
mod doctor;
mod failure;
mod hybrid;
mod kernel;
mod key_file;
mod load;
mod logging;
mod persona;
mod phone;
mod pin;
mod relay;
mod relying_party;
mod reset;
mod run;
mod signals;
mod simulate;
mod sync;
mod this_program;
mod user_option;
pub mod vault_options;
mod verify;
mod visitor;

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::panic::catch_unwind;
use std::process::ExitCode;
use std::sync::OnceLock;

use clap::{CommandFactory as _, Parser, Subcommand};

pub use failure::Failure;

/// Lists the subcommands: each has a file of its name here.
macro_rules! subcommands {
    ($($variant:ident => $module:ident,)+) => {
        #[derive(Subcommand)]
        enum Command {
            $($variant($module::Arguments),)+
        }

        impl Command {
            fn run(self) -> Result<(), Failure> {
                match self {
                    $(Command::$variant(arguments) => arguments.run(),)+
                }
            }
        }
    };
}

subcommands! {
    Demo => demo,
    Run => run,
    Attach => attach,
    Detach => detach,
    Doctor => doctor,
    Bridge => bridge,
    Phone => phone,
    Load => load,
    Credentials => credentials,
    Persona => persona,
    Pin => pin,
    Reset => reset,
    RelyingParty => relying_party,
    Verify => verify,
    Sync => sync,
    Relay => relay,
    Simulate => simulate,
    Completions => completions,
}

/// A software FIDO2 authenticator you can plug in anywhere.
#[derive(Parser)]
#[command(name = "doppelkey", version, disable_help_subcommand = true, max_term_width = 100)]
struct CommandLine {
    /// Log more of what happens to standard error
    #[arg(long, short, global = true, display_order = 1000)]
    verbose: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

/// The program: reads its arguments, does what they say. Exit status: 0 done; 1 the user's or the environment's
/// fault, with `error:` and `hint:` on standard error; 2 usage.
pub fn main() -> ExitCode {
    let words = credentials::ids::set_apart(&command_line(), std::env::args_os());
    let arguments = CommandLine::parse_from(words);
    logging::start(arguments.verbose);
    keep_memory_private();
    let Some(command) = arguments.command else {
        // Nothing can be done for a closed standard output.
        let _ = std::io::stdout().write_all(examples().as_bytes());
        return ExitCode::SUCCESS;
    };
    // A panic is a bug of ours. It is said as every other failure; its trace was printed by then.
    let done = catch_unwind(|| command.run()).unwrap_or_else(|_| Err(Failure::bug()));
    match done.and_then(|()| UNPRINTED.get().map_or(Ok(()), |error| Err(unprinted(error)))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.show();
            ExitCode::FAILURE
        }
    }
}

/// Every subcommand and option, with its help.
pub fn command_line() -> clap::Command {
    CommandLine::command()
}

/// Keys pass through this memory: no core dump has it, and no other program of this user may read it (root may).
#[cfg(target_os = "linux")]
fn keep_memory_private() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    // Neither can fail for a limit that goes down; and if it did, there is nothing better to do than to go on.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Whatever this process makes from now on is for its user alone: what SQLite creates, too.
#[cfg(unix)]
pub(crate) fn make_files_private() {
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
}

/// Elsewhere a folder's permissions decide.
#[cfg(not(unix))]
pub(crate) fn make_files_private() {}

/// Elsewhere it is the system's settings that decide.
#[cfg(not(target_os = "linux"))]
fn keep_memory_private() {}

/// Prints to standard output. A reader that has gone is no failure; another one is told, and is the exit status, once the
/// command has ended.
pub(crate) fn print(text: &str) {
    if let Err(error) = written(text)
        && error.kind() != std::io::ErrorKind::BrokenPipe
    {
        // The first one is the one that counts.
        let _ = UNPRINTED.set(error);
    }
}

/// Says to the person at the terminal, on standard error, what belongs to a dialog. If nobody reads it, nothing is done.
pub(crate) fn tell(text: &str) {
    let mut errors = std::io::stderr().lock();
    let _ = errors.write_all(text.as_bytes()).and_then(|()| errors.flush());
}

/// Prints what is lost if it does not arrive: private keys, a recovery key.
pub(crate) fn hand_over(text: &str) -> Result<(), Failure> {
    written(text).map_err(|error| unprinted(&error))
}

fn written(text: &str) -> std::io::Result<()> {
    let mut output = std::io::stdout().lock();
    output.write_all(text.as_bytes()).and_then(|()| output.flush())
}

/// A number of things.
pub(crate) fn counted(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// Has the person at the terminal agree in full, unless `yes` says that they did; else nothing is to be changed.
pub(crate) fn confirm(question: &str, yes: bool) -> Result<(), Failure> {
    if is_confirmed(question, yes)? {
        return Ok(());
    }
    Err(Failure::new("nothing was changed", "answer `yes`, in full"))
}

/// Whether the person at the terminal agrees in full.
pub(crate) fn is_confirmed(question: &str, yes: bool) -> Result<bool, Failure> {
    if yes {
        return Ok(true);
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new("nobody is there to confirm", "say --yes"));
    }
    tell(&format!("{question} Type yes: "));
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    Ok(read.is_ok() && line.trim() == "yes")
}

/// Why something that was printed did not arrive.
static UNPRINTED: OnceLock<std::io::Error> = OnceLock::new();

fn unprinted(error: &std::io::Error) -> Failure {
    Failure::new(
        format_args!("what was printed did not arrive whole: {error}"),
        "make room, or print it somewhere else",
    )
}

/// What can be typed here.
fn examples() -> String {
    include_str!("examples.txt").replace("sudo doppelkey", &format!("sudo {}", this_program::for_root()))
}
