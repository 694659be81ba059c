//! The platform's side: shows a QR code, or calls a phone that it knows, and gets a session.

use std::time::Duration;

use ciborium::Value;
use p256::SecretKey;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::advert::{ADVERT_LENGTH, Eid};
use super::error::Error;
use super::links::{Link, Links};
use super::message::{Linking, Message, read_greeting};
use super::noise::{Initiator, Psk};
use super::qr::{Operation, QrCode};
use super::room::{Listener, Room};
use super::secrets::{Purpose, derive};
use super::secured::{Heard, Secured};
use super::tunnel::{Event, Tunnel};
use crate::cbor::Map;
use crate::clock::WallClock;
use crate::device::Clock;
use crate::user_interface::visible;

/// Whoever waits is asked so often whether to go on.
const ATTENTION: Duration = Duration::from_millis(100);
/// A phone that was called, and does not show itself near within this time, is given up for a QR code.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// What a desktop's user sees.
pub trait Screen: Send {
    /// A code to scan, until it is [hidden](Self::hide).
    fn show(&mut self, code: &QrCode);

    /// This phone is being called: look at it.
    fn calling(&mut self, phone: &str) {
        let _ = phone;
    }

    /// Nothing is to be scanned any more: a phone came, or nobody waits.
    fn hide(&mut self) {}
}

/// A computer without an authenticator of its own, whose user has a phone.
pub struct Desktop {
    room: Room,
    screen: Box<dyn Screen>,
    links: Links,
    clock: Clock,
    wall_clock: WallClock,
    rng: Box<dyn CryptoRng + Send>,
}

impl Desktop {
    /// One in this room, with this screen, which knows these phones.
    pub fn new(
        room: Room,
        screen: impl Screen + 'static,
        links: Links,
        (clock, wall_clock): (Clock, WallClock),
        rng: impl CryptoRng + Send + 'static,
    ) -> Self {
        Desktop { room, screen: Box::new(screen), links, clock, wall_clock, rng: Box::new(rng) }
    }

    /// The phones that it knows.
    pub fn links(&self) -> &Links {
        &self.links
    }

