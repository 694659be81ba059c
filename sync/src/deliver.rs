//! How entries get in: opened, verified, put into causal order, added up.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use rand_core::CryptoRng;

use crate::alarm::Alarm;
use crate::crypto::{EpochKey, epoch_of};
use crate::dag::Entry;
use crate::entry::{ENTRY_MAX, Op, Signed};
use crate::id::{Hash, LogId, Name, RecordId};
use crate::membership::Members;
use crate::pairing;
use crate::replica::{
    Effect, Epoch, POLICY_RECOVERY_CONFIRMED, POLICY_RECOVERY_LETTERS, Replica, Sealed, Waiting,
};
use crate::state::{Record, State};

/// A clock may be wrong: one that begins in 1970 after each reset, or that was never set right. By more than a hundred years
/// it is wrong on purpose.
const AHEAD_MAX_MS: u64 = 100 * 365 * 86_400_000;

/// How many letters to recovery members are kept, whoever wrote them.
const RECOVERY_LETTERS_MAX: usize = 16;

impl<R: CryptoRng> Replica<R> {
    /// Takes a sealed entry. Anything that is not one is dropped: a mailbox may hold what it likes.
    pub(crate) fn receive(&mut self, sealed: Vec<u8>, effects: &mut Vec<Effect>) {
        self.receive_named(Name::of(&sealed), sealed, effects);
    }

    /// As [`Self::receive`], for who has computed the name.
    pub(crate) fn receive_named(&mut self, name: Name, sealed: Vec<u8>, effects: &mut Vec<Effect>) {
        if pairing::is_letter(&sealed) {
            return self.read_letter(name, sealed, effects);
        }
        let Some(epoch) = epoch_of(&sealed).filter(|epoch| !self.erased.contains(epoch)) else { return };
        if sealed.len() > ENTRY_MAX || self.dag.names.contains(&name) {
            return;
        }
        match self.epochs.get(&epoch).and_then(|epoch| epoch.key.as_ref()) {
            Some(key) => match Signed::open(key, &sealed) {
                Some(signed) => self.opened(signed, (name, sealed), effects),
                None => self.take_part(&key.clone(), sealed, effects),
            },
            None => self.unread.keep(epoch, name, sealed),
        }
        self.deliver(effects);
    }

    fn read_letter(&mut self, name: Name, letter: Vec<u8>, effects: &mut Vec<Effect>) {
        if self.letters.contains_key(&name) {
            return;
        }
        if pairing::recovery(&letter).is_some() {
            return self.keep_recovery_letter(name, letter, effects);
        }
        if pairing::keyed(&letter).is_none() {
            return effects.push(Effect::Letter(letter));
        }
        if self.letters_tried.insert(name)
            && let Some(epochs) = self.open_key_letter(&letter)
        {
            self.learn_keys(epochs, effects);
            self.deliver(effects);
        }
    }

    /// Every device keeps the first letters to recovery members, for mailboxes that lose them: nobody can write one again.
    fn keep_recovery_letter(&mut self, name: Name, letter: Vec<u8>, effects: &mut Vec<Effect>) {
        let kept = self.letters.values().filter(|letter| pairing::recovery(letter).is_some()).count();
        if kept < RECOVERY_LETTERS_MAX {
            effects.push(Effect::Persist(Self::letter_record(&letter)));
            self.letters.insert(name, letter);
        }
    }

    fn opened(&mut self, signed: Signed, sealed: Sealed, effects: &mut Vec<Effect>) {
        let (log, seq) = (signed.body.log, signed.body.seq);
        if self.dag.covers(log, seq) {
            return;
        }
        if self.is_a_copy(&signed, &sealed, effects) {
            return;
        }
        if self.is_ahead(&signed) {
            self.alarm(Alarm::Ahead(log), effects);
        }
        let waiting = self.waiting.entry((log, seq)).or_default();
        if !waiting.iter().any(|(other, _)| *other == signed) {
            waiting.push((signed, sealed));
        }
    }

