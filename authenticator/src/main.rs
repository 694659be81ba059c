//! The program `doppelkey`: composition only.

use std::process::ExitCode;

fn main() -> ExitCode {
    doppelkey::cli::main()
}
