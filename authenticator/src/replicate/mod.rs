//! Replication: the vault's passkeys on all of a user's devices.
//!
//! This module ties a [`CredentialStore`] to a [`doppelkey_sync::Replica`]. What the authenticator keeps, changes and
//! forgets becomes entries; what other devices said becomes changes to the store; and BS is set and cleared as the
//! replica finds that a passkey would survive the loss of a device (never because it was merely sent away).
//!
//! * Only credentials with BE = 1 take part; a device-bound one never leaves.
//! * An authenticatorReset ends this device's membership and deletes nothing elsewhere.
//! * A passkey that a new one of its account replaced stays at the other devices, hidden: a registration that the
//!   relying party never heard of locks nobody out.
//! * Large blobs go with their passkeys (`blobs.rs`), and so does when each was last used, by a user who was present:
//!   at most once an hour where an account has several, once a day where it has one. What a relying party made of an
//!   assertion nobody tells an authenticator.
//! * Nothing here is waited for by a ceremony: mailboxes are served by a thread of their own.
//!
//! While `doppelkey run` has the vault, it answers the `doppelkey sync` commands (`running.rs`).
//!
//! Beside the vault `PATH` lies `PATH.sync`: the replica's journal, sealed under a key in the vault's slot for sync.

mod blobs;
mod farewell;
mod file;
mod mailboxes;
mod marks;
mod neighbours;
mod observed;
mod owed;
#[cfg(test)]
#[path = "../../../tests/src/randomness.rs"]
mod randomness;
mod reconcile;
mod recovery;
mod requests;
mod restored;
#[cfg(unix)]
mod running;
mod service;
mod standing;
mod telling;
#[cfg(test)]
mod tests;
mod watch;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use doppelkey_core::{CredentialStore, Slot, StoreError};
use doppelkey_sync::{
    DeviceKeys, Driver, Effect, Event, Invitation, Mailbox, OpenError, RecordId, Replica, Report, Suite,
};
use getrandom::SysRng;
use getrandom::rand_core::{Rng as _, UnwrapErr};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

pub use farewell::{tell_farewells, tell_farewells_in_background};
pub use mailboxes::{Place, distinct, label as label_of};
pub use marks::Applied;
pub use observed::{Change, Teller};
pub use recovery::{PIN_MEMBER, Secret, refused};
pub use requests::{Refusal, Request, shown};
#[cfg(unix)]
pub use running::Running;
pub use service::Service;
pub use telling::sentence;

use crate::key_mailbox;
use file::{File, Line};
use neighbours::Neighbours;
use owed::Acknowledged;

type Random = UnwrapErr<SysRng>;

/// Why this device does not take part.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReplicateError {
    /// There is no sync file beside this vault.
    NotSetUp,
    /// There is one already.
    AlreadySetUp(PathBuf),
    /// There is one, and the vault has no key for it: it is another than the file was made for.
    OtherVault(PathBuf),
    /// The file cannot be read or written.
    File(PathBuf, io::Error),
    /// The file is not what was written, at this record.
    Damaged(PathBuf, usize),
    /// The journal in it makes no replica.
    Journal(OpenError),
    /// The vault failed.
    Store(StoreError),
    /// A mailbox cannot be had.
    Mailbox(String, io::Error),
    /// No address of a mailbox.
    NoPlace(String),
}

impl fmt::Display for ReplicateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSetUp => f.write_str("this vault takes part in no sync circle"),
            Self::AlreadySetUp(path) => {
                write!(f, "this vault takes part in a sync circle already ({})", path.display())
            }
            Self::OtherVault(path) => write!(f, "{} is the sync file of another vault", path.display()),
            Self::File(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Damaged(path, at) => {
                write!(f, "{}: record {at} is not what was written, or of another vault", path.display())
            }
            Self::Journal(error) => write!(f, "the sync journal cannot be used: {error}"),
            Self::Store(StoreError::Full) => f.write_str("the vault is full"),
            Self::Store(StoreError::Fault) => f.write_str("the vault cannot be read or written"),
            Self::Mailbox(place, error) => write!(f, "{}: {error}", place.trim_end_matches(':')),
            Self::NoPlace(text) => write!(f, "{text} is no mailbox"),
        }
    }
}

