//! One bank: what is in it, reading it from its start, appending to it. The layout is in the [parent](super).

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Nonce, Tag};
use doppelkey_core::StoreError;
use doppelkey_core::aes256::Aes256Gcm;
use embedded_storage::nor_flash::NorFlash;
use hkdf::Hkdf;
use rand_core::CryptoRng;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    State = 1,
    Put = 2,
    Remove = 3,
    Slot = 4,
    Counter = 5,
    Shelf = 6,
}

/// What a bank turns out to be, before anything of it is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Erased; the clean marker may be there.
    Blank,
    /// Begun, and cut off before it counted. Nothing in it was ever promised.
    Unfinished,
    /// A log that counts, of this generation.
    Complete(u32),
    /// A header of ours (with its generation) or none at all (0), and then something that cannot be read.
    Damaged(u32),
}

/// A bank with a header of ours.
#[derive(Clone)]
pub(super) struct Bank {
    start: u32,
    size: u32,
    generation: u32,
    /// Where the next record goes, from the bank's start.
    end: u32,
    cipher: Option<Aes256Gcm>,
}

impl Bank {
    /// No bank: what a store has before it has opened one.
    pub(super) fn none() -> Self {
        Bank { start: 0, size: 0, generation: 0, end: 0, cipher: None }
    }

    /// Writes a header into a clean bank.
    pub(super) fn create<F: NorFlash>(
        flash: &mut F,
        start: u32,
        size: u32,
        generation: u32,
        root: &Zeroizing<[u8; 32]>,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, StoreError> {
        let mut header = [0; HEADER];
        header[..8].copy_from_slice(MAGIC);
        header[8..12].copy_from_slice(&generation.to_le_bytes());
        rng.fill_bytes(&mut header[16..32]);
        let cipher = derive(root, &header);
        let (said, tag) = header.split_at_mut(HEADER - TAG);
        tag.copy_from_slice(&seal(&cipher, HEADER_NONCE, said, &mut []));
        flash.write(start + MARKER, &header).map_err(fault)?;
        Ok(Bank { start, size, generation, end: RECORDS, cipher: Some(cipher) })
    }

    /// Opens a bank by its header; the log is not read yet.
    pub(super) fn open<F: NorFlash>(
        flash: &mut F,
        start: u32,
        size: u32,
        root: &Zeroizing<[u8; 32]>,
    ) -> Result<Self, StoreError> {
        let mut header = [0; HEADER];
        flash.read(start + MARKER, &mut header).map_err(fault)?;
        let (said, tag) = header.split_at(HEADER - TAG);
        let cipher = derive(root, &header);
        let is_ours = &header[..8] == MAGIC && open(&cipher, HEADER_NONCE, said, &mut [], tag);
        if !is_ours {
            return Err(StoreError::Fault);
        }
        let generation = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
        Ok(Bank { start, size, generation, end: RECORDS, cipher: Some(cipher) })
    }

    /// Reads the whole log in order, and moves the end behind it. `true` if the end is torn: nothing may be
    /// appended.
    ///
    /// # Errors
    /// [`StoreError::Fault`] at a committed record that is not what was written, and whatever `visit` says.
    pub(super) fn replay<F: NorFlash>(
        &mut self,
        flash: &mut F,
        buffer: &mut [u8],
        mut visit: impl FnMut(Kind, u32, u32, &[u8]) -> Result<(), StoreError>,
    ) -> Result<bool, StoreError> {
        loop {
            match self.look(flash, buffer)? {
                Look::Record { kind, length, committed } => {
                    let place = self.end;
                    let size = record_size(length);
                    visit(kind, place, size, &buffer[..length])?;
                    self.end += size;
                    if !committed {
                        return Ok(true);
                    }
                }
                Look::End => return Ok(false),
                Look::Torn => return Ok(true),
                Look::Damaged => return Err(StoreError::Fault),
            }
        }
    }

    /// Appends the record whose body is at the buffer's start; returns its place and size, with the body read back.
    ///
    /// # Errors
    /// [`StoreError::Full`] if there is no room; nothing was written. [`StoreError::Fault`] if the flash refused or
    /// does not hold what was written; the log may have a torn end now.
    pub(super) fn append<F: NorFlash>(
        &mut self,
        flash: &mut F,
        kind: Kind,
        length: usize,
        buffer: &mut [u8],
    ) -> Result<(u32, u32), StoreError> {
        let size = record_size(length);
        if size > self.room() {
            return Err(StoreError::Full);
        }
        let place = self.end;
        let header = record_header(place, kind, length);
        let sealed = &mut buffer[..(length + TAG).next_multiple_of(UNIT)];
        let tag = seal(self.cipher()?, place, &header, &mut sealed[..length]);
        sealed[length..length + TAG].copy_from_slice(&tag);
        sealed[length + TAG..].fill(0);

        let address = self.start + place;
        flash.write(address, &header).map_err(fault)?;
        flash.write(address + RECORD_HEADER, sealed).map_err(fault)?;
        flash.write(address + size - COMMIT, &[0; COMMIT as usize]).map_err(fault)?;
        self.read(flash, place, kind, buffer)?;
        self.end += size;
        Ok((place, size))
    }

    /// Reads one record's body into the buffer. [`StoreError::Fault`] if it is not a record of this kind.
    pub(super) fn read<'b, F: NorFlash>(
        &self,
        flash: &mut F,
        place: u32,
        kind: Kind,
        buffer: &'b mut [u8],
    ) -> Result<&'b [u8], StoreError> {
        let at = Bank { end: place, ..self.clone() };
        match at.look(flash, buffer)? {
            Look::Record { kind: found, length, .. } if found == kind => Ok(&buffer[..length]),
            _ => Err(StoreError::Fault),
        }
    }

    /// The bytes that are left.
    pub(super) fn room(&self) -> u32 {
        self.size.saturating_sub(self.end)
    }

    /// Where it starts in the flash.
    pub(super) fn start(&self) -> u32 {
        self.start
    }

    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    /// What is at the end: decrypted into the buffer, if it is a record.
    fn look<F: NorFlash>(&self, flash: &mut F, buffer: &mut [u8]) -> Result<Look, StoreError> {
        if self.room() < record_size(0) {
            return Ok(Look::End);
        }
        let mut header = [0; RECORD_HEADER as usize];
        let address = self.start + self.end;
        flash.read(address, &mut header).map_err(fault)?;
        let rest = address + RECORD_HEADER;
        let Some((kind, length)) = parse_record_header(self.end, &header) else {
            // The header of a torn record has nothing behind it: it is the first of three writes.
            let nothing_behind = is_blank(flash, rest, self.start + self.size)?;
            return Ok(match (header.iter().all(|&byte| byte == ERASED), nothing_behind) {
                (true, true) => Look::End,
                (false, true) => Look::Torn,
                (_, false) => Look::Damaged,
            });
        };
        let size = record_size(length);
        if size > self.room() || (length + TAG).next_multiple_of(UNIT) > buffer.len() {
            return Ok(Look::Damaged);
        }
        let commit = address + size - COMMIT;
        let committed = !is_blank(flash, commit, commit + COMMIT)?;
        let sealed = &mut buffer[..(length + TAG).next_multiple_of(UNIT)];
        flash.read(rest, sealed).map_err(fault)?;
        let (body, tag) = sealed.split_at_mut(length);
        let whole = open(self.cipher()?, self.end, &header, body, &tag[..TAG]);
        Ok(match (whole, committed) {
            (true, committed) => Look::Record { kind, length, committed },
            (false, true) => Look::Damaged,
            // What was cut off is the last there is; something behind it was written later, so it was not cut off.
            (false, false) if is_blank(flash, commit, self.start + self.size)? => Look::Torn,
            (false, false) => Look::Damaged,
        })
    }

    fn cipher(&self) -> Result<&Aes256Gcm, StoreError> {
        self.cipher.as_ref().ok_or(StoreError::Fault)
    }
}

