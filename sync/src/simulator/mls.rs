//! An MLS group (RFC 9420), by the library `openmls`, to compare with: what the standard for groups of people does for
//! one person's devices.
//!
//! **It is a model around a real library**: keys, commits, removals and messages are openmls's own; what is around them
//! is assumed:
//!
//! * A server orders everything. It takes a message or a commit only if it is of the group's epoch: of two commits at
//!   once the second is refused, and whoever made it does it again. A colluding server takes old messages, too.
//! * Changes travel as application messages, all that wait in one; a device says again what the server has not taken.
//! * The data rules are the product's in small (a delete wins, names go to the later clock, no passkey replaces another),
//!   so that what differs comes from the group protocol alone.
//! * Keys of past epochs are kept for five epochs. A newcomer cannot read what was said before it came: whoever admits
//!   it hands over what it has, as in a pairing.
//! * Every device renews its keys once a week, when it comes on.
//! * A passkey is claimed to be backed up once the server has taken it: MLS has no acknowledgements.
//! * Devices that meet compare epoch authenticators, and nothing else. There is no recovery key; restored disks are not
//!   modelled.
//!
//! The library draws its keys from the system, not from the seed; sizes and order do not depend on them, so the counts
//! of a seed are the same every time, though the bytes are not.

mod device;

use std::collections::{BTreeMap, BTreeSet};
use std::format;
use std::string::ToString as _;
use std::vec::Vec;

use device::{Change, Device, decode, encode};
use openmls::prelude::tls_codec::Deserialize as _;
use openmls::prelude::*;

use super::engine::{Account, Action, Attack, Context, Credential as Passkey, Fabric, Node};
use super::outcome::Violation;
use super::scenario::{DAY, Scenario};
use crate::seeded::Seeded;

const SUITE: Ciphersuite = Ciphersuite::MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519;
/// How long a device waits for an answer.
const TIMEOUT_MS: u64 = 30_000;
/// How often it asks although it was not told of news.
const POLL_MS: u64 = 15 * 60_000;
/// How often it renews its keys.
const RENEW_MS: u64 = 7 * DAY;
/// What the headers around a message are taken to cost.
const OVERHEAD: usize = 40;

/// What the server keeps of a message. `passkeys` and `removes` are for the judge alone: the server cannot know them.
#[derive(Clone)]
pub(crate) struct Item {
    author: usize,
    tag: u64,
    epoch: u64,
    commit: bool,
    bytes: Vec<u8>,
    passkeys: Vec<Passkey>,
    removes: Option<usize>,
}

/// What travels.
#[derive(Clone)]
pub(crate) enum Message {
    Submit(Item),
    /// The server's answer to the submission with this tag: whether it was taken.
    Answer {
        tag: u64,
        taken: bool,
    },
    List {
        since: usize,
    },
    Listed {
        since: usize,
        items: Vec<Item>,
    },
    News,
}

/// A change of the group that a device has still to bring about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Remove(usize),
    Admit(usize),
    Renew,
}

struct InFlight {
    item: Item,
    sent_ms: u64,
    /// How many of the waiting changes it carries.
    changes: usize,
    welcome: Option<(usize, Vec<u8>)>,
}

#[derive(Default)]
struct History {
    items: Vec<Item>,
    taken: BTreeSet<(usize, u64)>,
    epoch: u64,
}

/// All devices and the server that orders what they say.
pub(crate) struct Mls {
    devices: Vec<Device>,
    histories: [History; 2],
    attack: Option<Attack>,
}

impl Mls {
    fn history(&self, device: usize) -> usize {
        usize::from(self.attack == Some(Attack::Forks) && device % 2 == 1)
    }

    /// Sends the next thing that is due, if nothing is under way.
    fn pump(&mut self, cx: &mut Context<'_, Message>, device: usize) {
        let this = &self.devices[device];
        if !cx.up[device] || this.in_flight.is_some() || cx.now_ms < this.hold_until_ms || !this.is_member() {
            return;
        }
        let made = match this.wanted.first() {
            Some(wanted) => self.commit(device, *wanted),
            None if this.waiting.is_empty() => None,
            None => self.say(device),
        };
        let Some(mut in_flight) = made else { return };
        in_flight.sent_ms = cx.now_ms;
        self.send(cx, device, in_flight.item.clone());
        self.devices[device].in_flight = Some(in_flight);
    }

