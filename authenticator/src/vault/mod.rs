//! The credential store on disk: an encrypted, append-only log, and custody of its key.

mod custody;
mod error;

use std::fmt;
use std::path::{Path, PathBuf};

use doppelkey_core::{Credential, CredentialStore, Slot, StoreError};

pub use custody::{Custody, CustodyKind};
pub use error::VaultError;

/// Something the user should be told after a vault was opened. Nothing is wrong; nothing is silent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// A new vault was made.
    Created,
    /// The key is in kernel memory: at the next reboot the vault can no longer be opened.
    GoneAtReboot,
    /// The keyring could not be used, and the next rung of the ladder was taken.
    KeyringUnavailable {
        /// Why not.
        reason: String,
    },
    /// The last record was incomplete, as a crash leaves it, and was dropped. It had never been acknowledged.
    TornTail {
        /// Where it began.
        offset: u64,
        /// How many bytes of it there were.
        length: u64,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Created => f.write_str("a new vault was made"),
            Self::GoneAtReboot => f.write_str(
                "the vault's key is in kernel memory: after a reboot this vault cannot be opened any more",
            ),
            Self::KeyringUnavailable { reason } => write!(f, "the keyring could not be used: {reason}"),
            Self::TornTail { offset, length } => write!(
                f,
                "dropped {length} bytes at byte {offset} that a crash left unfinished; nothing acknowledged was lost"
            ),
        }
    }
}

/// A [`CredentialStore`] in one encrypted file, or in memory.
pub struct Vault {
    custody: CustodyKind,
    notices: Vec<Notice>,
}

impl Vault {
    /// Opens the vault in this file; makes it if there is no such file.
    ///
    /// `custody` is where the key of a new vault goes; `None` goes down the ladder: the keyring, then the kernel.
    /// An existing vault says itself where its key is: another `custody` is an error, never a new key.
    pub fn open(path: &Path, custody: Option<Custody>) -> Result<Self, VaultError> {
        let _ = (path, custody);
        Err(VaultError::NoHome)
    }

    /// A vault in memory, gone with this value.
    pub fn ephemeral() -> Result<Self, VaultError> {
        Ok(Vault { custody: CustodyKind::Ephemeral, notices: Vec::new() })
    }

    /// `$XDG_DATA_HOME/doppelkey/vault` or `~/.local/share/doppelkey/vault`; makes the directory (mode 0700).
    pub fn default_path() -> Result<PathBuf, VaultError> {
        Err(VaultError::NoHome)
    }

    /// Where this vault's key is kept.
    pub fn custody(&self) -> CustodyKind {
        self.custody
    }

    /// What the user should be told about this opening.
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }
}

impl CredentialStore for Vault {
    fn get(&mut self, _: &[u8]) -> Result<Option<Credential>, StoreError> {
        Err(StoreError::Fault)
    }
    fn newest_before(&mut self, _: &[u8; 32], _: u64) -> Result<Option<Credential>, StoreError> {
        Err(StoreError::Fault)
    }
    fn next_rp(&mut self, _: Option<&[u8; 32]>) -> Result<Option<Credential>, StoreError> {
        Err(StoreError::Fault)
    }
    fn put(&mut self, _: &Credential, _: Option<&[u8]>) -> Result<(), StoreError> {
        Err(StoreError::Fault)
    }
    fn remove(&mut self, _: &[u8]) -> Result<bool, StoreError> {
        Err(StoreError::Fault)
    }
    fn next_sign_count(&mut self, _: Option<&[u8]>) -> Result<u32, StoreError> {
        Err(StoreError::Fault)
    }
    fn len(&mut self) -> Result<u32, StoreError> {
        Err(StoreError::Fault)
    }
    fn remaining(&mut self) -> Result<u32, StoreError> {
        Err(StoreError::Fault)
    }
    fn revision(&mut self) -> Result<u64, StoreError> {
        Err(StoreError::Fault)
    }
    fn read(&mut self, _: Slot, _: &mut [u8]) -> Result<Option<usize>, StoreError> {
        Err(StoreError::Fault)
    }
    fn write(&mut self, _: Slot, _: &[u8]) -> Result<(), StoreError> {
        Err(StoreError::Fault)
    }
    fn reset(&mut self) -> Result<(), StoreError> {
        Err(StoreError::Fault)
    }
}
