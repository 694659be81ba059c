//! The product: every device is a [`Replica`], as it is, and the server is a mailbox that knows nothing.

mod joining;
mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::string::ToString as _;
use std::vec::Vec;
use std::{format, vec};

use server::Server;

use super::engine::{Account, Action, Attack, Context, Credential, Fabric, Node, START_MS};
use super::outcome::Violation;
use super::scenario::{Scenario, Shares, SuiteName};
use crate::crypto::{HEADER, TAG};
use crate::dag::Entry;
use crate::seeded::Seeded;
use crate::{
    AccountId, DeviceKeys, Effect, Event, LogId, Name, Op, Order, RecordId, RecoveryKey, Replica, Share,
    Suite, padme,
};

/// How long a device waits for the server's answer before it counts it as failed.
const TIMEOUT_MS: u64 = 30_000;
/// How often a device asks although it was not told of news: the one that tells may have been lost.
const POLL_MS: u64 = 60 * 60_000;
/// What the headers around a message are taken to cost.
const OVERHEAD: usize = 40;
/// A credential's core is as long as the names in it: 140 to 200 bytes, 170 in the mean, the same for one account.
fn core_length(account: Account) -> usize {
    140 + (account.wrapping_mul(0x9e37_79b1) >> 16) as usize % 61
}

/// What travels between devices and the mailbox. A reply names the life of the device that asked: who was switched off
/// since hears nothing on its old connection.
#[derive(Clone)]
#[allow(missing_docs, reason = "the names are those of the mailbox's verbs")]
pub(crate) enum Message {
    Put { life: u32, name: Name, bytes: Vec<u8> },
    Stored { life: u32, name: Name },
    List { life: u32, since: u64, request: u32 },
    Listed { life: u32, request: u32, items: Vec<(Name, Vec<u8>)>, head: u64 },
    News,
    Peer(Vec<u8>),
}

struct Device {
    replica: Option<Replica<Seeded>>,
    journal: Vec<Vec<u8>>,
    /// When each of the journal's records was written.
    written_ms: Vec<u64>,
    /// The journals that were rewritten, and when: a backup of the disk may hold one.
    rewritten: Vec<(u64, Vec<Vec<u8>>, Vec<u64>)>,
    asked_ms: Option<u64>,
    /// The newest list request: only its reply is an answer.
    asked: u32,
    polled_ms: u64,
    /// When it will think of asking again.
    polls_ms: u64,
    arrived: BTreeSet<RecordId>,
    /// How often it began anew.
    life: u32,
    seed: Seeded,
}

impl Device {
    fn rewrite(&mut self, records: Vec<Vec<u8>>, now_ms: u64) {
        let times = std::vec![now_ms; records.len()];
        let journal = std::mem::replace(&mut self.journal, records);
        let written = std::mem::replace(&mut self.written_ms, times);
        self.rewritten.push((now_ms, journal, written));
    }

    fn go_back_to(&mut self, until_ms: u64) {
        while let Some((_, journal, written)) = self.rewritten.pop_if(|(at, ..)| *at > until_ms) {
            (self.journal, self.written_ms) = (journal, written);
        }
        let kept = self.written_ms.iter().take_while(|at| **at <= until_ms).count();
        self.journal.truncate(kept);
        self.written_ms.truncate(kept);
    }
}

/// All devices and their mailbox.
pub(crate) struct OpLog {
    devices: Vec<Device>,
    server: Server,
    recovery: Option<RecoveryKey>,
    /// The shares that are left, if the recovery key was cut into some.
    shares: Option<Vec<Share>>,
    confirmed: bool,
    suite: Suite,
    compact_after: usize,
    padding: bool,
    sizes_differ: u64,
    /// What was sealed under which epoch and nonce.
    nonces: BTreeMap<[u8; 20], Name>,
    nonce_repeated: bool,
    broken_replays: u64,
    /// Whether a device crashed since the user last did something.
    crashed: bool,
}

