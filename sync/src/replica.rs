//! The replica: events in, effects out. It never waits, reads a clock or opens a file.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use rand_core::CryptoRng;

use crate::alarm::Alarm;
use crate::compact::{Announcement, COMPACT_AFTER, Parts};
use crate::crypto::{DeviceKeys, EpochKey, PublicKeys, Suite, random};
use crate::dag::Dag;
use crate::entry::{Op, Signed};
use crate::id::{AccountId, CircleId, EpochId, Hash, LogId, Name, RecordId, hash};
use crate::mailbox::{Order, View};
use crate::membership::Members;
use crate::state::{Record, State};
use crate::unread::Unread;

/// The policy register with the logs (8 bytes each) of the recovery members whose keys the user has shown to be kept:
/// only those count as backups.
pub const POLICY_RECOVERY_CONFIRMED: u8 = 0;

/// The policy register with what ends the recovery member behind the recovery PIN: its log (8 bytes), its consent (64); of
/// several, one after the other, while a PIN takes another's place. Whoever sets another PIN says so of the ones before.
pub const POLICY_PIN_RETIREMENT: u8 = 1;

/// The policy register with the first letters to recovery members: log (8 bytes) and the letter's name (16), one after the
/// other. Without its letter a recovery key opens nothing.
pub(crate) const POLICY_RECOVERY_LETTERS: u8 = 2;

/// How long acknowledgements wait for more to acknowledge, in milliseconds.
pub const ACKNOWLEDGE_AFTER_MS: u64 = 1_000;

/// What happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The user or a relying party changed something: becomes one entry. [`Op::Put`], [`Op::Set`], [`Op::Del`],
    /// [`Op::Used`] and [`Op::Policy`] only; others are dropped.
    Local(Vec<Op>),
    /// The user, verified, takes a new device (or a recovery seed) in.
    Admit {
        /// Its keys.
        keys: PublicKeys,
        /// Whether it is a recovery seed.
        recovery: bool,
        /// What the user calls it.
        name: Vec<u8>,
    },
    /// The user, verified, ends a membership.
    Revoke {
        /// Whose; its own is "retire".
        log: LogId,
        /// A number for the user interface.
        why: u8,
    },
    /// The end of a recovery member, which agreed to it when it was made ([`RecoveryKey::consent`](crate::RecoveryKey::consent)).
    Retire {
        /// Whose.
        log: LogId,
        /// Its signature.
        consent: [u8; 64],
    },
    /// A sealed entry arrived, from wherever.
    Received(Vec<u8>),
    /// A mailbox may have news, or it is time to ask.
    Poll {
        /// Which one.
        mailbox: u8,
    },
    /// The reply to [`Effect::List`].
    Listed {
        /// Which one.
        mailbox: u8,
        /// The request's number.
        request: u32,
        /// Names from the cursor on, with their bytes where the carrier has them at hand.
        items: Vec<(Name, Option<Vec<u8>>)>,
        /// How many the mailbox holds in all.
        head: u64,
    },
    /// A mailbox acknowledged a put.
    Stored {
        /// Which one.
        mailbox: u8,
        /// What.
        name: Name,
    },
    /// A mailbox could not be reached; whatever was asked of it is void.
    Failed {
        /// Which one.
        mailbox: u8,
    },
    /// A peer is within reach: greet it.
    PeerSeen {
        /// The driver's number for it.
        peer: u32,
    },
    /// Bytes from a peer.
    Peer {
        /// The driver's number for it.
        peer: u32,
        /// As they came.
        bytes: Vec<u8>,
    },
    /// A letter for someone who is no member yet: kept, and put into every mailbox.
    Post(Vec<u8>),
    /// A closed mailbox opens to the key of a recovery member: to be said once after each start.
    Opens {
        /// Which one.
        mailbox: u8,
        /// Whose.
        recovery: LogId,
    },
    /// Time passed.
    Tick,
    /// A list of a mailbox was carried out to its end, with every [`Effect::Get`] that followed. After a start the replica
    /// says nothing of itself before that: what it said last may be there and not in a journal that was put back from a
    /// backup. It needs to be told once, and [`Driver`](crate::Driver) does it.
    Heard,
    /// The host has minded that this device heard itself ([`Replica::has_heard_itself`]), durably: what it keeps beside the
    /// journal is no older than that any more.
    Minded,
}

