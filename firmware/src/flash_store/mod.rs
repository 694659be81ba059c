//! A [`CredentialStore`] in NOR flash.
//!
//! Two banks of equal size take turns. The current one is a log: every change is appended, and when it is full what
//! still counts is copied to the other bank, which then becomes the current one. No cell is programmed twice between
//! two erases.
//!
//! # Layout of a bank
//! Every part starts at a multiple of the flash's write size; numbers are little-endian.
//!
//! | offset | size | what | |
//! |---|---|---|---|
//! | 0 | 8 | clean marker `DPKERASE` | written when an erase has run to its end |
//! | 8 | 8 | magic `DPKFLSH1` | the header: |
//! | 16 | 4 | generation | of two complete banks the higher one counts |
//! | 20 | 4 | 0 | |
//! | 24 | 16 | salt | random; with the generation and the root key it gives this bank's key |
//! | 40 | 16 | tag | AES-256-GCM over 8 to 39, with that key |
//! | 56 | … | records | one after the other |
//!
//! | offset in a record | size | what |
//! |---|---|---|
//! | 0 | 1 | kind: State 1, Put 2, Remove 3, Slot 4, Counter 5, Shelf 6 (without a body: an empty shelf; read, never written) |
//! | 1 | 1 | 0 |
//! | 2 | 2 | *n*, the length of the body in bytes |
//! | 4 | 4 | check over the record's place and these 4 bytes |
//! | 8 | *n* | body, encrypted (AES-256-GCM, nonce = place in the bank, associated data = the 8 bytes before) |
//! | 8 + *n* | 16 | tag |
//! | next write unit | 8 | commit: zeros once the record is whole |
//!
//! # What a power cut leaves
//! Header, body and commit are three writes in this order. A record without a commit is a torn one and only ever the
//! last: it counts if its tag is right, and the bank is copied before anything is appended. A record *with* a commit
//! whose tag is wrong is a fault of the medium: the store refuses to open rather than forget what was answered.
//! A copy counts from its State record on, which is written last.
//!
//! # What is absent
//! No protection against an old image of the whole flash put back: that takes a counter that the chip must have.

mod bank;
mod index;
mod shelf;

use core::mem::MaybeUninit;

use doppelkey_core::{
    CREDENTIAL_ENCODED_MAX, Credential, CredentialStore, LARGE_BLOBS_MAX, Slot, StoreError,
};
use embedded_storage::nor_flash::NorFlash;
use rand_core::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

use bank::{Bank, Found, Kind};
use index::{Entry, Index};

/// Signature counters are reserved in blocks of this many; at most so many are skipped at a power-up.
pub const COUNTER_BLOCK: u32 = 32;

/// A store in this flash for at most `N` credentials. See the [module](self).
///
/// RAM: 40 bytes a credential and one buffer of about 4.2 kB.
pub struct FlashStore<F, R, const N: usize> {
    flash: F,
    rng: R,
    root: Zeroizing<[u8; 32]>,
    /// The current bank, open for appending.
    bank: Bank,
    /// Nothing may be appended before a copy: the end of the log is torn.
    torn: bool,
    index: Index<N>,
    buffer: [u8; BUFFER],
}

impl<F: NorFlash, R: CryptoRng, const N: usize> FlashStore<F, R, N> {
    /// Opens what is in this flash, or makes an empty store in a blank one; finishes what a power cut interrupted.
    ///
    /// `root` is the key everything is sealed under: from the chip's one-time memory, where it has one.
    ///
    /// # Errors
    /// [`StoreError::Fault`] if what is there is neither blank nor whole: another key, another program's data, a
    /// medium that lost bits. Nothing is written then. [`StoreError::Full`] if there are more than `N` credentials.
    pub fn open(flash: F, root: Zeroizing<[u8; 32]>, rng: R) -> Result<Self, StoreError> {
        let mut store = Self::closed(flash, root, rng);
        store.find_current()?;
        Ok(store)
    }

    /// As [`open`](Self::open), in memory that is there already: a store is large for a microcontroller's stack.
    pub fn open_in(
        place: &mut MaybeUninit<Self>,
        flash: F,
        root: Zeroizing<[u8; 32]>,
        rng: R,
    ) -> Result<&mut Self, StoreError> {
        let store = place.write(Self::closed(flash, root, rng));
        store.find_current()?;
        Ok(store)
    }

