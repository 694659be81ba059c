//! A USB/IP server, and a client in user space.
//!
//! Protocol: the Linux kernel's `Documentation/usb/usbip_protocol.rst`, version 1.1.1.

mod attachment;
mod bus;
pub mod client;
mod protocol;
#[cfg(test)]
mod tests;
#[cfg(target_os = "linux")]
pub mod vhci;

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::device::{Device, Identity};
use crate::listener::{Acceptor, Listener, Stream};
use protocol::{
    BUSID_LENGTH, HID_INTERFACE, OP_REP_DEVLIST, OP_REP_IMPORT, OP_REQ_DEVLIST, OP_REQ_IMPORT, OpStatus,
    VERSION, broken,
};

/// A listening USB/IP server. Closes, with every connection, when dropped.
pub struct Server {
    address: SocketAddr,
    places: Arc<Places>,
    _acceptor: Acceptor,
}

/// Where devices are plugged in.
#[derive(Default)]
struct Places {
    taken: Mutex<BTreeMap<u8, Place>>,
    /// A device was let go.
    released: Condvar,
    /// How many devices were ever plugged in.
    plugged: AtomicU64,
}

/// All 255 places of the bus are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoFreePlace;

impl fmt::Display for NoFreePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("all 255 places of the USB/IP bus are taken")
    }
}

impl std::error::Error for NoFreePlace {}

struct Place {
    device: Device,
    identity: Identity,
    /// No other device that was ever plugged in has it, so that a place is not mistaken for the one that was there
    /// before: whoever had that one attached may let go of it late.
    number: u64,
    /// The connection of whoever has it attached.
    attached: Option<Stream>,
}

impl Server {
    /// Listens.
    ///
    /// # Errors
    /// The system's: the address is taken, not this machine's, or not for this user.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = Listener::tcp(address)?;
        let address = listener.tcp_address()?.unwrap_or(address);
        let places = Arc::<Places>::default();
        let served = places.clone();
        let acceptor = Acceptor::start("usbip", listener, move |stream| {
            if let Err(error) = served.serve(stream) {
                log::warn!("USB/IP: a connection was ended: {error}");
            }
        })?;
        Ok(Server { address, places, _acceptor: acceptor })
    }

    /// Where it listens, with the port it was given.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Plugs a device into the next free place and returns its bus id: `1-1`, `1-2`, …
    ///
    /// Each import by a client is a fresh plug-in ([`Device::replug`]).
    pub fn plug(&self, device: Device) -> Result<String, NoFreePlace> {
        self.plug_as(device, Identity::default())
    }

    /// [`plug`](Self::plug), with another identity than Doppelkey's.
    pub fn plug_as(&self, device: Device, identity: Identity) -> Result<String, NoFreePlace> {
        let mut places = self.places.lock();
        let place = (1..=u8::MAX).find(|place| !places.contains_key(place)).ok_or(NoFreePlace)?;
        let number = self.places.next_number();
        places.insert(place, Place { device, identity, number, attached: None });
        Ok(protocol::busid(place))
    }

    /// Takes a device out and plugs it in again at the same place; whoever has it attached sees it go. `false` if there
    /// is none at this bus id.
    pub fn replug(&self, busid: &str) -> bool {
        let mut places = self.places.lock();
        let Some(plugged) = place_of(busid).and_then(|place| places.get_mut(&place)) else { return false };
        plugged.number = self.places.next_number();
        if let Some(stream) = plugged.attached.take() {
            stream.shutdown();
        }
        self.places.released.notify_all();
        true
    }

    /// Takes a device out; whoever has it attached sees it go. `false` if there is none at this bus id.
    pub fn unplug(&self, busid: &str) -> bool {
        let mut places = self.places.lock();
        let Some(place) = place_of(busid).and_then(|place| places.remove(&place)) else { return false };
        if let Some(stream) = place.attached {
            stream.shutdown();
        }
        self.places.released.notify_all();
        true
    }

    /// The bus ids of the devices that are plugged in.
    pub fn busids(&self) -> Vec<String> {
        self.places.lock().keys().copied().map(protocol::busid).collect()
    }
}

