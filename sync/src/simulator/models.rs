//! Models of how others keep passkeys in step, to compare with on one workload.
//!
//! **They are models, not the products**: five sets of assumptions about when a change may be made, how two changes
//! merge, and what the server is trusted with. Each is what public sources say or let one infer, in its simplest
//! form. All claim "backed up" from the start (BS = 1), as synced passkeys do today; none detects a bad server, none
//! gives a new key to those who stay when a device leaves.
//!
//! | fabric | stands for | writes off the net | unit | two changes at once |
//! |---|---|---|---|---|
//! | `file-lww` | one vault file on a shared disk | yes | the file, 700 B a passkey | the later file (by the writer's clock) wins, whole |
//! | `file-merge` | the same, merged entry by entry on opening | yes | the file | per entry the later one (by clock) wins; tombstones |
//! | `cloud-rows` | a vault server with rows | no | a row, 2,500 B | the server's last writer wins |
//! | `circle` | devices that trust each other, a row store between | yes, sent after 1 s, then every 30 s | a row, 1,000 B | one row an account: the lower id wins, the other is deleted |
//! | `enclave` | keys that only a server enclave uses | no (sign-in neither) | a row, 550 B | the newest of an account (by clock) is offered, the others stay hidden |

use std::collections::BTreeMap;
use std::vec::Vec;

use super::engine::{Account, Action, Attack, Context, Credential, Fabric, Node};
use super::scenario::Scenario;
use crate::seeded::Seeded;

/// What is assumed of a fabric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Assumptions {
    writes_offline: bool,
    signs_in_offline: bool,
    whole_file: bool,
    merge: Merge,
    row_bytes: usize,
    /// How long changes wait to be sent together.
    batch_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Merge {
    LastFile,
    LastRow,
    LowerId,
    Newest,
}

/// The fabric's number in [`Model`], as a type: the engine makes fabrics from their type alone.
pub(crate) trait Kind {
    /// What is assumed.
    const ASSUMPTIONS: Assumptions;
}

