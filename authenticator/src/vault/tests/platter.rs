//! A medium in memory that knows what is durable, and whose power can be cut at any step.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use doppelkey_core::testing::PowerCut;

use crate::vault::medium::Medium;

/// A disk with one directory; clones are the same disk.
///
/// What a cut leaves of bytes appended and not synced is a prefix, as long as [`PowerCut::survives`] says. With an odd
/// number the file's length came first: from the last whole sector on, what is missing reads as zeros; with one that is
/// three more than a multiple of four it is the other way round, and what is missing are the first sectors. A rename
/// without a sync of the directory, and a cut of the file, survive from 128 on.
#[derive(Clone, Default)]
pub(super) struct Platter(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    log: Option<Inode>,
    new: Option<Inode>,
    /// The log before a rename that is not yet durable.
    renamed_over: Option<Option<Inode>>,
    /// The power went in the middle of a rename.
    half_renamed: bool,
    cut: Option<PowerCut>,
    /// How the power went; no step works any more.
    off: Option<u8>,
}

#[derive(Clone, Default)]
struct Inode {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    /// A sync failed, and the system gave up on the bytes: later ones succeed, and make nothing durable.
    given_up: bool,
}

impl Platter {
    /// Cuts the power in so many steps.
    pub(super) fn cut(&self, cut: PowerCut) {
        self.state().cut = Some(cut);
    }

    /// The machine starts again: what was not durable is lost as the cut says. Without a cut, nothing is lost.
    pub(super) fn restart(&self) {
        let mut state = self.state();
        state.cut = None;
        let survives = state.off.take().unwrap_or(255);
        if std::mem::take(&mut state.half_renamed) && survives >= 128 {
            state.log = state.new.take();
        }
        if let Some(before) = state.renamed_over.take()
            && survives < 128
        {
            state.new = state.log.take();
            state.log = before;
        }
        let State { log, new, .. } = &mut *state;
        for inode in log.iter_mut().chain(new) {
            inode.crash(survives);
        }
    }

    /// The device works again, as after a passing failure, and nothing was restarted.
    pub(super) fn restart_power_only(&self) {
        let mut state = self.state();
        (state.cut, state.off, state.half_renamed) = (None, None, false);
    }

    /// The bytes of the log.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.state().log.as_ref().map(|log| log.bytes.clone()).unwrap_or_default()
    }

    /// How many bytes the log has.
    pub(super) fn bytes_len(&self) -> usize {
        self.state().log.as_ref().map_or(0, |log| log.bytes.len())
    }

    /// Puts these bytes in the place of the log's.
    pub(super) fn set(&self, bytes: &[u8]) {
        self.state().log = Some(Inode { bytes: bytes.to_vec(), durable: bytes.to_vec(), given_up: false });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics while it holds the platter")
    }

    /// One step that changes something. The one in which the power goes is begun, and not finished.
    fn step(&self, change: impl FnOnce(&mut State, bool) -> Option<()>) -> io::Result<()> {
        let mut state = self.state();
        if state.off.is_some() {
            return Err(io::Error::other("no power"));
        }
        let cut_now = match &mut state.cut {
            Some(PowerCut { after: 0, survives }) => Some(*survives),
            Some(cut) => {
                cut.after -= 1;
                None
            }
            None => None,
        };
        change(&mut state, cut_now.is_none()).ok_or(io::ErrorKind::NotFound)?;
        if cut_now.is_some() {
            state.off = cut_now;
            return Err(io::Error::other("the power was cut"));
        }
        Ok(())
    }
}

impl Inode {
    fn sync(&mut self, done: bool) {
        self.given_up |= !done;
        if !self.given_up {
            self.durable.clone_from(&self.bytes);
        }
    }

    fn crash(&mut self, survives: u8) {
        if self.bytes.starts_with(&self.durable) {
            let grown = self.bytes.len() - self.durable.len();
            let kept = self.durable.len() + grown * usize::from(survives) / 255;
            if survives % 2 == 1 && kept < self.bytes.len() {
                let start = self.durable.len();
                let sector = (kept - kept % SECTOR).max(start);
                let missing = if survives % 4 == 3 {
                    start..kept.max(start + 1).next_multiple_of(SECTOR).min(self.bytes.len())
                } else {
                    sector..self.bytes.len()
                };
                self.bytes[missing].fill(0);
            } else {
                self.bytes.truncate(kept);
            }
        } else if survives < 128 {
            self.bytes.clone_from(&self.durable);
        }
        self.durable.clone_from(&self.bytes);
        self.given_up = false;
    }
}

impl Medium for Platter {
    fn len(&mut self) -> io::Result<Option<u64>> {
        Ok(self.state().log.as_ref().map(|log| log.bytes.len() as u64))
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        let log = state.log.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let start = offset as usize;
        let found = log.bytes.get(start..start + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(found);
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.step(|state, _| {
            state.log.as_mut()?.bytes.extend_from_slice(bytes);
            Some(())
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        self.step(|state, done| {
            state.log.as_mut()?.sync(done);
            Some(())
        })
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.step(|state, _| {
            state.log.as_mut()?.bytes.truncate(length as usize);
            Some(())
        })
    }

    fn create_new(&mut self) -> io::Result<()> {
        self.step(|state, _| {
            state.new = Some(Inode::default());
            Some(())
        })
    }

    fn append_new(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.step(|state, _| {
            state.new.as_mut()?.bytes.extend_from_slice(bytes);
            Some(())
        })
    }

    fn sync_new(&mut self) -> io::Result<()> {
        self.step(|state, done| {
            state.new.as_mut()?.sync(done);
            Some(())
        })
    }

    fn discard_new(&mut self) {
        let mut state = self.state();
        // Without power nothing is removed.
        if state.off.is_none() {
            state.new = None;
        }
    }

    fn rename_new(&mut self) -> io::Result<()> {
        self.step(|state, done| {
            if !done {
                state.half_renamed = true;
                return Some(());
            }
            let new = state.new.take()?;
            let before = state.log.replace(new);
            state.renamed_over.get_or_insert(before);
            Some(())
        })
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        self.step(|state, done| {
            if done {
                state.renamed_over = None;
            }
            Some(())
        })
    }

    fn free(&mut self) -> Option<u64> {
        None
    }
}

const SECTOR: usize = 512;
