//! `doppelkey sync recovery create | restore | pin`.

mod mailboxes;
mod pin;

use std::collections::BTreeMap;
use std::io::{BufRead as _, IsTerminal as _};

use clap::{Args, Subcommand};
use doppelkey_sync::relay::RelayUrl;
use doppelkey_sync::{CircleId, DeviceKeys, Event, LogId, RecoveryKey, Replica, Share};
use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use zeroize::Zeroizing;

use self::mailboxes::{Mailboxes, Paper};
use super::{Circle, Opened, host_name, now_ms, passkeys, place};
use crate::cli::vault_options::{ExistingVault, KeptVault};
use crate::cli::{Failure, counted, hand_over, tell};
use crate::replicate::{Place, ReplicateError, Replication, Request, Secret, label_of, shown};

/// A key on paper, or a PIN, that brings everything back when every device is lost
#[derive(Subcommand)]
pub(super) enum Recovery {
    Create(Create),
    Restore(Restore),
    #[command(subcommand)]
    Pin(pin::Pin),
}

impl Recovery {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Recovery::Create(command) => command.run(),
            Recovery::Restore(command) => command.run(),
            Recovery::Pin(command) => command.run(),
        }
    }
}

/// Make a recovery key, whole or in shares, and print it: write it down, it is not kept
#[derive(Args)]
pub(super) struct Create {
    #[command(flatten)]
    vault: ExistingVault,
    /// Cut it into shares, such as 2-of-3: any two give it back
    #[arg(long, value_name = "T-of-N")]
    shares: Option<String>,
}

impl Create {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut circle = Circle::of(&self.vault)?;
        let mut random = UnwrapErr(SysRng);
        let key = RecoveryKey::generate(&mut random);
        let papers = match &self.shares {
            None => vec![key.to_text()],
            Some(text) => {
                let parts = text
                    .split_once("-of-")
                    .and_then(|(needed, of)| Some((needed.parse().ok()?, of.parse().ok()?)));
                let shares = parts.and_then(|(needed, of)| key.split(needed, of, &mut random));
                let shares = shares.ok_or_else(|| {
                    Failure::new(format_args!("{text} is no division"), "write 2-of-3, for example")
                })?;
                shares.iter().map(Share::to_text).collect()
            }
        };
        let found = admit(&mut circle, &key, "recovery key")?;
        for paper in &papers {
            hand_over(&format!("{paper}\n"))?;
        }
        found.say();
        // Only now: a key that nobody has seen, because a relay was slow and the user went away, is no backup.
        if !is_written_down(&papers)? {
            return Err(Failure::new(
                "the recovery key does not count as a backup: it was not shown to be written down",
                "make another one: `doppelkey sync recovery create`",
            ));
        }
        circle.ask(&Request::ConfirmRecovery { device: found.device() })?;
        log::info!("from now on the recovery key counts as a backup");
        Ok(())
    }
}