/// What the driver must do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect {
    /// Append this record to the journal; durable before the next effect is carried out.
    Persist(Vec<u8>),
    /// Put these records in the place of the whole journal, all or none of them, durably, and leave no trace of what
    /// was there: a snapshot has taken effect, and secrets are to be forgotten.
    Rewrite(Vec<Vec<u8>>),
    /// Put an entry into a mailbox and report [`Event::Stored`] or [`Event::Failed`].
    Put {
        /// Which one.
        mailbox: u8,
        /// The entry's name.
        name: Name,
        /// The entry.
        bytes: Vec<u8>,
    },
    /// Get an entry from a mailbox and report [`Event::Received`].
    Get {
        /// Which one.
        mailbox: u8,
        /// The entry's name.
        name: Name,
    },
    /// List a mailbox and report [`Event::Listed`] with this number.
    List {
        /// Which one.
        mailbox: u8,
        /// How many names to leave out.
        since: u64,
        /// To be given back.
        request: u32,
    },
    /// Send bytes to a peer.
    Send {
        /// The driver's number for it.
        peer: u32,
        /// What.
        bytes: Vec<u8>,
    },
    /// These records are new, changed or gone.
    Changed(Vec<RecordId>),
    /// Whether a record now survives the loss of any one device.
    Backup(RecordId, bool),
    /// Someone joined or left: show the list of devices.
    MembersChanged,
    /// A letter was found: perhaps someone asks to join. Whatever is in it, a stranger may have written it.
    Letter(Vec<u8>),
    /// Tell the user. Never a reason to refuse a sign-in.
    Alarm(Alarm),
}

/// An epoch as far as it is known here.
#[derive(Clone)]
pub(crate) struct Epoch {
    pub(crate) generation: u32,
    pub(crate) key: Option<EpochKey>,
    pub(crate) recipients: BTreeSet<LogId>,
    /// Whom this device has written a letter with the secret.
    pub(crate) reached: BTreeSet<LogId>,
    /// Where it was announced.
    pub(crate) origin: Option<(LogId, u32)>,
}

/// An entry as it was sealed, with the name of these bytes.
pub(crate) type Sealed = (Name, Vec<u8>);

/// An opened entry, and as it was sealed.
pub(crate) type Waiting = (Signed, Sealed);

