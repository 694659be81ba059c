//! Carriers: where sealed entries are put for other devices to find.
//!
//! A carrier is trusted with nothing but availability. It is three verbs; whatever has them will do: a folder, the
//! relay, an object store. [`conformance`] is what every implementation must pass.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::vec::Vec;

use crate::id::Name;
use crate::mailbox::Order;

/// A place for sealed entries. Calls may block; the driver runs on a thread of its own.
pub trait Mailbox: Send {
    /// Whether all devices see the names in one order.
    fn order(&self) -> Order;

    /// Where it is, if it is there for every device: devices that meet compare what it showed them. Where it has none they go by
    /// which of their mailboxes it is.
    fn address(&self) -> Option<&str> {
        None
    }

    /// Whether what it holds may be lost together with this device, as a folder on the same disk is. Then it is no backup.
    fn is_near(&self) -> bool {
        false
    }

    /// Whether it opens only to those it was told of, as a relay does: a recovery key is no use at one that was not told of it
    /// ([`Event::Opens`](crate::Event::Opens)).
    fn is_closed(&self) -> bool {
        false
    }

    /// Keeps the bytes under the name, durably, unless the name is taken: then nothing changes, and that is fine.
    fn put(&mut self, name: Name, bytes: &[u8]) -> io::Result<()>;

    /// What it holds beyond the first `since` names. May leave out the end of a long list: `head` tells.
    fn list(&mut self, since: u64) -> io::Result<Listing>;

    /// The bytes under a name, if there are any.
    fn get(&mut self, name: Name) -> io::Result<Option<Vec<u8>>>;
}

/// A part of what a mailbox holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Names in order, with the bytes where they are at hand.
    pub items: Vec<(Name, Option<Vec<u8>>)>,
    /// How many names the mailbox holds in all.
    pub head: u64,
}

/// A mailbox in memory; clones share what it holds.
#[derive(Clone, Debug, Default)]
pub struct MemoryMailbox(Arc<Mutex<Held>>);

type Held = Vec<(Name, Vec<u8>)>;

impl MemoryMailbox {
    /// Does something to what it holds, for tests of what a bad carrier can do.
    pub fn with<T>(&self, change: impl FnOnce(&mut Vec<(Name, Vec<u8>)>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Mailbox for MemoryMailbox {
    fn order(&self) -> Order {
        Order::Shared
    }

    fn put(&mut self, name: Name, bytes: &[u8]) -> io::Result<()> {
        self.with(|held| {
            if held.iter().all(|(known, _)| *known != name) {
                held.push((name, bytes.to_vec()));
            }
        });
        Ok(())
    }

    fn list(&mut self, since: u64) -> io::Result<Listing> {
        self.with(|held| {
            let items = held.iter().skip(usize::try_from(since).unwrap_or(usize::MAX));
            let items = items.map(|(name, bytes)| (*name, Some(bytes.clone()))).collect();
            Ok(Listing { items, head: held.len() as u64 })
        })
    }

    fn get(&mut self, name: Name) -> io::Result<Option<Vec<u8>>> {
        self.with(|held| Ok(held.iter().find(|(known, _)| *known == name).map(|(_, bytes)| bytes.clone())))
    }
}

/// What every mailbox must do; panics with the sentence that does not hold. `open` gives a view of one and the same
/// empty mailbox, each time as another device would see it.
pub fn conformance(mut open: impl FnMut() -> std::boxed::Box<dyn Mailbox>) {
    let (mut one, mut other) = (open(), open());
    let entries: Vec<Vec<u8>> = (0..5_u8).map(|number| std::vec![number; 64 + usize::from(number)]).collect();
    let names: Vec<Name> = entries.iter().map(|bytes| Name::of(bytes)).collect();
    let all = |mailbox: &mut dyn Mailbox| {
        let mut found: Vec<(Name, Option<Vec<u8>>)> = Vec::new();
        loop {
            let listing = mailbox.list(found.len() as u64).expect("a list succeeds");
            let more = !listing.items.is_empty();
            found.extend(listing.items);
            assert!(found.len() as u64 <= listing.head, "the head counts what is listed");
            if !more || found.len() as u64 == listing.head {
                return found;
            }
        }
    };
    assert!(all(&mut *one).is_empty(), "a new mailbox is empty");
    assert_eq!(one.get(names[0]).expect("a get succeeds"), None, "what was not put is not there");
    for (name, bytes) in names.iter().zip(&entries) {
        one.put(*name, bytes).expect("a put succeeds");
        one.put(*name, bytes).expect("a second put of the same is no error");
    }
    for mailbox in [&mut one, &mut other, &mut open()] {
        let found = all(&mut **mailbox);
        assert_eq!(found.len(), names.len(), "everything is listed once, by every device");
        for (name, bytes) in &found {
            let index = names.iter().position(|known| known == name).expect("only what was put is listed");
            let bytes = match bytes {
                Some(bytes) => bytes.clone(),
                None => mailbox.get(*name).expect("a get succeeds").expect("what is listed is there"),
            };
            assert_eq!(bytes, entries[index], "a name gives the bytes that were put under it");
        }
        let again = all(&mut **mailbox);
        let names = |list: &[(Name, _)]| list.iter().map(|(name, _)| *name).collect::<Vec<_>>();
        assert_eq!(names(&found), names(&again), "the order of a list does not change");
        let tail = mailbox.list(3).expect("a list succeeds");
        assert_eq!(tail.items[0].0, found[3].0, "a list begins after `since` names");
        assert_eq!(mailbox.list(99).expect("a list beyond the end succeeds").items, [], "and is empty there");
    }
}
