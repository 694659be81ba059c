//! The circle's other devices on the local network, met without a mailbox.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use doppelkey_sync::lan::{GROUP, Lan, LanEvent};
use doppelkey_sync::{Event, LogId, Report};
use getrandom::rand_core::Rng as _;

use super::{Change, ReplicateError, Replication, random};

/// How long after a connection was lost, or not to be had, it is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Connections, and up to where the others were last told what is new here.
pub(super) struct Neighbours {
    lan: Arc<Lan>,
    told: BTreeMap<LogId, u32>,
}

impl Replication {
    /// Meets the circle's other devices on the local network from now on: those that multicast finds, and those at these
    /// addresses. Where this device listens.
    pub fn meet_on_lan(
        &mut self,
        at: SocketAddr,
        others: &[SocketAddr],
        tell: Sender<Change>,
    ) -> io::Result<SocketAddr> {
        let tell = Mutex::new(tell);
        let lan = Arc::new(Lan::listen(at, move || {
            // When nobody listens the program ends.
            let _ = tell.lock().map(|tell| tell.send(Change::News));
        })?);
        let mut number = [0; 16];
        random().fill_bytes(&mut number);
        if let Err(error) = lan.discover(GROUP, self.replica().circle(), number) {
            log::warn!("sync: other devices on this network must be named by --peer: {error}");
        }
        for other in others.iter().copied() {
            let lan = Arc::downgrade(&lan);
            thread::spawn(move || {
                while let Some(lan) = lan.upgrade() {
                    if !lan.is_connected_to(other) {
                        // It may be off; that is no news.
                        let _ = lan.connect(other);
                    }
                    drop(lan);
                    thread::sleep(AGAIN_AFTER);
                }
            });
        }
        self.driver.set_peers(lan.clone());
        let address = lan.address();
        self.neighbours = Some(Neighbours { lan, told: BTreeMap::new() });
        Ok(address)
    }

    /// Takes what neighbours sent, and tells them when there is something new here.
    pub(super) fn meet(&mut self, now_ms: u64) -> Result<Vec<Report>, ReplicateError> {
        let Some(neighbours) = &self.neighbours else { return Ok(Vec::new()) };
        let lan = neighbours.lan.clone();
        let mut reports = Vec::new();
        for event in lan.events() {
            reports.extend(match event {
                LanEvent::Met(peer) => self.tell(now_ms, Event::PeerSeen { peer })?,
                LanEvent::Said(peer, bytes) => self.tell(now_ms, Event::Peer { peer, bytes })?,
                LanEvent::Left(_) => Vec::new(),
            });
        }
        let here = self.replica().frontier();
        if let Some(neighbours) = self.neighbours.as_mut().filter(|neighbours| neighbours.told != here) {
            neighbours.told = here;
            for peer in lan.acquaintances() {
                reports.extend(self.tell(now_ms, Event::PeerSeen { peer })?);
            }
        }
        Ok(reports)
    }
}
