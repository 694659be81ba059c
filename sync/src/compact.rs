//! Compaction: a snapshot takes the place of the entries that every device has, and old epochs are erased.
//!
//! 1. A member that holds many entries makes a new epoch, and waits until every device has said that it saw it. From
//!    then on nobody seals under an older one, and whatever was sealed under one is here.
//! 2. It says [`Op::Snap`]: the digest of what everything it had seen adds up to (`base.rs`); and puts the same,
//!    sealed in parts, into the mailboxes for newcomers.
//! 3. A device that knows that every device has seen this entry, that has all parts, and that comes to the same digest
//!    by itself, puts the snapshot in the place of its entries and erases the secrets of the older epochs. Each device
//!    does so when it finds out: what it does later is the same, because a state is a join.
//!
//! So deleted records are gone from disks, and stay unreadable in the mailbox: nobody has their epoch's secret.
//!
//! A device that stays away holds up the next snapshot until it comes or is revoked; so does a log that has forked.
//! A member's changes of heart stay sound: whatever is said after a snapshot was said by someone who had seen all
//! that it covers, so no later revocation can reach into it.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::base::{Announced, Base, Stub};
use crate::cbor::{Reader, Writer};
use crate::crypto::{EpochKey, Label, epoch_of, random};
use crate::entry::{Op, expect_array};
use crate::id::{EpochId, Hash, LogId, Name};
use crate::mailbox::View;
use crate::pairing;
use crate::replica::{Effect, Replica};

/// After how many entries a member begins with a snapshot, unless [`Replica::compact_after`] says otherwise.
pub const COMPACT_AFTER: usize = 256;

/// How much of a snapshot one part holds.
const PART: usize = 192 << 10;
/// No snapshot has more parts.
const PARTS_MAX: u32 = 1 << 12;
/// How many snapshots' parts are kept before it is known which one counts.
const SNAPSHOTS_MAX: usize = 4;

/// A snapshot that was announced and has not taken effect here.
#[derive(Clone, Copy)]
pub(crate) struct Announcement {
    /// The entry that announced it.
    at: (LogId, u32),
    generation: u32,
    digest: Hash,
}

/// A snapshot's sealed parts by index.
#[derive(Clone, Default)]
pub(crate) struct Parts {
    count: u32,
    pub(crate) sealed: BTreeMap<u32, (Name, Vec<u8>)>,
}

impl Parts {
    fn are_complete(&self) -> bool {
        self.count > 0 && self.sealed.len() as u64 == u64::from(self.count)
    }
}

impl<R: CryptoRng> Replica<R> {
    /// After how many entries this device begins with a snapshot, if it is the most senior one; the next waits for
    /// twice as many, and so on. The default is [`COMPACT_AFTER`].
    pub fn compact_after(&mut self, entries: usize) {
        self.compact_after = entries;
    }

    /// The epochs whose secrets are here.
    pub fn epochs(&self) -> impl Iterator<Item = EpochId> {
        self.epochs.iter().filter(|(_, epoch)| epoch.key.is_some()).map(|(id, _)| *id)
    }

    /// How many entries are here one by one, not in a snapshot.
    pub fn uncovered(&self) -> usize {
        self.dag.uncovered()
    }

    /// Sealed parts of snapshots.
    pub(crate) fn sealed_parts(&self) -> impl Iterator<Item = (Name, &[u8])> {
        let sealed = self.parts.values().flat_map(|parts| parts.sealed.values());
        sealed.map(|(name, bytes)| (*name, bytes.as_slice()))
    }

    /// Takes note of an announcement that counts.
    pub(crate) fn announced(&mut self, at: (LogId, u32), generation: u32, digest: Hash) {
        let better = |known: &Announcement| (known.generation, known.at.0) >= (generation, at.0);
        if !self.snapshot.as_ref().is_some_and(better) {
            self.snapshot = Some(Announcement { at, generation, digest });
            self.looked = None;
        }
    }