/// What stands at a place of the log.
enum Look {
    Record { kind: Kind, length: usize, committed: bool },
    End,
    Torn,
    Damaged,
}

/// Finds out what a bank is. Changes nothing.
pub(super) fn find<F: NorFlash>(
    flash: &mut F,
    start: u32,
    size: u32,
    root: &Zeroizing<[u8; 32]>,
    buffer: &mut [u8],
) -> Result<Found, StoreError> {
    let records = start + RECORDS;
    let Ok(mut bank) = Bank::open(flash, start, size, root) else {
        return Ok(if is_blank(flash, start + MARKER, start + size)? {
            Found::Blank
        } else if is_blank(flash, records, start + size)? {
            Found::Unfinished
        } else {
            Found::Damaged(0)
        });
    };
    let generation = bank.generation;
    let mut counts = false;
    let log = bank.replay(flash, buffer, |kind, _, _, _| {
        counts |= kind == Kind::State;
        Ok(())
    });
    Ok(match log {
        Err(StoreError::Fault) => Found::Damaged(generation),
        Err(error) => return Err(error),
        Ok(_) if counts => Found::Complete(generation),
        Ok(_) => Found::Unfinished,
    })
}

/// Erases a bank and says so in it.
pub(super) fn erase<F: NorFlash>(flash: &mut F, start: u32, size: u32) -> Result<(), StoreError> {
    flash.erase(start, start + size).map_err(fault)?;
    flash.write(start, CLEAN).map_err(fault)
}

