//! The credential store on disk: an encrypted, append-only log, and custody of its key.
//!
//! # What it promises
//! * What a call answered is on the medium (`fdatasync`) when it returns, and there after a crash at any moment.
//! * Nothing that was changed on the medium is believed: every byte of the file is authenticated, and its place too.
//!   Only an incomplete last record, as a crash leaves it, is dropped, and never one that the file had when it was
//!   last rewritten. Everything else is refused with file and offset, and the file left as it was.
//! * A write that failed leaves the vault as it was, and the next one works if the medium does again. After a failed sync
//!   nothing is added to that file any more: the next write makes a new one of what was answered.
//! * One process to a vault, under whatever names its file has.
//! * A file that is removed or replaced while it is open takes nothing more, and the user is told.
//! * Private keys are in memory only while a call uses them. Reading writes nothing.
//!
//! What it cannot promise: that the file is the *newest* one. Whoever can write to the disk can put back a whole
//! older copy of it, or cut off whole records at its end; both look like what a restored backup or a crash leaves.
//! PIN retries and signature counters then go back with it. Only memory that an attacker cannot write would help.
//!
//! # The file
//! Numbers are little-endian.
//!
//! | offset | size | header |
//! |---|---|---|
//! | 0 | 8 | `doppelkv` |
//! | 8 | 2 | format version, 1 |
//! | 10 | 2 | length *h* of the header |
//! | 12 | 16 | vault id, random |
//! | 28 | 32 | salt of this file, random at every rewrite |
//! | 60 | 1 | custody: 0 memory, 1 keyring, 2 keyutils, 3 key file, 4 passphrase |
//! | 61 | *h* − 109 | the custody's parameters (`custody.rs`) |
//! | *h* − 48 | 32 | SHA-256 of what precedes: tells a damaged header from a wrong key |
//! | *h* − 16 | 16 | AES-256-GCM tag of what precedes, under the header's key |
//!
//! | offset | size | each record |
//! |---|---|---|
//! | 0 | 4 | length *n* of the body |
//! | 4 | 8 | sequence: 0, 1, 2, … in each file |
//! | 12 | 12 | nonce, random: the record's id |
//! | 24 | 4 | start of the SHA-256 of what precedes: tells a damaged length from an incomplete record |
//! | 28 | *n* | body (`record.rs`), encrypted with AES-256-GCM under the records' key |
//! | 28 + *n* | 16 | tag; associated data is vault id ‖ nonce ‖ version ‖ sequence ‖ *n* |
//!
//! Both keys come from the vault's key by HKDF-SHA256 with the file's salt. A file is rewritten (a new one is
//! written, synced, renamed over the old, the directory synced) when it is opened and holds anything that no longer
//! counts (if there is room), when more than half of it does not, and at a reset, so that what was forgotten leaves the
//! file.

mod custody;
mod error;
pub mod exchange;
mod index;
mod lock;
mod log;
mod medium;
mod record;
mod seal;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use doppelkey_core::{Credential, CredentialStore, Slot, StoreError};

use self::custody::{CustodyRecord, Renewal};
use self::index::{Counter, Index};
use self::lock::Lock;
use self::log::{Location, Log, Rewritten, WriteError};
use self::medium::{Disk, Medium, Memory};
use self::record::Record;
use self::seal::VaultKey;

use crate::data_directory::data_directory;
use crate::{private_file, stack};

pub(crate) use custody::kernel_forgets;
pub use custody::{Custody, CustodyKind, try_custodies};
pub use error::VaultError;