impl OpLog {
    fn record(credential: Credential) -> RecordId {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&credential.to_be_bytes());
        RecordId(id)
    }

    fn account(account: Account) -> AccountId {
        let mut id = [0; 8];
        id[..4].copy_from_slice(&account.to_be_bytes());
        AccountId(id)
    }

    fn credential(record: RecordId) -> Credential {
        u32::from_be_bytes([record.0[0], record.0[1], record.0[2], record.0[3]])
    }

    fn replica(&self, device: usize) -> Option<&Replica<Seeded>> {
        self.devices.get(device)?.replica.as_ref()
    }

    /// One event at one device, and everything that follows from it there.
    fn handle(&mut self, cx: &mut Context<'_, Message>, device: usize, event: Event) {
        let clock = cx.clock_ms(device);
        let Some(replica) = self.devices[device].replica.as_mut() else { return };
        let effects = replica.handle(clock, event);
        self.perform(cx, device, effects);
        self.set_timer(cx, device);
    }

    fn set_timer(&self, cx: &mut Context<'_, Message>, device: usize) {
        if let Some(due) = self.replica(device).and_then(Replica::wake_at) {
            cx.wake_after(device, due.saturating_sub(cx.clock_ms(device)) + 1);
        }
    }

    fn perform(&mut self, cx: &mut Context<'_, Message>, device: usize, effects: Vec<Effect>) {
        let me = Node::Device(device);
        for effect in effects {
            if cx.crashes() {
                return self.crash(cx, device);
            }
            match effect {
                Effect::Persist(record) => {
                    self.devices[device].journal.push(record);
                    self.devices[device].written_ms.push(cx.now_ms);
                }
                Effect::Rewrite(records) => self.devices[device].rewrite(records, cx.now_ms),
                Effect::Put { name, bytes, .. } => {
                    self.look_at(name, &bytes);
                    if cx.up[device] {
                        let shown = self.shown(&bytes);
                        cx.observed(shown);
                        let (size, life) = (shown + OVERHEAD, self.devices[device].life);
                        cx.send(me, Node::Server, Message::Put { life, name, bytes }, size);
                        self.await_answer(cx, device);
                    }
                }
                Effect::List { since, request, .. } if cx.up[device] => {
                    let life = self.devices[device].life;
                    self.devices[device].asked = request;
                    cx.send(me, Node::Server, Message::List { life, since, request }, OVERHEAD);
                    self.await_answer(cx, device);
                }
                Effect::Send { peer, bytes } => {
                    let size = bytes.len() + OVERHEAD;
                    cx.send(me, Node::Device(peer as usize), Message::Peer(bytes), size);
                }
                Effect::Changed(records) => {
                    for record in records {
                        let here =
                            self.replica(device).is_some_and(|replica| replica.record(record).is_some());
                        if here && self.devices[device].arrived.insert(record) {
                            cx.arrived(device, Self::credential(record));
                        }
                    }
                }
                Effect::Backup(record, true) => cx.claimed(device, Self::credential(record)),
                Effect::Alarm(alarm) => cx.alarm(device, format!("{alarm:?}")),
                _ => {}
            }
        }
    }

    fn await_answer(&mut self, cx: &mut Context<'_, Message>, device: usize) {
        if self.devices[device].asked_ms.is_none() {
            self.devices[device].asked_ms = Some(cx.now_ms);
            cx.wake_after(device, TIMEOUT_MS);
        }
    }

    /// What a user says is said again after a crash in the middle of it: the vault had a change durably before anyone was
    /// answered; and who takes a device in or shuts one out sees that it was not done, and does it again.
    fn until_done(&mut self, cx: &mut Context<'_, Message>, device: usize, event: Event) {
        self.crashed = false;
        self.handle(cx, device, event.clone());
        let live = |log: LogId| self.replica(device).is_some_and(|replica| replica.members().is_live(log));
        let undone = match &event {
            Event::Admit { keys, .. } => !live(keys.log()),
            Event::Revoke { log, .. } => live(*log),
            _ => true,
        };
        if self.crashed && undone {
            let crash = std::mem::replace(&mut cx.crash, 0.0);
            self.handle(cx, device, event);
            cx.crash = crash;
        }
    }

    /// I11: what comes back is what the journal says, and the rest is fetched again.
    fn crash(&mut self, cx: &mut Context<'_, Message>, device: usize) {
        self.crashed = true;
        self.reopen(device);
        self.handle(cx, device, Event::Poll { mailbox: 0 });
    }

    fn reopen(&mut self, device: usize) {
        let Device { journal, seed, replica, asked_ms, life, .. } = &mut self.devices[device];
        *asked_ms = None;
        *life += 1;
        match Replica::open(journal.iter().map(Vec::as_slice), seed.fork()) {
            Ok(mut opened) => {
                opened.add_mailbox(0, Order::Shared);
                opened.compact_after(self.compact_after);
                *replica = Some(opened);
            }
            Err(_) => self.broken_replays += 1,
        }
    }

    /// Whether the server has everything that it takes to deliver a record of this device again; for what a snapshot covers
    /// the device's own word is taken.
    fn is_restorable(&self, device: usize, record: RecordId) -> bool {
        let Some(replica) = self.replica(device) else { return false };
        let Some(stamp) = replica.record(record).map(|record| record.stamp) else { return true };
        if replica.dag.covers(stamp.log, stamp.seq) {
            return true;
        }
        let entry = replica.dag.get(stamp.log, stamp.seq);
        entry.is_some_and(|entry| self.server_has_all_of(replica, entry))
    }

    /// Whether the server has an entry and every entry that its author had seen: without them nobody can deliver it.
    fn server_has_all_of(&self, replica: &Replica<Seeded>, entry: &Entry) -> bool {
        entry.seen.iter().all(|(log, seq)| {
            let entries = replica.dag.logs.get(log).into_iter().flat_map(|log| &log.entries);
            let mut copies = entries.filter(|entry| entry.body.seq <= *seq).flat_map(|entry| &entry.copies);
            copies.all(|(name, _)| self.server.has(name))
        })
    }

    /// The size that a server sees: without padding, if that is what is studied. The ideal suite leaves the padding in
    /// the clear, and its signatures end with 32 zeros of their own.
    fn shown(&self, sealed: &[u8]) -> usize {
        let Some(plaintext) = sealed.get(HEADER..sealed.len().saturating_sub(TAG)) else {
            return sealed.len();
        };
        if self.padding || sealed[0] != 1 {
            return sealed.len();
        }
        let zeros = plaintext.iter().rev().take_while(|byte| **byte == 0).count();
        sealed.len() - zeros.saturating_sub(32)
    }

    /// I12 and I14, on whatever leaves a device for the mailbox.
    fn look_at(&mut self, name: Name, bytes: &[u8]) {
        if bytes[0] != 1 {
            return;
        }
        self.sizes_differ += u64::from(padme(bytes.len()) != bytes.len());
        let epoch_and_nonce: [u8; 20] = bytes[2..22].try_into().expect("a sealed entry has a header");
        // The same bytes are put again after a time-out; other bytes under one nonce are the fault.
        self.nonce_repeated |= *self.nonces.entry(epoch_and_nonce).or_insert(name) != name;
    }
}

