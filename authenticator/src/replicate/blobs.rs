//! Large blobs: each the value of a register of its passkey, and on each device an entry of the serialized large-blob
//! array (CTAP §6.10.3), which platforms read, change and write as a whole.
//!
//! * The register holds 1 ‖ the blob, or nothing where a blob was taken away. The last writer wins.
//! * A blob that is gone from the array is taken away elsewhere, too, unless this device was given it less than a minute
//!   ago, or has just been started: a platform that writes back what it read before must not delete what came meanwhile.
//! * A blob that the array has no room for stays with the others, and is tried again at each round.
//! * A blob that unpacks to more than 64 KiB stays on this device, where it is left alone until another device writes one:
//!   an entry has no room for a megabyte, and the array's 4 KiB can unpack to as much.

use std::collections::{BTreeMap, BTreeSet};

use doppelkey_core::{CredentialStore, LARGE_BLOBS_MAX, Slot, StoreError};
use doppelkey_sync::{Op, Record, RecordId};

use super::marks::{Digest, digest_of};
use super::random;
use crate::large_blobs::LargeBlobs;

/// The register of a record.
pub(super) const LARGE_BLOB: u8 = 4;

/// What of a blob goes to other devices, at most.
const SHARED_MAX: usize = 64 << 10;

/// How long a platform may take between reading the array and writing it.
const WRITTEN_BACK_MS: u64 = 60_000;

/// The array of a store, and whether it is to be written.
pub(super) struct Array {
    blobs: LargeBlobs,
    changed: bool,
}

impl Array {
    pub(super) fn read(store: &mut dyn CredentialStore) -> Result<Self, StoreError> {
        let mut buffer = [0; LARGE_BLOBS_MAX];
        let length = store.read(Slot::LargeBlobs, &mut buffer)?.unwrap_or(0);
        Ok(Array { blobs: LargeBlobs::parse(buffer.get(..length).unwrap_or_default()), changed: false })
    }

    pub(super) fn write(self, store: &mut dyn CredentialStore) -> Result<(), StoreError> {
        if self.changed { store.write(Slot::LargeBlobs, &self.blobs.encode()) } else { Ok(()) }
    }

    /// Takes away what is under the key of a passkey that was deleted.
    pub(super) fn forget(&mut self, key: Option<&[u8; 32]>) {
        if let Some(key) = key {
            self.changed |= self.blobs.remove(key);
        }
    }

    /// The register's value for what is under a key.
    pub(super) fn value(&self, key: &[u8; 32]) -> Vec<u8> {
        self.blobs.get(key).map_or(Vec::new(), |blob| [&[1], blob.as_slice()].concat())
    }

    /// Makes what is under a key agree with a register. `false` if there is no room.
    fn set(&mut self, key: &[u8; 32], value: &[u8]) -> bool {
        let before = self.blobs.clone();
        match value.split_first() {
            Some((1, blob)) => self.blobs.put(key, blob, &mut random()),
            _ => drop(self.blobs.remove(key)),
        }
        if self.blobs.encode().len() > LARGE_BLOBS_MAX {
            self.blobs = before;
            return false;
        }
        self.changed = true;
        true
    }
}

/// What of the registers this device's array was given.
#[derive(Clone, Default)]
pub(super) struct Given {
    values: BTreeMap<RecordId, (Digest, Option<u64>)>,
    unfit: BTreeSet<RecordId>,
    /// Blobs that are too large to be shared, and what the record said when they came.
    oversize: BTreeMap<RecordId, Vec<u8>>,
}

impl Given {
    /// What an earlier run of the program gave it: nobody knows when.
    pub(super) fn before(given: impl Iterator<Item = (RecordId, Digest)>) -> Self {
        Given { values: given.map(|(id, digest)| (id, (digest, None))).collect(), ..Self::default() }
    }

    /// What the array was given of a record.
    pub(super) fn digest(&self, id: RecordId) -> Digest {
        self.values.get(&id).map_or(digest_of(&[]), |(given, _)| *given)
    }

    /// That the array has this is no news.
    pub(super) fn remember(&mut self, id: RecordId, value: &[u8]) {
        self.values.insert(id, (digest_of(value), None));
    }

    /// What the array says that the record does not know.
    pub(super) fn change(
        &self,
        (id, record): (RecordId, &Record),
        key: Option<&[u8; 32]>,
        array: &Array,
        now_ms: u64,
    ) -> Option<Op> {
        let here = array.value(key?);
        if here == value_of(record) {
            return None;
        }
        if here.len() > SHARED_MAX {
            return None;
        }
        let is_news = match self.values.get(&id) {
            Some((given, _)) if *given == digest_of(&here) => false,
            Some((_, Some(at_ms))) => !here.is_empty() || now_ms >= at_ms + WRITTEN_BACK_MS,
            Some((_, None)) | None => !here.is_empty(),
        };
        is_news.then_some(Op::Set { record: id, number: LARGE_BLOB, value: here, by_user: false })
    }

    /// Gives the array what the record says.
    pub(super) fn apply(
        &mut self,
        (id, record): (RecordId, &Record),
        key: Option<&[u8; 32]>,
        array: &mut Array,
        now_ms: u64,
    ) {
        let Some(key) = key else { return };
        let (here, wanted) = (array.value(key), value_of(record));
        if here.len() > SHARED_MAX {
            match self.oversize.get(&id) {
                // Another device has written one since.
                Some(then) if then != wanted => {}
                Some(_) => return,
                None => {
                    log::warn!(
                        "sync: a large blob of {} bytes stays on this device: it is too large",
                        here.len()
                    );
                    self.oversize.insert(id, wanted.to_vec());
                    return;
                }
            }
        }
        self.oversize.remove(&id);
        if here == wanted {
            self.unfit.remove(&id);
            let at_ms = self.values.get(&id).and_then(|(_, at_ms)| *at_ms).unwrap_or(0);
            self.values.insert(id, (digest_of(wanted), Some(at_ms)));
        } else if array.set(key, wanted) {
            self.unfit.remove(&id);
            self.values.insert(id, (digest_of(wanted), Some(now_ms)));
        } else {
            if self.unfit.insert(id) {
                log::warn!("sync: there is no room here for a large blob of another device");
            }
            self.values.insert(id, (digest_of(&here), Some(now_ms)));
        }
    }

    pub(super) fn forget(&mut self, id: RecordId) {
        self.values.remove(&id);
        self.unfit.remove(&id);
        self.oversize.remove(&id);
    }
}

/// A first value, if there is one.
pub(super) fn register(key: Option<&[u8; 32]>, array: &Array) -> Option<(u8, Vec<u8>)> {
    key.map(|key| array.value(key))
        .filter(|value| (1..=SHARED_MAX).contains(&value.len()))
        .map(|value| (LARGE_BLOB, value))
}

pub(super) fn value_of(record: &Record) -> &[u8] {
    record.registers.get(&LARGE_BLOB).map_or(&[], |register| &register.value)
}
