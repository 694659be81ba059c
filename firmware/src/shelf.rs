//! A vendor command that keeps sync's entries: what they say is sealed, and nothing here can read it.
//!
//! With it a key in a drawer holds a circle's entries, and with the recovery key on paper they bring everything back.
//! The other side is `CommandMailbox` of `doppelkey-sync`, whose `command.rs` has the table of requests and answers; this
//! is the same without an allocator, from flash.
//!
//! | offset in the request | size | what |
//! |---|---|---|
//! | 0 | 1 | [`COMMAND`], one of those that CTAP §6 leaves to vendors |
//! | 1 | 1 | 1 to put, 2 to list, 3 to get: as there; 4 to clear |
//! | 2 | … | arguments |
//!
//! The response is a CTAP status byte and, after 0, the answer. What differs:
//!
//! * An entry of more than [`ENTRY_MAX`] bytes is answered with "full", as is one beyond [`SHELF_MAX`], or beyond a quarter
//!   of the flash store: whoever fills the shelf leaves room for passkeys.
//! * An entry comes in one piece, which a CTAPHID message has room for.
//! * *Clear* takes every entry away, after a touch; nothing else does, a factory reset neither. Putting takes no touch,
//!   because nothing is lost by it.

use doppelkey_core::{Message, Status, StoreError};
use sha2::{Digest as _, Sha256};

/// The command's byte, sent by CTAPHID_CBOR.
pub const COMMAND: u8 = 0x53;

/// The longest entry in bytes.
pub const ENTRY_MAX: usize = 4096;

/// The most entries.
pub const SHELF_MAX: usize = 64;

/// An entry's name: the first half of its SHA-256.
pub type Name = [u8; 16];

/// The name of an entry.
pub fn name_of(entry: &[u8]) -> Name {
    let hash = <[u8; 32]>::from(Sha256::digest(entry));
    let mut name = [0; 16];
    name.copy_from_slice(&hash[..16]);
    name
}

/// Where entries are kept, in the order in which they came.
pub trait Shelf {
    /// How many there are.
    fn entries(&self) -> usize;

    /// The name of one of them, counted from 0.
    fn name(&self, index: usize) -> Option<Name>;

    /// The one with this name, if it is here.
    ///
    /// # Errors
    /// [`StoreError::Fault`] if what is there cannot be trusted.
    fn entry(&mut self, name: &Name) -> Result<Option<&[u8]>, StoreError>;

    /// Keeps one, durably. Nothing changes if it is here already.
    ///
    /// # Errors
    /// [`StoreError::Full`] if there is no room: nothing changed. [`StoreError::Fault`] of the medium.
    fn keep(&mut self, entry: &[u8]) -> Result<(), StoreError>;

    /// Takes all away, in one step.
    ///
    /// # Errors
    /// [`StoreError::Fault`] of the medium.
    fn clear(&mut self) -> Result<(), StoreError>;
}

impl<S: Shelf> Shelf for &mut S {
    fn entries(&self) -> usize {
        (**self).entries()
    }

    fn name(&self, index: usize) -> Option<Name> {
        (**self).name(index)
    }

    fn entry(&mut self, name: &Name) -> Result<Option<&[u8]>, StoreError> {
        (**self).entry(name)
    }

    fn keep(&mut self, entry: &[u8]) -> Result<(), StoreError> {
        (**self).keep(entry)
    }

    fn clear(&mut self) -> Result<(), StoreError> {
        (**self).clear()
    }
}

/// How the user answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent {
    /// Nobody was asked yet.
    Unasked,
    /// By a touch.
    Given,
    /// The platform gave up.
    Cancelled,
    /// Nobody came.
    TimedOut,
}

/// Whether the request is for this command.
pub fn is_for_shelf(request: &[u8]) -> bool {
    request.first() == Some(&COMMAND)
}