    /// Whether the same body is here already; then this form of it, sealed under another epoch, is kept beside it.
    fn is_a_copy(&mut self, signed: &Signed, (name, sealed): &Sealed, effects: &mut Vec<Effect>) -> bool {
        let Some(entry) = self.dag.find_mut(signed.body.log, signed.body.seq, signed.hash) else {
            return false;
        };
        if entry.copies.iter().all(|(known, _)| known != name) {
            entry.copies.push((*name, sealed.clone()));
            self.dag.names.insert(*name);
            if !self.replaying {
                effects.push(Effect::Persist(Self::entry_record(sealed)));
            }
        }
        true
    }

    /// Delivers whatever can be, until nothing more can.
    pub(crate) fn deliver(&mut self, effects: &mut Vec<Effect>) {
        if self.awaits_base {
            return;
        }
        let mut changed = Vec::new();
        loop {
            let mut progress = false;
            let logs: Vec<LogId> = self.waiting_logs();
            for log in logs {
                while let Some((signed, sealed)) = self.next_of(log) {
                    progress = true;
                    self.accept(signed, sealed, &mut changed, effects);
                }
            }
            if !progress {
                break;
            }
        }
        self.note_changed(changed, effects);
    }

    pub(crate) fn note_changed(&self, mut changed: Vec<RecordId>, effects: &mut Vec<Effect>) {
        if !changed.is_empty() && !self.replaying {
            changed.sort();
            changed.dedup();
            effects.push(Effect::Changed(changed));
        }
    }

    fn waiting_logs(&self) -> Vec<LogId> {
        let mut logs = Vec::new();
        let mut from = LogId([0; 8]);
        while let Some(((log, _), _)) = self.waiting.range((from, 0)..).find(|((log, _), _)| *log >= from) {
            logs.push(*log);
            let Some(next) = u64::from_be_bytes(log.0).checked_add(1) else { break };
            from = LogId(next.to_be_bytes());
        }
        logs
    }

    /// The next entry of a log that may be delivered, or an entry that contradicts the chain.
    fn next_of(&mut self, log: LogId) -> Option<Waiting> {
        let author = self.dag.keys.get(&log).or_else(|| self.genesis_keys(log))?.clone();
        let head = self.dag.head(log);
        let fork = self.dag.logs.get(&log).and_then(|log| log.fork);
        // Past a fork everything is taken as it comes; before one, only the next number, or one that contradicts.
        let until = if fork.is_some() { u32::MAX } else { head + 1 };
        let candidates: Vec<u32> =
            self.waiting.range((log, 0)..=(log, until)).map(|((_, seq), _)| *seq).collect();
        for seq in candidates {
            let mut index = 0;
            while let Some((signed, (_, sealed))) =
                self.waiting.get(&(log, seq)).and_then(|all| all.get(index))
            {
                let verified = self.replaying || {
                    let key = epoch_of(sealed).and_then(|epoch| self.epochs.get(&epoch)?.key.as_ref());
                    key.is_some_and(|key| signed.verify(key, &author, self.suite))
                };
                if !verified {
                    self.forget(log, seq, index);
                    continue;
                }
                if self.may_deliver(signed) {
                    return Some(self.forget(log, seq, index));
                }
                self.demand_of(log, seq, index);
                index += 1;
            }
        }
        None
    }

    fn forget(&mut self, log: LogId, seq: u32, index: usize) -> Waiting {
        let waiting = self.waiting.get_mut(&(log, seq)).expect("the caller found it there");
        let taken = waiting.remove(index);
        if waiting.is_empty() {
            self.waiting.remove(&(log, seq));
        }
        taken
    }

    /// What a live member refers to may be delivered even if its author has been revoked since.
    fn demand_of(&mut self, log: LogId, seq: u32, index: usize) {
        if !self.members.is_live(log) {
            return;
        }
        let (signed, _) = &self.waiting[&(log, seq)][index];
        for dep in &signed.body.deps {
            let demanded = self.demanded.entry(dep.log).or_default();
            *demanded = (*demanded).max(dep.seq);
        }
    }

    /// The founder's keys are in the founder's first entry.
    fn genesis_keys(&self, log: LogId) -> Option<&crate::PublicKeys> {
        if log != self.founder {
            return None;
        }
        self.waiting.get(&(log, 1))?.iter().flat_map(|(signed, _)| &signed.body.ops).find_map(|op| match op {
            Op::Admit { keys, .. } if keys.log() == log => Some(keys),
            _ => None,
        })
    }

