//! `doppelkey reset`: the vault forgets everything.

use std::io::{BufRead as _, IsTerminal as _};

use clap::Args;
use doppelkey_core::CredentialStore as _;

use super::Failure;
use super::credentials::store_failure;
use super::vault_options::ExistingVault;

/// Forget every passkey and the PIN, for good
#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    vault: ExistingVault,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut vault = self.vault.open()?;
        let count = vault.len().map_err(store_failure)?;
        if !self.yes && !confirmed(count)? {
            return Err(Failure::new("nothing was forgotten", "answer `yes`, in full, to reset the vault"));
        }
        vault.reset().map_err(store_failure)?;
        log::info!("forgot {count} passkeys and the PIN");
        Ok(())
    }
}

fn confirmed(count: u32) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new("nobody is there to confirm a reset", "say --yes"));
    }
    eprint!("Forget {count} passkeys and the PIN, for good? Type yes: ");
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    Ok(read.is_ok() && line.trim() == "yes")
}
