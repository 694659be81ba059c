//! Entries: what a device says, in one signed and sealed message.
//!
//! The plaintext is `body ‖ signature ‖ zeros`. The body is a deterministic CBOR array
//! `[log, seq, prev, deps, hlc, ops]`; the signature covers `"entry/1" ‖ circle ‖ epoch ‖ body`.
//!
//! | op | array |
//! |---|---|
//! | put | `[0, record, account, core, registers, shadows]`, registers are `[number, value]` |
//! | set | `[1, record, number, value, by user]` |
//! | del | `[2, record]` |
//! | used | `[3, record, time]` |
//! | admit | `[4, identity key, encryption key, incarnation, recovery, name]` |
//! | revoke | `[5, log, why]` |
//! | epoch | `[6, gen, epoch, wraps]`, wraps are `[log, wrapped secret]` |
//! | policy | `[7, number, value]` |
//! | evidence | `[8, sealed entry]` |
//! | snap | `[9, gen, digest]` |
//!
//! An entry without ops is the acknowledgement of its dependencies (the design's `seal`).

use alloc::vec::Vec;

use rand_core::CryptoRng;
use zeroize::Zeroize;

use crate::cbor::{Reader, Writer};
use crate::crypto::{DeviceKeys, EpochKey, Label, PublicKeys};
use crate::id::{AccountId, EpochId, Hash, LogId, RecordId, hash};
use crate::state::Untold;

/// The most bytes a sealed entry may have.
pub const ENTRY_MAX: usize = 1 << 20;

/// One change.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Op {
    /// A new record. Its core never changes; an id is used once.
    Put {
        /// The new record's id.
        record: RecordId,
        /// What it has in common with the records it may replace.
        account: AccountId,
        /// Opaque to this crate.
        core: Vec<u8>,
        /// First values of registers.
        registers: Vec<(u8, Vec<u8>)>,
        /// The records it is meant to replace. They stay usable.
        shadows: Vec<RecordId>,
    },
    /// A new value of a register; the last writer wins, and the user wins over the relying party.
    Set {
        /// Of this record.
        record: RecordId,
        /// Which register.
        number: u8,
        /// Opaque to this crate.
        value: Vec<u8>,
        /// Whether the user chose it, not the relying party.
        by_user: bool,
    },
    /// The end of a record, for good: wins over everything.
    Del {
        /// The record's id.
        record: RecordId,
    },
    /// The relying party accepted an assertion: the largest time wins.
    Used {
        /// The record's id.
        record: RecordId,
        /// When, in seconds since 1970.
        time_s: u64,
    },
    /// A new member.
    Admit {
        /// Its keys.
        keys: PublicKeys,
        /// Whether it is a recovery member: a seed on paper, which outranks the member that admitted it.
        recovery: bool,
        /// What the user calls it.
        name: Vec<u8>,
    },
    /// The end of a membership.
    Revoke {
        /// Whose.
        log: LogId,
        /// A number for the user interface: lost, stolen, retired.
        why: u8,
        /// Its own signature that it ends, made beforehand: with it any member may say so (`membership.rs`).
        consent: Option<[u8; 64]>,
    },
    /// A new epoch, its secret wrapped for each recipient.
    Epoch {
        /// One above every generation its author knew.
        generation: u32,
        /// The hash of its secret.
        id: EpochId,
        /// For each recipient the secret, encrypted to it.
        wraps: Vec<(LogId, Vec<u8>)>,
    },
    /// A rule of the circle; the last writer wins.
    Policy {
        /// Which rule.
        number: u8,
        /// Its value.
        value: Vec<u8>,
    },
    /// An entry that contradicts another one of the same log and sequence number.
    Evidence {
        /// It, as it was sealed.
        sealed: Vec<u8>,
    },
    /// A snapshot of everything the author had seen (`compact.rs`). It takes effect once every device has seen it.
    Snap {
        /// The epochs below this generation are erased with what they sealed.
        generation: u32,
        /// The hash of the snapshot's encoding.
        digest: Hash,
    },
}

/// Tells no content of records and registers: it may be a secret.
impl core::fmt::Debug for Op {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Op::Put { record, account, core, registers, shadows } => f
                .debug_struct("Put")
                .field("record", record)
                .field("account", account)
                .field("core", &Untold(core.len()))
                .field("registers", &registers.len())
                .field("shadows", shadows)
                .finish(),
            Op::Set { record, number, value, by_user } => f
                .debug_struct("Set")
                .field("record", record)
                .field("number", number)
                .field("value", &Untold(value.len()))
                .field("by_user", by_user)
                .finish(),
            Op::Del { record } => f.debug_tuple("Del").field(record).finish(),
            Op::Used { record, time_s } => f.debug_tuple("Used").field(record).field(time_s).finish(),
            Op::Admit { keys, recovery, name } => {
                f.debug_tuple("Admit").field(&keys.log()).field(recovery).field(&Untold(name.len())).finish()
            }
            Op::Revoke { log, why, consent } => {
                f.debug_tuple("Revoke").field(log).field(why).field(&consent.is_some()).finish()
            }
            Op::Epoch { generation, id, wraps } => {
                f.debug_tuple("Epoch").field(generation).field(id).field(&wraps.len()).finish()
            }
            Op::Policy { number, value } => f.debug_tuple("Policy").field(number).field(value).finish(),
            Op::Evidence { sealed } => f.debug_tuple("Evidence").field(&Untold(sealed.len())).finish(),
            Op::Snap { generation, digest } => f.debug_tuple("Snap").field(generation).field(digest).finish(),
        }
    }
}

