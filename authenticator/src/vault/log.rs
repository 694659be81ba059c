//! The log: a header and sealed records, in one file that only grows until it is rewritten.

mod header;

use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize as _, Zeroizing};

use super::custody::CustodyRecord;
use super::error::VaultError;
use super::medium::{EXCHANGED, Medium};
use super::record::{RECORD_MAX, Record};
use super::seal::{NONCE_LENGTH, Sealer, TAG_LENGTH, VaultKey, random};

pub(super) use header::Header;

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Location {
    offset: u64,
    sequence: u64,
    length: u32,
}

/// What a crash left of a record that was never acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Torn {
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// Why a record could not be written. The log is as before it.
#[derive(Debug)]
pub(super) enum WriteError {
    /// There is no room.
    Full,
    /// The medium failed, or would not take away again what it had begun to write.
    Failed,
}

/// What is known of the file on the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    /// It is what was answered.
    Sound,
    /// Behind what was answered is a part of a record that was refused, or that a crash left. It has to go before anything
    /// is added.
    Torn,
    /// A sync failed. Nobody knows what of this file is on the medium, and another sync of it can lie: the system may have
    /// given up on the bytes of the first one. Only a new file, made from what was answered, can be believed again.
    Unknown,
}

/// The log of one vault.
pub(super) struct Log {
    medium: Box<dyn Medium>,
    file: PathBuf,
    header: Header,
    key: VaultKey,
    sealer: Sealer,
    /// The length of what is known to be good.
    length: u64,
    /// The sequence number of the next record: how many there are.
    sequence: u64,
    health: Health,
    frame: Zeroizing<Vec<u8>>,
}

impl Log {
    /// Reads the header of the log on this medium; `None` if there is no log yet.
    pub(super) fn header(medium: &mut dyn Medium, file: &Path) -> Result<Option<Header>, VaultError> {
        let failed = |error| VaultError::Io { file: file.to_owned(), doing: "read", error };
        match medium.len().map_err(failed)? {
            Some(length) => Header::read(medium, length, file).map(Some),
            None => Ok(None),
        }
    }

    /// Makes a log of these records, in place of any other.
    pub(super) fn create(
        medium: Box<dyn Medium>,
        file: &Path,
        vault_id: [u8; 16],
        custody: CustodyRecord,
        key: VaultKey,
    ) -> Result<Self, VaultError> {
        let header = Header { vault_id, salt: random()?, custody };
        let sealer = Sealer::new(&key, &header.salt);
        let mut log = Log {
            medium,
            file: file.to_owned(),
            header,
            key,
            sealer,
            length: 0,
            sequence: 0,
            health: Health::Sound,
            frame: frame(),
        };
        let failed = |error| VaultError::Io { file: file.to_owned(), doing: "create", error };
        let state = Record::State { next_order: 1, revision: 0, records: 1 };
        let made = log.rewrite(|fresh| fresh.append(&state)).map_err(failed)?;
        made.durable.map_err(failed)?;
        Ok(log)
    }

