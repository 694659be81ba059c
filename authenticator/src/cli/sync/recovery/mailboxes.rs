//! The mailboxes of a lost circle: what its recovery member reads, and where what it says goes.

use std::collections::BTreeMap;
use std::io;

use doppelkey_sync::{CircleId, Effect, Event, Mailbox, NAMES_MAX, Name, RecoveryKey, Replica, Suite};
use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;

use super::super::now_ms;
use crate::cli::Failure;
use crate::replicate::{Place, ReplicateError, distinct};

/// The recovery member.
pub(super) type Paper = Replica<UnwrapErr<SysRng>>;

/// The mailboxes that answer. A passkey counted as backed up if it was in one of them, so all of them are read.
pub(super) struct Mailboxes<'a> {
    key: &'a RecoveryKey,
    reached: Vec<Reached>,
    /// The letters to the key's member that any of them has, each once.
    letters: BTreeMap<Name, Vec<u8>>,
    /// What the others say.
    away: Vec<ReplicateError>,
}

struct Reached {
    /// Where it is among those that the user named.
    number: u8,
    place: Place,
    mailbox: Box<dyn Mailbox>,
}

impl<'a> Mailboxes<'a> {
    /// Reaches these mailboxes, and reads them twice: for the letters from which the recovery member begins, and with it for
    /// everything. So besides letters, no more is kept than the member makes use of, however much there is.
    ///
    /// A relay finds a circle by its id. If the user does not say it, a folder or a key does.
    ///
    /// # Errors
    /// If none answers, what the first one says; one that is away is named, and left out. If the key opens nothing in those
    /// that answer, is another circle's than was said, or was used more than once, not knowing of the other time.
    pub(super) fn reach(
        key: &'a RecoveryKey,
        circle: Option<CircleId>,
        places: &[Place],
    ) -> Result<(Self, Paper), Failure> {
        let mut mailboxes =
            Mailboxes { key, reached: Vec::new(), letters: BTreeMap::new(), away: Vec::new() };
        let (relays, others): (Vec<_>, Vec<_>) =
            (0..).zip(distinct(places)).partition(|(_, place)| place.is_relay());
        for (number, place) in others {
            // They are asked for no circle.
            mailboxes.look_into(number, place, CircleId::default());
        }
        if !relays.is_empty() {
            let found = circle.or_else(|| Some(mailboxes.member()?.circle()));
            let found = found.ok_or_else(|| mailboxes.failure(no_circle))?;
            relays.into_iter().for_each(|(number, place)| mailboxes.look_into(number, place, found));
        }
        if mailboxes.reached.is_empty() {
            return Err(mailboxes.failure(no_mailbox));
        }
        mailboxes.reached.sort_by_key(|reached| reached.number);
        let Some(mut paper) = mailboxes.member() else {
            mailboxes.name_those_away("what the key opens may be there");
            return Err(no_letter());
        };
        if let Some(circle) = circle
            && paper.circle() != circle
        {
            mailboxes.name_those_away("what the key opens of the other circle may be there");
            return Err(Failure::new(
                format_args!("this key is for circle {}, not for {circle}", paper.circle()),
                "compare with what was printed when the key was made or the PIN was set",
            ));
        }
        mailboxes.read(&mut paper)?;
        Ok((mailboxes, paper))
    }

    /// Tells the recovery member, and puts what it says into every mailbox. One that does not take it is left out from then on;
    /// it fails once none is left.
    pub(super) fn say(&mut self, paper: &mut Paper, event: Event) -> Result<(), Failure> {
        for effect in paper.handle(now_ms(), event) {
            let Effect::Put { mailbox: number, name, bytes } = effect else { continue };
            let Some(index) = self.reached.iter().position(|reached| reached.number == number) else {
                continue;
            };
            if let Err(error) = self.reached[index].mailbox.put(name, &bytes) {
                let error = ReplicateError::Mailbox(self.reached.remove(index).place.to_string(), error);
                if self.reached.is_empty() {
                    return Err(error.into());
                }
                log::warn!("{error}; this device goes on without it");
            }
        }
        Ok(())
    }

    /// Where those are that took everything.
    pub(super) fn into_places(self) -> Vec<Place> {
        self.reached.into_iter().map(|reached| reached.place).collect()
    }

