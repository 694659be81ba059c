//! What the commands of `doppelkey sync` ask of a circle, and the answers: the same whether the command has the vault
//! itself or a running `doppelkey run` has it (`running.rs`).

use std::fmt::{self, Display};
use std::time::Duration;

use doppelkey_core::CredentialStore;
use doppelkey_sync::{Event, Invitation, LogId, Member, Name, Replica};
use getrandom::rand_core::{CryptoRng, Rng as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Place, ReplicateError, Replication, Secret, distinct, label_of, random};
use crate::text::{from_hex, hex};
use crate::user_interface::visible;

/// How long a newcomer that comes at the last moment may take to exchange the invitation's token for its own.
const SETTLES_WITHIN: Duration = Duration::from_secs(120);

/// One question, or one thing to do.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Request {
    /// Where this device stands: an object.
    Status,
    /// The circle's devices, seniors first: an array.
    Devices,
    /// The passkeys that a device had: an array.
    Exposed {
        /// Its name or (the start of) its id.
        device: String,
    },
    /// The end of a membership.
    Revoke {
        /// Its name or (the start of) its id.
        device: String,
    },
    /// A new invitation: its text, and what its token is called at a relay.
    Invite {
        /// How long it is good for.
        wait_s: u64,
    },
    /// Who answers an invitation: a name, emoji and the letter; `null` while nobody does.
    Asked {
        /// The invitation's text.
        invitation: String,
    },
    /// The user agrees: admits whoever wrote a letter. The new member's id.
    Admit {
        /// The invitation's text.
        invitation: String,
        /// The letter, in hexadecimal.
        letter: String,
    },
    /// Whether a member has said anything yet.
    HasSpoken {
        /// Its id.
        device: String,
    },
    /// A member for a recovery key: where to find the circle again, an object.
    AdmitRecovery {
        /// The key, as on paper.
        key: Secret,
        /// What the member is called.
        name: String,
    },
    /// The user has shown that a recovery key is kept: from now on it counts as a backup.
    ConfirmRecovery {
        /// The id of its member.
        device: String,
    },
    /// Leaves deposits in escrow, one with each relay.
    Deposit {
        /// In hexadecimal.
        deposits: Vec<Secret>,
    },
    /// How the escrow stands at each relay: an array.
    Escrow,
    /// Every relay has the deposits of a new PIN: ends those before it.
    RetirePins {
        /// The id of the new one's member.
        newest: String,
    },
    /// Destroys what is in escrow.
    EndEscrow,
    /// Another mailbox, used from now on.
    AddMailbox {
        /// As `--mailbox` names it.
        place: String,
    },
    /// The end of this device's membership.
    Leave,
    /// Shuts an invitation's token out at the relays, with whoever came in by it.
    EndInvitation {
        /// What it is called there.
        label: String,
        /// The id of the device that was admitted, which stays.
        admitted: Option<String>,
    },
}

impl Request {
    /// Whether there is something to tell the mailboxes afterwards. (They are looked into before, in any case.)
    pub fn wants_a_round(&self) -> bool {
        !matches!(
            self,
            Request::Status
                | Request::Devices
                | Request::Exposed { .. }
                | Request::Asked { .. }
                | Request::HasSpoken { .. }
                | Request::EndInvitation { .. }
                | Request::Deposit { .. }
                | Request::Escrow
                | Request::Leave
        )
    }
}

/// Why not, and what to do next.
#[derive(Debug, Serialize, Deserialize)]
pub struct Refusal {
    /// What could not be done.
    pub error: String,
    /// What the user can do about it.
    pub hint: String,
}

impl Refusal {
    /// Neither ends with a full stop.
    pub fn new(error: impl Display, hint: impl Display) -> Self {
        Refusal { error: error.to_string(), hint: hint.to_string() }
    }

    pub(super) fn not_a_member() -> Self {
        Refusal::new(
            "this device is no member of its circle any more",
            "join anew: `doppelkey sync leave`, then `doppelkey sync join` with an invitation",
        )
    }
}

impl Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error)
    }
}

impl std::error::Error for Refusal {}

impl From<ReplicateError> for Refusal {
    fn from(error: ReplicateError) -> Self {
        Refusal::new(&error, error.hint())
    }
}

/// A request on its way to the thread that has the replica, and where the answer goes.
pub(super) type Asked = (Request, std::sync::mpsc::Sender<Result<Value, Refusal>>);

