//! What replication is told.

use std::sync::mpsc::Sender;

use doppelkey_core::{Credential, CredentialStore, Slot, StoreError};
use doppelkey_sync::RecordId;

use super::reconcile::record_of;
use crate::device::Observer;

/// What happened to a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Credentials came, changed or went.
    Credentials,
    /// A passkey was taken away, by whoever uses this device or because it was deleted on another.
    Removed(RecordId),
    /// A passkey was used.
    Used(RecordId),
    /// Everything was forgotten.
    Reset,
    /// A mailbox has news.
    News,
    /// Another process asks something.
    Asked,
    /// The program ends.
    Stop,
}

/// Tells a channel what changed in a store. Nobody has to listen.
pub struct Teller(Sender<Change>);

impl Teller {
    /// Tells this channel.
    pub fn new(tell: Sender<Change>) -> Self {
        Teller(tell)
    }

    fn told<T>(&self, change: Change, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if result.is_ok() {
            let _ = self.0.send(change);
        }
        result
    }
}

impl<S: CredentialStore> Observer<S> for Teller {
    fn put(
        &mut self,
        store: &mut S,
        credential: &Credential,
        replaces: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        self.told(Change::Credentials, store.put(credential, replaces))
    }

    fn remove(&mut self, store: &mut S, id: &[u8]) -> Result<bool, StoreError> {
        let removed = store.remove(id);
        let change = if removed == Ok(true) { Change::Removed(record_of(id)) } else { Change::Credentials };
        self.told(change, removed)
    }

    fn write(&mut self, store: &mut S, slot: Slot, bytes: &[u8]) -> Result<(), StoreError> {
        let written = store.write(slot, bytes);
        if slot == Slot::LargeBlobs { self.told(Change::Credentials, written) } else { written }
    }

    fn reset(&mut self, store: &mut S) -> Result<(), StoreError> {
        self.told(Change::Reset, store.reset())
    }
}
