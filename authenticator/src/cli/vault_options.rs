//! The options that say which vault: the same for every command that has one.

use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use clap::Args;
use doppelkey_core::Configuration;

use super::Failure;
use crate::replicate::Replication;
use crate::vault::{Custody, Notice, Vault};

/// A vault that is kept or one in memory: for what runs an authenticator.
#[derive(Args, Clone, Debug, Default)]
pub struct VaultOptions {
    #[command(flatten)]
    kept: KeptVault,
    /// Keep nothing: passkeys live in memory and are gone at the end
    #[arg(long, conflicts_with_all = ["vault", "custody"])]
    pub ephemeral: bool,
}

/// A vault on disk, made if it is not there.
#[derive(Args, Clone, Debug, Default)]
pub struct KeptVault {
    /// The vault's file [default: ~/.local/share/doppelkey/vault]
    #[arg(long, value_name = "PATH")]
    vault: Option<PathBuf>,
    /// Where a new vault's key is kept: keyring, keyutils, file:PATH or passphrase [default: the keyring, else the
    /// kernel, which forgets it, and with it the vault, after a reboot or some days without use]
    #[arg(long, value_name = "PLACE")]
    custody: Option<Custody>,
}

/// The vault on disk of a command that has nothing to do with a new one.
#[derive(Args, Clone, Debug, Default)]
#[command(mut_arg("custody", |custody| custody.help("Where the vault's key file is, if it was moved: file:PATH")))]
pub struct ExistingVault {
    #[command(flatten)]
    kept: KeptVault,
}

impl ExistingVault {
    /// Opens the vault, as [`KeptVault::open`] does; one that is not there is an error, and is not made.
    pub fn open(&self) -> Result<Vault, Failure> {
        let path = self.place()?;
        // A link that leads nowhere is told of when it is opened.
        if path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            return Err(Failure::new(
                format_args!("there is no vault at {}", path.display()),
                "name yours with --vault PATH; `doppelkey run` makes one",
            ));
        }
        self.kept.open()
    }
}

impl Deref for ExistingVault {
    type Target = KeptVault;

    fn deref(&self) -> &KeptVault {
        &self.kept
    }
}

impl KeptVault {
    /// Opens the vault and says on standard error what the user should know about it.
    pub fn open(&self) -> Result<Vault, Failure> {
        self.open_number(1)
    }

    /// Where the vault is.
    pub fn place(&self) -> Result<PathBuf, Failure> {
        match &self.vault {
            Some(path) => Ok(path.clone()),
            None => Ok(Vault::default_path()?),
        }
    }

    fn open_number(&self, number: u32) -> Result<Vault, Failure> {
        let path = numbered(&self.place()?, number);
        if self.vault.is_none() {
            Vault::make_default_directory()?;
        }
        let vault = Vault::open(&path, self.custody.clone())?;
        for notice in vault.notices() {
            let level = match notice {
                // Who does not read this may lose passkeys.
                Notice::KeyInKernel { .. } => log::Level::Warn,
                _ => log::Level::Info,
            };
            log::log!(level, "{}: {notice}", path.display());
        }
        Ok(vault)
    }
}

impl VaultOptions {
    /// Opens the vault and says on standard error what the user should know about it.
    pub fn open(&self) -> Result<Vault, Failure> {
        self.open_number(1)
    }

    /// Opens the vault of the `number`-th device, counted from 1: the file itself, then `PATH.2`, `PATH.3`, …
    pub fn open_number(&self, number: u32) -> Result<Vault, Failure> {
        if self.ephemeral { Ok(Vault::ephemeral()?) } else { self.kept.open_number(number) }
    }

    /// Where the (first) vault is, for messages; `memory` if nothing is kept.
    pub fn place(&self) -> Result<PathBuf, Failure> {
        if self.ephemeral { Ok("memory".into()) } else { self.kept.place() }
    }

    /// Where the vault of the `number`-th device is.
    pub fn place_of(&self, number: u32) -> Result<PathBuf, Failure> {
        Ok(numbered(&self.place()?, number))
    }

    /// Where the extensions of a bridge to the (first) vault are: `browser/` beside it, or `NAME.browser/` beside one that
    /// is not called `vault`, so that two vaults in one folder have each their own. `None` if nothing is kept.
    pub fn place_of_extensions(&self) -> Result<Option<PathBuf>, Failure> {
        if self.ephemeral {
            return Ok(None);
        }
        let vault = self.place()?;
        let mut name = vault.file_name().unwrap_or_default().to_owned();
        name.push(".browser");
        let beside = vault.with_file_name(if name == "vault.browser" { "browser".as_ref() } else { &*name });
        // Browsers are told where it is, and are elsewhere.
        Ok(Some(std::path::absolute(&beside).unwrap_or(beside)))
    }

    /// A configuration for a vault that may take part in a sync circle: then its passkeys may be copied (BE = 1), and whether
    /// they are (BS), sync says of each when it runs.
    pub fn for_its_circle(&self, mut configuration: Configuration) -> Result<Configuration, Failure> {
        if !self.ephemeral && Replication::is_set_up(&self.place()?) {
            (configuration.backup_eligible, configuration.backup_state) = (true, false);
        }
        Ok(configuration)
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
