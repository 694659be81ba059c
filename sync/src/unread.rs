//! What cannot be opened yet: sealed under epochs whose secrets are not here.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::id::{EpochId, Name};

/// The most entries kept under one epoch.
const ENTRIES_MAX: usize = 1 << 16;

/// The most epochs that may be waited for.
const EPOCHS_MAX: usize = 64;

/// The most bytes kept in all: as much as a mailbox of some hundred thousand passkeys holds.
const BYTES_MAX: usize = 64 << 20;

/// Sealed entries that wait for their epoch's secret.
///
/// A mailbox may hold what it likes, so there are bounds: what is beyond them is left out, and is fetched again when the
/// device begins anew. To keep one takes as many steps as the logarithm of how many there are.
#[derive(Clone)]
pub(crate) struct Unread<N = Name> {
    sealed: BTreeMap<EpochId, BTreeMap<N, Vec<u8>>>,
    bytes: usize,
}

impl<N> Default for Unread<N> {
    fn default() -> Self {
        Unread { sealed: BTreeMap::new(), bytes: 0 }
    }
}

impl<N: Ord> Unread<N> {
    /// Keeps an entry, once, if there is room.
    pub(crate) fn keep(&mut self, epoch: EpochId, name: N, sealed: Vec<u8>) {
        let known = self.sealed.contains_key(&epoch);
        if self.bytes + sealed.len() > BYTES_MAX || !known && self.sealed.len() >= EPOCHS_MAX {
            return;
        }
        let entries = self.sealed.entry(epoch).or_default();
        if entries.len() < ENTRIES_MAX {
            let length = sealed.len();
            // The same name is the same bytes.
            let before = entries.insert(name, sealed);
            self.bytes += length - before.map_or(0, |before| before.len());
        }
    }

    /// Takes out everything of an epoch.
    pub(crate) fn take(&mut self, epoch: EpochId) -> BTreeMap<N, Vec<u8>> {
        let taken = self.sealed.remove(&epoch).unwrap_or_default();
        self.bytes -= bytes_of(&taken);
        taken
    }

    /// Leaves out the epochs of which this is not true.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&EpochId) -> bool) {
        self.sealed.retain(|epoch, _| keep(epoch));
        self.bytes = self.sealed.values().map(bytes_of).sum();
    }
}

fn bytes_of<N>(entries: &BTreeMap<N, Vec<u8>>) -> usize {
    entries.values().map(Vec::len).sum()
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use core::cell::Cell;
    use core::cmp::Ordering;

    use super::*;

    const EPOCH: EpochId = EpochId([1; 8]);

    /// A name that counts how often any is compared with another.
    #[derive(PartialEq, Eq)]
    struct Counted<'a>(u32, &'a Cell<u64>);

    impl Ord for Counted<'_> {
        fn cmp(&self, other: &Self) -> Ordering {
            self.1.set(self.1.get() + 1);
            self.0.cmp(&other.0)
        }
    }

    impl PartialOrd for Counted<'_> {
        fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }

    #[test]
    fn a_mailbox_full_of_what_cannot_be_opened_costs_a_logarithm_an_entry() {
        let work = |entries: u32| {
            let compared = Cell::new(0);
            let mut unread = Unread::default();
            // Scattered, as hashes are; and everything twice, as it comes from two mailboxes.
            for number in (0..2 * entries).map(|number| (number % entries).wrapping_mul(0x9e37_79b1)) {
                unread.keep(EPOCH, Counted(number, &compared), vec![0; 8]);
            }
            assert_eq!(unread.sealed[&EPOCH].len(), entries as usize);
            compared.get()
        };
        let (few, many) = (work(1 << 10), work(1 << 16));
        assert!(many < 4 * 64 * few, "{many} comparisons for 64 times as many as took {few}");
    }

    #[test]
    fn what_is_kept_unread_has_bounds() {
        let mut unread = Unread::default();
        for number in 0..100_000_u32 {
            unread.keep(EPOCH, number, vec![0; 16]);
        }
        assert_eq!(unread.sealed[&EPOCH].len(), ENTRIES_MAX);
        unread.take(EPOCH);
        for number in 0..200_u32 {
            unread.keep(EpochId(u64::from(number).to_be_bytes()), number, vec![0; 1 << 20]);
        }
        assert_eq!((unread.sealed.len(), unread.bytes), (EPOCHS_MAX, BYTES_MAX));
        unread.retain(|epoch| epoch.0[7] < 10);
        assert_eq!(unread.bytes, 10 << 20);
        unread.keep(EpochId([0; 8]), 0, vec![0; 1 << 20]);
        assert_eq!(unread.bytes, 10 << 20, "the same once more is the same");
    }
}