    /// The next step of compaction, if one is due.
    pub(crate) fn compact(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        if self.snapshot.is_some() {
            return self.finish(effects);
        }
        let entries = self.dag.uncovered();
        if entries < self.compact_after || self.looked == Some(entries) || self.members.all[&self.me].recovery
        {
            return;
        }
        self.looked = Some(entries);
        let seniors = self.devices().filter(|(_, rank)| *rank < self.members.all[&self.me].rank).count();
        if entries < self.compact_after.saturating_mul(1 + seniors) || self.dag.is_forked() {
            return;
        }
        let Some(epoch) = self.sealing_epoch().and_then(|id| self.epochs.get(&id)) else { return };
        let (generation, origin) = (epoch.generation, epoch.origin);
        if !origin.is_some_and(|origin| self.is_recent(origin)) {
            // What was sealed before is to be unreadable afterwards, so it must not be this epoch's.
            let secret = random(&mut self.rng);
            self.rotate(now_ms, None, Some(secret), effects);
        } else if origin.is_some_and(|origin| self.is_stable(origin))
            && let Some(base) = self.base_at(&self.frontier(), generation)
        {
            let digest = Base::digest_of(&base.encode());
            self.say(now_ms, alloc::vec![Op::Snap { generation, digest }], effects);
            self.finish(effects);
        }
    }

    /// Live devices, recovery members left out, with their ranks.
    fn devices(&self) -> impl Iterator<Item = (LogId, crate::Rank)> {
        let live = self.members.all.iter().filter(|(_, member)| member.is_live() && !member.recovery);
        live.map(|(log, member)| (*log, member.rank))
    }

    /// Whether most of what no snapshot covers was said before this entry.
    fn is_recent(&self, (log, seq): (LogId, u32)) -> bool {
        let Some(entry) = self.dag.get(log, seq) else { return false };
        let before = self.dag.logs.iter().map(|(log, entries)| {
            let seen = entry.seen.get(log).copied().unwrap_or(0);
            seen.saturating_sub(entries.covered()) as usize
        });
        before.sum::<usize>() * 2 >= self.compact_after
    }

    /// Whether every other device has said that it has seen this entry.
    fn is_stable(&self, (log, seq): (LogId, u32)) -> bool {
        self.devices().filter(|(device, _)| *device != self.me).all(|(device, _)| {
            let last = self.dag.logs.get(&device).and_then(|log| log.last());
            last.is_some_and(|last| last.seen.get(&log).is_some_and(|seen| *seen >= seq))
        })
    }

    /// Publishes the announced snapshot if that is this device's business, and puts it into effect once it may.
    fn finish(&mut self, effects: &mut Vec<Effect>) {
        let Some(Announcement { at, generation, digest }) = self.snapshot else { return };
        if self.dag.is_forked() {
            self.snapshot = None;
            return;
        }
        let complete = self.parts.get(&digest).is_some_and(Parts::are_complete);
        if !complete {
            let caught_up = self.mailboxes.values().all(|view| view.caught_up);
            if caught_up && self.answers_for(at.0) {
                self.publish(at, generation, digest, effects);
            }
            return;
        }
        let stable = self.is_stable(at) && self.dag.membership.iter().all(|at| self.is_stable(*at));
        if !stable || !(self.mailboxes.is_empty() || self.parts_are_listed(digest)) {
            return;
        }
        self.snapshot = None;
        // Two changes of membership at once may have led back to an older epoch. Where no epoch fits, a new one comes.
        let sealing = self.sealing_epoch().and_then(|id| self.epochs.get(&id));
        if sealing.is_some_and(|epoch| epoch.generation < generation) {
            return;
        }
        let Some(base) = self.covered_by(at, generation) else { return };
        if Base::digest_of(&base.encode()) != digest {
            return;
        }
        self.install(digest, base, effects);
        effects.push(Effect::Rewrite(self.records()));
        self.write_to_recovery_members(effects);
    }

