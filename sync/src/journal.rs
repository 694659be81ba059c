//! What a replica keeps, and what a newcomer is given: records of deterministic CBOR.
//!
//! | record | array |
//! |---|---|
//! | identity | `[0, suite, circle, founder, identity secret, encryption seed, incarnation, [[gen, secret]]]` |
//! | epoch | `[1, gen, secret]` |
//! | entry | `[2, sealed entry]` |
//! | letter | `[3, letter]` |
//! | base | `[5, digest]`: this replica rests on a snapshot |
//! | part | `[4, sealed part]` of it |
//! | heard itself | `[6, 1]`: what this device said, and did not know, comes next; `[6, 0]`: the host has minded that |
//!
//! The journal holds secrets in the clear: the host keeps it in its encrypted vault.

use alloc::vec::Vec;

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::cbor::{Reader, Writer};
use crate::crypto::{DeviceKeys, EpochKey, Suite, wrap};
use crate::entry::{byte, expect_array, list};
use crate::id::{CircleId, Hash, LogId, Name};
use crate::pairing;
use crate::replica::{Effect, Replica};

/// Why a replica could not be made of what was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// There is no identity record at the front.
    NoIdentity,
    /// A record is not one, or of a version this build does not know.
    Malformed,
    /// The device was switched off before it had founded a circle: it must begin anew.
    Unfinished,
    /// The welcome was not made for these keys, or was changed.
    NotForUs,
}

impl core::fmt::Display for OpenError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            OpenError::NoIdentity => "the journal does not begin with an identity",
            OpenError::Malformed => "a record is malformed or of an unknown version",
            OpenError::Unfinished => "the device had not finished founding its circle",
            OpenError::NotForUs => "the welcome was made for another device, or was changed",
        })
    }
}

impl core::error::Error for OpenError {}