    #[inline(always)]
    fn closed(flash: F, root: Zeroizing<[u8; 32]>, rng: R) -> Self {
        const { assert!(F::WRITE_SIZE <= 8 && 8 % F::WRITE_SIZE == 0, "records are built of 8-byte units") };
        const { assert!(F::READ_SIZE <= 8 && 8 % F::READ_SIZE == 0, "records are built of 8-byte units") };
        let (bank, index) = (Bank::none(), Index::new());
        FlashStore { flash, rng, root, bank, torn: false, index, buffer: [0; BUFFER] }
    }

    fn find_current(&mut self) -> Result<(), StoreError> {
        let current = match (self.find(0)?, self.find(1)?) {
            (Found::Complete(a), Found::Complete(b)) => Some(if a > b { 0 } else { 1 }),
            (Found::Complete(a), Found::Damaged(b)) if b > a => return Err(StoreError::Fault),
            (Found::Damaged(a), Found::Complete(b)) if a > b => return Err(StoreError::Fault),
            (Found::Complete(_), _) => Some(0),
            (_, Found::Complete(_)) => Some(1),
            (Found::Blank | Found::Unfinished, Found::Blank | Found::Unfinished) => None,
            _ => return Err(StoreError::Fault),
        };
        match current {
            Some(number) => self.resume(number),
            None => self.start(),
        }
    }

    /// Erases everything, whatever it is. Not atomic: until it has returned, [`open`](Self::open) may refuse.
    pub fn format(flash: &mut F) -> Result<(), StoreError> {
        let size = bank_size(flash);
        flash.erase(0, 2 * size).map_err(|_| StoreError::Fault)
    }

    /// The flash, for whoever must know what state it is in. Writing to it breaks the store.
    pub fn flash(&mut self) -> &mut F {
        &mut self.flash
    }

    /// The flash, for whoever opens it again.
    pub fn into_flash(self) -> F {
        self.flash
    }

    /// What this bank is, and nothing more.
    fn find(&mut self, number: u32) -> Result<Found, StoreError> {
        let size = bank_size(&self.flash);
        bank::find(&mut self.flash, number * size, size, &self.root, &mut self.buffer)
    }

    /// Reads the log of the current bank, and finishes what was interrupted.
    fn resume(&mut self, number: u32) -> Result<(), StoreError> {
        let size = bank_size(&self.flash);
        let mut bank = Bank::open(&mut self.flash, number * size, size, &self.root)?;
        let index = &mut self.index;
        self.torn = bank.replay(&mut self.flash, &mut self.buffer, |kind, place, size, body| {
            index.apply(kind, place, size, body)
        })?;
        self.bank = bank;
        self.index.power_up();
        if self.torn { self.copy(Live::Everything) } else { self.clean_other() }
    }

    /// The first bank of a blank flash.
    fn start(&mut self) -> Result<(), StoreError> {
        let size = bank_size(&self.flash);
        if self.find(0)? != Found::Blank {
            bank::erase(&mut self.flash, 0, size)?;
        }
        self.bank = Bank::create(&mut self.flash, 0, size, 1, &self.root, &mut self.rng)?;
        self.write_body(&self.index.state_body());
        self.bank.append(&mut self.flash, Kind::State, index::STATE, &mut self.buffer)?;
        self.clean_other()
    }

    /// Makes sure that the bank that is not the current one is erased, wholly.
    fn clean_other(&mut self) -> Result<(), StoreError> {
        let (other, size) = self.other();
        if bank::is_clean(&mut self.flash, other, size)? {
            return Ok(());
        }
        bank::erase(&mut self.flash, other, size)
    }

    fn other(&self) -> (u32, u32) {
        let size = bank_size(&self.flash);
        (size - self.bank.start(), size)
    }

