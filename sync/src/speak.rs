//! How a replica says something: which epoch it seals under, and when it makes a new one.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use rand_core::CryptoRng;

use crate::alarm::Alarm;
use crate::crypto::{EpochKey, random, wrap};
use crate::deliver::wrap_info;
use crate::entry::{Body, Dep, Op, Signed};
use crate::id::{EpochId, LogId, Name};
use crate::pairing;
use crate::replica::{ACKNOWLEDGE_AFTER_MS, Effect, Epoch, Replica};

impl<R: CryptoRng> Replica<R> {
    /// Makes one entry of these ops, sealed for exactly those who are members now.
    pub(crate) fn say(&mut self, now_ms: u64, ops: Vec<Op>, effects: &mut Vec<Effect>) {
        if !self.members.is_live(self.me) {
            return self.alarm(Alarm::NotAMember, effects);
        }
        if self.sealing_epoch().is_none() {
            let secret = random(&mut self.rng);
            self.rotate(now_ms, None, Some(secret), effects);
        }
        match self.sealing_epoch() {
            Some(epoch) => self.append(now_ms, ops, &[epoch], effects),
            None => self.alarm(Alarm::NotAMember, effects),
        }
    }

    /// What is due after an event: evidence, wraps for newcomers, acknowledgements. It waits until somebody was heard.
    pub(crate) fn settle(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        if !self.members.is_live(self.me) {
            self.acknowledge_at = None;
            return;
        }
        if !self.has_heard() {
            return;
        }
        for sealed in core::mem::take(&mut self.evidence) {
            self.say(now_ms, alloc::vec![Op::Evidence { sealed }], effects);
        }
        if core::mem::take(&mut self.rewrap) {
            self.write_to_newcomers(effects);
        }
        match self.acknowledge_at {
            Some(u64::MAX) => self.acknowledge_at = Some(now_ms + ACKNOWLEDGE_AFTER_MS),
            Some(due) if due <= now_ms => self.say(now_ms, Vec::new(), effects),
            _ => {}
        }
        self.compact(now_ms, effects);
    }

    /// The epoch to seal under: made by a member, for exactly the members, by someone who knew of every change of
    /// membership. (An older one may be known to someone who left, or joined later.)
    pub(crate) fn sealing_epoch(&self) -> Option<EpochId> {
        let live: BTreeSet<LogId> = self.members.live().collect();
        let fit = |epoch: &Epoch| {
            let Some((log, seq)) = epoch.origin else { return false };
            let Some(entry) = self.dag.get(log, seq) else { return false };
            let knew = |(log, seq): &(LogId, u32)| entry.seen.get(log).is_some_and(|seen| seen >= seq);
            epoch.key.is_some()
                && live.contains(&log)
                && epoch.recipients == live
                && self.members.effective.iter().all(knew)
        };
        let fitting = self.epochs.iter().filter(|(_, epoch)| fit(epoch));
        fitting.max_by_key(|(id, epoch)| (epoch.generation, **id)).map(|(id, _)| *id)
    }

    /// Makes a new epoch, together with the change of membership that is its reason. Without a secret only the
    /// change is said, and the epoch is another member's business.
    pub(crate) fn rotate(
        &mut self,
        now_ms: u64,
        change: Option<Op>,
        secret: Option<[u8; 32]>,
        effects: &mut Vec<Effect>,
    ) {
        let genesis = self.members.all.is_empty();
        if !genesis && !self.members.is_live(self.me) {
            return self.alarm(Alarm::NotAMember, effects);
        }
        let before: BTreeSet<LogId> = self.members.live().collect();
        let mut members: Vec<(LogId, Vec<u8>)> = self
            .members
            .all
            .iter()
            .filter(|(_, member)| member.is_live())
            .map(|(log, member)| (*log, member.keys.encryption.clone()))
            .collect();
        match &change {
            Some(Op::Admit { keys, .. }) => members.push((keys.log(), keys.encryption.clone())),
            Some(Op::Revoke { log, .. }) => members.retain(|(member, _)| member != log),
            _ => {}
        }
        let mut ops: Vec<Op> = change.into_iter().collect();
        let mut made = None;
        if let Some(secret) = secret {
            let key = EpochKey::new(self.suite, self.circle, secret);
            let generation = self.epochs.values().map(|epoch| epoch.generation + 1).max().unwrap_or(0);
            ops.push(self.wraps(generation, &key, &members));
            made = Some((generation, key));
        }
        if genesis && let Some((generation, key)) = made.take() {
            let id = key.id;
            self.learn_key(generation, key, effects);
            return self.append(now_ms, ops, &[id], effects);
        }
        let (cover, missing) = self.cover(before);
        let covering = cover.first().and_then(|id| self.epochs.get(id));
        if let Some((generation, key)) =
            covering.and_then(|epoch| Some((epoch.generation, epoch.key.clone()?)))
        {
            for log in missing {
                self.write_to(log, alloc::vec![(generation, key.clone())], effects);
            }
        }
        if let Some((generation, key)) = made {
            self.learn_key(generation, key, effects);
        }
        self.append(now_ms, ops, &cover, effects);
    }

    fn wraps(&mut self, generation: u32, key: &EpochKey, members: &[(LogId, Vec<u8>)]) -> Op {
        let mut wraps = Vec::with_capacity(members.len());
        for (log, encryption) in members {
            let info = wrap_info(&self.circle, &key.id, log);
            if let Some(wrapped) = wrap(self.suite, encryption, &info, &key.secret, &mut self.rng) {
                wraps.push((*log, wrapped));
            }
        }
        Op::Epoch { generation, id: key.id, wraps }
    }

