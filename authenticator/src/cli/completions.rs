//! `doppelkey completions`.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{CommandLine, Failure, print};

/// Print a completion script for your shell
///
/// For bash: doppelkey completions bash > ~/.local/share/bash-completion/completions/doppelkey
#[derive(Args)]
pub(super) struct Arguments {
    /// The shell
    shell: Shell,
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut CommandLine::command(), "doppelkey", &mut script);
        print(&String::from_utf8_lossy(&script));
        Ok(())
    }
}
