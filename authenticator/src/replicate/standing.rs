//! Where this device stands in its circle, and who was admitted to it and never came.

use std::io;
use std::time::Duration;

use doppelkey_sync::relay::TokenEnded;
use doppelkey_sync::{LogId, Report};
use serde_json::{Value, json};

use super::requests::shown;
use super::{Place, Replication};

/// What to do about the end of a membership.
pub(crate) const COME_BACK: &str = "to come back: `doppelkey sync leave`, then `doppelkey sync join` with an invitation of \
                                    another device; the passkeys in this vault stay, and sign in";

/// How long a newcomer may take for its first word: as long as an invitation is good for, unless that is told otherwise.
const ARRIVES_WITHIN: Duration = Duration::from_secs(600);

/// Whether a relay says that a device of the circle has shut this one out.
pub(super) fn is_shut_out(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<TokenEnded>())
}

impl Replication {
    /// Notes which relays shut this device out: of a revocation that it cannot fetch any more that is all it hears.
    pub(super) fn heed(&mut self, reports: &[Report]) {
        self.shut_out_at.extend(reports.iter().filter_map(|report| match report {
            Report::Unreachable(mailbox, error) if is_shut_out(error) => Some(*mailbox),
            _ => None,
        }));
    }

    /// An object: `member`, whether this device is one as far as it knows; if not, `ended` says how it knows, and `hint`
    /// what to do.
    pub(super) fn standing(&self) -> Value {
        let replica = self.replica();
        let me = replica.members().all.get(&replica.log());
        let ended = match me {
            Some(me) if me.forked => {
                "no member any more: this device was cloned or restored from a backup".to_owned()
            }
            Some(me) if !me.is_live() => "no member any more: its membership was ended".to_owned(),
            _ => {
                let relays: Vec<String> = self
                    .shut_out_at
                    .iter()
                    .filter_map(|at| self.places().get(usize::from(*at)).map(Place::to_string))
                    .collect();
                if relays.is_empty() {
                    return json!({ "member": replica.members().is_live(replica.log()) });
                }
                format!("revoked by another device, says {}", relays.join(", "))
            }
        };
        json!({ "member": false, "ended": ended, "hint": COME_BACK })
    }

    /// Devices that were admitted and have said nothing since, though there was time: with their ids and names. Whoever joins
    /// says at once what it has, so these never came: a crash or a bad net was between the admission and the welcome.
    pub(super) fn never_came(&self, now_ms: u64) -> Vec<(LogId, String)> {
        let replica = self.replica();
        let said = replica.frontier();
        let late_ms = now_ms.saturating_sub(ARRIVES_WITHIN.as_millis() as u64);
        let members = replica.members().all.iter().filter(|(log, member)| {
            member.is_live()
                && !member.recovery
                && **log != replica.log()
                && said.get(log).is_none_or(|entries| *entries == 0)
                && member.admitted_ms() <= late_ms
        });
        members.map(|(log, member)| (*log, shown(&member.name))).collect()
    }
}