    /// Epochs that together reach every member, newest first; and whom they do not reach.
    fn cover(&self, mut missing: BTreeSet<LogId>) -> (Vec<EpochId>, BTreeSet<LogId>) {
        let mut known: Vec<_> = self.epochs.iter().filter(|(_, epoch)| epoch.key.is_some()).collect();
        known.sort_by_key(|(id, epoch)| core::cmp::Reverse((epoch.generation, **id)));
        let mut cover = Vec::new();
        for (id, epoch) in known {
            let before = missing.len();
            missing.retain(|log| !epoch.recipients.contains(log) && !epoch.reached.contains(log));
            if missing.len() < before {
                cover.push(*id);
            }
        }
        (cover, missing)
    }

    /// Keys letters with epochs' secrets for members whose admission did not know of them: the business of the
    /// epoch's maker and of the member's admitter, whoever comes first.
    fn write_to_newcomers(&mut self, effects: &mut Vec<Effect>) {
        let mut wanted: BTreeMap<LogId, Vec<(u32, EpochKey)>> = BTreeMap::new();
        for (id, epoch) in &self.epochs {
            let (Some(key), Some((author, _))) = (&epoch.key, epoch.origin) else { continue };
            for (log, member) in self.members.all.iter().filter(|(_, member)| member.is_live()) {
                let mine = *log != self.me && (author == self.me || member.admitted_by == self.me);
                let reached = epoch.recipients.contains(log) || epoch.reached.contains(log);
                if mine && !reached && !self.welcomed_with(member.admitted_by, *id) {
                    wanted.entry(*log).or_default().push((epoch.generation, key.clone()));
                }
            }
        }
        for (log, epochs) in wanted {
            self.write_to(log, epochs, effects);
        }
    }

    /// Posts a keys letter, and remembers whom it reaches.
    fn write_to(&mut self, log: LogId, epochs: Vec<(u32, EpochKey)>, effects: &mut Vec<Effect>) {
        let Some(letter) = self.key_letter(log, &epochs) else { return };
        self.post(letter, effects);
        for (_, key) in &epochs {
            if let Some(epoch) = self.epochs.get_mut(&key.id) {
                epoch.reached.insert(log);
            }
        }
    }

    /// Whether the welcome by this member had the epoch's secret in it: its own do, and so do those it admitted
    /// after having seen them announced.
    fn welcomed_with(&self, admitter: LogId, epoch: EpochId) -> bool {
        let Some((log, seq)) = self.epochs.get(&epoch).and_then(|epoch| epoch.origin) else { return false };
        let admissions = self.members.all.values().filter(|member| member.admitted_by == admitter);
        admissions.map(|member| member.admission).all(|(author, number)| {
            let entry = self.dag.get(author, number);
            entry.is_some_and(|entry| entry.seen.get(&log).is_some_and(|seen| *seen >= seq))
        })
    }

    /// Signs, seals, keeps and puts an entry; one copy for each epoch of the cover.
    fn append(&mut self, now_ms: u64, ops: Vec<Op>, cover: &[EpochId], effects: &mut Vec<Effect>) {
        let last = self.dag.logs.get(&self.me).and_then(|log| log.last());
        let seen = last.map(|last| &last.seen);
        let deps = self
            .dag
            .logs
            .iter()
            .filter(|(log, _)| **log != self.me)
            .filter_map(|(log, entries)| {
                let head = entries.last()?;
                let known = seen.and_then(|seen| seen.get(log)).copied().unwrap_or(0);
                let hash = head.hash.short();
                (entries.head() > known).then_some(Dep { log: *log, seq: entries.head(), hash })
            })
            .collect();
        self.hlc = self.hlc.saturating_add(1).max(now_ms.min(u64::MAX >> 16) << 16);
        let body = Body {
            log: self.me,
            seq: last.map_or(0, |last| last.body.seq) + 1,
            prev: last.map_or(Default::default(), |last| last.hash),
            deps,
            hlc: self.hlc,
            ops,
        };
        self.said = body.seq;
        let keys: Vec<EpochKey> = cover.iter().filter_map(|id| self.epochs.get(id)?.key.clone()).collect();
        for key in keys {
            let signed = Signed::new(body.clone(), &self.keys, &key);
            let sealed = signed.seal(&key, &mut self.rng);
            let name = Name::of(&sealed);
            let mut delivered = Vec::new();
            self.receive_named(name, sealed.clone(), &mut delivered);
            effects.append(&mut delivered);
            self.put_everywhere(name, &sealed, effects);
        }
        self.acknowledge_at = None;
    }

    /// Keeps a letter and puts it into every mailbox. What is no letter is dropped.
    pub(crate) fn post(&mut self, letter: Vec<u8>, effects: &mut Vec<Effect>) {
        let name = Name::of(&letter);
        if pairing::is_letter(&letter) && !self.letters.contains_key(&name) {
            effects.push(Effect::Persist(Self::letter_record(&letter)));
            self.put_everywhere(name, &letter, effects);
            self.letters.insert(name, letter);
        }
    }

    pub(crate) fn put_everywhere(&mut self, name: Name, bytes: &[u8], effects: &mut Vec<Effect>) {
        for (mailbox, view) in &mut self.mailboxes {
            view.sent.insert(name);
            effects.push(Effect::Put { mailbox: *mailbox, name, bytes: bytes.to_vec() });
        }
    }
}
