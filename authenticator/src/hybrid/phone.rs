//! The authenticator's side: scans a QR code, or is called, and serves one desktop's ceremony.

use std::io;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use doppelkey_core::{Configuration, Extension, OptionId, Transport, Version};
use p256::SecretKey;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::advert::Eid;
use super::error::Error;
use super::message::{Linking, Message, greeting};
use super::noise::{Psk, Responder, Session};
use super::qr::{Operation, QrCode};
use super::room::Room;
use super::secrets::{Purpose, derive};
use super::secured::{Heard, Secured};
use super::tunnel::{Event, Tunnel};
use super::tunnel_server::{Contact, TunnelServer};
use crate::cbor::Map;
use crate::client::{Abort, Channel, Limit};
use crate::device::{Clock, Device};

/// A phone says so often that it is near.
const ADVERTISE_EVERY: Duration = Duration::from_millis(250);
/// Whoever waits is asked so often whether to go on.
const ATTENTION: Duration = Duration::from_millis(250);
/// The status of a request that failed for no reason that CTAP has (§8.2).
const ERR_OTHER: u8 = 0x7f;
/// The status of a request that the platform took back.
const ERR_KEEPALIVE_CANCEL: u8 = 0x2d;
const GET_INFO: u8 = 0x04;

/// A phone: an authenticator, its vendor's tunnel server, and what it needs to be called.
pub struct Phone {
    device: Device,
    clock: Clock,
    room: Room,
    name: String,
    server: TunnelServer,
    root: Zeroizing<[u8; 32]>,
    identity: SecretKey,
    contact_id: [u8; 16],
    rng: Mutex<Box<dyn CryptoRng + Send>>,
}

impl Phone {
    /// A phone in this room, with this authenticator; and the calls to it.
    ///
    /// Its tunnel server listens at `address`, a port of loopback from 256. Whom it is linked with depends on `root`,
    /// 32 secret bytes, and on the port.
    ///
    /// # Errors
    /// Those of listening.
    pub fn new(
        (device, clock): (Device, Clock),
        room: Room,
        name: &str,
        address: SocketAddr,
        root: Zeroizing<[u8; 32]>,
        rng: impl CryptoRng + Send + 'static,
    ) -> io::Result<(Self, Calls)> {
        if !address.ip().is_loopback() || (1..256).contains(&address.port()) {
            let why = "a tunnel server is at a port of loopback from 256";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let server = TunnelServer::bind(address)?;
        let contact_id: [u8; 16] = *derive(&*root, &[], Purpose::ContactId);
        let calls = Calls { contacts: server.register(&contact_id) };
        let identity = identity(&root);
        let rng: Mutex<Box<dyn CryptoRng + Send>> = Mutex::new(Box::new(rng));
        let phone =
            Phone { device, clock, room, name: name.to_owned(), server, root, identity, contact_id, rng };
        Ok((phone, calls))
    }

    /// Doppelkey as a phone: no PIN, no configuration, no enrolment over the air; its own lock verifies the user.
    pub fn configuration() -> Configuration {
        let mut configuration = Configuration::default();
        let kept = [OptionId::Rk, OptionId::Up, OptionId::Uv, OptionId::MakeCredUvNotRqd];
        configuration.options.retain(|option| kept.contains(option));
        configuration.versions.retain(|version| *version != Version::U2fV2);
        configuration.extensions.retain(|extension| {
            !matches!(
                extension,
                Extension::LargeBlobKey | Extension::MinPinLength | Extension::PinComplexityPolicy
            )
        });
        configuration.transports = [Transport::Hybrid, Transport::Internal].into_iter().collect();
        configuration
    }

    /// Where its tunnel server listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Scans a code, and serves the desktop that shows it until the desktop ends (§11.5.1).
    ///
    /// `go_on` is asked four times a second until the desktop has come; then the desktop decides.
    ///
    /// # Errors
    /// [`Error::GivenUp`] once `go_on` says no.
    pub fn scan(&self, code: &QrCode, go_on: &dyn Fn() -> bool) -> Result<(), Error> {
        let domain = self.address().port();
        let (tunnel, routing_id) = Tunnel::open(domain, &code.tunnel_id())?;
        let eid = self.eid(routing_id);
        let psk = code.psk(&eid.to_bytes());
        let message = self.await_desktop(&tunnel, eid, &code.eid_key(), go_on)?;
        let session = self.answer_handshake(&tunnel, &Responder::Code(&code.identity), &psk, &message)?;
        let linking = code.takes_links().then(|| self.linking(&code.identity, &session.handshake_hash));
        self.serve(Secured::new(tunnel, session), linking)
    }

    /// Answers a call, and serves the desktop until it ends (§11.5.2).
    ///
    /// # Errors
    /// As [`scan`](Self::scan)'s.
    pub fn answer(&self, call: &Call, go_on: &dyn Fn() -> bool) -> Result<(), Error> {
        let secret = self.link_secret(&call.link_id);
        let tunnel = Tunnel::join(self.address().port(), &call.routing_id, &call.tunnel_id)?;
        let eid = self.eid(call.routing_id);
        let psk: Psk = derive(&*secret, &eid.to_bytes(), Purpose::Psk);
        let key = derive(&*secret, &call.nonce, Purpose::EidKey);
        let message = self.await_desktop(&tunnel, eid, &key, go_on)?;
        let session = self.answer_handshake(&tunnel, &Responder::Link(&self.identity), &psk, &message)?;
        self.serve(Secured::new(tunnel, session), None)
    }

    fn rng(&self) -> MutexGuard<'_, Box<dyn CryptoRng + Send>> {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn eid(&self, routing_id: [u8; 3]) -> Eid {
        let mut nonce = [0; 10];
        self.rng().fill_bytes(&mut nonce);
        Eid { nonce, routing_id, domain: self.address().port() }
    }