/// Does what the request says. `false` if the user is to be asked first; nothing changes then.
pub fn handle(shelf: &mut impl Shelf, request: &[u8], consent: Consent, response: &mut Message) -> bool {
    response.clear();
    let request = request.get(1..).unwrap_or_default();
    let status = match consent {
        Consent::Unasked if request == [CLEAR] => return false,
        Consent::Cancelled => Status::KeepaliveCancel,
        Consent::TimedOut => Status::UserActionTimeout,
        Consent::Unasked | Consent::Given => Status::Ok,
    };
    let _ = response.push(status as u8);
    if status == Status::Ok {
        let _ = response.push(DONE);
        match answer(shelf, request, response) {
            Ok(DONE) => {}
            Ok(refusal) => response[1] = refusal,
            Err(StoreError::Full) => response[1] = FULL,
            Err(StoreError::Fault) => {
                response.clear();
                let _ = response.push(Status::Other as u8);
            }
        }
    }
    true
}

/// Writes the result behind what is in the response, and says how it went.
fn answer(shelf: &mut impl Shelf, request: &[u8], response: &mut Message) -> Result<u8, StoreError> {
    let Some((what, arguments)) = request.split_first() else { return Ok(MALFORMED) };
    match what {
        1 => put(shelf, arguments),
        2 => Ok(list(shelf, arguments, response).map_or(MALFORMED, |()| DONE)),
        3 => get(shelf, arguments, response),
        &CLEAR if arguments.is_empty() => shelf.clear().map(|()| DONE),
        _ => Ok(MALFORMED),
    }
}

/// name (16), length (4), offset (4), a piece.
fn put(shelf: &mut impl Shelf, arguments: &[u8]) -> Result<u8, StoreError> {
    let Some((name, rest)) = arguments.split_first_chunk::<16>() else { return Ok(MALFORMED) };
    let Some((length, rest)) = number(rest) else { return Ok(MALFORMED) };
    let Some((offset, piece)) = number(rest) else { return Ok(MALFORMED) };
    if length > ENTRY_MAX {
        return Ok(FULL);
    }
    if offset != 0 || piece.len() != length || piece.is_empty() || name_of(piece) != *name {
        return Ok(MALFORMED);
    }
    shelf.keep(piece).map(|()| DONE)
}

/// since (8); gives how many there are (8), then names (16 each), as many as fit.
fn list(shelf: &impl Shelf, arguments: &[u8], response: &mut Message) -> Option<()> {
    let since = u64::from_be_bytes(arguments.try_into().ok()?);
    let _ = response.extend_from_slice(&(shelf.entries() as u64).to_be_bytes());
    // Beyond the end there is nothing.
    let mut index = usize::try_from(since).unwrap_or(usize::MAX);
    while let Some(name) = shelf.name(index)
        && response.extend_from_slice(&name).is_ok()
    {
        index += 1;
    }
    Some(())
}

/// name (16), offset (4); gives the length (4), then a piece.
fn get(shelf: &mut impl Shelf, arguments: &[u8], response: &mut Message) -> Result<u8, StoreError> {
    let Some((name, rest)) = arguments.split_first_chunk::<16>() else { return Ok(MALFORMED) };
    let Some((offset, [])) = number(rest) else { return Ok(MALFORMED) };
    let Some(entry) = shelf.entry(name)? else { return Ok(ABSENT) };
    let Some(piece) = entry.get(offset..) else { return Ok(ABSENT) };
    let _ = response.extend_from_slice(&(entry.len() as u32).to_be_bytes());
    // An entry is shorter than a message.
    let _ = response.extend_from_slice(piece);
    Ok(DONE)
}

/// A number, big-endian, and what comes after.
fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*number) as usize, rest))
}

const CLEAR: u8 = 4;

// How it went: the first byte of an answer.
const DONE: u8 = 0;
const ABSENT: u8 = 1;
const FULL: u8 = 2;
const MALFORMED: u8 = 3;
