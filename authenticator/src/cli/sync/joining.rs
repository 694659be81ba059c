//! `doppelkey sync invite | join`.

use std::io::IsTerminal as _;
use std::thread::sleep;
use std::time::Duration;

use clap::Args;
use doppelkey_sync::{DeviceKeys, Event, Invitation, Mailbox, Name, emoji};
use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use serde_json::Value;
use zeroize::Zeroizing;

use super::{Circle, LOOK_EVERY, Opened, host_name, now_ms, passkeys, place, say};
use crate::cli::run::clock;
use crate::cli::vault_options::{ExistingVault, KeptVault};
use crate::cli::{Failure, counted, is_confirmed, print, tell};
use crate::replicate::{Place, ReplicateError, Replication, Request};

/// Invite another device: shows a QR code and waits for it
#[derive(Args)]
pub(super) struct Invite {
    #[command(flatten)]
    vault: ExistingVault,
    /// Admit whoever has the invitation without comparing emoji
    #[arg(long)]
    yes: bool,
    /// How long to wait, in seconds
    #[arg(long, value_name = "S", default_value_t = 600)]
    wait_s: u64,
    /// Show only the text
    #[arg(long)]
    no_qr: bool,
}

impl Invite {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut circle = Circle::of(&self.vault)?;
        let invited = circle.ask(&Request::Invite { wait_s: self.wait_s })?;
        let invitation = owned(&invited["invitation"]);
        for place in invited["left_out"].as_array().into_iter().flatten() {
            log::warn!("{} cannot be reached now: the new device will not use it", owned(place));
        }
        self.show(&invitation);
        let mut admitted = None;
        let joined = self.admit(&mut circle, invitation, &mut admitted);
        // The newcomer has a token of its own by now; whoever only saw the invitation gets in no more. Should this not be
        // reached, the relay ends it by itself.
        let ended = circle.ask(&Request::EndInvitation { label: owned(&invited["label"]), admitted });
        joined.and(ended.map(drop))
    }

    fn admit(
        &self,
        circle: &mut Circle,
        invitation: String,
        admitted: &mut Option<String>,
    ) -> Result<(), Failure> {
        let request = self.await_request(circle, &invitation)?;
        let name = owned(&request["name"]);
        tell(&format!("{name} asks to join, and shows:  {}\n", owned(&request["emoji"])));
        if !is_confirmed("Does it show the same?", self.yes)? {
            return Err(Failure::new("nobody was admitted", "invite again; an invitation is for one device"));
        }
        let answer = circle.ask(&Request::Admit { invitation, letter: owned(&request["letter"]) })?;
        let device = owned(&answer);
        *admitted = Some(device.clone());
        if await_arrival(circle, &device)? {
            log::info!("{name} has joined");
        } else {
            log::warn!(
                "{name} was admitted and has not been heard of within a minute; if it does not come: `doppelkey sync revoke \
                 {device}`, and invite again"
            );
        }
        Ok(())
    }

    fn show(&self, text: &str) {
        if !self.no_qr
            && let Ok(code) = QrCode::new(text)
        {
            let drawn =
                code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build();
            tell(&format!("{drawn}\n"));
        }
        let within = counted(self.wait_s.div_ceil(60), "minute");
        tell(&format!("On the new device, within {within}:\n  doppelkey sync join {text}\n"));
        // Alone on standard output, for scripts.
        print(&format!("{text}\n"));
    }

    fn await_request(&self, circle: &mut Circle, invitation: &str) -> Result<Value, Failure> {
        let clock = clock();
        while clock() < Duration::from_secs(self.wait_s) {
            let asked = circle.ask(&Request::Asked { invitation: invitation.into() })?;
            if !asked.is_null() {
                return Ok(asked);
            }
            sleep(LOOK_EVERY);
        }
        Err(Failure::new("nobody came", "invite again, and use the invitation while it is shown"))
    }
}

/// Waits until the newcomer has said something as a member, for a minute; whether it has.
fn await_arrival(circle: &mut Circle, device: &str) -> Result<bool, Failure> {
    let clock = clock();
    while clock() < Duration::from_secs(60) {
        if circle.ask(&Request::HasSpoken { device: device.into() })? == true {
            return Ok(true);
        }
        sleep(LOOK_EVERY);
    }
    Ok(false)
}