impl std::error::Error for ReplicateError {}

impl ReplicateError {
    /// What to do next.
    pub fn hint(&self) -> Cow<'static, str> {
        match self {
            Self::NotSetUp => {
                "begin a circle with `doppelkey sync init`, or join one with `doppelkey sync join`"
            }
            Self::AlreadySetUp(_) => {
                "see `doppelkey sync status`; to leave the circle: `doppelkey sync leave`"
            }
            Self::OtherVault(_) => {
                "put the vault back from a backup; if it is lost, move this file away and join the circle anew from \
                 another device"
            }
            Self::File(..) => "check the folder's permissions and the space left on the disk",
            Self::Damaged(..) | Self::Journal(_) => {
                "put the file back from a backup, or move it away and join the circle anew from another device"
            }
            Self::Store(_) => "check the disk the vault is on",
            Self::Mailbox(place, error) => return Self::mailbox_hint(place, error),
            Self::NoPlace(_) => {
                "write folder:PATH, key: for a security key, or the https:// address of a relay"
            }
        }
        .into()
    }

    /// What to do about a mailbox that cannot be used.
    pub(crate) fn mailbox_hint(place: &str, error: &io::Error) -> Cow<'static, str> {
        let kind = error.kind();
        match kind {
            _ if place.starts_with("folder:") => {
                "check that the stick or drive with the folder is there, and may be written"
            }
            io::ErrorKind::PermissionDenied if place.starts_with("key:") => {
                return key_mailbox::permission_hint().into();
            }
            io::ErrorKind::Unsupported if place.starts_with("key:") => {
                "use a key with Doppelkey's firmware (firmware/README.md); others only sign in"
            }
            io::ErrorKind::StorageFull if place.starts_with("key:") => {
                "use a relay or a folder beside it: what the key has no room for goes there"
            }
            _ if place.starts_with("key:") => {
                "plug the key in; `doppelkey doctor` says what programs here can use"
            }
            io::ErrorKind::PermissionDenied if standing::is_shut_out(error) => standing::COME_BACK,
            io::ErrorKind::PermissionDenied => {
                "another device may have revoked this one, or the relay lost its database: look at `doppelkey sync \
                 devices` on another one; to come back, `doppelkey sync leave`, then `doppelkey sync join`"
            }
            io::ErrorKind::QuotaExceeded => "ask who runs the relay for more, or use another mailbox, too",
            _ => "check that the relay runs and can be reached from here",
        }
        .into()
    }
}

impl From<StoreError> for ReplicateError {
    fn from(error: StoreError) -> Self {
        ReplicateError::Store(error)
    }
}

/// This device's part in a circle: replica, journal, mailboxes, and what of it the vault has.
pub struct Replication {
    driver: Driver<Random, File>,
    applied: Applied,
    places: Vec<Place>,
    path: PathBuf,
    neighbours: Option<Neighbours>,
    /// What the vault has in [`Slot::Membership`] as long as it was not reset.
    membership: [u8; 16],
    /// Where each mailbox's history stands, as the file has it.
    seen: BTreeMap<u8, (u64, [u8; 8])>,
    /// The relays that shut this device out when they were asked last.
    shut_out_at: BTreeSet<u8>,
    acknowledged: Acknowledged,
    /// The records of whose marks the file does not know yet.
    unwritten: BTreeSet<RecordId>,
}

impl Replication {
    /// Where the sync file of this vault is.
    pub fn path_of(vault: &Path) -> PathBuf {
        let mut path = vault.as_os_str().to_owned();
        path.push(".sync");
        path.into()
    }

    /// Whether this vault takes part in a circle.
    pub fn is_set_up(vault: &Path) -> bool {
        Self::path_of(vault).exists()
    }