    /// Whether a snapshot's parts are this device's business: its own, or those of one that left.
    fn answers_for(&self, author: LogId) -> bool {
        if self.members.is_live(author) {
            return author == self.me;
        }
        self.devices().min_by_key(|(_, rank)| *rank).is_some_and(|(log, _)| log == self.me)
    }

    /// Whether some mailbox lists all parts of a snapshot.
    pub(crate) fn parts_are_listed(&self, digest: Hash) -> bool {
        self.are_listed_by(digest, |_| true)
    }

    /// The same of those where a recovery key finds what is lost with this device.
    pub(crate) fn parts_are_elsewhere(&self, digest: Hash, recovery: LogId) -> bool {
        self.are_listed_by(digest, |view| view.backs(recovery))
    }

    fn are_listed_by(&self, digest: Hash, counts: impl Fn(&View) -> bool) -> bool {
        let Some(parts) = self.parts.get(&digest).filter(|parts| parts.are_complete()) else { return false };
        let lists_all = |view: &View| parts.sealed.values().all(|(name, _)| view.seen.contains(name));
        self.mailboxes.values().any(|view| counts(view) && lists_all(view))
    }

    fn publish(&mut self, at: (LogId, u32), generation: u32, digest: Hash, effects: &mut Vec<Effect>) {
        let encoded = self.covered_by(at, generation).map(|base| base.encode());
        let Some(encoded) = encoded.filter(|encoded| Base::digest_of(encoded) == digest) else {
            self.snapshot = None;
            return;
        };
        let Some(key) = self.sealing_epoch().and_then(|id| self.epochs.get(&id)?.key.clone()) else { return };
        let count = u32::try_from(encoded.len().div_ceil(PART)).unwrap_or(u32::MAX);
        if count > PARTS_MAX {
            self.snapshot = None;
            return;
        }
        let mut parts = Parts { count, sealed: BTreeMap::new() };
        for (index, chunk) in (0..).zip(encoded.chunks(PART)) {
            let mut writer = Writer::default();
            writer.array(4).bytes(&digest.0).unsigned(u64::from(index)).unsigned(count.into()).bytes(chunk);
            let sealed = key.seal(Label::Snapshot, writer.0, &mut self.rng);
            let name = Name::of(&sealed);
            self.put_everywhere(name, &sealed, effects);
            parts.sealed.insert(index, (name, sealed));
        }
        self.parts.insert(digest, parts);
    }

    /// What the entries that this one's author had seen add up to.
    fn covered_by(&self, at: (LogId, u32), generation: u32) -> Option<Base> {
        let mut frontier = self.dag.get(at.0, at.1)?.seen.clone();
        match at.1 - 1 {
            0 => drop(frontier.remove(&at.0)),
            before => drop(frontier.insert(at.0, before)),
        }
        self.base_at(&frontier, generation)
    }

