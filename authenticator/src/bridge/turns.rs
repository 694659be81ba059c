//! Whose turn it is at a device that one host at a time has attached.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::client::{Abort, Error};
use crate::device::{Clock, Connection, Packet};

/// One turn at a time; in no order. All clones are the same device's.
#[derive(Clone, Default)]
pub(super) struct Turns(Arc<(Mutex<bool>, Condvar)>);

/// It lasts until this is dropped.
pub(super) struct Turn(Turns);

impl Turns {
    /// Waits for a turn, until the clock's time or the abort.
    ///
    /// # Errors
    /// [`Error::TimedOut`], or [`Error::Aborted`] within 100 milliseconds.
    pub(super) fn wait(&self, clock: &Clock, until: Duration, abort: &Abort) -> Result<Turn, Error> {
        let (taken, let_go) = &*self.0;
        let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let left = until.saturating_sub(clock());
            if abort.is_aborted() {
                return Err(Error::Aborted);
            } else if !*taken {
                *taken = true;
                return Ok(Turn(self.clone()));
            } else if left.is_zero() {
                return Err(Error::TimedOut);
            }
            let waited = let_go.wait_timeout(taken, left.min(ATTENTION));
            taken = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let (taken, let_go) = &*self.0.0;
        *taken.lock().unwrap_or_else(PoisonError::into_inner) = false;
        let_go.notify_one();
    }
}

/// A connection for the length of a turn: first it is closed, then the turn is over.
pub(super) struct InTurn<C> {
    pub(super) connection: C,
    pub(super) _turn: Turn,
}

impl<C: Connection> Connection for InTurn<C> {
    fn send(&mut self, packet: &Packet) -> io::Result<()> {
        self.connection.send(packet)
    }

    fn receive(&mut self, timeout: Option<Duration>) -> io::Result<Option<Packet>> {
        self.connection.receive(timeout)
    }
}

/// An abort is noticed within this time.
const ATTENTION: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::client::system_clock;

    #[test]
    fn a_turn_is_waited_for_until_it_is_let_go_or_taken_back_or_too_late() {
        let (turns, clock) = (Turns::default(), system_clock());
        let (patience, abort) = (clock() + Duration::from_secs(60), Abort::new());
        let first = turns.wait(&clock, patience, &abort).ok();
        assert!(first.is_some());
        assert!(matches!(turns.wait(&clock, clock(), &abort), Err(Error::TimedOut)));
        let second = thread::spawn({
            let (turns, clock, abort) = (turns.clone(), clock.clone(), abort.clone());
            move || turns.wait(&clock, patience, &abort).is_ok()
        });
        drop(first);
        assert!(second.join().unwrap());
        let held = turns.wait(&clock, patience, &abort).ok();
        let third = thread::spawn({
            let (turns, clock, abort) = (turns.clone(), clock.clone(), abort.clone());
            move || turns.wait(&clock, patience, &abort).err()
        });
        abort.abort();
        assert!(matches!(third.join().unwrap(), Some(Error::Aborted)));
        drop(held);
    }
}