    /// Founds a circle on this device, with these mailboxes.
    ///
    /// # Errors
    /// [`AlreadySetUp`](ReplicateError::AlreadySetUp); a mailbox's, the store's or the file's. Nothing is left behind here; at a
    /// relay a circle that nobody knows may be.
    pub fn found(
        store: &mut dyn CredentialStore,
        vault: &Path,
        (suite, name): (Suite, &str),
        places: &[Place],
        now_ms: u64,
    ) -> Result<Self, ReplicateError> {
        Self::must_be_new(vault)?;
        let (replica, effects) = Replica::found(suite, name.as_bytes(), now_ms, random());
        let places = mailboxes::open_circle(places, &replica)?;
        let file = Self::new_file(store, vault)?;
        Self::assemble(replica, effects, file, Applied::default(), places, vault, now_ms)
    }

    /// Joins with an invitation and the welcome letter that answered it.
    ///
    /// # Errors
    /// [`Journal`](ReplicateError::Journal) for a welcome that does not answer the invitation; else as [`found`](Self::found).
    pub fn join(
        store: &mut dyn CredentialStore,
        vault: &Path,
        invitation: &Invitation,
        keys: DeviceKeys,
        welcome: &[u8],
        places: Vec<Place>,
        now_ms: u64,
    ) -> Result<Self, ReplicateError> {
        let (replica, effects) =
            invitation.accept(keys, welcome, random()).map_err(ReplicateError::Journal)?;
        Self::must_be_new(vault)?;
        let places = mailboxes::settle_everywhere(places, &replica)?;
        let file = Self::new_file(store, vault)?;
        Self::assemble(replica, effects, file, Applied::default(), places, vault, now_ms)
    }

    /// Begins with a replica that was made elsewhere: the recovery member's, or one it admitted.
    ///
    /// # Errors
    /// As [`found`](Self::found).
    pub fn adopt(
        store: &mut dyn CredentialStore,
        vault: &Path,
        replica: Replica<Random>,
        effects: Vec<Effect>,
        places: Vec<Place>,
        now_ms: u64,
    ) -> Result<Self, ReplicateError> {
        Self::must_be_new(vault)?;
        let places = mailboxes::settle_everywhere(places, &replica)?;
        let file = Self::new_file(store, vault)?;
        Self::assemble(replica, effects, file, Applied::default(), places, vault, now_ms)
    }

    /// Reads back what an earlier run of the program left.
    ///
    /// # Errors
    /// [`NotSetUp`](ReplicateError::NotSetUp); [`OtherVault`](ReplicateError::OtherVault),
    /// [`Damaged`](ReplicateError::Damaged) and [`Journal`](ReplicateError::Journal) for a file that is not this vault's, or not
    /// whole; the store's and the disk's. The file is left as it was.
    pub fn load(store: &mut dyn CredentialStore, vault: &Path) -> Result<Self, ReplicateError> {
        let path = Self::path_of(vault);
        if !path.exists() {
            return Err(ReplicateError::NotSetUp);
        }
        let key = read_key(store)?.ok_or_else(|| ReplicateError::OtherVault(path.clone()))?;
        let membership = membership_of(&key);
        let (file, lines) = File::open(&path, &key)?;
        let (mut journal, mut places, mut applied) = (Vec::new(), Vec::new(), Applied::default());
        let mut seen = BTreeMap::new();
        for line in lines {
            match line {
                Line::Journal(record) => journal.push(record),
                Line::Places(text) => places = Place::parse_list(&text)?,
                Line::Applied(id, mark, revision) => applied.note(id, mark, revision),
                Line::Seen([mailbox, stands @ ..]) => {
                    seen.insert(mailbox, stood(&stands));
                }
            }
        }
        let mut replica =
            Replica::open(journal.iter().map(Vec::as_slice), random()).map_err(ReplicateError::Journal)?;
        let mailboxes = mailboxes::connect(&places, replica.circle())?;
        applied.begin();
        seen.iter().for_each(|(mailbox, stood)| replica.expect(*mailbox, *stood));
        let driver = Driver::new(replica, Vec::new(), file, mailboxes);
        let mut replication = Replication {
            driver,
            applied,
            places,
            path,
            neighbours: None,
            membership,
            seen,
            shut_out_at: BTreeSet::new(),
            acknowledged: Acknowledged::default(),
            unwritten: BTreeSet::new(),
        };
        replication.mind_a_restored(store)?;
        replication.mind_a_crash(store)?;
        Ok(replication)
    }

