//! Who is a member: a pure function of the delivered entries, so every device comes to the same answer.
//!
//! * The founder is a member. Who a member admits is one, junior to it. A recovery member is just senior to the
//!   member that admitted it.
//! * A senior revokes a junior; anyone revokes itself; two members of which neither admitted the other (directly or
//!   through others) revoke anyone.
//! * What a revoked log said is void outside the past of its revocation, puts excepted. Of two members that revoke
//!   each other at once the senior's word counts.
//! * A recovery member may have signed beforehand that it ends: then any member says so for it. Its key is with nobody who
//!   could be asked when another one takes its place.
//! * A log with two different entries of one number is no member any more.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::crypto::{DeviceKeys, PublicKeys, Suite, verify};
use crate::dag::{Dag, Entry};
use crate::entry::Op;
use crate::id::{CircleId, LogId};

/// Seniority: smaller is more senior.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    admitted_hlc: u64,
    log: LogId,
    below_recovery: bool,
}

/// Someone who is or was a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its keys.
    pub keys: PublicKeys,
    /// What the user calls it.
    pub name: Vec<u8>,
    /// Whether it is a seed on paper, not a device.
    pub recovery: bool,
    /// Its seniority.
    pub rank: Rank,
    /// Who admitted it; itself for the founder.
    pub admitted_by: LogId,
    /// The last of its entries that counts in full, once it is revoked.
    pub cut: Option<u32>,
    /// Whether its log has two different entries of one number.
    pub forked: bool,
    pub(crate) admission: (LogId, u32),
}

impl Member {
    /// When it was admitted, in milliseconds since 1970, by the clock of who did. For a recovery member, when whoever admitted
    /// it was.
    pub fn admitted_ms(&self) -> u64 {
        self.rank.admitted_hlc >> 16
    }

    /// Whether it is a member now.
    pub fn is_live(&self) -> bool {
        self.cut.is_none() && !self.forked
    }
}

/// Everyone who is or was a member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// By log.
    pub all: BTreeMap<LogId, Member>,
    /// The admissions and revocations that count: an epoch made before one of them is not used any more.
    pub(crate) effective: BTreeSet<(LogId, u32)>,
}

impl Members {
    /// The logs of those who are members now.
    pub fn live(&self) -> impl Iterator<Item = LogId> {
        self.all.iter().filter(|(_, member)| member.is_live()).map(|(log, _)| *log)
    }

    /// Whether this log is a member now.
    pub fn is_live(&self, log: LogId) -> bool {
        self.all.get(&log).is_some_and(Member::is_live)
    }

    /// The last number up to which the log's entries count in full; the rest are puts only.
    pub(crate) fn counts_until(&self, log: LogId) -> u32 {
        self.all.get(&log).map_or(0, |member| member.cut.unwrap_or(u32::MAX))
    }

    /// Everyone this member admitted, and whom those admitted: the list to look through after a theft.
    pub fn admitted_by(&self, log: LogId) -> Vec<LogId> {
        let others = self.all.keys().filter(|other| **other != log);
        others.filter(|other| self.descends(**other, log)).copied().collect()
    }

    fn descends(&self, mut from: LogId, ancestor: LogId) -> bool {
        loop {
            let Some(member) = self.all.get(&from) else { return false };
            if from == ancestor {
                return true;
            }
            if member.admitted_by == from {
                return false;
            }
            from = member.admitted_by;
        }
    }

    /// Judges every admission and revocation of the delivered entries.
    pub(crate) fn of(dag: &Dag, (suite, circle, founder): (Suite, CircleId, LogId)) -> Self {
        let candidates = candidates(dag, founder);
        let mut cosigned = Cosigned::new();
        loop {
            let (members, pleas) = judge(dag, (suite, circle), &candidates, &cosigned);
            let before = cosigned.len();
            for (target, by) in pleas {
                if members.independent_pair(&by) && !cosigned.contains_key(&target) {
                    let cut = by.iter().map(|(log, seq)| seen(dag, *log, *seq, target)).max().unwrap_or(0);
                    cosigned.insert(target, (cut, by));
                    break;
                }
            }
            if cosigned.len() == before {
                return members;
            }
        }
    }

    fn independent_pair(&self, by: &BTreeSet<(LogId, u32)>) -> bool {
        by.iter().any(|(one, _)| {
            by.iter().any(|(other, _)| {
                one != other && !self.descends(*one, *other) && !self.descends(*other, *one)
            })
        })
    }
}