impl Fabric for OpLog {
    type Message = Message;

    fn new(scenario: &Scenario, rng: &mut Seeded) -> Self {
        let suite = match scenario.suite {
            SuiteName::Ideal => Suite::Ideal,
            SuiteName::P256 => Suite::P256,
        };
        let mut fabric = OpLog {
            devices: Vec::new(),
            server: Server::default(),
            recovery: scenario.recovery.then(|| RecoveryKey::generate(rng)),
            shares: None,
            confirmed: scenario.recovery && scenario.pin.is_none(),
            suite,
            compact_after: scenario.compact_after,
            padding: scenario.padding,
            sizes_differ: 0,
            nonces: BTreeMap::new(),
            nonce_repeated: false,
            broken_replays: 0,
            crashed: false,
        };
        if let (Some(Shares { needed, of, lost }), Some(key)) = (scenario.shares, &fabric.recovery) {
            let mut shares = key.split(needed, of, rng).expect("the scenario was checked");
            for _ in 0..lost {
                shares.swap_remove(rng.below(shares.len() as u64) as usize);
            }
            fabric.shares = Some(shares);
        }
        let extra = scenario.events.iter().filter(|event| event.join.is_some() || event.burn).count();
        for _ in 0..scenario.devices.len() + extra {
            fabric.devices.push(Device {
                replica: None,
                journal: Vec::new(),
                written_ms: Vec::new(),
                rewritten: Vec::new(),
                asked_ms: None,
                asked: 0,
                polled_ms: 0,
                polls_ms: 0,
                arrived: BTreeSet::new(),
                life: 0,
                seed: rng.fork(),
            });
        }
        fabric.pair(scenario.devices.len(), rng);
        fabric
    }

