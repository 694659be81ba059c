//! Replication while the authenticator runs: one thread, asleep unless something happens.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use doppelkey_sync::{RecordId, Report};

use super::farewell::tell_farewells_in_background;
use super::reconcile::record_of;
use super::requests::Asked;
#[cfg(unix)]
use super::running::Listener;
use super::telling::Telling;
use super::watch::Watch;
use super::{Change, Place, Refusal, ReplicateError, Replication, Request};
use crate::clock::WallClock;
use crate::device::{OnAssertion, SharedStore};

/// How often a folder is looked into: nothing tells of a file that Syncthing brought.
const FOLDER_EVERY: Duration = Duration::from_secs(2);
/// How often a key is asked: its light winks each time.
const KEY_EVERY: Duration = Duration::from_secs(5);
/// How often a relay is asked of which nothing is heard.
const RELAY_EVERY: Duration = Duration::from_secs(15 * 60);
/// How often one is asked although it tells of news, and gives signs of life: nobody has to believe it.
const HEARD_EVERY: Duration = Duration::from_secs(24 * 60 * 60);
/// The thread sleeps no longer than this: whether the computer slept meanwhile nobody tells it.
const NAP: Duration = Duration::from_secs(60);
/// So much later than it should is a nap of a computer that slept.
const OVERSLEPT_MS: u64 = 30_000;
/// How soon a round that failed is tried again: a disk may have room by then.
const AFTER_FAILURE: Duration = Duration::from_secs(15);
/// How often relays are asked whether somebody guesses at the recovery PIN.
const ESCROW_EVERY_MS: u64 = 15 * 60 * 1000;
/// How long the end of the program waits for a mailbox that does not answer. What is in the journal by then is not lost.
const AT_THE_END: Duration = Duration::from_secs(2);
/// How many letters are kept for who invites.
const LETTERS: usize = 64;