impl Replication {
    /// Answers a request. `letters` are those that mailboxes have brought since this process began.
    pub fn answer(
        &mut self,
        request: &Request,
        store: &mut dyn CredentialStore,
        letters: &[Vec<u8>],
        now_ms: u64,
    ) -> Result<Value, Refusal> {
        match request {
            Request::Status => self.status(store, now_ms),
            Request::Devices => Ok(self.devices()),
            Request::Exposed { device } => self.exposed(store, device),
            Request::Revoke { device } => self.revoke(device, now_ms),
            Request::Invite { wait_s } => self.invite(*wait_s, now_ms),
            Request::Asked { invitation } => self.asked(invitation, letters, now_ms),
            Request::Admit { invitation, letter } => self.admit(invitation, letter, now_ms),
            Request::HasSpoken { device } => {
                Ok(json!(LogId::parse(device).is_some_and(|log| self.has_spoken(log))))
            }
            Request::AdmitRecovery { key, name } => self.admit_recovery(key, name, now_ms),
            Request::ConfirmRecovery { device } => self.confirm_recovery(device, now_ms),
            Request::Deposit { deposits } => self.deposit(deposits),
            Request::Escrow => Ok(self.escrow()),
            Request::RetirePins { newest } => self.retire_pins(newest, now_ms),
            Request::EndEscrow => self.end_escrow(now_ms),
            Request::AddMailbox { place } => self.add_mailbox(place).map(|()| Value::Null),
            Request::Leave => self.leave(store, now_ms),
            Request::EndInvitation { label, admitted } => {
                self.end_invitation(label, admitted.as_deref().and_then(LogId::parse));
                Ok(Value::Null)
            }
        }
    }

    fn status(&self, store: &mut dyn CredentialStore, now_ms: u64) -> Result<Value, Refusal> {
        let replica = self.replica();
        let records = &replica.state().records;
        let mailboxes: Vec<String> = self.places().iter().map(ToString::to_string).collect();
        Ok(json!({
            "circle": replica.circle().to_string(),
            "device": replica.log().to_string(),
            "standing": self.standing(),
            "owed": self.owed(),
            "devices": replica.members().live().count(),
            "passkeys": records.len(),
            "backed_up": records.keys().filter(|id| replica.is_backed_up(**id)).count(),
            "in_vault": store.len().map_err(ReplicateError::Store)?,
            "mailboxes": mailboxes,
            "recovery": self.recovery(),
            "never_came": self.never_came(now_ms).into_iter().map(|(log, name)| {
                json!({ "id": log.to_string(), "name": name })
            }).collect::<Vec<_>>(),
            "pin": self.guessed().into_iter().map(|(relay, left, allowed)| {
                json!({ "relay": relay, "left": left, "allowed": allowed })
            }).collect::<Vec<_>>(),
            "relays": self.relays().len(),
        }))
    }

    fn devices(&self) -> Value {
        let replica = self.replica();
        let mut members: Vec<_> = replica.members().all.iter().collect();
        members.sort_by_key(|(_, member)| member.rank);
        let said = replica.frontier();
        let asked = replica.asked_to_end();
        let object = |(log, member): (&LogId, &Member)| {
            json!({
                "id": log.to_string(), "name": shown(&member.name), "live": member.is_live(),
                "recovery": member.recovery, "this": *log == replica.log(), "forked": member.forked,
                "asked_to_end": asked.contains(log),
                "spoke": said.get(log).is_some_and(|entries| *entries > 0),
            })
        };
        members.into_iter().map(object).collect()
    }

    fn exposed(&self, store: &mut dyn CredentialStore, device: &str) -> Result<Value, Refusal> {
        let log = match LogId::parse(device) {
            Some(log) if self.replica().members().all.contains_key(&log) => log,
            // A thief's device is looked at after its end, too.
            _ => find(self.replica(), device, |_| true)?,
        };
        let exposed = self.replica().exposed(log);
        let records = &self.replica().state().records;
        let used = |id| records.get(&id).map_or(0, |record| record.used_s);
        let credentials = self.credentials(store)?.into_iter().filter(|(id, _)| exposed.contains(id));
        let object = |(id, credential): (_, doppelkey_core::Credential)| {
            let name = credential.user.name.as_deref().unwrap_or_default();
            json!({
                "rp_id": credential.rp_id.as_str(), "user_name": shown(name.as_bytes()), "last_used_s": used(id),
            })
        };
        Ok(credentials.map(object).collect())
    }

    fn revoke(&mut self, device: &str, now_ms: u64) -> Result<Value, Refusal> {
        let log = find(self.replica(), device, Member::is_live)?;
        let exposed = self.replica().exposed(log).len();
        self.tell(now_ms, Event::Revoke { log, why: 1 })?;
        if self.replica().members().is_live(log) {
            return Err(Refusal::new(
                "a device cannot end the membership of one that is senior to it, alone: its word is kept, and counts once a \
                 second device says the same",
                "say the same on a second device that another one admitted, or use the recovery key",
            ));
        }
        self.shut_out(&label_of(log));
        let members = self.replica().members();
        let is_device =
            |log: &&LogId| members.all.get(log).is_some_and(|member| member.is_live() && !member.recovery);
        let admitted = members.admitted_by(log).iter().filter(is_device).count();
        Ok(json!({ "id": log.to_string(), "exposed": exposed, "admitted": admitted }))
    }

    /// Ends a token at the relays. What it could still fetch there is sealed; this saves the relay's quota.
    pub(super) fn shut_out(&self, label: &str) {
        let circle = self.replica().circle();
        for relay in self.places().iter().filter_map(|place| place.relay(circle)) {
            if let Err(error) = relay.shut_out(label) {
                log::warn!("the relay could not be told: {error}");
            }
        }
    }

