//! What a replica knows of a mailbox, and how it catches one that lies.
//!
//! A mailbox numbers what it holds. The replica remembers how many names it saw and a hash over them in order, so
//! that a mailbox that forgot (rolled back) contradicts the count, one that hides what it acknowledged fails the
//! read-back, and one that tells two devices two stories fails their comparison of hashes. The host keeps count and hash
//! while the device is off, so that what is rolled back meanwhile is noticed, too.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::id::{LogId, Name, hash};

/// How often a name may be missing from complete lists after the mailbox acknowledged it.
const MISSING_LISTS: u8 = 2;

/// How often a name is put again into a mailbox that acknowledges it and does not list it. More would be traffic for
/// a mailbox that is known to lie.
const REPEATS: u8 = 3;

/// What a mailbox did that an honest one does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Misbehaviour {
    /// It holds less than it once did.
    RolledBack,
    /// It does not list what it acknowledged.
    Withholds,
    /// It showed another device another history.
    Forked,
    /// It lists bytes under a name that is not theirs.
    Corrupts,
}

impl core::fmt::Display for Misbehaviour {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Misbehaviour::RolledBack => "holds less than it once did; what is missing is put again",
            Misbehaviour::Withholds => "does not show what it acknowledged",
            Misbehaviour::Forked => "shows another device another history",
            Misbehaviour::Corrupts => "gives bytes that are not what was put there",
        })
    }
}

/// Whether a mailbox numbers what it holds alike for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Every device is shown one history: peers compare it.
    #[default]
    Shared,
    /// Each device finds things in an order of its own, as in a folder: there is nothing to compare.
    Private,
}

/// One mailbox, as one replica sees it.
#[derive(Clone, Default)]
pub(crate) struct View {
    pub(crate) order: Order,
    /// What every device calls it, if it has one address for all.
    pub(crate) called: Option<u64>,
    /// Whether it may be lost together with this device.
    pub(crate) near: bool,
    /// The recovery members that it opens to; `None` if to whoever comes.
    pub(crate) opens_to: Option<BTreeSet<LogId>>,
    /// Every name that was listed.
    pub(crate) seen: BTreeSet<Name>,
    /// The start of the hash over the first `n + 1` names, at index `n`.
    chain: Vec<[u8; 8]>,
    /// Acknowledged but not listed yet: how many complete lists lacked it.
    missing: BTreeMap<Name, u8>,
    /// How often a name was found withheld.
    withheld: BTreeMap<Name, u8>,
    /// Put and neither acknowledged nor listed yet.
    pub(crate) sent: BTreeSet<Name>,
    /// The number of the list that was asked for, if it is still expected.
    asked: Option<u32>,
    /// The number of the newest request, once there was one.
    requests: Option<u32>,
    /// Whether a list was complete since the last failure.
    pub(crate) caught_up: bool,
    /// Where the history stood before this device was switched off, until that is compared.
    expected: Option<(u64, [u8; 8])>,
    /// How things stood when whatever was lacking had just been put.
    topped_up: Option<[usize; 4]>,
    /// How many of the names on the device were compared with what is listed.
    compared: usize,
    /// Those of them that were not listed.
    unlisted: BTreeSet<Name>,
}

impl View {
    /// Whether it counts as a place where a recovery key finds what is lost with this device.
    pub(crate) fn backs(&self, recovery: LogId) -> bool {
        !self.near && self.opens_to.as_ref().is_none_or(|members| members.contains(&recovery))
    }

    pub(crate) fn cursor(&self) -> u64 {
        self.chain.len() as u64
    }

    /// Where the history stands: how many names, and their hash.
    pub(crate) fn checkpoint(&self) -> (u64, [u8; 8]) {
        (self.cursor(), self.chain.last().copied().unwrap_or_default())
    }

    /// Takes note of where the history stood before.
    pub(crate) fn expect(&mut self, cursor: u64, hash: [u8; 8]) {
        self.expected = (cursor > 0).then_some((cursor, hash));
    }

    /// Whether the history turns out not to go on from where it stood before this device was switched off. Says so once.
    pub(crate) fn forgot(&mut self) -> bool {
        let Some((cursor, hash)) = self.expected else { return false };
        if self.cursor() < cursor && !self.caught_up {
            return false;
        }
        self.expected = None;
        self.cursor() < cursor || self.order == Order::Shared && self.contradicts(cursor, hash)
    }

