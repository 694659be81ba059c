//! Who listens to a relay: a thread of its own, that tells of news.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use doppelkey_sync::relay::{Heard, RelayClient, Silence};
use getrandom::rand_core::Rng as _;

use super::{Change, random};

/// How long to wait before connecting again, at first and at most.
const AGAIN_FIRST: Duration = Duration::from_millis(500);
const AGAIN_LAST: Duration = Duration::from_secs(60);

/// A relay that is listened to. Dropped, it is listened to no more: the thread ends with the next thing it hears.
pub(super) struct Watch(Arc<Ear>);

#[derive(Default)]
struct Ear {
    hears: AtomicBool,
    ended: AtomicBool,
}

impl Watch {
    /// Begins: [`Change::News`] is told whenever a connection begins and whenever the relay has news.
    pub(super) fn begin(relay: RelayClient, tell: Sender<Change>) -> Self {
        Self::with_silence(relay, tell, Silence::default())
    }

    fn with_silence(relay: RelayClient, tell: Sender<Change>, silence: Silence) -> Self {
        let ear = Arc::new(Ear::default());
        let listening = ear.clone();
        thread::spawn(move || listening.listen(&relay, &tell, silence));
        Watch(ear)
    }

    /// Whether the relay is heard: there is a connection that is not known to be broken.
    pub(super) fn hears(&self) -> bool {
        self.0.hears.load(Ordering::Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Relaxed);
    }
}

impl Ear {
    /// Until nobody listens any more.
    fn listen(&self, relay: &RelayClient, tell: &Sender<Change>, mut silence: Silence) {
        let mut again = Again::default();
        loop {
            let (mut listens, mut signs) = (true, 0_u32);
            let _ = relay.watch(&mut silence, |heard| {
                self.hears.store(true, Ordering::Relaxed);
                listens = !self.ended.load(Ordering::Relaxed);
                match heard {
                    Heard::Head(_) => listens = listens && tell.send(Change::News).is_ok(),
                    // The first only announces the second.
                    Heard::Sign => signs = signs.saturating_add(1),
                }
                listens
            });
            self.hears.store(false, Ordering::Relaxed);
            if !listens || self.ended.load(Ordering::Relaxed) {
                return;
            }
            thread::sleep(again.after(signs > 1));
        }
    }
}

/// How long to wait for the next connection: twice as long after each that came to nothing.
struct Again(Duration);

impl Default for Again {
    fn default() -> Self {
        Again(AGAIN_FIRST)
    }
}

impl Again {
    /// A connection ended. One that `lasted` was a good one; a relay that takes connections and ends them at once is not
    /// to be run at. By chance half as long or half as long again: when a relay comes back, not all come at once.
    fn after(&mut self, lasted: bool) -> Duration {
        if lasted {
            self.0 = AGAIN_FIRST;
        }
        let wait = self.0;
        self.0 = (2 * wait).min(AGAIN_LAST);
        wait / 2 + wait.mul_f64(f64::from(random().next_u32()) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::sync::mpsc;

    use doppelkey_sync::CircleId;
    use doppelkey_sync::relay::RelayUrl;

    use super::*;

    #[test]
    fn who_connects_in_vain_waits_longer_each_time_and_never_in_step_with_others() {
        let mut again = Again::default();
        let half = |wait: Duration, of: Duration| wait >= of / 2 && wait <= of * 3 / 2;
        for wait in [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000_u64] {
            assert!(half(again.after(false), Duration::from_millis(wait)));
        }
        assert!(half(again.after(true), AGAIN_FIRST));
        let waits: std::collections::BTreeSet<_> = (0..8).map(|_| again.after(true)).collect();
        assert!(waits.len() > 1);
    }

    #[test]
    fn a_relay_that_swallows_everything_is_left_for_a_new_connection_with_which_news_may_come() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let relay = RelayClient::new(RelayUrl::new(&base, "0123456789abcdef"), CircleId([1; 16]));
        let (tell, told) = mpsc::channel();
        let silence = Silence::new(Duration::from_millis(100), Duration::from_millis(400));
        let watch = Watch::with_silence(relay, tell, silence);
        let connected = || {
            let mut connection = listener.accept().unwrap().0;
            let read = connection.read(&mut [0; 4096]).unwrap();
            assert!(read > 0);
            connection
        };
        let begin = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n: 100\ndata: 0\n\n";
        let mut swallowed = connected();
        swallowed.write_all(begin).unwrap();
        assert_eq!(told.recv_timeout(Duration::from_secs(20)), Ok(Change::News));
        assert!(watch.hears());
        // It stays open, and nothing comes.
        let mut next = connected();
        assert!(!watch.hears(), "what broke unseen is noticed, and a new connection made");
        next.write_all(begin).unwrap();
        assert_eq!(
            told.recv_timeout(Duration::from_secs(20)),
            Ok(Change::News),
            "with which there may be news"
        );
        drop(watch);
        next.write_all(b": 100\n\n").unwrap();
        let end = told.recv_timeout(Duration::from_secs(20));
        assert_eq!(end, Err(mpsc::RecvTimeoutError::Disconnected), "the thread has ended");
    }
}
