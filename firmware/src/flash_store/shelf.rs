//! Sync's entries, in the log beside the credentials: carried over by copies and resets, within their own quarter.

use doppelkey_core::StoreError;
use embedded_storage::nor_flash::NorFlash;
use rand_core::CryptoRng;

use super::bank::{self, Kind};
use super::{FlashStore, Live};
use crate::shelf::{ENTRY_MAX, Name, SHELF_MAX, Shelf, name_of};

impl<F: NorFlash, R: CryptoRng, const N: usize> Shelf for FlashStore<F, R, N> {
    fn entries(&self) -> usize {
        self.index.shelf().len()
    }

    fn name(&self, index: usize) -> Option<Name> {
        self.index.shelf().get(index).map(|kept| kept.name)
    }

    fn entry(&mut self, name: &Name) -> Result<Option<&[u8]>, StoreError> {
        let Some(kept) = self.index.shelf().iter().find(|kept| kept.name == *name) else { return Ok(None) };
        // What stays behind in the buffer was sealed before it came here.
        self.bank.read(&mut self.flash, kept.place, Kind::Shelf, &mut self.buffer).map(Some)
    }

    fn keep(&mut self, entry: &[u8]) -> Result<(), StoreError> {
        let name = name_of(entry);
        if self.index.shelf().iter().any(|kept| kept.name == name) {
            return Ok(());
        }
        // A record without a body says that the shelf is empty.
        if entry.is_empty() || entry.len() > ENTRY_MAX || self.index.shelf().len() == SHELF_MAX {
            return Err(StoreError::Full);
        }
        let size = bank::record_size(entry.len());
        let (shelf, all) = (self.index.shelf_size() + size, self.index.live() + size);
        if shelf > self.capacity() / 4 || all > self.capacity() {
            return Err(StoreError::Full);
        }
        self.append(Kind::Shelf, entry.len(), |body| body.copy_from_slice(entry))
    }

    fn clear(&mut self) -> Result<(), StoreError> {
        if self.index.shelf().is_empty() {
            return Ok(());
        }
        // No byte of them is left: a record that says so would leave them there until the next copy.
        self.copy(Live::WithoutShelf)
    }
}
