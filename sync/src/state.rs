//! What the entries add up to. Every rule is a join, so the order of delivery cannot matter.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::cmp::Reverse;

use crate::entry::Op;
use crate::id::{AccountId, LogId, RecordId};

/// Where and when an op was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// The entry's clock.
    pub hlc: u64,
    /// The entry's author.
    pub log: LogId,
    /// The entry's number.
    pub seq: u32,
}

/// A value that the last writer decides.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Register {
    /// Whether the user chose it; such a value gives way only to the user's.
    pub by_user: bool,
    /// When and by whom.
    pub stamp: Stamp,
    /// Opaque to this crate.
    pub value: Vec<u8>,
}

/// A live record.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// What records that replace each other share.
    pub account: AccountId,
    /// Opaque to this crate; never changes.
    pub core: Vec<u8>,
    /// The records this one is meant to replace.
    pub shadows: Vec<RecordId>,
    /// Where it was put.
    pub stamp: Stamp,
    /// Whether the author had been revoked, or its log had forked, when it put the record.
    pub contested: bool,
    /// The registers that were ever set.
    pub registers: BTreeMap<u8, Register>,
    /// When a relying party last accepted it, in seconds since 1970; 0 if never.
    pub used_s: u64,
}

/// Tells no content: it may be a secret.
impl core::fmt::Debug for Register {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Register")
            .field("by_user", &self.by_user)
            .field("stamp", &self.stamp)
            .field("value", &Untold(self.value.len()))
            .finish()
    }
}

/// Tells no content: it is a secret.
impl core::fmt::Debug for Record {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Record")
            .field("account", &self.account)
            .field("core", &Untold(self.core.len()))
            .field("shadows", &self.shadows)
            .field("stamp", &self.stamp)
            .field("contested", &self.contested)
            .field("registers", &self.registers)
            .field("used_s", &self.used_s)
            .finish()
    }
}

/// So many bytes that are not shown.
pub(crate) struct Untold(pub(crate) usize);

impl core::fmt::Debug for Untold {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} bytes", self.0)
    }
}

/// Records, tombstones and policies: the same on every device that has delivered the same entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// What is there.
    pub records: BTreeMap<RecordId, Record>,
    /// What was deleted. Nothing brings it back.
    pub deleted: BTreeSet<RecordId>,
    /// The circle's rules.
    pub policies: BTreeMap<u8, Register>,
    /// Registers and uses that arrived before (or without) their record.
    pub(crate) early: BTreeMap<RecordId, Early>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Early {
    pub(crate) registers: BTreeMap<u8, Register>,
    pub(crate) used_s: u64,
}

impl State {
    /// Adds what an op says; `puts_only` for an author whose destructive ops are void. The record it changed.
    pub(crate) fn apply(&mut self, op: &Op, stamp: Stamp, puts_only: bool) -> Option<RecordId> {
        match op {
            Op::Put { record, account, core, registers, shadows } => {
                self.put(*record, *account, core, registers, shadows, (stamp, puts_only))
            }
            _ if puts_only => None,
            Op::Set { record, number, value, by_user } => {
                let register = Register { by_user: *by_user, stamp, value: value.clone() };
                let registers = match self.records.get_mut(record) {
                    Some(known) => &mut known.registers,
                    None if self.deleted.contains(record) => return None,
                    None => &mut self.early.entry(*record).or_default().registers,
                };
                join(registers, *number, register).then_some(*record)
            }
            Op::Del { record } => {
                self.early.remove(record);
                let new = self.deleted.insert(*record);
                self.records.remove(record);
                new.then_some(*record)
            }
            Op::Used { record, time_s } => {
                // Nobody has used it a day after saying so: the largest time wins, and would for ever.
                let time_s = (*time_s).min((stamp.hlc >> 16) / 1000 + 86_400);
                let used_s = match self.records.get_mut(record) {
                    Some(known) => &mut known.used_s,
                    None if self.deleted.contains(record) => return None,
                    None => &mut self.early.entry(*record).or_default().used_s,
                };
                let later = time_s > *used_s;
                *used_s = (*used_s).max(time_s);
                later.then_some(*record)
            }
            Op::Policy { number, value } => {
                join(&mut self.policies, *number, Register { by_user: true, stamp, value: value.clone() });
                None
            }
            Op::Admit { .. }
            | Op::Revoke { .. }
            | Op::Epoch { .. }
            | Op::Evidence { .. }
            | Op::Snap { .. } => None,
        }
    }

    fn put(
        &mut self,
        record: RecordId,
        account: AccountId,
        core: &[u8],
        registers: &[(u8, Vec<u8>)],
        shadows: &[RecordId],
        (stamp, contested): (Stamp, bool),
    ) -> Option<RecordId> {
        if self.deleted.contains(&record) {
            return None;
        }
        // An id that was used twice is somebody's fault. A member's put beats a revoked one's, then the first
        // stamp wins, whatever arrives first; what either said about registers counts.
        let known = self.records.remove(&record);
        let early = self.early.remove(&record).unwrap_or_default();
        let mut merged = match known {
            Some(known) if (known.contested, known.stamp) <= (contested, stamp) => known,
            other => Record {
                account,
                core: core.to_vec(),
                shadows: shadows.to_vec(),
                stamp,
                contested,
                used_s: other.as_ref().map_or(early.used_s, |other| other.used_s),
                registers: other.map_or(early.registers, |other| other.registers),
            },
        };
        // A revoked author may add a record, but not change the registers of one: its values lose to any other.
        let stamp = Stamp { hlc: if contested { 0 } else { stamp.hlc }, ..stamp };
        for (number, value) in registers {
            let register = Register { by_user: false, stamp, value: value.clone() };
            join(&mut merged.registers, *number, register);
        }
        self.records.insert(record, merged);
        Some(record)
    }

    /// The records of an account, best first: last confirmed, then not shadowed, then newest.
    ///
    /// A record that never signed in successfully does not displace one that did: the relying party may never have
    /// heard of it.
    pub fn offered(&self, account: AccountId) -> Vec<RecordId> {
        let of_account = || self.records.iter().filter(|(_, record)| record.account == account);
        let shadowed: BTreeSet<_> = of_account().flat_map(|(_, record)| &record.shadows).collect();
        let mut offered: Vec<_> = of_account().collect();
        offered.sort_by_key(|(id, record)| {
            (Reverse(record.used_s), shadowed.contains(id), Reverse(record.stamp.hlc), **id)
        });
        offered.into_iter().map(|(id, _)| *id).collect()
    }
}

/// Keeps the larger of two registers; whether the new one it was.
fn join(registers: &mut BTreeMap<u8, Register>, number: u8, register: Register) -> bool {
    let wins = registers.get(&number).is_none_or(|known| *known < register);
    if wins {
        registers.insert(number, register);
    }
    wins
}
