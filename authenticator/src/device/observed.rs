//! A store with an observer of its changes.

use doppelkey_core::{Credential, CredentialStore, Slot, StoreError};

/// Makes the changes to a store's credentials, and sees them.
///
/// Each method must do what the method of that name of [`CredentialStore`] does; the others go past an observer.
pub trait Observer<S: CredentialStore> {
    /// [`CredentialStore::put`].
    fn put(
        &mut self,
        store: &mut S,
        credential: &Credential,
        replaces: Option<&[u8]>,
    ) -> Result<(), StoreError>;

    /// [`CredentialStore::remove`].
    fn remove(&mut self, store: &mut S, id: &[u8]) -> Result<bool, StoreError>;

    /// [`CredentialStore::write`].
    fn write(&mut self, store: &mut S, slot: Slot, bytes: &[u8]) -> Result<(), StoreError> {
        store.write(slot, bytes)
    }

    /// [`CredentialStore::reset`].
    fn reset(&mut self, store: &mut S) -> Result<(), StoreError>;
}

/// A store whose changes an observer sees; every other call is the inner store's.
pub struct Observed<S, O> {
    store: S,
    observer: O,
}

impl<S: CredentialStore, O: Observer<S>> Observed<S, O> {
    /// Puts an observer before a store.
    pub fn new(store: S, observer: O) -> Self {
        Observed { store, observer }
    }
}

impl<S: CredentialStore, O: Observer<S>> CredentialStore for Observed<S, O> {
    fn put(&mut self, credential: &Credential, replaces: Option<&[u8]>) -> Result<(), StoreError> {
        self.observer.put(&mut self.store, credential, replaces)
    }

    fn remove(&mut self, id: &[u8]) -> Result<bool, StoreError> {
        self.observer.remove(&mut self.store, id)
    }

    fn reset(&mut self) -> Result<(), StoreError> {
        self.observer.reset(&mut self.store)
    }

    fn get(&mut self, id: &[u8]) -> Result<Option<Credential>, StoreError> {
        self.store.get(id)
    }

    fn newest_before(&mut self, rp: &[u8; 32], before: u64) -> Result<Option<Credential>, StoreError> {
        self.store.newest_before(rp, before)
    }

    fn next_rp(&mut self, after: Option<&[u8; 32]>) -> Result<Option<Credential>, StoreError> {
        self.store.next_rp(after)
    }

    fn find_user(&mut self, rp: &[u8; 32], user_id: &[u8]) -> Result<Option<Credential>, StoreError> {
        self.store.find_user(rp, user_id)
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
        self.observer.write(&mut self.store, slot, bytes)
    }
}