/// One device's copy of the circle.
///
/// Cannot be cloned but in this crate's tests: two of one device would contradict each other.
#[cfg_attr(test, derive(Clone))]
pub struct Replica<R> {
    pub(crate) suite: Suite,
    pub(crate) circle: CircleId,
    pub(crate) founder: LogId,
    pub(crate) keys: DeviceKeys,
    pub(crate) me: LogId,
    pub(crate) rng: R,
    pub(crate) dag: Dag,
    pub(crate) members: Members,
    pub(crate) state: State,
    pub(crate) epochs: BTreeMap<EpochId, Epoch>,
    /// Opened but not deliverable yet.
    pub(crate) waiting: BTreeMap<(LogId, u32), Vec<Waiting>>,
    /// Sealed under an epoch that is not known yet.
    pub(crate) unread: Unread,
    /// For every log the last number a live member refers to: what a revoked log may still deliver.
    pub(crate) demanded: BTreeMap<LogId, u32>,
    pub(crate) mailboxes: BTreeMap<u8, View>,
    /// Letters this device posted.
    pub(crate) letters: BTreeMap<Name, Vec<u8>>,
    /// Keys letters that were tried.
    pub(crate) letters_tried: BTreeSet<Name>,
    pub(crate) backed: BTreeSet<RecordId>,
    /// For each confirmed recovery member, and each log, the number up to which mailboxes list every entry: what that recovery
    /// key alone would bring back.
    pub(crate) listed_until: BTreeMap<LogId, BTreeMap<LogId, u32>>,
    /// The first letters to recovery members that this process made and that are not posted yet.
    pub(crate) recovery_letters: BTreeMap<Name, LogId>,
    pub(crate) put_by: BTreeMap<(LogId, u32), Vec<RecordId>>,
    pub(crate) acknowledge_at: Option<u64>,
    pub(crate) rewrap: bool,
    pub(crate) evidence: Vec<Vec<u8>>,
    /// The digest of the snapshot this replica rests on, if there is one.
    pub(crate) base: Option<Hash>,
    /// Whether that snapshot has still to come: until then nothing is delivered.
    pub(crate) awaits_base: bool,
    pub(crate) base_state: State,
    /// The epochs that the snapshot calls erased.
    pub(crate) base_erased: BTreeSet<EpochId>,
    /// The epochs whose secrets must not come back, whoever brings them.
    pub(crate) erased: BTreeSet<EpochId>,
    /// A snapshot that was announced and is not in effect.
    pub(crate) snapshot: Option<Announcement>,
    pub(crate) parts: BTreeMap<Hash, Parts>,
    pub(crate) compact_after: usize,
    /// With how many entries compaction was last thought of in vain.
    pub(crate) looked: Option<usize>,
    pub(crate) hlc: u64,
    /// When this device was last told something, in milliseconds since 1970.
    pub(crate) now_ms: u64,
    pub(crate) alarms: BTreeSet<Alarm>,
    /// Whether a member has said that it knows nothing of this device that this device does not.
    pub(crate) is_vouched_for: bool,
    /// Whether nobody was heard yet since the journal was read back.
    pub(crate) unheard: bool,
    /// The last number that this process gave to an entry of its own.
    pub(crate) said: u32,
    /// Whether an entry of this device's came from elsewhere that was not here, and the host has not minded it.
    pub(crate) heard_itself: bool,
    /// Whether the journal is being read back: nothing is written, nothing verified twice.
    pub(crate) replaying: bool,
}

impl<R: CryptoRng> Replica<R> {
    /// Founds a circle with this device as its first member.
    pub fn found(suite: Suite, name: &[u8], now_ms: u64, mut rng: R) -> (Self, Vec<Effect>) {
        let keys = DeviceKeys::generate(suite, &mut rng);
        let circle = CircleId(random(&mut rng));
        let me = keys.public().log();
        let mut replica = Self::empty(suite, circle, me, keys, rng);
        let mut effects = alloc::vec![Effect::Persist(replica.identity_record(&[]))];
        let admit = Op::Admit { keys: replica.keys.public().clone(), recovery: false, name: name.to_vec() };
        let secret = random(&mut replica.rng);
        replica.rotate(now_ms, Some(admit), Some(secret), &mut effects);
        replica.settle(now_ms, &mut effects);
        (replica, effects)
    }

    pub(crate) fn empty(suite: Suite, circle: CircleId, founder: LogId, keys: DeviceKeys, rng: R) -> Self {
        Replica {
            suite,
            circle,
            founder,
            me: keys.public().log(),
            keys,
            rng,
            dag: Dag::default(),
            members: Members::default(),
            state: State::default(),
            epochs: BTreeMap::new(),
            waiting: BTreeMap::new(),
            unread: Unread::default(),
            demanded: BTreeMap::new(),
            mailboxes: BTreeMap::new(),
            letters: BTreeMap::new(),
            letters_tried: BTreeSet::new(),
            backed: BTreeSet::new(),
            listed_until: BTreeMap::new(),
            recovery_letters: BTreeMap::new(),
            put_by: BTreeMap::new(),
            acknowledge_at: None,
            rewrap: false,
            evidence: Vec::new(),
            base: None,
            awaits_base: false,
            base_state: State::default(),
            base_erased: BTreeSet::new(),
            erased: BTreeSet::new(),
            snapshot: None,
            parts: BTreeMap::new(),
            compact_after: COMPACT_AFTER,
            looked: None,
            hlc: 0,
            now_ms: 0,
            alarms: BTreeSet::new(),
            is_vouched_for: false,
            unheard: false,
            said: 0,
            heard_itself: false,
            replaying: false,
        }
    }

