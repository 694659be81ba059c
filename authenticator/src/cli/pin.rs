//! `doppelkey pin`: the vault's PIN from outside. A wrong one costs a retry here as everywhere.

use clap::{Args, Subcommand};
use doppelkey_core::{Authenticator, Configuration, pin_status, remove_pin};
use getrandom::SysRng;
use rand_core::UnwrapErr;
use zeroize::Zeroizing;

use super::Failure;
use super::credentials::store_failure;
use super::vault_options::{ExistingVault, KeptVault};
use crate::client::{Client, Error, NotVerified, system_clock};
use crate::device::{Device, SharedStore};
use crate::user_interface::Deny;

/// Set, change or remove the PIN
///
/// PINs are asked for at the terminal, or taken from the environment: DOPPELKEY_PIN is the current PIN,
/// DOPPELKEY_NEW_PIN the new one.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Set the first PIN
    Set(New),
    /// Change the PIN
    Change(Existing),
    /// Remove the PIN; the passkeys stay
    Remove(Existing),
}

#[derive(Args)]
struct New {
    #[command(flatten)]
    vault: KeptVault,
}

#[derive(Args)]
struct Existing {
    #[command(flatten)]
    vault: ExistingVault,
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Set(New { vault }) => set(&vault),
            Command::Change(Existing { vault }) => change(&vault),
            Command::Remove(Existing { vault }) => remove(&vault),
        }
    }
}

fn set(vault: &KeptVault) -> Result<(), Failure> {
    let store = SharedStore::new(vault.open()?);
    if pin_status(&mut store.clone()).map_err(store_failure)?.is_set {
        return Err(Failure::new("this vault has a PIN already", "change it with `doppelkey pin change`"));
    }
    let new = new_pin()?;
    client(&store)?.set_pin(&new).map_err(refused)?;
    log::info!("the PIN is set");
    Ok(())
}

fn change(vault: &ExistingVault) -> Result<(), Failure> {
    let store = SharedStore::new(vault.open()?);
    require_pin(&store)?;
    let old = present_pin()?;
    client(&store)?.change_pin(&old, &new_pin()?).map_err(refused)?;
    log::info!("the PIN is changed");
    Ok(())
}

fn remove(vault: &ExistingVault) -> Result<(), Failure> {
    let mut store = SharedStore::new(vault.open()?);
    require_pin(&store)?;
    verify_user(&store)?;
    remove_pin(&mut store).map_err(store_failure)?;
    log::info!("the PIN is removed");
    Ok(())
}

/// Verifies the user by the PIN of this store.
pub(super) fn verify_user(store: &SharedStore) -> Result<(), Failure> {
    if !pin_status(&mut store.clone()).map_err(store_failure)?.is_set {
        return Err(Failure::new(
            "you must prove who you are for this, and the vault has no PIN",
            "set one with `doppelkey pin set`, then try again",
        ));
    }
    let pin = present_pin()?;
    client(store)?.verify_pin(&pin).map_err(refused)
}

fn require_pin(store: &SharedStore) -> Result<(), Failure> {
    if pin_status(&mut store.clone()).map_err(store_failure)?.is_set {
        return Ok(());
    }
    Err(Failure::new("this vault has no PIN", "set one with `doppelkey pin set`"))
}

/// A client to an authenticator of this process over the store. Nobody touches it: PINs need no touch.
fn client(store: &SharedStore) -> Result<Client, Failure> {
    let clock = system_clock();
    let store = store.clone();
    let device = Device::new(clock.clone(), Box::new(Deny), move || {
        Box::new(Authenticator::new(store.clone(), UnwrapErr(SysRng), Configuration::default()))
    });
    Client::new(device.connect(), clock, UnwrapErr(SysRng)).map_err(refused)
}

fn present_pin() -> Result<Zeroizing<String>, Failure> {
    ask("DOPPELKEY_PIN", "PIN: ")
}

fn new_pin() -> Result<Zeroizing<String>, Failure> {
    let first = ask("DOPPELKEY_NEW_PIN", "New PIN: ")?;
    if std::env::var_os("DOPPELKEY_NEW_PIN").is_some()
        || *first == *ask("DOPPELKEY_NEW_PIN", "The same again: ")?
    {
        return Ok(first);
    }
    Err(Failure::new("the two PINs differ", "try again; nothing was changed"))
}

fn ask(variable: &str, prompt: &str) -> Result<Zeroizing<String>, Failure> {
    if let Ok(pin) = std::env::var(variable) {
        return Ok(Zeroizing::new(pin));
    }
    let hint = format!("run in a terminal, or set {variable}");
    rpassword::prompt_password(prompt)
        .map(Zeroizing::new)
        .map_err(|error| Failure::new(format_args!("the PIN cannot be asked for: {error}"), hint))
}

fn refused(error: Error) -> Failure {
    let hint = match error {
        Error::NotVerified(NotVerified::WrongPin) => "try again; after eight wrong PINs only a reset helps",
        Error::NotVerified(NotVerified::BlockedUntilPowerUp) => "run the command again",
        Error::NotVerified(NotVerified::Blocked) => {
            "`doppelkey reset` forgets the PIN, and every passkey with it; restore a backup if you have one"
        }
        Error::NotVerified(NotVerified::PinMustChange) => {
            "change it with `doppelkey pin change`, then try again"
        }
        Error::NotVerified(NotVerified::PinRefused) => {
            "choose a longer one, of more different characters: what this vault asks of a PIN was raised"
        }
        _ => "a PIN has 4 characters at least and 63 bytes at most",
    };
    Failure::new(error, hint)
}