    /// What the entries up to a frontier add up to. `None` if one of them is not here, or if a snapshot covers more.
    fn base_at(&self, frontier: &BTreeMap<LogId, u32>, generation: u32) -> Option<Base> {
        let mut base = Base {
            generation,
            state: self.base_state.clone(),
            erased: self.base_erased.clone(),
            ..Base::default()
        };
        let fits = |(log, entries): (&LogId, &crate::dag::Log)| {
            let until = frontier.get(log).copied().unwrap_or(0);
            (entries.covered()..=entries.head()).contains(&until)
        };
        if !self.dag.logs.iter().all(fits) || frontier.keys().any(|log| !self.dag.logs.contains_key(log)) {
            return None;
        }
        for (log, entries) in &self.dag.logs {
            let until = frontier.get(log).copied().unwrap_or(0);
            for entry in entries.entries.iter().filter(|entry| entry.body.seq <= until) {
                let seq = entry.body.seq;
                let puts_only = seq > self.members.counts_until(*log) || self.dag.forked_at(*log, seq);
                for op in &entry.body.ops {
                    base.state.apply(op, entry.stamp(), puts_only);
                    if let Op::Epoch { generation: older, id, .. } = op
                        && *older < generation
                    {
                        base.erased.insert(*id);
                    }
                }
            }
        }
        let within = |(log, seq): (LogId, u32)| frontier.get(&log).is_some_and(|until| seq <= *until);
        for (id, epoch) in &self.epochs {
            let Some(origin) = epoch.origin.filter(|origin| within(*origin)) else { continue };
            if epoch.generation >= generation {
                let recipients = epoch.recipients.clone();
                base.epochs.insert(*id, Announced { generation: epoch.generation, recipients, origin });
            } else {
                base.erased.insert(*id);
            }
        }
        let heads = frontier.iter().map(|(log, seq)| (*log, *seq)).filter(|(_, seq)| *seq > 0);
        let origins = base.epochs.values().map(|epoch| epoch.origin);
        let membership = self.dag.membership.iter().copied().filter(|at| within(*at));
        let kept: BTreeSet<(LogId, u32)> = heads.chain(origins).chain(membership).collect();
        for (log, seq) in kept {
            base.stubs.insert((log, seq), Stub::of(self.dag.get(log, seq)?));
        }
        Some(base)
    }

    /// Puts a base in the place of what it covers, and erases the epochs it has no use for.
    fn install(&mut self, digest: Hash, base: Base, effects: &mut Vec<Effect>) {
        let Base { generation, stubs, epochs, erased, state } = base;
        let stubs = stubs.into_iter().map(|((log, seq), stub)| ((log, seq), stub.into_entry(log, seq)));
        self.dag.cover(stubs.collect());
        self.waiting.retain(|(log, seq), _| !self.dag.covers(*log, *seq));
        self.put_by.retain(|(log, seq), _| !self.dag.covers(*log, *seq));
        for (id, record) in &state.records {
            self.put_by.entry((record.stamp.log, record.stamp.seq)).or_default().push(*id);
        }
        for (id, announced) in epochs {
            let known = self.epoch_entry(id, announced.generation);
            known.recipients.extend(announced.recipients);
            known.origin.get_or_insert(announced.origin);
        }
        let hlcs = self.dag.logs.values().filter_map(|log| log.last()).map(|last| last.body.hlc);
        self.hlc = hlcs.fold(self.hlc, u64::max);
        self.base = Some(digest);
        self.awaits_base = false;
        self.base_state = state;
        self.base_erased = erased;
        self.looked = None;
        self.parts.retain(|known, _| *known == digest);
        // The first letters to recovery members are what later ones are judged by.
        self.letters.retain(|_, letter| pairing::recovery(letter).is_some());
        self.letters_tried.clear();
        self.mailboxes.values_mut().for_each(View::look_again);
        self.erase(generation);
        let mut changed = Vec::new();
        self.judge(&mut changed, effects);
        self.note_changed(changed, effects);
    }

    /// Forgets every secret below a generation that nothing here is sealed under.
    fn erase(&mut self, generation: u32) {
        let copies = self.dag.entries().flat_map(|entry| &entry.copies);
        let needed: BTreeSet<EpochId> = copies.filter_map(|(_, sealed)| epoch_of(sealed)).collect();
        let old = self.epochs.iter().filter(|(_, epoch)| epoch.generation < generation).map(|(id, _)| *id);
        self.erased = self.base_erased.iter().copied().chain(old).filter(|id| !needed.contains(id)).collect();
        self.epochs.retain(|id, _| !self.erased.contains(id));
        self.unread.retain(|id| !self.erased.contains(id));
    }