/// Whether the user can give the last group of the key, or of each share, back. A program that reads them is trusted to keep
/// them.
fn is_written_down(papers: &[String]) -> Result<bool, Failure> {
    if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        return Ok(true);
    }
    for (number, paper) in (1..).zip(papers) {
        let which = if papers.len() == 1 { "it".to_owned() } else { format!("share {number}") };
        let given = (0..3).any(|_| {
            tell(&format!("Write {which} down, and type its last group: "));
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).is_ok() && is_last_group(paper, &line)
        });
        if !given {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_last_group(paper: &str, typed: &str) -> bool {
    paper
        .rsplit('-')
        .next()
        .is_some_and(|group| !group.is_empty() && group.eq_ignore_ascii_case(typed.trim()))
}

/// Where a circle is found again.
struct Found(serde_json::Value);

impl Found {
    /// The id of the key's member.
    fn device(&self) -> String {
        self.0["device"].as_str().unwrap_or_default().to_owned()
    }

    fn say(&self) {
        let circle = self.0["circle"].as_str().unwrap_or_default();
        for senior in self.0["outranked_by"].as_array().into_iter().flatten() {
            let senior = senior.as_str().unwrap_or_default();
            log::warn!(
                "this key cannot end the membership of {senior}, which is senior to this device: should {senior} be stolen, a \
                 key helps that was made there"
            );
        }
        for mailbox in self.0["mailboxes"].as_array().into_iter().flatten() {
            let mailbox = mailbox.as_str().unwrap_or_default();
            log::info!("write down, too, where its mailbox is: {mailbox}, circle {circle}");
        }
    }
}

/// Admits a recovery key's member.
fn admit(circle: &mut Circle, key: &RecoveryKey, name: &str) -> Result<Found, Failure> {
    let key = Secret::new(key.to_text());
    circle.ask(&Request::AdmitRecovery { key, name: name.into() }).map(Found)
}

/// Bring everything back on this device with the recovery key, or enough of its shares
///
/// They are asked for, one a line; read from standard input, if that is no terminal; or taken from the environment:
/// DOPPELKEY_RECOVERY_KEY.
#[derive(Args)]
pub(super) struct Restore {
    #[command(flatten)]
    vault: KeptVault,
    /// A mailbox of the lost circle: folder:PATH, key: or https://RELAY; say it for each that the circle had
    #[arg(long, value_name = "PLACE", required = true)]
    mailbox: Vec<String>,
    /// The circle, where the mailbox is a relay's [it was printed with the key]
    #[arg(long, value_name = "ID")]
    circle: Option<String>,
    /// Not here, where every user of this machine can read it
    #[arg(value_name = "KEY", hide = true)]
    papers: Vec<String>,
    /// What this device is called [default: the machine's name]
    #[arg(long)]
    name: Option<String>,
}

impl Restore {
    pub(super) fn run(self) -> Result<(), Failure> {
        let key = self.key()?;
        let mut opened = new_member(&self.vault)?;
        let circle = self.circle.as_deref().map(circle_id).transpose()?;
        let places = self.mailbox.iter().map(|text| place(text)).collect::<Result<Vec<_>, _>>()?;
        bring_back(&mut opened, &key, circle, places, self.name.clone())
    }

    fn key(&self) -> Result<RecoveryKey, Failure> {
        if !self.papers.is_empty() {
            return Err(Failure::new(
                "a recovery key is not taken from the command line, where every user of this machine can read it",
                "say nothing, and it is asked for; or pipe it in, or set DOPPELKEY_RECOVERY_KEY",
            ));
        }
        if let Ok(text) = std::env::var(VARIABLE) {
            let text = Zeroizing::new(text);
            return key_of(text.split_whitespace()).ok_or_else(no_key);
        }
        let input = std::io::stdin().lock();
        if std::io::stdin().is_terminal() {
            tell("The recovery key, or its shares, one a line:\n");
        }
        let mut papers = Vec::new();
        for line in input.lines().map_while(Result::ok) {
            let line = Zeroizing::new(line);
            papers.extend(line.split_whitespace().map(|paper| Zeroizing::new(paper.to_owned())));
            match key_of(papers.iter().map(|paper| paper.as_str())) {
                Some(key) => return Ok(key),
                None if line.trim().is_empty() && !papers.is_empty() => break,
                None => {}
            }
        }
        Err(no_key())
    }
}

const VARIABLE: &str = "DOPPELKEY_RECOVERY_KEY";

/// A key, or as many shares as give one.
fn key_of<'a>(papers: impl Iterator<Item = &'a str> + Clone) -> Option<RecoveryKey> {
    let whole = papers.clone().next().and_then(RecoveryKey::parse);
    whole.filter(|_| papers.clone().count() == 1).or_else(|| {
        let shares: Vec<Share> = papers.map(Share::parse).collect::<Option<_>>()?;
        RecoveryKey::combine(&shares)
    })
}

fn no_key() -> Failure {
    Failure::new(
        "this is no recovery key and no complete set of shares, or a character of it is wrong",
        "copy it as it was printed; dashes and case do not matter",
    )
}

/// The vault, if it takes part in no circle yet.
fn new_member(options: &KeptVault) -> Result<Opened, Failure> {
    let opened = Opened::new(options.open()?, options.place()?);
    if Replication::is_set_up(&opened.path) {
        return Err(ReplicateError::AlreadySetUp(Replication::path_of(&opened.path)).into());
    }
    Ok(opened)
}

