//! PIN escrow: a recovery key behind a PIN whose guesses are counted.
//!
//! A PIN of a few digits protects nothing that can be tried at leisure, so the key that seals the recovery key comes
//! from the PIN *and* from relays that answer a bounded number of questions: an oblivious pseudorandom function
//! (RFC 9497, `oprf.rs`) whose key is shared among them.
//!
//! 1. **Lock**: the device stretches the PIN (Argon2id, salted with the circle), draws a new function key, computes the
//!    function of the stretched PIN, seals the recovery key under it, and gives each relay a [`Deposit`]: its share of
//!    the function key, the sealed recovery key, how many guesses there are. It keeps nothing of it.
//! 2. **Guess**: a new device with the PIN blinds it; each relay counts the guess, durably, *and then* answers.
//!    From `needed` answers follows the key. A wrong PIN gives a key that opens nothing.
//! 3. **Prove**: whoever has opened the box has a proof for each relay, of which it keeps the hash; the count begins
//!    anew. Without one it only ever goes down, and at 0 the relay destroys its share.
//!
//! What each party learns:
//!
//! | who | learns |
//! |---|---|
//! | a relay | when somebody guessed and whether with success; not the PIN, not what was guessed, not the key |
//! | who reads a relay's database | nothing to try PINs on: shares are sealed under the relay's own key, kept elsewhere |
//! | who writes it | the same; but it can set the count back, and so gets as many guesses as it likes, one at a time |
//! | who has fewer than `needed` relays, keys and all | nothing: every PIN fits |
//! | who has `needed` of them, keys and all (with one relay: its operator) | can try PINs at the speed of Argon2id: a PIN of six digits holds for hours, a long passphrase for ever |
//! | a relay that lies in its answers | of each attempt of the user's whether one PIN of its choice was tried; enough honest ones open the box all the same |
//! | who knows the circle's id | can use up the guesses; relays make them wait longer each time, and devices tell |
//!
//! | offset | length | of a deposit |
//! |---|---|---|
//! | 0 | 1 | version, 1 |
//! | 1 | 1 | guesses allowed in a row, 1 to 16 |
//! | 2 | 4 | set: shares of one lock have the same |
//! | 6 | 1 | needed |
//! | 7 | 1 | index, from 1 |
//! | 8 | 32 | share of the function's key, a big-endian scalar |
//! | 40 | 32 | SHA-256 of the proof |
//! | 72 | 44 | sealed: nonce (12), AES-256-GCM of the recovery key (16) and tag (16) |
//!
//! | offset | length | of an answer |
//! |---|---|---|
//! | 0 | 1 | guesses left |
//! | 1 | 4 | set |
//! | 5 | 1 | needed |
//! | 6 | 1 | index |
//! | 7 | 33 | the blinded point times the share, compressed |
//! | 40 | 44 | sealed |

mod oprf;

use alloc::vec::Vec;

use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use argon2::{Algorithm, Argon2, Params, Version};
use hkdf::Hkdf;
use rand_core::CryptoRng;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::crypto::random;
use crate::id::{CircleId, Hash, hash};
use crate::recovery::RecoveryKey;

use oprf::{Blind, POINT};

/// No escrow allows more guesses in a row.
pub const GUESSES_MAX: u8 = 16;

/// No recovery key is escrowed at more relays.
pub const RELAYS_MAX: u8 = 8;

const VERSION: u8 = 1;
const SEALED: usize = 12 + 16 + 16;

/// Argon2id's memory in KiB, passes, lanes: what RFC 9106 §4 recommends where memory is not plentiful.
const STRETCH: (u32, u32, u32) = (64 << 10, 3, 4);

/// A PIN, stretched for one circle: about a tenth of a second and 64 MiB. Zeroized when dropped.
#[derive(ZeroizeOnDrop)]
pub struct EscrowPin([u8; 32]);

impl core::fmt::Debug for EscrowPin {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("EscrowPin(…)")
    }
}