/// Whether the bank was erased to the end and not touched since. One that only *looks* erased may have been cut off
/// in its erase, with cells that will not hold.
pub(super) fn is_clean<F: NorFlash>(flash: &mut F, start: u32, size: u32) -> Result<bool, StoreError> {
    let mut marker = [0; MARKER as usize];
    flash.read(start, &mut marker).map_err(fault)?;
    Ok(&marker == CLEAN && is_blank(flash, start + MARKER, start + size)?)
}

/// The bytes a record with a body of this length takes.
pub(super) const fn record_size(body: usize) -> u32 {
    RECORD_HEADER + (body + TAG).next_multiple_of(UNIT) as u32 + COMMIT
}

fn is_blank<F: NorFlash>(flash: &mut F, mut from: u32, to: u32) -> Result<bool, StoreError> {
    let mut chunk = [0; 64];
    while from < to {
        let length = (to - from).min(64);
        let chunk = &mut chunk[..length as usize];
        flash.read(from, chunk).map_err(fault)?;
        if chunk.iter().any(|&byte| byte != ERASED) {
            return Ok(false);
        }
        from += length;
    }
    Ok(true)
}

fn record_header(place: u32, kind: Kind, length: usize) -> [u8; RECORD_HEADER as usize] {
    let mut header = [0; RECORD_HEADER as usize];
    header[0] = kind as u8;
    header[2..4].copy_from_slice(&(length as u16).to_le_bytes());
    let check = check(place, &header[..4]);
    header[4..].copy_from_slice(&check);
    header
}

fn parse_record_header(place: u32, header: &[u8; RECORD_HEADER as usize]) -> Option<(Kind, usize)> {
    let kind = match header[0] {
        1 => Kind::State,
        2 => Kind::Put,
        3 => Kind::Remove,
        4 => Kind::Slot,
        5 => Kind::Counter,
        6 => Kind::Shelf,
        _ => return None,
    };
    let length = u16::from_le_bytes([header[2], header[3]]);
    (header[4..] == check(place, &header[..4])).then_some((kind, length.into()))
}

/// Tells a torn header from a whole one; the tag, not this, protects it.
fn check(place: u32, header: &[u8]) -> [u8; 4] {
    let digest = Sha256::new().chain_update(place.to_le_bytes()).chain_update(header).finalize();
    [digest[0], digest[1], digest[2], digest[3]]
}

/// A bank's key. Salt and generation make it another one after every erase, so that a place can be the nonce.
fn derive(root: &Zeroizing<[u8; 32]>, header: &[u8; HEADER]) -> Aes256Gcm {
    let mut key = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(Some(&header[8..32]), root.as_slice())
        .expand(b"doppelkey flash 1", key.as_mut())
        .expect("32 bytes are less than 255 blocks");
    Aes256Gcm::new((&*key).into())
}

fn seal(cipher: &Aes256Gcm, place: u32, associated: &[u8], body: &mut [u8]) -> [u8; TAG] {
    cipher
        .encrypt_inout_detached(&nonce(place), associated, body.into())
        .expect("a record is shorter than 64 GiB")
        .into()
}

fn open(cipher: &Aes256Gcm, place: u32, associated: &[u8], body: &mut [u8], tag: &[u8]) -> bool {
    let Ok(tag) = <[u8; TAG]>::try_from(tag) else { return false };
    cipher.decrypt_inout_detached(&nonce(place), associated, body.into(), &Tag::from(tag)).is_ok()
}

fn nonce(place: u32) -> Nonce<aes_gcm::aead::consts::U12> {
    let mut nonce = [0; 12];
    nonce[..4].copy_from_slice(&place.to_le_bytes());
    nonce.into()
}

fn fault<E>(_: E) -> StoreError {
    StoreError::Fault
}

/// Where the records start in a bank.
pub(super) const RECORDS: u32 = MARKER + HEADER as u32;
/// The length of a tag in bytes.
pub(super) const TAG: usize = 16;
const CLEAN: &[u8; MARKER as usize] = b"DPKERASE";
const MAGIC: &[u8; 8] = b"DPKFLSH1";
const MARKER: u32 = 8;
const HEADER: usize = 8 + 8 + 16 + TAG;
/// No record lies here, so no record has this nonce.
const HEADER_NONCE: u32 = 0;
const RECORD_HEADER: u32 = 8;
const COMMIT: u32 = 8;
/// Everything starts at a multiple of this: a write size that divides it fits.
const UNIT: usize = 8;
const ERASED: u8 = 0xFF;
