//! What the vault was given of each record: the memory by which a change here is told from one that has yet to arrive here.

use std::collections::BTreeMap;

use doppelkey_sync::RecordId;
use sha2::{Digest as _, Sha256};

use super::blobs::Given;
use super::reconcile::REGISTERS;

/// The start of the SHA-256 of a register's value.
pub(super) type Digest = [u8; 8];

pub(super) fn digest_of(value: &[u8]) -> Digest {
    let digest = Sha256::digest(value);
    *digest.first_chunk().expect("SHA-256 has 32 bytes")
}

/// Whether the vault has a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Here {
    No = 0,
    Yes = 1,
    /// No more: a newer passkey of its account took its place in this vault, and in no other. It may be one that never
    /// leaves this device.
    Replaced = 2,
    /// No more: it was taken away here, and that is not told yet.
    Deleted = 3,
}

/// One record, at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) here: Here,
    /// The registers as the vault has them, by number from 1 on.
    pub(super) given: [Digest; REGISTERS],
}

/// How long a mark is in the sync file: the record's id, [`Here`], the vault's revision (little-endian), the digests.
pub(super) const LINE: usize = 16 + 1 + 8 + 8 * REGISTERS;

impl Mark {
    pub(super) fn line(&self, id: RecordId, revision: u64) -> [u8; LINE] {
        let mut line = [0; LINE];
        line[..16].copy_from_slice(&id.0);
        line[16] = self.here as u8;
        line[17..25].copy_from_slice(&revision.to_le_bytes());
        line[25..].copy_from_slice(self.given.as_flattened());
        line
    }

    /// A record's mark, and the vault's revision then; `None` if it makes no sense.
    pub(super) fn read(line: &[u8; LINE]) -> Option<(RecordId, Self, u64)> {
        let (id, rest) = line.split_first_chunk()?;
        let ([here], rest) = rest.split_first_chunk()?;
        let (revision, rest) = rest.split_first_chunk()?;
        let here = match here {
            0 => Here::No,
            1 => Here::Yes,
            2 => Here::Replaced,
            3 => Here::Deleted,
            _ => return None,
        };
        let given = rest.as_chunks().0.try_into().ok()?;
        Some((RecordId(*id), Mark { here, given }, u64::from_le_bytes(*revision)))
    }
}

/// What of the replica's state the store has been given.
#[derive(Default)]
pub struct Applied {
    marks: BTreeMap<RecordId, Mark>,
    pub(super) blobs: Given,
    /// The store's revision when something was last written down of it.
    pub(super) revision: u64,
}

impl Applied {
    pub(super) fn note(&mut self, id: RecordId, mark: Mark, revision: u64) {
        self.revision = revision;
        match mark.here {
            Here::No => self.marks.remove(&id),
            Here::Yes | Here::Replaced | Here::Deleted => self.marks.insert(id, mark),
        };
    }

    pub(super) fn get(&self, id: RecordId) -> Option<&Mark> {
        self.marks.get(&id)
    }

    pub(super) fn here(&self, id: RecordId) -> Here {
        self.get(id).map_or(Here::No, |mark| mark.here)
    }

    pub(super) fn all(&self) -> Vec<RecordId> {
        self.marks.keys().copied().collect()
    }

    /// After a start: large blobs are as they were given.
    pub(super) fn begin(&mut self) {
        let given = self.marks.iter().map(|(id, mark)| (*id, mark.given[REGISTERS - 1]));
        self.blobs = Given::before(given);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_reads_as_it_was_written() {
        let mark = Mark { here: Here::Replaced, given: [[1; 8], [2; 8], [3; 8], [4; 8]] };
        let line = mark.line(RecordId([9; 16]), 7);
        assert_eq!(Mark::read(&line), Some((RecordId([9; 16]), mark, 7)));
        let mut wrong = line;
        wrong[16] = 4;
        assert_eq!(Mark::read(&wrong), None);
    }
}