    /// Takes one event; what must be done about it. `now_ms` is wall-clock time in milliseconds since 1970.
    pub fn handle(&mut self, now_ms: u64, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.now_ms = now_ms;
        match event {
            Event::Local(mut ops) => {
                ops.retain(|op| {
                    matches!(
                        op,
                        Op::Put { .. }
                            | Op::Set { .. }
                            | Op::Del { .. }
                            | Op::Used { .. }
                            | Op::Policy { .. }
                    )
                });
                self.say(now_ms, ops, &mut effects);
            }
            Event::Admit { keys, recovery, name } => {
                let secret = random(&mut self.rng);
                self.dag.keys.entry(keys.log()).or_insert_with(|| keys.clone());
                let admit = Op::Admit { keys, recovery, name };
                self.rotate(now_ms, Some(admit), Some(secret), &mut effects);
            }
            Event::Revoke { log, why } => {
                let secret = random(&mut self.rng);
                let secret = (log != self.me).then_some(secret);
                self.rotate(now_ms, Some(Op::Revoke { log, why, consent: None }), secret, &mut effects);
            }
            Event::Retire { log, consent } => {
                let secret = random(&mut self.rng);
                let end = Op::Revoke { log, why: 0, consent: Some(consent) };
                self.rotate(now_ms, Some(end), Some(secret), &mut effects);
            }
            Event::Received(sealed) => self.receive(sealed, &mut effects),
            Event::Poll { mailbox } => self.list(mailbox, &mut effects),
            Event::Listed { mailbox, request, items, head } => {
                self.listed(mailbox, request, items, head, &mut effects);
            }
            Event::Stored { mailbox, name } => {
                self.mailboxes.entry(mailbox).or_default().stored(name);
            }
            Event::Failed { mailbox } => self.mailboxes.entry(mailbox).or_default().failed(),
            Event::PeerSeen { peer } => self.greet(peer, true, &mut effects),
            Event::Peer { peer, bytes } => self.peer(peer, bytes, &mut effects),
            Event::Post(letter) => {
                let name = Name::of(&letter);
                self.post(letter, &mut effects);
                self.name_recovery_letter(now_ms, name, &mut effects);
            }
            Event::Opens { mailbox, recovery } => {
                let view = self.mailboxes.entry(mailbox).or_default();
                if view.opens_to.as_mut().is_some_and(|members| members.insert(recovery)) {
                    self.note_all_holders(&mut effects);
                }
            }
            // What was ahead of its time may have come to it.
            Event::Tick => self.deliver(&mut effects),
            Event::Heard => self.unheard = false,
            Event::Minded => {
                if core::mem::take(&mut self.heard_itself) {
                    effects.push(Effect::Persist(Self::heard_itself_record(false)));
                }
            }
        }
        self.settle(now_ms, &mut effects);
        settle_backups(&mut effects);
        effects
    }

    /// Tells the replica of a mailbox before the first [`Event::Poll`], so that what it says is put there.
    pub fn add_mailbox(&mut self, mailbox: u8, order: Order) {
        self.mailboxes.entry(mailbox).or_default().order = order;
    }

    /// Tells the replica where a mailbox is, for every device that uses it ([`Mailbox::address`](crate::Mailbox::address)). Its
    /// number is this device's own: without an address, peers compare those of one number.
    pub fn mailbox_is_at(&mut self, mailbox: u8, address: Option<&str>) {
        let called = |address: &str| u64::from_be_bytes(hash(&[b"mailbox/1", address.as_bytes()]).short());
        self.mailboxes.entry(mailbox).or_default().called = address.map(called);
    }

    /// Tells the replica whether a mailbox may be lost together with this device ([`Mailbox::is_near`](crate::Mailbox::is_near)).
    pub fn mailbox_is_near(&mut self, mailbox: u8, near: bool) {
        self.mailboxes.entry(mailbox).or_default().near = near;
    }

    /// Tells the replica whether a mailbox opens only to those it was told of ([`Mailbox::is_closed`](crate::Mailbox::is_closed)):
    /// to no recovery key, until the host says so ([`Event::Opens`]).
    pub fn mailbox_is_closed(&mut self, mailbox: u8, closed: bool) {
        self.mailboxes.entry(mailbox).or_default().opens_to = closed.then(BTreeSet::new);
    }