    /// The same, unless the vault was reset since: then this device leaves its circle, which is told in the log.
    ///
    /// # Errors
    /// As [`load`](Self::load); [`NotSetUp`](ReplicateError::NotSetUp) also once this device has left.
    pub fn load_unless_reset(
        store: &mut dyn CredentialStore,
        vault: &Path,
        now_ms: u64,
    ) -> Result<Self, ReplicateError> {
        let mut replication = Self::load(store, vault)?;
        if replication.was_reset(store)? {
            replication.retire(now_ms)?;
            return Err(ReplicateError::NotSetUp);
        }
        Ok(replication)
    }

    fn must_be_new(vault: &Path) -> Result<(), ReplicateError> {
        let path = Self::path_of(vault);
        if path.exists() { Err(ReplicateError::AlreadySetUp(path)) } else { Ok(()) }
    }

    /// Made last: what fails before leaves nothing behind.
    fn new_file(store: &mut dyn CredentialStore, vault: &Path) -> Result<(File, [u8; 16]), ReplicateError> {
        let path = Self::path_of(vault);
        let mut key = Zeroizing::new([0; 32]);
        random().fill_bytes(&mut *key);
        let membership = membership_of(&key);
        store.write(Slot::Sync, &*key)?;
        store.write(Slot::Membership, &membership)?;
        Ok((File::create(&path, &key)?, membership))
    }

    fn assemble(
        replica: Replica<Random>,
        effects: Vec<Effect>,
        (mut file, membership): (File, [u8; 16]),
        applied: Applied,
        places: Vec<Place>,
        vault: &Path,
        now_ms: u64,
    ) -> Result<Self, ReplicateError> {
        let path = Self::path_of(vault);
        let failed = |error| ReplicateError::File(path.clone(), error);
        file.name_after(effects.iter().filter(|effect| matches!(effect, Effect::Persist(_))).count());
        file.append(&Line::Places(Place::list_text(&places))).map_err(failed)?;
        let mailboxes = mailboxes::connect(&places, replica.circle())?;
        let driver = Driver::new(replica, effects, file, mailboxes);
        let (neighbours, seen) = (None, BTreeMap::new());
        let mut replication = Replication {
            driver,
            applied,
            places,
            path: path.clone(),
            neighbours,
            membership,
            seen,
            shut_out_at: BTreeSet::new(),
            acknowledged: Acknowledged::default(),
            unwritten: BTreeSet::new(),
        };
        replication.driver.sync(now_ms).map_err(failed)?;
        Ok(replication)
    }

    /// The replica, to be asked.
    pub fn replica(&self) -> &Replica<Random> {
        self.driver.replica()
    }

    /// Whether a mailbox, or a device on this network, was heard since the start. A sync file that was put back from a backup
    /// must hear what it said before, or it says something else under the same numbers, and is out.
    fn has_heard(&self) -> bool {
        self.replica().has_heard()
    }

    /// Where its mailboxes are.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// Connections to the mailboxes of this circle, beside the driver's own.
    ///
    /// # Errors
    /// [`Mailbox`](ReplicateError::Mailbox) for a relay that does not know this device. Whether one can be reached is found out
    /// when it is used.
    pub fn mailboxes(&self) -> Result<Vec<Box<dyn Mailbox>>, ReplicateError> {
        mailboxes::connect(&self.places, self.replica().circle())
    }

