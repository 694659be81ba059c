//! A store that forgets everything when it is dropped.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Bound;

use crate::credential::Credential;
use crate::store::{CredentialStore, LARGE_BLOBS_MAX, Slot, StoreError};

/// Credentials and slots in memory: for tests, for devices that are to leave nothing behind, and for emulators.
///
/// Finding, adding and removing take time logarithmic in the number of credentials.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    credentials: BTreeMap<Place, Credential>,
    /// Where the credential with this id is, and the counter it was last given.
    ids: BTreeMap<Vec<u8>, (Place, u32)>,
    slots: BTreeMap<Slot, Vec<u8>>,
    next_order: u64,
    sign_count: u32,
    revision: u64,
    capacity: u32,
}

/// RP ID hash and order.
type Place = ([u8; 32], u64);

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// An empty store with room for a million credentials.
    pub const fn new() -> Self {
        Self::with_capacity(1_000_000)
    }

    /// An empty store with room for so many credentials.
    pub const fn with_capacity(capacity: u32) -> Self {
        MemoryStore {
            credentials: BTreeMap::new(),
            ids: BTreeMap::new(),
            slots: BTreeMap::new(),
            next_order: 0,
            sign_count: 0,
            revision: 0,
            capacity,
        }
    }

    /// Puts a credential in the place of the one with its id, with the signature counter that it says, which may be lower
    /// than the one before: for emulators, whose user sets it. `false` if there is none with this id.
    pub fn set(&mut self, credential: &Credential) -> bool {
        let Some((at, count)) = self.ids.get_mut(credential.id.as_slice()) else { return false };
        self.credentials.remove(at);
        *at = (credential.rp_id_hash, at.1);
        *count = credential.sign_count.unwrap_or(0);
        self.credentials.insert(*at, Credential { order: at.1, ..credential.clone() });
        self.revision += 1;
        true
    }

    fn take(&mut self, id: &[u8]) -> Option<Credential> {
        let (at, _) = self.ids.remove(id)?;
        self.credentials.remove(&at)
    }
}

impl CredentialStore for MemoryStore {
    fn get(&mut self, id: &[u8]) -> Result<Option<Credential>, StoreError> {
        Ok(self.ids.get(id).and_then(|(at, _)| self.credentials.get(at)).cloned())
    }

    fn newest_before(
        &mut self,
        rp_id_hash: &[u8; 32],
        before: u64,
    ) -> Result<Option<Credential>, StoreError> {
        let range = (*rp_id_hash, 0)..(*rp_id_hash, before);
        Ok(self.credentials.range(range).next_back().map(|(_, credential)| credential.clone()))
    }

    fn next_rp(&mut self, after: Option<&[u8; 32]>) -> Result<Option<Credential>, StoreError> {
        let start = after.map_or(Bound::Unbounded, |hash| Bound::Excluded((*hash, u64::MAX)));
        let Some(((rp_id_hash, _), _)) = self.credentials.range((start, Bound::Unbounded)).next() else {
            return Ok(None);
        };
        let rp_id_hash = *rp_id_hash;
        self.newest_before(&rp_id_hash, u64::MAX)
    }

    fn put(&mut self, credential: &Credential, replaces: Option<&[u8]>) -> Result<(), StoreError> {
        let replaces = replaces.filter(|id| *id != credential.id.as_slice());
        let known = self.ids.get(credential.id.as_slice()).copied();
        let leaves =
            u32::from(known.is_some()) + u32::from(replaces.is_some_and(|id| self.ids.contains_key(id)));
        if leaves == 0 && self.remaining()? == 0 {
            return Err(StoreError::Full);
        }
        if let Some(id) = replaces {
            self.take(id);
        }
        self.take(&credential.id);
        let mut credential = credential.clone();
        let count = known.map_or(0, |(_, count)| count).max(credential.sign_count.unwrap_or(0));
        credential.order = match known {
            Some(((_, order), _)) => order,
            None => {
                self.next_order += 1;
                self.next_order - 1
            }
        };
        let at = (credential.rp_id_hash, credential.order);
        self.ids.insert(credential.id.to_vec(), (at, count));
        self.credentials.insert(at, credential);
        self.revision += 1;
        Ok(())
    }

    fn remove(&mut self, id: &[u8]) -> Result<bool, StoreError> {
        let removed = self.take(id).is_some();
        self.revision += u64::from(removed);
        Ok(removed)
    }

    fn next_sign_count(&mut self, id: Option<&[u8]>) -> Result<u32, StoreError> {
        let count = match id {
            Some(id) => &mut self.ids.get_mut(id).ok_or(StoreError::Fault)?.1,
            None => &mut self.sign_count,
        };
        *count = count.checked_add(1).ok_or(StoreError::Full)?;
        Ok(*count)
    }

    fn last_sign_count(&mut self, id: &[u8]) -> Result<Option<u32>, StoreError> {
        let has_one = self.get(id)?.is_some_and(|credential| credential.sign_count.is_some());
        Ok(self.ids.get(id).filter(|_| has_one).map(|(_, count)| *count))
    }

    fn len(&mut self) -> Result<u32, StoreError> {
        u32::try_from(self.ids.len()).map_err(|_| StoreError::Fault)
    }

    fn remaining(&mut self) -> Result<u32, StoreError> {
        Ok(self.capacity.saturating_sub(self.len()?))
    }

    fn revision(&mut self) -> Result<u64, StoreError> {
        Ok(self.revision)
    }

    fn read(&mut self, slot: Slot, buffer: &mut [u8]) -> Result<Option<usize>, StoreError> {
        let Some(bytes) = self.slots.get(&slot) else { return Ok(None) };
        buffer.get_mut(..bytes.len()).ok_or(StoreError::Fault)?.copy_from_slice(bytes);
        Ok(Some(bytes.len()))
    }

    fn write(&mut self, slot: Slot, bytes: &[u8]) -> Result<(), StoreError> {
        if bytes.len() > LARGE_BLOBS_MAX {
            return Err(StoreError::Full);
        }
        self.slots.insert(slot, bytes.to_vec());
        Ok(())
    }

    fn reset(&mut self) -> Result<(), StoreError> {
        self.credentials.clear();
        self.ids.clear();
        self.slots.retain(|slot, _| *slot == Slot::Sync);
        self.revision += 1;
        Ok(())
    }
}