/// What an author had seen of another log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dep {
    /// The other log.
    pub log: LogId,
    /// Its last entry that the author had delivered.
    pub seq: u32,
    /// The start of that entry's hash.
    pub hash: [u8; 8],
}

/// What the signature covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// The author.
    pub log: LogId,
    /// Counts the author's entries from 1.
    pub seq: u32,
    /// The hash of the author's entry before; zeros in the first one.
    pub prev: Hash,
    /// What the author learned of other logs since its entry before, ascending by log.
    pub deps: Vec<Dep>,
    /// Hybrid logical clock: milliseconds since 1970 shifted left by 16, above that of everything seen.
    pub hlc: u64,
    /// What changes.
    pub ops: Vec<Op>,
}

/// A body with its signature, as it was sealed under an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signed {
    pub(crate) body: Body,
    pub(crate) hash: Hash,
    epoch: EpochId,
    bytes: Vec<u8>,
    signature: [u8; 64],
}

impl Signed {
    pub(crate) fn new(body: Body, keys: &DeviceKeys, key: &EpochKey) -> Self {
        let bytes = body.encode();
        let signature = keys.sign(&[b"entry/1", &key.circle.0, &key.id.0, &bytes]);
        Signed { hash: hash(&[b"body/1", &bytes]), body, epoch: key.id, bytes, signature }
    }

    pub(crate) fn seal(&self, key: &EpochKey, rng: &mut impl CryptoRng) -> Vec<u8> {
        key.seal(Label::Entry, [self.bytes.as_slice(), &self.signature].concat(), rng)
    }

    /// Opens and decodes. The signature is not checked yet: its key may have to be learned first.
    pub(crate) fn open(key: &EpochKey, sealed: &[u8]) -> Option<Self> {
        let mut plaintext = key.open(Label::Entry, sealed)?;
        let mut reader = Reader(&plaintext);
        let body = Body::decode(&mut reader)?;
        let (signature, padding) = reader.0.split_at_checked(64)?;
        let signature = signature.try_into().ok()?;
        if padding.iter().any(|byte| *byte != 0) {
            return None;
        }
        let bytes = plaintext[..plaintext.len() - reader.0.len()].to_vec();
        plaintext.zeroize();
        Some(Signed { hash: hash(&[b"body/1", &bytes]), body, epoch: key.id, bytes, signature })
    }

    pub(crate) fn verify(&self, key: &EpochKey, author: &PublicKeys, suite: crate::Suite) -> bool {
        let message = [b"entry/1".as_slice(), &key.circle.0, &self.epoch.0, &self.bytes];
        author.log() == self.body.log
            && crate::crypto::verify(suite, &author.identity, &message, &self.signature)
    }
}

impl Body {
    /// The one encoding of this body.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.array(6).bytes(&self.log.0).unsigned(self.seq.into()).bytes(&self.prev.0);
        writer.array(self.deps.len());
        for dep in &self.deps {
            writer.array(3).bytes(&dep.log.0).unsigned(dep.seq.into()).bytes(&dep.hash);
        }
        writer.unsigned(self.hlc).array(self.ops.len());
        self.ops.iter().for_each(|op| op.encode(&mut writer));
        writer.0
    }

    /// Decodes a body alone. `None` unless [`Body::encode`] would give back the same bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let body = Self::decode(&mut reader)?;
        reader.0.is_empty().then_some(body)
    }

    fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        expect_array(reader, 6)?;
        let log = LogId(reader.fixed()?);
        let seq = u32::try_from(reader.unsigned()?).ok()?;
        let prev = Hash(reader.fixed()?);
        let deps = list(reader, |reader| {
            expect_array(reader, 3)?;
            Some(Dep {
                log: LogId(reader.fixed()?),
                seq: u32::try_from(reader.unsigned()?).ok()?,
                hash: reader.fixed()?,
            })
        })?;
        let hlc = reader.unsigned()?;
        let ops = list(reader, Op::decode)?;
        let sorted = deps.is_sorted_by(|one, other| one.log < other.log);
        let sound = seq > 0 && sorted && deps.iter().all(|dep| dep.log != log && dep.seq > 0);
        sound.then_some(Body { log, seq, prev, deps, hlc, ops })
    }
}

