//! The options that say which vault: the same for every command that has one.

use std::path::{Path, PathBuf};

use clap::Args;

use super::Failure;
use crate::vault::{Custody, Vault};

/// Which vault, and where its key is.
#[derive(Args, Clone, Debug, Default)]
pub struct VaultOptions {
    /// The vault's file [default: ~/.local/share/doppelkey/vault]
    #[arg(long, value_name = "PATH", conflicts_with = "ephemeral")]
    pub vault: Option<PathBuf>,
    /// Keep nothing: passkeys live in memory and are gone at the end
    #[arg(long, conflicts_with = "custody")]
    pub ephemeral: bool,
    /// Where a new vault's key is kept: keyring, keyutils, file:PATH or passphrase [default: the keyring, else the
    /// kernel]
    #[arg(long, value_name = "PLACE")]
    pub custody: Option<Custody>,
}

impl VaultOptions {
    /// Opens the vault and says on standard error what the user should know about it.
    pub fn open(&self) -> Result<Vault, Failure> {
        self.open_number(1)
    }

    /// Opens the vault of the `number`-th device, counted from 1: the file itself, then `PATH.2`, `PATH.3`, …
    pub fn open_number(&self, number: u32) -> Result<Vault, Failure> {
        if self.ephemeral {
            return Ok(Vault::ephemeral()?);
        }
        let path = numbered(&self.path()?, number);
        let vault = Vault::open(&path, self.custody.clone())?;
        for notice in vault.notices() {
            log::info!("{}: {notice}", path.display());
        }
        Ok(vault)
    }

    /// Where the (first) vault is, for messages; `memory` if nothing is kept.
    pub fn place(&self) -> Result<PathBuf, Failure> {
        if self.ephemeral { Ok("memory".into()) } else { self.path() }
    }

    /// Where the vault of the `number`-th device is.
    pub fn place_of(&self, number: u32) -> Result<PathBuf, Failure> {
        Ok(numbered(&self.place()?, number))
    }

    fn path(&self) -> Result<PathBuf, Failure> {
        match &self.vault {
            Some(path) => Ok(path.clone()),
            None => Ok(Vault::default_path()?),
        }
    }
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 1 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}
