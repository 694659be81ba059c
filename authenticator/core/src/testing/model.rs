//! What a store must hold after some steps, kept as simply as can be, to hold beside the real one.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;

use crate::{Credential, CredentialStore, Slot, StoreError};

/// One change to a store.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// [`CredentialStore::put`].
    Put { credential: Box<Credential>, replaces: Option<Vec<u8>> },
    /// [`CredentialStore::remove`].
    Remove(Vec<u8>),
    /// [`CredentialStore::next_sign_count`].
    Count(Option<Vec<u8>>),
    /// [`CredentialStore::write`].
    Write(Slot, Vec<u8>),
    /// [`CredentialStore::reset`].
    Reset,
}

/// What was put, and is to be found. Orders are left out (0): the place in the list stands for them.
#[derive(Clone, Default)]
pub(super) struct Model {
    /// Oldest first.
    credentials: Vec<Credential>,
    slots: BTreeMap<Slot, Vec<u8>>,
    /// The highest signature counter given; under the empty id, the store's own.
    counters: BTreeMap<Vec<u8>, u32>,
    /// Every id that was ever here.
    known: BTreeSet<Vec<u8>>,
    /// Every revision seen so far that stood for other credentials than the present ones.
    past_revisions: BTreeSet<u64>,
}

impl Model {
    /// The ids of the credentials that are here.
    pub(super) fn ids(&self) -> Vec<Vec<u8>> {
        self.credentials.iter().map(|credential| credential.id.to_vec()).collect()
    }

    /// Takes the step on the store, and on a copy of this model, which it returns.
    ///
    /// # Panics
    /// If the store's answer is not what the model says.
    pub(super) fn after<S: CredentialStore>(&self, store: &mut S, step: &Step) -> Result<Self, StoreError> {
        let mut next = self.clone();
        let revision = store.revision()?;
        match step {
            Step::Put { credential, replaces } => {
                store.put(credential, replaces.as_deref())?;
                next.put(credential, replaces.as_deref());
            }
            Step::Remove(id) => {
                let found = store.remove(id)?;
                assert_eq!(found, self.position(id).is_some(), "remove says whether it was there: {id:?}");
                next.forget(id);
            }
            Step::Count(id) => {
                let count = store.next_sign_count(id.as_deref())?;
                next.count(id.as_deref().unwrap_or(&[]), count);
            }
            Step::Write(slot, bytes) => {
                store.write(*slot, bytes)?;
                next.slots.insert(*slot, bytes.clone());
            }
            Step::Reset => {
                store.reset()?;
                next.reset();
            }
        }
        if next.credentials != self.credentials {
            next.past_revisions.insert(revision);
            let now = store.revision()?;
            assert!(!next.past_revisions.contains(&now), "revision {now} stood for other credentials before");
        }
        Ok(next)
    }

    /// What the step makes of this model, where nobody saw its answer.
    pub(super) fn unseen(&self, step: &Step) -> Self {
        let mut next = self.clone();
        match step {
            Step::Put { credential, replaces } => next.put(credential, replaces.as_deref()),
            Step::Remove(id) => next.forget(id),
            Step::Count(_) => {}
            Step::Write(slot, bytes) => drop(next.slots.insert(*slot, bytes.clone())),
            Step::Reset => next.reset(),
        }
        next
    }