impl EscrowPin {
    /// Stretches it. Takes any bytes; what is too short is the host's business.
    pub fn new(circle: CircleId, pin: &[u8]) -> Self {
        Self::stretched(circle, pin, STRETCH)
    }

    pub(crate) fn stretched(circle: CircleId, pin: &[u8], (memory, passes, lanes): (u32, u32, u32)) -> Self {
        let parameters = Params::new(memory, passes, lanes, Some(32)).expect("these are in Argon2's ranges");
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters);
        let salt = hash(&[b"escrow pin/1", &circle.0]);
        let mut stretched = [0; 32];
        argon2
            .hash_password_into(pin, &salt.0, &mut stretched)
            .expect("a PIN is shorter than 4 GiB and the salt has 32 bytes");
        EscrowPin(stretched)
    }
}

/// What one relay is to keep. Zeroized when dropped.
#[derive(Clone, ZeroizeOnDrop)]
pub struct Deposit {
    /// How many guesses there are before the right one.
    pub guesses: u8,
    #[zeroize(skip)]
    set: [u8; 4],
    #[zeroize(skip)]
    needed: u8,
    #[zeroize(skip)]
    index: u8,
    share: [u8; 32],
    proof_hash: [u8; 32],
    #[zeroize(skip)]
    sealed: [u8; SEALED],
}

/// In constant time.
impl PartialEq for Deposit {
    fn eq(&self, other: &Self) -> bool {
        self.encode().ct_eq(&other.encode()).into()
    }
}

impl Eq for Deposit {}

impl core::fmt::Debug for Deposit {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Deposit({} of which {} are needed)", self.index, self.needed)
    }
}

impl Deposit {
    /// Locks a recovery key behind a PIN, for `of` relays of which `needed` suffice. `None` unless
    /// 1 ≤ `needed` ≤ `of` ≤ [`RELAYS_MAX`] and 1 ≤ `guesses` ≤ [`GUESSES_MAX`].
    pub fn lock(
        key: &RecoveryKey,
        circle: CircleId,
        pin: &EscrowPin,
        (needed, of): (u8, u8),
        guesses: u8,
        rng: &mut impl CryptoRng,
    ) -> Option<Vec<Self>> {
        let sound = (1..=of).contains(&needed) && of <= RELAYS_MAX && (1..=GUESSES_MAX).contains(&guesses);
        if !sound {
            return None;
        }
        let set = random(rng);
        let shares = oprf::shared_key(needed, of, rng);
        let blind = Blind::random(rng);
        let blinded = blind.blind(&pin.0);
        let answer =
            |(index, share): &(u8, Zeroizing<[u8; 32]>)| Some((*index, oprf::evaluate(share, &blinded)?));
        let answers = shares.iter().take(needed.into()).map(answer).collect::<Option<Vec<_>>>()?;
        let unlocked = Unlocked(blind.finalize(&pin.0, &answers)?);
        let sealed = unlocked.seal(key, circle, set, rng);
        let deposit = |(index, share): &(u8, Zeroizing<[u8; 32]>)| Deposit {
            guesses,
            set,
            needed,
            index: *index,
            share: **share,
            proof_hash: hash(&[&*unlocked.proof(set, *index)]).0,
            sealed,
        };
        Some(shares.iter().map(deposit).collect())
    }

