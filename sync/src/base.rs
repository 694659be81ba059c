//! Bases: what a snapshot keeps of the entries it covers, in one encoding, so that every device that covers the same
//! entries comes to the same digest.
//!
//! Deterministic CBOR, one array `[1, gen, logs, stubs, epochs, erased, records, deleted, early, policies]`. `logs` is
//! the sorted table of authors; where an author is named below, its index there stands for it.
//!
//! | part | each item |
//! |---|---|
//! | stub | `[author, seq, hash, hlc, seen, ops]`, seen are `[author, seq]`, ops are admissions and revocations only |
//! | epoch | `[id, gen, recipients, author, seq]`: who announced it, and in which entry |
//! | erased | the id of an epoch whose secret nobody has any more |
//! | record | `[id, account, core, shadows, author, seq, hlc, contested, used, registers]` |
//! | deleted | the id of a record |
//! | early | `[id, used, registers]`: said before, or without, its record |
//! | register | `[number, by user, author, seq, hlc, value]`; policies are registers |
//!
//! A sealed *part* is `[digest, index, count, bytes]` under the label `snapshot/1` of an epoch that is kept.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use zeroize::Zeroizing;

use crate::cbor::{Reader, Writer};
use crate::dag::Entry;
use crate::entry::{Body, Op, byte, expect_array, list};
use crate::id::{AccountId, EpochId, Hash, LogId, RecordId, hash};
use crate::state::{Early, Record, Register, Stamp, State};

/// An epoch whose secret is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Announced {
    pub(crate) generation: u32,
    pub(crate) recipients: BTreeSet<LogId>,
    pub(crate) origin: (LogId, u32),
}

/// What is kept of an entry that membership, an epoch or the next entry of its log rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stub {
    pub(crate) hash: Hash,
    pub(crate) hlc: u64,
    pub(crate) seen: BTreeMap<LogId, u32>,
    pub(crate) ops: Vec<Op>,
}

/// What a snapshot keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Base {
    pub(crate) generation: u32,
    pub(crate) stubs: BTreeMap<(LogId, u32), Stub>,
    pub(crate) epochs: BTreeMap<EpochId, Announced>,
    pub(crate) erased: BTreeSet<EpochId>,
    pub(crate) state: State,
}

impl Stub {
    pub(crate) fn of(entry: &Entry) -> Self {
        let membership = |op: &&Op| matches!(op, Op::Admit { .. } | Op::Revoke { .. });
        Stub {
            hash: entry.hash,
            hlc: entry.body.hlc,
            seen: entry.seen.clone(),
            ops: entry.body.ops.iter().filter(membership).cloned().collect(),
        }
    }

    pub(crate) fn into_entry(self, log: LogId, seq: u32) -> Entry {
        let Stub { hash, hlc, seen, ops } = self;
        let body = Body { log, seq, prev: Hash::default(), deps: Vec::new(), hlc, ops };
        Entry { body, hash, copies: Vec::new(), seen }
    }
}

impl Base {
    /// Of an encoding: what a [`Op::Snap`] signs.
    pub(crate) fn digest_of(encoded: &[u8]) -> Hash {
        hash(&[b"base/1", encoded])
    }

    /// The one encoding. Holds every record's secrets.
    pub(crate) fn encode(&self) -> Zeroizing<Vec<u8>> {
        let logs: BTreeSet<LogId> = self.stubs.keys().map(|(log, _)| *log).collect();
        let table: Vec<LogId> = logs.into_iter().collect();
        let mut encoder = Encoder { table: &table, writer: Writer::default() };
        encoder.writer.array(10).unsigned(1).unsigned(self.generation.into()).array(table.len());
        for log in &table {
            encoder.writer.bytes(&log.0);
        }
        encoder.stubs(&self.stubs);
        encoder.epochs(&self.epochs);
        encoder.writer.array(self.erased.len());
        for id in &self.erased {
            encoder.writer.bytes(&id.0);
        }
        encoder.state(&self.state);
        Zeroizing::new(encoder.writer.0)
    }

    /// Reads it back. `None` for anything that [`Base::encode`] does not write.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        expect_array(&mut reader, 10)?;
        if reader.unsigned()? != 1 {
            return None;
        }
        let generation = number(&mut reader)?;
        let table = list(&mut reader, |reader| reader.fixed().map(LogId))?;
        let decoder = Decoder { table: &table };
        let base = Base {
            generation,
            stubs: decoder.stubs(&mut reader)?,
            epochs: decoder.epochs(&mut reader)?,
            erased: list(&mut reader, |reader| reader.fixed().map(EpochId))?.into_iter().collect(),
            state: decoder.state(&mut reader)?,
        };
        reader.0.is_empty().then_some(base)
    }
}

struct Encoder<'a> {
    table: &'a [LogId],
    writer: Writer,
}