/// Something the user should be told after a vault was opened. Nothing is wrong; nothing is silent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// A new vault was made.
    Created,
    /// The key is in kernel memory: after a reboot, or if nobody opens the vault for some days, it can no longer be opened,
    /// and its passkeys are lost.
    KeyInKernel {
        /// How long after the vault was last open; `None` if that has no end but a reboot.
        expires_after: Option<Duration>,
    },
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
    /// The file could not be rewritten without what no longer counts: an earlier state of what was changed, what was
    /// deleted, an incomplete last record. That is left for the next write or the next opening.
    NotRewritten {
        /// Why not.
        reason: String,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Created => f.write_str("a new vault was made"),
            Self::KeyInKernel { expires_after } => write!(
                f,
                "the vault's key is in kernel memory only: {} it cannot be opened any more, and all its passkeys are \
                 lost; for passkeys that are to stay, make a vault with --custody file:PATH or --custody passphrase",
                custody::kernel_forgets_after(*expires_after)
            ),
            Self::KeyringUnavailable { reason } => write!(f, "the keyring could not be used: {reason}"),
            Self::NotRewritten { reason } => write!(
                f,
                "what no longer counts could not be removed from the vault's file: {reason}; make room on its disk, and \
                 start the program again"
            ),
            Self::TornTail { offset, length } => write!(
                f,
                "dropped {length} bytes at byte {offset} that a crash left unfinished; nothing acknowledged was lost"
            ),
        }
    }
}

/// A [`CredentialStore`] in one encrypted file, or in memory.
///
/// ```
/// use doppelkey::vault::{Custody, Vault};
/// use doppelkey_core::CredentialStore as _;
///
/// let directory = tempfile::tempdir()?;
/// let key = Custody::File(directory.path().join("key"));
/// let mut vault = Vault::open(&directory.path().join("vault"), Some(key))?;
/// assert_eq!(vault.len(), Ok(0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Vault {
    log: Log,
    index: Index,
    custody: CustodyKind,
    notices: Vec<Notice>,
    /// How many records the log may have before it is looked at for what no longer counts.
    look_at: u64,
    /// Whether the disk had no room when it was last asked: that is told once.
    is_full: bool,
    _renewal: Option<Renewal>,
    _lock: Option<Lock>,
}

