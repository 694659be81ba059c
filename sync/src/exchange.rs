//! How entries travel: mailboxes are listed, read back and topped up; peers compare what they have.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use rand_core::CryptoRng;

use crate::alarm::Alarm;
use crate::cbor::{Reader, Writer};
use crate::crypto::{Label, epoch_of, random, verify};
use crate::entry::{expect_array, list};
use crate::id::{LogId, Name};
use crate::mailbox::{Misbehaviour, Order, View};
use crate::pairing;
use crate::replica::{Effect, POLICY_RECOVERY_CONFIRMED, Replica};

/// The first byte of a greeting between peers; an entry begins with 1.
const GREETING: u8 = 0x47;

impl<R: CryptoRng> Replica<R> {
    pub(crate) fn list(&mut self, mailbox: u8, effects: &mut Vec<Effect>) {
        let view = self.mailboxes.entry(mailbox).or_default();
        let request = view.ask(|| u32::from_be_bytes(random(&mut self.rng)));
        effects.push(Effect::List { mailbox, since: view.cursor(), request });
    }

    pub(crate) fn listed(
        &mut self,
        mailbox: u8,
        request: u32,
        items: Vec<(Name, Option<Vec<u8>>)>,
        head: u64,
        effects: &mut Vec<Effect>,
    ) {
        let view = self.mailboxes.entry(mailbox).or_default();
        if !view.expects(request) {
            return;
        }
        let news = !items.is_empty();
        let misbehaviour = view.listed(items.iter().map(|(name, _)| *name), head);
        if view.forgot() {
            self.alarm(Alarm::Mailbox(mailbox, Misbehaviour::RolledBack), effects);
        }
        if let Some(misbehaviour) = misbehaviour {
            self.alarm(Alarm::Mailbox(mailbox, misbehaviour), effects);
            if misbehaviour == Misbehaviour::RolledBack {
                self.listed_until.clear();
                return self.list(mailbox, effects);
            }
        }
        for (name, bytes) in items {
            match bytes {
                // What it gives must be what it names, or it is not what was put there.
                Some(bytes) if Name::of(&bytes) == name => self.receive_named(name, bytes, effects),
                Some(_) => self.alarm(Alarm::Mailbox(mailbox, Misbehaviour::Corrupts), effects),
                None if self.dag.names.contains(&name) => {}
                None => effects.push(Effect::Get { mailbox, name }),
            }
        }
        let view = self.mailboxes.entry(mailbox).or_default();
        if view.caught_up {
            self.top_up(mailbox, effects);
        } else if news {
            self.list(mailbox, effects);
        }
        if news && self.state.policies.contains_key(&POLICY_RECOVERY_CONFIRMED) {
            self.note_all_holders(effects);
        }
    }

    /// Puts what is here and not there: after a crash, into a new mailbox, into one that lost something.
    fn top_up(&mut self, mailbox: u8, effects: &mut Vec<Effect>) {
        let view = self.mailboxes.entry(mailbox).or_default();
        let parts = || self.parts.values().flat_map(|parts| parts.sealed.values());
        let names = self.dag.names.in_order();
        let here = names.len() + self.letters.len() + parts().count();
        if !view.needs_a_look(here) {
            return;
        }
        // Nearly always there is none.
        let entries = view.lacks_any(names).then(|| self.dag.entries().flat_map(|entry| &entry.copies));
        let copies = entries.into_iter().flatten().chain(parts());
        for (name, bytes) in copies.map(|(name, bytes)| (name, bytes)).chain(&self.letters) {
            if view.lacks(name) {
                view.sent.insert(*name);
                effects.push(Effect::Put { mailbox, name: *name, bytes: bytes.clone() });
            }
        }
    }

    /// Greets a peer with what is here, sealed for members and signed: `[log, answer, have, mailboxes, signature]`.
    pub(crate) fn greet(&mut self, peer: u32, answer: bool, effects: &mut Vec<Effect>) {
        let newest = self.epochs.iter().filter(|(_, epoch)| epoch.key.is_some());
        let Some(epoch) = self
            .sealing_epoch()
            .or_else(|| newest.max_by_key(|(id, epoch)| (epoch.generation, **id)).map(|(id, _)| *id))
        else {
            return;
        };
        let Some(key) = self.epochs.get(&epoch).and_then(|epoch| epoch.key.as_ref()) else { return };
        let mut writer = Writer::default();
        writer.array(5).bytes(&self.me.0).unsigned(answer.into()).array(self.dag.logs.len());
        for (log, entries) in &self.dag.logs {
            writer.array(2).bytes(&log.0).unsigned(entries.head().into());
        }
        writer.array(self.shared_mailboxes().count());
        for (_, called, view) in self.shared_mailboxes() {
            let (cursor, hash) = view.checkpoint();
            writer.array(3).unsigned(called).unsigned(cursor).bytes(&hash);
        }
        let signature = self.keys.sign(&[b"peer/1", &self.circle.0, &writer.0]);
        writer.bytes(&signature);
        let mut bytes = alloc::vec![GREETING];
        bytes.extend(key.seal(Label::Peer, writer.0, &mut self.rng));
        effects.push(Effect::Send { peer, bytes });
    }

