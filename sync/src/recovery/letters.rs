//! Letters to the recovery member: how it begins, and who says so.
//!
//! The recovery key on paper names no circle. Anybody who was ever a member knows its public key and could write to it;
//! if it believed whoever writes, a revoked device could lead the user into a circle of its own.
//!
//! * The **first letter** is bound to a secret that follows from the key: only who had the key in hands, the device that
//!   made it, can have written it. It names the circle, its founder and its members.
//! * After a snapshot another member writes **again**, since the first letter leads to what is not kept any more. Such a
//!   letter counts only if it is of the same circle and founder and signed by a member that the letter before names.
//! * Of several the newest counts; but not one whose author a senior's letter no longer names: as everywhere, of two
//!   members that contradict each other the senior's word counts.
//!
//! What this cannot see: a mailbox that hides every newer letter leads to an older state of the same circle, in which a
//! device that was revoked since still is a member. So the new device revokes all others.
//!
//! | the plaintext, an array | |
//! |---|---|
//! | welcome | as in a welcome letter |
//! | members | logs, seniors first |
//! | identity, incarnation | of the author |
//! | signature | over `"recovery/1"` ‖ circle ‖ recovery log ‖ everything before |

use alloc::vec::Vec;

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::RecoveryKey;
use crate::cbor::{Reader, Writer};
use crate::crypto::{DeviceKeys, Suite, verify, wrap};
use crate::entry::{expect_array, list};
use crate::id::{CircleId, LogId, Name};
use crate::journal::{Welcome, welcome_info};
use crate::pairing;
use crate::replica::Replica;

/// What letters after the first are bound to: no secret.
const AGAIN: &[u8] = b"recovery/again";

impl<R: CryptoRng> Replica<R> {
    /// The first letter to a recovery key that was just admitted: to be posted. `None` if it is no member.
    pub fn recovery_letter(&mut self, key: &RecoveryKey) -> Option<Vec<u8>> {
        let log = key.keys(self.suite).public().log();
        let sealed = self.letter_to(log, &*key.letter_secret())?;
        let letter = pairing::letter(pairing::RECOVERY, &sealed);
        self.recovery_letters.insert(Name::of(&letter), log);
        Some(letter)
    }

    /// A letter to a recovery member whose key is on paper somewhere.
    pub(crate) fn recovery_letter_again(&mut self, log: LogId) -> Option<Vec<u8>> {
        Some(pairing::letter(pairing::RECOVERY_AGAIN, &self.letter_to(log, AGAIN)?))
    }

    fn letter_to(&mut self, log: LogId, secret: &[u8]) -> Option<Vec<u8>> {
        let recovery = self.members.all.get(&log).filter(|member| member.is_live() && member.recovery)?;
        let encryption = recovery.keys.encryption.clone();
        let mut live: Vec<_> = self.members.all.iter().filter(|(_, member)| member.is_live()).collect();
        live.sort_by_key(|(_, member)| member.rank);
        let mut writer = Writer::default();
        writer.array(5).bytes(&self.welcome_text()).array(live.len());
        live.iter().for_each(|(log, _)| {
            writer.bytes(&log.0);
        });
        let public = self.keys.public();
        writer.bytes(&public.identity).unsigned(public.incarnation.into());
        let signature = self.keys.sign(&[b"recovery/1", &self.circle.0, &log.0, &writer.0]);
        writer.bytes(&signature);
        let plaintext = Zeroizing::new(writer.0);
        wrap(self.suite, &encryption, &welcome_info(&log, secret), &plaintext, &mut self.rng)
    }
}

impl RecoveryKey {
    /// Begins as the recovery member with the newest of the letters among what a mailbox holds. `None` if there is no letter
    /// that counts.
    ///
    /// The key may have been used before, and what its member said then is in the mailboxes. So tell it of them
    /// ([`Replica::add_mailbox`]), give it everything they hold, and then say [`Event::Heard`](crate::Event::Heard): it says
    /// nothing of itself before. Then admit a new device and leave; or look, revoke, and leave.
    pub fn open_newest<'a, R: CryptoRng + Clone>(
        &self,
        suite: Suite,
        held: impl IntoIterator<Item = &'a [u8]>,
        rng: R,
    ) -> Option<Replica<R>> {
        let keys = self.keys(suite);
        let secret = self.letter_secret();
        let (mut first, mut again) = (Vec::new(), Vec::new());
        for letter in held {
            first.extend(pairing::recovery(letter).and_then(|sealed| Letter::open(&keys, sealed, &*secret)));
            again.extend(
                pairing::recovery_again(letter).and_then(|sealed| Letter::open(&keys, sealed, AGAIN)),
            );
        }
        let mut current = first.iter().max_by_key(|letter| letter.terms.generation)?;
        while let Some(next) = successor(current, &again) {
            current = next;
        }
        let mut member = Replica::begin(keys, current.welcome.clone(), rng).0;
        member.unheard = true;
        Some(member)
    }

    /// Whether this is a letter to the member that the key derives, and so one of those from which
    /// [`open_newest`](Self::open_newest) chooses. Of whatever else a mailbox holds it is told by the first two bytes.
    pub fn opens(&self, suite: Suite, held: &[u8]) -> bool {
        let first = pairing::recovery(held).map(|sealed| (sealed, self.letter_secret()));
        match (first, pairing::recovery_again(held)) {
            (Some((sealed, secret)), _) => Letter::open(&self.keys(suite), sealed, &*secret).is_some(),
            (None, Some(sealed)) => Letter::open(&self.keys(suite), sealed, AGAIN).is_some(),
            (None, None) => false,
        }
    }
}

