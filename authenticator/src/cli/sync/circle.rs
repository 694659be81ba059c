//! `doppelkey sync init | status | devices | revoke | exposed | leave`.

use clap::Args;
use doppelkey_sync::Suite;
use serde_json::Value;

use super::{Circle, Opened, host_name, now_ms, place};
use crate::cli::vault_options::{ExistingVault, KeptVault};
use crate::cli::{Failure, confirm, counted, print};
use crate::replicate::{Replication, Request};

/// Begin a circle on this device
#[derive(Args)]
pub(super) struct Init {
    #[command(flatten)]
    vault: KeptVault,
    /// Through what to sync: https://RELAY, folder:PATH, or key: for a security key with Doppelkey's firmware (key:/dev/hidrawN, key:ADDRESS,
    /// key:unix:PATH); more than once for a second opinion
    #[arg(long, value_name = "PLACE", required = true)]
    mailbox: Vec<String>,
    /// What this device is called [default: the machine's name]
    #[arg(long)]
    name: Option<String>,
    /// Wrap keys with ML-KEM768 and P-256 together, for who fears that what is kept today is opened by a quantum
    /// computer later; entries with keys in them grow by a kilobyte a device
    #[arg(long)]
    post_quantum: bool,
}

impl Init {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut opened = Opened::new(self.vault.open()?, self.vault.place()?);
        let places = self.mailbox.iter().map(|text| place(text)).collect::<Result<Vec<_>, _>>()?;
        let name = self.name.unwrap_or_else(host_name);
        let suite = if self.post_quantum { Suite::MlKem768P256 } else { Suite::P256 };
        let mut replication =
            Replication::found(&mut opened.vault, &opened.path, (suite, &name), &places, now_ms())?;
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
    vault: ExistingVault,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(super) fn run(self) -> Result<(), Failure> {
        let status = Circle::of(&self.vault)?.ask(&Request::Status)?;
        if self.json {
            print(&format!("{status}\n"));
            return Ok(());
        }
        let standing = &status["standing"];
        let ended =
            || standing["ended"].as_str().unwrap_or("not a member yet: its admission has not arrived");
        let stands = if standing["member"] == true { "a member" } else { ended() };
        print(&format!(
            "circle {}: this device is {stands}; {} in all, recovery keys counted\n\
             passkeys: {} shared, of which {} would survive the loss of a device; {} in this vault\n",
            text(&status["circle"]),
            counted(number(&status["devices"]), "member"),
            status["passkeys"],
            status["backed_up"],
            status["in_vault"]
        ));
        if let Some(hint) = standing["hint"].as_str() {
            print(&format!("{hint}\n"));
        }
        for debt in list(&status["owed"]) {
            print(&format!(
                "{} was revoked, but {} does not know yet; it will be told when it can be reached\n",
                text(&debt["name"]),
                text(&debt["relay"])
            ));
        }
        for device in list(&status["never_came"]) {
            print(&format!(
                "never came: {} was admitted and has said nothing since; if you have given it up: `doppelkey sync revoke {}`\n",
                text(&device["name"]),
                text(&device["id"])
            ));
        }
        for way in list(&status["recovery"]) {
            let counts =
                if way["backup"] == true { "counts as a backup" } else { "does not count as a backup" };
            print(&format!("recovery: {} ({counts})\n", text(&way["name"])));
        }
        for relay in list(&status["pin"]) {
            print(&format!("recovery PIN: {}\n", guesses(relay)));
        }
        if let Some(trouble) = status["trouble"].as_str() {
            print(&format!("trouble: {trouble}; it is tried again\n"));
        }
        for alarm in list(&status["alarms"]) {
            print(&format!("alarm: {}\n", text(alarm)));
        }
        for place in list(&status["mailboxes"]) {
            match status["unreachable"][text(place)].as_str() {
                Some(why) => print(&format!("mailbox: {} (cannot be used now: {why})\n", text(place))),
                None => print(&format!("mailbox: {}\n", text(place))),
            }
        }
        Ok(())
    }
}

/// List the circle's devices
#[derive(Args)]
pub(super) struct Devices {
    #[command(flatten)]
    vault: ExistingVault,
    /// Print one line of JSON a device
    #[arg(long)]
    json: bool,
}

