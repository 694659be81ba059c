//! A mailbox behind a command: what an authenticator on a wire can offer, a microcontroller above all, as a vendor
//! command of CTAP (§6, 0x40 to 0xBF). It keeps sealed entries for whoever plugs it in and can read none of them.
//!
//! A request is one byte that says what, and its arguments; an answer one byte that says how it went, and the result.
//! Numbers are big-endian. Long entries travel in pieces, so both fit whatever the transport carries.
//!
//! | request | arguments | result |
//! |---|---|---|
//! | 1 put | name (16), length (4), offset (4), a piece | nothing; offsets ascend without gaps, the last piece ends it |
//! | 2 list | since (8) | head (8), then names (16 each), as many as fit |
//! | 3 get | name (16), offset (4) | length (4), then a piece |
//!
//! | answer | |
//! |---|---|
//! | 0 | as asked |
//! | 1 | there is nothing of that name |
//! | 2 | full |
//! | 3 | no such request |

use alloc::vec::Vec;

use crate::entry::ENTRY_MAX;
use crate::id::Name;

/// Where a device keeps what it is given: names in the order in which they came.
pub trait Shelf {
    /// How many entries there are.
    fn len(&self) -> u64;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name of an entry, counted from 0.
    fn name(&self, index: u64) -> Option<Name>;

    /// The length of an entry, and as much of it from an offset on as fits. How much that was.
    fn read(&mut self, name: Name, offset: u32, piece: &mut [u8]) -> Option<(u32, usize)>;

    /// Takes a piece of an entry; with the last one it is there, durably, if its bytes have the name. A piece at offset
    /// 0 begins anew. Does nothing if the entry is there. `false` if there is no room, or nothing that this continues.
    fn write(&mut self, name: Name, length: u32, offset: u32, piece: &[u8]) -> bool;
}

const PUT: u8 = 1;
const LIST: u8 = 2;
const GET: u8 = 3;

const DONE: u8 = 0;
const ABSENT: u8 = 1;
const FULL: u8 = 2;
const MALFORMED: u8 = 3;

/// Answers one request in at most `room` bytes, which are 64 or more. Whatever the request is, this does not panic.
pub fn answer(shelf: &mut dyn Shelf, request: &[u8], room: usize) -> Vec<u8> {
    answered(shelf, request, room).unwrap_or_else(|| alloc::vec![MALFORMED])
}

fn answered(shelf: &mut dyn Shelf, request: &[u8], room: usize) -> Option<Vec<u8>> {
    let (what, rest) = request.split_first()?;
    match *what {
        PUT => {
            let (name, rest) = rest.split_first_chunk::<16>()?;
            let (length, rest) = rest.split_first_chunk::<4>()?;
            let (offset, piece) = rest.split_first_chunk::<4>()?;
            let (length, offset) = (u32::from_be_bytes(*length), u32::from_be_bytes(*offset));
            let end = (offset as usize).checked_add(piece.len())?;
            if length as usize > ENTRY_MAX || end > length as usize {
                return None;
            }
            let kept = shelf.write(Name(*name), length, offset, piece);
            Some(alloc::vec![if kept { DONE } else { FULL }])
        }
        LIST => {
            let since = u64::from_be_bytes(rest.try_into().ok()?);
            let mut answer = alloc::vec![DONE];
            answer.extend_from_slice(&shelf.len().to_be_bytes());
            let most = room.saturating_sub(answer.len()) / 16;
            let names = (since..shelf.len()).take(most).map_while(|index| shelf.name(index));
            names.for_each(|name| answer.extend_from_slice(&name.0));
            Some(answer)
        }
        GET => {
            let (name, offset) = rest.split_first_chunk::<16>()?;
            let offset = u32::from_be_bytes(offset.try_into().ok()?);
            let mut answer = alloc::vec![0; room.max(6)];
            let Some((length, read)) = shelf.read(Name(*name), offset, &mut answer[5..]) else {
                return Some(alloc::vec![ABSENT]);
            };
            answer[0] = DONE;
            answer[1..5].copy_from_slice(&length.to_be_bytes());
            answer.truncate(5 + read);
            Some(answer)
        }
        _ => None,
    }
}

