//! What a user is told of what happened in a round, in words, with mailboxes by their names.

use std::collections::{BTreeMap, BTreeSet};

use doppelkey_sync::{Alarm, LogId, Report};

use super::standing::{COME_BACK, is_shut_out};
use super::{Place, ReplicateError};

/// A sentence for the user, if there is anything to say.
pub fn sentence(report: &Report, places: &[Place]) -> Option<String> {
    let name = |mailbox: u8| places.get(usize::from(mailbox)).map_or("a mailbox".into(), Place::to_string);
    match report {
        Report::Alarm(Alarm::Mailbox(mailbox, misbehaviour)) => Some(format!(
            "{} {misbehaviour}; your passkeys are not in danger: ask who runs it, or use another mailbox",
            name(*mailbox)
        )),
        Report::Alarm(alarm @ Alarm::NotAMember) => Some(format!("{alarm}; {COME_BACK}")),
        Report::Alarm(alarm) => Some(alarm.to_string()),
        Report::Unreachable(mailbox, error) if is_shut_out(error) => Some(format!(
            "{} says that another device has revoked this one: nothing new is shared; {COME_BACK}",
            name(*mailbox)
        )),
        Report::Unreachable(mailbox, error) => {
            let hint = ReplicateError::mailbox_hint(&name(*mailbox), error);
            Some(format!("{} cannot be used now: {error}; it is tried again; {hint}", name(*mailbox)))
        }
        Report::Refused(mailbox, error) => {
            Some(format!("{} does not take everything: {error}; other mailboxes carry it", name(*mailbox)))
        }
        Report::MembersChanged => {
            Some("the circle's devices changed; see `doppelkey sync devices`".to_owned())
        }
        _ => None,
    }
}

/// What was told already: a key in a drawer is no news every five seconds.
#[derive(Default)]
pub(super) struct Telling {
    /// Why a mailbox cannot be used.
    unreachable: BTreeMap<u8, String>,
    refused: BTreeSet<u8>,
    /// Alarms, each once, since this process began.
    alarms: BTreeSet<String>,
    /// Devices that were admitted and never came.
    never_came: BTreeSet<LogId>,
}

impl Telling {
    /// Logs what is new.
    pub(super) fn tell(&mut self, reports: &[Report], places: &[Place]) {
        for report in reports {
            let Some(sentence) = sentence(report, places) else { continue };
            let is_news = match report {
                Report::Unreachable(mailbox, error) => {
                    let why = error.to_string();
                    self.unreachable.insert(*mailbox, why.clone()) != Some(why)
                }
                Report::Refused(mailbox, _) => self.refused.insert(*mailbox),
                Report::Alarm(_) => self.alarms.insert(sentence.clone()),
                _ => true,
            };
            match report {
                _ if !is_news => {}
                Report::MembersChanged => log::info!("sync: {sentence}"),
                _ => log::warn!("sync: {sentence}"),
            }
        }
    }

    /// A mailbox was asked, with these reports.
    pub(super) fn asked(&mut self, mailbox: u8, reports: &[Report], places: &[Place]) {
        self.tell(reports, places);
        let failed = reports
            .iter()
            .any(|report| matches!(report, Report::Unreachable(number, _) if *number == mailbox));
        if !failed && self.unreachable.remove(&mailbox).is_some() {
            let name = places.get(usize::from(mailbox)).map_or("a mailbox".into(), Place::to_string);
            log::info!("sync: {name} can be used again");
        }
    }

    /// These devices were admitted and never came.
    pub(super) fn never_came(&mut self, devices: Vec<(LogId, String)>) {
        for (log, name) in devices {
            if self.never_came.insert(log) {
                log::warn!(
                    "sync: {name} was admitted and never came; if you have given it up, end its membership with `doppelkey \
                     sync revoke {log}`, and invite again"
                );
            }
        }
    }

    /// What was wrong, other than that.
    pub(super) fn alarms(&self) -> impl Iterator<Item = &str> {
        self.alarms.iter().map(String::as_str)
    }

    /// Whether every mailbox could be used when it was asked last.
    pub(super) fn all_is_well(&self) -> bool {
        self.unreachable.is_empty()
    }

    /// Why a mailbox cannot be used, if that is so.
    pub(super) fn trouble_of(&self, mailbox: usize) -> Option<&str> {
        self.unreachable.get(&u8::try_from(mailbox).ok()?).map(String::as_str)
    }
}