impl Places {
    fn next_number(&self) -> u64 {
        self.plugged.fetch_add(1, Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u8, Place>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves one connection: operations, and after an import the commands of that device.
    fn serve(&self, stream: &Stream) -> io::Result<()> {
        loop {
            let mut header = [0; 8];
            if !attachment::read_or_end(&mut &*stream, &mut header)? {
                return Ok(());
            }
            let [version, code] = [0, 2].map(|at| u16::from_be_bytes([header[at], header[at + 1]]));
            if version != VERSION {
                return Err(broken(format!("version {version:#06x}, not {VERSION:#06x}")));
            }
            match code {
                OP_REQ_DEVLIST => (&*stream).write_all(&self.list())?,
                OP_REQ_IMPORT => {
                    let busid = protocol::read::<BUSID_LENGTH>(stream)?;
                    if let Some(claim) = self.import(stream, &busid)? {
                        return attachment::serve(stream, claim.device_id(), &claim.identity, &claim.device);
                    }
                }
                unknown => return Err(broken(format!("unknown operation {unknown:#06x}"))),
            }
        }
    }

    /// OP_REP_DEVLIST.
    fn list(&self) -> Vec<u8> {
        let places = self.lock();
        let mut reply = protocol::operation(OP_REP_DEVLIST, OpStatus::Ok as u32).to_vec();
        reply.extend((places.len() as u32).to_be_bytes());
        for (place, plugged) in places.iter() {
            reply.extend(protocol::device(*place, &plugged.identity));
            reply.extend(HID_INTERFACE);
        }
        reply
    }

    /// OP_REP_IMPORT, and the claim on the device if it succeeded.
    fn import(&self, stream: &Stream, busid: &[u8; BUSID_LENGTH]) -> io::Result<Option<Claim<'_>>> {
        match self.claim(stream, busid)? {
            Ok(claim) => {
                // A fresh plug-in, before the host can say anything to it.
                claim.device.replug();
                let mut reply = protocol::operation(OP_REP_IMPORT, OpStatus::Ok as u32).to_vec();
                reply.extend(protocol::device(claim.place, &claim.identity));
                (&*stream).write_all(&reply)?;
                Ok(Some(claim))
            }
            Err(status) => {
                (&*stream).write_all(&protocol::operation(OP_REP_IMPORT, status as u32))?;
                Ok(None)
            }
        }
    }

    fn claim(&self, stream: &Stream, busid: &[u8; BUSID_LENGTH]) -> io::Result<Result<Claim<'_>, OpStatus>> {
        let busid = busid.split(|byte| *byte == 0).next().unwrap_or_default();
        let Some(place) = std::str::from_utf8(busid).ok().and_then(place_of) else {
            return Ok(Err(OpStatus::NoDevice));
        };
        let by = |places: &mut BTreeMap<u8, Place>, holds: fn(&Stream) -> bool| {
            places.get(&place).and_then(|plugged| plugged.attached.as_ref()).is_some_and(holds)
        };
        // Whoever has just closed its connection may not have been noticed yet. Where the system says that it has, its
        // thread is held up, or works on its last request.
        let waited = self.released.wait_timeout_while(self.lock(), LETTING_GO, |places| by(places, |_| true));
        let (places, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let ended = |places: &mut _| by(places, Stream::has_been_ended);
        let waited = self.released.wait_timeout_while(places, LAST_REQUEST, ended);
        let (mut places, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let Some(plugged) = places.get_mut(&place) else { return Ok(Err(OpStatus::NoDevice)) };
        if plugged.attached.is_some() {
            return Ok(Err(OpStatus::Busy));
        }
        plugged.attached = Some(stream.try_clone()?);
        Ok(Ok(Claim {
            places: self,
            place,
            number: plugged.number,
            device: plugged.device.clone(),
            identity: plugged.identity.clone(),
        }))
    }
}

/// An attached device; released when dropped.
struct Claim<'a> {
    places: &'a Places,
    place: u8,
    number: u64,
    device: Device,
    identity: Identity,
}

impl Claim<'_> {
    fn device_id(&self) -> u32 {
        protocol::device_id(self.place)
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if let Some(plugged) = self.places.lock().get_mut(&self.place)
            && plugged.number == self.number
        {
            plugged.attached = None;
        }
        self.places.released.notify_all();
    }
}

fn place_of(busid: &str) -> Option<u8> {
    let place: u8 = busid.strip_prefix("1-")?.parse().ok()?;
    // One spelling only.
    (protocol::busid(place) == busid && place > 0).then_some(place)
}

/// How long an import waits for the one before to be let go.
const LETTING_GO: Duration = Duration::from_millis(250);
/// And how much longer, if that one's host has gone: an RSA key takes seconds.
const LAST_REQUEST: Duration = Duration::from_secs(10);