    /// The number for a new list request. Replies to earlier ones are ignored from now on: a late one is no
    /// rollback. The first number is `first`, drawn at random: a reply that a carrier held back while this device was
    /// switched off is not one to its new requests.
    pub(crate) fn ask(&mut self, first: impl FnOnce() -> u32) -> u32 {
        let request = self.requests.map_or_else(first, |last| last.wrapping_add(1));
        (self.requests, self.asked) = (Some(request), Some(request));
        request
    }

    /// Whether this is the reply that is expected; it is not expected twice.
    pub(crate) fn expects(&mut self, request: u32) -> bool {
        self.asked.take_if(|asked| *asked == request).is_some()
    }

    pub(crate) fn stored(&mut self, name: Name) {
        self.sent.remove(&name);
        if !self.seen.contains(&name) {
            self.missing.entry(name).or_insert(0);
        }
    }

    pub(crate) fn failed(&mut self) {
        self.sent.clear();
        self.asked = None;
        self.caught_up = false;
        // What was put may have been lost with it.
        self.topped_up = None;
    }

    /// Takes a list that begins at the cursor and of which the mailbox says that it holds `head` names in all.
    pub(crate) fn listed(&mut self, names: impl Iterator<Item = Name>, head: u64) -> Option<Misbehaviour> {
        if head < self.cursor() {
            let (order, called, near, opens_to) = (self.order, self.called, self.near, self.opens_to.take());
            *self = View { order, called, near, opens_to, requests: self.requests, ..View::default() };
            return Some(Misbehaviour::RolledBack);
        }
        for name in names {
            let before = self.chain.last().copied().unwrap_or_default();
            self.chain.push(hash(&[b"prefix/1", &before, &name.0]).short());
            self.seen.insert(name);
            self.sent.remove(&name);
            self.missing.remove(&name);
        }
        self.caught_up = self.cursor() >= head;
        if !self.caught_up {
            return None;
        }
        self.missing.values_mut().for_each(|lists| *lists += 1);
        let before = self.missing.len();
        for (name, _) in self.missing.extract_if(.., |_, lists| *lists >= MISSING_LISTS) {
            let times = self.withheld.entry(name).or_insert(0);
            *times = times.saturating_add(1);
        }
        (self.missing.len() < before).then_some(Misbehaviour::Withholds)
    }

    /// Whether anything has changed, with `here` names on the device, since this was asked last.
    pub(crate) fn needs_a_look(&mut self, here: usize) -> bool {
        let now = Some([here, self.seen.len(), self.sent.len(), self.missing.len()]);
        core::mem::replace(&mut self.topped_up, now) != now
    }

    /// Forgets that, after what is on the device was replaced.
    pub(crate) fn look_again(&mut self) {
        self.topped_up = None;
        self.compared = 0;
        self.unlisted.clear();
    }

    /// Whether any of the names on the device should be put again. They are given in the order in which they came, and
    /// each is looked for once.
    pub(crate) fn lacks_any(&mut self, names: &[Name]) -> bool {
        let new = names.get(self.compared..).unwrap_or_default();
        self.unlisted.extend(new.iter().filter(|name| !self.seen.contains(*name)));
        self.compared = names.len();
        let seen = &self.seen;
        self.unlisted.retain(|name| !seen.contains(name));
        self.unlisted.iter().any(|name| self.lacks(name))
    }

    /// Compares with what a peer saw of the same mailbox.
    pub(crate) fn contradicts(&self, cursor: u64, hash: [u8; 8]) -> bool {
        let index = usize::try_from(cursor).ok().and_then(|cursor| cursor.checked_sub(1));
        index.and_then(|index| self.chain.get(index)).is_some_and(|known| *known != hash)
    }

    /// Whether a name should be put again: neither listed nor on its way.
    pub(crate) fn lacks(&self, name: &Name) -> bool {
        let given_up = self.withheld.get(name).is_some_and(|times| *times >= REPEATS);
        !given_up
            && !self.seen.contains(name)
            && !self.sent.contains(name)
            && !self.missing.contains_key(name)
    }
}
