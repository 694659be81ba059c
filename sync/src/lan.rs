//! The local network as a carrier: devices that find each other hand over what the other lacks, without a mailbox.
//!
//! A connection is TCP; each message is its length (4 bytes, big-endian) and its bytes: a greeting or an entry, both
//! sealed under the circle's keys, so a connection needs no protection of its own and tells a stranger nothing but sizes. Who
//! accepts a connection says nothing before it has opened a greeting that a member signed.
//!
//! Devices find each other by an address the user gave, or by multicast on [`GROUP`]: an announcement is a random
//! number (16 bytes), a hash of the circle and that number (16 bytes) and a port (2 bytes). Only who knows the circle
//! recognizes it. Whoever's number is larger connects.

use std::collections::{BTreeMap, BTreeSet};
use std::format;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;
use std::vec::Vec;

use crate::entry::ENTRY_MAX;
use crate::id::{CircleId, hash};

/// Where announcements go, unless told otherwise: an address of the organization-local scope (RFC 2365).
pub const GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(239, 255, 68, 75), 28_775);

/// How often a device announces itself.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(10);
/// How long a peer may take to accept what it is sent.
const PATIENCE: Duration = Duration::from_secs(10);
/// More connections are refused.
const LINKS_MAX: usize = 32;
/// So many of them may be of who has not shown that it is a member. The next one takes the place of the oldest.
const STRANGERS_MAX: usize = 8;
/// How long it may take to show that: a device that waits for a mailbox meanwhile is slow.
const STRANGE_FOR: Duration = Duration::from_secs(30);
/// In so many steps that time passes.
const STEPS: u32 = 30;
/// What a stranger sends is a greeting, and no greeting is longer.
const GREETING_MAX: usize = 16 << 10;
/// How long nobody is let in after the system could not take a connection.
const RELENT: Duration = Duration::from_millis(50);
/// So many events wait for whoever asks; peers wait beyond.
const EVENTS_MAX: usize = 64;
/// How long a peer waits before it tries again; and a stranger, in any case, before it says more. So a flood of strangers'
/// words leaves members room.
const TURN: Duration = Duration::from_millis(10);

/// What happened on the local network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LanEvent {
    /// This device has connected to that one: greet it.
    Met(u32),
    /// It sent something.
    Said(u32, Vec<u8>),
    /// It is gone.
    Left(u32),
}

/// This device's connections. All of them end when dropped.
pub struct Lan {
    shared: Arc<Shared>,
    events: Mutex<Receiver<LanEvent>>,
    address: SocketAddr,
}

type Notify = Arc<dyn Fn() + Send + Sync>;

struct Shared {
    links: Mutex<BTreeMap<u32, TcpStream>>,
    /// Those this device has spoken to: it sought them out, or they have shown that they are members.
    spoken_to: Mutex<BTreeSet<u32>>,
    /// Those that came here and have not been spoken to, with the steps of their time that have passed.
    strangers: Mutex<BTreeMap<u32, u32>>,
    /// There are some, or all is over.
    strangers_came: Condvar,
    tell: SyncSender<LanEvent>,
    notify: Notify,
    next: AtomicU32,
    ended: AtomicBool,
}

impl Lan {
    /// Listens. `notify` is called, from another thread, whenever there is an event.
    ///
    /// # Errors
    /// The system's: the address cannot be listened on.
    pub fn listen(address: SocketAddr, notify: impl Fn() + Send + Sync + 'static) -> io::Result<Self> {
        Lan::listen_to_strangers_for(STRANGE_FOR, address, notify)
    }

