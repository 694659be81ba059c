//! What a store keeps in RAM of its log: where each credential and slot is, and the numbers that only grow.

use doppelkey_core::{Credential, Slot, StoreError};
use heapless::Vec;

use super::bank::Kind;
use super::{COUNTER, NOBODY, STORE};
use crate::shelf::{Name, SHELF_MAX, name_of};

/// The length of a State record's body: next order and revision.
pub(super) const STATE: usize = 16;

/// A credential: where it is, and enough to pass over most that are not looked for.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) order: u64,
    pub(super) place: u32,
    pub(super) size: u32,
    pub(super) id_prefix: u32,
    pub(super) rp_prefix: u32,
    /// The last signature counter that was given out.
    given: u32,
    /// Counters up to here may have been given out before the last power-up; 0 if none was reserved.
    pub(super) reserved: u32,
}

/// An entry of the shelf, and where it is.
#[derive(Clone, Copy)]
pub(super) struct Kept {
    pub(super) name: Name,
    pub(super) place: u32,
    size: u32,
}

pub(super) struct Index<const N: usize> {
    entries: Vec<Entry, N>,
    shelf: Vec<Kept, SHELF_MAX>,
    /// Place and size of each slot's record; size 0 for none.
    slots: [(u32, u32); Slot::ALL.len()],
    next_order: u64,
    revision: u64,
    store_given: u32,
    store_reserved: u32,
}

impl<const N: usize> Index<N> {
    pub(super) fn new() -> Self {
        Index {
            entries: Vec::new(),
            shelf: Vec::new(),
            slots: [(0, 0); Slot::ALL.len()],
            next_order: 1,
            revision: 1,
            store_given: 0,
            store_reserved: 0,
        }
    }

    /// Nothing but the numbers that never go back.
    pub(super) fn emptied(&self) -> Self {
        Index {
            entries: Vec::new(),
            shelf: Vec::new(),
            slots: [(0, 0); Slot::ALL.len()],
            next_order: self.next_order,
            revision: self.revision,
            store_given: self.store_given,
            store_reserved: self.store_reserved,
        }
    }

    /// Takes in one record. [`StoreError::Fault`] for one that this program would not have written.
    pub(super) fn apply(&mut self, kind: Kind, place: u32, size: u32, body: &[u8]) -> Result<(), StoreError> {
        match kind {
            Kind::State => {
                let (order, revision) = body.split_first_chunk::<8>().ok_or(StoreError::Fault)?;
                // In a copy the State comes last: what it says already counts the records before it.
                self.next_order = u64::from_le_bytes(*order);
                self.revision = u64::from_le_bytes(revision.try_into().map_err(|_| StoreError::Fault)?);
                Ok(())
            }
            Kind::Put => self.apply_put(place, size, body),
            Kind::Remove => {
                let order = u64::from_le_bytes(body.try_into().map_err(|_| StoreError::Fault)?);
                self.forget(order);
                self.changed();
                Ok(())
            }
            Kind::Slot => {
                let number = *body.first().ok_or(StoreError::Fault)?;
                let slot =
                    Slot::ALL.iter().position(|slot| *slot as u8 == number).ok_or(StoreError::Fault)?;
                self.slots[slot] = (place, size);
                Ok(())
            }
            Kind::Shelf if body.is_empty() => {
                self.shelf.clear();
                Ok(())
            }
            Kind::Shelf => {
                let kept = Kept { name: name_of(body), place, size };
                self.shelf.push(kept).map_err(|_| StoreError::Fault)
            }
            Kind::Counter => {
                let (order, reserved) = body.split_first_chunk::<8>().ok_or(StoreError::Fault)?;
                let reserved = u32::from_le_bytes(reserved.try_into().map_err(|_| StoreError::Fault)?);
                match u64::from_le_bytes(*order) {
                    STORE => self.store_reserved = reserved,
                    order => {
                        if let Some(entry) = self.entry(order) {
                            entry.reserved = reserved;
                        }
                    }
                }
                Ok(())
            }
        }
    }

    fn apply_put(&mut self, place: u32, size: u32, body: &[u8]) -> Result<(), StoreError> {
        let (replaced, encoded) = body.split_first_chunk::<8>().ok_or(StoreError::Fault)?;
        let credential = Credential::decode(encoded).ok_or(StoreError::Fault)?;
        let replaced = u64::from_le_bytes(*replaced);
        if replaced != NOBODY {
            self.forget(replaced);
        }
        let start = credential.sign_count.unwrap_or(0);
        let (id_prefix, rp_prefix) = (prefix(&credential.id), prefix(&credential.rp_id_hash));
        match self.entry(credential.order) {
            Some(entry) => {
                (entry.place, entry.size) = (place, size);
                entry.given = entry.given.max(start);
            }
            None => {
                let order = credential.order;
                let entry = Entry { order, place, size, id_prefix, rp_prefix, given: start, reserved: 0 };
                self.entries.push(entry).map_err(|_| StoreError::Full)?;
            }
        }
        self.next_order = self.next_order.max(credential.order.saturating_add(1));
        self.changed();
        Ok(())
    }