    fn send(&self, cx: &mut Context<'_, Message>, device: usize, item: Item) {
        cx.observed(item.bytes.len());
        let size = item.bytes.len() + OVERHEAD;
        cx.send(Node::Device(device), Node::Server, Message::Submit(item), size);
        cx.wake_after(device, TIMEOUT_MS);
    }

    fn item(&mut self, device: usize, bytes: Vec<u8>, commit: bool) -> Item {
        let this = &mut self.devices[device];
        this.tags += 1;
        let epoch = this.group.as_ref().map_or(0, |group| group.epoch().as_u64());
        Item { author: device, tag: this.tags, epoch, commit, bytes, passkeys: Vec::new(), removes: None }
    }

    fn say(&mut self, device: usize) -> Option<InFlight> {
        let Device { provider, signer, group, waiting, .. } = &mut self.devices[device];
        let (changes, plaintext) = (waiting.len(), encode(waiting));
        let passkeys = waiting.iter().filter_map(|change| match change {
            Change::Create { passkey, .. } => Some(*passkey),
            _ => None,
        });
        let passkeys = passkeys.collect();
        let sealed = group.as_mut()?.create_message(provider, signer, &plaintext).ok()?;
        let item = self.item(device, sealed.to_bytes().ok()?, false);
        Some(InFlight { item: Item { passkeys, ..item }, sent_ms: 0, changes, welcome: None })
    }

    fn commit(&mut self, device: usize, wanted: Wanted) -> Option<InFlight> {
        let package = match wanted {
            Wanted::Admit(other) => Some(self.devices[other].key_package(other)),
            _ => None,
        };
        let leaf = match wanted {
            Wanted::Remove(other) => self.leaf(device, other),
            _ => None,
        };
        let Device { provider, signer, group, .. } = &mut self.devices[device];
        let group = group.as_mut()?;
        let (commit, welcome) = match (wanted, package, leaf) {
            (Wanted::Admit(other), Some(package), _) => {
                let (commit, welcome, _) = group.add_members(provider, signer, &[package]).ok()?;
                (commit, Some((other, welcome.to_bytes().ok()?)))
            }
            (Wanted::Remove(_), _, Some(leaf)) => {
                (group.remove_members(provider, signer, &[leaf]).ok()?.0, None)
            }
            (Wanted::Renew, ..) => {
                let bundle = group.self_update(provider, signer, LeafNodeParameters::default()).ok()?;
                (bundle.into_commit(), None)
            }
            _ => {
                // Somebody else removed it.
                self.devices[device].wanted.remove(0);
                return None;
            }
        };
        let item = self.item(device, commit.to_bytes().ok()?, true);
        let removes = if let Wanted::Remove(other) = wanted { Some(other) } else { None };
        Some(InFlight { item: Item { removes, ..item }, sent_ms: 0, changes: 0, welcome })
    }

    fn leaf(&self, device: usize, other: usize) -> Option<LeafNodeIndex> {
        let key = self.devices[other].signer.to_public_vec();
        let mut members = self.devices[device].group.as_ref()?.members();
        members.find(|member| member.signature_key == key).map(|member| member.index)
    }

    /// The server has answered, or shown, what was under way.
    fn answered(&mut self, cx: &mut Context<'_, Message>, device: usize, taken: bool) {
        let this = &mut self.devices[device];
        let Some(done) = this.in_flight.take() else { return };
        let (Some(group), commit) = (this.group.as_mut(), done.item.commit) else { return };
        if !taken {
            // Until something new is listed, or for as long as till the next look.
            this.hold_until_ms = cx.now_ms + POLL_MS;
            if commit {
                group.clear_pending_commit(this.provider.storage()).expect("memory does not fail");
            }
            return;
        }
        if commit {
            group.merge_pending_commit(&this.provider).expect("it was made by this device");
            if this.wanted.remove(0) == Wanted::Renew {
                this.renewed_ms = cx.now_ms;
            }
            if let Some((newcomer, welcome)) = done.welcome {
                let rows = this.snapshot();
                let history = &self.histories[self.history(device)].items;
                let own = history.iter().rposition(|item| (item.author, item.tag) == (device, done.item.tag));
                let since = own.map_or(history.len(), |own| own + 1);
                self.welcome(cx, newcomer, &welcome, rows, since);
            }
        } else {
            this.waiting.drain(..done.changes);
            done.item.passkeys.iter().for_each(|passkey| cx.claimed(device, *passkey));
        }
    }

