//! `doppelkey sync mailbox add | clear`.

use clap::{Args, Subcommand};

use super::{Circle, place};
use crate::cli::vault_options::ExistingVault;
use crate::cli::{Failure, confirm};
use crate::key_mailbox;
use crate::replicate::{Place, ReplicateError, Request};

/// Use another mailbox, too; empty a key
#[derive(Subcommand)]
pub(super) enum Mailbox {
    Add(Add),
    Clear(Clear),
}

impl Mailbox {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Mailbox::Add(command) => command.run(),
            Mailbox::Clear(command) => command.run(),
        }
    }
}

/// Use another mailbox beside those there are: a key in a drawer, a second relay
///
/// This device uses it from now on, and so does whoever this device invites. Elsewhere, say the same; a relay is brought by
/// an invitation only.
#[derive(Args)]
pub(super) struct Add {
    #[command(flatten)]
    vault: ExistingVault,
    /// https://RELAY, folder:PATH or key:
    #[arg(value_name = "PLACE")]
    place: String,
}

impl Add {
    fn run(self) -> Result<(), Failure> {
        Circle::of(&self.vault)?.ask(&Request::AddMailbox { place: self.place.clone() })?;
        log::info!("{} is a mailbox of this device from now on", self.place);
        if self.place.starts_with("http") {
            log::info!(
                "a recovery key or PIN that was made before does not open this relay, and makes no backup of what is only there; \
                 for one that does: `doppelkey sync recovery create`"
            );
        }
        Ok(())
    }
}

/// Take every entry off a key, whatever circle they are of: you touch the key to agree
#[derive(Args)]
pub(super) struct Clear {
    /// Which one, if not the one that is plugged in: key:/dev/hidrawN
    #[arg(value_name = "KEY", default_value = "key:")]
    key: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

impl Clear {
    fn run(self) -> Result<(), Failure> {
        let Place::Key(key) = place(&self.key)? else {
            let error = format_args!("{} is no key", self.key);
            return Err(Failure::new(error, "write key:, or key:/dev/hidrawN; folders are emptied by hand"));
        };
        confirm("Take everything that sync keeps on the key away? Its passkeys stay.", self.yes)?;
        log::info!("touch the key now, within half a minute");
        key_mailbox::clear(&key).map_err(|error| ReplicateError::Mailbox(self.key.clone(), error))?;
        log::info!(
            "the key is empty; devices that use it will say so, and put there again what their circle has"
        );
        Ok(())
    }
}