    /// The same, with another time in which a stranger has to show that it is a member.
    pub(crate) fn listen_to_strangers_for(
        time: Duration,
        address: SocketAddr,
        notify: impl Fn() + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let (tell, events) = sync_channel(EVENTS_MAX);
        let shared = Arc::new(Shared {
            links: Mutex::default(),
            spoken_to: Mutex::default(),
            strangers: Mutex::default(),
            strangers_came: Condvar::new(),
            tell,
            notify: Arc::new(notify),
            next: AtomicU32::new(1),
            ended: AtomicBool::new(false),
        });
        let (accepting, watching) = (shared.clone(), shared.clone());
        thread::Builder::new().spawn(move || watching.give_up_on_strangers(time / STEPS))?;
        thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.ended.load(Ordering::Relaxed) {
                    return;
                }
                match stream {
                    Ok(stream) => drop(accepting.keep(stream, false)),
                    // The reason (no files left, say) may last: do not spin on it.
                    Err(_) => thread::sleep(RELENT),
                }
            }
        });
        Ok(Lan { shared, events: Mutex::new(events), address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connects to a device at a known address.
    ///
    /// # Errors
    /// The connection's; [`TimedOut`](io::ErrorKind::TimedOut) if nobody answers.
    pub fn connect(&self, address: SocketAddr) -> io::Result<()> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        self.shared.keep(stream, true);
        Ok(())
    }

    /// Announces this device to the circle's others and connects to those that announce themselves. `random` tells this
    /// device from others.
    ///
    /// # Errors
    /// The system's: the network has no multicast for this address.
    pub fn discover(&self, group: SocketAddrV4, circle: CircleId, random: [u8; 16]) -> io::Result<()> {
        let socket = multicast(group, self.address.ip())?;
        let announcement = announcement(circle, random, self.address.port());
        let (sender, shared, port) = (socket.try_clone()?, self.shared.clone(), self.address.port());
        let again = announcement.clone();
        thread::spawn(move || {
            while !shared.ended.load(Ordering::Relaxed) {
                // A network that is down comes back.
                let _ = sender.send_to(&again, group);
                thread::sleep(ANNOUNCE_EVERY);
            }
        });
        let shared = self.shared.clone();
        thread::spawn(move || {
            let (mut known, mut heard) = (BTreeMap::new(), BTreeSet::new());
            let mut bytes = [0; 64];
            while !shared.ended.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut bytes) else { continue };
                let Some((number, port_there)) = announced(circle, &bytes[..length]) else { continue };
                let there = SocketAddr::new(from.ip(), port_there);
                let mine = number == random && port_there == port;
                if !mine && number > random && heard.insert(number) {
                    // It is its turn to connect, and it may have come after this device was announced.
                    let _ = socket.send_to(&announcement, group);
                }
                if mine || number > random || shared.is_linked(known.get(&number)) {
                    continue;
                }
                if let Ok(stream) = TcpStream::connect_timeout(&there, PATIENCE)
                    && let Some(peer) = shared.keep(stream, true)
                {
                    known.insert(number, peer);
                }
            }
        });
        Ok(())
    }

    /// What has happened since it was asked last.
    pub fn events(&self) -> Vec<LanEvent> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).try_iter().collect()
    }

    /// Who is connected.
    pub fn peers(&self) -> Vec<u32> {
        self.shared.links().keys().copied().collect()
    }

    /// Whether a connection to this address is open.
    pub fn is_connected_to(&self, address: SocketAddr) -> bool {
        self.shared.links().values().any(|stream| stream.peer_addr().is_ok_and(|there| there == address))
    }

    /// Who is connected and has been sent something: a stranger never is.
    pub fn acquaintances(&self) -> Vec<u32> {
        let spoken_to = self.shared.spoken_to.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.links().keys().filter(|peer| spoken_to.contains(peer)).copied().collect()
    }

    /// Sends to a peer. One that does not take it is dropped.
    pub fn send(&self, peer: u32, bytes: &[u8]) {
        self.shared.spoken_to.lock().unwrap_or_else(PoisonError::into_inner).insert(peer);
        self.shared.strangers().remove(&peer);
        let stream = self.shared.links().get(&peer).and_then(|stream| stream.try_clone().ok());
        let Some(mut stream) = stream else { return };
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
        if stream.write_all(&[&length, bytes].concat()).is_err() {
            self.shared.drop_link(peer);
        }
    }
}

impl crate::Peers for Arc<Lan> {
    fn send(&mut self, peer: u32, bytes: &[u8]) {
        Lan::send(self, peer, bytes);
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        {
            // Under the lock, or who is about to wait for strangers would not hear of it.
            let _strangers = self.shared.strangers();
            self.shared.ended.store(true, Ordering::Relaxed);
            self.shared.strangers_came.notify_all();
        }
        let links = core::mem::take(&mut *self.shared.links());
        links.values().for_each(|stream| drop(stream.shutdown(std::net::Shutdown::Both)));
        // Wakes the thread that accepts, which then ends.
        drop(TcpStream::connect_timeout(&self.address, Duration::from_secs(1)));
    }
}

