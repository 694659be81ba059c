//! `doppelkey sync`: the vault's passkeys on other devices too.

mod circle;
mod joining;
mod mailbox;
mod recovery;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use doppelkey_core::CredentialStore;

use super::Failure;
use super::credentials::store_failure;
use super::vault_options::ExistingVault;
use crate::clock::WallClock;
#[cfg(unix)]
use crate::replicate::Running;
use crate::replicate::{
    Place, Refusal, ReplicateError, Replication, Request, sentence, shown, tell_farewells,
};
use crate::vault::Vault;

/// Sync passkeys with your other devices, encrypted from end to end
///
/// On the first device (the relay may be your own, `doppelkey relay`, or a folder that Syncthing carries):
///
///   doppelkey sync init --mailbox https://relay.example.org
///   doppelkey sync invite
///
/// On the next one, with the text or QR code that `invite` shows:
///
///   doppelkey sync join DOPPELKEY:…
///
/// From then on `doppelkey run` keeps both in step. While it runs it answers these commands, too; end it for `init`,
/// `join`, and what brings a lost circle back, which open the vault themselves.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Init(circle::Init),
    Invite(joining::Invite),
    Join(joining::Join),
    Status(circle::Status),
    Devices(circle::Devices),
    Revoke(circle::Revoke),
    Exposed(circle::Exposed),
    Leave(circle::Leave),
    #[command(subcommand)]
    Mailbox(mailbox::Mailbox),
    #[command(subcommand)]
    Recovery(recovery::Recovery),
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Init(command) => command.run(),
            Command::Invite(command) => command.run(),
            Command::Join(command) => command.run(),
            Command::Status(command) => command.run(),
            Command::Devices(command) => command.run(),
            Command::Revoke(command) => command.run(),
            Command::Exposed(command) => command.run(),
            Command::Leave(command) => command.run(),
            Command::Mailbox(command) => command.run(),
            Command::Recovery(command) => command.run(),
        }
    }
}

impl From<ReplicateError> for Failure {
    fn from(error: ReplicateError) -> Self {
        Failure::new(&error, error.hint())
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Failure::new(refusal.error, refusal.hint)
    }
}

/// A circle to ask: this process has the vault, or another one that runs has it.
enum Circle {
    Here(Box<Here>),
    #[cfg(unix)]
    Running(Running),
}

struct Here {
    opened: Opened,
    replication: Replication,
    letters: Vec<Vec<u8>>,
}

impl Circle {
    fn of(options: &ExistingVault) -> Result<Self, Failure> {
        #[cfg(unix)]
        if let Some(running) = Running::of(&options.place()?) {
            return Ok(Circle::Running(running));
        }
        let mut opened = Opened::new(options.open()?, options.place()?);
        let replication = opened.replication()?;
        Ok(Circle::Here(Box::new(Here { opened, replication, letters: Vec::new() })))
    }

    fn ask(&mut self, request: &Request) -> Result<serde_json::Value, Failure> {
        match self {
            Circle::Here(here) => here.ask(request),
            #[cfg(unix)]
            Circle::Running(running) => Ok(running.ask(request)?),
        }
    }
}

impl Here {
    fn ask(&mut self, request: &Request) -> Result<serde_json::Value, Failure> {
        self.round()?;
        let answer = self.replication.answer(request, &mut self.opened.vault, &self.letters, now_ms())?;
        if request.wants_a_round() {
            self.round()?;
        }
        Ok(answer)
    }

    fn round(&mut self) -> Result<(), Failure> {
        let reports = self.replication.round(&mut self.opened.vault, now_ms())?;
        say(&reports, &self.replication, &mut self.opened.said);
        self.letters.extend(reports.into_iter().filter_map(|report| match report {
            doppelkey_sync::Report::Letter(letter) => Some(letter),
            _ => None,
        }));
        Ok(())
    }
}

/// How often a mailbox is looked into while somebody waits at the screen.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A vault and where it is.
struct Opened {
    vault: Vault,
    path: PathBuf,
    /// What the user was told of mailboxes.
    said: BTreeSet<String>,
}

impl Opened {
    fn new(vault: Vault, path: PathBuf) -> Self {
        for mailbox in tell_farewells(&path) {
            log::warn!(
                "{mailbox} does not know yet that this device left a circle; it will be told when it can be reached"
            );
        }
        Opened { vault, path, said: BTreeSet::new() }
    }

    fn replication(&mut self) -> Result<Replication, Failure> {
        Ok(Replication::load_unless_reset(&mut self.vault, &self.path, now_ms())?)
    }

    /// One round with the mailboxes, with what went wrong in it said.
    fn round(&mut self, replication: &mut Replication) -> Result<(), Failure> {
        let reports = replication.round(&mut self.vault, now_ms())?;
        say(&reports, replication, &mut self.said);
        Ok(())
    }
}

/// Says what the user should know, and was not told by this command.
fn say(reports: &[doppelkey_sync::Report], replication: &Replication, said: &mut BTreeSet<String>) {
    for report in reports {
        // Whoever gives a command knows that it changes the devices.
        if !matches!(report, doppelkey_sync::Report::MembersChanged)
            && let Some(sentence) = sentence(report, replication.places())
            && said.insert(sentence.clone())
        {
            log::warn!("{sentence}");
        }
    }
}

/// The program's wall clock.
#[expect(clippy::disallowed_methods, reason = "the program is composed here")]
pub(super) fn wall_clock() -> WallClock {
    Arc::new(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |since| since.as_millis() as u64)
    })
}

fn now_ms() -> u64 {
    wall_clock()()
}

/// What this machine is called.
fn host_name() -> String {
    let name = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    let name = shown(name.trim().as_bytes());
    if name.is_empty() { "a device".into() } else { name }
}

fn passkeys(vault: &mut Vault) -> Result<u64, Failure> {
    vault.len().map(u64::from).map_err(store_failure)
}

fn place(text: &str) -> Result<Place, Failure> {
    Ok(text.parse::<Place>()?)
}