    /// Copies what still counts to the other bank, makes it the current one, and erases this one.
    fn copy(&mut self, live: Live) -> Result<(), StoreError> {
        self.clean_other()?;
        let (other, size) = self.other();
        let generation = self.bank.generation().checked_add(1).ok_or(StoreError::Full)?;
        let mut new = Bank::create(&mut self.flash, other, size, generation, &self.root, &mut self.rng)?;
        let mut index = self.index.emptied();
        let old = self.bank.clone();
        for slot in Slot::ALL {
            if let Some(place) = self.index.slot(slot)
                && (live != Live::OnlySync || slot == Slot::Sync)
            {
                self.carry(&old, &mut new, &mut index, Kind::Slot, place)?;
            }
        }
        let shelf = if live == Live::WithoutShelf { 0 } else { self.index.shelf().len() };
        for position in 0..shelf {
            let kept = self.index.shelf()[position].place;
            self.carry(&old, &mut new, &mut index, Kind::Shelf, kept)?;
        }
        if live != Live::OnlySync {
            for position in 0..self.index.entries().len() {
                let entry = self.index.entries()[position];
                self.carry(&old, &mut new, &mut index, Kind::Put, entry.place)?;
                if entry.reserved > 0 {
                    self.write_body(&counter_body(entry.order, entry.reserved));
                    new.append(&mut self.flash, Kind::Counter, COUNTER_BODY, &mut self.buffer)?;
                }
            }
            index.keep_counters(&self.index);
        } else {
            index.changed();
        }
        if self.index.store_reserved() > 0 {
            self.write_body(&counter_body(STORE, self.index.store_reserved()));
            new.append(&mut self.flash, Kind::Counter, COUNTER_BODY, &mut self.buffer)?;
        }
        self.write_body(&index.state_body());
        new.append(&mut self.flash, Kind::State, index::STATE, &mut self.buffer)?;
        (self.bank, self.index, self.torn) = (new, index, false);
        self.clean_other()
    }

    /// Carries one record over. A Put no longer removes another: that one is not carried over.
    fn carry(
        &mut self,
        old: &Bank,
        new: &mut Bank,
        index: &mut Index<N>,
        kind: Kind,
        place: u32,
    ) -> Result<(), StoreError> {
        let length = old.read(&mut self.flash, place, kind, &mut self.buffer)?.len();
        if kind == Kind::Put {
            self.write_body(&NOBODY.to_le_bytes());
        }
        let (place, size) = new.append(&mut self.flash, kind, length, &mut self.buffer)?;
        index.apply(kind, place, size, &self.buffer[..length])
    }

    fn write_body(&mut self, body: &[u8]) {
        self.buffer[..body.len()].copy_from_slice(body);
    }

    /// Appends a record of this length, whose body `fill` writes.
    ///
    /// Small ones, and those that replace one of their size, find room after a copy; the others were counted before.
    fn append(&mut self, kind: Kind, length: usize, fill: impl FnOnce(&mut [u8])) -> Result<(), StoreError> {
        if self.torn || bank::record_size(length) > self.bank.room() {
            self.copy(Live::Everything)?;
        }
        fill(&mut self.buffer[..length]);
        // Whatever goes wrong from here on may have left a part of the record.
        self.torn = true;
        let (place, size) = self.bank.append(&mut self.flash, kind, length, &mut self.buffer)?;
        self.torn = false;
        let applied = self.index.apply(kind, place, size, &self.buffer[..length]);
        self.buffer.zeroize();
        applied
    }

    /// The credential of this record.
    fn credential(&mut self, entry: Entry) -> Result<Credential, StoreError> {
        let body = self.bank.read(&mut self.flash, entry.place, Kind::Put, &mut self.buffer)?;
        let credential = body.get(8..).and_then(Credential::decode).ok_or(StoreError::Fault);
        self.buffer.zeroize();
        credential
    }