impl Op {
    pub(crate) fn encode(&self, writer: &mut Writer) {
        match self {
            Op::Put { record, account, core, registers, shadows } => {
                writer.array(6).unsigned(0).bytes(&record.0).bytes(&account.0).bytes(core);
                writer.array(registers.len());
                for (number, value) in registers {
                    writer.array(2).unsigned((*number).into()).bytes(value);
                }
                writer.array(shadows.len());
                shadows.iter().for_each(|shadow| {
                    writer.bytes(&shadow.0);
                });
            }
            Op::Set { record, number, value, by_user } => {
                writer.array(5).unsigned(1).bytes(&record.0).unsigned((*number).into());
                writer.bytes(value).unsigned((*by_user).into());
            }
            Op::Del { record } => {
                writer.array(2).unsigned(2).bytes(&record.0);
            }
            Op::Used { record, time_s } => {
                writer.array(3).unsigned(3).bytes(&record.0).unsigned(*time_s);
            }
            Op::Admit { keys, recovery, name } => {
                writer.array(6).unsigned(4).bytes(&keys.identity).bytes(&keys.encryption);
                writer.unsigned(keys.incarnation.into()).unsigned((*recovery).into()).bytes(name);
            }
            Op::Revoke { log, why, consent } => {
                writer.array(3 + usize::from(consent.is_some()));
                writer.unsigned(5).bytes(&log.0).unsigned((*why).into());
                if let Some(consent) = consent {
                    writer.bytes(consent);
                }
            }
            Op::Epoch { generation, id, wraps } => {
                writer.array(4).unsigned(6).unsigned((*generation).into()).bytes(&id.0).array(wraps.len());
                for (log, wrapped) in wraps {
                    writer.array(2).bytes(&log.0).bytes(wrapped);
                }
            }
            Op::Policy { number, value } => {
                writer.array(3).unsigned(7).unsigned((*number).into()).bytes(value);
            }
            Op::Evidence { sealed } => {
                writer.array(2).unsigned(8).bytes(sealed);
            }
            Op::Snap { generation, digest } => {
                writer.array(3).unsigned(9).unsigned((*generation).into()).bytes(&digest.0);
            }
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let len = reader.array()?;
        let code = reader.unsigned()?;
        Some(match (code, len) {
            (0, 6) => Op::Put {
                record: RecordId(reader.fixed()?),
                account: AccountId(reader.fixed()?),
                core: reader.vec()?,
                registers: list(reader, |reader| {
                    expect_array(reader, 2)?;
                    Some((byte(reader)?, reader.vec()?))
                })?,
                shadows: list(reader, |reader| reader.fixed().map(RecordId))?,
            },
            (1, 5) => Op::Set {
                record: RecordId(reader.fixed()?),
                number: byte(reader)?,
                value: reader.vec()?,
                by_user: reader.bool()?,
            },
            (2, 2) => Op::Del { record: RecordId(reader.fixed()?) },
            (3, 3) => Op::Used { record: RecordId(reader.fixed()?), time_s: reader.unsigned()? },
            (4, 6) => Op::Admit {
                keys: PublicKeys {
                    identity: reader.vec()?,
                    encryption: reader.vec()?,
                    incarnation: u32::try_from(reader.unsigned()?).ok()?,
                },
                recovery: reader.bool()?,
                name: reader.vec()?,
            },
            (5, 3 | 4) => Op::Revoke {
                log: LogId(reader.fixed()?),
                why: byte(reader)?,
                consent: if len == 4 { Some(reader.fixed()?) } else { None },
            },
            (6, 4) => Op::Epoch {
                generation: u32::try_from(reader.unsigned()?).ok()?,
                id: EpochId(reader.fixed()?),
                wraps: list(reader, |reader| {
                    expect_array(reader, 2)?;
                    Some((LogId(reader.fixed()?), reader.vec()?))
                })?,
            },
            (7, 3) => Op::Policy { number: byte(reader)?, value: reader.vec()? },
            (8, 2) => Op::Evidence { sealed: reader.vec()? },
            (9, 3) => Op::Snap {
                generation: u32::try_from(reader.unsigned()?).ok()?,
                digest: Hash(reader.fixed()?),
            },
            _ => return None,
        })
    }
}

pub(crate) fn expect_array(reader: &mut Reader<'_>, len: usize) -> Option<()> {
    (reader.array()? == len).then_some(())
}

pub(crate) fn list<T>(
    reader: &mut Reader<'_>,
    item: impl Fn(&mut Reader<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    let len = reader.array()?;
    let mut items = Vec::new();
    for _ in 0..len {
        items.push(item(reader)?);
    }
    Some(items)
}

pub(crate) fn byte(reader: &mut Reader<'_>) -> Option<u8> {
    u8::try_from(reader.unsigned()?).ok()
}