    /// Whether an entry's clock is so far ahead that no honest one can be. What a member says at the end of time nobody
    /// could take back, not even when that member is revoked; so nobody hears it before.
    fn is_ahead(&self, signed: &Signed) -> bool {
        let latest = self.now_ms.saturating_add(AHEAD_MAX_MS).min(u64::MAX >> 16) << 16;
        signed.body.hlc > latest && signed.body.log != self.me && !self.replaying
    }

    fn may_deliver(&self, signed: &Signed) -> bool {
        let body = &signed.body;
        let (log, seq) = (body.log, body.seq);
        if self.is_ahead(signed) {
            return false;
        }
        let head = self.dag.head(log);
        let forked = self.dag.logs.get(&log).is_some_and(|log| log.fork.is_some());
        if seq <= head || forked {
            // It contradicts the chain, or follows what does.
            return true;
        }
        let admitted = self.members.all.is_empty() || seq <= self.members.counts_until(log);
        if !admitted && self.demanded.get(&log).is_none_or(|demanded| seq > *demanded) {
            return false;
        }
        let last = self.dag.get(log, head);
        let deps = body.deps.iter().all(|dep| match self.dag.get(dep.log, dep.seq) {
            Some(entry) => entry.hash.short() == dep.hash || self.dag.forked_at(dep.log, dep.seq),
            None => self.dag.forked_at(dep.log, dep.seq) || self.dag.covers(dep.log, dep.seq),
        });
        last.map_or(Hash::default(), |last| last.hash) == body.prev && deps
    }

    fn accept(
        &mut self,
        signed: Signed,
        sealed: Sealed,
        changed: &mut Vec<RecordId>,
        effects: &mut Vec<Effect>,
    ) {
        // Both forms of one body may have waited for the same entry.
        if self.is_a_copy(&signed, &sealed, effects) {
            return;
        }
        let Signed { body, hash, .. } = signed;
        let (log, seq) = (body.log, body.seq);
        if !self.replaying {
            if log == self.me && seq > self.said && !self.heard_itself {
                // Before the entry: with that alone it would look as if this journal had always had it.
                self.heard_itself = true;
                effects.push(Effect::Persist(Self::heard_itself_record(true)));
            }
            effects.push(Effect::Persist(Self::entry_record(&sealed.1)));
        }
        let mut seen = self.dag.get(log, seq - 1).map(|entry| entry.seen.clone()).unwrap_or_default();
        seen.extend(body.deps.iter().map(|dep| (dep.log, dep.seq)));
        seen.insert(log, seq);
        let entry = Entry { hash, copies: alloc::vec![sealed], seen, body };
        self.hlc = self.hlc.max(entry.body.hlc);
        let on_chain = seq == self.dag.head(log) + 1
            && self.dag.get(log, seq - 1).map_or(Hash::default(), |last| last.hash) == entry.body.prev;
        let ops = entry.body.ops.clone();
        let stamp = entry.stamp();
        if !on_chain {
            if !self.replaying && log != self.me {
                self.evidence.extend(entry.copies.iter().map(|(_, sealed)| sealed.clone()));
            }
            self.dag.branch(entry);
            self.alarm(Alarm::Forked(log), effects);
            self.judge(changed, effects);
            return;
        }
        if self.members.is_live(log) {
            for dep in &entry.body.deps {
                let demanded = self.demanded.entry(dep.log).or_default();
                *demanded = (*demanded).max(dep.seq);
            }
        }
        let before = self.dag.get(log, seq - 1).map(|last| last.seen.clone()).unwrap_or_default();
        let seen = entry.seen.clone();
        self.dag.push(entry);
        let membership = ops.iter().any(|op| matches!(op, Op::Admit { .. } | Op::Revoke { .. }));
        for op in &ops {
            match op {
                Op::Epoch { generation, id, wraps } => {
                    self.learn_epoch(*generation, *id, wraps, (log, seq), effects);
                }
                Op::Evidence { sealed } => self.receive_later(sealed.clone(), effects),
                Op::Put { record, .. } => self.put_by.entry((log, seq)).or_default().push(*record),
                Op::Snap { generation, digest } if self.members.is_live(log) => {
                    self.announced((log, seq), *generation, *digest);
                }
                _ => {}
            }
        }
        if membership {
            self.judge(changed, effects);
        } else {
            let puts_only = seq > self.members.counts_until(log) || self.dag.forked_at(log, seq);
            changed.extend(ops.iter().filter_map(|op| self.state.apply(op, stamp, puts_only)));
        }
        let tells = |op: &Op| {
            matches!(
                op,
                Op::Put { .. } | Op::Del { .. } | Op::Admit { .. } | Op::Epoch { .. } | Op::Snap { .. }
            )
        };
        let worth_telling = ops.iter().any(tells);
        if log != self.me && worth_telling && !self.replaying {
            self.acknowledge_at.get_or_insert(u64::MAX);
        }
        self.note_holders(&before, &seen, effects);
    }

