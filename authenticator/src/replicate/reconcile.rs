//! The store and the replica's state, made to agree.
//!
//! Of a passkey that one side has and the other has not, what is right depends on what was before: `marks.rs` is the
//! memory of that. It is written after the store changed, so a crash in between makes a change come twice, never not
//! at all, and never as its opposite.

use std::collections::{BTreeMap, BTreeSet};

use doppelkey_core::{Credential, CredentialStore, Slot, StoreError};
use doppelkey_sync::{AccountId, Event, Op, Record, RecordId, Report};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::blobs::{self, Array};
use super::file::Line;
use super::marks::{Here, Mark, digest_of};
use super::{Place, ReplicateError, Replication};

/// Registers of a record.
const USER_NAME: u8 = 1;
const DISPLAY_NAME: u8 = 2;
pub(super) const HIDDEN: u8 = 3;
/// How many there are, with the large blob.
pub(super) const REGISTERS: usize = blobs::LARGE_BLOB as usize;

/// How long after a use the next one is told: of an account's only passkey, and of one of several.
const ONE_DAY_S: u64 = 24 * 60 * 60;
const ONE_HOUR_S: u64 = 60 * 60;

/// How many bytes go into one entry, about: one of them may be longer if it holds a large blob.
const BATCH: usize = 64 << 10;
/// The same where a key is among the mailboxes, which takes 4,096 with everything around them.
const KEY_BATCH: usize = 3 << 10;

type Registers = BTreeMap<u8, Vec<u8>>;

impl Replication {
    /// Whether everything was forgotten behind our back: while this did not run, or waited for a mailbox. What is in the
    /// store now is no word about what was there before.
    pub(super) fn was_reset(&self, store: &mut dyn CredentialStore) -> Result<bool, StoreError> {
        let mut found = [0; 16];
        let length = store.read(Slot::Membership, &mut found)?;
        Ok(length != Some(found.len()) || found != self.membership)
    }

    /// Makes replica and store agree; changes neither if the store was reset, or before anybody was heard. No mailbox is waited
    /// for while the store is held: [`carry_out`](Self::carry_out) is to follow.
    pub(super) fn absorb(
        &mut self,
        store: &mut dyn CredentialStore,
        now_ms: u64,
    ) -> Result<Vec<Report>, ReplicateError> {
        if !self.has_heard() || self.was_reset(store)? {
            return Ok(Vec::new());
        }
        self.write_what_was_noted()?;
        let holdings = Holdings::of(store)?;
        self.mind_an_old_file(store, &holdings, now_ms)?;
        self.mind_the_bound(&holdings, store.revision()?)?;
        let held = &holdings.shared;
        let mut array = Array::read(store)?;
        let ops = self.local_changes(held, &array, now_ms);
        let mut reports = Vec::new();
        if !ops.is_empty() {
            self.mark_before(&ops, held, store.revision()?)?;
            let most = if self.has_key() { KEY_BATCH } else { BATCH };
            for ops in batches(ops, most) {
                reports.extend(self.note(now_ms, Event::Local(ops))?);
            }
        }
        let blobs = self.applied.blobs.clone();
        let mut given = Vec::new();
        let applied = self.apply(store, &holdings, (&mut array, now_ms), &mut given);
        let applied = applied.and_then(|()| Ok(array.write(store)?));
        if applied.is_err() {
            // The array is as it was; what was put before is in the store all the same.
            self.applied.blobs = blobs;
            for (id, mark) in &mut given {
                mark.given[usize::from(blobs::LARGE_BLOB) - 1] = self.applied.blobs.digest(*id);
            }
        }
        let noted = self.note_given(given, store.revision()?);
        applied.and(noted).map(|()| reports)
    }

    /// Remembers what the store was given. What cannot be written down now counts all the same, or it would be told as if the
    /// user had done it; it is written down at the next round, and what a restart before forgets it finds again
    /// ([`mind_a_crash`](Self::mind_a_crash)).
    fn note_given(&mut self, given: Vec<(RecordId, Mark)>, revision: u64) -> Result<(), ReplicateError> {
        let mut noted = Ok(());
        for (id, mark) in given {
            if noted.is_ok() {
                noted = self.mark(id, mark, revision);
            }
            if noted.is_err() {
                self.applied.note(id, mark, revision);
                self.unwritten.insert(id);
            }
        }
        noted
    }

    fn write_what_was_noted(&mut self) -> Result<(), ReplicateError> {
        while let Some(id) = self.unwritten.first().copied() {
            let gone = Mark { here: Here::No, given: Default::default() };
            let mark = self.applied.get(id).copied().unwrap_or(gone);
            self.write_mark(id, mark, self.applied.revision)?;
            self.unwritten.remove(&id);
        }
        Ok(())
    }

