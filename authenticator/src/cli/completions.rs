//! `doppelkey completions`.

use clap::Args;
use clap_complete::Shell;

use super::{Failure, command_line, print};

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
        clap_complete::generate(self.shell, &mut command_line(), "doppelkey", &mut script);
        print(&String::from_utf8_lossy(&script));
        Ok(())
    }
}