    fn receive_later(&mut self, sealed: Vec<u8>, effects: &mut Vec<Effect>) {
        let Some(epoch) = epoch_of(&sealed) else { return };
        if let Some(key) = self.epochs.get(&epoch).and_then(|epoch| epoch.key.as_ref())
            && let Some(signed) = Signed::open(key, &sealed)
        {
            self.opened(signed, (Name::of(&sealed), sealed), effects);
        }
    }

    fn learn_epoch(
        &mut self,
        generation: u32,
        id: crate::EpochId,
        wraps: &[(LogId, Vec<u8>)],
        origin: (LogId, u32),
        effects: &mut Vec<Effect>,
    ) {
        if self.erased.contains(&id) {
            return;
        }
        let known = self.epoch_entry(id, generation);
        known.origin.get_or_insert(origin);
        known.recipients.extend(wraps.iter().map(|(log, _)| *log));
        // Its author may not have known of a member that this device admitted.
        self.rewrap = true;
        let known = self.epoch_entry(id, generation);
        if known.key.is_some() {
            return;
        }
        let Some((_, wrapped)) = wraps.iter().find(|(log, _)| *log == self.me) else { return };
        let secret = self.keys.unwrap(wrapped, &wrap_info(&self.circle, &id, &self.me));
        let secret = secret.and_then(|secret| secret.as_slice().try_into().ok());
        match secret.map(|secret| EpochKey::new(self.suite, self.circle, secret)) {
            Some(key) if key.id == id => self.learn_key(generation, key, effects),
            _ => self.alarm(Alarm::Unreadable(id), effects),
        }
    }

    /// Keeps an epoch's secret and opens what waited for it.
    pub(crate) fn learn_key(&mut self, generation: u32, key: EpochKey, effects: &mut Vec<Effect>) {
        let id = key.id;
        if self.erased.contains(&id) || self.epochs.get(&id).is_some_and(|epoch| epoch.key.is_some()) {
            return;
        }
        if !self.replaying {
            effects.push(Effect::Persist(Self::epoch_record(generation, &key)));
        }
        self.epoch_entry(id, generation).key = Some(key.clone());
        for (name, sealed) in self.unread.take(id) {
            match Signed::open(&key, &sealed) {
                Some(signed) => self.opened(signed, (name, sealed), effects),
                None => self.take_part(&key, sealed, effects),
            }
        }
    }

    pub(crate) fn epoch_entry(&mut self, id: crate::EpochId, generation: u32) -> &mut Epoch {
        self.epochs.entry(id).or_insert_with(|| Epoch {
            generation,
            key: None,
            recipients: Default::default(),
            reached: Default::default(),
            origin: None,
        })
    }