    /// Whether a closed mailbox is known to open to the key of a recovery member.
    pub fn opens_to(&self, mailbox: u8, recovery: LogId) -> bool {
        let opens_to = self.mailboxes.get(&mailbox).and_then(|view| view.opens_to.as_ref());
        opens_to.is_some_and(|members| members.contains(&recovery))
    }

    /// Where a mailbox's history stands, once all of it was seen: how many names, and their hash. For the host to keep.
    pub fn seen(&self, mailbox: u8) -> Option<(u64, [u8; 8])> {
        self.mailboxes.get(&mailbox).filter(|view| view.caught_up).map(View::checkpoint)
    }

    /// Tells the replica, before the first [`Event::Poll`], where the history stood when the device was on last: if it
    /// does not go on from there, that is an alarm.
    pub fn expect(&mut self, mailbox: u8, (cursor, hash): (u64, [u8; 8])) {
        self.mailboxes.entry(mailbox).or_default().expect(cursor, hash);
    }

    /// When [`Event::Tick`] is due, in milliseconds since 1970; `None` if nothing waits for time.
    pub fn wake_at(&self) -> Option<u64> {
        self.acknowledge_at.filter(|_| self.has_heard())
    }

    /// The log this device writes.
    pub fn log(&self) -> LogId {
        self.me
    }

    /// The circle.
    pub fn circle(&self) -> CircleId {
        self.circle
    }

    /// The log that began it.
    pub fn founder(&self) -> LogId {
        self.founder
    }

    /// With what this device opens its circle at the relay with this address: the same at each try, so that an answer that was
    /// lost shuts nobody out. Hexadecimal, 128 bits; it tells nothing about the device's keys, nor about its token elsewhere.
    pub fn relay_token(&self, base: &str) -> String {
        self.keys.relay_token(&self.circle, base)
    }

    /// What the circle signs and seals with.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// What the delivered entries add up to.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// A live record.
    pub fn record(&self, record: RecordId) -> Option<&Record> {
        self.state.records.get(&record)
    }

    /// The records of an account, best first.
    pub fn offered(&self, account: AccountId) -> Vec<RecordId> {
        self.state.offered(account)
    }

    /// Who is or was a member.
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// Whether a member has said, since the start, that it knows nothing of this device that this device does not: a journal
    /// that was put back from a backup does.
    pub fn is_vouched_for(&self) -> bool {
        self.is_vouched_for
    }

    /// Whether a mailbox or a device that vouches was heard since the start ([`Event::Heard`]), if there is a mailbox. Before
    /// that the replica says nothing of itself, and what the host makes it say may contradict what it said before: the host
    /// waits, too.
    pub fn has_heard(&self) -> bool {
        !self.unheard || self.mailboxes.is_empty()
    }

    /// Whether something that this device said, and did not know, came from elsewhere: its journal was put back from a backup,
    /// and whatever else the host keeps beside it may be as old. So it stays, also across a start, until the host has minded it
    /// ([`Event::Minded`]).
    pub fn has_heard_itself(&self) -> bool {
        self.heard_itself
    }

    /// Whether this device has ended its own membership.
    pub fn has_left(&self) -> bool {
        let ends = |op: &Op| matches!(op, Op::Revoke { log, .. } if *log == self.me);
        let mut own = self.dag.entries().filter(|entry| entry.body.log == self.me);
        own.any(|entry| entry.body.ops.iter().any(ends))
    }

    /// How many entries of each log are here.
    pub fn frontier(&self) -> BTreeMap<LogId, u32> {
        self.dag.logs.iter().map(|(log, entries)| (*log, entries.head())).collect()
    }

    /// Whether a record survives the loss of any one device: the honest BS flag.
    pub fn is_backed_up(&self, record: RecordId) -> bool {
        self.backed.contains(&record)
    }

    /// What to say once the user has shown that a recovery key is kept: from then on it counts as a backup. A key that
    /// may be destroyed without the user's doing, as one in escrow, is not to be confirmed.
    pub fn confirm_recovery(&self, log: LogId) -> Op {
        let mut logs: Vec<LogId> = self.confirmed_recovery().filter(|known| *known != log).collect();
        logs.push(log);
        let value = logs.iter().flat_map(|log| log.0).collect();
        Op::Policy { number: POLICY_RECOVERY_CONFIRMED, value }
    }