impl Devices {
    pub(super) fn run(self) -> Result<(), Failure> {
        let devices = Circle::of(&self.vault)?.ask(&Request::Devices)?;
        for device in list(&devices) {
            let is = |what: &str| device[what] == true;
            if is("recovery") && !is("live") && !self.json {
                // Nobody has its key any more.
                continue;
            }
            let standing = match (is("live"), is("recovery")) {
                _ if is("this") => "this device",
                (true, true) => "recovery",
                (true, false) if is("asked_to_end") => {
                    "member; one device has said that it is out, a second one has to"
                }
                (true, false) if !is("spoke") => "member, has said nothing yet",
                (true, false) => "member",
                (false, _) if is("forked") => "cloned or restored: revoke it",
                (false, _) => "revoked",
            };
            if self.json {
                print(&format!("{device}\n"));
            } else {
                print(&format!("{}  {}  ({standing})\n", text(&device["id"]), text(&device["name"])));
            }
        }
        Ok(())
    }
}

/// End a device's membership: it receives nothing more from then on
#[derive(Args)]
pub(super) struct Revoke {
    #[command(flatten)]
    vault: ExistingVault,
    /// Its name or the start of its id
    device: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

impl Revoke {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut circle = Circle::of(&self.vault)?;
        confirm(&format!("End the membership of {}, for good?", self.device), self.yes)?;
        let revoked = circle.ask(&Request::Revoke { device: self.device.clone() })?;
        log::info!(
            "{} was revoked and receives nothing more; it may still have {}: see `doppelkey sync exposed {}`, and replace \
             them if it was stolen",
            self.device,
            counted(number(&revoked["exposed"]), "passkey"),
            text(&revoked["id"])
        );
        if revoked["admitted"] != 0 {
            log::warn!(
                "it had admitted {}: look through `doppelkey sync devices`, and revoke what is not yours",
                counted(number(&revoked["admitted"]), "other device")
            );
        }
        Ok(())
    }
}

/// List the passkeys that a lost device has or could have fetched: what to replace after a theft
#[derive(Args)]
pub(super) struct Exposed {
    #[command(flatten)]
    vault: ExistingVault,
    /// Its name or the start of its id; a revoked one, too
    device: String,
    /// Print one line of JSON a passkey, with when it was last used in seconds since 1970 (0: never)
    #[arg(long)]
    json: bool,
}

impl Exposed {
    pub(super) fn run(self) -> Result<(), Failure> {
        let exposed = Circle::of(&self.vault)?.ask(&Request::Exposed { device: self.device })?;
        if list(&exposed).is_empty() {
            log::info!("there is none that it could have");
        }
        for passkey in list(&exposed) {
            if self.json {
                print(&format!("{passkey}\n"));
            } else {
                print(&format!("{}  {}\n", text(&passkey["rp_id"]), text(&passkey["user_name"])));
            }
        }
        Ok(())
    }
}

/// Leave the circle: this device keeps its passkeys and shares nothing from now on
#[derive(Args)]
pub(super) struct Leave {
    #[command(flatten)]
    vault: ExistingVault,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

impl Leave {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut circle = Circle::of(&self.vault)?;
        confirm("Leave the circle?", self.yes)?;
        let left = circle.ask(&Request::Leave)?;
        log::info!("this device has left its circle");
        for mailbox in list(&left["untold"]) {
            log::warn!(
                "{} cannot be told now: the other devices count this one in until it is, by the next `doppelkey run` or \
                 `doppelkey sync` here",
                text(mailbox)
            );
        }
        Ok(())
    }
}

/// How the guesses at the recovery PIN stand at a relay.
fn guesses(relay: &Value) -> String {
    let (left, allowed, at) = (&relay["left"], &relay["allowed"], text(&relay["relay"]));
    match () {
        () if *left == 0 => format!("destroyed at {at} by wrong guesses; set another one"),
        () if left != allowed => format!(
            "somebody guessed wrongly: {left} of {allowed} guesses are left at {at}; if that was not you, set a longer one"
        ),
        () => format!("nobody guessed, {allowed} of {allowed} guesses are left at {at}"),
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