    /// Decides anew who is a member; if that changed, adds everything up anew: some of it may be void, or not any
    /// more.
    pub(crate) fn judge(&mut self, changed: &mut Vec<RecordId>, effects: &mut Vec<Effect>) {
        let members = Members::of(&self.dag, (self.suite, self.circle, self.founder));
        let others = members.live().any(|log| !self.members.is_live(log));
        if others && !self.members.all.is_empty() {
            self.rewrap = true;
        }
        let shrunk = self.members.all.keys().any(|log| {
            members.counts_until(*log) != self.members.counts_until(*log)
                || members.is_live(*log) != self.members.is_live(*log)
        });
        self.members = members;
        let mut state = self.base_state.clone();
        for entry in self.dag.entries() {
            let (log, seq) = (entry.body.log, entry.body.seq);
            let puts_only = seq > self.members.counts_until(log) || self.dag.forked_at(log, seq);
            for op in &entry.body.ops {
                state.apply(op, entry.stamp(), puts_only);
            }
        }
        changed.extend(difference(&self.state, &state));
        self.state = state;
        if self.replaying {
            return;
        }
        effects.push(Effect::MembersChanged);
        if shrunk {
            // Say at once what was seen of whom, so that every member counts the same entries in.
            self.acknowledge_at = Some(0);
        }
        if self.members.all.get(&self.me).is_some_and(|me| !me.is_live()) {
            self.alarm(Alarm::NotAMember, effects);
        }
        self.note_all_holders(effects);
    }

    /// Whether a device has said (or shown by putting it) that it holds a record.
    pub(crate) fn holds(&self, device: LogId, record: &Record) -> bool {
        let (log, seq) = (record.stamp.log, record.stamp.seq);
        if self.dag.forked_at(log, seq) {
            return device == log;
        }
        let said = self.dag.logs.get(&device).and_then(|log| log.last());
        said.is_some_and(|last| last.seen.get(&log).is_some_and(|seen| *seen >= seq))
    }

    fn survives_one_loss(&self, record: &Record) -> bool {
        let devices = self.members.all.iter().filter(|(_, member)| member.is_live() && !member.recovery);
        let holders =
            devices.filter(|(log, _)| **log == self.me || self.holds(**log, record)).take(2).count();
        holders >= 2 || (holders == 1 && self.recoverable(record))
    }

    /// Whether a recovery key alone brings a record back: in mailboxes that open to it there is its letter, what admitted it,
    /// and the record with everything its author had seen. An entry whose past is not there is never delivered. Mailboxes
    /// that may be lost together with this device do not count.
    fn recoverable(&self, record: &Record) -> bool {
        self.confirmed_recovery().any(|recovery| {
            let admission = self.members.all.get(&recovery).map(|member| member.admission);
            self.letter_is_elsewhere(recovery)
                && admission.is_some_and(|admission| self.is_elsewhere(recovery, admission))
                && self.is_elsewhere(recovery, (record.stamp.log, record.stamp.seq))
        })
    }

    fn is_elsewhere(&self, recovery: LogId, (log, seq): (LogId, u32)) -> bool {
        if self.dag.covers(log, seq) {
            return self.base.is_some_and(|digest| self.parts_are_elsewhere(digest, recovery));
        }
        let Some(until) = self.listed_until.get(&recovery) else { return false };
        let listed = |(log, seq): (&LogId, &u32)| until.get(log).is_some_and(|until| until >= seq);
        self.dag.get(log, seq).is_some_and(|entry| entry.seen.iter().all(listed))
    }

    /// Whether the first letter to a recovery member is where its key finds it. For members of which nobody said what it is
    /// called, as earlier versions did not, any first letter will do.
    fn letter_is_elsewhere(&self, recovery: LogId) -> bool {
        let is_seen = |name: &Name| {
            self.mailboxes.values().any(|view| view.backs(recovery) && view.seen.contains(name))
        };
        match self.recovery_letter_names().find(|(log, _)| *log == recovery) {
            Some((_, name)) => is_seen(&name),
            None => {
                self.letters.iter().any(|(name, letter)| pairing::recovery(letter).is_some() && is_seen(name))
            }
        }
    }

    fn recovery_letter_names(&self) -> impl Iterator<Item = (LogId, Name)> {
        let named = self.state.policies.get(&POLICY_RECOVERY_LETTERS);
        named.into_iter().flat_map(|register| register.value.as_chunks::<24>().0).map(|record| {
            let (mut log, mut name) = ([0; 8], [0; 16]);
            log.copy_from_slice(&record[..8]);
            name.copy_from_slice(&record[8..]);
            (LogId(log), Name(name))
        })
    }