fn circle_id(text: &str) -> Result<CircleId, Failure> {
    CircleId::parse(text).ok_or_else(|| {
        Failure::new("a circle's id has 32 hexadecimal digits", "copy it from `doppelkey sync status`")
    })
}

/// Makes this vault a member of the circle that the key recovers, and ends the membership of every other device.
fn bring_back(
    opened: &mut Opened,
    key: &RecoveryKey,
    circle: Option<CircleId>,
    places: Vec<Place>,
    name: Option<String>,
) -> Result<(), Failure> {
    let opened_by_key = |place| match place {
        Place::Relay(base) => Place::Opened(RelayUrl::new(&base, &key.relay_token())),
        other => other,
    };
    let places: Vec<Place> = places.into_iter().map(opened_by_key).collect();
    let (mut mailboxes, mut paper) = Mailboxes::reach(key, circle, &places)?;
    let lost = devices_of(&paper);
    let mut random = UnwrapErr(SysRng);
    let keys = DeviceKeys::generate(paper.suite(), &mut random);
    let name = name.unwrap_or_else(host_name).into_bytes();
    mailboxes.say(&mut paper, Event::Admit { keys: keys.public().clone(), recovery: false, name })?;
    for log in lost.keys().copied() {
        // Whatever is lost may have been found by somebody.
        mailboxes.say(&mut paper, Event::Revoke { log, why: 1 })?;
    }
    let (stay, out): (BTreeMap<_, _>, BTreeMap<_, _>) =
        lost.into_iter().partition(|(log, _)| paper.members().is_live(*log));
    let places = mailboxes.into_places();
    shut_out(&places, paper.circle(), out.keys().copied());
    let welcome = paper.welcome(keys.public().log(), b"recovered").ok_or_else(|| {
        Failure::new("the recovery key was revoked", "use a device of the circle, or the newest recovery key")
    })?;
    let (replica, effects) =
        Replica::join(keys, &welcome, b"recovered", random).map_err(ReplicateError::Journal)?;
    let path = opened.path.clone();
    let mut replication = Replication::adopt(&mut opened.vault, &path, replica, effects, places, now_ms())?;
    opened.round(&mut replication)?;
    tell_what_is_back(passkeys(&mut opened.vault)?, &stay);
    Ok(())
}

fn tell_what_is_back(count: u64, stay: &BTreeMap<LogId, String>) {
    let are = if count == 1 { "is" } else { "are" };
    let back = format!("{} {are} back", counted(count, "passkey"));
    if stay.is_empty() {
        log::info!("{back}; the devices that were lost are out of the circle");
        return;
    }
    log::info!("{back}");
    for (log, name) in stay {
        log::warn!(
            "{name} is still a member, because it is senior to this key: whoever has it reads what is made from now on. To be \
             rid of it, begin a circle of your own, `doppelkey sync leave` and `doppelkey sync init`, and make the \
             passkeys anew that `doppelkey sync exposed {log}` lists"
        );
    }
}

/// Ends the tokens of devices that are out. What a relay refuses is only quota that is not saved.
fn shut_out(places: &[Place], circle: CircleId, devices: impl Iterator<Item = LogId> + Clone) {
    for relay in places.iter().filter_map(|place| place.relay(circle)) {
        for log in devices.clone() {
            if let Err(error) = relay.shut_out(&label_of(log)) {
                log::debug!("the relay could not be told: {error}");
            }
        }
    }
}

/// The devices that are members, with their names; other recovery members are kept by somebody, and stay.
fn devices_of(paper: &Paper) -> BTreeMap<LogId, String> {
    let members = paper.members().all.iter();
    let devices = members.filter(|(_, member)| member.is_live() && !member.recovery);
    devices.map(|(log, member)| (*log, shown(&member.name))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_written_down_if_its_last_group_is_known() {
        for right in ["TUVW\n", " tuvw "] {
            assert!(is_last_group("ABCD-EFGH-TUVW", right));
        }
        for wrong in ["", "\n", "ABCD", "EFGH-TUVW-", "TUV"] {
            assert!(!is_last_group("ABCD-EFGH-TUVW", wrong));
        }
    }
}