impl Encoder<'_> {
    fn author(&mut self, log: &LogId) -> &mut Writer {
        let index = self.table.binary_search(log).expect("whoever said something that is covered has a stub");
        self.writer.unsigned(index as u64)
    }

    fn stubs(&mut self, stubs: &BTreeMap<(LogId, u32), Stub>) {
        self.writer.array(stubs.len());
        for ((log, seq), stub) in stubs {
            self.writer.array(6);
            self.author(log)
                .unsigned((*seq).into())
                .bytes(&stub.hash.0)
                .unsigned(stub.hlc)
                .array(stub.seen.len());
            for (log, seq) in &stub.seen {
                self.writer.array(2);
                self.author(log).unsigned((*seq).into());
            }
            self.writer.array(stub.ops.len());
            stub.ops.iter().for_each(|op| op.encode(&mut self.writer));
        }
    }

    fn epochs(&mut self, epochs: &BTreeMap<EpochId, Announced>) {
        self.writer.array(epochs.len());
        for (id, epoch) in epochs {
            self.writer.array(5).bytes(&id.0).unsigned(epoch.generation.into()).array(epoch.recipients.len());
            for log in &epoch.recipients {
                self.writer.bytes(&log.0);
            }
            self.author(&epoch.origin.0).unsigned(epoch.origin.1.into());
        }
    }

    fn state(&mut self, state: &State) {
        self.writer.array(state.records.len());
        for (id, record) in &state.records {
            self.writer.array(10).bytes(&id.0).bytes(&record.account.0).bytes(&record.core);
            self.writer.array(record.shadows.len());
            for shadow in &record.shadows {
                self.writer.bytes(&shadow.0);
            }
            self.stamp(&record.stamp);
            self.writer.unsigned(record.contested.into()).unsigned(record.used_s);
            self.registers(&record.registers);
        }
        self.writer.array(state.deleted.len());
        for id in &state.deleted {
            self.writer.bytes(&id.0);
        }
        self.writer.array(state.early.len());
        for (id, early) in &state.early {
            self.writer.array(3).bytes(&id.0).unsigned(early.used_s);
            self.registers(&early.registers);
        }
        self.registers(&state.policies);
    }

    fn stamp(&mut self, stamp: &Stamp) {
        self.author(&stamp.log).unsigned(stamp.seq.into()).unsigned(stamp.hlc);
    }

    fn registers(&mut self, registers: &BTreeMap<u8, Register>) {
        self.writer.array(registers.len());
        for (number, register) in registers {
            self.writer.array(6).unsigned((*number).into()).unsigned(register.by_user.into());
            self.stamp(&register.stamp);
            self.writer.bytes(&register.value);
        }
    }
}

struct Decoder<'a> {
    table: &'a [LogId],
}

impl Decoder<'_> {
    fn author(&self, reader: &mut Reader<'_>) -> Option<LogId> {
        self.table.get(usize::try_from(reader.unsigned()?).ok()?).copied()
    }

    fn stubs(&self, reader: &mut Reader<'_>) -> Option<BTreeMap<(LogId, u32), Stub>> {
        let stubs = list(reader, |reader| {
            expect_array(reader, 6)?;
            let at = (self.author(reader)?, number(reader)?);
            let (hash, hlc) = (Hash(reader.fixed()?), reader.unsigned()?);
            let seen = list(reader, |reader| {
                expect_array(reader, 2)?;
                Some((self.author(reader)?, number(reader)?))
            })?;
            Some((at, Stub { hash, hlc, seen: seen.into_iter().collect(), ops: list(reader, Op::decode)? }))
        })?;
        Some(stubs.into_iter().collect())
    }

    fn epochs(&self, reader: &mut Reader<'_>) -> Option<BTreeMap<EpochId, Announced>> {
        let epochs = list(reader, |reader| {
            expect_array(reader, 5)?;
            let id = EpochId(reader.fixed()?);
            let generation = number(reader)?;
            let recipients = list(reader, |reader| reader.fixed().map(LogId))?.into_iter().collect();
            let origin = (self.author(reader)?, number(reader)?);
            Some((id, Announced { generation, recipients, origin }))
        })?;
        Some(epochs.into_iter().collect())
    }

    fn state(&self, reader: &mut Reader<'_>) -> Option<State> {
        let records = list(reader, |reader| {
            expect_array(reader, 10)?;
            let id = RecordId(reader.fixed()?);
            let (account, core) = (AccountId(reader.fixed()?), reader.vec()?);
            let shadows = list(reader, |reader| reader.fixed().map(RecordId))?;
            let stamp = self.stamp(reader)?;
            let (contested, used_s) = (reader.bool()?, reader.unsigned()?);
            let registers = self.registers(reader)?;
            Some((id, Record { account, core, shadows, stamp, contested, registers, used_s }))
        })?;
        let deleted = list(reader, |reader| reader.fixed().map(RecordId))?;
        let early = list(reader, |reader| {
            expect_array(reader, 3)?;
            let (id, used_s) = (RecordId(reader.fixed()?), reader.unsigned()?);
            Some((id, Early { registers: self.registers(reader)?, used_s }))
        })?;
        Some(State {
            records: records.into_iter().collect(),
            deleted: deleted.into_iter().collect(),
            early: early.into_iter().collect(),
            policies: self.registers(reader)?,
        })
    }

    fn stamp(&self, reader: &mut Reader<'_>) -> Option<Stamp> {
        Some(Stamp { log: self.author(reader)?, seq: number(reader)?, hlc: reader.unsigned()? })
    }

    fn registers(&self, reader: &mut Reader<'_>) -> Option<BTreeMap<u8, Register>> {
        let registers = list(reader, |reader| {
            expect_array(reader, 6)?;
            let (number, by_user) = (byte(reader)?, reader.bool()?);
            let stamp = self.stamp(reader)?;
            Some((number, Register { by_user, stamp, value: reader.vec()? }))
        })?;
        Some(registers.into_iter().collect())
    }
}

fn number(reader: &mut Reader<'_>) -> Option<u32> {
    u32::try_from(reader.unsigned()?).ok()
}