    /// The live members whose end another live one has asked for, and cannot bring about alone: its word is kept, and counts once
    /// a second one says the same.
    pub fn asked_to_end(&self) -> BTreeSet<LogId> {
        let entries = self.dag.membership.iter().filter(|(author, _)| self.members.is_live(*author));
        let ops =
            entries.filter_map(|(author, seq)| self.dag.get(*author, *seq)).flat_map(|entry| &entry.body.ops);
        let targets = ops.filter_map(|op| if let Op::Revoke { log, .. } = op { Some(*log) } else { None });
        targets.filter(|log| self.members.is_live(*log)).collect()
    }

    /// The live records that a thief of this device may use: all but those whose author knew that the device is revoked. It
    /// need not have said that it has them; a thief fetches and says nothing. The worklist of keys to replace.
    pub fn exposed(&self, device: LogId) -> Vec<RecordId> {
        let ends = self.members.effective.iter().filter_map(|(log, seq)| {
            let entry = self.dag.get(*log, *seq)?;
            let ends = |op: &Op| matches!(op, Op::Revoke { log, .. } if *log == device);
            entry.body.ops.iter().any(ends).then_some((*log, *seq, entry.body.hlc))
        });
        let ends: Vec<(LogId, u32, u64)> = ends.collect();
        let is_later = |record: &Record| {
            let put = self.dag.get(record.stamp.log, record.stamp.seq);
            ends.iter().any(|(log, seq, hlc)| match put {
                Some(put) => put.seen.get(log).is_some_and(|seen| seen >= seq),
                // A snapshot keeps no more of it than its time.
                None => record.stamp.hlc > *hlc,
            })
        };
        let may_have = |record: &Record| self.holds(device, record) || !is_later(record);
        self.state.records.iter().filter(|(_, record)| may_have(record)).map(|(id, _)| *id).collect()
    }

    /// The sealed forms of every entry here, and of the snapshot before them: what a newcomer needs.
    pub fn entries(&self) -> impl Iterator<Item = (Name, &[u8])> {
        let copies = self.dag.entries().flat_map(|entry| &entry.copies);
        self.sealed_parts().chain(copies.map(|(name, sealed)| (*name, sealed.as_slice())))
    }

    /// The sealed forms of what this device said, in order: what a mailbox needs to hear that it has left.
    pub fn said(&self) -> impl Iterator<Item = (Name, &[u8])> {
        let own = self.dag.entries().filter(|entry| entry.body.log == self.me);
        own.flat_map(|entry| &entry.copies).map(|(name, sealed)| (*name, sealed.as_slice()))
    }

    /// The mailboxes' names this replica has seen listed.
    #[cfg(test)]
    pub(crate) fn listed_names(&self, mailbox: u8) -> usize {
        self.mailboxes.get(&mailbox).map_or(0, |view| view.seen.len())
    }

    pub(crate) fn alarm(&mut self, alarm: Alarm, effects: &mut Vec<Effect>) {
        if self.alarms.insert(alarm) && !self.replaying {
            effects.push(Effect::Alarm(alarm));
        }
    }
}

/// Leaves out what one event both claimed and took back: an acknowledgement may come together with the end of the
/// membership of the device that gave it.
fn settle_backups(effects: &mut Vec<Effect>) {
    let mut last: BTreeMap<RecordId, (usize, usize)> = BTreeMap::new();
    for (index, effect) in effects.iter().enumerate() {
        if let Effect::Backup(record, _) = effect {
            let (flips, at) = last.entry(*record).or_default();
            (*flips, *at) = (*flips + 1, index);
        }
    }
    let mut index = 0;
    effects.retain(|effect| {
        index += 1;
        match effect {
            // An even number of flips changes nothing; of an odd number the last one counts.
            Effect::Backup(record, _) => {
                last.get(record).is_some_and(|(flips, at)| flips % 2 == 1 && *at == index - 1)
            }
            _ => true,
        }
    });
}