    /// Ends an invitation's token, with whoever came in by it but the newcomer that was admitted. As long as that has said
    /// nothing it may still be on its way in: then the token is left to end by itself.
    fn end_invitation(&self, label: &str, admitted: Option<LogId>) {
        if admitted.is_some_and(|log| !self.has_spoken(log)) {
            return;
        }
        let circle = self.replica().circle();
        for relay in self.places().iter().filter_map(|place| place.relay(circle)) {
            let stays = admitted.map_or(Ok(()), |log| relay.let_stay(&label_of(log)));
            if let Err(error) = stays.and_then(|()| relay.shut_out(label)) {
                log::warn!("the relay could not be told: {error}");
            }
        }
    }

    /// Whether a member has said anything yet. A newcomer has tokens of its own before it does.
    pub(super) fn has_spoken(&self, log: LogId) -> bool {
        self.replica().frontier().get(&log).is_some_and(|entries| *entries > 0)
    }

    pub(super) fn invite(&self, wait_s: u64, now_ms: u64) -> Result<Value, Refusal> {
        let replica = self.replica();
        let mut secret = [0; 16];
        random().fill_bytes(&mut secret);
        let label = Name::of(&secret).to_string();
        let (mut told, mut left_out, mut failure) = (Vec::new(), Vec::new(), None);
        for place in distinct(self.places()) {
            let stay = Duration::from_secs(wait_s) + SETTLES_WITHIN;
            match place.for_newcomer(replica.circle(), &label, stay) {
                Ok(place) => told.push(place),
                Err(error) => {
                    left_out.push(place.to_string());
                    failure = Some(error);
                }
            }
        }
        if told.is_empty() {
            return Err(failure.map_or_else(Refusal::not_a_member, Refusal::from));
        }
        let invitation = Invitation {
            suite: replica.suite(),
            circle: replica.circle(),
            founder: replica.founder(),
            secret,
            // No sooner than whoever waits gives up.
            expires_s: now_ms.div_ceil(1000) + wait_s,
            mailbox: Place::list_text(&told).trim_end().to_owned(),
        };
        Ok(json!({ "invitation": invitation.to_text(), "label": label, "left_out": left_out }))
    }

    fn asked(&self, invitation: &str, letters: &[Vec<u8>], now_ms: u64) -> Result<Value, Refusal> {
        let invitation = self.own_invitation(invitation, now_ms)?;
        let asked = letters.iter().rev().find_map(|letter| Some((invitation.asked(letter)?, letter)));
        Ok(asked.map_or(Value::Null, |(request, letter)| {
            json!({ "name": shown(&request.name), "emoji": request.emoji, "letter": hex(letter) })
        }))
    }

    fn admit(&mut self, invitation: &str, letter: &str, now_ms: u64) -> Result<Value, Refusal> {
        let invitation = self.own_invitation(invitation, now_ms)?;
        let request = from_hex(letter).and_then(|letter| invitation.asked(&letter));
        let request = request.ok_or_else(|| Refusal::new("this letter does not answer", "invite again"))?;
        let log = request.keys.log();
        self.tell(now_ms, Event::Admit { keys: request.keys, recovery: false, name: request.name })?;
        let welcome = self.welcome(log, &invitation.secret).ok_or_else(Refusal::not_a_member)?;
        self.tell(now_ms, Event::Post(welcome))?;
        Ok(json!(log.to_string()))
    }

    fn own_invitation(&self, text: &str, now_ms: u64) -> Result<Invitation, Refusal> {
        let own = Invitation::parse(text).filter(|invitation| invitation.circle == self.replica().circle());
        let own = own.ok_or_else(|| Refusal::new("this is no invitation of this circle", "invite again"))?;
        if now_ms / 1000 >= own.expires_s {
            return Err(Refusal::new(
                "the invitation has expired",
                "invite again, and use it while it is shown",
            ));
        }
        Ok(own)
    }
}

/// A name that a stranger may have chosen, fit for a terminal.
pub fn shown(name: &[u8]) -> String {
    visible(&String::from_utf8_lossy(name)).chars().take(40).collect()
}

/// The member whose name or (start of the) log is this.
fn find<R: CryptoRng>(
    replica: &Replica<R>,
    text: &str,
    may_be: impl Fn(&Member) -> bool,
) -> Result<LogId, Refusal> {
    let live = replica.members().all.iter().filter(|(_, member)| may_be(member));
    let fits = |log: &LogId, member: &Member| {
        shown(&member.name) == text || text.len() >= 4 && log.to_string().starts_with(text)
    };
    let found: Vec<LogId> = live.filter(|(log, member)| fits(log, member)).map(|(log, _)| *log).collect();
    match *found {
        [log] => Ok(log),
        [] => Err(Refusal::new(
            format_args!("there is no device {text:?} in this circle"),
            "see `doppelkey sync devices`",
        )),
        _ => Err(Refusal::new(
            format_args!("there are several devices {text:?}"),
            "name one by its id, as in `doppelkey sync devices`",
        )),
    }
}
