//! What a record says: the plaintext that is sealed into the log.

use doppelkey_core::Slot;

/// One change, or what compaction carries over.
///
/// | offset | size | State | Put | Remove | Slot | Counter |
/// |---|---|---|---|---|---|---|
/// | 0 | 1 | 1 | 2 | 3 | 4 | 5 |
/// | 1 | | next order, 8 | length *r* of the id it replaces, 1 | id | slot, 1 | reserved, 4 |
/// | | | revision, 8 | that id, *r* | | bytes | id; none for the store's |
/// | | | records, 8 | [`Credential::encode`](doppelkey_core::Credential::encode) | | | |
///
/// Numbers are little-endian. What comes last takes what is left.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Record<'a> {
    /// The first of every file.
    State {
        /// The order the next new credential gets.
        next_order: u64,
        /// The revision at this point.
        revision: u64,
        /// How many records this file had when it became the log: fewer are never a crash's work.
        records: u64,
    },
    /// A credential is added, or takes the place of the one with its id, and another is removed.
    Put {
        /// The id of the other; empty for none.
        replaces: &'a [u8],
        /// The credential, encoded.
        credential: &'a [u8],
    },
    /// A credential is removed.
    Remove {
        /// Its id.
        id: &'a [u8],
    },
    /// A slot is replaced.
    Slot {
        /// Which.
        slot: Slot,
        /// With what.
        bytes: &'a [u8],
    },
    /// Signature counters up to this value may have been given out.
    Counter {
        /// That value.
        reserved: u32,
        /// For which credential; empty for the store's own.
        id: &'a [u8],
    },
}

/// The longest record in bytes: a Put of the longest members, and above the longest slot.
pub(super) const RECORD_MAX: usize = 8192;

impl<'a> Record<'a> {
    /// Puts the record's bytes into the buffer, which it empties first.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.clear();
        match *self {
            Self::State { next_order, revision, records } => {
                out.push(1);
                for number in [next_order, revision, records] {
                    out.extend_from_slice(&number.to_le_bytes());
                }
            }
            Self::Put { replaces, credential } => {
                out.push(2);
                // An id that is longer than 255 bytes is in no store: there is nothing to replace.
                let replaces = u8::try_from(replaces.len()).map_or(&[][..], |_| replaces);
                out.push(replaces.len() as u8);
                out.extend_from_slice(replaces);
                out.extend_from_slice(credential);
            }
            Self::Remove { id } => {
                out.push(3);
                out.extend_from_slice(id);
            }
            Self::Slot { slot, bytes } => {
                out.extend_from_slice(&[4, slot as u8]);
                out.extend_from_slice(bytes);
            }
            Self::Counter { reserved, id } => {
                out.push(5);
                out.extend_from_slice(&reserved.to_le_bytes());
                out.extend_from_slice(id);
            }
        }
    }

    /// The record with these bytes; `None` if there is none.
    pub(super) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (&kind, rest) = bytes.split_first()?;
        Some(match kind {
            1 => {
                let (numbers, rest) = rest.as_chunks::<8>();
                let &[next_order, revision, records] = numbers else { return None };
                let [next_order, revision, records] = [next_order, revision, records].map(u64::from_le_bytes);
                rest.is_empty().then_some(Self::State { next_order, revision, records })?
            }
            2 => {
                let (&length, rest) = rest.split_first()?;
                let (replaces, credential) = rest.split_at_checked(length.into())?;
                Self::Put { replaces, credential }
            }
            3 => Self::Remove { id: rest },
            4 => {
                let (&number, bytes) = rest.split_first()?;
                let slot = Slot::ALL.into_iter().find(|slot| *slot as u8 == number)?;
                Self::Slot { slot, bytes }
            }
            5 => {
                let (reserved, id) = rest.split_first_chunk::<4>()?;
                Self::Counter { reserved: u32::from_le_bytes(*reserved), id }
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_survives_encoding() {
        let records = [
            Record::State { next_order: 1, revision: u64::MAX, records: 3 },
            Record::Put { replaces: &[1, 2, 3], credential: &[4; 500] },
            Record::Put { replaces: &[], credential: &[4] },
            Record::Remove { id: &[9; 255] },
            Record::Slot { slot: Slot::Pin, bytes: &[7; 128] },
            Record::Counter { reserved: 0x0102_0304, id: &[5] },
            Record::Counter { reserved: 7, id: &[] },
        ];
        let mut bytes = Vec::new();
        for record in records {
            record.encode(&mut bytes);
            assert_eq!(Record::decode(&bytes), Some(record));
        }
    }

    #[test]
    fn bytes_of_no_record_are_refused() {
        for bytes in [&[][..], &[0], &[6, 1], &[1, 0], &[2], &[2, 3, 1], &[4], &[4, 99], &[5, 1, 2, 3]] {
            assert_eq!(Record::decode(bytes), None, "{bytes:?}");
        }
    }
}
