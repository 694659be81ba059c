//! The sync file: an append-only log of sealed records.
//!
//! | offset | size | each record |
//! |---|---|---|
//! | 0 | 4 | length *n* of the sealed bytes, little-endian |
//! | 4 | 12 | nonce, random |
//! | 16 | 4 | start of the SHA-256 of what precedes and the record's number: tells damage from an unfinished record |
//! | 20 | *n* | AES-256-GCM of kind ‖ content, and tag; associated data is the record's number (8 bytes, little-endian) |
//!
//! Kinds: 0 a record of the replica's journal, 1 the mailboxes, 2 what the vault was given of a record (`marks.rs`), 3 where
//! a mailbox's history stands: its number (1 byte), how many names (8, big-endian), their hash (8).
//! A record that a crash left unfinished at the end is dropped: nobody was told of it. Anything else that is not as
//! it was written is refused.
//!
//! A snapshot of the replica (`doppelkey-sync`, `compact.rs`) writes the file anew, under another name that then takes
//! the place of this one: what was deleted is in it no more. A file that is new is written under that name, too, until
//! all is in it that a replica needs: whoever is killed while a circle is founded or joined may begin again.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use doppelkey_sync::{Journal, RecordId};
use getrandom::rand_core::Rng as _;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::marks::{Here, Mark};
use super::{ReplicateError, random};
use crate::private_file;

const HEADER: usize = 20;
/// No record is longer: an entry has at most a megabyte.
const RECORD_MAX: usize = 2 << 20;

/// What a record says.
pub(super) enum Line {
    /// The replica's.
    Journal(Vec<u8>),
    /// Where the mailboxes are, one a line.
    Places(String),
    /// What the vault was given of a record, and at which of its revisions.
    Applied(RecordId, Mark, u64),
    /// A mailbox's number, and where its history stands.
    Seen([u8; 17]),
}

/// The file, open for more.
pub(super) struct File {
    file: fs::File,
    cipher: Aes256Gcm,
    records: u64,
    length: u64,
    path: PathBuf,
    /// How many records of the journal it needs before it gets its name; 0 if it has it.
    unnamed_for: usize,
    /// What is to be in the file beside the journal when that is written anew.
    places: Option<String>,
    applied: BTreeMap<RecordId, Mark>,
    revision: u64,
    seen: BTreeMap<u8, [u8; 17]>,
}

impl File {
    pub(super) fn create(path: &Path, key: &[u8; 32]) -> Result<Self, ReplicateError> {
        let file = File::create_beside(path).map_err(|error| ReplicateError::File(path.to_owned(), error))?;
        let file = File::at(path, file, Aes256Gcm::new(key.into()));
        Ok(File { unnamed_for: 1, ..file })
    }

    /// A new file is found under its name once it has so many records of the journal, and at least one.
    pub(super) fn name_after(&mut self, records: usize) {
        self.unnamed_for = records.max(1);
    }

    fn at(path: &Path, file: fs::File, cipher: Aes256Gcm) -> Self {
        let (places, applied, seen) = (None, BTreeMap::new(), BTreeMap::new());
        let (path, unnamed_for) = (path.to_owned(), 0);
        let revision = 0;
        File { file, cipher, records: 0, length: 0, path, unnamed_for, places, applied, revision, seen }
    }

    /// An empty file under the other name.
    fn create_beside(path: &Path) -> io::Result<fs::File> {
        let beside = other_name(path);
        match fs::remove_file(&beside) {
            // A crash left it behind.
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => private_file::create_new(&beside),
        }
    }

    /// Gives it its name, durably.
    fn take_name(&mut self) -> io::Result<()> {
        fs::rename(other_name(&self.path), &self.path)?;
        private_file::sync_folder_of(&self.path)
    }

    /// The file and what is in it.
    pub(super) fn open(path: &Path, key: &[u8; 32]) -> Result<(Self, Vec<Line>), ReplicateError> {
        let failed = |error| ReplicateError::File(path.to_owned(), error);
        let mut file = OpenOptions::new().read(true).write(true).open(path).map_err(failed)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        let cipher = Aes256Gcm::new(key.into());
        let (mut lines, mut rest) = (Vec::new(), bytes.as_slice());
        while let Some((header, after)) = rest.split_first_chunk::<HEADER>() {
            let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
            let damaged = || ReplicateError::Damaged(path.to_owned(), lines.len());
            let number = (lines.len() as u64).to_le_bytes();
            let (front, check) = header.split_at(16);
            if check != check_of(front, &number) {
                return Err(damaged());
            }
            let Some((sealed, after)) = after.split_at_checked(length) else { break };
            let nonce: [u8; 12] = front[4..].try_into().expect("16 bytes less 4");
            let payload = Payload { msg: sealed, aad: &number };
            let opened = cipher.decrypt(&Nonce::from(nonce), payload).map_err(|_| damaged())?;
            lines.push(Line::read(&Zeroizing::new(opened)).ok_or_else(damaged)?);
            rest = after;
        }
        let length = (bytes.len() - rest.len()) as u64;
        if !rest.is_empty() {
            log::warn!("{}: dropped {} bytes that a crash left unfinished", path.display(), rest.len());
            file.set_len(length).map_err(failed)?;
        }
        file.seek(SeekFrom::Start(length)).map_err(failed)?;
        let mut opened = File::at(path, file, cipher);
        (opened.records, opened.length) = (lines.len() as u64, length);
        lines.iter().for_each(|line| opened.note(line));
        Ok((opened, lines))
    }