    fn act(&mut self, cx: &mut Context<'_, Message>, device: usize, action: Action) -> bool {
        if self.replica(device).is_some_and(|replica| !replica.members().is_live(replica.log())) {
            // It says so to its user; the change stays on the device alone.
            return false;
        }
        let event = match action {
            Action::Create { credential, account } => {
                let shadows = self
                    .replica(device)
                    .map_or(Vec::new(), |replica| replica.offered(Self::account(account)));
                let core = vec![7; core_length(account)];
                let (record, account) = (Self::record(credential), Self::account(account));
                self.devices[device].arrived.insert(record);
                Event::Local(vec![Op::Put { record, account, core, registers: vec![], shadows }])
            }
            Action::Rename { credential, value } => Event::Local(vec![Op::Set {
                record: Self::record(credential),
                number: 0,
                value: vec![value],
                by_user: value % 2 == 0,
            }]),
            Action::Delete { credential } => Event::Local(vec![Op::Del { record: Self::record(credential) }]),
            Action::Used { credential } => {
                // Written only where it tells keys of one account apart, or once a day.
                let record = Self::record(credential);
                let now_s = cx.clock_ms(device) / 1000;
                let Some(replica) = self.replica(device) else { return true };
                let Some(known) = replica.record(record) else { return true };
                let others = replica.offered(known.account).len() > 1;
                if known.used_s + if others { 3600 } else { 86_400 } > now_s {
                    return true;
                }
                Event::Local(vec![Op::Used { record, time_s: now_s }])
            }
            Action::Revoke { device: other } => {
                let Some(log) = self.replica(other).map(Replica::log) else { return true };
                Event::Revoke { log, why: 1 }
            }
            Action::Admit { device: newcomer } => return self.admit(cx, device, newcomer),
        };
        self.until_done(cx, device, event);
        true
    }

    fn receive(&mut self, cx: &mut Context<'_, Message>, to: Node, from: Node, message: Message) {
        let Node::Device(device) = to else {
            if let Node::Device(device) = from {
                self.server.serve(cx, device, message);
            }
            return;
        };
        let life = self.devices[device].life;
        match message {
            Message::Stored { life: asked_in, .. } | Message::Listed { life: asked_in, .. }
                if asked_in != life => {}
            Message::Stored { name, .. } => {
                self.devices[device].asked_ms = None;
                self.handle(cx, device, Event::Stored { mailbox: 0, name });
                // Read back what was written.
                self.handle(cx, device, Event::Poll { mailbox: 0 });
            }
            Message::Listed { request, items, head, .. } => {
                if request == self.devices[device].asked {
                    self.devices[device].asked_ms = None;
                    self.devices[device].polled_ms = cx.now_ms;
                }
                let items = items.into_iter().map(|(name, bytes)| (name, Some(bytes))).collect();
                self.handle(cx, device, Event::Listed { mailbox: 0, request, items, head });
                let listed = |replica: &Replica<Seeded>| !replica.has_heard() && replica.seen(0).is_some();
                if self.replica(device).is_some_and(listed) {
                    self.handle(cx, device, Event::Heard);
                }
            }
            Message::News => self.handle(cx, device, Event::Poll { mailbox: 0 }),
            Message::Peer(bytes) => {
                let Node::Device(peer) = from else { return };
                self.handle(cx, device, Event::Peer { peer: peer as u32, bytes });
            }
            Message::Put { .. } | Message::List { .. } => {}
        }
    }

