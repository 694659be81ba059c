//! The end of this device's membership, told to mailboxes that could not be reached when it came.
//!
//! Others count a device among those that hold their passkeys until they hear that it is none any more. A device that leaves,
//! or is reset, off the net forgets its circle at once, but keeps beside the vault `PATH.leaving-LOG`: what it said, sealed as
//! it is, and where that goes. There are no keys in it but the tokens of the mailboxes, which open nothing else. It is tried
//! again by `doppelkey run` and by the commands of `doppelkey sync`, until every mailbox has it.
//!
//! The file is text: the circle's id, then `to` and a mailbox, or `put` and an entry in hexadecimal, a line each.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use doppelkey_sync::{CircleId, Event, Mailbox, Name, Report};
use zeroize::Zeroizing;

use super::{Place, ReplicateError, Replication, fails};
use crate::private_file;
use crate::text::{from_hex, hex};

/// How often it is tried while the program runs.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

impl Replication {
    /// Ends this device's membership, and tells whom it can; the sync file is to be removed afterwards, and there is to be no
    /// round. What went wrong on the way, and the mailboxes that are to be told yet.
    pub(super) fn say_farewell(&mut self, now_ms: u64) -> Result<(Vec<Report>, Vec<String>), ReplicateError> {
        let log = self.replica().log();
        let mut reports = Vec::new();
        if self.replica().members().is_live(log) {
            reports = self.tell(now_ms, Event::Revoke { log, why: 0 })?;
        }
        // Also if it was said before and whoever said it was killed before anybody heard. What another device said is known.
        let is_own_word = self.replica().has_left();
        let mut untold = BTreeSet::new();
        for mailbox in (0..u8::try_from(self.places.len()).unwrap_or(u8::MAX)).filter(|_| is_own_word) {
            // A look, because what was said before has to be there, too.
            let found = self.poll(mailbox, now_ms)?;
            if fails(mailbox, &found) {
                untold.insert(usize::from(mailbox));
            }
            reports.extend(found);
        }
        let untold: Vec<Place> = untold.into_iter().map(|mailbox| self.places[mailbox].clone()).collect();
        let failed = |error| ReplicateError::File(self.path.clone(), error);
        if !untold.is_empty() {
            self.keep_farewell(&untold).map_err(failed)?;
        }
        Ok((reports, untold.iter().map(Place::to_string).collect()))
    }

    /// Forgets the circle.
    pub(super) fn remove_file(&self) -> Result<(), ReplicateError> {
        fs::remove_file(&self.path).map_err(|error| ReplicateError::File(self.path.clone(), error))
    }

    fn keep_farewell(&self, to: &[Place]) -> io::Result<()> {
        let replica = self.replica();
        let mut text = Zeroizing::new(format!("{}\n", replica.circle()));
        for place in to {
            text.push_str(&Zeroizing::new(format!("to {}\n", place.to_text())));
        }
        for (_, sealed) in replica.said() {
            text.push_str(&format!("put {}\n", hex(sealed)));
        }
        let vault = self.path.with_extension("");
        let path = vault.with_added_extension(format!("{SUFFIX}{}", replica.log()));
        match private_file::create_whole(&path, text.as_bytes()) {
            // A crash came between this and the end of the sync file.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            kept => kept,
        }
    }
}

const SUFFIX: &str = "leaving-";

/// Tells mailboxes of memberships of this vault that ended, and that they have not heard of. Those that still cannot be
/// reached, by name.
pub fn tell_farewells(vault: &Path) -> Vec<String> {
    let mut untold = Vec::new();
    for path in pending(vault) {
        // What is no farewell is left to whoever made it.
        let Some(farewell) = fs::read_to_string(&path).ok().map(Zeroizing::new).and_then(|text| read(&text))
        else {
            continue;
        };
        let before = untold.len();
        for place in &farewell.to {
            match tell(place, &farewell) {
                Ok(()) => log::info!("{place} has heard that this device left"),
                Err(error) if needs_no_farewell(place, &error) => {}
                Err(_) => untold.push(place.to_string()),
            }
        }
        if untold.len() == before
            && let Err(error) = fs::remove_file(&path)
        {
            log::warn!("{}: {error}; remove it", path.display());
        }
    }
    untold
}

