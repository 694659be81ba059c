//! `doppelkey sync init | status | devices | revoke | exposed | leave`.

use clap::Args;
use doppelkey_core::CredentialStore as _;
use doppelkey_sync::{Event, LogId};
use serde_json::json;

use super::{Opened, confirmed, find, host_name, now_ms, passkeys, place, say, shown};
use crate::cli::credentials::store_failure;
use crate::cli::vault_options::VaultOptions;
use crate::cli::{Failure, print};
use crate::replicate::{Replication, label_of};

/// Begin a circle on this device
#[derive(Args)]
pub(super) struct Init {
    #[command(flatten)]
    vault: VaultOptions,
    /// Through what to sync: https://RELAY or folder:PATH; more than once for a second opinion
    #[arg(long, value_name = "PLACE", required = true)]
    mailbox: Vec<String>,
    /// What this device is called [default: the machine's name]
    #[arg(long)]
    name: Option<String>,
}

impl Init {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut opened = Opened::new(&self.vault)?;
        let places = self.mailbox.iter().map(|text| place(text)).collect::<Result<Vec<_>, _>>()?;
        let name = self.name.unwrap_or_else(host_name);
        let mut replication = Replication::found(&mut opened.vault, &opened.path, &name, &places, now_ms())?;
        opened.round(&mut replication)?;
        log::info!("a circle begins with this device, {name}");
        log::info!("next: `doppelkey sync invite` for your other devices, `doppelkey sync recovery create`");
        Ok(())
    }
}

/// Say where this device stands
#[derive(Args)]
pub(super) struct Status {
    #[command(flatten)]
    vault: VaultOptions,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut opened = Opened::new(&self.vault)?;
        let mut replication = opened.replication()?;
        opened.round(&mut replication)?;
        let replica = replication.replica();
        let records = replica.state().records.len();
        let backed = replica.state().records.keys().filter(|id| replica.is_backed_up(**id)).count();
        let live = replica.members().live().count();
        let member = replica.members().is_live(replica.log());
        let held = passkeys(&mut opened.vault)?;
        if self.json {
            let mailboxes: Vec<String> = replication.places().iter().map(ToString::to_string).collect();
            print(&format!(
                "{}\n",
                json!({
                    "circle": replica.circle().to_string(), "device": replica.log().to_string(), "member": member,
                    "devices": live, "passkeys": records, "backed_up": backed, "in_vault": held,
                    "mailboxes": mailboxes,
                })
            ));
            return Ok(());
        }
        let standing = if member { "a member" } else { "no member any more" };
        print(&format!(
            "circle {}: this device is {standing}, {live} devices and keys in all\n\
             passkeys: {records} shared, of which {backed} would survive the loss of a device; {held} in this vault\n",
            replica.circle()
        ));
        for place in replication.places() {
            print(&format!("mailbox: {place}\n"));
        }
        Ok(())
    }
}

/// List the circle's devices
#[derive(Args)]
pub(super) struct Devices {
    #[command(flatten)]
    vault: VaultOptions,
    /// Print one line of JSON a device
    #[arg(long)]
    json: bool,
}

impl Devices {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut opened = Opened::new(&self.vault)?;
        let mut replication = opened.replication()?;
        opened.round(&mut replication)?;
        let replica = replication.replica();
        let mut members: Vec<_> = replica.members().all.iter().collect();
        members.sort_by_key(|(_, member)| member.rank);
        for (log, member) in members {
            let name = shown(&member.name);
            let standing = match (member.is_live(), member.recovery) {
                _ if *log == replica.log() => "this device",
                (true, true) => "recovery key",
                (true, false) => "member",
                (false, _) if member.forked => "cloned or restored: revoke it",
                (false, _) => "revoked",
            };
            if self.json {
                let line = json!({
                    "id": log.to_string(), "name": name, "live": member.is_live(), "recovery": member.recovery,
                    "this": *log == replica.log(),
                });
                print(&format!("{line}\n"));
            } else {
                print(&format!("{log}  {name}  ({standing})\n"));
            }
        }
        Ok(())
    }
}

/// End a device's membership: it learns nothing new from then on
#[derive(Args)]
pub(super) struct Revoke {
    #[command(flatten)]
    vault: VaultOptions,
    /// Its name or the start of its id
    device: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

impl Revoke {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut opened = Opened::new(&self.vault)?;
        let mut replication = opened.replication()?;
        opened.round(&mut replication)?;
        let log = find(replication.replica(), &self.device)?;
        if !confirmed(&format!("End the membership of {}, for good?", self.device), self.yes)? {
            return Err(Failure::new("nothing was changed", "answer `yes`, in full"));
        }
        say(&replication.tell(now_ms(), Event::Revoke { log, why: 1 })?);
        let ended = !replication.replica().members().is_live(log);
        opened.round(&mut replication)?;
        if !ended {
            return Err(Failure::new(
                "a device cannot end the membership of one that is senior to it, alone",
                "say the same on a second device that another one admitted, or use the recovery key",
            ));
        }
        shut_out(&replication, log);
        let exposed = replication.replica().exposed(log).len();
        let admitted = replication.replica().members().admitted_by(log).len();
        log::info!(
            "{} is out; it keeps the {exposed} passkeys it had: `doppelkey sync exposed {log}`",
            self.device
        );
        if admitted > 0 {
            log::warn!("it had admitted {admitted} other devices: look through `doppelkey sync devices`");
        }
        Ok(())
    }
}

/// Ends a device's token at the relays. What it could still fetch there is sealed; this saves the relay's quota.
fn shut_out(replication: &Replication, log: LogId) {
    for relay in replication.places().iter().filter_map(|place| place.relay(replication.replica().circle())) {
        if let Err(error) = relay.shut_out(&label_of(log)) {
            log::warn!("the relay could not be told: {error}");
        }
    }
}

/// List the passkeys that a lost device had: what to replace after a theft
#[derive(Args)]
pub(super) struct Exposed {
    #[command(flatten)]
    vault: VaultOptions,
    /// Its name or id; a revoked one by its whole id
    device: String,
}

impl Exposed {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut opened = Opened::new(&self.vault)?;
        let mut replication = opened.replication()?;
        opened.round(&mut replication)?;
        let log = match LogId::parse(&self.device) {
            Some(log) if replication.replica().members().all.contains_key(&log) => log,
            _ => find(replication.replica(), &self.device)?,
        };
        let exposed = replication.replica().exposed(log);
        for credential in replication.credentials(&mut opened.vault)? {
            if exposed.contains(&credential.0) {
                let name = credential.1.user.name.as_deref().unwrap_or("");
                print(&format!("{}  {}\n", credential.1.rp_id, shown(name.as_bytes())));
            }
        }
        Ok(())
    }
}

/// Leave the circle: this device keeps its passkeys and shares nothing from now on
#[derive(Args)]
pub(super) struct Leave {
    #[command(flatten)]
    vault: VaultOptions,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

impl Leave {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut opened = Opened::new(&self.vault)?;
        let mut replication = opened.replication()?;
        if !confirmed("Leave the circle?", self.yes)? {
            return Err(Failure::new("nothing was changed", "answer `yes`, in full"));
        }
        let log = replication.replica().log();
        say(&replication.tell(now_ms(), Event::Revoke { log, why: 0 })?);
        opened.round(&mut replication)?;
        // Nothing says any more that these are kept elsewhere.
        for (_, mut credential) in replication.credentials(&mut opened.vault)? {
            credential.backup_state = false;
            opened.vault.put(&credential, None).map_err(store_failure)?;
        }
        replication.forget()?;
        log::info!("this device has left its circle");
        Ok(())
    }
}