impl Vault {
    /// Opens the vault in this file; makes it if there is no such file.
    ///
    /// `custody` is where the key of a new vault goes; `None` goes down the ladder: the keyring, then the kernel, which
    /// [forgets it](Notice::KeyInKernel).
    /// An existing vault says itself where its key is: another `custody` is an error, never a new key. For a key
    /// file that was moved, `custody` says where it is now.
    ///
    /// Blocks while the keyring asks the user to unlock it, and while a passphrase is typed.
    ///
    /// # Errors
    /// The environment's fault ([`VaultError::Io`], `InUse`, a custody that does not answer), the caller's (`WrongKey`,
    /// `OtherCustody`, `MissingDirectory`) or a damaged file's (`Corrupt`, with the offset). The file is left as it was.
    pub fn open(path: &Path, custody: Option<Custody>) -> Result<Self, VaultError> {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        // A link is followed, or the first rewrite would put a file in its place.
        let path = match path.canonicalize() {
            Ok(found) => found,
            Err(_) => not_a_link(path)?,
        };
        let directory = path.parent().unwrap_or(Path::new("/"));
        if !directory.is_dir() {
            return Err(VaultError::MissingDirectory { directory: directory.to_owned() });
        }
        let lock = Lock::take(&path)?;
        let disk = Disk::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => VaultError::InUse { file: path.clone() },
            _ => VaultError::Io { file: path.clone(), doing: "open", error },
        })?;
        let opened = Self::open_on(Box::new(disk), &path, custody);
        // Every passkey was read.
        stack::scrub();
        let mut vault = opened?;
        vault._lock = Some(lock);
        Ok(vault)
    }

    /// A vault in memory, gone with this value.
    ///
    /// # Errors
    /// If the operating system gives no randomness.
    pub fn ephemeral() -> Result<Self, VaultError> {
        Self::create(
            Box::<Memory>::default(),
            Path::new("memory"),
            seal::random()?,
            CustodyRecord::ephemeral(),
            zeroize::Zeroizing::new(seal::random()?),
        )
    }

    /// `$XDG_DATA_HOME/doppelkey/vault` or `~/.local/share/doppelkey/vault`, on Windows `%LOCALAPPDATA%\doppelkey\vault`.
    /// Neither it nor its directory need be there.
    ///
    /// # Errors
    /// [`VaultError::NoHome`].
    pub fn default_path() -> Result<PathBuf, VaultError> {
        Ok(data_directory().ok_or(VaultError::NoHome)?.join("vault"))
    }

    /// The directory of [`Vault::default_path`], which its owner alone may enter. It is made, if it is not there; else it
    /// stays as it is.
    ///
    /// # Errors
    /// [`VaultError::NoHome`], or [`VaultError::Io`] if it cannot be made.
    pub fn make_default_directory() -> Result<PathBuf, VaultError> {
        let directory = data_directory().ok_or(VaultError::NoHome)?;
        match private_file::create_folder(&directory) {
            Ok(()) => Ok(directory),
            Err(error) => Err(VaultError::Io { file: directory, doing: "create", error }),
        }
    }

    /// Where this vault's key is kept.
    pub fn custody(&self) -> CustodyKind {
        self.custody
    }

    /// What the user should be told about this opening.
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    fn open_on(
        mut medium: Box<dyn Medium>,
        file: &Path,
        custody: Option<Custody>,
    ) -> Result<Self, VaultError> {
        let Some(header) = Log::header(&mut *medium, file)? else {
            let vault_id = seal::random()?;
            let kept = custody::keep_new(custody, &vault_id)?;
            let mut vault = Self::create(medium, file, vault_id, kept.record, kept.key)?;
            vault.notices.extend(kept.notices);
            return Ok(vault);
        };
        let key = custody::fetch(&header.custody, custody, &header.vault_id, file)?;
        let vault = Self::load(medium, file, header, key)?;
        Ok(vault)
    }

    fn create(
        medium: Box<dyn Medium>,
        file: &Path,
        vault_id: [u8; 16],
        custody: CustodyRecord,
        key: VaultKey,
    ) -> Result<Self, VaultError> {
        let kind = custody.kind().unwrap_or(CustodyKind::Ephemeral);
        let renewal = custody::renew(kind, &vault_id, &key);
        let log = Log::create(medium, file, vault_id, custody, key)?;
        let notices = Vec::from_iter((kind != CustodyKind::Ephemeral).then_some(Notice::Created));
        Ok(Vault {
            log,
            index: Index::new(),
            custody: kind,
            notices,
            look_at: LOOK_MIN,
            is_full: false,
            _renewal: renewal,
            _lock: None,
        })
    }

    fn load(
        mut medium: Box<dyn Medium>,
        file: &Path,
        header: log::Header,
        key: VaultKey,
    ) -> Result<Self, VaultError> {
        let custody = header.custody.kind().unwrap_or(CustodyKind::Ephemeral);
        let fits = header.is_of(&key, &mut *medium);
        if !fits.map_err(|error| VaultError::Io { file: file.to_owned(), doing: "read", error })? {
            return Err(VaultError::WrongKey { file: file.to_owned(), custody });
        }
        let renewal = custody::renew(custody, &header.vault_id, &key);
        let mut index = Index::new();
        let (log, torn) = Log::open(medium, file, header, key, |record, at| index.apply(record, at))?;
        let mut vault = Vault {
            log,
            index,
            custody,
            notices: Vec::new(),
            look_at: LOOK_MIN,
            is_full: false,
            _renewal: renewal,
            _lock: None,
        };
        if custody == CustodyKind::Keyutils {
            vault.notices.push(custody::in_kernel());
        }
        if let Some(torn) = torn {
            vault.notices.push(Notice::TornTail { offset: torn.offset, length: torn.length });
        }
        if torn.is_some() || vault.log.records() > vault.index.live_records() {
            // What is there can be read without: on a full disk nobody should be kept from signing in.
            if let Err(error) = vault.compact().and_then(|durable| durable) {
                vault.notices.push(Notice::NotRewritten { reason: error.to_string() });
            }
        }
        Ok(vault)
    }

    /// Rewrites the log with what still counts, and says whether that is durable.
    ///
    /// # Errors
    /// Nothing has changed.
    fn compact(&mut self) -> io::Result<io::Result<()>> {
        let Vault { log, index, .. } = self;
        let state = Record::State {
            next_order: index.next_order,
            // Each credential that follows counts as a change when this is read.
            revision: index.revision.saturating_sub(index.len() as u64),
            records: index.live_records(),
        };
        let Rewritten { filled: (slots, credentials), durable } = log.rewrite(|fresh| {
            fresh.append(&state)?;
            let mut slots = Vec::new();
            for slot in Slot::ALL {
                if let Some(at) = index.slot(slot) {
                    slots.push((slot, fresh.carry(at)?));
                }
            }
            if index.counter.reserved > 0 {
                fresh.append(&Record::Counter { reserved: index.counter.reserved, id: &[] })?;
            }
            let mut credentials = Vec::with_capacity(index.len());
            for (order, entry) in index.entries() {
                credentials.push((order, fresh.carry(entry.location)?));
                if entry.counter.reserved > 0 {
                    fresh.append(&Record::Counter { reserved: entry.counter.reserved, id: &entry.id })?;
                }
            }
            Ok((slots, credentials))
        })?;
        for (slot, at) in slots {
            index.set_slot(slot, at);
        }
        index.moved(credentials);
        self.look_at = LOOK_MIN + 2 * self.log.records();
        Ok(durable)
    }

    /// As [`compact`](Self::compact), told to the user if it fails.
    fn compact_or_tell(&mut self) -> Result<(), StoreError> {
        let done = self.compact().and_then(|durable| durable);
        done.map_err(|error| {
            log::tell(self.log.file(), &error);
            WriteError::from(error).into()
        })
    }

    /// Adds a record, after making room if most of what is there no longer counts, and a new file if the medium failed.
    fn append(&mut self, record: &Record<'_>) -> Result<Location, StoreError> {
        if self.log.is_unknown() {
            self.compact_or_tell()?;
        } else if self.log.records() >= self.look_at {
            let live = self.index.live_records();
            self.look_at = LOOK_MIN + 2 * live.max(self.log.records() / 2);
            if self.log.records() > 2 * live {
                self.compact_or_tell()?;
            }
        }
        Ok(self.log.append(record)?)
    }

    fn credential(&mut self, at: Option<Location>) -> Result<Option<Credential>, StoreError> {
        let Some(at) = at else { return Ok(None) };
        let shown = self.log.read(at, |record| match record {
            Record::Put { credential, .. } => Credential::decode(credential),
            _ => None,
        });
        shown.map(Some).ok_or(StoreError::Fault)
    }
}