    /// A newcomer, side by side with whoever admitted it, gets the welcome, what the other has, and where in the history
    /// it begins.
    fn welcome(
        &mut self,
        cx: &mut Context<'_, Message>,
        newcomer: usize,
        welcome: &[u8],
        rows: Vec<Change>,
        since: usize,
    ) {
        let this = &mut self.devices[newcomer];
        if this.group.is_none() && this.join(welcome).is_some() {
            this.listed = since;
            let new: Vec<Passkey> = rows.into_iter().filter_map(|change| this.apply(change)).collect();
            new.into_iter().for_each(|passkey| cx.arrived(newcomer, passkey));
            self.ask(cx, newcomer);
        }
    }

    /// The server takes a message, or does not.
    fn submit(&mut self, cx: &mut Context<'_, Message>, item: Item) {
        let (author, tag) = (item.author, item.tag);
        let mine = self.history(author);
        let mut taken = self.histories[mine].taken.contains(&(author, tag));
        let fits =
            item.epoch == self.histories[mine].epoch || self.attack == Some(Attack::Colludes) && !item.commit;
        if fits && !taken {
            taken = true;
            for (number, history) in self.histories.iter_mut().enumerate() {
                if self.attack != Some(Attack::Forks) || number == mine {
                    history.epoch += u64::from(item.commit);
                    history.taken.insert((author, tag));
                    history.items.push(item.clone());
                }
            }
            if self.attack != Some(Attack::Withholds) {
                for other in (0..self.devices.len()).filter(|other| *other != author && cx.up[*other]) {
                    cx.send(Node::Server, Node::Device(other), Message::News, OVERHEAD);
                }
            }
        }
        cx.send(Node::Server, Node::Device(author), Message::Answer { tag, taken }, OVERHEAD);
    }

    fn list(&mut self, cx: &mut Context<'_, Message>, device: usize, since: usize) {
        let history = &self.histories[self.history(device)].items;
        let withholds = self.attack == Some(Attack::Withholds);
        let mut items =
            if withholds { Vec::new() } else { history.get(since..).unwrap_or_default().to_vec() };
        if self.attack == Some(Attack::Tampers) {
            let last = items.iter_mut().filter_map(|item| item.bytes.last_mut());
            last.for_each(|byte| *byte ^= 1);
        }
        let size = OVERHEAD + items.iter().map(|item| item.bytes.len()).sum::<usize>();
        cx.send(Node::Server, Node::Device(device), Message::Listed { since, items }, size);
    }

    fn listed(&mut self, cx: &mut Context<'_, Message>, device: usize, since: usize, items: Vec<Item>) {
        let skip = self.devices[device].listed.saturating_sub(since);
        if since > self.devices[device].listed {
            return;
        }
        for item in items.into_iter().skip(skip) {
            self.devices[device].listed += 1;
            self.devices[device].hold_until_ms = 0;
            if item.author == device {
                let expected = self.devices[device].in_flight.as_ref();
                if expected.is_some_and(|expected| expected.item.tag == item.tag) {
                    self.answered(cx, device, true);
                }
            } else if self.devices[device].is_member() {
                self.open(cx, device, &item);
            }
        }
        self.pump(cx, device);
    }

    fn open(&mut self, cx: &mut Context<'_, Message>, device: usize, item: &Item) {
        let Device { provider, group: Some(group), .. } = &mut self.devices[device] else { return };
        let protocol = MlsMessageIn::tls_deserialize_exact(&item.bytes).ok();
        let protocol = protocol.and_then(|message| message.try_into_protocol_message().ok());
        let processed = protocol.and_then(|message| group.process_message(provider, message).ok());
        match processed.map(ProcessedMessage::into_content) {
            Some(ProcessedMessageContent::ApplicationMessage(plaintext)) => {
                for change in decode(&plaintext.into_bytes()) {
                    if let Some(passkey) = self.devices[device].apply(change) {
                        cx.arrived(device, passkey);
                    }
                }
            }
            Some(ProcessedMessageContent::StagedCommitMessage(staged)) => {
                group.merge_staged_commit(provider, *staged).expect("it was just verified");
                // What this device had under way is of the epoch before.
                if self.devices[device].in_flight.as_ref().is_some_and(|mine| mine.item.commit) {
                    self.devices[device].in_flight = None;
                }
            }
            Some(_) => {}
            None => cx.alarm(device, "a message cannot be opened".to_string()),
        }
    }
}