/// The thread that keeps a store and its circle in step. Dropped, it finishes what it is at and ends, or is left to itself
/// after two seconds: a relay that drips does not hold up the end of the program, and a journal can be cut anywhere.
pub struct Service {
    tell: Sender<Change>,
    thread: Option<JoinHandle<()>>,
    /// Closed when the thread ends.
    running: Receiver<()>,
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
        let (ask, asked) = channel();
        #[cfg(unix)]
        let listener = {
            let vault = replication.path.with_extension("");
            let listener = Listener::bind(&vault, tell.clone(), ask);
            listener.inspect_err(|error| log::warn!("`doppelkey sync` cannot ask this process: {error}")).ok()
        };
        #[cfg(not(unix))]
        drop(ask);
        let told = tell.clone();
        let (ends, running) = channel();
        let thread = thread::spawn(move || {
            let _ends = ends;
            let mut serving = Serving::new(&mut replication, store, clock, told);
            if let Err(error) = serving.serve(&changes, &asked) {
                log::error!("sync stops: {error}; {}", error.hint());
            }
        });
        Service {
            tell,
            thread: Some(thread),
            running,
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
        let in_time = self.running.recv_timeout(AT_THE_END) != Err(RecvTimeoutError::Timeout);
        if let Some(thread) = self.thread.take().filter(|_| in_time) {
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
    /// Which passkeys were taken away since then.
    removed: BTreeSet<RecordId>,
    /// How many guesses were left at each relay, and when to ask again.
    guesses_left: BTreeMap<String, u8>,
    look_at_escrow_ms: u64,
    /// When each mailbox is to be looked into again.
    look_at_ms: Vec<u64>,
    telling: Telling,
    /// Why the last round failed.
    trouble: Option<String>,
    /// For whoever watches a mailbox.
    tell: Sender<Change>,
    /// Who watches each mailbox that tells of news.
    watches: Vec<Option<Watch>>,
}

impl<'a> Serving<'a> {
    fn new(
        replication: &'a mut Replication,
        store: SharedStore,
        clock: WallClock,
        tell: Sender<Change>,
    ) -> Self {
        Serving {
            replication,
            store,
            clock,
            letters: Vec::new(),
            used: BTreeMap::new(),
            removed: BTreeSet::new(),
            guesses_left: BTreeMap::new(),
            look_at_escrow_ms: 0,
            look_at_ms: Vec::new(),
            telling: Telling::default(),
            trouble: None,
            tell,
            watches: Vec::new(),
        }
    }

    fn serve(&mut self, changes: &Receiver<Change>, asked: &Receiver<Asked>) -> Result<(), ReplicateError> {
        if self.replication.was_reset(&mut *self.store.lock())? {
            return self.retire();
        }
        self.watch();
        self.try_round(true);
        loop {
            self.look_at_escrow();
            let (begun_ms, wait) = ((self.clock)(), self.wait().min(NAP));
            let change = changes.recv_timeout(wait);
            let overslept = (self.clock)().saturating_sub(begun_ms) > wait.as_millis() as u64 + OVERSLEPT_MS;
            if overslept {
                self.watch_anew();
            }
            match change {
                Ok(Change::Stop) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Ok(Change::Reset) => return self.retire(),
                Ok(first) => match self.rest(first, changes) {
                    Change::Stop => return Ok(()),
                    Change::Reset => return self.retire(),
                    // A command is not to wait for what is known to be away.
                    Change::Asked => self.try_round(self.telling.all_is_well()),
                    _ => self.try_round(true),
                },
                // Much of the time there is nothing to do after a nap.
                Err(RecvTimeoutError::Timeout) if wait == NAP && !overslept => {}
                Err(RecvTimeoutError::Timeout) => self.try_round(overslept),
            }
            for (request, answer) in asked.try_iter() {
                let answered = self.answer(&request);
                let left = matches!(request, Request::Leave) && answered.is_ok();
                // Nobody waits any more if the command was ended.
                let _ = answer.send(answered);
                if left {
                    log::info!("this device has left its sync circle");
                    tell_farewells_in_background(self.replication.path.with_extension(""));
                    return Ok(());
                }
            }
        }
    }

    /// How long to sleep if nothing happens.
    fn wait(&self) -> Duration {
        if self.trouble.is_some() {
            // What is due may be what failed.
            return AFTER_FAILURE;
        }
        let now_ms = (self.clock)();
        let looks = (0..self.replication.places().len()).map(|mailbox| self.look_in_ms(mailbox, now_ms));
        let due = self.replication.replica().wake_at().map(|due| due.saturating_sub(now_ms));
        Duration::from_millis(looks.chain(due).min().unwrap_or(ESCROW_EVERY_MS))
    }

    /// In what time a mailbox is to be looked into. At once, too, if it is longer than it may be: the clock was set back,
    /// or a relay is not heard any more.
    fn look_in_ms(&self, mailbox: usize, now_ms: u64) -> u64 {
        let wait_ms = self.look_at_ms.get(mailbox).map_or(0, |at_ms| at_ms.saturating_sub(now_ms));
        if wait_ms > self.every_ms(mailbox) { 0 } else { wait_ms }
    }

    /// How often a mailbox is looked into if nothing happens.
    fn every_ms(&self, mailbox: usize) -> u64 {
        let is_heard = || self.watches.get(mailbox).and_then(Option::as_ref).is_some_and(Watch::hears);
        let every = match self.replication.places()[mailbox] {
            Place::Folder(_) => FOLDER_EVERY,
            Place::Key(_) => KEY_EVERY,
            Place::Relay(_) | Place::Opened(_) if is_heard() => HEARD_EVERY,
            Place::Relay(_) | Place::Opened(_) => RELAY_EVERY,
        };
        every.as_millis() as u64
    }

    /// Listens to the relays to which nobody listens yet.
    fn watch(&mut self) {
        let circle = self.replication.replica().circle();
        for place in self.replication.places().iter().skip(self.watches.len()) {
            let watch = place.relay(circle).map(|relay| Watch::begin(relay, self.tell.clone()));
            self.watches.push(watch);
        }
    }

    /// The computer slept: connections are gone, though nothing says so.
    fn watch_anew(&mut self) {
        self.watches.clear();
        self.watch();
    }

    /// One round. One that fails, because a disk is full for example, is told once and tried again: what was to be written
    /// waits, nothing leaves the device before it is, and sign-ins go on.
    fn try_round(&mut self, everywhere: bool) {
        match self.round(everywhere) {
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

    /// One round, with every mailbox or those that are due. The store is held only while it is compared, never while a
    /// mailbox is waited for.
    fn round(&mut self, everywhere: bool) -> Result<(), ReplicateError> {
        let now_ms = (self.clock)();
        if !self.removed.is_empty() {
            self.replication.note_all_removed(&self.removed, &mut *self.store.lock())?;
            self.removed.clear();
        }
        if self.replication.has_heard() {
            let reports = self.replication.tick(now_ms)?;
            self.note(reports);
            let reports = self.replication.used(&std::mem::take(&mut self.used), now_ms)?;
            self.note(reports);
            self.absorb(now_ms)?;
        }
        self.look(everywhere, now_ms)?;
        self.telling.never_came(self.replication.never_came(now_ms));
        let reports = self.replication.meet(now_ms)?;
        self.note(reports);
        self.absorb(now_ms)?;
        self.replication.note_seen()
    }

    fn absorb(&mut self, now_ms: u64) -> Result<(), ReplicateError> {
        let reports = self.replication.absorb(&mut *self.store.lock(), now_ms)?;
        self.note(reports);
        // By now the store is free again.
        let reports = self.replication.carry_out(now_ms)?;
        self.note(reports);
        Ok(())
    }

    fn look(&mut self, everywhere: bool, now_ms: u64) -> Result<(), ReplicateError> {
        self.look_at_ms.resize(self.replication.places().len(), 0);
        for number in 0..self.look_at_ms.len() {
            if !everywhere && self.look_in_ms(number, now_ms) > 0 {
                continue;
            }
            let mailbox = u8::try_from(number).expect("nobody has 256 mailboxes");
            let reports = self.replication.poll(mailbox, now_ms)?;
            self.look_at_ms[number] = now_ms + self.every_ms(number);
            self.telling.asked(mailbox, &reports, self.replication.places());
            self.keep_letters(reports);
        }
        Ok(())
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
        let mut answer = match request {
            Request::Leave => self.leave(now_ms),
            _ => self.replication.answer(request, &mut store, &self.letters, now_ms),
        };
        // If it was for another mailbox.
        self.watch();
        if let (Ok(status), Request::Status) = (&mut answer, request) {
            if let Some(trouble) = &self.trouble {
                status["trouble"] = trouble.as_str().into();
            }
            let places = self.replication.places().iter().enumerate();
            let trouble = places.filter_map(|(mailbox, place)| {
                Some((place.to_string(), self.telling.trouble_of(mailbox)?.into()))
            });
            status["alarms"] = self.telling.alarms().collect();
            status["unreachable"] = trouble.collect::<serde_json::Map<_, serde_json::Value>>().into();
        }
        if request.wants_a_round() {
            self.try_round(true);
        }
        answer
    }

    /// As [`Replication::leave`], and nobody changes the store between a look at it and what is written.
    fn leave(&mut self, now_ms: u64) -> Result<serde_json::Value, Refusal> {
        let (_, untold) = self.replication.say_farewell(now_ms)?;
        self.replication.forget_circle(&mut *self.store.lock())?;
        Ok(serde_json::json!({ "untold": untold }))
    }

    /// Takes what else is waiting: many changes are one round. The weightiest of them.
    fn rest(&mut self, first: Change, changes: &Receiver<Change>) -> Change {
        let weight = |change: &Change| match change {
            Change::Stop => 2,
            Change::Reset => 3,
            Change::Credentials | Change::Removed(_) | Change::Used(_) | Change::News => 1,
            Change::Asked => 0,
        };
        let now_s = (self.clock)() / 1000;
        std::iter::once(first).chain(changes.try_iter()).fold(first, |one, other| {
            match other {
                Change::Used(record) => drop(self.used.insert(record, now_s)),
                Change::Removed(record) => drop(self.removed.insert(record)),
                _ => {}
            }
            if weight(&other) > weight(&one) { other } else { one }
        })
    }

    fn note(&mut self, reports: Vec<Report>) {
        self.telling.tell(&reports, self.replication.places());
        self.keep_letters(reports);
    }

    fn keep_letters(&mut self, reports: Vec<Report>) {
        self.letters.extend(reports.into_iter().filter_map(|report| match report {
            Report::Letter(letter) => Some(letter),
            _ => None,
        }));
        self.letters.drain(..self.letters.len().saturating_sub(LETTERS));
    }

    /// The user reset the authenticator.
    fn retire(&mut self) -> Result<(), ReplicateError> {
        let reports = self.replication.retire((self.clock)())?;
        self.note(reports);
        tell_farewells_in_background(self.replication.path.with_extension(""));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
