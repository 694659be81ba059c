//! Replication while the authenticator runs: one thread, asleep unless something happens.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use doppelkey_sync::relay::RelayClient;
use doppelkey_sync::{Event, RecordId, Report};

use super::reconcile::record_of;
use super::requests::Asked;
#[cfg(unix)]
use super::running::Listener;
use super::{Change, Place, Refusal, ReplicateError, Replication, Request, WallClock};
use crate::control::OnAssertion;
use crate::device::SharedStore;

/// How often a folder is looked into: nothing tells of a file that Syncthing brought.
const FOLDER_EVERY: Duration = Duration::from_secs(2);
/// How often a relay is asked although it tells of news: what tells may break unseen.
const RELAY_EVERY: Duration = Duration::from_secs(15 * 60);
/// How long a watcher waits before it connects again, at first and at most.
const AGAIN_FIRST: Duration = Duration::from_millis(500);
const AGAIN_LAST: Duration = Duration::from_secs(60);
/// How soon a round that failed is tried again: a disk may have room by then.
const AFTER_FAILURE: Duration = Duration::from_secs(15);
/// How often relays are asked whether somebody guesses at the recovery PIN.
const ESCROW_EVERY_MS: u64 = 15 * 60 * 1000;
/// How many letters are kept for who invites.
const LETTERS: usize = 64;

/// The thread that keeps a store and its circle in step. Dropped, it finishes what it is at and ends.
pub struct Service {
    tell: Sender<Change>,
    thread: Option<JoinHandle<()>>,
    #[cfg(unix)]
    _listener: Option<Listener>,
}

impl Service {
    /// Begins. `changes` is the other end of the store's [`Teller`](super::Teller), `tell` a way to it.
    ///
    /// # Panics
    /// If the operating system gives no thread.
    pub fn start(
        mut replication: Replication,
        store: SharedStore,
        (tell, changes): (Sender<Change>, Receiver<Change>),
        clock: WallClock,
    ) -> Self {
        for relay in replication.watchers() {
            let tell = tell.clone();
            thread::spawn(move || watch(&relay, &tell));
        }
        let (ask, asked) = channel();
        #[cfg(unix)]
        let listener = {
            let vault = replication.path.with_extension("");
            let listener = Listener::bind(&vault, tell.clone(), ask);
            listener.inspect_err(|error| log::warn!("`doppelkey sync` cannot ask this process: {error}")).ok()
        };
        #[cfg(not(unix))]
        drop(ask);
        let thread = thread::spawn(move || {
            let mut serving = Serving::new(&mut replication, store, clock);
            if let Err(error) = serving.serve(&changes, &asked) {
                log::error!("sync stops: {error}; {}", error.hint());
            }
        });
        Service {
            tell,
            thread: Some(thread),
            #[cfg(unix)]
            _listener: listener,
        }
    }

    /// What an authenticator is to call when a passkey was used.
    pub fn on_assertion(tell: Sender<Change>) -> OnAssertion {
        Arc::new(move |id, present| {
            if present {
                // Nobody has to listen.
                let _ = tell.send(Change::Used(record_of(id)));
            }
        })
    }

    /// A channel for [`start`](Self::start) and [`Teller`](super::Teller).
    pub fn channel() -> (Sender<Change>, Receiver<Change>) {
        channel()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.tell.send(Change::Stop);
        if let Some(thread) = self.thread.take() {
            // It has said what went wrong with it.
            let _ = thread.join();
        }
    }
}

/// What the thread has.
struct Serving<'a> {
    replication: &'a mut Replication,
    store: SharedStore,
    clock: WallClock,
    /// The newest letters that mailboxes brought: one may answer an invitation.
    letters: Vec<Vec<u8>>,
    /// When passkeys were used since the last round, in seconds since 1970.
    used: BTreeMap<RecordId, u64>,
    /// How many guesses were left at each relay, and when to ask again.
    guesses_left: BTreeMap<String, u8>,
    look_at_escrow_ms: u64,
    /// Why the last round failed.
    trouble: Option<String>,
}

impl<'a> Serving<'a> {
    fn new(replication: &'a mut Replication, store: SharedStore, clock: WallClock) -> Self {
        Serving {
            replication,
            store,
            clock,
            letters: Vec::new(),
            used: BTreeMap::new(),
            guesses_left: BTreeMap::new(),
            look_at_escrow_ms: 0,
            trouble: None,
        }
    }

    fn serve(&mut self, changes: &Receiver<Change>, asked: &Receiver<Asked>) -> Result<(), ReplicateError> {
        if self.replication.was_reset(&mut *self.store.lock())? {
            return self.retire();
        }
        self.try_round();
        let folder = self.replication.places().iter().any(|place| matches!(place, Place::Folder(_)));
        let every = if folder { FOLDER_EVERY } else { RELAY_EVERY };
        loop {
            self.look_at_escrow();
            let due = self.replication.replica().wake_at();
            let wait = match self.trouble {
                // What is due may be what failed.
                Some(_) => AFTER_FAILURE,
                None => due.map_or(every, |due| {
                    Duration::from_millis(due.saturating_sub((self.clock)())).min(every)
                }),
            };
            match changes.recv_timeout(wait) {
                Ok(Change::Stop) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Ok(Change::Reset) => return self.retire(),
                Ok(first) => match self.rest(first, changes) {
                    Change::Stop => return Ok(()),
                    Change::Reset => return self.retire(),
                    _ => self.try_round(),
                },
                Err(RecvTimeoutError::Timeout) => self.try_round(),
            }
            for (request, answer) in asked.try_iter() {
                let answered = self.answer(&request);
                let left = matches!(request, Request::Leave) && answered.is_ok();
                // Nobody waits any more if the command was ended.
                let _ = answer.send(answered);
                if left {
                    log::info!("this device has left its sync circle");
                    return Ok(());
                }
            }
        }
    }