impl Fabric for Mls {
    type Message = Message;

    fn new(scenario: &Scenario, _: &mut Seeded) -> Self {
        let extra = scenario.events.iter().filter(|event| event.join.is_some() || event.burn).count();
        let mut devices: Vec<Device> = (0..scenario.devices.len() + extra).map(Device::new).collect();
        let packages: Vec<KeyPackage> =
            (1..scenario.devices.len()).map(|number| devices[number].key_package(number)).collect();
        let first = &mut devices[0];
        let config = MlsGroupCreateConfig::builder()
            .ciphersuite(SUITE)
            .max_past_epochs(5)
            .use_ratchet_tree_extension(true)
            .build();
        let mut group = MlsGroup::new(&first.provider, &first.signer, &config, first.credential(0))
            .expect("a group of one can be made");
        let mut welcome = Vec::new();
        if !packages.is_empty() {
            let added = group.add_members(&first.provider, &first.signer, &packages);
            let (_, letter, _) = added.expect("the key packages were just made");
            group.merge_pending_commit(&first.provider).expect("it was made by this device");
            welcome = letter.to_bytes().expect("a welcome has an encoding");
        }
        let epoch = group.epoch().as_u64();
        first.group = Some(group);
        for device in &mut devices[1..scenario.devices.len()] {
            device.join(&welcome).expect("it was made for these");
        }
        let history = || History { epoch, ..History::default() };
        Mls { devices, histories: [history(), history()], attack: None }
    }

    fn act(&mut self, cx: &mut Context<'_, Message>, device: usize, action: Action) -> bool {
        let at_ms = cx.clock_ms(device);
        let this = &mut self.devices[device];
        let change = match action {
            Action::Used { .. } => return true,
            Action::Create { credential, account } => Change::Create { passkey: credential, account, at_ms },
            Action::Rename { credential, value } => Change::Rename { passkey: credential, value, at_ms },
            Action::Delete { credential } => Change::Delete { passkey: credential },
            // A change of membership needs the server; the device brings it about as soon as it can.
            Action::Revoke { device: other } => {
                this.wanted.push(Wanted::Remove(other));
                self.pump(cx, device);
                return true;
            }
            Action::Admit { device: other } => {
                this.wanted.push(Wanted::Admit(other));
                self.pump(cx, device);
                return true;
            }
        };
        this.apply(change);
        this.waiting.push(change);
        self.pump(cx, device);
        true
    }

    fn receive(&mut self, cx: &mut Context<'_, Message>, to: Node, from: Node, message: Message) {
        match (to, from, message) {
            (Node::Server, _, Message::Submit(item)) => self.submit(cx, item),
            (Node::Server, Node::Device(device), Message::List { since }) => self.list(cx, device, since),
            (Node::Device(device), _, Message::Answer { tag, taken }) => {
                let expected = self.devices[device].in_flight.as_ref();
                if expected.is_some_and(|expected| expected.item.tag == tag) {
                    self.answered(cx, device, taken);
                    self.ask(cx, device);
                }
            }
            (Node::Device(device), _, Message::Listed { since, items }) => {
                self.listed(cx, device, since, items)
            }
            (Node::Device(device), _, Message::News) => self.ask(cx, device),
            _ => {}
        }
    }

