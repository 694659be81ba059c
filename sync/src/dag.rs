//! The delivered entries: one chain a log, and what forked off it.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::crypto::PublicKeys;
use crate::entry::{Body, Op};
use crate::id::{Hash, LogId, Name};
use crate::state::Stamp;

/// A delivered entry.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) body: Body,
    pub(crate) hash: Hash,
    /// Its sealed forms: one, or several where no single epoch reached every member.
    pub(crate) copies: Vec<(Name, Vec<u8>)>,
    /// What its author had seen: for every log the last number. Its own chain and its dependencies say so.
    pub(crate) seen: BTreeMap<LogId, u32>,
}

impl Entry {
    pub(crate) fn stamp(&self) -> Stamp {
        Stamp { hlc: self.body.hlc, log: self.body.log, seq: self.body.seq }
    }
}

/// One log.
#[derive(Clone, Default)]
pub(crate) struct Log {
    /// Consecutive numbers, from 1 or from the last entry that a snapshot covers: that one is a stub, without copies.
    pub(crate) entries: Vec<Entry>,
    /// Entries that contradict the chain, or follow one that does. Only their puts count.
    pub(crate) branches: Vec<Entry>,
    /// The first number with two different bodies. From there on only puts count.
    pub(crate) fork: Option<u32>,
}

impl Log {
    pub(crate) fn last(&self) -> Option<&Entry> {
        self.entries.last()
    }

    pub(crate) fn head(&self) -> u32 {
        self.last().map_or(0, |last| last.body.seq)
    }

    /// The last number that a snapshot covers.
    pub(crate) fn covered(&self) -> u32 {
        self.entries.first().filter(|first| first.copies.is_empty()).map_or(0, |first| first.body.seq)
    }

    pub(crate) fn get(&self, seq: u32) -> Option<&Entry> {
        self.entries.get(seq.checked_sub(self.entries.first()?.body.seq)? as usize)
    }
}

/// Names, and the order in which they came: who has looked at some of them need not look again.
#[derive(Clone, Default)]
pub(crate) struct Names {
    known: BTreeSet<Name>,
    order: Vec<Name>,
}

impl Names {
    pub(crate) fn insert(&mut self, name: Name) {
        if self.known.insert(name) {
            self.order.push(name);
        }
    }

    pub(crate) fn contains(&self, name: &Name) -> bool {
        self.known.contains(name)
    }

    /// All of them, in the order in which they came.
    pub(crate) fn in_order(&self) -> &[Name] {
        &self.order
    }
}

/// Every log of the circle.
#[derive(Clone, Default)]
pub(crate) struct Dag {
    pub(crate) logs: BTreeMap<LogId, Log>,
    /// Keys that an admission announced. A log's name commits to its key, so any announcement will do.
    pub(crate) keys: BTreeMap<LogId, PublicKeys>,
    /// Entries with an admission or a revocation in them.
    pub(crate) membership: Vec<(LogId, u32)>,
    /// The names of all sealed forms that are here.
    pub(crate) names: Names,
    /// What a snapshot keeps of entries that membership or an epoch rests on.
    pub(crate) stubs: BTreeMap<(LogId, u32), Entry>,
}

impl Dag {
    pub(crate) fn get(&self, log: LogId, seq: u32) -> Option<&Entry> {
        self.logs.get(&log)?.get(seq).or_else(|| self.stubs.get(&(log, seq)))
    }

    /// The delivered entry with this body, on its chain or off it.
    pub(crate) fn find_mut(&mut self, log: LogId, seq: u32, hash: Hash) -> Option<&mut Entry> {
        let log = self.logs.get_mut(&log)?;
        let first = log.entries.first()?.body.seq;
        let on_chain = log.entries.get_mut(seq.checked_sub(first)? as usize);
        on_chain
            .filter(|entry| entry.hash == hash)
            .or_else(|| log.branches.iter_mut().find(|entry| entry.hash == hash))
    }

    pub(crate) fn head(&self, log: LogId) -> u32 {
        self.logs.get(&log).map_or(0, Log::head)
    }

    /// The fork of a log, if its entry `seq` is at or after one.
    pub(crate) fn forked_at(&self, log: LogId, seq: u32) -> bool {
        self.logs.get(&log).and_then(|log| log.fork).is_some_and(|fork| seq >= fork)
    }

    /// Whether a snapshot stands for this entry.
    pub(crate) fn covers(&self, log: LogId, seq: u32) -> bool {
        self.logs.get(&log).is_some_and(|log| seq <= log.covered())
    }

    /// How many entries no snapshot covers.
    pub(crate) fn uncovered(&self) -> usize {
        self.logs.values().map(|log| (log.head() - log.covered()) as usize).sum()
    }

    /// Whether any log has forked.
    pub(crate) fn is_forked(&self) -> bool {
        self.logs.values().any(|log| log.fork.is_some())
    }

    /// Puts stubs in the place of what they cover. Entries behind them stay.
    pub(crate) fn cover(&mut self, stubs: BTreeMap<(LogId, u32), Entry>) {
        self.membership.retain(|at| !stubs.contains_key(at));
        // Ascending, so the last one of a log stays.
        let heads: BTreeMap<LogId, u32> = stubs.keys().copied().collect();
        self.stubs.clear();
        for ((author, seq), stub) in stubs {
            self.learn(&stub);
            if is_membership(&stub) {
                self.membership.push((author, seq));
            }
            if heads[&author] == seq {
                let log = self.logs.entry(author).or_default();
                log.entries.retain(|entry| entry.body.seq > seq);
                log.entries.insert(0, stub);
            } else {
                self.stubs.insert((author, seq), stub);
            }
        }
        let copies = self.logs.values().flat_map(|log| log.entries.iter().chain(&log.branches));
        let mut names = Names::default();
        copies.flat_map(|entry| &entry.copies).for_each(|(name, _)| names.insert(*name));
        self.names = names;
    }

    /// All entries, branches included, in no order that means anything.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.logs.values().flat_map(|log| log.entries.iter().chain(&log.branches))
    }

    /// Appends to a chain. The caller has checked number, hash and dependencies.
    pub(crate) fn push(&mut self, entry: Entry) {
        let at = (entry.body.log, entry.body.seq);
        self.learn(&entry);
        if is_membership(&entry) {
            self.membership.push(at);
        }
        self.logs.entry(at.0).or_default().entries.push(entry);
    }

    /// Keeps an entry that is not on its chain, and notes where the fork is.
    pub(crate) fn branch(&mut self, entry: Entry) {
        self.learn(&entry);
        let log = self.logs.entry(entry.body.log).or_default();
        let fork = log.fork.map_or(entry.body.seq, |fork| fork.min(entry.body.seq));
        log.fork = Some(fork);
        log.branches.push(entry);
    }

    fn learn(&mut self, entry: &Entry) {
        entry.copies.iter().for_each(|(name, _)| self.names.insert(*name));
        for op in &entry.body.ops {
            if let Op::Admit { keys, .. } = op {
                self.keys.entry(keys.log()).or_insert_with(|| keys.clone());
            }
        }
    }
}

fn is_membership(entry: &Entry) -> bool {
    entry.body.ops.iter().any(|op| matches!(op, Op::Admit { .. } | Op::Revoke { .. }))
}