    /// What the store differs in; `None` if in nothing. Only reads.
    pub(super) fn difference<S: CredentialStore>(
        &self,
        store: &mut S,
    ) -> Result<Option<&'static str>, StoreError> {
        let revision = store.revision()?;
        if store.len()? as usize != self.credentials.len() || store.is_empty()? != self.credentials.is_empty()
        {
            return Ok(Some("len"));
        }
        for id in &self.known {
            let expected = self.position(id).map(|at| &self.credentials[at]);
            if store.get(id)?.map(unordered).as_ref() != expected {
                return Ok(Some("get"));
            }
        }
        if !self.enumerates(store)? {
            return Ok(Some("next_rp and newest_before"));
        }
        for credential in &self.credentials {
            let (rp, user) = (&credential.rp_id_hash, &credential.user.id);
            let newest = self.credentials.iter().rev().find(|c| c.rp_id_hash == *rp && c.user.id == *user);
            if store.find_user(rp, user)?.map(unordered).as_ref() != newest {
                return Ok(Some("find_user"));
            }
        }
        for slot in Slot::ALL {
            if !self.slot_agrees(store, slot)? {
                return Ok(Some("read"));
            }
        }
        Ok((store.revision()? != revision).then_some("reading changed the revision"))
    }

    /// Whether every RP comes once, in the order of hashes, with its credentials newest first.
    fn enumerates<S: CredentialStore>(&self, store: &mut S) -> Result<bool, StoreError> {
        let rps: BTreeSet<[u8; 32]> =
            self.credentials.iter().map(|credential| credential.rp_id_hash).collect();
        let mut after = None;
        for rp in rps {
            let mut expected = self.credentials.iter().rev().filter(|credential| credential.rp_id_hash == rp);
            let mut before = u64::MAX;
            let first = store.next_rp(after.as_ref())?.map(unordered);
            if first.as_ref() != expected.clone().next() {
                return Ok(false);
            }
            while let Some(credential) = store.newest_before(&rp, before)? {
                if credential.order >= before {
                    return Ok(false);
                }
                before = credential.order;
                if Some(&unordered(credential)) != expected.next() {
                    return Ok(false);
                }
            }
            if expected.next().is_some() {
                return Ok(false);
            }
            after = Some(rp);
        }
        Ok(store.next_rp(after.as_ref())?.is_none())
    }

    fn slot_agrees<S: CredentialStore>(&self, store: &mut S, slot: Slot) -> Result<bool, StoreError> {
        let mut buffer = vec![0xEE; crate::LARGE_BLOBS_MAX];
        let Some(expected) = self.slots.get(&slot) else {
            return Ok(store.read(slot, &mut buffer)?.is_none());
        };
        if store.read(slot, &mut buffer)? != Some(expected.len()) || !buffer.starts_with(expected) {
            return Ok(false);
        }
        // Exactly as much room as it takes is enough.
        let mut exact = vec![0; expected.len()];
        Ok(store.read(slot, &mut exact)? == Some(expected.len()) && exact == *expected)
    }

    fn position(&self, id: &[u8]) -> Option<usize> {
        self.credentials.iter().position(|credential| credential.id == id)
    }

    fn put(&mut self, credential: &Credential, replaces: Option<&[u8]>) {
        let id = credential.id.as_slice();
        if let Some(replaced) = replaces.filter(|replaced| *replaced != id) {
            self.forget(replaced);
        }
        self.known.insert(id.to_vec());
        let at_least = credential.sign_count.unwrap_or(0);
        let counter = self.counters.entry(id.to_vec()).or_insert(at_least);
        *counter = at_least.max(*counter);
        match self.position(id) {
            Some(at) => self.credentials[at] = unordered(credential.clone()),
            None => self.credentials.push(unordered(credential.clone())),
        }
    }

    fn forget(&mut self, id: &[u8]) {
        self.credentials.retain(|credential| credential.id != id);
        if !id.is_empty() {
            self.counters.remove(id);
        }
    }

    fn count(&mut self, id: &[u8], count: u32) {
        let before = self.counters.insert(id.to_vec(), count).unwrap_or(0);
        assert!(count > before, "signature counter {count} came after {before} for {id:?}");
    }

    fn reset(&mut self) {
        for id in self.ids() {
            self.forget(&id);
        }
        self.slots.retain(|slot, _| *slot == Slot::Sync);
    }
}

fn unordered(mut credential: Credential) -> Credential {
    credential.order = 0;
    credential
}