    fn wake(&mut self, cx: &mut Context<'_, Message>, device: usize, came_on: bool) {
        let this = &mut self.devices[device];
        if came_on && cx.now_ms >= this.renewed_ms + RENEW_MS && !this.wanted.contains(&Wanted::Renew) {
            this.wanted.push(Wanted::Renew);
        }
        let again = this.in_flight.as_mut().filter(|sent| came_on || sent.sent_ms + TIMEOUT_MS <= cx.now_ms);
        if let Some(sent) = again {
            sent.sent_ms = cx.now_ms;
            let item = sent.item.clone();
            self.send(cx, device, item);
        }
        if came_on || cx.now_ms >= self.devices[device].polled_ms + POLL_MS {
            self.devices[device].polled_ms = cx.now_ms;
            self.ask(cx, device);
            cx.wake_after(device, POLL_MS);
        }
    }

    fn meet(&mut self, cx: &mut Context<'_, Message>, one: usize, other: usize) {
        let standing = |device: usize| {
            let group = self.devices[device].group.as_ref().filter(|group| group.is_active())?;
            Some((group.epoch(), group.epoch_authenticator().as_slice().to_vec()))
        };
        if let (Some((epoch, mine)), Some((same, theirs))) = (standing(one), standing(other))
            && epoch == same
            && mine != theirs
        {
            cx.alarm(one, "another device is in another group of this name".to_string());
        }
    }

    fn attack(&mut self, _: &mut Context<'_, Message>, attack: Attack) {
        self.attack = Some(attack);
        if attack == Attack::RollsBack {
            for history in &mut self.histories {
                let kept = history.items.len() - history.items.len() / 10;
                history.items.truncate(kept);
            }
        }
    }

    fn offered(&self, device: usize, account: Account) -> Vec<Passkey> {
        let rows = self.devices[device].rows.iter().filter(|(_, row)| row.account == account);
        let mut rows: Vec<_> = rows.collect();
        rows.sort_by_key(|(passkey, row)| (std::cmp::Reverse(row.created_ms), **passkey));
        rows.into_iter().map(|(passkey, _)| *passkey).collect()
    }

    fn claims_backup(&self, device: usize, credential: Passkey) -> bool {
        let this = &self.devices[device];
        let waits =
            |change: &Change| matches!(change, Change::Create { passkey, .. } if *passkey == credential);
        this.rows.contains_key(&credential) && !this.waiting.iter().any(waits)
    }

    fn survives_without(&self, device: usize, credential: Passkey, live: &[usize]) -> bool {
        live.iter().filter(|other| **other != device).any(|other| {
            let this = &self.devices[*other];
            // It has it, or it will find it at the server and can open it.
            let history = &self.histories[self.history(*other)].items;
            this.rows.contains_key(&credential)
                || this.deleted.contains(&credential)
                || this.is_member()
                    && history.iter().skip(this.listed).any(|item| item.passkeys.contains(&credential))
        })
    }

    fn readable(&self, device: usize, credential: Passkey, _: bool) -> bool {
        let history = &self.histories[self.history(device)].items;
        let removal = history.iter().find(|item| item.removes == Some(device)).map(|item| item.epoch);
        let opens = |item: &Item| removal.is_none_or(|removal| item.epoch <= removal);
        self.devices[device].rows.contains_key(&credential)
            || history.iter().any(|item| item.passkeys.contains(&credential) && opens(item))
    }

    fn in_step(&self, one: usize, other: usize) -> bool {
        let state = |device: usize| (&self.devices[device].rows, &self.devices[device].deleted);
        state(one) == state(other)
    }

    /// I1, for the group: who is in one epoch is in one group.
    fn check(&self, live: &[usize], violations: &mut Vec<Violation>) {
        let members = live.iter().filter_map(|device| self.devices[*device].group.as_ref());
        let mut known: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        for group in members.filter(|group| group.is_active()) {
            let authenticator = group.epoch_authenticator().as_slice();
            let first = known.entry(group.epoch().as_u64()).or_insert_with(|| authenticator.to_vec());
            if first != authenticator && self.attack.is_none() {
                let what = format!("two members of epoch {} are in different groups", group.epoch().as_u64());
                violations.push(Violation { invariant: "I1", what });
            }
        }
    }
}

impl Mls {
    fn ask(&mut self, cx: &mut Context<'_, Message>, device: usize) {
        if cx.up[device] && self.devices[device].group.is_some() {
            let since = self.devices[device].listed;
            cx.send(Node::Device(device), Node::Server, Message::List { since }, OVERHEAD);
        }
        self.pump(cx, device);
    }
}