impl Shared {
    fn links(&self) -> std::sync::MutexGuard<'_, BTreeMap<u32, TcpStream>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_linked(&self, peer: Option<&u32>) -> bool {
        peer.is_some_and(|peer| self.links().contains_key(peer))
    }

    fn strangers(&self) -> std::sync::MutexGuard<'_, BTreeMap<u32, u32>> {
        self.strangers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits if too much waits already: not for who asks for events to call.
    fn say(&self, event: LanEvent) {
        (self.notify)();
        // Nobody listens any more when the program ends.
        let _ = self.tell.send(event);
        (self.notify)();
    }

    /// Passes on what a peer says, once there is room. Not for a peer that was dropped meanwhile: nobody asks for its words
    /// any more, and as many may come and go as like to.
    fn pass_on(&self, peer: u32, bytes: Vec<u8>) {
        let mut event = LanEvent::Said(peer, bytes);
        (self.notify)();
        while let Err(TrySendError::Full(back)) = self.tell.try_send(event) {
            if !self.is_linked(Some(&peer)) {
                return;
            }
            event = back;
            thread::sleep(TURN);
        }
        (self.notify)();
    }

    /// Keeps a connection and reads from it, on a thread of its own.
    fn keep(self: &Arc<Self>, stream: TcpStream, outgoing: bool) -> Option<u32> {
        stream.set_write_timeout(Some(PATIENCE)).ok()?;
        stream.set_nodelay(true).ok()?;
        let reader = stream.try_clone().ok()?;
        let peer = self.next.fetch_add(1, Ordering::Relaxed);
        if !outgoing {
            self.make_room_for_a_stranger();
        }
        {
            let mut links = self.links();
            if links.len() >= LINKS_MAX {
                return None;
            }
            links.insert(peer, stream);
        }
        if outgoing {
            self.say(LanEvent::Met(peer));
        } else {
            self.strangers().insert(peer, 0);
            self.strangers_came.notify_all();
        }
        let shared = self.clone();
        let reading = thread::Builder::new().spawn(move || {
            let mut reader = reader;
            let is_stranger = || shared.strangers().contains_key(&peer);
            let most = || if is_stranger() { GREETING_MAX } else { ENTRY_MAX };
            while let Ok(bytes) = message(&mut reader, most) {
                shared.pass_on(peer, bytes);
                if is_stranger() {
                    thread::sleep(TURN);
                }
            }
            shared.drop_link(peer);
        });
        if reading.is_err() {
            // The system has no thread left: whoever it is may come again.
            self.drop_link(peer);
            return None;
        }
        Some(peer)
    }

    fn make_room_for_a_stranger(&self) {
        let oldest = {
            let strangers = self.strangers();
            strangers.keys().next().copied().filter(|_| strangers.len() >= STRANGERS_MAX)
        };
        if let Some(oldest) = oldest {
            self.drop_link(oldest);
        }
    }

    /// Ends connections over which nobody has shown to be a member in time. One thread does it for all of them, and sleeps
    /// while there are none.
    fn give_up_on_strangers(&self, step: Duration) {
        loop {
            let none = |strangers: &mut BTreeMap<u32, u32>| {
                strangers.is_empty() && !self.ended.load(Ordering::Relaxed)
            };
            let waited = self.strangers_came.wait_while(self.strangers(), none);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
            if self.ended.load(Ordering::Relaxed) {
                return;
            }
            thread::sleep(step);
            let mut strangers = self.strangers();
            strangers.values_mut().for_each(|steps| *steps += 1);
            let late: Vec<u32> =
                strangers.iter().filter(|(_, steps)| **steps > STEPS).map(|(peer, _)| *peer).collect();
            drop(strangers);
            late.into_iter().for_each(|peer| self.drop_link(peer));
        }
    }

    fn drop_link(&self, peer: u32) {
        self.spoken_to.lock().unwrap_or_else(PoisonError::into_inner).remove(&peer);
        self.strangers().remove(&peer);
        let stream = self.links().remove(&peer);
        if let Some(stream) = stream {
            let _ = stream.shutdown(std::net::Shutdown::Both);
            // Who asks for events may be the one that calls: if there is no room, it finds out by itself.
            let _ = self.tell.try_send(LanEvent::Left(peer));
            (self.notify)();
        }
    }
}

fn message(stream: &mut TcpStream, most: impl Fn() -> usize) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > most() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a message of {length} bytes")));
    }
    // A stranger's promise of a megabyte is not worth a megabyte.
    let mut bytes = Vec::new();
    stream.take(length as u64).read_to_end(&mut bytes)?;
    if bytes.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

fn announcement(circle: CircleId, random: [u8; 16], port: u16) -> Vec<u8> {
    let tag = hash(&[b"lan/1", &circle.0, &random, &port.to_be_bytes()]);
    [random.as_slice(), &tag.0[..16], &port.to_be_bytes()].concat()
}

fn announced(circle: CircleId, bytes: &[u8]) -> Option<([u8; 16], u16)> {
    let (random, rest) = bytes.split_first_chunk::<16>()?;
    let (_, port) = rest.split_first_chunk::<16>()?;
    let port = u16::from_be_bytes(port.try_into().ok()?);
    (announcement(circle, *random, port) == bytes).then_some((*random, port))
}

/// A socket that several processes of one machine may share.
fn multicast(group: SocketAddrV4, interface: IpAddr) -> io::Result<UdpSocket> {
    use socket2::{Domain, Protocol, Socket, Type};
    let interface = match interface {
        IpAddr::V4(interface) => interface,
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    };
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, group.port())).into())?;
    socket.join_multicast_v4(group.ip(), &interface)?;
    socket.set_multicast_if_v4(&interface)?;
    socket.set_multicast_loop_v4(true)?;
    // To look at times whether this is over.
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    Ok(socket.into())
}