    /// For a relay and its database. Holds the share.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let header = [&[VERSION, self.guesses], self.set.as_slice(), &[self.needed, self.index]].concat();
        Zeroizing::new([header.as_slice(), &self.share, &self.proof_hash, &self.sealed].concat())
    }

    /// Reads it back. `None` for anything else: a stranger may have written it.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let ([version, guesses], rest) = bytes.split_first_chunk::<2>()?;
        let (set, rest) = rest.split_first_chunk::<4>()?;
        let ([needed, index], rest) = rest.split_first_chunk::<2>()?;
        let (share, rest) = rest.split_first_chunk::<32>()?;
        let (proof_hash, sealed) = rest.split_first_chunk::<32>()?;
        let deposit = Deposit {
            guesses: *guesses,
            set: *set,
            needed: *needed,
            index: *index,
            share: *share,
            proof_hash: *proof_hash,
            sealed: sealed.try_into().ok()?,
        };
        let counts = (1..=GUESSES_MAX).contains(guesses) && (1..=RELAYS_MAX).contains(needed);
        (*version == VERSION && counts && (1..=RELAYS_MAX).contains(index)).then_some(deposit)
    }

    /// The relay's answer to a guess that it has counted. `None` if the question is no point.
    pub fn answer(&self, question: &[u8], left: u8) -> Option<Answer> {
        let evaluated = oprf::evaluate(&self.share, question.try_into().ok()?)?;
        let (set, needed, index, sealed) = (self.set, self.needed, self.index, self.sealed);
        Some(Answer { left, set, needed, index, evaluated, sealed })
    }

    /// The hash of what proves that the box was opened: what is compared, so that time tells nothing.
    pub fn proof_hash(&self) -> Hash {
        Hash(self.proof_hash)
    }
}

/// Whether this is the question of a [`Guess`]: a point of the curve.
pub fn is_question(bytes: &[u8]) -> bool {
    bytes.try_into().is_ok_and(oprf::is_point)
}

/// What one relay answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// How many guesses are left there, this one not counted.
    pub left: u8,
    set: [u8; 4],
    needed: u8,
    index: u8,
    evaluated: [u8; POINT],
    sealed: [u8; SEALED],
}

impl Answer {
    /// For the wire.
    pub fn encode(&self) -> Vec<u8> {
        let header = [&[self.left], self.set.as_slice(), &[self.needed, self.index]].concat();
        [header.as_slice(), &self.evaluated, &self.sealed].concat()
    }

    /// Reads it back. `None` for anything else.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let ([left, a, b, c, d, needed, index], rest) = bytes.split_first_chunk::<7>()?;
        let (evaluated, sealed) = rest.split_first_chunk::<POINT>()?;
        Some(Answer {
            left: *left,
            set: [*a, *b, *c, *d],
            needed: *needed,
            index: *index,
            evaluated: *evaluated,
            sealed: sealed.try_into().ok()?,
        })
    }

    /// How many relays' answers a guess takes.
    pub fn needed(&self) -> u8 {
        self.needed
    }
}

/// One guess at a PIN. Zeroized when dropped.
pub struct Guess {
    circle: CircleId,
    pin: EscrowPin,
    blind: Blind,
}

/// What a right guess opens.
pub struct Opened {
    /// The recovery key.
    pub key: RecoveryKey,
    /// For each answer, in the order in which they were given: what proves to its relay that the guess was right.
    pub proofs: Vec<Zeroizing<[u8; 32]>>,
}

impl Guess {
    /// Begins.
    pub fn new(circle: CircleId, pin: EscrowPin, rng: &mut impl CryptoRng) -> Self {
        Guess { circle, pin, blind: Blind::random(rng) }
    }

    /// What to ask the relays: the same of all. Tells nothing about the PIN.
    pub fn question(&self) -> [u8; POINT] {
        self.blind.blind(&self.pin.0)
    }

    /// The recovery key, if the PIN was right and there are enough honest answers of one set among these. Relays that
    /// answer nonsense do no harm as long as enough others are honest.
    pub fn open(&self, answers: &[Answer]) -> Option<Opened> {
        let answers = answers.get(..answers.len().min(usize::from(RELAYS_MAX)))?;
        (1_u32..1 << answers.len()).find_map(|chosen| {
            let of_them = answers.iter().enumerate().filter(|(bit, _)| chosen >> bit & 1 == 1);
            let of_them: Vec<&Answer> = of_them.map(|(_, answer)| answer).collect();
            let (first, key, unlocked) = self.open_with(&of_them)?;
            let proofs = answers.iter().map(|answer| unlocked.proof(first.set, answer.index)).collect();
            Some(Opened { key, proofs })
        })
    }