    /// Opens a log with its key, and shows every record, in order, to `each`, which answers `None` if a record
    /// makes no sense. Changes nothing.
    pub(super) fn open(
        medium: Box<dyn Medium>,
        file: &Path,
        header: Header,
        key: VaultKey,
        each: impl FnMut(Record<'_>, Location) -> Option<()>,
    ) -> Result<(Self, Option<Torn>), VaultError> {
        let sealer = Sealer::new(&key, &header.salt);
        let (file, length) = (file.to_owned(), header.length());
        let mut log = Log {
            medium,
            file,
            header,
            key,
            sealer,
            length,
            sequence: 0,
            health: Health::Sound,
            frame: frame(),
        };
        let torn = log.replay(each)?;
        if torn.is_some() {
            log.health = Health::Torn;
        }
        Ok((log, torn))
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// How many records there are.
    pub(super) fn records(&self) -> u64 {
        self.sequence
    }

    /// Whether nothing can be added before a [rewrite](Self::rewrite).
    pub(super) fn is_unknown(&self) -> bool {
        self.health == Health::Unknown
    }

    /// Bytes that can still be written, if that is known.
    pub(super) fn free(&mut self) -> Option<u64> {
        self.medium.free()
    }

    /// Adds a record; it is durable when this returns.
    ///
    /// # Errors
    /// [`WriteError::Failed`] also for a log that [is unknown](Self::is_unknown).
    pub(super) fn append(&mut self, record: &Record<'_>) -> Result<Location, WriteError> {
        match self.health {
            Health::Sound => {}
            Health::Torn => self.take_back().inspect_err(|error| tell(&self.file, error))?,
            Health::Unknown => return Err(WriteError::Failed),
        }
        let nonce = random().map_err(|_| WriteError::Failed)?;
        let location = seal_frame(
            &self.sealer,
            &self.header.vault_id,
            self.length,
            self.sequence,
            nonce,
            record,
            &mut self.frame,
        );
        if let Err(error) = self.medium.append(&self.frame) {
            tell(&self.file, &error);
            self.health = Health::Torn;
            // If it cannot be taken back now, it will be before the next one.
            let _ = self.take_back();
            return Err(error.into());
        }
        if let Err(error) = self.medium.sync() {
            tell(&self.file, &error);
            self.health = Health::Unknown;
            return Err(error.into());
        }
        self.length += self.frame.len() as u64;
        self.sequence += 1;
        Ok(location)
    }

    /// Cuts off what got through of a record that was refused: what follows would stand behind a torn one.
    fn take_back(&mut self) -> io::Result<()> {
        self.medium.truncate(self.length)?;
        self.health = Health::Sound;
        Ok(())
    }

    /// Shows the record that is there; `None` if it is not what was written, or cannot be read.
    pub(super) fn read<T>(
        &mut self,
        location: Location,
        then: impl FnOnce(Record<'_>) -> Option<T>,
    ) -> Option<T> {
        self.frame.clear();
        self.frame.resize(FRAME_HEADER + location.length as usize + TAG_LENGTH, 0);
        self.medium.read_at(location.offset, &mut self.frame).ok()?;
        let found = FrameHeader::parse(self.frame.first_chunk()?)?;
        let expected = found.sequence == location.sequence && found.length == location.length;
        let body =
            expected.then(|| open_frame(&self.sealer, &self.header.vault_id, &found, &mut self.frame))?;
        let shown = body.and_then(Record::decode).and_then(then);
        self.frame.as_mut_slice().zeroize();
        shown
    }

    /// Puts a new log, with keys of its own, in the place of this one, in one step: all of it or nothing. Whatever failed
    /// before, with [`Rewritten::durable`] the log is sound.
    ///
    /// `fill` writes its records, the State first; the [`Fresh`] gives it this log's records to carry over.
    ///
    /// # Errors
    /// Nothing has changed.
    pub(super) fn rewrite<T>(
        &mut self,
        fill: impl FnOnce(&mut Fresh<'_>) -> io::Result<T>,
    ) -> io::Result<Rewritten<T>> {
        let salt = random().map_err(|_| io::Error::other("no random bytes"))?;
        let header = Header { salt, ..self.header.clone() };
        let sealer = Sealer::new(&self.key, &header.salt);
        let filled = self.fill_new(&header, &sealer, fill);
        // On a full disk, half a new file would take the room that is missing.
        let (filled, length, sequence) = filled.inspect_err(|_| self.medium.discard_new())?;
        // Whether a rename that failed was done is not known, either.
        self.medium.rename_new().inspect_err(|_| self.health = Health::Unknown)?;
        (self.header, self.sealer, self.length, self.sequence) = (header, sealer, length, sequence);
        // Should this fail, a crash could bring the old log back: nothing is added to the new one.
        let durable = self.medium.sync_directory();
        self.health = if durable.is_ok() { Health::Sound } else { Health::Unknown };
        Ok(Rewritten { filled, durable })
    }

    /// Writes and syncs the new log; with what filling it gave, its length and how many records it has.
    fn fill_new<T>(
        &mut self,
        header: &Header,
        sealer: &Sealer,
        fill: impl FnOnce(&mut Fresh<'_>) -> io::Result<T>,
    ) -> io::Result<(T, u64, u64)> {
        self.medium.create_new()?;
        let mut fresh = Fresh {
            vault_id: header.vault_id,
            pending: header.encode(sealer),
            offset: header.length(),
            sequence: 0,
            sealer,
            frame: frame(),
            old: self,
        };
        let filled = fill(&mut fresh)?;
        fresh.flush()?;
        let (length, sequence) = (fresh.offset, fresh.sequence);
        self.medium.sync_new()?;
        Ok((filled, length, sequence))
    }

    fn replay(
        &mut self,
        mut each: impl FnMut(Record<'_>, Location) -> Option<()>,
    ) -> Result<Option<Torn>, VaultError> {
        let end = self.medium.len().map_err(|error| self.unreadable(error))?.unwrap_or(0);
        let mut window = Window::new(end);
        let mut at_least = 1;
        while self.length < end {
            let offset = self.length;
            let location = match self.next_record(&mut window, &mut at_least, &mut each)? {
                Some(location) => location,
                None if self.sequence >= at_least => return Ok(Some(Torn { offset, length: end - offset })),
                None => return Err(self.corrupt("the file ends before its records do")),
            };
            self.length += FRAME_HEADER as u64 + u64::from(location.length) + TAG_LENGTH as u64;
            self.sequence += 1;
        }
        if self.sequence < at_least {
            return Err(self.corrupt("the file ends before its records do"));
        }
        Ok(None)
    }

    /// Shows the record at the end of what is known to be good, and says where it is; `None` if it is unfinished.
    fn next_record(
        &mut self,
        window: &mut Window,
        at_least: &mut u64,
        each: &mut impl FnMut(Record<'_>, Location) -> Option<()>,
    ) -> Result<Option<Location>, VaultError> {
        let (offset, end) = (self.length, window.end);
        let failed = |file: &Path, error| VaultError::Io { file: file.to_owned(), doing: "read", error };
        let found = window.frame(&mut *self.medium, offset).map_err(|error| failed(&self.file, error))?;
        let (header, bytes) = match found {
            Found::Frame(header, bytes) => (header, bytes),
            Found::Unfinished => return Ok(None),
            Found::Damaged => return Err(self.corrupt("this is not the start of a record")),
        };
        if header.sequence != self.sequence {
            return Err(self.corrupt("a record is missing, doubled or from elsewhere"));
        }
        let is_last = offset + bytes.len() as u64 == end;
        let Some(body) = open_frame(&self.sealer, &self.header.vault_id, &header, bytes) else {
            let unwritten = is_last
                && window
                    .is_unwritten(&mut *self.medium, offset, true)
                    .map_err(|error| failed(&self.file, error))?;
            return if unwritten { Ok(None) } else { Err(self.corrupt("this record was changed")) };
        };
        let record = Record::decode(body);
        if let Some(Record::State { records, .. }) = record {
            *at_least = records;
        }
        let location = Location { offset, sequence: header.sequence, length: header.length };
        match record.and_then(|record| each(record, location)) {
            Some(()) => Ok(Some(location)),
            None => Err(self.corrupt("this record makes no sense")),
        }
    }

    /// What is in the file at the end of what is known to be good is not what was written there.
    fn corrupt(&self, what: &'static str) -> VaultError {
        VaultError::Corrupt { file: self.file.clone(), offset: self.length, what }
    }

    fn unreadable(&self, error: io::Error) -> VaultError {
        VaultError::Io { file: self.file.clone(), doing: "read", error }
    }
}

/// A new log is in the place of the old one.
#[must_use]
pub(super) struct Rewritten<T> {
    /// What filling it gave.
    pub(super) filled: T,
    /// Whether it stays there after a power cut.
    pub(super) durable: io::Result<()>,
}

/// A new log that is being filled, and the old one whose place it will take.
pub(super) struct Fresh<'a> {
    old: &'a mut Log,
    vault_id: [u8; 16],
    sealer: &'a Sealer,
    pending: Vec<u8>,
    offset: u64,
    sequence: u64,
    frame: Zeroizing<Vec<u8>>,
}

impl Fresh<'_> {
    /// Adds a record to the new log.
    pub(super) fn append(&mut self, record: &Record<'_>) -> io::Result<Location> {
        let nonce = random().map_err(|_| io::Error::other("no random bytes"))?;
        let location = seal_frame(
            self.sealer,
            &self.vault_id,
            self.offset,
            self.sequence,
            nonce,
            record,
            &mut self.frame,
        );
        self.pending.extend_from_slice(&self.frame);
        self.offset += self.frame.len() as u64;
        self.sequence += 1;
        if self.pending.len() >= WINDOW {
            self.flush()?;
        }
        Ok(location)
    }

    /// Adds what the old log has at this place to the new one, without what it replaced.
    pub(super) fn carry(&mut self, location: Location) -> io::Result<Location> {
        let mut record = frame();
        self.old
            .read(location, |found| {
                match found {
                    Record::Put { credential, .. } => {
                        Record::Put { replaces: &[], credential }.encode(&mut record);
                    }
                    other => other.encode(&mut record),
                }
                Some(())
            })
            .ok_or(io::ErrorKind::InvalidData)?;
        let record = Record::decode(&record).ok_or(io::ErrorKind::InvalidData)?;
        self.append(&record)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.old.medium.append_new(&self.pending)?;
        self.pending.clear();
        Ok(())
    }
}

/// What precedes a sealed record.
struct FrameHeader {
    length: u32,
    sequence: u64,
    nonce: [u8; NONCE_LENGTH],
}

impl FrameHeader {
    fn encode(&self) -> [u8; FRAME_HEADER] {
        let mut bytes = [0; FRAME_HEADER];
        bytes[..4].copy_from_slice(&self.length.to_le_bytes());
        bytes[4..12].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[12..24].copy_from_slice(&self.nonce);
        let check = Sha256::digest(&bytes[..24]);
        bytes[24..].copy_from_slice(&check[..4]);
        bytes
    }

    fn parse(bytes: &[u8; FRAME_HEADER]) -> Option<Self> {
        let header = FrameHeader {
            length: u32::from_le_bytes(*bytes.first_chunk()?),
            sequence: u64::from_le_bytes(*bytes[4..].first_chunk()?),
            nonce: *bytes[12..].first_chunk()?,
        };
        (header.encode() == *bytes && header.length as usize <= RECORD_MAX).then_some(header)
    }

    /// Vault id ‖ record id ‖ version ‖ sequence ‖ length. The record's id is its nonce.
    fn associated(&self, vault_id: &[u8; 16]) -> [u8; 42] {
        let mut bytes = [0; 42];
        bytes[..16].copy_from_slice(vault_id);
        bytes[16..28].copy_from_slice(&self.nonce);
        bytes[28..30].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[30..38].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[38..].copy_from_slice(&self.length.to_le_bytes());
        bytes
    }
}

fn seal_frame(
    sealer: &Sealer,
    vault_id: &[u8; 16],
    offset: u64,
    sequence: u64,
    nonce: [u8; NONCE_LENGTH],
    record: &Record<'_>,
    frame: &mut Vec<u8>,
) -> Location {
    record.encode(frame);
    let length = u32::try_from(frame.len()).expect("a record is at most RECORD_MAX bytes: the store checks");
    let header = FrameHeader { length, sequence, nonce };
    let tag = sealer.seal(&nonce, &header.associated(vault_id), frame);
    frame.splice(..0, header.encode());
    frame.extend_from_slice(&tag);
    Location { offset, sequence, length }
}

/// Opens the frame in place and gives its record's bytes.
fn open_frame<'a>(
    sealer: &Sealer,
    vault_id: &[u8; 16],
    header: &FrameHeader,
    frame: &'a mut [u8],
) -> Option<&'a [u8]> {
    let (sealed, tag) = frame.get_mut(FRAME_HEADER..)?.split_last_chunk_mut()?;
    sealer.open(&header.nonce, &header.associated(vault_id), sealed, tag)?;
    Some(sealed)
}

/// What stands at a place of the log.
enum Found<'a> {
    /// A whole frame: its header, and all its bytes.
    Frame(FrameHeader, &'a mut [u8]),
    /// The beginning of a last frame whose end was never written.
    Unfinished,
    /// Neither.
    Damaged,
}

/// A part of the log in memory, for reading it from one end to the other.
struct Window {
    bytes: Zeroizing<Vec<u8>>,
    start: u64,
    end: u64,
}

impl Window {
    fn new(end: u64) -> Self {
        Window { bytes: Zeroizing::new(Vec::new()), start: 0, end }
    }

    fn frame(&mut self, medium: &mut dyn Medium, offset: u64) -> io::Result<Found<'_>> {
        let left = self.end - offset;
        if left < FRAME_HEADER as u64 {
            return Ok(Found::Unfinished);
        }
        let start = self.at(medium, offset, FRAME_HEADER)?;
        let Some(header) = start.first_chunk().and_then(FrameHeader::parse) else {
            let unwritten = self.is_unwritten(medium, offset, false)?;
            return Ok(if unwritten { Found::Unfinished } else { Found::Damaged });
        };
        let length = FRAME_HEADER + header.length as usize + TAG_LENGTH;
        if left < length as u64 {
            return Ok(Found::Unfinished);
        }
        Ok(Found::Frame(header, self.at(medium, offset, length)?))
    }

    fn at(&mut self, medium: &mut dyn Medium, offset: u64, length: usize) -> io::Result<&mut [u8]> {
        let inside = offset.checked_sub(self.start).and_then(|skipped| usize::try_from(skipped).ok());
        let skipped = match inside {
            Some(skipped) if skipped + length <= self.bytes.len() => skipped,
            _ => {
                let left = usize::try_from(self.end - offset).unwrap_or(usize::MAX);
                self.bytes.resize(length.max(WINDOW.min(left)), 0);
                medium.read_at(offset, &mut self.bytes)?;
                self.start = offset;
                0
            }
        };
        Ok(&mut self.bytes[skipped..skipped + length])
    }

    /// Whether what is from here to the end is at most one frame of which a whole sector is zeros: the file system made the
    /// file longer, and the crash came before it wrote the bytes, in whatever order. `header` says that the frame's header
    /// is whole, so that zeros before the first end of a sector are of it.
    fn is_unwritten(&self, medium: &mut dyn Medium, offset: u64, header: bool) -> io::Result<bool> {
        let left = self.end - offset;
        if left > (FRAME_HEADER + RECORD_MAX + TAG_LENGTH) as u64 {
            return Ok(false);
        }
        let mut bytes = vec![0; left as usize];
        medium.read_at(offset, &mut bytes)?;
        let first = bytes.len().min((SECTOR - offset % SECTOR) as usize);
        let (first, rest) = bytes.split_at(first);
        let is_zeros = |sector: &[u8]| sector.iter().all(|byte| *byte == 0);
        let torn = !header && is_zeros(first) || rest.chunks(SECTOR as usize).any(is_zeros);
        Ok(torn && !has_header(&bytes))
    }
}

/// Whether the header of a frame stands behind the first byte: then what precedes it was finished, and acknowledged, before.
fn has_header(bytes: &[u8]) -> bool {
    let longest = (RECORD_MAX as u32).to_le_bytes();
    let might = |start: &&[u8; FRAME_HEADER]| start[2..4] == longest[2..] && start[8..12] == [0; 4];
    let starts = bytes.windows(FRAME_HEADER).skip(1).filter_map(|start| start.first_chunk());
    starts.filter(might).any(|start| FrameHeader::parse(start).is_some())
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::Full
            }
            _ => Self::Failed,
        }
    }
}

/// Says why nothing could be written, and what next: whoever asked for it learns only that it was refused.
pub(super) fn tell(file: &Path, error: &io::Error) {
    let hint = match error.kind() {
        _ if error.to_string() == EXCHANGED => {
            "stop the program, put the file back that you want to keep, and start it again"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            "make room, and try again; what was there is still there"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "let this user write the file and its directory, and try again; what was there is still there"
        }
        _ => "check the disk, and try again; what was there is still there",
    };
    log::error!("the vault {} cannot be written: {error}", file.display());
    log::error!(target: crate::user_interface::HINT, "{hint}");
}

/// Room for the longest frame, so that no secret is left behind where a growing buffer was.
fn frame() -> Zeroizing<Vec<u8>> {
    Zeroizing::new(Vec::with_capacity(FRAME_HEADER + RECORD_MAX + TAG_LENGTH))
}

const FORMAT_VERSION: u16 = 1;
const FRAME_HEADER: usize = 28;
const WINDOW: usize = 256 * 1024;
/// What a disk writes as a whole, in bytes; where it is more, that is a multiple.
const SECTOR: u64 = 512;
