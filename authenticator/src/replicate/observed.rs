//! A store that tells replication of changes.

use std::sync::mpsc::Sender;

use doppelkey_core::{Credential, CredentialStore, Slot, StoreError};

/// What happened to a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Credentials came, changed or went.
    Credentials,
    /// Everything was forgotten.
    Reset,
    /// A mailbox has news.
    News,
    /// Another process asks something.
    Asked,
    /// The program ends.
    Stop,
}

/// A store whose changes are told; every call is the inner store's.
pub struct Observed<S> {
    store: S,
    tell: Sender<Change>,
}

impl<S> Observed<S> {
    /// Tells this channel. Nobody has to listen.
    pub fn new(store: S, tell: Sender<Change>) -> Self {
        Observed { store, tell }
    }

    fn told<T>(&self, change: Change, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if result.is_ok() {
            let _ = self.tell.send(change);
        }
        result
    }
}

impl<S: CredentialStore> CredentialStore for Observed<S> {
    fn get(&mut self, id: &[u8]) -> Result<Option<Credential>, StoreError> {
        self.store.get(id)
    }

    fn newest_before(
        &mut self,
        rp_id_hash: &[u8; 32],
        before: u64,
    ) -> Result<Option<Credential>, StoreError> {
        self.store.newest_before(rp_id_hash, before)
    }

    fn next_rp(&mut self, after: Option<&[u8; 32]>) -> Result<Option<Credential>, StoreError> {
        self.store.next_rp(after)
    }

    fn find_user(&mut self, rp_id_hash: &[u8; 32], user_id: &[u8]) -> Result<Option<Credential>, StoreError> {
        self.store.find_user(rp_id_hash, user_id)
    }

    fn put(&mut self, credential: &Credential, replaces: Option<&[u8]>) -> Result<(), StoreError> {
        let done = self.store.put(credential, replaces);
        self.told(Change::Credentials, done)
    }

    fn remove(&mut self, id: &[u8]) -> Result<bool, StoreError> {
        let done = self.store.remove(id);
        self.told(Change::Credentials, done)
    }

    fn next_sign_count(&mut self, id: Option<&[u8]>) -> Result<u32, StoreError> {
        self.store.next_sign_count(id)
    }

    fn last_sign_count(&mut self, id: &[u8]) -> Result<Option<u32>, StoreError> {
        self.store.last_sign_count(id)
    }

    fn len(&mut self) -> Result<u32, StoreError> {
        self.store.len()
    }

    fn remaining(&mut self) -> Result<u32, StoreError> {
        self.store.remaining()
    }

    fn revision(&mut self) -> Result<u64, StoreError> {
        self.store.revision()
    }

    fn read(&mut self, slot: Slot, buffer: &mut [u8]) -> Result<Option<usize>, StoreError> {
        self.store.read(slot, buffer)
    }

    fn write(&mut self, slot: Slot, bytes: &[u8]) -> Result<(), StoreError> {
        self.store.write(slot, bytes)
    }

    fn reset(&mut self) -> Result<(), StoreError> {
        let done = self.store.reset();
        self.told(Change::Reset, done)
    }
}