    /// Advertises until the desktop's first message has come through the tunnel.
    fn await_desktop(
        &self,
        tunnel: &Tunnel,
        eid: Eid,
        key: &[u8; 64],
        go_on: &dyn Fn() -> bool,
    ) -> Result<Vec<u8>, Error> {
        let advert = eid.seal(key);
        while go_on() {
            self.room.advertise(&advert).map_err(Error::Room)?;
            match tunnel.next(ADVERTISE_EVERY) {
                None => {}
                Some(Event::Message(message)) => return Ok(message),
                Some(Event::Closed | Event::Done(_)) => return Err(Error::Closed),
            }
        }
        Err(Error::GivenUp)
    }

    fn answer_handshake(
        &self,
        tunnel: &Tunnel,
        responder: &Responder<'_>,
        psk: &Psk,
        message: &[u8],
    ) -> Result<Session, Error> {
        let (session, answer) =
            responder.answer(psk, message, &mut **self.rng()).map_err(|_| Error::NotAuthentic)?;
        tunnel.send(answer);
        Ok(session)
    }

    /// The link's secret needs no storage: it comes from the root and the link's id.
    fn link_secret(&self, link_id: &[u8; 8]) -> Zeroizing<[u8; 32]> {
        derive(&*self.root, link_id, Purpose::LinkSecret)
    }

    fn linking(&self, platform: &p256::PublicKey, handshake_hash: &[u8; 32]) -> Message {
        let mut link_id = [0; 8];
        self.rng().fill_bytes(&mut link_id);
        let linking = Linking {
            contact_id: self.contact_id.to_vec(),
            link_id,
            secret: self.link_secret(&link_id),
            identity: self.identity.public_key(),
            name: self.name.clone(),
        };
        linking.update(&self.identity, platform, handshake_hash)
    }

