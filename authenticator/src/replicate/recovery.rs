//! Recovery members and escrow, as the commands ask for them; and the end of this device's own membership.

use std::fmt;

use doppelkey_core::CredentialStore;
use doppelkey_sync::escrow::Deposit;
use doppelkey_sync::relay::{EscrowError, RelayClient};
use doppelkey_sync::{Event, LogId, Op, POLICY_PIN_RETIREMENT, RecoveryKey};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::ZeroizeOnDrop;

use super::requests::shown;
use super::{Place, Refusal, ReplicateError, Replication, distinct, label_of};
use crate::text::from_hex;

/// What the recovery member behind a PIN is called.
pub const PIN_MEMBER: &str = "recovery PIN";

/// A text that is not for logs. Zeroized when dropped.
#[derive(Serialize, Deserialize, ZeroizeOnDrop)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Takes it.
    pub fn new(text: String) -> Self {
        Secret(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Replication {
    /// Admits the member of a recovery key, and writes to it. It counts as a backup once the user has shown that the key is
    /// kept ([`confirm_recovery`](Self::confirm_recovery)): nobody may have seen it yet.
    pub(super) fn admit_recovery(&mut self, key: &Secret, name: &str, now_ms: u64) -> Result<Value, Refusal> {
        let key = RecoveryKey::parse(&key.0);
        let key = key.ok_or_else(|| Refusal::new("this is no recovery key", "make one anew"))?;
        let keys = key.keys(self.replica().suite()).public().clone();
        let log = keys.log();
        // The relays first: what they refuse changes nothing.
        for (place, relay) in self.relays() {
            if name == PIN_MEMBER
                && let Err(error @ (EscrowError::NotOffered | EscrowError::Relay(_))) = relay.escrow()
            {
                return Err(refused(&place, &error));
            }
            let let_in = relay.let_in(&label_of(log), &key.relay_token());
            let_in.map_err(|error| ReplicateError::Mailbox(place.to_string(), error))?;
        }
        self.tell(now_ms, Event::Admit { keys, recovery: true, name: name.as_bytes().to_vec() })?;
        let letter = self.driver.replica_mut().recovery_letter(&key).ok_or_else(Refusal::not_a_member)?;
        self.tell(now_ms, Event::Post(letter))?;
        if name == PIN_MEMBER {
            // From now on nobody has the key: this ends its member when the next PIN is set. The one before is good until every
            // relay has this one's deposit ([`retire_pins`](Self::retire_pins)).
            let consent = key.consent(self.replica().suite(), self.replica().circle());
            let value = [&self.pin_consents()[..], &log.0, &consent].concat();
            let policy = Op::Policy { number: POLICY_PIN_RETIREMENT, value };
            self.tell(now_ms, Event::Local(vec![policy]))?;
        }
        let mailboxes: Vec<String> = self.places().iter().map(ToString::to_string).collect();
        Ok(json!({
            "circle": self.replica().circle().to_string(), "mailboxes": mailboxes, "device": log.to_string(),
            "outranked_by": self.seniors_of(log),
        }))
    }

    /// The user keeps a recovery key: it counts as a backup.
    pub(super) fn confirm_recovery(&mut self, device: &str, now_ms: u64) -> Result<Value, Refusal> {
        let members = &self.replica().members().all;
        let is_one = |log: &LogId| members.get(log).is_some_and(|member| member.is_live() && member.recovery);
        let log = LogId::parse(device).filter(is_one);
        let log =
            log.ok_or_else(|| Refusal::new("this is no recovery key of this circle", "make one anew"))?;
        let confirmed = self.replica().confirm_recovery(log);
        self.tell(now_ms, Event::Local(vec![confirmed]))?;
        Ok(Value::Null)
    }

    /// The names of the devices whose membership a recovery key cannot end, because they are senior to it.
    fn seniors_of(&self, key: LogId) -> Vec<String> {
        let members = &self.replica().members().all;
        let Some(rank) = members.get(&key).map(|member| member.rank) else { return Vec::new() };
        let seniors =
            members.values().filter(|member| member.is_live() && !member.recovery && member.rank < rank);
        seniors.map(|member| shown(&member.name)).collect()
    }

    /// Ends the members behind PINs, but the newest. Nobody has their keys; the one before left its consent, and others this
    /// device ends if it is senior to them. In any case the relays let them in no more.
    fn retire_pin_members(&mut self, newest: Option<LogId>, now_ms: u64) -> Result<(), ReplicateError> {
        let consented = self.pin_consents();
        let replica = self.replica();
        let consents = |log: LogId| {
            let mut records = consented.chunks_exact(CONSENT);
            records.find_map(|record| <[u8; 64]>::try_from(record.strip_prefix(&log.0)?).ok())
        };
        let own = replica.members().all.get(&replica.log()).map(|member| member.rank);
        let members = replica.members().all.iter();
        let ended = members.filter(|(log, member)| Some(**log) != newest && is_pin_member(member));
        let ends: Vec<(LogId, Option<Event>)> = ended
            .map(|(log, member)| match consents(*log) {
                Some(consent) => (*log, Some(Event::Retire { log: *log, consent })),
                None if own.is_some_and(|own| own < member.rank) => {
                    (*log, Some(Event::Revoke { log: *log, why: 0 }))
                }
                None => (*log, None),
            })
            .collect();
        for (log, end) in ends {
            if let Some(end) = end {
                self.tell(now_ms, end)?;
            }
            self.shut_out(&label_of(log));
        }
        Ok(())
    }

    /// Every relay has the deposits of a new PIN: the members behind those before it end.
    pub(super) fn retire_pins(&mut self, newest: &str, now_ms: u64) -> Result<Value, Refusal> {
        let members = &self.replica().members().all;
        let log = LogId::parse(newest).filter(|log| members.get(log).is_some_and(is_pin_member));
        let log = log.ok_or_else(|| Refusal::new("this is no PIN of this circle", "set it anew"))?;
        self.retire_pin_members(Some(log), now_ms)?;
        let consents = self.pin_consents();
        if let Some(newest) = consents.chunks_exact(CONSENT).find(|record| record.starts_with(&log.0)) {
            let policy = Op::Policy { number: POLICY_PIN_RETIREMENT, value: newest.to_vec() };
            self.tell(now_ms, Event::Local(vec![policy]))?;
        }
        Ok(Value::Null)
    }

    /// Who is behind a PIN, and its word that it ends: log and consent, for each that may be there.
    fn pin_consents(&self) -> Vec<u8> {
        let policy = self.replica().state().policies.get(&POLICY_PIN_RETIREMENT);
        policy.map(|register| register.value.clone()).unwrap_or_default()
    }

    /// Leaves a deposit with each relay, in their order.
    pub(super) fn deposit(&self, deposits: &[Secret]) -> Result<Value, Refusal> {
        let relays = self.relays();
        if relays.len() != deposits.len() {
            return Err(Refusal::new("the circle's relays have changed", "set the PIN anew"));
        }
        for ((place, relay), deposit) in relays.iter().zip(deposits) {
            let deposit = from_hex(&deposit.0).and_then(|bytes| Deposit::decode(&bytes));
            let deposit = deposit.ok_or_else(|| Refusal::new("this is no deposit", "set the PIN anew"))?;
            relay.deposit(&deposit).map_err(|error| refused(place, &error))?;
        }
        Ok(Value::Null)
    }

    /// How the escrow stands at each relay.
    pub(super) fn escrow(&self) -> Value {
        let stands = |(place, relay): (Place, RelayClient)| match relay.escrow() {
            Ok(status) => json!({
                "relay": place.to_string(), "allowed": status.allowed, "left": status.left,
                "wait_s": status.wait.as_secs(),
            }),
            Err(error) => {
                let refusal = refused(&place, &error);
                json!({ "relay": place.to_string(), "error": refusal.error, "hint": refusal.hint })
            }
        };
        self.relays().into_iter().map(stands).collect()
    }

    /// Destroys what is in escrow, at every relay, and ends the member behind it.
    pub(super) fn end_escrow(&mut self, now_ms: u64) -> Result<Value, Refusal> {
        for (place, relay) in self.relays() {
            relay.end_escrow().map_err(|error| refused(&place, &error))?;
        }
        self.retire_pin_members(None, now_ms)?;
        Ok(Value::Null)
    }

    /// What could bring a lost circle back: names of recovery members, and whether each counts as a backup.
    pub(super) fn recovery(&self) -> Value {
        let confirmed: Vec<LogId> = self.replica().confirmed_recovery().collect();
        let members = self.replica().members().all.iter();
        let live = members.filter(|(_, member)| member.is_live() && member.recovery);
        let object = |(log, member): (&LogId, &doppelkey_sync::Member)| json!({ "name": shown(&member.name), "backup": confirmed.contains(log) });
        live.map(object).collect()
    }

    /// What the user should know about guesses at the PIN, if there is one: one line a relay.
    pub(super) fn guessed(&self) -> Vec<(String, u8, u8)> {
        if !self.replica().members().all.values().any(is_pin_member) {
            return Vec::new();
        }
        let of_relay = |(place, relay): (Place, RelayClient)| {
            relay.escrow().ok().map(|status| (place.to_string(), status.left, status.allowed))
        };
        self.relays().into_iter().filter_map(of_relay).collect()
    }

    /// Ends this device's membership: the vault keeps its passkeys, of which nothing says any more that they are kept
    /// elsewhere, and the sync file is removed. There is to be no round after it.
    pub(super) fn leave(&mut self, store: &mut dyn CredentialStore, now_ms: u64) -> Result<Value, Refusal> {
        let (_, untold) = self.say_farewell(now_ms)?;
        self.forget_circle(store)?;
        Ok(json!({ "untold": untold }))
    }

    /// What of leaving comes after the mailboxes, which may take long: what the store has by now is what counts. Nobody else is
    /// to change it meanwhile.
    pub(super) fn forget_circle(&mut self, store: &mut dyn CredentialStore) -> Result<(), ReplicateError> {
        if !self.was_reset(store)? {
            let credentials = self.credentials(store)?.into_iter().map(|(_, credential)| credential);
            for mut credential in credentials.filter(|credential| credential.backup_state) {
                credential.backup_state = false;
                store.put(&credential, None)?;
            }
        }
        self.remove_file()
    }

    /// The circle's relays. One that an earlier program added twice is one: a second deposit there takes the place of the first.
    pub(super) fn relays(&self) -> Vec<(Place, RelayClient)> {
        let circle = self.replica().circle();
        let of = |place: Place| place.relay(circle).map(|relay| (place, relay));
        distinct(self.places()).into_iter().filter_map(of).collect()
    }
}

/// A log and its consent.
const CONSENT: usize = 8 + 64;

fn is_pin_member(member: &doppelkey_sync::Member) -> bool {
    member.recovery && member.is_live() && member.name == PIN_MEMBER.as_bytes()
}

/// Why a relay did nothing about an escrow, and what the user can do.
pub fn refused(place: &Place, error: &EscrowError) -> Refusal {
    Refusal::new(
        format_args!("{place}: {error}"),
        match error {
            EscrowError::Nothing => "set a recovery PIN on a device: `doppelkey sync recovery pin set`",
            EscrowError::Destroyed => {
                "use the recovery key on paper; on a device, set the PIN anew: `doppelkey sync recovery pin set`"
            }
            EscrowError::TooSoon(_) => "wait; the guess that was refused was not counted",
            EscrowError::NotOffered => {
                "its operator can say `doppelkey relay --escrow-key FILE`; or use another relay"
            }
            _ => "check that the relay runs and can be reached",
        },
    )
}