macro_rules! kind {
    ($(#[$doc:meta])* $name:ident, $assumptions:expr) => {
        $(#[$doc])*
        pub(crate) struct $name;
        impl Kind for $name {
            const ASSUMPTIONS: Assumptions = $assumptions;
        }
    };
}

const FILE: Assumptions = Assumptions {
    writes_offline: true,
    signs_in_offline: true,
    whole_file: true,
    merge: Merge::LastFile,
    row_bytes: 700,
    batch_ms: 1_000,
};

kind!(/** One file, the last one wins. */ FileLww, FILE);
kind!(/** One file, merged entry by entry. */ FileMerge, Assumptions { merge: Merge::LastRow, ..FILE });
kind!(
    /** A vault server with rows. */
    CloudRows,
    Assumptions { writes_offline: false, whole_file: false, merge: Merge::LastRow, row_bytes: 2500, batch_ms: 0, ..FILE }
);
kind!(
    /** A circle of trusted devices with one row an account. */
    Circle,
    Assumptions { whole_file: false, merge: Merge::LowerId, row_bytes: 1000, ..FILE }
);
kind!(
    /** Keys in a server's enclave. */
    Enclave,
    Assumptions {
        writes_offline: false,
        signs_in_offline: false,
        whole_file: false,
        merge: Merge::Newest,
        row_bytes: 550,
        batch_ms: 0,
    }
);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    account: Account,
    created_ms: u64,
    changed_ms: u64,
    value: u8,
    deleted: bool,
}

type Rows = BTreeMap<Credential, Row>;

/// What travels.
#[derive(Clone)]
pub(crate) enum Message {
    /// Changed rows, or a whole file with the time of its last change.
    Push(Rows, u64),
    /// Send me what you have.
    Pull,
    /// What the server has.
    State(Rows, u64),
    /// There is something new.
    News,
}

#[derive(Default)]
struct Device {
    rows: Rows,
    dirty: Vec<Credential>,
    file_ms: u64,
    sent_ms: u64,
    flush_at: Option<u64>,
    seen: std::collections::BTreeSet<Credential>,
    revoked: bool,
}

/// One of the models.
pub(crate) struct Model<K> {
    devices: Vec<Device>,
    server: [(Rows, u64); 2],
    attack: Option<Attack>,
    old: Rows,
    kind: std::marker::PhantomData<K>,
}

impl<K: Kind> Model<K> {
    const A: Assumptions = K::ASSUMPTIONS;

    fn history(&self, device: usize) -> usize {
        usize::from(self.attack == Some(Attack::Forks) && device % 2 == 1)
    }

    fn flush(&mut self, cx: &mut Context<'_, Message>, device: usize) {
        let state = &mut self.devices[device];
        if !cx.up[device] || state.dirty.is_empty() {
            return;
        }
        state.flush_at = None;
        state.sent_ms = cx.now_ms;
        let rows: Rows = if Self::A.whole_file {
            state.rows.clone()
        } else {
            let dirty = state.dirty.iter().filter_map(|id| Some((*id, state.rows.get(id)?.clone())));
            dirty.collect()
        };
        let bytes = rows.len() * Self::A.row_bytes;
        let file_ms = state.file_ms;
        cx.send(Node::Device(device), Node::Server, Message::Push(rows, file_ms), bytes);
        // Sent again until a state from the server shows it.
        cx.wake_after(device, 60_000);
    }

    fn changed(&mut self, cx: &mut Context<'_, Message>, device: usize, credential: Credential) {
        let now = cx.clock_ms(device);
        let state = &mut self.devices[device];
        state.file_ms = now;
        state.dirty.push(credential);
        // The first change goes soon; more within half a minute wait for each other.
        let wait = if cx.now_ms < state.sent_ms + 30_000 { 30 * Self::A.batch_ms } else { Self::A.batch_ms };
        if wait == 0 {
            self.flush(cx, device);
        } else if state.flush_at.is_none() {
            state.flush_at = Some(cx.now_ms + wait);
            cx.wake_after(device, wait);
        }
    }

    fn merge(into: &mut Rows, from: &Rows) {
        for (id, row) in from {
            let newer = into.get(id).is_none_or(|known| known.changed_ms < row.changed_ms);
            if newer {
                into.insert(*id, row.clone());
            }
        }
        if Self::A.merge == Merge::LowerId {
            let mut first: BTreeMap<Account, Credential> = BTreeMap::new();
            for (id, row) in into.iter_mut().filter(|(_, row)| !row.deleted) {
                if *first.entry(row.account).or_insert(*id) != *id {
                    row.deleted = true;
                }
            }
        }
    }

    fn receive_state(&mut self, cx: &mut Context<'_, Message>, device: usize, rows: Rows, file_ms: u64) {
        let state = &mut self.devices[device];
        if state.revoked {
            return;
        }
        match Self::A.merge {
            Merge::LastFile => {
                if file_ms > state.file_ms {
                    state.rows = rows;
                    state.file_ms = file_ms;
                    state.dirty.clear();
                } else if file_ms == state.file_ms {
                    state.dirty.clear();
                }
            }
            _ => {
                let dirty = state.dirty.clone();
                let pending: Rows =
                    dirty.iter().filter_map(|id| Some((*id, state.rows.get(id)?.clone()))).collect();
                state.dirty.retain(|id| rows.get(id) != state.rows.get(id));
                // The server is believed, but for what it has not got yet.
                let believed = if Self::A.whole_file { state.rows.clone() } else { Rows::new() };
                state.rows = rows;
                Self::merge(&mut state.rows, &believed);
                Self::merge(&mut state.rows, &pending);
            }
        }
        let new: Vec<Credential> =
            state.rows.keys().filter(|id| !state.seen.contains(*id)).copied().collect();
        for id in new {
            state.seen.insert(id);
            cx.arrived(device, id);
        }
    }
}

impl<K: Kind> Fabric for Model<K> {
    type Message = Message;

    fn new(scenario: &Scenario, _: &mut Seeded) -> Self {
        let extra = scenario.events.iter().filter(|event| event.join.is_some() || event.burn).count();
        Model {
            devices: (0..scenario.devices.len() + extra).map(|_| Device::default()).collect(),
            server: Default::default(),
            attack: None,
            old: Rows::new(),
            kind: std::marker::PhantomData,
        }
    }

    fn act(&mut self, cx: &mut Context<'_, Message>, device: usize, action: Action) -> bool {
        let now = cx.clock_ms(device);
        match action {
            Action::Used { .. } => return true,
            Action::Revoke { device: other } => {
                self.devices[other].revoked = true;
                return true;
            }
            Action::Admit { device: newcomer } => {
                self.wake(cx, newcomer, true);
                return true;
            }
            _ if !Self::A.writes_offline && !cx.up[device] => return false,
            Action::Create { credential, account } => {
                let state = &mut self.devices[device];
                // A new passkey replaces the one the device has for the account (CTAP); only a newest-first store
                // keeps it as a shadow.
                if Self::A.merge != Merge::Newest {
                    let replaced =
                        state.rows.iter_mut().filter(|(_, row)| row.account == account && !row.deleted);
                    let ids: Vec<Credential> = replaced
                        .map(|(id, row)| {
                            (row.deleted, row.changed_ms) = (true, now);
                            *id
                        })
                        .collect();
                    state.dirty.extend(ids);
                }
                let row = Row { account, created_ms: now, changed_ms: now, value: 0, deleted: false };
                state.rows.insert(credential, row);
                state.seen.insert(credential);
                self.changed(cx, device, credential);
                cx.claimed(device, credential);
            }
            Action::Rename { credential, value } => {
                if let Some(row) = self.devices[device].rows.get_mut(&credential) {
                    (row.value, row.changed_ms) = (value, now);
                    self.changed(cx, device, credential);
                }
            }
            Action::Delete { credential } => {
                let state = &mut self.devices[device];
                let account = state.rows.get(&credential).map(|row| row.account);
                let ids: Vec<Credential> = state
                    .rows
                    .iter_mut()
                    .filter(|(id, row)| {
                        // Deleting the head of a chain of shadows deletes the chain.
                        **id == credential || Self::A.merge == Merge::Newest && Some(row.account) == account
                    })
                    .map(|(id, row)| {
                        (row.deleted, row.changed_ms) = (true, now);
                        *id
                    })
                    .collect();
                for id in ids {
                    self.changed(cx, device, id);
                }
            }
        }
        true
    }

    fn receive(&mut self, cx: &mut Context<'_, Message>, to: Node, from: Node, message: Message) {
        match (to, from, message) {
            (Node::Server, Node::Device(device), Message::Push(rows, file_ms)) => {
                if self.devices[device].revoked {
                    return;
                }
                let mine = self.history(device);
                let forked = self.attack == Some(Attack::Forks);
                if self.attack != Some(Attack::Withholds) {
                    for history in 0..2 {
                        if forked && history != mine {
                            continue;
                        }
                        let (held, held_ms) = &mut self.server[history];
                        if Self::A.merge == Merge::LastFile {
                            if file_ms > *held_ms {
                                (*held, *held_ms) = (rows.clone(), file_ms);
                            }
                        } else {
                            Self::merge(held, &rows);
                        }
                    }
                }
                let (held, held_ms) = self.server[mine].clone();
                cx.send(Node::Server, from, Message::State(held, held_ms), Self::A.row_bytes);
                for other in (0..self.devices.len()).filter(|other| *other != device && cx.up[*other]) {
                    cx.send(Node::Server, Node::Device(other), Message::News, 40);
                }
            }
            (Node::Server, Node::Device(device), Message::Pull) => {
                let (mut held, held_ms) = self.server[self.history(device)].clone();
                if self.attack == Some(Attack::Resurrects) {
                    held = self.old.clone();
                }
                let bytes = held.len() * if Self::A.whole_file { Self::A.row_bytes } else { 40 };
                cx.send(Node::Server, from, Message::State(held, held_ms), bytes);
            }
            (Node::Device(device), _, Message::State(rows, file_ms)) => {
                self.receive_state(cx, device, rows, file_ms);
            }
            (Node::Device(device), _, Message::News) => {
                cx.send(Node::Device(device), Node::Server, Message::Pull, 40);
            }
            _ => {}
        }
    }

    fn wake(&mut self, cx: &mut Context<'_, Message>, device: usize, came_on: bool) {
        let due = self.devices[device].flush_at.is_none_or(|at| at <= cx.now_ms);
        if due {
            self.flush(cx, device);
        }
        if came_on && cx.up[device] {
            cx.send(Node::Device(device), Node::Server, Message::Pull, 40);
        }
    }

    fn attack(&mut self, _: &mut Context<'_, Message>, attack: Attack) {
        self.attack = Some(attack);
        self.old = self.server[0].0.clone();
        for row in self.old.values_mut().filter(|row| row.deleted) {
            // It kept what was deleted, and gives it out with a new date.
            (row.deleted, row.changed_ms) = (false, row.changed_ms + 1);
        }
        if attack == Attack::RollsBack {
            for (held, held_ms) in &mut self.server {
                let keep = held.len() - held.len() / 10;
                *held = std::mem::take(held).into_iter().take(keep).collect();
                *held_ms += 1;
            }
        }
    }

    fn offered(&self, device: usize, account: Account) -> Vec<Credential> {
        let rows = self.devices[device].rows.iter().filter(|(_, row)| row.account == account && !row.deleted);
        let mut rows: Vec<_> = rows.collect();
        rows.sort_by_key(|(id, row)| (std::cmp::Reverse(row.created_ms), **id));
        if Self::A.merge == Merge::Newest {
            rows.truncate(1);
        }
        rows.into_iter().map(|(id, _)| *id).collect()
    }

    fn signs_in_offline(&self) -> bool {
        Self::A.signs_in_offline
    }

    fn claims_backup(&self, device: usize, credential: Credential) -> bool {
        self.devices[device].rows.get(&credential).is_some_and(|row| !row.deleted)
    }

    fn survives_without(&self, device: usize, credential: Credential, live: &[usize]) -> bool {
        let others = live.iter().filter(|other| **other != device);
        let held = others.map(|other| &self.devices[*other].rows).chain([&self.server[0].0]);
        held.into_iter().any(|rows| rows.contains_key(&credential))
    }

    fn readable(&self, device: usize, credential: Credential, colludes: bool) -> bool {
        let server = colludes && self.server[0].0.contains_key(&credential);
        server || self.devices[device].rows.contains_key(&credential)
    }

    fn recover(&mut self, cx: &mut Context<'_, Message>, device: usize) -> bool {
        // Whoever has an account with a server gets what the server has.
        self.wake(cx, device, true);
        !Self::A.whole_file
    }

    fn in_step(&self, one: usize, other: usize) -> bool {
        let rows = |device: usize| {
            let rows = self.devices[device].rows.iter().filter(|(_, row)| !row.deleted);
            rows.map(|(id, row)| (*id, row.value))
        };
        rows(one).eq(rows(other))
    }
}