/// A path at which nothing can be found, and no link either: whose vault is not there just now, on a disk that is not
/// mounted, say, is not to find a new one in the link's place.
fn not_a_link(path: PathBuf) -> Result<PathBuf, VaultError> {
    match fs::read_link(&path) {
        Ok(target) => Err(VaultError::LinkToNothing { link: path, target }),
        Err(_) => Ok(path),
    }
}

impl CredentialStore for Vault {
    fn get(&mut self, id: &[u8]) -> Result<Option<Credential>, StoreError> {
        self.credential(self.index.find(id))
    }

    fn newest_before(
        &mut self,
        rp_id_hash: &[u8; 32],
        before: u64,
    ) -> Result<Option<Credential>, StoreError> {
        self.credential(self.index.newest_before(rp_id_hash, before))
    }

    fn next_rp(&mut self, after: Option<&[u8; 32]>) -> Result<Option<Credential>, StoreError> {
        match self.index.next_rp(after) {
            Some(rp_id_hash) => self.newest_before(&rp_id_hash, u64::MAX),
            None => Ok(None),
        }
    }

    fn find_user(&mut self, rp_id_hash: &[u8; 32], user_id: &[u8]) -> Result<Option<Credential>, StoreError> {
        for at in self.index.of_account(rp_id_hash, user_id) {
            let found = self.credential(Some(at))?;
            if let Some(credential) = found
                && credential.rp_id_hash == *rp_id_hash
                && credential.user.id == user_id
            {
                return Ok(Some(credential));
            }
        }
        Ok(None)
    }

    fn put(&mut self, credential: &Credential, replaces: Option<&[u8]>) -> Result<(), StoreError> {
        let known = self.index.order(&credential.id);
        if known.is_none() && self.index.len() >= CAPACITY {
            return Err(StoreError::Full);
        }
        let mut credential = credential.clone();
        credential.order = known.unwrap_or(self.index.next_order);
        let replaces = replaces.unwrap_or(&[]);
        let encoded = credential.encode();
        let at = self.append(&Record::Put { replaces, credential: &encoded })?;
        self.index.put(&credential, replaces, at);
        Ok(())
    }

    fn remove(&mut self, id: &[u8]) -> Result<bool, StoreError> {
        if self.index.order(id).is_none() {
            return Ok(false);
        }
        self.append(&Record::Remove { id })?;
        Ok(self.index.remove(id).is_some())
    }