    /// Adds a record, durably.
    pub(super) fn append(&mut self, line: &Line) -> io::Result<()> {
        let plaintext = line.write();
        let mut nonce = [0; 12];
        random().fill_bytes(&mut nonce);
        let number = self.records.to_le_bytes();
        let payload = Payload { msg: &plaintext, aad: &number };
        let sealed = self
            .cipher
            .encrypt(&Nonce::from(nonce), payload)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "the record is too long"))?;
        if sealed.len() > RECORD_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the record is too long"));
        }
        let length = (sealed.len() as u32).to_le_bytes();
        let front = [length.as_slice(), &nonce].concat();
        let record = [front.as_slice(), &check_of(&front, &number), &sealed].concat();
        let written = self.file.write_all(&record).and_then(|()| self.file.sync_data());
        if written.is_err() {
            // Half a record in the middle would be damage: take it back, so that the next try begins clean.
            self.file.set_len(self.length)?;
            self.file.seek(SeekFrom::Start(self.length))?;
            return written;
        }
        self.records += 1;
        self.length += record.len() as u64;
        self.note(line);
        Ok(())
    }

    fn note(&mut self, line: &Line) {
        match line {
            Line::Journal(_) => {}
            Line::Places(text) => self.places = Some(text.clone()),
            Line::Seen(record) => {
                self.seen.insert(record[0], *record);
            }
            Line::Applied(id, mark, revision) => {
                self.revision = *revision;
                match mark.here {
                    Here::No => self.applied.remove(id),
                    Here::Yes | Here::Replaced | Here::Deleted => self.applied.insert(*id, *mark),
                };
            }
        }
    }

    /// The same lines with another journal, as a file beside this one that then takes its place.
    fn rewrite(&mut self, journal: &[Vec<u8>]) -> io::Result<()> {
        let mut new = File::at(&self.path, File::create_beside(&self.path)?, self.cipher.clone());
        let applied = self.applied.iter().map(|(id, mark)| Line::Applied(*id, *mark, self.revision));
        let journal = journal.iter().map(|record| Line::Journal(record.clone()));
        let places = self.places.clone().map(Line::Places);
        let seen = self.seen.values().map(|record| Line::Seen(*record));
        let mut lines = places.into_iter().chain(journal).chain(applied).chain(seen);
        let written = lines.try_for_each(|line| new.append(&line));
        if let Err(error) = written {
            let _ = fs::remove_file(other_name(&self.path));
            return Err(error);
        }
        new.take_name()?;
        *self = new;
        Ok(())
    }
}

/// The name of a file that is not finished.
fn other_name(path: &Path) -> PathBuf {
    path.with_added_extension("new")
}

fn check_of(front: &[u8], number: &[u8; 8]) -> [u8; 4] {
    let digest = Sha256::new_with_prefix(front).chain_update(number).finalize();
    [digest[0], digest[1], digest[2], digest[3]]
}

impl Journal for File {
    fn append(&mut self, record: &[u8]) -> io::Result<()> {
        File::append(self, &Line::Journal(record.to_vec()))?;
        self.unnamed_for = match self.unnamed_for {
            0 => return Ok(()),
            1 => {
                self.take_name()?;
                0
            }
            more => more - 1,
        };
        Ok(())
    }

    fn replace(&mut self, records: &[Vec<u8>]) -> io::Result<()> {
        self.rewrite(records)
    }
}

impl Line {
    fn write(&self) -> Zeroizing<Vec<u8>> {
        let applied;
        let (kind, content) = match self {
            Line::Journal(record) => (0, record.as_slice()),
            Line::Places(text) => (1, text.as_bytes()),
            Line::Applied(id, mark, revision) => {
                applied = mark.line(*id, *revision);
                (2, applied.as_slice())
            }
            Line::Seen(record) => (3, record.as_slice()),
        };
        Zeroizing::new([&[kind], content].concat())
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (kind, content) = bytes.split_first()?;
        Some(match kind {
            0 => Line::Journal(content.to_vec()),
            1 => Line::Places(String::from_utf8(content.to_vec()).ok()?),
            2 => {
                let (id, mark, revision) = Mark::read(content.try_into().ok()?)?;
                Line::Applied(id, mark, revision)
            }
            3 => Line::Seen(content.try_into().ok()?),
            _ => return None,
        })
    }
}