/// Whoever was ever named by an admission with an unbroken chain to the founder, valid or not, with its rank.
fn candidates(dag: &Dag, founder: LogId) -> BTreeMap<LogId, Member> {
    let mut entries: Vec<&Entry> =
        dag.membership.iter().filter_map(|(log, seq)| dag.get(*log, *seq)).collect();
    entries.sort_by_key(|entry| entry.stamp());
    let mut candidates: BTreeMap<LogId, Member> = BTreeMap::new();
    for entry in entries {
        let author = entry.body.log;
        let author_rank = candidates.get(&author).map(|member| member.rank);
        for op in &entry.body.ops {
            let Op::Admit { keys, recovery, name } = op else { continue };
            let log = keys.log();
            let genesis = log == founder && author == founder && entry.body.seq == 1;
            let rank = match author_rank {
                _ if genesis => Rank { admitted_hlc: entry.body.hlc, log, below_recovery: true },
                Some(rank) if *recovery => Rank { below_recovery: false, ..rank },
                Some(_) => Rank { admitted_hlc: entry.body.hlc, log, below_recovery: true },
                None => continue,
            };
            candidates.entry(log).or_insert_with(|| Member {
                keys: keys.clone(),
                name: name.clone(),
                recovery: *recovery,
                rank,
                admitted_by: author,
                cut: None,
                forked: dag.logs.get(&log).is_some_and(|log| log.fork.is_some()),
                admission: (author, entry.body.seq),
            });
        }
    }
    candidates
}

/// For each target the entries that ask for its end.
type Pleas = BTreeMap<LogId, BTreeSet<(LogId, u32)>>;

/// For each target that two members ended together its cut, and their entries.
type Cosigned = BTreeMap<LogId, (u32, BTreeSet<(LogId, u32)>)>;

/// Goes through admissions and revocations, those of seniors first: so whatever could void one is known by then.
/// Also returns the revocations that lacked authority alone.
fn judge(
    dag: &Dag,
    (suite, circle): (Suite, CircleId),
    candidates: &BTreeMap<LogId, Member>,
    cosigned: &Cosigned,
) -> (Members, Pleas) {
    let mut members = Members::default();
    let mut cuts: BTreeMap<LogId, u32> = cosigned.iter().map(|(log, (cut, _))| (*log, *cut)).collect();
    members.effective.extend(cosigned.values().flat_map(|(_, by)| by.iter().copied()));
    let mut pleas = Pleas::new();
    let mut order: Vec<_> = dag
        .membership
        .iter()
        .filter_map(|(log, seq)| Some((candidates.get(log)?.rank, *log, *seq)))
        .collect();
    order.sort();
    for (rank, author, seq) in order {
        let Some(entry) = dag.get(author, seq) else { continue };
        for op in &entry.body.ops {
            let Op::Revoke { log: target, consent, .. } = op else { continue };
            let Some(candidate) = candidates.get(target) else { continue };
            if !counts(dag, &cuts, author, seq) || !admitted(dag, candidates, &cuts, author) {
                continue;
            }
            let consents = || {
                let signed =
                    |consent| verify(suite, &candidate.keys.identity, &consented(&circle, target), consent);
                candidate.recovery && consent.as_ref().is_some_and(signed)
            };
            if rank < candidate.rank || *target == author || consents() {
                let cut = if *target == author { seq } else { seen(dag, author, seq, *target) };
                let known = cuts.entry(*target).or_insert(cut);
                *known = (*known).max(cut);
                members.effective.insert((author, seq));
            } else {
                pleas.entry(*target).or_default().insert((author, seq));
            }
        }
    }
    for (log, candidate) in candidates {
        if admitted(dag, candidates, &cuts, *log) {
            members.effective.insert(candidate.admission);
            members.all.insert(*log, Member { cut: cuts.get(log).copied(), ..candidate.clone() });
        }
    }
    (members, pleas)
}

/// What a member signs that agrees to its end.
fn consented<'a>(circle: &'a CircleId, log: &'a LogId) -> [&'a [u8]; 3] {
    [b"retire/1", &circle.0, &log.0]
}

/// The signature of these keys that their member in this circle ends.
pub(crate) fn consent(keys: &DeviceKeys, circle: &CircleId) -> [u8; 64] {
    keys.sign(&consented(circle, &keys.public().log()))
}

/// Whether what the author said in this entry counts in full.
fn counts(dag: &Dag, cuts: &BTreeMap<LogId, u32>, author: LogId, seq: u32) -> bool {
    cuts.get(&author).is_none_or(|cut| seq <= *cut) && !dag.forked_at(author, seq)
}

/// Whether every admission from the founder down to this log counts.
fn admitted(
    dag: &Dag,
    candidates: &BTreeMap<LogId, Member>,
    cuts: &BTreeMap<LogId, u32>,
    mut log: LogId,
) -> bool {
    // An admission's clock is above that of its author's own, so the chain ends.
    while let Some(candidate) = candidates.get(&log) {
        let (author, seq) = candidate.admission;
        if !counts(dag, cuts, author, seq) {
            return false;
        }
        if author == log {
            return true;
        }
        log = author;
    }
    false
}

fn seen(dag: &Dag, log: LogId, seq: u32, target: LogId) -> u32 {
    dag.get(log, seq).and_then(|entry| entry.seen.get(&target).copied()).unwrap_or(0)
}