    /// A passkey whose place one took that never leaves this device was replaced here, and deleted nowhere.
    fn mind_the_bound(&mut self, holdings: &Holdings, revision: u64) -> Result<(), ReplicateError> {
        let records = self.replica().state().records.iter();
        let replaced: Vec<RecordId> = records
            .filter(|(id, record)| {
                holdings.bound.contains(&record.account)
                    && !holdings.shared.contains_key(id)
                    && self.applied.here(**id) == Here::Yes
            })
            .map(|(id, _)| *id)
            .collect();
        replaced.into_iter().try_for_each(|id| self.mark_as(id, Here::Replaced, revision))
    }

    /// Changes where a marked record is.
    pub(super) fn mark_as(&mut self, id: RecordId, here: Here, revision: u64) -> Result<(), ReplicateError> {
        let mark = self.applied.get(id).map(|mark| Mark { here, ..*mark });
        mark.map_or(Ok(()), |mark| self.mark(id, mark, revision))
    }

    /// Notes what is about to be told: a crash in between makes it be told twice, and not undone.
    fn mark_before(
        &mut self,
        ops: &[Op],
        held: &BTreeMap<RecordId, Credential>,
        revision: u64,
    ) -> Result<(), ReplicateError> {
        for op in ops {
            let Op::Put { record, shadows, .. } = op else { continue };
            if let Some(credential) = held.get(record) {
                let mark = self.mark_of(*record, credential);
                self.mark(*record, mark, revision)?;
            }
            for id in shadows {
                self.mark_as(*id, Here::Replaced, revision)?;
            }
        }
        Ok(())
    }

    /// Whether a key is among the mailboxes: it takes short entries only.
    fn has_key(&self) -> bool {
        self.places().iter().any(|place| matches!(place, Place::Key(_)))
    }

    /// Takes note of when passkeys were used.
    pub(super) fn used(
        &mut self,
        used: &BTreeMap<RecordId, u64>,
        now_ms: u64,
    ) -> Result<Vec<Report>, ReplicateError> {
        let records = &self.replica().state().records;
        let is_due = |(id, time_s): &(&RecordId, &u64)| {
            records.get(*id).is_some_and(|record| {
                let alone = records.values().filter(|other| other.account == record.account).count() == 1;
                **time_s >= record.used_s + if alone { ONE_DAY_S } else { ONE_HOUR_S }
            })
        };
        let op = |(record, time_s): (&RecordId, &u64)| Op::Used { record: *record, time_s: *time_s };
        let ops: Vec<Op> = used.iter().filter(is_due).map(op).collect();
        if ops.is_empty() { Ok(Vec::new()) } else { self.tell(now_ms, Event::Local(ops)) }
    }

    /// What the store says that the replica does not know.
    fn local_changes(&self, held: &BTreeMap<RecordId, Credential>, array: &Array, now_ms: u64) -> Vec<Op> {
        let state = self.replica().state();
        let mut ops = Vec::new();
        for (id, credential) in held {
            let key = credential.large_blob_key.as_deref();
            match state.records.get(id) {
                Some(record) => {
                    ops.extend(self.register_changes(*id, credential, record));
                    ops.extend(self.applied.blobs.change((*id, record), key, array, now_ms));
                }
                None if state.deleted.contains(id) => {}
                None => {
                    let account = account_of(credential);
                    let replaced = state.records.iter().filter(|(other, record)| {
                        record.account == account
                            && !held.contains_key(other)
                            && matches!(self.applied.here(**other), Here::Yes | Here::Replaced)
                    });
                    ops.push(Op::Put {
                        record: *id,
                        account,
                        core: core_of(credential),
                        registers: registers_in(credential)
                            .into_iter()
                            .chain(blobs::register(key, array))
                            .collect(),
                        shadows: replaced.map(|(other, _)| *other).collect(),
                    });
                }
            }
        }
        let replaced: BTreeSet<RecordId> = ops
            .iter()
            .filter_map(|op| match op {
                Op::Put { shadows, .. } => Some(shadows),
                _ => None,
            })
            .flatten()
            .copied()
            .collect();
        for id in state.records.keys() {
            let is_gone = match self.applied.here(*id) {
                Here::Yes => !replaced.contains(id),
                Here::Deleted => true,
                Here::No | Here::Replaced => false,
            };
            if is_gone && !held.contains_key(id) {
                ops.push(Op::Del { record: *id });
            }
        }
        ops
    }

