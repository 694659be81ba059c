//! A tunnel after the handshake.

use std::sync::mpsc;
use std::time::Duration;

use super::error::Error;
use super::message::Message;
use super::noise::Session;
use super::tunnel::{Event, Tunnel};

/// Messages that only the peer reads. Says goodbye when dropped.
pub(super) struct Secured {
    tunnel: Tunnel,
    session: Session,
}

/// What comes next.
pub(super) enum Heard {
    /// From the peer.
    Message(Message),
    /// What was done meanwhile on this side.
    Done(Vec<u8>),
}

impl Secured {
    pub(super) fn new(tunnel: Tunnel, session: Session) -> Self {
        Secured { tunnel, session }
    }

    pub(super) fn handshake_hash(&self) -> &[u8; 32] {
        &self.session.handshake_hash
    }

    /// Sends a message.
    pub(super) fn send(&mut self, message: &Message) -> Result<(), Error> {
        self.send_bytes(&message.encode())
    }

    /// Sends the phone's first message, which is of no kind.
    pub(super) fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.tunnel.send(self.session.seal(bytes).ok_or(Error::Closed)?);
        Ok(())
    }

    /// The next message, or what was done; `None` if there is nothing within this time.
    pub(super) fn next(&mut self, timeout: Duration) -> Result<Option<Heard>, Error> {
        Ok(match self.tunnel.next(timeout) {
            None => None,
            Some(Event::Closed) => return Err(Error::Closed),
            Some(Event::Done(result)) => Some(Heard::Done(result)),
            Some(Event::Message(sealed)) => {
                let message = Message::decode(&self.open(&sealed)?);
                Some(Heard::Message(message.ok_or(Error::Malformed("a message of no known kind"))?))
            }
        })
    }

    /// The phone's first message; `None` if it does not come within this time.
    pub(super) fn next_bytes(&mut self, timeout: Duration) -> Result<Option<Vec<u8>>, Error> {
        match self.tunnel.next(timeout) {
            None => Ok(None),
            Some(Event::Message(sealed)) => self.open(&sealed).map(Some),
            Some(Event::Closed | Event::Done(_)) => Err(Error::Closed),
        }
    }

    /// Where to tell of what is done meanwhile.
    pub(super) fn events(&self) -> mpsc::Sender<Event> {
        self.tunnel.events()
    }

    fn open(&mut self, sealed: &[u8]) -> Result<Vec<u8>, Error> {
        self.session.open(sealed).map_err(|_| Error::NotAuthentic)
    }
}

impl Drop for Secured {
    fn drop(&mut self) {
        // Where no message can be sealed any more, the closed tunnel says the same.
        let _ = self.send(&Message::Shutdown);
    }
}
