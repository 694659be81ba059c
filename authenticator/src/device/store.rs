//! One store, shared by a device's engine (through power-ups), the command line, control and sync.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use doppelkey_core::{Credential, CredentialStore, Slot, StoreError};

/// A store that several parts of the program hold. Each call is one step; [`lock`](Self::lock) makes several one.
#[derive(Clone)]
pub struct SharedStore(Arc<Mutex<dyn CredentialStore + Send>>);

impl SharedStore {
    /// Shares this store.
    pub fn new(store: impl CredentialStore + Send + 'static) -> Self {
        SharedStore(Arc::new(Mutex::new(store)))
    }

    /// The store, for several calls that nobody else comes between. The device waits meanwhile.
    pub fn lock(&self) -> MutexGuard<'_, dyn CredentialStore + Send + 'static> {
        // A store gives its guarantees after a crash too; a panic of another thread is less than that.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CredentialStore for SharedStore {
    fn get(&mut self, id: &[u8]) -> Result<Option<Credential>, StoreError> {
        self.lock().get(id)
    }

    fn newest_before(
        &mut self,
        rp_id_hash: &[u8; 32],
        before: u64,
    ) -> Result<Option<Credential>, StoreError> {
        self.lock().newest_before(rp_id_hash, before)
    }

    fn next_rp(&mut self, after: Option<&[u8; 32]>) -> Result<Option<Credential>, StoreError> {
        self.lock().next_rp(after)
    }

    fn find_user(&mut self, rp_id_hash: &[u8; 32], user_id: &[u8]) -> Result<Option<Credential>, StoreError> {
        self.lock().find_user(rp_id_hash, user_id)
    }

    fn put(&mut self, credential: &Credential, replaces: Option<&[u8]>) -> Result<(), StoreError> {
        self.lock().put(credential, replaces)
    }

    fn remove(&mut self, id: &[u8]) -> Result<bool, StoreError> {
        self.lock().remove(id)
    }

    fn next_sign_count(&mut self, id: Option<&[u8]>) -> Result<u32, StoreError> {
        self.lock().next_sign_count(id)
    }

    fn last_sign_count(&mut self, id: &[u8]) -> Result<Option<u32>, StoreError> {
        self.lock().last_sign_count(id)
    }

    fn len(&mut self) -> Result<u32, StoreError> {
        self.lock().len()
    }

    fn remaining(&mut self) -> Result<u32, StoreError> {
        self.lock().remaining()
    }

    fn revision(&mut self) -> Result<u64, StoreError> {
        self.lock().revision()
    }

    fn read(&mut self, slot: Slot, buffer: &mut [u8]) -> Result<Option<usize>, StoreError> {
        self.lock().read(slot, buffer)
    }

    fn write(&mut self, slot: Slot, bytes: &[u8]) -> Result<(), StoreError> {
        self.lock().write(slot, bytes)
    }

    fn reset(&mut self) -> Result<(), StoreError> {
        self.lock().reset()
    }
}