    /// Takes a credential out. The order of the others is no matter.
    fn forget(&mut self, order: u64) {
        let Some(position) = self.entries.iter().position(|entry| entry.order == order) else { return };
        // Not `swap_remove`, which wants what moves memory that may overlap: 1.5 kB of flash, and nothing else does.
        if let Some((last, others)) = self.entries.split_last_mut()
            && let Some(hole) = others.get_mut(position)
        {
            core::mem::swap(hole, last);
        }
        self.entries.truncate(self.entries.len() - 1);
    }

    /// Power came back: every counter that was reserved counts as given.
    pub(super) fn power_up(&mut self) {
        for entry in &mut self.entries {
            entry.given = entry.given.max(entry.reserved);
        }
        self.store_given = self.store_given.max(self.store_reserved);
    }

    /// Takes over the counters of an index with the same credentials.
    pub(super) fn keep_counters(&mut self, other: &Self) {
        for old in &other.entries {
            if let Some(entry) = self.entry(old.order) {
                (entry.given, entry.reserved) = (old.given, old.reserved);
            }
        }
        // Carrying credentials over is no change of them.
        (self.next_order, self.revision) = (other.next_order, other.revision);
    }

    pub(super) fn state_body(&self) -> [u8; STATE] {
        let mut body = [0; STATE];
        body[..8].copy_from_slice(&self.next_order.to_le_bytes());
        body[8..].copy_from_slice(&self.revision.to_le_bytes());
        body
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The newest entry of RPs with this prefix whose order is below `before`.
    pub(super) fn newest_before(&self, rp_prefix: u32, before: u64) -> Option<Entry> {
        let older = self.entries.iter().filter(|entry| entry.rp_prefix == rp_prefix && entry.order < before);
        older.max_by_key(|entry| entry.order).copied()
    }

    /// Where this slot's record is.
    pub(super) fn slot(&self, slot: Slot) -> Option<u32> {
        let (place, size) = self.slots[position(slot)];
        (size > 0).then_some(place)
    }

    pub(super) fn slot_size(&self, slot: Slot) -> u32 {
        self.slots[position(slot)].1
    }

    /// The bytes that credentials, their counters, the shelf and the large blobs take after a copy.
    pub(super) fn live(&self) -> u32 {
        let credentials: u32 = self.entries.iter().map(|entry| entry.size + COUNTER).sum();
        credentials + self.shelf_size() + self.slot_size(Slot::LargeBlobs)
    }

    /// The entries of the shelf, in the order in which they came.
    pub(super) fn shelf(&self) -> &[Kept] {
        &self.shelf
    }

    pub(super) fn shelf_size(&self) -> u32 {
        self.shelf.iter().map(|kept| kept.size).sum()
    }

    pub(super) fn next_order(&self) -> u64 {
        self.next_order
    }

    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) fn changed(&mut self) {
        self.revision = self.revision.wrapping_add(1);
    }

    /// The counter last given and the one reserved, of a credential or of the store.
    pub(super) fn counter(&mut self, order: u64) -> (u32, u32) {
        match order {
            STORE => (self.store_given, self.store_reserved),
            _ => self.entry(order).map_or((0, 0), |entry| (entry.given, entry.reserved)),
        }
    }

    pub(super) fn store_reserved(&self) -> u32 {
        self.store_reserved
    }

    /// Notes that this counter was given out.
    pub(super) fn give(&mut self, order: u64, count: u32) {
        match order {
            STORE => self.store_given = count,
            _ => {
                if let Some(entry) = self.entry(order) {
                    entry.given = count;
                }
            }
        }
    }

    fn entry(&mut self, order: u64) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.order == order)
    }
}

/// The first four bytes as a number, in the order of the bytes.
pub(super) fn prefix(bytes: &[u8]) -> u32 {
    let mut first = [0; 4];
    let length = bytes.len().min(4);
    first[..length].copy_from_slice(&bytes[..length]);
    u32::from_be_bytes(first)
}

fn position(slot: Slot) -> usize {
    Slot::ALL.iter().position(|one| *one == slot).expect("ALL has every slot")
}