    /// Says what the letter that was just posted is called, if it is the first one to a recovery member: others cannot see from
    /// a letter whom it is for.
    pub(crate) fn name_recovery_letter(&mut self, now_ms: u64, letter: Name, effects: &mut Vec<Effect>) {
        let Some(recovery) = self.recovery_letters.remove(&letter) else { return };
        let known =
            self.recovery_letter_names().filter(|(log, _)| *log != recovery && self.members.is_live(*log));
        let named = known.chain([(recovery, letter)]);
        let value = named.flat_map(|(log, name)| log.0.into_iter().chain(name.0)).collect();
        self.say(now_ms, alloc::vec![Op::Policy { number: POLICY_RECOVERY_LETTERS, value }], effects);
    }

    /// Takes note of how much of each log mailboxes elsewhere list without a gap, of those that open to each recovery key. Each
    /// entry is looked for until it is found, once.
    fn note_listed(&mut self) {
        let recovery: Vec<LogId> = self.confirmed_recovery().collect();
        for recovery in recovery {
            if self.base.is_some_and(|digest| !self.parts_are_elsewhere(digest, recovery)) {
                self.listed_until.remove(&recovery);
                continue;
            }
            let elsewhere = || self.mailboxes.values().filter(|view| view.backs(recovery));
            let is_listed = |name: &Name| elsewhere().any(|view| view.seen.contains(name));
            let known = self.listed_until.entry(recovery).or_default();
            for (log, entries) in &self.dag.logs {
                let until = known.entry(*log).or_default();
                *until = (*until).max(entries.covered());
                while let Some(next) = entries.get(*until + 1)
                    && next.copies.iter().all(|(name, _)| is_listed(name))
                {
                    *until += 1;
                }
            }
        }
    }

    /// The recovery members whose keys the user has shown to be kept: those that count as backups.
    pub fn confirmed_recovery(&self) -> impl Iterator<Item = LogId> {
        let confirmed = self.state.policies.get(&POLICY_RECOVERY_CONFIRMED);
        let logs = confirmed.into_iter().flat_map(|register| register.value.as_chunks::<8>().0);
        let is_recovery =
            |log: &LogId| self.members.all.get(log).is_some_and(|member| member.is_live() && member.recovery);
        logs.map(|log| LogId(*log)).filter(is_recovery)
    }

    /// Reports the records whose backup state an acknowledgement changed.
    fn note_holders(
        &mut self,
        before: &BTreeMap<LogId, u32>,
        seen: &BTreeMap<LogId, u32>,
        effects: &mut Vec<Effect>,
    ) {
        let mut touched = Vec::new();
        for (log, seq) in seen {
            let from = before.get(log).copied().unwrap_or(0) + 1;
            if from <= *seq {
                touched
                    .extend(self.put_by.range((*log, from)..=(*log, *seq)).flat_map(|(_, records)| records));
            }
        }
        self.note_backup(touched.into_iter(), effects);
    }

    pub(crate) fn note_all_holders(&mut self, effects: &mut Vec<Effect>) {
        let records: Vec<RecordId> = self.state.records.keys().copied().collect();
        self.note_backup(records.into_iter(), effects);
    }

    pub(crate) fn note_backup(&mut self, records: impl Iterator<Item = RecordId>, effects: &mut Vec<Effect>) {
        let mut records = records.peekable();
        if records.peek().is_some() && self.confirmed_recovery().next().is_some() {
            self.note_listed();
        }
        for id in records {
            let backed = self.state.records.get(&id).is_some_and(|record| self.survives_one_loss(record));
            let flipped = if backed { self.backed.insert(id) } else { self.backed.remove(&id) };
            if flipped && !self.replaying {
                effects.push(Effect::Backup(id, backed));
            }
        }
    }
}

/// What the wrap of an epoch's secret is bound to.
pub(crate) fn wrap_info(circle: &crate::CircleId, epoch: &crate::EpochId, log: &LogId) -> Vec<u8> {
    [b"wrap/1".as_slice(), &circle.0, &epoch.0, &log.0].concat()
}

fn difference(old: &State, new: &State) -> Vec<RecordId> {
    let ids = old.records.keys().chain(new.records.keys());
    ids.filter(|id| old.records.get(id) != new.records.get(id)).copied().collect()
}
