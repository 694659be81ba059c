//! The lock: one process to a vault.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

use super::error::VaultError;
use super::medium::beside;
use crate::private_file;

/// Held as long as it lives. The operating system lets go of it with the process, however that ends.
///
/// It is a file beside the vault's (`.lock` added to the name), because compaction puts a new file in the vault's
/// place. It stays when the lock is let go: to remove it would let two processes lock two files of one name.
pub(super) struct Lock {
    file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Not left to closing the file: a program that another thread is just starting holds it open for a moment.
        let _ = self.file.unlock();
    }
}

impl Lock {
    /// Takes the lock of this vault, at once or not at all.
    pub(super) fn take(vault: &Path) -> Result<Self, VaultError> {
        let path = beside(vault, ".lock");
        let refused = |error| VaultError::Io { file: path.clone(), doing: "lock", error };
        let file = match private_file::create_new(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                OpenOptions::new().read(true).write(true).open(&path)
            }
            made => made,
        }
        .map_err(refused)?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { file }),
            Err(TryLockError::WouldBlock) => Err(VaultError::InUse { file: vault.to_owned() }),
            Err(TryLockError::Error(error)) => Err(refused(error)),
        }
    }
}