impl<R: CryptoRng> Replica<R> {
    /// Reads a journal back, record by record as [`Effect::Persist`] gave them. The host vouches for them: they are
    /// not verified again.
    pub fn open<'a>(records: impl IntoIterator<Item = &'a [u8]>, rng: R) -> Result<Self, OpenError> {
        let mut records = records.into_iter();
        let identity = records.next().ok_or(OpenError::NoIdentity)?;
        let mut replica = Self::from_identity(identity, rng).ok_or(OpenError::NoIdentity)?;
        replica.replaying = true;
        let mut unused = Vec::new();
        for record in records {
            let mut reader = Reader(record);
            let kind = reader.array().and_then(|len| Some((len, reader.unsigned()?)));
            match kind.ok_or(OpenError::Malformed)? {
                (3, 1) => {
                    let (generation, key) =
                        read_epoch(replica.suite, replica.circle, &mut reader).ok_or(OpenError::Malformed)?;
                    replica.learn_key(generation, key, &mut unused);
                }
                (2, 2) => replica.receive(reader.vec().ok_or(OpenError::Malformed)?, &mut unused),
                (2, 4) => replica.receive(reader.vec().ok_or(OpenError::Malformed)?, &mut unused),
                (2, 6) => replica.heard_itself = reader.unsigned().ok_or(OpenError::Malformed)? == 1,
                (2, 5) => replica.await_base(Hash(reader.fixed().ok_or(OpenError::Malformed)?)),
                (2, 3) => {
                    let letter = reader.vec().ok_or(OpenError::Malformed)?;
                    replica.letters.insert(Name::of(&letter), letter);
                }
                _ => return Err(OpenError::Malformed),
            }
            unused.clear();
        }
        if replica.epochs.values().all(|epoch| epoch.key.is_none()) {
            return Err(OpenError::Unfinished);
        }
        replica.replaying = false;
        replica.unheard = true;
        replica.note_all_holders(&mut unused);
        // A crash may have come between learning something and saying so.
        replica.acknowledge_at = Some(u64::MAX);
        Ok(replica)
    }

    /// Begins as a newcomer with a welcome. What it says is verified as entries arrive.
    pub fn join(
        keys: DeviceKeys,
        welcome: &[u8],
        psk: &[u8],
        rng: R,
    ) -> Result<(Self, Vec<Effect>), OpenError> {
        let suite = keys.suite;
        let log = keys.public().log();
        let opened =
            pairing::welcomed(welcome).and_then(|sealed| keys.unwrap(sealed, &welcome_info(&log, psk)));
        let opened = opened.ok_or(OpenError::NotForUs)?;
        let welcome = Welcome::read(suite, &opened).ok_or(OpenError::Malformed)?;
        Ok(Self::begin(keys, welcome, rng))
    }

    pub(crate) fn begin(keys: DeviceKeys, welcome: Welcome, rng: R) -> (Self, Vec<Effect>) {
        let Welcome { circle, founder, epochs, base } = welcome;
        let mut replica = Self::empty(keys.suite, circle, founder, keys, rng);
        let mut effects = alloc::vec![Effect::Persist(replica.identity_record(&epochs))];
        replica.learn_keys(epochs, &mut Vec::new());
        if let Some(digest) = base {
            replica.await_base(digest);
            effects.push(Effect::Persist(Self::base_record(digest)));
        }
        (replica, effects)
    }

    /// The welcome letter for someone who was just admitted: circle, founder, every epoch secret that is here and the
    /// digest of the snapshot to begin with, encrypted to it and bound to what both sides know (`psk`). `None` for someone who is no member.
    pub fn welcome(&mut self, log: LogId, psk: &[u8]) -> Option<Vec<u8>> {
        let encryption =
            self.members.all.get(&log).filter(|member| member.is_live())?.keys.encryption.clone();
        let plaintext = self.welcome_text();
        let sealed = wrap(self.suite, &encryption, &welcome_info(&log, psk), &plaintext, &mut self.rng)?;
        Some(pairing::welcome(&sealed))
    }

    /// What is in a welcome letter: suite, circle, founder, every epoch that is here, the snapshot if there is one.
    pub(crate) fn welcome_text(&self) -> Zeroizing<Vec<u8>> {
        let mut writer = Writer::default();
        writer.array(4 + usize::from(self.base.is_some()));
        writer.unsigned(self.suite as u64).bytes(&self.circle.0).bytes(&self.founder.0);
        let known = self.epochs.values().filter_map(|epoch| Some((epoch.generation, epoch.key.clone()?)));
        write_epochs(&mut writer, &known.collect::<Vec<_>>());
        if let Some(base) = self.base {
            writer.bytes(&base.0);
        }
        Zeroizing::new(writer.0)
    }

    fn from_identity(record: &[u8], rng: R) -> Option<Self> {
        let mut reader = Reader(record);
        expect_array(&mut reader, 8)?;
        if reader.unsigned()? != 0 {
            return None;
        }
        let suite = Suite::from_number(byte(&mut reader)?)?;
        let circle = CircleId(reader.fixed()?);
        let founder = LogId(reader.fixed()?);
        let identity = Zeroizing::new(reader.fixed()?);
        let seed = Zeroizing::new(reader.fixed()?);
        let incarnation = u32::try_from(reader.unsigned()?).ok()?;
        let keys = DeviceKeys::from_secrets(suite, &identity, &seed, incarnation)?;
        let mut replica = Self::empty(suite, circle, founder, keys, rng);
        replica.replaying = true;
        let epochs = read_epochs(suite, circle, &mut reader)?;
        replica.learn_keys(epochs, &mut Vec::new());
        Some(replica)
    }

    /// A keys letter to a member.
    pub(crate) fn key_letter(&mut self, to: LogId, epochs: &[(u32, EpochKey)]) -> Option<Vec<u8>> {
        let encryption = self.members.all.get(&to)?.keys.encryption.clone();
        let mut writer = Writer::default();
        write_epochs(&mut writer, epochs);
        let plaintext = Zeroizing::new(writer.0);
        let sealed =
            wrap(self.suite, &encryption, &letter_info(&self.circle, &to), &plaintext, &mut self.rng)?;
        Some(pairing::keys(&sealed))
    }

    /// What a keys letter to this device brings.
    pub(crate) fn open_key_letter(&self, letter: &[u8]) -> Option<Vec<(u32, EpochKey)>> {
        let plaintext = self.keys.unwrap(pairing::keyed(letter)?, &letter_info(&self.circle, &self.me))?;
        read_epochs(self.suite, self.circle, &mut Reader(&plaintext))
    }

    pub(crate) fn learn_keys(&mut self, epochs: Vec<(u32, EpochKey)>, effects: &mut Vec<Effect>) {
        epochs.into_iter().for_each(|(generation, key)| self.learn_key(generation, key, effects));
    }

    pub(crate) fn identity_record(&self, epochs: &[(u32, EpochKey)]) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.array(8).unsigned(0).unsigned(self.suite as u64).bytes(&self.circle.0).bytes(&self.founder.0);
        writer.bytes(&self.keys.identity).bytes(&self.keys.encryption_seed);
        writer.unsigned(self.keys.public.incarnation.into());
        write_epochs(&mut writer, epochs);
        writer.0
    }

    pub(crate) fn epoch_record(generation: u32, key: &EpochKey) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.array(3).unsigned(1).unsigned(generation.into()).bytes(&key.secret);
        writer.0
    }

    fn await_base(&mut self, digest: Hash) {
        (self.base, self.awaits_base) = (Some(digest), true);
    }

    pub(crate) fn base_record(digest: Hash) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.array(2).unsigned(5).bytes(&digest.0);
        writer.0
    }

    pub(crate) fn heard_itself_record(heard: bool) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.array(2).unsigned(6).unsigned(heard.into());
        writer.0
    }

    pub(crate) fn part_record(sealed: &[u8]) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.array(2).unsigned(4).bytes(sealed);
        writer.0
    }

    pub(crate) fn letter_record(letter: &[u8]) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.array(2).unsigned(3).bytes(letter);
        writer.0
    }

    pub(crate) fn entry_record(sealed: &[u8]) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.array(2).unsigned(2).bytes(sealed);
        writer.0
    }
}

