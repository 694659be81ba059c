//! After a start: vault and sync file need not be of the same time. One of them may have been put back from a backup, and a crash
//! may have come between a change of the vault and its mark.

use std::collections::BTreeSet;

use doppelkey_core::CredentialStore;
use doppelkey_sync::{Event, Record, RecordId};

use super::blobs::{Array, LARGE_BLOB, value_of};
use super::marks::{Here, Mark, digest_of};
use super::reconcile::{HIDDEN, Holdings, eligible, record_of, registers_in};
use super::{ReplicateError, Replication};

impl Replication {
    /// After a start: a store that is older than what was written down about it was put back from a backup. What it lacks was
    /// not deleted, unless that is noted, and what else it says is no news.
    pub(super) fn mind_a_restored(&mut self, store: &mut dyn CredentialStore) -> Result<(), ReplicateError> {
        if store.revision()? >= self.applied.revision || self.was_reset(store)? {
            return Ok(());
        }
        log::warn!("the vault is older than {}: what it lacks comes from there", self.path.display());
        let (held, array) = (eligible(store)?, Array::read(store)?);
        let (revision, newer) = (store.revision()?, self.applied.revision);
        let mut last = None;
        for id in self.applied.all() {
            let credential = held.get(&id);
            if let Some(key) = credential.and_then(|credential| credential.large_blob_key.as_deref()) {
                self.applied.blobs.remember(id, &array.value(key));
            }
            let mark = match credential {
                Some(credential) => self.mark_of(id, credential),
                None => self.untold_delete(id).unwrap_or(Mark { here: Here::No, given: Default::default() }),
            };
            // As if it were not minded, until all of it is: whoever is killed in the middle begins again.
            self.mark(id, mark, newer)?;
            last = Some((id, mark));
        }
        last.map_or(Ok(()), |(id, mark)| self.mark(id, mark, revision))
    }

    /// After a start, before anybody is heard: what vault and journal agree on the vault was given, whether or not that was
    /// marked before the program ended. Later it would look like a change that the user made.
    pub(super) fn mind_a_crash(&mut self, store: &mut dyn CredentialStore) -> Result<(), ReplicateError> {
        if self.was_reset(store)? {
            return Ok(());
        }
        let (held, array, revision) = (eligible(store)?, Array::read(store)?, store.revision()?);
        for (id, credential) in &held {
            let Some(record) = self.replica().record(*id).cloned() else { continue };
            let key = credential.large_blob_key.as_deref();
            if let Some(blob) = key.map(|key| array.value(key)).filter(|blob| *blob == value_of(&record)) {
                self.applied.blobs.remember(*id, &blob);
            }
            let whole = self.mark_of(*id, credential);
            let mark = match self.applied.get(*id) {
                Some(known) if known.here == Here::Yes => {
                    let mut mark = *known;
                    let blob = usize::from(LARGE_BLOB) - 1;
                    mark.given[blob] = whole.given[blob];
                    for (number, value) in registers_in(credential) {
                        let agrees = record.registers.get(&number).is_some_and(|there| there.value == value);
                        // What hides one that was replaced is no register: the vault was given it, and said nothing.
                        let is_shadow = number == HIDDEN && value == [1] && self.is_replaced(*id, &record);
                        if agrees || is_shadow {
                            mark.given[usize::from(number) - 1] = digest_of(&value);
                        }
                    }
                    mark
                }
                _ => whole,
            };
            if self.applied.get(*id) != Some(&mark) {
                self.mark(*id, mark, revision)?;
            }
        }
        // This device put one in the place of another and marked that; if there is no mark, the file with it is gone.
        let log = self.replica().log();
        for id in self.applied.all() {
            let Some(record) = self.replica().record(id) else { continue };
            let is_own = |(other, by): (&RecordId, &Record)| by.stamp.log == log && held.contains_key(other);
            let is_replaced = self.replacements(id, record).any(is_own);
            if is_replaced && !held.contains_key(&id) && self.applied.here(id) == Here::Yes {
                self.mark_as(id, Here::Replaced, revision)?;
            }
        }
        Ok(())
    }

    /// Once this device has heard from others what it had said itself: the sync file was put back from a backup. Its marks are as
    /// old, so what the vault says is no news, and what it lacks was not deleted, unless that is noted: others would have heard of it.
    pub(super) fn mind_an_old_file(
        &mut self,
        store: &mut dyn CredentialStore,
        Holdings { shared: held, bound }: &Holdings,
        now_ms: u64,
    ) -> Result<(), ReplicateError> {
        if !self.replica().has_heard_itself() {
            return Ok(());
        }
        log::warn!(
            "{} is older than what this device said: what differs comes from there",
            self.path.display()
        );
        let (array, revision) = (Array::read(store)?, store.revision()?);
        let ids: BTreeSet<RecordId> = self.applied.all().into_iter().chain(held.keys().copied()).collect();
        for id in ids {
            let Some(record) = self.replica().record(id) else { continue };
            let is_replaced = bound.contains(&record.account) || self.is_replaced(id, record);
            let mark = match held.get(&id) {
                Some(credential) => {
                    if let Some(key) = credential.large_blob_key.as_deref() {
                        self.applied.blobs.remember(id, &array.value(key));
                    }
                    self.mark_of(id, credential)
                }
                None => {
                    let here = if is_replaced { Here::Replaced } else { Here::No };
                    self.untold_delete(id).unwrap_or(Mark { here, given: Default::default() })
                }
            };
            self.mark(id, mark, revision)?;
        }
        // Not before: whoever is killed in the middle begins again.
        self.note(now_ms, Event::Minded).map(drop)
    }

    /// The mark of a passkey that was taken away here, as long as that is not told: the user's word, however old vault or file.
    fn untold_delete(&self, id: RecordId) -> Option<Mark> {
        self.applied.get(id).copied().filter(|mark| mark.here == Here::Deleted)
    }

    /// The passkey with this id was taken away by whoever uses this device: remembered, durably, until it is told. What comes
    /// into its account afterwards does not take its place.
    pub fn note_removed(
        &mut self,
        credential: &[u8],
        store: &mut dyn CredentialStore,
    ) -> Result<(), ReplicateError> {
        self.note_all_removed(&BTreeSet::from([record_of(credential)]), store)
    }

    /// As [`note_removed`](Self::note_removed), of several.
    pub(super) fn note_all_removed(
        &mut self,
        removed: &BTreeSet<RecordId>,
        store: &mut dyn CredentialStore,
    ) -> Result<(), ReplicateError> {
        if self.was_reset(store)? {
            return Ok(());
        }
        let (held, revision) = (eligible(store)?, store.revision()?);
        for id in removed.iter().filter(|id| !held.contains_key(id)) {
            if self.applied.here(*id) == Here::Yes {
                self.mark_as(*id, Here::Deleted, revision)?;
            }
        }
        Ok(())
    }
}