    fn register_changes(&self, id: RecordId, credential: &Credential, record: &Record) -> Vec<Op> {
        let given = self.applied.get(id).map(|mark| mark.given);
        registers_in(credential)
            .into_iter()
            .filter(|(number, value)| {
                given.is_some_and(|given| given[usize::from(*number) - 1] != digest_of(value))
            })
            .filter(|(number, value)| {
                record.registers.get(number).is_none_or(|register| register.value != *value)
            })
            // Names change by authenticatorCredentialManagement: that is the user, at a settings page.
            .map(|(number, value)| Op::Set { record: id, number, value, by_user: number != HIDDEN })
            .collect()
    }

    /// Whether another live record of the account was meant to replace this one, and has been confirmed no less.
    fn is_shadow(&self, id: RecordId, record: &Record) -> bool {
        self.replacements(id, record).any(|(_, other)| other.used_s >= record.used_s)
    }

    /// Whether another live record of the account was meant to replace this one.
    pub(super) fn is_replaced(&self, id: RecordId, record: &Record) -> bool {
        self.replacements(id, record).next().is_some()
    }

    pub(super) fn replacements(
        &self,
        id: RecordId,
        record: &Record,
    ) -> impl Iterator<Item = (&RecordId, &Record)> {
        let (records, account) = (&self.replica().state().records, record.account);
        records.iter().filter(move |(_, other)| other.account == account && other.shadows.contains(&id))
    }

    /// Gives the store what the replica says that it does not have. `given` is what is to be noted of it, also after an error.
    fn apply(
        &mut self,
        store: &mut dyn CredentialStore,
        Holdings { shared: held, bound }: &Holdings,
        (array, now_ms): (&mut Array, u64),
        given: &mut Vec<(RecordId, Mark)>,
    ) -> Result<(), ReplicateError> {
        for (id, credential) in held {
            if self.replica().state().deleted.contains(id) {
                store.remove(&credential.id)?;
                log::info!(
                    "sync: the passkey of {} goes: it was deleted on another device",
                    credential.rp_id
                );
                array.forget(credential.large_blob_key.as_deref());
                self.applied.blobs.forget(*id);
                given.push((*id, Mark { here: Here::No, given: Default::default() }));
            }
        }
        let ids: Vec<RecordId> = self.replica().state().records.keys().copied().collect();
        for id in ids {
            let Some(record) = self.replica().record(id).cloned() else { continue };
            let record = &record;
            let known = held.get(&id);
            let is_shadow = self.is_shadow(id, record);
            match self.applied.here(id) {
                // A delete that is not told yet.
                Here::Yes | Here::Deleted if known.is_none() => continue,
                // It comes back when nothing that took its place is left.
                Here::Replaced if bound.contains(&record.account) || self.is_replaced(id, record) => continue,
                _ => {}
            }
            let Some(mut wanted) = credential_of(record) else {
                log::warn!("a passkey from another device is of a kind that this version does not know");
                continue;
            };
            wanted.hidden |= is_shadow;
            wanted.backup_state = self.replica().is_backed_up(id);
            if let Some(known) = known {
                wanted.order = known.order;
            }
            if known != Some(&wanted) {
                store.put(&wanted, None)?;
            }
            self.applied.blobs.apply((id, record), wanted.large_blob_key.as_deref(), array, now_ms);
            let mark = self.mark_of(id, &wanted);
            if self.applied.get(id) != Some(&mark) {
                given.push((id, mark));
            }
        }
        Ok(())
    }

    /// That the store has this.
    pub(super) fn mark_of(&self, id: RecordId, credential: &Credential) -> Mark {
        let mut given = [self.applied.blobs.digest(id); REGISTERS];
        for (number, value) in registers_in(credential) {
            given[usize::from(number) - 1] = digest_of(&value);
        }
        Mark { here: Here::Yes, given }
    }

    /// Remembers, durably, what the store has of a record.
    pub(super) fn mark(&mut self, id: RecordId, mark: Mark, revision: u64) -> Result<(), ReplicateError> {
        if mark.here != Here::No && self.applied.get(id) == Some(&mark) && self.applied.revision == revision {
            return Ok(());
        }
        self.write_mark(id, mark, revision)?;
        self.applied.note(id, mark, revision);
        Ok(())
    }

    fn write_mark(&mut self, id: RecordId, mark: Mark, revision: u64) -> Result<(), ReplicateError> {
        let written = self.driver.journal_mut().append(&Line::Applied(id, mark, revision));
        written.map_err(|error| ReplicateError::File(self.path.clone(), error))
    }
}

/// Cuts what is to be said into entries of about so many bytes, in its order.
fn batches(ops: Vec<Op>, most: usize) -> Vec<Vec<Op>> {
    /// Ids, numbers and what CBOR puts around them.
    const AROUND: usize = 64;
    let size = |op: &Op| match op {
        Op::Put { core, registers, shadows, .. } => {
            let registers: usize = registers.iter().map(|(_, value)| value.len() + 4).sum();
            core.len() + registers + 17 * shadows.len() + AROUND
        }
        Op::Set { value, .. } => value.len() + AROUND,
        _ => AROUND,
    };
    let mut batches: Vec<Vec<Op>> = Vec::new();
    let mut used = most;
    for op in ops {
        let size = size(&op);
        match batches.last_mut() {
            Some(batch) if used + size <= most => {
                batch.push(op);
                used += size;
            }
            _ => {
                batches.push(vec![op]);
                used = size;
            }
        }
    }
    batches
}