    fn wake(&mut self, cx: &mut Context<'_, Message>, device: usize, came_on: bool) {
        let timed_out = self.devices[device].asked_ms.is_some_and(|asked| asked + TIMEOUT_MS <= cx.now_ms);
        let due = cx.now_ms >= self.devices[device].polled_ms + POLL_MS;
        if came_on || timed_out || due {
            // Whatever was not answered by now is lost: a put whose time-out another answer ended, too.
            self.devices[device].asked_ms = None;
            self.handle(cx, device, Event::Failed { mailbox: 0 });
            self.devices[device].polled_ms = cx.now_ms;
            self.handle(cx, device, Event::Poll { mailbox: 0 });
        }
        if came_on || cx.now_ms >= self.devices[device].polls_ms {
            let next = self.devices[device].polled_ms + POLL_MS;
            self.devices[device].polls_ms = next;
            cx.wake_after(device, next - cx.now_ms);
        }
        let waits = self.replica(device).and_then(Replica::wake_at);
        if waits.is_some_and(|due| due <= cx.clock_ms(device)) {
            self.handle(cx, device, Event::Tick);
        }
    }

    fn meet(&mut self, cx: &mut Context<'_, Message>, one: usize, other: usize) {
        self.handle(cx, one, Event::PeerSeen { peer: other as u32 });
    }

    fn attack(&mut self, _: &mut Context<'_, Message>, attack: Attack) {
        self.server.turn(attack);
    }

    fn restore(&mut self, cx: &mut Context<'_, Message>, device: usize, back_ms: u64) {
        let until = cx.now_ms.saturating_sub(back_ms);
        self.devices[device].go_back_to(until);
        self.reopen(device);
        self.handle(cx, device, Event::Poll { mailbox: 0 });
    }

    fn recover(&mut self, cx: &mut Context<'_, Message>, device: usize) -> bool {
        let key = match &self.shares {
            Some(shares) => RecoveryKey::combine(shares),
            None => self.recovery.clone(),
        };
        let Some(key) = key else { return false };
        let held = self.server.everything().to_vec();
        let rng = self.devices[device].seed.fork();
        let letters = held.iter().map(|(_, letter)| letter.as_slice());
        let Some(mut paper) = key.open_newest(self.suite, letters, rng) else { return false };
        paper.add_mailbox(0, Order::Shared);
        for (_, sealed) in &held {
            paper.handle(cx.clock_ms(device), Event::Received(sealed.clone()));
        }
        let keys = DeviceKeys::generate(self.suite, &mut self.devices[device].seed);
        let admit = Event::Admit { keys: keys.public().clone(), recovery: false, name: b"new".to_vec() };
        for event in [Event::Heard, admit] {
            for effect in paper.handle(cx.clock_ms(device), event) {
                if let Effect::Put { name, bytes, .. } = effect {
                    self.server.keep(name, &bytes);
                }
            }
        }
        let log = keys.public().log();
        let Some(welcome) = paper.welcome(log, b"psk") else { return false };
        // What the server has must tell the newcomer that it was admitted, or nothing is recovered.
        let rng = self.devices[device].seed.clone();
        let Ok((mut reader, _)) = Replica::join(keys.clone(), &welcome, b"psk", rng) else { return false };
        for (_, sealed) in self.server.everything() {
            reader.handle(cx.clock_ms(device), Event::Received(sealed.clone()));
        }
        if !reader.members().is_live(log) {
            return false;
        }
        self.begin(cx, device, keys, &welcome);
        true
    }

    fn offered(&self, device: usize, account: Account) -> Vec<Credential> {
        let offered = self.replica(device).map(|replica| replica.offered(Self::account(account)));
        offered.unwrap_or_default().into_iter().map(Self::credential).collect()
    }

    fn claims_backup(&self, device: usize, credential: Credential) -> bool {
        self.replica(device).is_some_and(|replica| replica.is_backed_up(Self::record(credential)))
    }