    fn look_into(&mut self, number: u8, place: Place, circle: CircleId) {
        // A folder that is not there is away, and not made: the circle had it.
        match place.reconnect(circle) {
            Ok(mailbox) => self.take_letters(number, place, mailbox, LETTERS_MAX),
            Err(error) => self.away.push(error),
        }
    }

    /// Takes what letters a mailbox has, so many bytes of them at most: one with more is as one that is away.
    fn take_letters(&mut self, number: u8, place: Place, mut mailbox: Box<dyn Mailbox>, most: usize) {
        match letters(&mut *mailbox, self.key, most) {
            Ok(letters) => {
                self.letters.extend(letters.into_iter().map(|letter| (Name::of(&letter), letter)));
                self.reached.push(Reached { number, place, mailbox });
            }
            Err(error) => self.away.push(ReplicateError::Mailbox(place.to_string(), error)),
        }
    }

    /// The recovery member as the letters know it, before it has read anything.
    fn member(&self) -> Option<Paper> {
        let letters = || self.letters.values().map(Vec::as_slice);
        SUITES.into_iter().find_map(|suite| self.key.open_newest(suite, letters(), UnwrapErr(SysRng)))
    }

    /// Gives the member everything. It says nothing meanwhile, since it may have been here before.
    fn read(&mut self, paper: &mut Paper) -> Result<(), Failure> {
        self.reached.iter().for_each(|reached| paper.add_mailbox(reached.number, reached.mailbox.order()));
        for mut reached in std::mem::take(&mut self.reached) {
            let hear = |held| {
                paper.handle(now_ms(), Event::Received(held));
                Ok(())
            };
            match everything(&mut *reached.mailbox, hear) {
                Ok(()) => self.reached.push(reached),
                Err(error) => self.away.push(ReplicateError::Mailbox(reached.place.to_string(), error)),
            }
        }
        if self.reached.is_empty() {
            return Err(self.failure(no_mailbox));
        }
        self.name_those_away(
            "this device goes on without it, and what is nowhere else is not back; should the key be used again, name the \
             mailboxes that answered now",
        );
        if paper.members().all.get(&paper.log()).is_some_and(|own| own.forked) {
            return Err(used_apart());
        }
        self.say(paper, Event::Heard)
    }

    /// Names the mailboxes that are away, and what that means.
    fn name_those_away(&mut self, so: &str) {
        for error in self.away.drain(..) {
            log::warn!("{error}; {so}");
        }
    }

    /// What the first mailbox says that is away, or else this.
    fn failure(&mut self, otherwise: impl FnOnce() -> Failure) -> Failure {
        let away = std::mem::take(&mut self.away);
        away.into_iter().next().map_or_else(otherwise, Failure::from)
    }
}

/// So many bytes of letters are kept of one mailbox: no fewer than a circle may have at a relay ([`Quota`]). Any device that
/// ever was a member can write letters, and so a thief of one can; at an honest relay it comes to its quota before it makes
/// that relay one that is away.
///
/// [`Quota`]: doppelkey_sync::relay::Quota
const LETTERS_MAX: usize = 256_000_000;

const SUITES: [Suite; 2] = [Suite::P256, Suite::MlKem768P256];

fn no_circle() -> Failure {
    Failure::new(
        "a relay finds a circle by its id, and no folder and no key says which one it is",
        "say --circle ID: it was printed when the recovery key was made",
    )
}

fn no_mailbox() -> Failure {
    Failure::new("no mailbox is named", "say --mailbox PLACE")
}

fn no_letter() -> Failure {
    Failure::new(
        "this key opens nothing in this mailbox",
        "is it the circle's, and the newest key? or one character is wrong: one such key in 65,536 looks right",
    )
}

/// What a key says is in the mailboxes only. If that of one use is away at the next, the two contradict each other.
fn used_apart() -> Failure {
    Failure::new(
        "this key was used more than once, each time while a mailbox of the other time was away, and contradicts itself",
        "name one mailbox alone: that of the device that stays; then make a new key, `doppelkey sync recovery create`",
    )
}

/// The letters in a mailbox to the member that a key derives.
fn letters(mailbox: &mut dyn Mailbox, key: &RecoveryKey, most: usize) -> io::Result<Vec<Vec<u8>>> {
    let (mut letters, mut room) = (Vec::new(), most);
    everything(mailbox, |held| {
        // The paper does not say which suite its circle has.
        if SUITES.iter().any(|suite| key.opens(*suite, &held)) {
            room = room.checked_sub(held.len()).ok_or_else(|| endless("it has letters without end"))?;
            letters.push(held);
        }
        Ok(())
    })?;
    Ok(letters)
}