    /// Uses another mailbox from now on. Other devices do not hear of it: a relay admits whoever joins later.
    fn add_mailbox(&mut self, text: &str) -> Result<(), Refusal> {
        let place: Place = text.parse::<Place>()?;
        if self.places.iter().any(|known| known.is_same_as(&place)) {
            let error = format_args!("{place} is a mailbox of this circle already");
            return Err(Refusal::new(error, "see `doppelkey sync status`"));
        }
        let opened = mailboxes::open_circle(&[place], self.replica()).map_err(|error| match error {
            ReplicateError::Mailbox(place, error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Refusal::new(
                    format_args!("{place} keeps this circle already, for another device"),
                    "an invitation of that device names the relay, too: `doppelkey sync leave`, then join anew",
                )
            }
            other => other.into(),
        })?;
        let mailboxes = mailboxes::connect(&opened, self.replica().circle())?;
        let places: Vec<Place> = self.places.iter().cloned().chain(opened).collect();
        let written = self.driver.journal_mut().append(&Line::Places(Place::list_text(&places)));
        written.map_err(|error| ReplicateError::File(self.path.clone(), error))?;
        self.places = places;
        mailboxes.into_iter().for_each(|mailbox| self.driver.add_mailbox(mailbox));
        Ok(())
    }

    /// Takes an event of the user's: admit, revoke, post.
    ///
    /// # Errors
    /// [`File`](ReplicateError::File): the journal could not be written. What was to be written is tried again at the next call.
    pub fn tell(&mut self, now_ms: u64, event: Event) -> Result<Vec<Report>, ReplicateError> {
        if let Event::Poll { mailbox } = event {
            self.shut_out_at.remove(&mailbox);
        }
        let reports = self.driver.handle(now_ms, event);
        let reports = reports.map_err(|error| ReplicateError::File(self.path.clone(), error))?;
        self.heed(&reports);
        Ok(reports)
    }

    /// Takes an event while the store is held. No mailbox is waited for: what goes out waits for [`carry_out`](Self::carry_out).
    fn note(&mut self, now_ms: u64, event: Event) -> Result<Vec<Report>, ReplicateError> {
        let reports = self.driver.note(now_ms, event);
        reports.map_err(|error| ReplicateError::File(self.path.clone(), error))
    }

    /// Gives the mailboxes what the store said. The store is not to be held meanwhile.
    fn carry_out(&mut self, now_ms: u64) -> Result<Vec<Report>, ReplicateError> {
        let reports = self.driver.carry_out(now_ms);
        let reports = reports.map_err(|error| ReplicateError::File(self.path.clone(), error))?;
        self.heed(&reports);
        Ok(reports)
    }

    /// The user reset the authenticator: this device leaves, and nothing is deleted elsewhere.
    pub(super) fn retire(&mut self, now_ms: u64) -> Result<Vec<Report>, ReplicateError> {
        let (reports, untold) = self.say_farewell(now_ms)?;
        self.remove_file()?;
        log::info!("this authenticator was reset: it has left its sync circle");
        for mailbox in untold {
            log::warn!(
                "{mailbox} cannot be told now: the other devices count this one in until it is; it is tried again while \
                 `doppelkey run` runs"
            );
        }
        Ok(reports)
    }

    /// A welcome letter for a member, bound to a secret both sides know.
    pub fn welcome(&mut self, log: doppelkey_sync::LogId, secret: &[u8]) -> Option<Vec<u8>> {
        self.driver.replica_mut().welcome(log, secret)
    }