    fn open_with<'a>(&self, answers: &[&'a Answer]) -> Option<(&'a Answer, RecoveryKey, Unlocked)> {
        let first = *answers.first()?;
        let fits = |answer: &&Answer| {
            (answer.set, answer.needed, answer.sealed) == (first.set, first.needed, first.sealed)
        };
        if answers.len() != usize::from(first.needed) || !answers.iter().all(fits) {
            return None;
        }
        let points: Vec<_> = answers.iter().map(|answer| (answer.index, answer.evaluated)).collect();
        let unlocked = Unlocked(self.blind.finalize(&self.pin.0, &points)?);
        let key = unlocked.open(&first.sealed, self.circle, first.set)?;
        Some((first, key, unlocked))
    }
}

/// The function's value for the right PIN.
struct Unlocked(Zeroizing<[u8; 32]>);

impl Unlocked {
    fn seal(
        &self,
        key: &RecoveryKey,
        circle: CircleId,
        set: [u8; 4],
        rng: &mut impl CryptoRng,
    ) -> [u8; SEALED] {
        let nonce: [u8; 12] = random(rng);
        let payload = Payload { msg: key.seed(), aad: &[&circle.0, set.as_slice()].concat() };
        let sealed = self.cipher().encrypt(&Nonce::from(nonce), payload).expect("a seed is short");
        let mut all = [0; SEALED];
        all[..12].copy_from_slice(&nonce);
        all[12..].copy_from_slice(&sealed);
        all
    }