/// What a welcome says.
#[derive(Clone)]
pub(crate) struct Welcome {
    pub(crate) circle: CircleId,
    pub(crate) founder: LogId,
    pub(crate) epochs: Vec<(u32, EpochKey)>,
    base: Option<Hash>,
}

impl Welcome {
    /// `None` for anything else, and for one of another suite.
    pub(crate) fn read(suite: Suite, text: &[u8]) -> Option<Self> {
        let mut reader = Reader(text);
        let len = reader.array().filter(|len| matches!(len, 4 | 5))?;
        if Suite::from_number(byte(&mut reader)?)? != suite {
            return None;
        }
        let (circle, founder) = (CircleId(reader.fixed()?), LogId(reader.fixed()?));
        let epochs = read_epochs(suite, circle, &mut reader)?;
        let base = if len == 5 { Some(Hash(reader.fixed()?)) } else { None };
        Some(Welcome { circle, founder, epochs, base })
    }
}

fn read_epochs(suite: Suite, circle: CircleId, reader: &mut Reader<'_>) -> Option<Vec<(u32, EpochKey)>> {
    list(reader, |reader| {
        expect_array(reader, 2)?;
        read_epoch(suite, circle, reader)
    })
}

fn read_epoch(suite: Suite, circle: CircleId, reader: &mut Reader<'_>) -> Option<(u32, EpochKey)> {
    let generation = u32::try_from(reader.unsigned()?).ok()?;
    Some((generation, EpochKey::new(suite, circle, reader.fixed()?)))
}

fn write_epochs(writer: &mut Writer, epochs: &[(u32, EpochKey)]) {
    writer.array(epochs.len());
    for (generation, key) in epochs {
        writer.array(2).unsigned((*generation).into()).bytes(&key.secret);
    }
}

fn letter_info(circle: &CircleId, to: &LogId) -> Vec<u8> {
    [b"keys/1".as_slice(), &circle.0, &to.0].concat()
}

pub(crate) fn welcome_info(log: &LogId, psk: &[u8]) -> Vec<u8> {
    [b"welcome/1".as_slice(), &log.0, psk].concat()
}