    fn next_sign_count(&mut self, id: Option<&[u8]>) -> Result<u32, StoreError> {
        let id = match id {
            Some([]) => return Err(StoreError::Fault),
            Some(id) => id,
            None => &[],
        };
        let Counter { given, reserved } = *self.index.counter_mut(id).ok_or(StoreError::Fault)?;
        let next = given.checked_add(1).ok_or(StoreError::Full)?;
        let reserved = if next > reserved {
            let reserved = next.saturating_add(COUNTER_BLOCK - 1);
            self.append(&Record::Counter { reserved, id })?;
            reserved
        } else {
            reserved
        };
        *self.index.counter_mut(id).ok_or(StoreError::Fault)? = Counter { given: next, reserved };
        Ok(next)
    }

    fn last_sign_count(&mut self, id: &[u8]) -> Result<Option<u32>, StoreError> {
        let has_one = self.get(id)?.is_some_and(|credential| credential.sign_count.is_some());
        Ok(self.index.counter_mut(id).filter(|_| has_one).map(|counter| counter.given))
    }

    fn len(&mut self) -> Result<u32, StoreError> {
        u32::try_from(self.index.len()).map_err(|_| StoreError::Fault)
    }

    fn remaining(&mut self) -> Result<u32, StoreError> {
        let room = self.log.free().map_or(u64::MAX, |free| free / ROOM_FOR_ONE);
        // Whoever asked for a passkey learns only that it was refused.
        let was_full = std::mem::replace(&mut self.is_full, room == 0);
        if self.is_full && !was_full {
            log::tell(self.log.file(), &io::ErrorKind::StorageFull.into());
        }
        let left = CAPACITY.saturating_sub(self.index.len()) as u64;
        Ok(u32::try_from(left.min(room)).unwrap_or(u32::MAX))
    }

    fn revision(&mut self) -> Result<u64, StoreError> {
        Ok(self.index.revision)
    }

    fn read(&mut self, slot: Slot, buffer: &mut [u8]) -> Result<Option<usize>, StoreError> {
        let Some(at) = self.index.slot(slot) else { return Ok(None) };
        let copied = self.log.read(at, |record| match record {
            Record::Slot { slot: found, bytes } if found == slot => {
                buffer.get_mut(..bytes.len())?.copy_from_slice(bytes);
                Some(bytes.len())
            }
            _ => None,
        });
        copied.map(Some).ok_or(StoreError::Fault)
    }

    fn write(&mut self, slot: Slot, bytes: &[u8]) -> Result<(), StoreError> {
        if bytes.len() > doppelkey_core::LARGE_BLOBS_MAX {
            return Err(StoreError::Full);
        }
        let at = self.append(&Record::Slot { slot, bytes })?;
        self.index.set_slot(slot, at);
        Ok(())
    }

    fn reset(&mut self) -> Result<(), StoreError> {
        let mut emptied = Index::new();
        emptied.next_order = self.index.next_order;
        emptied.revision = self.index.revision + 1;
        emptied.counter = self.index.counter;
        let kept = self.index.slot(Slot::Sync);
        if let Some(at) = kept {
            emptied.set_slot(Slot::Sync, at);
        }
        let before = std::mem::replace(&mut self.index, emptied);
        let done = match self.compact() {
            Ok(durable) => durable,
            Err(error) => {
                self.index = before;
                Err(error)
            }
        };
        done.map_err(|error| {
            log::tell(self.log.file(), &error);
            WriteError::from(error).into()
        })
    }
}

impl From<WriteError> for StoreError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Full => StoreError::Full,
            WriteError::Failed => StoreError::Fault,
        }
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault")
            .field("file", &self.log.file())
            .field("custody", &self.custody)
            .finish_non_exhaustive()
    }
}

/// The most credentials in a vault.
const CAPACITY: usize = 1_000_000;
/// What one more credential takes on disk at most, with what replaces it and its counter.
const ROOM_FOR_ONE: u64 = 4096;
/// Signature counters are written ahead in blocks: one write in so many assertions, and as many values skipped at
/// most when the vault is opened again.
const COUNTER_BLOCK: u32 = 64;
const LOOK_MIN: u64 = 4096;