    /// The mailboxes that have one order for all devices: their numbers here, and what peers call them.
    fn shared_mailboxes(&self) -> impl Iterator<Item = (u8, u64, &View)> {
        let shared = self.mailboxes.iter().filter(|(_, view)| view.order == Order::Shared);
        shared.map(|(mailbox, view)| (*mailbox, view.called.unwrap_or_else(|| (*mailbox).into()), view))
    }

    pub(crate) fn peer(&mut self, peer: u32, bytes: Vec<u8>, effects: &mut Vec<Effect>) {
        match bytes.split_first() {
            Some((&GREETING, sealed)) => {
                if let Some(greeting) = self.open_greeting(sealed) {
                    self.greeted(peer, &greeting, effects);
                }
            }
            Some(_) => self.receive(bytes, effects),
            None => {}
        }
    }

    fn open_greeting(&self, sealed: &[u8]) -> Option<Greeting> {
        let key = self.epochs.get(&epoch_of(sealed)?)?.key.as_ref()?;
        let plaintext = key.open(Label::Peer, sealed)?;
        let mut reader = Reader(&plaintext);
        expect_array(&mut reader, 5)?;
        let log = LogId(reader.fixed()?);
        let answer = reader.bool()?;
        let have = list(&mut reader, |reader| {
            expect_array(reader, 2)?;
            Some((LogId(reader.fixed()?), u32::try_from(reader.unsigned()?).ok()?))
        })?;
        let mailboxes = list(&mut reader, |reader| {
            expect_array(reader, 3)?;
            Some((reader.unsigned()?, reader.unsigned()?, reader.fixed()?))
        })?;
        let signed = &plaintext[..plaintext.len() - reader.0.len()];
        let signature = reader.fixed()?;
        let member = self.members.all.get(&log).filter(|member| member.is_live())?;
        let message = [b"peer/1".as_slice(), &self.circle.0, signed];
        verify(self.suite, &member.keys.identity, &message, &signature).then(|| Greeting {
            answer,
            have: have.into_iter().collect(),
            mailboxes,
        })
    }

    fn greeted(&mut self, peer: u32, greeting: &Greeting, effects: &mut Vec<Effect>) {
        let own = self.dag.logs.get(&self.me).map_or(0, |log| log.head());
        self.is_vouched_for |= greeting.have.get(&self.me).copied().unwrap_or(0) <= own;
        self.unheard &= !self.is_vouched_for;
        for (there, cursor, hash) in &greeting.mailboxes {
            let forked = self
                .shared_mailboxes()
                .find(|(_, called, view)| called == there && view.contradicts(*cursor, *hash))
                .map(|(mailbox, ..)| mailbox);
            if let Some(mailbox) = forked {
                self.alarm(Alarm::Mailbox(mailbox, Misbehaviour::Forked), effects);
            }
        }
        let behind = |(log, entries): (&LogId, &crate::dag::Log)| {
            greeting.have.get(log).copied().unwrap_or(0) < entries.covered()
        };
        if self.mailboxes.is_empty() || self.dag.logs.iter().any(behind) {
            effects
                .extend(self.sealed_parts().map(|(_, bytes)| Effect::Send { peer, bytes: bytes.to_vec() }));
        }
        for (log, entries) in &self.dag.logs {
            let have = greeting.have.get(log).copied().unwrap_or(0);
            for entry in entries.entries.iter().filter(|entry| entry.body.seq > have) {
                let sends = entry.copies.iter().map(|(_, bytes)| Effect::Send { peer, bytes: bytes.clone() });
                effects.extend(sends);
            }
        }
        let keys = self.letters.values().filter(|letter| pairing::keyed(letter).is_some());
        effects.extend(keys.map(|letter| Effect::Send { peer, bytes: letter.clone() }));
        if greeting.answer {
            self.greet(peer, false, effects);
        }
    }
}

struct Greeting {
    answer: bool,
    have: BTreeMap<LogId, u32>,
    /// What each is called, how many names its sender was shown, and their hash.
    mailboxes: Vec<(u64, u64, [u8; 8])>,
}
