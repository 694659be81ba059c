//! The index: where each credential and slot is in the log, by id, by relying party and by account. No secrets.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::ops::Bound;

use doppelkey_core::{Credential, Slot};

use super::log::Location;
use super::record::Record;

/// What is in the log. Every lookup costs O(log n) of what is there.
pub(super) struct Index {
    entries: BTreeMap<u64, Entry>,
    by_id: HashMap<Box<[u8]>, u64>,
    by_rp: BTreeSet<([u8; 32], u64)>,
    by_user: BTreeSet<(u64, u64)>,
    slots: [Option<Location>; Slot::ALL.len()],
    hasher: RandomState,
    /// The counter for credentials that are not here.
    pub(super) counter: Counter,
    /// The order the next new credential gets.
    pub(super) next_order: u64,
    /// Moves on with every change to the credentials.
    pub(super) revision: u64,
}

/// A credential's place in the index.
pub(super) struct Entry {
    pub(super) id: Box<[u8]>,
    pub(super) location: Location,
    pub(super) counter: Counter,
    rp_id_hash: [u8; 32],
    /// A hash of RP and user handle: equal for one account, and rarely for two.
    account: u64,
}

/// A signature counter: the last value given out, and the highest the log says may have been.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counter {
    pub(super) given: u32,
    pub(super) reserved: u32,
}

impl Index {
    pub(super) fn new() -> Self {
        Index {
            entries: BTreeMap::new(),
            by_id: HashMap::new(),
            by_rp: BTreeSet::new(),
            by_user: BTreeSet::new(),
            slots: [None; Slot::ALL.len()],
            hasher: RandomState::new(),
            counter: Counter::default(),
            next_order: 1,
            revision: 0,
        }
    }

    /// Takes in a record of the log; `None` if it makes no sense.
    pub(super) fn apply(&mut self, record: Record<'_>, location: Location) -> Option<()> {
        match record {
            Record::State { next_order, revision, .. } => {
                (self.next_order, self.revision) = (next_order, revision);
            }
            Record::Put { replaces, credential } => {
                self.put(&Credential::decode(credential)?, replaces, location);
            }
            Record::Remove { id } => {
                self.remove(id)?;
            }
            Record::Slot { slot, .. } => self.set_slot(slot, location),
            Record::Counter { reserved, id } => {
                // The credential may have come with a higher count, by an import: no count goes back.
                let counter = self.counter_mut(id)?;
                counter.given = counter.given.max(reserved);
                counter.reserved = counter.reserved.max(reserved);
            }
        }
        Some(())
    }

    /// A credential, with its order, was put at this place, and another removed.
    pub(super) fn put(&mut self, credential: &Credential, replaces: &[u8], location: Location) {
        self.revision += 1;
        if replaces != credential.id.as_slice() {
            self.forget(replaces);
        }
        let mut counter = self.forget(&credential.id).map_or(Counter::default(), |entry| entry.counter);
        counter.given = counter.given.max(credential.sign_count.unwrap_or(0));
        let (order, id) = (credential.order, Box::<[u8]>::from(credential.id.as_slice()));
        let account = self.account(&credential.rp_id_hash, &credential.user.id);
        self.next_order = self.next_order.max(order.saturating_add(1));
        self.by_id.insert(id.clone(), order);
        self.by_rp.insert((credential.rp_id_hash, order));
        self.by_user.insert((account, order));
        let rp_id_hash = credential.rp_id_hash;
        self.entries.insert(order, Entry { id, location, counter, rp_id_hash, account });
    }

    /// The credential with this id was removed; `None` if there was none.
    pub(super) fn remove(&mut self, id: &[u8]) -> Option<()> {
        self.forget(id)?;
        self.revision += 1;
        Some(())
    }

    pub(super) fn set_slot(&mut self, slot: Slot, location: Location) {
        self.slots[slot as usize - 1] = Some(location);
    }

    pub(super) fn slot(&self, slot: Slot) -> Option<Location> {
        self.slots[slot as usize - 1]
    }

    /// The order of the credential with this id.
    pub(super) fn order(&self, id: &[u8]) -> Option<u64> {
        self.by_id.get(id).copied()
    }

    /// Where the credential with this id is.
    pub(super) fn find(&self, id: &[u8]) -> Option<Location> {
        Some(self.entries.get(&self.order(id)?)?.location)
    }

    /// Where the newest credential of this RP before this order is.
    pub(super) fn newest_before(&self, rp_id_hash: &[u8; 32], before: u64) -> Option<Location> {
        let range = (*rp_id_hash, 0)..(*rp_id_hash, before);
        self.by_rp.range(range).next_back().and_then(|(_, order)| Some(self.entries.get(order)?.location))
    }

    /// The hash of the first RP after this one.
    pub(super) fn next_rp(&self, after: Option<&[u8; 32]>) -> Option<[u8; 32]> {
        let from = after.map_or(Bound::Unbounded, |hash| Bound::Excluded((*hash, u64::MAX)));
        self.by_rp.range((from, Bound::Unbounded)).next().map(|(hash, _)| *hash)
    }

    /// Where credentials are that may be of this account, newest first.
    pub(super) fn of_account(&self, rp_id_hash: &[u8; 32], user_id: &[u8]) -> Vec<Location> {
        let account = self.account(rp_id_hash, user_id);
        let orders = self.by_user.range((account, 0)..=(account, u64::MAX)).rev();
        orders.filter_map(|(_, order)| Some(self.entries.get(order)?.location)).collect()
    }

    /// The counter of the credential with this id, or with none, the store's; `None` if there is no such credential.
    pub(super) fn counter_mut(&mut self, id: &[u8]) -> Option<&mut Counter> {
        if id.is_empty() {
            return Some(&mut self.counter);
        }
        let order = self.order(id)?;
        Some(&mut self.entries.get_mut(&order)?.counter)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Every credential, oldest first.
    pub(super) fn entries(&self) -> impl Iterator<Item = (u64, &Entry)> {
        self.entries.iter().map(|(order, entry)| (*order, entry))
    }

    /// How many records a log of only this needs.
    pub(super) fn live_records(&self) -> u64 {
        let counters = self.entries.values().map(|entry| &entry.counter).chain([&self.counter]);
        let counters = counters.filter(|counter| counter.reserved > 0).count();
        (1 + self.entries.len() + self.slots.iter().flatten().count() + counters) as u64
    }

    /// The credentials moved to these places.
    pub(super) fn moved(&mut self, places: impl IntoIterator<Item = (u64, Location)>) {
        for (order, location) in places {
            if let Some(entry) = self.entries.get_mut(&order) {
                entry.location = location;
            }
        }
    }

    fn forget(&mut self, id: &[u8]) -> Option<Entry> {
        let order = self.by_id.remove(id)?;
        let entry = self.entries.remove(&order)?;
        self.by_rp.remove(&(entry.rp_id_hash, order));
        self.by_user.remove(&(entry.account, order));
        Some(entry)
    }

    fn account(&self, rp_id_hash: &[u8; 32], user_id: &[u8]) -> u64 {
        self.hasher.hash_one((rp_id_hash, user_id))
    }
}