/// What a store holds.
pub(super) struct Holdings {
    /// The credentials that may leave the device, by record.
    pub(super) shared: BTreeMap<RecordId, Credential>,
    /// The accounts of those that may not.
    pub(super) bound: BTreeSet<AccountId>,
}

impl Holdings {
    pub(super) fn of(store: &mut dyn CredentialStore) -> Result<Self, StoreError> {
        let mut holdings = Holdings { shared: BTreeMap::new(), bound: BTreeSet::new() };
        let mut after = None;
        while let Some(first) = store.next_rp(after.as_ref())? {
            after = Some(first.rp_id_hash);
            let mut next = Some(first);
            while let Some(credential) = next {
                next = store.newest_before(&credential.rp_id_hash, credential.order)?;
                if credential.backup_eligible {
                    holdings.shared.insert(record_of(&credential.id), credential);
                } else {
                    holdings.bound.insert(account_of(&credential));
                }
            }
        }
        Ok(holdings)
    }
}

/// The credentials that may leave the device, by record.
pub(super) fn eligible(
    store: &mut dyn CredentialStore,
) -> Result<BTreeMap<RecordId, Credential>, StoreError> {
    Ok(Holdings::of(store)?.shared)
}

/// The record of a credential: credential ids are random, so the hash of one is.
pub(super) fn record_of(id: &[u8]) -> RecordId {
    let digest = Sha256::new_with_prefix(b"doppelkey record").chain_update(id).finalize();
    RecordId(digest[..16].try_into().expect("SHA-256 has 32 bytes"))
}

fn account_of(credential: &Credential) -> AccountId {
    let digest = Sha256::new_with_prefix(b"doppelkey account")
        .chain_update(credential.rp_id_hash)
        .chain_update(&credential.user.id)
        .finalize();
    AccountId(digest[..8].try_into().expect("SHA-256 has 32 bytes"))
}

/// What of a credential never changes.
fn core_of(credential: &Credential) -> Vec<u8> {
    let mut core = credential.clone();
    (core.user.name, core.user.display_name) = (None, None);
    (core.order, core.backup_state, core.hidden, core.sign_count) = (0, false, false, None);
    core.encode().to_vec()
}

pub(super) fn registers_in(credential: &Credential) -> Registers {
    let text = |text: &Option<heapless::String<64>>| {
        text.as_ref().map_or(Vec::new(), |text| text.as_bytes().to_vec())
    };
    Registers::from([
        (USER_NAME, text(&credential.user.name)),
        (DISPLAY_NAME, text(&credential.user.display_name)),
        (HIDDEN, vec![credential.hidden.into()]),
    ])
}

/// The credential of a record, not hidden by more than its register.
fn credential_of(record: &Record) -> Option<Credential> {
    let core = Zeroizing::new(record.core.clone());
    let mut credential = Credential::decode(&core)?;
    let text = |number: u8| {
        let value = record
            .registers
            .get(&number)
            .map(|register| register.value.clone())
            .filter(|value| !value.is_empty());
        value.and_then(|value| heapless::String::try_from(String::from_utf8(value).ok()?.as_str()).ok())
    };
    credential.user.name = text(USER_NAME);
    credential.user.display_name = text(DISPLAY_NAME);
    credential.hidden = record.registers.get(&HIDDEN).is_some_and(|register| register.value == [1]);
    // Whatever another device says: what came over the wire is eligible, and counts nothing.
    (credential.backup_eligible, credential.sign_count) = (true, None);
    Some(credential)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_at_once_is_cut_into_entries_that_fit_and_keeps_its_order() {
        let put = |number: u8, length| Op::Put {
            record: RecordId([number; 16]),
            account: AccountId([0; 8]),
            core: vec![0; length],
            registers: Vec::new(),
            shadows: Vec::new(),
        };
        let ops: Vec<Op> =
            (0..100).map(|number| put(number, 150)).chain([put(200, 9_000), put(201, 10)]).collect();
        let cut = batches(ops.clone(), KEY_BATCH);
        let counts: Vec<usize> = cut.iter().map(Vec::len).collect();
        assert_eq!(counts, [14, 14, 14, 14, 14, 14, 14, 2, 1, 1]);
        assert_eq!(cut.concat(), ops);
        assert!(batches(Vec::new(), BATCH).is_empty());
    }
}