    fn locate(&mut self, id: &[u8]) -> Result<Option<Entry>, StoreError> {
        let tag = index::prefix(id);
        for position in 0..self.index.entries().len() {
            let entry = self.index.entries()[position];
            if entry.id_prefix == tag && self.has_id(entry, id)? {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// Not inlined: the credential is off the stack before whatever comes next.
    #[inline(never)]
    fn has_id(&mut self, entry: Entry, id: &[u8]) -> Result<bool, StoreError> {
        Ok(self.credential(entry)?.id.as_slice() == id)
    }

    /// Not inlined, as above.
    #[inline(never)]
    fn rp_id_hash(&mut self, entry: Entry) -> Result<[u8; 32], StoreError> {
        Ok(self.credential(entry)?.rp_id_hash)
    }

    /// The bytes that credentials and large blobs may take in a bank: what is left beside everything that must
    /// always have room.
    fn capacity(&self) -> u32 {
        let size = bank_size(&self.flash);
        size.saturating_sub(bank::RECORDS + FIXED + slack(size))
    }
}

impl<F: NorFlash, R: CryptoRng, const N: usize> CredentialStore for FlashStore<F, R, N> {
    fn get(&mut self, id: &[u8]) -> Result<Option<Credential>, StoreError> {
        self.locate(id)?.map(|entry| self.credential(entry)).transpose()
    }

    fn newest_before(
        &mut self,
        rp_id_hash: &[u8; 32],
        mut before: u64,
    ) -> Result<Option<Credential>, StoreError> {
        let prefix = index::prefix(rp_id_hash);
        while let Some(entry) = self.index.newest_before(prefix, before) {
            let credential = self.credential(entry)?;
            if credential.rp_id_hash == *rp_id_hash {
                return Ok(Some(credential));
            }
            before = entry.order;
        }
        Ok(None)
    }

    fn next_rp(&mut self, after: Option<&[u8; 32]>) -> Result<Option<Credential>, StoreError> {
        let lowest = after.map_or(0, |hash| index::prefix(hash));
        let mut best: Option<(Entry, [u8; 32])> = None;
        for position in 0..self.index.entries().len() {
            let entry = self.index.entries()[position];
            let highest = best.as_ref().map_or(u32::MAX, |(_, hash)| index::prefix(hash));
            if !(lowest..=highest).contains(&entry.rp_prefix) {
                continue;
            }
            let hash = self.rp_id_hash(entry)?;
            let is_after = after.is_none_or(|after| hash > *after);
            let is_better = best.is_none_or(|(best, best_hash)| {
                (hash, u64::MAX - entry.order) < (best_hash, u64::MAX - best.order)
            });
            if is_after && is_better {
                best = Some((entry, hash));
            }
        }
        best.map(|(entry, _)| self.credential(entry)).transpose()
    }

    fn put(&mut self, credential: &Credential, replaces: Option<&[u8]>) -> Result<(), StoreError> {
        let present = self.locate(&credential.id)?;
        let replaced = match replaces {
            Some(id) if id != credential.id.as_slice() => self.locate(id)?,
            _ => None,
        };
        let order = present.map_or(self.index.next_order(), |entry| entry.order);
        let encoded = credential.encode_with_order(order);
        let length = 8 + encoded.len();
        let freed: u32 = [present, replaced].into_iter().flatten().map(|entry| entry.size + COUNTER).sum();
        let needed = bank::record_size(length) + COUNTER;
        let adds = usize::from(present.is_none() && replaced.is_none());
        if self.index.entries().len() + adds > N || self.index.live() - freed + needed > self.capacity() {
            return Err(StoreError::Full);
        }
        let replaced = replaced.map_or(NOBODY, |entry| entry.order);
        self.append(Kind::Put, length, |body| {
            body[..8].copy_from_slice(&replaced.to_le_bytes());
            body[8..].copy_from_slice(&encoded);
        })
    }

    fn remove(&mut self, id: &[u8]) -> Result<bool, StoreError> {
        let Some(entry) = self.locate(id)? else { return Ok(false) };
        self.append(Kind::Remove, 8, |body| body.copy_from_slice(&entry.order.to_le_bytes()))?;
        Ok(true)
    }

    fn next_sign_count(&mut self, id: Option<&[u8]>) -> Result<u32, StoreError> {
        let order = match id {
            Some(id) => self.locate(id)?.ok_or(StoreError::Fault)?.order,
            None => STORE,
        };
        let (given, reserved) = self.index.counter(order);
        let next = given.checked_add(1).ok_or(StoreError::Full)?;
        if next > reserved {
            let block = counter_body(order, next.saturating_add(COUNTER_BLOCK - 1));
            self.append(Kind::Counter, COUNTER_BODY, |body| body.copy_from_slice(&block))?;
        }
        self.index.give(order, next);
        Ok(next)
    }

    fn len(&mut self) -> Result<u32, StoreError> {
        Ok(self.index.entries().len() as u32)
    }

    fn remaining(&mut self) -> Result<u32, StoreError> {
        let longest = bank::record_size(8 + CREDENTIAL_ENCODED_MAX) + COUNTER;
        let by_room = self.capacity().saturating_sub(self.index.live()) / longest;
        Ok(by_room.min((N - self.index.entries().len()) as u32))
    }

    fn revision(&mut self) -> Result<u64, StoreError> {
        Ok(self.index.revision())
    }

    fn read(&mut self, slot: Slot, out: &mut [u8]) -> Result<Option<usize>, StoreError> {
        let Some(place) = self.index.slot(slot) else { return Ok(None) };
        let body = self.bank.read(&mut self.flash, place, Kind::Slot, &mut self.buffer)?;
        let bytes = body.get(1..).ok_or(StoreError::Fault)?;
        let length = bytes.len();
        out.get_mut(..length).ok_or(StoreError::Fault)?.copy_from_slice(bytes);
        self.buffer.zeroize();
        Ok(Some(length))
    }

    fn write(&mut self, slot: Slot, bytes: &[u8]) -> Result<(), StoreError> {
        if bytes.len() > slot_max(slot) {
            return Err(StoreError::Full);
        }
        if slot == Slot::LargeBlobs {
            let freed = self.index.slot_size(slot);
            if self.index.live() - freed + bank::record_size(1 + bytes.len()) > self.capacity() {
                return Err(StoreError::Full);
            }
        }
        self.append(Kind::Slot, 1 + bytes.len(), |body| {
            body[0] = slot as u8;
            body[1..].copy_from_slice(bytes);
        })
    }

    fn reset(&mut self) -> Result<(), StoreError> {
        self.copy(Live::OnlySync)
    }
}

/// What a copy carries over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Live {
    Everything,
    /// What is not sync's mailbox.
    WithoutShelf,
    /// A reset: [`Slot::Sync`], the shelf, and the counters that must never repeat.
    OnlySync,
}

fn bank_size<F: NorFlash>(flash: &F) -> u32 {
    let half = flash.capacity() / 2;
    (half - half % F::ERASE_SIZE) as u32
}

fn counter_body(order: u64, reserved: u32) -> [u8; COUNTER_BODY] {
    let mut body = [0; COUNTER_BODY];
    body[..8].copy_from_slice(&order.to_le_bytes());
    body[8..].copy_from_slice(&reserved.to_le_bytes());
    body
}

/// Room that only small records may use, so that a nearly full store is not copied at every one of them.
fn slack(bank: u32) -> u32 {
    (bank / 8).max(1024)
}

/// What [`Slot`]'s documentation promises to take, in bytes.
const fn slot_max(slot: Slot) -> usize {
    match slot {
        Slot::Identity => 256,
        Slot::Pin => 128,
        Slot::Configuration | Slot::Fingerprints | Slot::Sync => 1024,
        Slot::LargeBlobs => LARGE_BLOBS_MAX,
        Slot::Membership => 16,
    }
}

/// The order that stands for the store itself in a Counter record, and for nobody in a Put.
const STORE: u64 = u64::MAX;
const NOBODY: u64 = u64::MAX;

/// A Counter record's size, and its body's.
const COUNTER: u32 = bank::record_size(COUNTER_BODY);
const COUNTER_BODY: usize = 12;

/// What has its room reserved: every slot but the large blobs at its longest, State, and the store's counter.
const FIXED: u32 = bank::record_size(1 + slot_max(Slot::Identity))
    + bank::record_size(1 + slot_max(Slot::Pin))
    + 3 * bank::record_size(1 + slot_max(Slot::Sync))
    + bank::record_size(1 + slot_max(Slot::Membership))
    + bank::record_size(index::STATE)
    + COUNTER;

/// Holds any record's body and tag, padded.
const BUFFER: usize = 1 + LARGE_BLOBS_MAX + bank::TAG + 8;