/// A shelf in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryShelf {
    entries: Vec<(Name, Vec<u8>)>,
    coming: Option<(Name, Vec<u8>)>,
    /// The most bytes of all entries together; `None` for as many as there are.
    pub room: Option<usize>,
}

impl Shelf for MemoryShelf {
    fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    fn name(&self, index: u64) -> Option<Name> {
        self.entries.get(usize::try_from(index).ok()?).map(|(name, _)| *name)
    }

    fn read(&mut self, name: Name, offset: u32, piece: &mut [u8]) -> Option<(u32, usize)> {
        let (_, bytes) = self.entries.iter().find(|(known, _)| *known == name)?;
        let rest = bytes.get(offset as usize..)?;
        let read = rest.len().min(piece.len());
        piece[..read].copy_from_slice(&rest[..read]);
        Some((u32::try_from(bytes.len()).ok()?, read))
    }

    fn write(&mut self, name: Name, length: u32, offset: u32, piece: &[u8]) -> bool {
        if self.entries.iter().any(|(known, _)| *known == name) {
            return true;
        }
        let used: usize = self.entries.iter().map(|(_, bytes)| bytes.len()).sum();
        if self.room.is_some_and(|room| used + length as usize > room) {
            return false;
        }
        if offset == 0 {
            self.coming = Some((name, Vec::new()));
        }
        let Some((_, bytes)) =
            self.coming.as_mut().filter(|(coming, bytes)| *coming == name && bytes.len() == offset as usize)
        else {
            return false;
        };
        bytes.extend_from_slice(piece);
        if bytes.len() == length as usize
            && let Some((name, bytes)) = self.coming.take()
            && Name::of(&bytes) == name
        {
            self.entries.push((name, bytes));
        }
        true
    }
}

#[cfg(any(test, feature = "std"))]
mod mailbox {
    use std::io;
    use std::vec::Vec;

    use super::{ABSENT, DONE, FULL, GET, LIST, PUT};
    use crate::carrier::{Listing, Mailbox};
    use crate::entry::ENTRY_MAX;
    use crate::id::Name;
    use crate::mailbox::Order;

    /// The host's side: a mailbox over whatever carries a request there and an answer back.
    pub struct CommandMailbox<T> {
        transact: T,
        piece: usize,
    }

    impl<T: FnMut(&[u8]) -> io::Result<Vec<u8>> + Send> CommandMailbox<T> {
        /// `room` is the longest request that is carried, 64 or more.
        pub fn new(transact: T, room: usize) -> Self {
            CommandMailbox { transact, piece: room.max(64) - 25 }
        }

        fn ask(&mut self, what: u8, arguments: &[&[u8]]) -> io::Result<Option<Vec<u8>>> {
            let request = [&[what], arguments.concat().as_slice()].concat();
            let mut answer = (self.transact)(&request)?;
            match answer.first() {
                Some(&DONE) => Ok(Some(answer.split_off(1))),
                Some(&ABSENT) => Ok(None),
                Some(&FULL) => Err(io::Error::new(io::ErrorKind::StorageFull, "the device is full")),
                _ => Err(nonsense()),
            }
        }
    }

    impl<T: FnMut(&[u8]) -> io::Result<Vec<u8>> + Send> Mailbox for CommandMailbox<T> {
        fn order(&self) -> Order {
            Order::Shared
        }

        fn put(&mut self, name: Name, bytes: &[u8]) -> io::Result<()> {
            let length = u32::try_from(bytes.len()).map_err(io::Error::other)?.to_be_bytes();
            let mut offset = 0_u32;
            for piece in bytes.chunks(self.piece) {
                self.ask(PUT, &[&name.0, &length, &offset.to_be_bytes(), piece])?;
                offset += piece.len() as u32;
            }
            Ok(())
        }

