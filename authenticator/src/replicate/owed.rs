//! What relays are owed: to hear whose tokens end, and whose stay.
//!
//! A relay is told at once when a device is revoked or has joined; one that is away then is told when it is back, and so is
//! every relay by each member that uses it: whoever revoked may be lost meanwhile, and mailboxes are each device's own.

use std::collections::BTreeMap;

use doppelkey_sync::{Event, LogId, Report};
use serde_json::{Value, json};

use super::requests::shown;
use super::{ReplicateError, Replication, label_of};

/// What relays have acknowledged since this process began: by mailbox and member, whether it stays.
#[derive(Default)]
pub(super) struct Acknowledged(BTreeMap<(u8, LogId), bool>);

impl Replication {
    /// Tells a relay that was just reached what it is owed. What fails is owed on.
    pub(super) fn settle_tokens(&mut self, mailbox: u8) {
        let replica = self.replica();
        let (me, circle) = (replica.log(), replica.circle());
        let relay = self.places().get(usize::from(mailbox)).and_then(|place| place.relay(circle));
        let Some(relay) = relay.filter(|_| replica.members().is_live(me)) else { return };
        let owed: Vec<(LogId, bool)> = self.owed_to(mailbox).collect();
        for (log, stays) in owed {
            let label = label_of(log);
            let told = if stays { relay.let_stay(&label) } else { relay.shut_out(&label) };
            if let Err(error) = told {
                return log::debug!("the relay could not be told of {log}: {error}");
            }
            self.acknowledged.0.insert((mailbox, log), stays);
        }
    }

    /// Asks a relay that was just reached which recovery keys it opens to: only to those it is a backup. Another device may have
    /// made the key, at other relays.
    pub(super) fn ask_whom_it_opens_to(
        &mut self,
        mailbox: u8,
        now_ms: u64,
    ) -> Result<Vec<Report>, ReplicateError> {
        let replica = self.replica();
        let relay = self.places().get(usize::from(mailbox)).and_then(|place| place.relay(replica.circle()));
        let Some(relay) = relay else { return Ok(Vec::new()) };
        let unknown = replica.confirmed_recovery().filter(|log| !replica.opens_to(mailbox, *log));
        let mut reports = Vec::new();
        for recovery in unknown.collect::<Vec<LogId>>() {
            match relay.is_let_in(&label_of(recovery)) {
                Ok(true) => reports.extend(self.tell(now_ms, Event::Opens { mailbox, recovery })?),
                Ok(false) => {}
                Err(error) => log::debug!("the relay does not say whether it knows a recovery key: {error}"),
            }
        }
        Ok(reports)
    }

    /// Members that a relay has not acknowledged, with whether their tokens stay. A recovery key's was never a guest's. A
    /// newcomer that has said nothing yet may have no token of its own yet, which could stay.
    fn owed_to(&self, mailbox: u8) -> impl Iterator<Item = (LogId, bool)> {
        let replica = self.replica();
        let members =
            replica.members().all.iter().map(|(log, member)| (*log, member.is_live(), member.recovery));
        members
            .filter(move |(log, live, recovery)| {
                *log != replica.log()
                    && !(*live && (*recovery || !self.has_spoken(*log)))
                    && self.acknowledged.0.get(&(mailbox, *log)) != Some(live)
            })
            .map(|(log, live, _)| (log, live))
    }

    /// Who is out and may still use a relay, for the user: an array.
    pub(super) fn owed(&self) -> Value {
        let circle = self.replica().circle();
        let places = (0..).zip(self.places()).filter(|(_, place)| place.relay(circle).is_some());
        let owed = places.flat_map(|(mailbox, place)| {
            let out = self.owed_to(mailbox).filter(|(_, stays)| !stays);
            out.filter_map(move |(log, _)| {
                let member = self.replica().members().all.get(&log)?;
                Some(json!({ "relay": place.to_string(), "name": shown(&member.name) }))
            })
        });
        owed.collect()
    }
}