/// The same, again and again on a thread of its own, if there is anything to tell.
pub fn tell_farewells_in_background(vault: PathBuf) {
    if pending(&vault).is_empty() {
        return;
    }
    thread::spawn(move || {
        while !tell_farewells(&vault).is_empty() {
            thread::sleep(AGAIN_AFTER);
        }
    });
}

fn pending(vault: &Path) -> Vec<PathBuf> {
    let (Some(folder), Some(name)) = (vault.parent(), vault.file_name().and_then(|name| name.to_str()))
    else {
        return Vec::new();
    };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let prefix = format!("{name}.{SUFFIX}");
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_one = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        let log = name.and_then(|name| name.strip_prefix(&prefix));
        log.is_some_and(|log| doppelkey_sync::LogId::parse(log).is_some())
    };
    files.map(|file| file.path()).filter(is_one).collect()
}

struct Farewell {
    circle: CircleId,
    to: Vec<Place>,
    entries: Vec<Vec<u8>>,
}

fn read(text: &str) -> Option<Farewell> {
    let (circle, rest) = text.split_once('\n')?;
    let mut farewell = Farewell { circle: CircleId::parse(circle)?, to: Vec::new(), entries: Vec::new() };
    for line in rest.lines() {
        match line.split_once(' ')? {
            ("to", place) => farewell.to.push(place.parse().ok()?),
            ("put", entry) => farewell.entries.push(from_hex(entry)?),
            _ => return None,
        }
    }
    Some(farewell)
}

/// Whoever ended a token at a relay knows that its device is gone. A folder, or a key, that this user may not open now says
/// nothing of the kind.
fn needs_no_farewell(place: &Place, error: &io::Error) -> bool {
    matches!(place, Place::Opened(_)) && error.kind() == io::ErrorKind::PermissionDenied
}

fn tell(place: &Place, farewell: &Farewell) -> io::Result<()> {
    put_all(&mut *place.reconnect(farewell.circle).map_err(io::Error::other)?, &farewell.entries)
}

/// Puts what a mailbox lacks of it, but for what it takes at no time because it is too long.
fn put_all(mailbox: &mut dyn Mailbox, entries: &[Vec<u8>]) -> io::Result<()> {
    for entry in entries {
        match mailbox.put(Name::of(entry), entry) {
            Err(error) if error.kind() != io::ErrorKind::FileTooLarge => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use doppelkey_sync::{Listing, MemoryMailbox, Order};

    use super::*;

    /// As a key: it takes short entries only.
    struct Short(MemoryMailbox);

    impl Mailbox for Short {
        fn order(&self) -> Order {
            self.0.order()
        }

        fn put(&mut self, name: Name, bytes: &[u8]) -> io::Result<()> {
            if bytes.len() > 4096 { Err(io::ErrorKind::FileTooLarge.into()) } else { self.0.put(name, bytes) }
        }

        fn list(&mut self, since: u64) -> io::Result<Listing> {
            self.0.list(since)
        }

        fn get(&mut self, name: Name) -> io::Result<Option<Vec<u8>>> {
            self.0.get(name)
        }
    }

    #[test]
    fn only_a_relay_that_refuses_the_token_needs_no_farewell() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let needs_none = |place: &str| needs_no_farewell(&place.parse().unwrap(), &denied);
        assert!(needs_none("https://relay.example.org#00112233445566778899aabbccddeeff"));
        assert!(!needs_none("folder:/mnt/stick") && !needs_none("key:/dev/hidraw3"));
        let away = "https://relay.example.org#00112233445566778899aabbccddeeff".parse().unwrap();
        assert!(!needs_no_farewell(&away, &io::ErrorKind::TimedOut.into()));
    }

    #[test]
    fn a_farewell_goes_past_what_a_key_does_not_take() {
        let held = MemoryMailbox::default();
        put_all(&mut Short(held.clone()), &[vec![1; 100], vec![2; 5000], vec![3; 100]]).unwrap();
        assert_eq!(held.with(|held| held.len()), 2, "the last word is there");
    }
}