    fn open(&self, sealed: &[u8; SEALED], circle: CircleId, set: [u8; 4]) -> Option<RecoveryKey> {
        let (nonce, ciphertext) = sealed.split_first_chunk::<12>()?;
        let payload = Payload { msg: ciphertext, aad: &[&circle.0, set.as_slice()].concat() };
        let seed = Zeroizing::new(self.cipher().decrypt(&Nonce::from(*nonce), payload).ok()?);
        RecoveryKey::from_seed(&seed)
    }

    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new((&*self.expand(&[b"escrow seal/1"])).into())
    }

    /// Each relay has one of its own, so that none can use what it was told at another.
    fn proof(&self, set: [u8; 4], index: u8) -> Zeroizing<[u8; 32]> {
        self.expand(&[b"escrow proof/1", &set, &[index]])
    }

    fn expand(&self, info: &[&[u8]]) -> Zeroizing<[u8; 32]> {
        let mut key = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(None, &*self.0)
            .expand_multi_info(info, &mut *key)
            .expect("32 bytes are a valid length");
        key
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::seeded::Seeded;

    const CIRCLE: CircleId = CircleId([7; 16]);

    fn pin(text: &[u8]) -> EscrowPin {
        EscrowPin::stretched(CIRCLE, text, (64, 1, 1))
    }

    fn guess(deposits: &[Deposit], text: &[u8], rng: &mut Seeded) -> Option<(Opened, Vec<Answer>)> {
        let guess = Guess::new(CIRCLE, pin(text), rng);
        let question = guess.question();
        let answers: Vec<Answer> =
            deposits.iter().map(|deposit| deposit.answer(&question, 9).unwrap()).collect();
        Some((guess.open(&answers)?, answers))
    }

    #[test]
    fn the_right_pin_opens_the_box_and_proves_it_to_each_relay_and_no_other_does() {
        let mut rng = Seeded::new(1);
        let key = RecoveryKey::generate(&mut rng);
        let deposits = Deposit::lock(&key, CIRCLE, &pin(b"271828"), (2, 3), 10, &mut rng).unwrap();
        for holders in [&deposits[..2], &deposits[1..], &deposits[..]] {
            let (opened, _) = guess(holders, b"271828", &mut rng).expect("it is the right one");
            assert_eq!(opened.key, key);
            for (holder, proof) in holders.iter().zip(&opened.proofs) {
                let proven = hash(&[&**proof]);
                assert_eq!(holder.proof_hash(), proven);
                let elsewhere = deposits.iter().filter(|other| other.proof_hash() == proven).count();
                assert_eq!(elsewhere, 1, "a proof is for one relay");
            }
            assert!(guess(holders, b"271829", &mut rng).is_none());
        }
        assert!(guess(&deposits[..1], b"271828", &mut rng).is_none(), "one of two needed is none");
    }

    #[test]
    fn a_relay_that_answers_nonsense_does_no_harm_while_enough_others_are_honest() {
        let mut rng = Seeded::new(2);
        let key = RecoveryKey::generate(&mut rng);
        let deposits = Deposit::lock(&key, CIRCLE, &pin(b"1234"), (2, 3), 10, &mut rng).unwrap();
        let other = Deposit::lock(&key, CIRCLE, &pin(b"1234"), (2, 3), 10, &mut rng).unwrap();
        let guess = Guess::new(CIRCLE, pin(b"1234"), &mut rng);
        let question = guess.question();
        let honest = |deposit: &Deposit| deposit.answer(&question, 9).unwrap();
        let mut lying = honest(&deposits[1]);
        lying.evaluated = honest(&deposits[0]).evaluated;
        let stale = honest(&other[1]);
        for wrong in [lying, stale] {
            let answers = [honest(&deposits[0]), wrong.clone(), honest(&deposits[2])];
            assert_eq!(guess.open(&answers).unwrap().key, key);
            assert!(guess.open(&[honest(&deposits[0]), wrong]).is_none());
        }
    }

    #[test]
    fn a_share_alone_fits_every_pin() {
        // What one relay has of two: no guess at a PIN can be checked against it.
        let mut rng = Seeded::new(3);
        let key = RecoveryKey::generate(&mut rng);
        let deposits = Deposit::lock(&key, CIRCLE, &pin(b"1234"), (2, 2), 10, &mut rng).unwrap();
        let alone = Deposit { needed: 1, ..deposits[0].clone() };
        assert!(guess(&[alone], b"1234", &mut rng).is_none(), "also the right one opens nothing");
    }

    #[test]
    fn what_is_out_of_range_is_not_locked() {
        let mut rng = Seeded::new(4);
        let key = RecoveryKey::generate(&mut rng);
        for (shares, guesses) in [((0, 1), 10), ((2, 1), 10), ((1, 9), 10), ((1, 1), 0), ((1, 1), 17)] {
            assert!(Deposit::lock(&key, CIRCLE, &pin(b"1"), shares, guesses, &mut rng).is_none());
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..130)) {
            if let Some(deposit) = Deposit::decode(&bytes) {
                prop_assert_eq!(&*deposit.encode(), &bytes);
                let _ = deposit.answer(&bytes[..33], 1);
            }
            if let Some(answer) = Answer::decode(&bytes) {
                prop_assert_eq!(answer.encode(), bytes);
            }
        }

        #[test]
        fn a_deposit_and_an_answer_come_back_from_the_wire(seed: u64, guesses in 1..=GUESSES_MAX) {
            let mut rng = Seeded::new(seed);
            let key = RecoveryKey::generate(&mut rng);
            let deposits = Deposit::lock(&key, CIRCLE, &pin(b"1"), (1, 2), guesses, &mut rng).unwrap();
            prop_assert_eq!(Deposit::decode(&deposits[1].encode()), Some(deposits[1].clone()));
            let question = Guess::new(CIRCLE, pin(b"1"), &mut rng).question();
            let answer = deposits[1].answer(&question, 3).unwrap();
            prop_assert_eq!(Answer::decode(&answer.encode()), Some(answer));
        }
    }
}