    /// Says what the authenticator is, and works on requests until the desktop ends.
    fn serve(&self, mut desktop: Secured, linking: Option<Message>) -> Result<(), Error> {
        let unusable = |_| Error::Malformed("the authenticator does not say what it is");
        let mut channel =
            Channel::open(Box::new(self.device.connect()), self.clock.clone(), &mut **self.rng())
                .map_err(unusable)?;
        let info = channel.cbor(&[GET_INFO], &Limit::default()).map_err(unusable)?;
        desktop.send_bytes(&greeting(&info))?;
        if let Some(linking) = linking {
            desktop.send(&linking)?;
        }
        loop {
            match desktop.next(ATTENTION) {
                Ok(None | Some(Heard::Done(_) | Heard::Message(Message::Update(_)))) => {}
                // Gone without a goodbye is gone all the same.
                Ok(Some(Heard::Message(Message::Shutdown))) | Err(Error::Closed) => return Ok(()),
                Err(error) => return Err(error),
                Ok(Some(Heard::Message(Message::Ctap(request)))) => {
                    if !work(&mut desktop, &mut channel, request)? {
                        return Ok(());
                    }
                }
            }
        }
    }
}

/// Has the authenticator work on a request and sends its answer. A desktop that goes meanwhile takes it back: `false`.
fn work(desktop: &mut Secured, channel: &mut Channel, request: Vec<u8>) -> Result<bool, Error> {
    let abort = Abort::new();
    let limit = Limit { until: None, abort: Some(abort.clone()) };
    let events = desktop.events();
    thread::scope(|scope| {
        scope.spawn(move || {
            let answer = channel.raw_cbor(&request, &limit).unwrap_or_else(|error| match error {
                crate::client::Error::Aborted => vec![ERR_KEEPALIVE_CANCEL],
                _ => vec![ERR_OTHER],
            });
            // Whoever has gone does not wait for it.
            let _ = events.send(Event::Done(answer));
        });
        loop {
            match desktop.next(ATTENTION) {
                Ok(None | Some(Heard::Message(Message::Update(_)))) => {}
                Ok(Some(Heard::Done(answer))) => {
                    desktop.send(&Message::Ctap(answer))?;
                    return Ok(true);
                }
                // One request at a time (§11.5.1.8); a second one, or the end, ends the first.
                Ok(Some(Heard::Message(Message::Shutdown | Message::Ctap(_)))) | Err(Error::Closed) => {
                    abort.abort();
                    return Ok(false);
                }
                Err(error) => {
                    abort.abort();
                    return Err(error);
                }
            }
        }
    })
}

/// The phone's identity, from its root.
fn identity(root: &[u8; 32]) -> SecretKey {
    // A seed is no scalar with a chance of 2⁻³²; then the next one is taken.
    let seeds = (0..=u8::MAX).map(|number| derive::<32>(root, &[number], Purpose::IdentitySeed));
    seeds
        .into_iter()
        .find_map(|seed| SecretKey::from_slice(&*seed).ok())
        .expect("one of 256 seeds is a scalar")
}

/// The calls to a phone.
pub struct Calls {
    contacts: mpsc::Receiver<Contact>,
}

impl Calls {
    /// The next call within this time. What makes no sense is not one.
    ///
    /// # Errors
    /// [`Disconnected`](mpsc::RecvTimeoutError::Disconnected) once the phone is gone.
    pub fn next(&self, timeout: Duration) -> Result<Call, mpsc::RecvTimeoutError> {
        loop {
            let contact = self.contacts.recv_timeout(timeout)?;
            match Call::read(&contact) {
                Some(call) => return Ok(call),
                None => log::warn!("hybrid: a call that makes no sense"),
            }
        }
    }
}

/// A desktop that knows the phone calls it.
pub struct Call {
    routing_id: [u8; 3],
    tunnel_id: [u8; 16],
    link_id: [u8; 8],
    nonce: [u8; 16],
    operation: Operation,
}

impl Call {
    fn read(contact: &Contact) -> Option<Self> {
        let payload = Map::decode(&contact.payload).ok()?;
        let bytes = |key| payload.get(key)?.as_bytes().map(Vec::as_slice);
        Some(Call {
            routing_id: contact.routing_id,
            tunnel_id: contact.tunnel_id,
            link_id: bytes(1)?.try_into().ok()?,
            nonce: bytes(2)?.try_into().ok()?,
            operation: Operation::from_hint(payload.get(3).and_then(ciborium::Value::as_text)),
        })
    }

    /// What the desktop is about to ask for.
    pub fn operation(&self) -> Operation {
        self.operation
    }
}
