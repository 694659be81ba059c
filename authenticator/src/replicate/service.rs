//! Replication while the authenticator runs: one thread, asleep unless something happens.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use doppelkey_sync::relay::RelayClient;
use doppelkey_sync::{Event, Report};

use super::{Change, Place, ReplicateError, Replication, WallClock};
use crate::device::SharedStore;

/// How often a folder is looked into: nothing tells of a file that Syncthing brought.
const FOLDER_EVERY: Duration = Duration::from_secs(2);
/// How often a relay is asked although it tells of news: what tells may break unseen.
const RELAY_EVERY: Duration = Duration::from_secs(15 * 60);
/// How long a watcher waits before it connects again, at first and at most.
const AGAIN_FIRST: Duration = Duration::from_millis(500);
const AGAIN_LAST: Duration = Duration::from_secs(60);

/// The thread that keeps a store and its circle in step. Dropped, it finishes what it is at and ends.
pub struct Service {
    tell: Sender<Change>,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    /// Begins. `changes` is the other end of the store's [`Observed`](super::Observed), `tell` a way to it.
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
        let thread = thread::spawn(move || {
            if let Err(error) = serve(&mut replication, &store, &changes, &clock) {
                log::error!("sync stops: {error}; {}", error.hint());
            }
        });
        Service { tell, thread: Some(thread) }
    }

    /// A channel for [`start`](Self::start) and [`Observed`](super::Observed).
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

fn serve(
    replication: &mut Replication,
    store: &SharedStore,
    changes: &Receiver<Change>,
    clock: &WallClock,
) -> Result<(), ReplicateError> {
    if replication.was_reset(&mut *store.lock())? {
        return retire(replication, clock);
    }
    round(replication, store, clock)?;
    let folder = replication.places().iter().any(|place| matches!(place, Place::Folder(_)));
    let every = if folder { FOLDER_EVERY } else { RELAY_EVERY };
    loop {
        let wait = replication
            .replica()
            .wake_at()
            .map_or(every, |due| Duration::from_millis(due.saturating_sub(clock())).min(every));
        match changes.recv_timeout(wait) {
            Ok(Change::Stop) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Ok(Change::Reset) => return retire(replication, clock),
            Ok(first) => match rest(first, changes) {
                Change::Stop => return Ok(()),
                Change::Reset => return retire(replication, clock),
                _ => round(replication, store, clock)?,
            },
            Err(RecvTimeoutError::Timeout) => {
                report(&replication.tick(clock())?);
                round(replication, store, clock)?;
            }
        }
    }
}

/// Takes what else is waiting: many changes are one round. The weightiest of them.
fn rest(first: Change, changes: &Receiver<Change>) -> Change {
    let weight = |change: &Change| match change {
        Change::Stop => 2,
        Change::Reset => 3,
        Change::Credentials | Change::News => 1,
    };
    changes.try_iter().fold(first, |one, other| if weight(&other) > weight(&one) { other } else { one })
}

/// One round. The store is held only while it is compared, never while a mailbox is waited for.
fn round(
    replication: &mut Replication,
    store: &SharedStore,
    clock: &WallClock,
) -> Result<(), ReplicateError> {
    report(&replication.absorb(&mut *store.lock(), clock())?);
    let path = replication.path.clone();
    let reports = replication.driver.sync(clock()).map_err(|error| ReplicateError::File(path, error))?;
    report(&reports);
    report(&replication.absorb(&mut *store.lock(), clock())?);
    Ok(())
}

/// The user reset the authenticator: this device leaves, and nothing is deleted elsewhere.
fn retire(replication: &mut Replication, clock: &WallClock) -> Result<(), ReplicateError> {
    let log = replication.replica().log();
    report(&replication.tell(clock(), Event::Revoke { log, why: 0 })?);
    std::fs::remove_file(&replication.path)
        .map_err(|error| ReplicateError::File(replication.path.clone(), error))?;
    log::info!("this authenticator was reset: it has left its sync circle");
    Ok(())
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