    fn knows_of_the_loss(&self, device: usize, other: usize) -> bool {
        let log = self.replica(other).map(Replica::log);
        log.zip(self.replica(device)).is_none_or(|(log, replica)| !replica.members().is_live(log))
    }

    fn has_word_of(&self, device: usize, other: usize, credential: Credential) -> bool {
        let (Some(log), Some(replica)) = (self.replica(other).map(Replica::log), self.replica(device)) else {
            return false;
        };
        replica.record(Self::record(credential)).is_some_and(|record| replica.holds(log, record))
    }

    fn catches_up(&self, device: usize) -> bool {
        self.replica(device).is_some_and(|replica| replica.seen(0).is_none())
    }

    fn unheard(&self, device: usize, by: &[usize], server: bool) -> Vec<Credential> {
        let Some(replica) = self.replica(device) else { return Vec::new() };
        let own = replica.dag.logs.get(&replica.log()).into_iter().flat_map(|log| &log.entries);
        let heard = |record: &RecordId| {
            let mut others = by.iter().filter_map(|other| self.replica(*other));
            others.any(|other| other.state().deleted.contains(record))
        };
        // What a snapshot covers everyone has heard.
        let untold = own
            .filter(|entry| !entry.copies.is_empty())
            .filter(|entry| !(server && self.server_has_all_of(replica, entry)));
        let deleted = untold.flat_map(|entry| &entry.body.ops).filter_map(|op| match op {
            Op::Del { record } if !heard(record) => Some(Self::credential(*record)),
            _ => None,
        });
        deleted.collect()
    }

    fn survives_without(&self, device: usize, credential: Credential, live: &[usize]) -> bool {
        let record = Self::record(credential);
        let held = live.iter().any(|other| {
            let replica = self.replica(*other);
            // A delete that only the holder knows of is no loss.
            *other != device
                && replica.is_some_and(|replica| {
                    replica.record(record).is_some() || replica.state().deleted.contains(&record)
                })
        });
        held || self.confirmed && self.is_restorable(device, record)
    }

    fn readable(&self, device: usize, credential: Credential, _: bool) -> bool {
        // A thief whose relay colludes gets what an honest relay gives everyone: the seal is what protects.
        let Some(replica) = self.replica(device) else { return false };
        let mut thief = match Replica::open(
            self.devices[device].journal.iter().map(Vec::as_slice),
            self.devices[device].seed.clone(),
        ) {
            Ok(thief) => thief,
            Err(_) => return replica.record(Self::record(credential)).is_some(),
        };
        for (_, sealed) in self.server.everything() {
            thief.handle(START_MS, Event::Received(sealed.clone()));
        }
        thief.record(Self::record(credential)).is_some()
    }

    fn in_step(&self, one: usize, other: usize) -> bool {
        self.replica(one).map(Replica::state) == self.replica(other).map(Replica::state)
    }

    /// I1, I7, I11, I12, I14.
    fn check(&self, live: &[usize], violations: &mut Vec<Violation>) {
        let mut fault = |invariant, what: &str| {
            violations.push(Violation { invariant, what: what.to_string() });
        };
        if self.sizes_differ > 0 {
            fault("I14", "an entry's size was not a Padmé length");
        }
        if self.nonce_repeated {
            fault("I12", "one nonce sealed two messages");
        }
        if self.broken_replays > 0 {
            fault("I11", "a journal could not be read back");
        }
        for device in live {
            let Some(replica) = self.replica(*device) else { continue };
            let journal = self.devices[*device].journal.iter().map(Vec::as_slice);
            let again = Replica::open(journal, Seeded::new(0));
            if again.is_ok_and(|again| again.state() != replica.state()) {
                fault("I11", &format!("device {device} reads another state back than it had"));
            }
            for other in live {
                let Some(other) = self.replica(*other) else { continue };
                if replica.frontier() == other.frontier() && replica.state() != other.state() {
                    fault("I1", "two devices that delivered the same entries differ");
                }
            }
        }
    }
}