/// Reads a mailbox to its end. How long a page and an entry may be is the mailbox's own business.
fn everything(mailbox: &mut dyn Mailbox, mut take: impl FnMut(Vec<u8>) -> io::Result<()>) -> io::Result<()> {
    let mut since = 0;
    loop {
        let listing = mailbox.list(since)?;
        if listing.items.is_empty() {
            return Ok(());
        }
        since += listing.items.len() as u64;
        if since > NAMES_MAX {
            return Err(endless("it lists without end"));
        }
        for (name, bytes) in listing.items {
            let bytes = match bytes {
                Some(bytes) => Some(bytes),
                None => mailbox.get(name)?,
            };
            bytes.map_or(Ok(()), &mut take)?;
        }
    }
}

fn endless(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use doppelkey_sync::{ENTRY_MAX, Listing, Order, Seeded};

    use super::*;

    /// So many entries, each of them this one, so many a page.
    struct Long {
        entries: u64,
        each: Vec<u8>,
        page: u64,
    }

    impl Mailbox for Long {
        fn order(&self) -> Order {
            Order::Shared
        }

        fn put(&mut self, _: Name, _: &[u8]) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn list(&mut self, since: u64) -> io::Result<Listing> {
            let until = self.entries.min(since.saturating_add(self.page));
            let named = |number: u64| (Name::of(&number.to_be_bytes()), Some(self.each.clone()));
            Ok(Listing { items: (since..until).map(named).collect(), head: self.entries })
        }

        fn get(&mut self, _: Name) -> io::Result<Option<Vec<u8>>> {
            Ok(None)
        }
    }

    #[test]
    fn everything_of_a_mailbox_is_read_however_long_it_is() {
        let mut read = 0;
        let mut long = Long { entries: 1100, each: vec![1; ENTRY_MAX], page: 1 };
        let read_one = |held: Vec<u8>| {
            read += held.len();
            Ok(())
        };
        everything(&mut long, read_one).unwrap();
        assert_eq!(read, 1100 * ENTRY_MAX, "more than a gigabyte");
    }

    #[test]
    fn a_mailbox_that_lists_without_end_is_given_up() {
        let mut endless = Long { entries: u64::MAX, each: Vec::new(), page: 1 << 14 };
        let error = everything(&mut endless, |_| Ok(())).unwrap_err();
        assert_eq!(error.to_string(), "it lists without end");
    }

    /// A letter to the member that this key derives, by a circle that has just admitted it.
    fn letter_to(key: &RecoveryKey) -> Vec<u8> {
        let (mut founder, _) = Replica::found(Suite::P256, b"laptop", 1, Seeded::new(2));
        let keys = key.keys(Suite::P256).public().clone();
        founder.handle(1, Event::Admit { keys, recovery: true, name: b"paper".to_vec() });
        founder.recovery_letter(key).unwrap()
    }

    #[test]
    fn letters_without_end_make_a_mailbox_away() {
        let key = RecoveryKey::generate(&mut Seeded::new(1));
        let letter = letter_to(&key);
        let [endless, honest] = ["folder:/endless", "folder:/honest"].map(|text| text.parse().unwrap());
        let mut mailboxes =
            Mailboxes { key: &key, reached: Vec::new(), letters: BTreeMap::new(), away: Vec::new() };
        for (number, place, entries) in [(0, endless, 1000), (1, honest, 10)] {
            let mailbox = Box::new(Long { entries, each: letter.clone(), page: 4 });
            mailboxes.take_letters(number, place, mailbox, 10 * letter.len());
        }
        let reached: Vec<u8> = mailboxes.reached.iter().map(|reached| reached.number).collect();
        assert_eq!(reached, [1], "the other one goes on");
        assert!(mailboxes.member().is_some());
        assert_eq!(mailboxes.letters.len(), 1, "a letter that is there twice is kept once");
        let away: Vec<String> = mailboxes.away.iter().map(ToString::to_string).collect();
        assert_eq!(away, ["folder:/endless: it has letters without end"], "what the user is told");
    }
}