    /// Takes a part of a snapshot, if it is one.
    pub(crate) fn take_part(&mut self, key: &EpochKey, sealed: Vec<u8>, effects: &mut Vec<Effect>) {
        let Some(Part { digest, index, count, .. }) = Part::open(key, &sealed) else { return };
        let known = self.awaits_base && self.base == Some(digest)
            || self.snapshot.as_ref().is_some_and(|snapshot| snapshot.digest == digest);
        if !known && !self.parts.contains_key(&digest) && self.parts.len() >= SNAPSHOTS_MAX {
            return;
        }
        let parts = self.parts.entry(digest).or_default();
        if parts.count == 0 {
            parts.count = count;
        }
        if parts.count == count {
            parts.sealed.entry(index).or_insert_with(|| (Name::of(&sealed), sealed));
        }
        if parts.are_complete() && self.awaits_base && self.base == Some(digest) {
            self.adopt(digest, effects);
        }
    }

    /// A newcomer, or a device that reads its journal back, begins with a snapshot.
    fn adopt(&mut self, digest: Hash, effects: &mut Vec<Effect>) {
        let Some(base) = self.assemble(digest) else {
            // Whoever sealed these knew a secret of the circle and lied: others may come.
            self.parts.remove(&digest);
            return;
        };
        self.install(digest, base, effects);
        if !self.replaying {
            effects.extend(self.sealed_parts().map(|(_, sealed)| Effect::Persist(Self::part_record(sealed))));
            self.acknowledge_at.get_or_insert(u64::MAX);
        }
    }

    fn assemble(&self, digest: Hash) -> Option<Base> {
        let mut encoded = Zeroizing::new(Vec::new());
        for (_, sealed) in self.parts.get(&digest)?.sealed.values() {
            let key = self.epochs.get(&epoch_of(sealed)?)?.key.as_ref()?;
            encoded.extend_from_slice(&Part::open(key, sealed)?.chunk);
        }
        (Base::digest_of(&encoded) == digest).then(|| Base::decode(&encoded))?
    }

    /// Everything that is to be in the journal now: what was there before holds what is to be forgotten.
    fn records(&self) -> Vec<Vec<u8>> {
        let epochs = self.epochs.values().filter_map(|epoch| Some((epoch.generation, epoch.key.clone()?)));
        let mut records = alloc::vec![self.identity_record(&epochs.collect::<Vec<_>>())];
        if let Some(digest) = self.base {
            records.push(Self::base_record(digest));
            records.extend(self.sealed_parts().map(|(_, sealed)| Self::part_record(sealed)));
        }
        records.extend(self.letters.values().map(|letter| Self::letter_record(letter)));
        let mut entries: Vec<_> = self.dag.entries().collect();
        entries.sort_by_key(|entry| entry.body.hlc);
        if self.heard_itself {
            records.push(Self::heard_itself_record(true));
        }
        for entry in entries {
            records.extend(entry.copies.iter().map(|(_, sealed)| Self::entry_record(sealed)));
        }
        records
    }

    /// Recovery members get letters that begin with this snapshot: one of every device, so that the loss of any one, and
    /// of what a mailbox had of it, loses none; and so that the seniors' word is there where a junior's is doubtful.
    fn write_to_recovery_members(&mut self, effects: &mut Vec<Effect>) {
        let live = self.members.all.iter().filter(|(_, member)| member.is_live() && member.recovery);
        for log in live.map(|(log, _)| *log).collect::<Vec<_>>() {
            if let Some(letter) = self.recovery_letter_again(log) {
                self.post(letter, effects);
            }
        }
    }
}

/// An opened part.
struct Part {
    digest: Hash,
    index: u32,
    count: u32,
    chunk: Zeroizing<Vec<u8>>,
}

impl Part {
    fn open(key: &EpochKey, sealed: &[u8]) -> Option<Self> {
        let plaintext = key.open(Label::Snapshot, sealed)?;
        let mut reader = Reader(&plaintext);
        expect_array(&mut reader, 4)?;
        let digest = Hash(reader.fixed()?);
        let index = u32::try_from(reader.unsigned()?).ok()?;
        let count = u32::try_from(reader.unsigned()?).ok()?;
        let chunk = Zeroizing::new(reader.vec()?);
        (index < count && count <= PARTS_MAX).then_some(Part { digest, index, count, chunk })
    }
}
