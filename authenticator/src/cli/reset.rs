//! `doppelkey reset`: the vault forgets everything.

use clap::Args;
use doppelkey_core::CredentialStore as _;

use super::credentials::store_failure;
use super::vault_options::ExistingVault;
use super::{Failure, confirm, counted};

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
        let passkeys = counted(vault.len().map_err(store_failure)?.into(), "passkey");
        confirm(&format!("Forget {passkeys} and the PIN, for good?"), self.yes)?;
        vault.reset().map_err(store_failure)?;
        log::info!("forgot {passkeys} and the PIN");
        Ok(())
    }
}