fn owned(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Join the circle that an invitation is for
#[derive(Args)]
pub(super) struct Join {
    #[command(flatten)]
    vault: KeptVault,
    /// What `doppelkey sync invite` shows on the other device; asked for if it is not said, since every user of this
    /// machine sees what is said here
    #[arg(value_name = "DOPPELKEY:…")]
    invitation: Option<String>,
    /// What this device is called [default: the machine's name]
    #[arg(long)]
    name: Option<String>,
    /// Where a folder or key of the circle is here, if elsewhere than on the other device: folder:PATH, key:; relays are
    /// in the invitation
    #[arg(long, value_name = "PLACE")]
    mailbox: Vec<String>,
}

impl Join {
    pub(super) fn run(self) -> Result<(), Failure> {
        let invitation = self.invitation()?;
        let (clock, now_s) = (clock(), now_ms() / 1000);
        let left = invitation.expires_s.checked_sub(now_s).filter(|&left| left > 0);
        let until = Duration::from_secs(left.ok_or_else(|| expired(invitation.expires_s, now_s))?);
        let mut opened = Opened::new(self.vault.open()?, self.vault.place()?);
        if Replication::is_set_up(&opened.path) {
            return Err(ReplicateError::AlreadySetUp(Replication::path_of(&opened.path)).into());
        }
        let places = self.places(&invitation)?;
        let place = places.first().cloned().expect("an invitation names a place, or an error was returned");
        let mut mailbox = place.connect(invitation.circle)?;
        let failed = |error| Failure::from(ReplicateError::Mailbox(place.to_string(), error));
        let mut random = UnwrapErr(SysRng);
        let keys = DeviceKeys::generate(invitation.suite, &mut random);
        let name = self.name.unwrap_or_else(host_name);
        let letter = invitation.ask(&keys, name.as_bytes(), &mut random);
        mailbox.put(Name::of(&letter), &letter).map_err(failed)?;
        tell(&format!("Compare with the other device:  {}\n", emoji(&letter)));
        let mut since = 0;
        let welcome = loop {
            if let Some(welcome) = welcomed(&mut *mailbox, &mut since, &invitation, &keys).map_err(failed)? {
                break welcome;
            }
            if clock() >= until {
                return Err(Failure::new("nobody admitted this device", "ask for a new invitation"));
            }
            sleep(LOOK_EVERY);
        };
        let path = opened.path.clone();
        let joined =
            Replication::join(&mut opened.vault, &path, &invitation, keys, &welcome, places, now_ms());
        let mut replication = joined?;
        opened.round(&mut replication)?;
        // The first word as a member: what it has now, and so what is backed up.
        sleep(Duration::from_millis(doppelkey_sync::ACKNOWLEDGE_AFTER_MS));
        let reports = replication.tell(now_ms(), Event::Tick)?;
        say(&reports, &replication, &mut opened.said);
        opened.round(&mut replication)?;
        let count = passkeys(&mut opened.vault)?;
        log::info!("joined: {} in this vault; `doppelkey run` keeps it in step", counted(count, "passkey"));
        Ok(())
    }
}

impl Join {
    /// The invitation: as an argument, or from standard input.
    fn invitation(&self) -> Result<Invitation, Failure> {
        let mut text = Zeroizing::new(self.invitation.clone().unwrap_or_default());
        if self.invitation.is_none() {
            if std::io::stdin().is_terminal() {
                eprintln!("What the other device shows (DOPPELKEY:…):");
            }
            // What cannot be read is no invitation.
            let _ = std::io::stdin().read_line(&mut text);
        }
        Invitation::parse(text.trim()).ok_or_else(|| {
            Failure::new(
                "this is no invitation, or a character of it is wrong",
                "copy all of the text that begins with DOPPELKEY:",
            )
        })
    }

    /// Where this device finds the circle: the relays of the invitation; folders and keys as they are called here.
    fn places(&self, invitation: &Invitation) -> Result<Vec<Place>, Failure> {
        let mut invited = Place::parse_list(&invitation.mailbox)?;
        if !self.mailbox.is_empty() {
            let here = self.mailbox.iter().map(|text| place(text)).collect::<Result<Vec<_>, _>>()?;
            invited.retain(|place| matches!(place, Place::Opened(_)));
            return Ok(here.into_iter().chain(invited).collect());
        }
        let is_relay = |place: &Place| matches!(place, Place::Opened(_));
        if invited.iter().any(is_relay) {
            for place in invited.extract_if(.., |place| !is_relay(place)) {
                log::info!(
                    "the other device uses {place}, too; so does this one if you join with --mailbox PLACE"
                );
            }
        }
        if invited.is_empty() {
            return Err(Failure::new(
                "the invitation names no mailbox",
                "update Doppelkey on the other device",
            ));
        }
        Ok(invited)
    }
}

/// What is wrong with an invitation that ended, as this device's clock has it. That one may be wrong, or the other
/// device's: a new invitation does not help then.
fn expired(ended_s: u64, now_s: u64) -> Failure {
    let ago = match now_s.saturating_sub(ended_s) {
        seconds @ 0..120 => counted(seconds, "second"),
        seconds @ 120..7200 => counted(seconds / 60, "minute"),
        seconds @ 7200..172_800 => counted(seconds / 3600, "hour"),
        seconds => counted(seconds / 86_400, "day"),
    };
    let time = |s: u64| format!("{:02}:{:02} UTC", s / 3600 % 24, s / 60 % 60);
    Failure::new(
        format!("the invitation has expired: by this device's clock, {ago} ago"),
        format!(
            "run `doppelkey sync invite` again; if the invitation is new, compare the clocks: here it is {}, and the \
             invitation was for until {}",
            time(now_s),
            time(ended_s)
        ),
    )
}

/// The welcome that answers, if it has come.
fn welcomed(
    mailbox: &mut dyn Mailbox,
    since: &mut u64,
    invitation: &Invitation,
    keys: &DeviceKeys,
) -> std::io::Result<Option<Vec<u8>>> {
    let listing = mailbox.list(*since)?;
    *since += listing.items.len() as u64;
    for (name, bytes) in listing.items {
        let bytes = match bytes {
            Some(bytes) => Some(bytes),
            None => mailbox.get(name)?,
        };
        if let Some(bytes) = bytes
            && invitation.accept(keys.clone(), &bytes, UnwrapErr(SysRng)).is_ok()
        {
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invitation_that_is_too_old_here_says_what_time_it_is_here() {
        let ended_s = 20_000 * 86_400 + 9 * 3600 + 5 * 60;
        let said = expired(ended_s, ended_s + 12 * 60 + 59).to_string();
        assert!(said.contains("expired: by this device's clock, 12 minutes ago\n"), "{said}");
        assert!(said.contains("here it is 09:17 UTC, and the invitation was for until 09:05 UTC"), "{said}");
        let said = expired(0, 20_000 * 86_400).to_string();
        assert!(said.contains("20000 days ago"), "{said}");
        let said = expired(5, 5).to_string();
        assert!(said.contains("0 seconds ago"), "{said}");
    }
}