    /// A session with a phone: the one that was linked last, or else whichever scans the code that is shown now.
    ///
    /// `go_on` is asked ten times a second.
    ///
    /// # Errors
    /// [`Error::GivenUp`] once `go_on` says no.
    pub(crate) fn connect(
        &mut self,
        operation: Operation,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Connected, Error> {
        if let Some(link) = self.links.last().cloned() {
            self.screen.calling(&link.name);
            let called = self.call(&link, operation, go_on);
            self.screen.hide();
            match called {
                Err(Error::Unlinked) => {
                    log::info!("hybrid: {} can be called no more, and is forgotten", visible(&link.name));
                    self.links.forget(&link.identity).map_err(Error::Room)?;
                }
                // Switched off, or elsewhere: it may be another phone's turn.
                Err(error @ Error::Tunnel(_)) => {
                    log::info!("hybrid: {} cannot be called: {error}", visible(&link.name))
                }
                called => return called,
            }
            if !go_on() {
                return Err(Error::GivenUp);
            }
        }
        let connected = self.by_code(operation, go_on);
        self.screen.hide();
        connected
    }

    /// Remembers the phone that this session was with, if it gave a link.
    pub(crate) fn remember(&mut self, connected: &mut Connected) {
        let Some(link) = connected.learned.take() else { return };
        if let Err(error) = self.links.remember(link) {
            log::warn!("hybrid: the phone could not be remembered: {error}");
        }
    }

    /// §11.5.1: with a QR code.
    fn by_code(&mut self, operation: Operation, go_on: &dyn Fn() -> bool) -> Result<Connected, Error> {
        let (code, identity) = QrCode::generate(operation, Some((self.wall_clock)() / 1000), &mut *self.rng);
        let mut ears = Ears { listener: self.room.listen().map_err(Error::Room)?, heard: Vec::new() };
        self.screen.show(&code);
        let key = code.eid_key();
        loop {
            let eid = ears.hear(&key, go_on)?.ok_or(Error::GivenUp)?;
            let tunnel = match Tunnel::join(eid.domain, &eid.routing_id, &code.tunnel_id()) {
                // Said again by somebody else, or already taken: another may come.
                Err(error @ Error::Tunnel(_)) => {
                    log::info!("hybrid: an advertisement leads nowhere: {error}");
                    continue;
                }
                tunnel => tunnel?,
            };
            let psk = code.psk(&eid.to_bytes());
            let (initiator, message) = Initiator::with_code(&psk, &identity, &mut *self.rng);
            let secured = shake_hands(tunnel, initiator, message, go_on)?;
            return Connected::greet(secured, eid.domain, Some(identity), go_on);
        }
    }

    /// §11.5.2: state-assisted.
    fn call(
        &mut self,
        link: &Link,
        operation: Operation,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Connected, Error> {
        let mut nonce = [0; 16];
        self.rng.fill_bytes(&mut nonce);
        let payload = Map::new()
            .with(1, Value::Bytes(link.link_id.to_vec()))
            .with(2, Value::Bytes(nonce.to_vec()))
            .with(3, operation.hint());
        let mut ears = Ears { listener: self.room.listen().map_err(Error::Room)?, heard: Vec::new() };
        let tunnel = Tunnel::contact(link.domain, &link.contact_id, &payload.encode())?;
        let (until, clock) = ((self.clock)() + CALL_TIMEOUT, self.clock.clone());
        let key = derive(&*link.secret, &nonce, Purpose::EidKey);
        let near = ears.hear(&key, &|| go_on() && clock() < until)?;
        let Some(eid) = near else {
            let gone = Error::Tunnel("the phone does not show itself near".into());
            return Err(if go_on() { gone } else { Error::GivenUp });
        };
        let psk: Psk = derive(&*link.secret, &eid.to_bytes(), Purpose::Psk);
        let (initiator, message) = Initiator::with_link(&psk, &link.identity, &mut *self.rng);
        let secured = shake_hands(tunnel, initiator, message, go_on)?;
        Connected::greet(secured, link.domain, None, go_on)
    }
}

/// Listens for one phone.
struct Ears {
    listener: Listener,
    /// What led nowhere is heard once.
    heard: Vec<[u8; ADVERT_LENGTH]>,
}

impl Ears {
    /// The next advertisement with this key. `None` once `go_on` says no.
    fn hear(&mut self, key: &Zeroizing<[u8; 64]>, go_on: &dyn Fn() -> bool) -> Result<Option<Eid>, Error> {
        while go_on() {
            let Some(advert) = self.listener.hear(ATTENTION).map_err(Error::Room)? else { continue };
            if self.heard.contains(&advert) {
                continue;
            }
            // Assigned domains are on the internet, and not for us.
            if let Some(eid) = Eid::open(&advert, key).filter(|eid| eid.domain >= 256) {
                self.heard.push(advert);
                return Ok(Some(eid));
            }
        }
        Ok(None)
    }
}

fn shake_hands(
    tunnel: Tunnel,
    initiator: Initiator,
    message: Vec<u8>,
    go_on: &dyn Fn() -> bool,
) -> Result<Secured, Error> {
    tunnel.send(message);
    while go_on() {
        match tunnel.next(ATTENTION) {
            None => {}
            Some(Event::Message(answer)) => {
                let session = initiator.finish(&answer).map_err(|_| Error::NotAuthentic)?;
                return Ok(Secured::new(tunnel, session));
            }
            Some(Event::Closed | Event::Done(_)) => return Err(Error::Closed),
        }
    }
    Err(Error::GivenUp)
}

/// A session with a phone, for one ceremony. Ends it when dropped.
pub(crate) struct Connected {
    secured: Secured,
    info: Vec<u8>,
    domain: u16,
    /// Of the QR code, where there was one: a link is signed for it.
    identity: Option<SecretKey>,
    learned: Option<Link>,
}

impl Connected {
    /// Waits for the phone's first message.
    fn greet(
        mut secured: Secured,
        domain: u16,
        identity: Option<SecretKey>,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Self, Error> {
        while go_on() {
            if let Some(greeting) = secured.next_bytes(ATTENTION)? {
                let info =
                    read_greeting(&greeting).ok_or(Error::Malformed("no getInfo after the handshake"))?;
                return Ok(Connected { secured, info, domain, identity, learned: None });
            }
        }
        Err(Error::GivenUp)
    }

    /// The phone's answer to authenticatorGetInfo, without a status byte.
    pub(crate) fn info(&self) -> &[u8] {
        &self.info
    }

    /// Sends a CTAP2 request.
    pub(crate) fn send(&mut self, request: &[u8]) -> Result<(), Error> {
        self.secured.send(&Message::Ctap(request.to_vec()))
    }

    /// The answer, beginning with its status byte; `None` if it does not come within this time.
    pub(crate) fn receive(&mut self, timeout: Duration) -> Result<Option<Vec<u8>>, Error> {
        match self.secured.next(timeout)? {
            None | Some(Heard::Done(_)) => Ok(None),
            Some(Heard::Message(Message::Ctap(answer))) => Ok(Some(answer)),
            Some(Heard::Message(Message::Shutdown)) => Err(Error::Closed),
            Some(Heard::Message(Message::Update(update))) => {
                self.learn(&update);
                Ok(None)
            }
        }
    }

    fn learn(&mut self, update: &[u8]) {
        // After a call there is no identity of ours that a link could be signed for.
        let Some(identity) = &self.identity else { return };
        match Linking::read(update, identity, self.secured.handshake_hash()) {
            Some(linking) => self.learned = Some(Link::new(self.domain, linking)),
            None => log::warn!("hybrid: an update that is no link of the phone's, and is not believed"),
        }
    }
}