        fn list(&mut self, since: u64) -> io::Result<Listing> {
            let answer = self.ask(LIST, &[&since.to_be_bytes()])?.ok_or_else(nonsense)?;
            let (head, names) = answer.split_first_chunk::<8>().ok_or_else(nonsense)?;
            let (names, rest) = names.as_chunks::<16>();
            if !rest.is_empty() {
                return Err(nonsense());
            }
            let items = names.iter().map(|name| (Name(*name), None)).collect();
            Ok(Listing { items, head: u64::from_be_bytes(*head) })
        }

        fn get(&mut self, name: Name) -> io::Result<Option<Vec<u8>>> {
            let mut bytes = Vec::new();
            loop {
                let offset = u32::try_from(bytes.len()).map_err(io::Error::other)?.to_be_bytes();
                let Some(answer) = self.ask(GET, &[&name.0, &offset])? else { return Ok(None) };
                let (length, piece) = answer.split_first_chunk::<4>().ok_or_else(nonsense)?;
                let length = u32::from_be_bytes(*length) as usize;
                if length > ENTRY_MAX || piece.is_empty() || bytes.len() + piece.len() > length {
                    return Err(nonsense());
                }
                bytes.extend_from_slice(piece);
                if bytes.len() == length {
                    return Ok(Some(bytes));
                }
            }
        }
    }

    fn nonsense() -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, "the device answers nonsense")
    }
}

#[cfg(any(test, feature = "std"))]
pub use mailbox::CommandMailbox;

#[cfg(test)]
mod tests {
    use alloc::boxed::Box;
    use alloc::sync::Arc;
    use alloc::vec::Vec;
    use std::sync::Mutex;

    use proptest::prelude::*;

    use super::*;
    use crate::{Mailbox, conformance};

    #[test]
    fn a_device_behind_a_command_conforms() {
        // The smallest room, that of one CTAPHID packet, and that of a whole CTAP message.
        for room in [64, 7_609] {
            let shelf = Arc::new(Mutex::new(MemoryShelf::default()));
            conformance(|| {
                let shelf = shelf.clone();
                let transact = move |request: &[u8]| {
                    assert!(request.len() <= room);
                    let answer = answer(&mut *shelf.lock().unwrap(), request, room);
                    assert!(answer.len() <= room);
                    Ok(answer)
                };
                Box::new(CommandMailbox::new(transact, room))
            });
        }
    }

    #[test]
    fn a_full_device_says_so_and_keeps_what_it_has() {
        let mut shelf = MemoryShelf { room: Some(100), ..MemoryShelf::default() };
        let mut mailbox = CommandMailbox::new(|request: &[u8]| Ok(answer(&mut shelf, request, 64)), 64);
        let (one, two) = ([1; 90], [2; 90]);
        mailbox.put(Name::of(&one), &one).unwrap();
        let error = mailbox.put(Name::of(&two), &two).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
        assert_eq!(mailbox.get(Name::of(&one)).unwrap(), Some(one.to_vec()));
    }

    proptest! {
        #[test]
        fn arbitrary_requests_never_panic(request in prop::collection::vec(any::<u8>(), 0..80), what in 0_u8..5) {
            let mut shelf = MemoryShelf::default();
            shelf.write(Name::of(b"x"), 1, 0, b"x");
            let mut request = request;
            request.insert(0, what);
            let answer: Vec<u8> = answer(&mut shelf, &request, 64);
            prop_assert!(answer.len() <= 64);
        }

        #[test]
        fn arbitrary_answers_never_panic(answer in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut mailbox = CommandMailbox::new(|_: &[u8]| Ok(answer.clone()), 64);
            let _ = mailbox.list(0);
            let _ = mailbox.put(Name::of(b"x"), b"x");
        }
    }
}