    /// One round: the store's changes go out, what is new comes in, and the store is made to agree.
    ///
    /// # Errors
    /// The store's, or [`File`](ReplicateError::File). A mailbox that fails is a [`Report`], not an error.
    pub fn round(
        &mut self,
        store: &mut dyn CredentialStore,
        now_ms: u64,
    ) -> Result<Vec<Report>, ReplicateError> {
        let mut reports = self.absorb(store, now_ms)?;
        reports.extend(self.carry_out(now_ms)?);
        for mailbox in 0..self.places.len() {
            let mailbox = u8::try_from(mailbox).expect("nobody has 256 mailboxes");
            reports.extend(self.poll(mailbox, now_ms)?);
        }
        reports.extend(self.absorb(store, now_ms)?);
        reports.extend(self.carry_out(now_ms)?);
        self.note_seen()?;
        Ok(reports)
    }

    /// Remembers, durably, where the mailboxes' histories stand: what is rolled back while this device is off is noticed
    /// when it is on again.
    fn note_seen(&mut self) -> Result<(), ReplicateError> {
        for mailbox in 0..u8::try_from(self.places.len()).unwrap_or(u8::MAX) {
            let Some((cursor, hash)) = self.replica().seen(mailbox) else { continue };
            if self.seen.get(&mailbox) == Some(&(cursor, hash)) {
                continue;
            }
            let mut line = [mailbox; 17];
            line[1..9].copy_from_slice(&cursor.to_be_bytes());
            line[9..].copy_from_slice(&hash);
            let written = self.driver.journal_mut().append(&Line::Seen(line));
            written.map_err(|error| ReplicateError::File(self.path.clone(), error))?;
            self.seen.insert(mailbox, (cursor, hash));
        }
        Ok(())
    }

    /// The credentials of this vault that take part.
    ///
    /// # Errors
    /// The store's.
    pub fn credentials(
        &self,
        store: &mut dyn CredentialStore,
    ) -> Result<Vec<(RecordId, doppelkey_core::Credential)>, ReplicateError> {
        Ok(reconcile::eligible(store)?.into_iter().collect())
    }

    /// Whether the credential with this id was deleted on a device of the circle: it is not to come back.
    pub fn has_deleted(&self, credential: &[u8]) -> bool {
        self.replica().state().deleted.contains(&reconcile::record_of(credential))
    }

    /// A look into one mailbox, by its number.
    fn poll(&mut self, mailbox: u8, now_ms: u64) -> Result<Vec<Report>, ReplicateError> {
        let mut reports = self.tell(now_ms, Event::Poll { mailbox })?;
        if !fails(mailbox, &reports) {
            self.settle_tokens(mailbox);
            reports.extend(self.ask_whom_it_opens_to(mailbox, now_ms)?);
        }
        Ok(reports)
    }

    /// Lets time pass, without a look into the mailboxes: for acknowledgements that are due.
    fn tick(&mut self, now_ms: u64) -> Result<Vec<Report>, ReplicateError> {
        self.tell(now_ms, Event::Tick)
    }
}

/// Whether a mailbox could not be used.
fn fails(mailbox: u8, reports: &[Report]) -> bool {
    reports.iter().any(|report| matches!(report, Report::Unreachable(number, _) if *number == mailbox))
}

fn random() -> Random {
    UnwrapErr(SysRng)
}

/// Where a mailbox's history stood.
fn stood(bytes: &[u8; 16]) -> (u64, [u8; 8]) {
    let (cursor, hash) = bytes.split_at(8);
    let half = |half: &[u8]| half.try_into().expect("16 bytes have two halves of 8");
    (u64::from_be_bytes(half(cursor)), half(hash))
}

/// For a vault whose sync file has this key.
fn membership_of(key: &[u8; 32]) -> [u8; 16] {
    let digest = Sha256::new_with_prefix(b"doppelkey membership").chain_update(key).finalize();
    digest[..16].try_into().expect("SHA-256 has 32 bytes")
}

fn read_key(store: &mut dyn CredentialStore) -> Result<Option<Zeroizing<[u8; 32]>>, StoreError> {
    let mut buffer = Zeroizing::new([0; 1024]);
    let length = store.read(Slot::Sync, &mut *buffer)?;
    Ok(length.and_then(|length| buffer.get(..length)?.try_into().ok()).map(Zeroizing::new))
}