    /// One round. One that fails, because a disk is full for example, is told once and tried again: what was to be written
    /// waits, nothing leaves the device before it is, and sign-ins go on.
    fn try_round(&mut self) {
        match self.round() {
            Ok(()) => {
                if self.trouble.take().is_some() {
                    log::info!("sync: goes on");
                }
            }
            Err(error) => {
                let trouble = error.to_string();
                if self.trouble.as_ref() != Some(&trouble) {
                    log::error!("sync: {trouble}; {}; it is tried again", error.hint());
                }
                self.trouble = Some(trouble);
            }
        }
    }

    /// One round. The store is held only while it is compared, never while a mailbox is waited for.
    fn round(&mut self) -> Result<(), ReplicateError> {
        let now_ms = (self.clock)();
        let reports = self.replication.tick(now_ms)?;
        self.note(reports);
        let reports = self.replication.used(&std::mem::take(&mut self.used), now_ms)?;
        self.note(reports);
        let reports = self.replication.absorb(&mut *self.store.lock(), now_ms)?;
        self.note(reports);
        let path = self.replication.path.clone();
        let reports =
            self.replication.driver.sync(now_ms).map_err(|error| ReplicateError::File(path, error))?;
        self.note(reports);
        let reports = self.replication.meet(now_ms)?;
        self.note(reports);
        let reports = self.replication.absorb(&mut *self.store.lock(), now_ms)?;
        self.note(reports);
        self.replication.note_seen()
    }

    /// Tells the user if somebody guesses at the recovery PIN.
    fn look_at_escrow(&mut self) {
        let now_ms = (self.clock)();
        if now_ms < self.look_at_escrow_ms {
            return;
        }
        self.look_at_escrow_ms = now_ms + ESCROW_EVERY_MS;
        for (relay, left, allowed) in self.replication.guessed() {
            let known = self.guesses_left.insert(relay.clone(), left).unwrap_or(allowed);
            if left == 0 && known != 0 {
                log::warn!(
                    "sync: too many wrong guesses at the recovery PIN: {relay} has destroyed what it had; set it anew \
                     with `doppelkey sync recovery pin set`"
                );
            } else if left < known {
                log::warn!("sync: somebody guesses at the recovery PIN: {relay} allows {left} more");
            }
        }
    }

    fn answer(&mut self, request: &Request) -> Result<serde_json::Value, Refusal> {
        let now_ms = (self.clock)();
        let mut store = self.store.clone();
        let mut answer = self.replication.answer(request, &mut store, &self.letters, now_ms);
        if let (Ok(status), Request::Status, Some(trouble)) = (&mut answer, request, &self.trouble) {
            status["trouble"] = trouble.as_str().into();
        }
        if request.wants_a_round() {
            self.try_round();
        }
        answer
    }

    /// Takes what else is waiting: many changes are one round. The weightiest of them.
    fn rest(&mut self, first: Change, changes: &Receiver<Change>) -> Change {
        let weight = |change: &Change| match change {
            Change::Stop => 2,
            Change::Reset => 3,
            Change::Credentials | Change::Used(_) | Change::News | Change::Asked => 1,
        };
        let now_s = (self.clock)() / 1000;
        std::iter::once(first).chain(changes.try_iter()).fold(first, |one, other| {
            if let Change::Used(record) = other {
                self.used.insert(record, now_s);
            }
            if weight(&other) > weight(&one) { other } else { one }
        })
    }

    fn note(&mut self, reports: Vec<Report>) {
        report(&reports);
        self.letters.extend(reports.into_iter().filter_map(|report| match report {
            Report::Letter(letter) => Some(letter),
            _ => None,
        }));
        self.letters.drain(..self.letters.len().saturating_sub(LETTERS));
    }

    /// The user reset the authenticator: this device leaves, and nothing is deleted elsewhere.
    fn retire(&mut self) -> Result<(), ReplicateError> {
        let log = self.replication.replica().log();
        report(&self.replication.tell((self.clock)(), Event::Revoke { log, why: 0 })?);
        std::fs::remove_file(&self.replication.path)
            .map_err(|error| ReplicateError::File(self.replication.path.clone(), error))?;
        log::info!("this authenticator was reset: it has left its sync circle");
        Ok(())
    }
}

fn report(reports: &[Report]) {
    for report in reports {
        match report {
            Report::Alarm(alarm) => log::warn!("sync: {alarm}"),
            Report::Unreachable(mailbox, error) => {
                log::warn!("sync: mailbox {mailbox} cannot be reached: {error}");
            }
            Report::MembersChanged => {
                log::info!("sync: the circle's devices changed; see `doppelkey sync devices`")
            }
            _ => {}
        }
    }
}

/// Tells of a relay's news until nobody listens any more.
fn watch(relay: &RelayClient, tell: &Sender<Change>) {
    let mut again = AGAIN_FIRST;
    loop {
        let mut listened = true;
        let _ = relay.watch(|_| {
            again = AGAIN_FIRST;
            listened = tell.send(Change::News).is_ok();
            listened
        });
        if !listened {
            return;
        }
        thread::sleep(again);
        again = (2 * again).min(AGAIN_LAST);
    }
}