/// An opened letter whose signature is its author's.
struct Letter {
    welcome: Welcome,
    terms: Terms,
}

/// What of a letter decides whether it counts.
struct Terms {
    circle: CircleId,
    founder: LogId,
    generation: u32,
    /// Seniors first.
    members: Vec<LogId>,
    author: LogId,
}

impl Letter {
    fn open(keys: &DeviceKeys, sealed: &[u8], secret: &[u8]) -> Option<Self> {
        let log = keys.public().log();
        let plaintext = keys.unwrap(sealed, &welcome_info(&log, secret))?;
        let mut reader = Reader(&plaintext);
        expect_array(&mut reader, 5)?;
        let welcome = Welcome::read(keys.suite, &Zeroizing::new(reader.vec()?))?;
        let members = list(&mut reader, |reader| reader.fixed().map(LogId))?;
        let identity = reader.vec()?;
        let incarnation = u32::try_from(reader.unsigned()?).ok()?;
        let signed = &plaintext[..plaintext.len() - reader.0.len()];
        let signature = reader.fixed()?;
        let message = [b"recovery/1".as_slice(), &welcome.circle.0, &log.0, signed];
        let terms = Terms {
            circle: welcome.circle,
            founder: welcome.founder,
            generation: welcome.epochs.iter().map(|(generation, _)| *generation).max()?,
            members,
            author: LogId::of(&identity, incarnation),
        };
        verify(keys.suite, &identity, &message, &signature).then_some(Letter { welcome, terms })
    }
}

impl AsRef<Terms> for Letter {
    fn as_ref(&self) -> &Terms {
        &self.terms
    }
}

impl Terms {
    /// Smaller is more senior; `None` for who is no member here.
    fn rank(&self, log: LogId) -> Option<usize> {
        self.members.iter().position(|member| *member == log)
    }
}

/// The newest letter that follows this one.
fn successor<'a, T: AsRef<Terms>>(current: &T, letters: &'a [T]) -> Option<&'a T> {
    let now = current.as_ref();
    let follows = |letter: &&T| {
        let letter = letter.as_ref();
        (letter.circle, letter.founder) == (now.circle, now.founder)
            && letter.generation > now.generation
            && now.rank(letter.author).is_some()
    };
    let candidates: Vec<&T> = letters.iter().filter(follows).collect();
    let is_struck = |letter: &Terms| {
        let by = candidates.iter().map(|other| other.as_ref());
        let mut seniors = by.filter(|other| now.rank(other.author) < now.rank(letter.author));
        seniors.any(|senior| senior.rank(letter.author).is_none())
    };
    let standing = candidates.iter().filter(|letter| !is_struck(letter.as_ref()));
    standing.max_by_key(|letter| letter.as_ref().generation).copied()
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    impl AsRef<Terms> for Terms {
        fn as_ref(&self) -> &Terms {
            self
        }
    }

    fn log(number: u8) -> LogId {
        LogId([number; 8])
    }

    fn terms(author: u8, generation: u32, members: &[u8]) -> Terms {
        Terms {
            circle: CircleId([1; 16]),
            founder: log(0),
            generation,
            members: members.iter().map(|number| log(*number)).collect(),
            author: log(author),
        }
    }

    /// The authors of the letters that are followed.
    fn course(first: &Terms, letters: &[Terms]) -> Vec<LogId> {
        let (mut current, mut authors) = (first, Vec::new());
        while let Some(next) = successor(current, letters) {
            authors.push(next.author);
            current = next;
        }
        authors
    }

    #[test]
    fn the_newest_letter_of_a_member_counts_also_of_one_that_came_later() {
        let letters = [terms(0, 3, &[0, 1, 2]), terms(2, 7, &[0, 2, 3]), terms(3, 9, &[2, 3])];
        assert_eq!(course(&terms(0, 1, &[0, 1]), &letters), [log(0), log(2), log(3)]);
    }

    #[test]
    fn a_stranger_and_another_circle_are_not_followed() {
        let mut elsewhere = terms(0, 9, &[0, 1]);
        elsewhere.circle = CircleId([2; 16]);
        let mut founded = terms(0, 9, &[0, 1]);
        founded.founder = log(9);
        let letters = [terms(5, 9, &[0, 1, 5]), elsewhere, founded, terms(0, 1, &[0])];
        assert_eq!(course(&terms(0, 1, &[0, 1]), &letters), []);
    }

    #[test]
    fn a_device_that_a_senior_no_longer_names_leads_nowhere_whatever_it_claims() {
        let honest = || terms(0, 5, &[0, 1]);
        for generation in [2, 5, 1000] {
            let forged = terms(2, generation, &[2]);
            assert_eq!(course(&terms(0, 1, &[0, 1, 2]), &[forged, honest()]), [log(0)]);
        }
        let before = terms(2, 2, &[0, 1, 2]);
        assert_eq!(course(&terms(0, 1, &[0, 1, 2]), &[before, honest()]), vec![log(0)]);
    }
}
