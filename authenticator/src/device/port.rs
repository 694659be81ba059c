//! Where a door is connected to its device.

use std::io;
use std::time::Duration;

use super::worker::{Sent, Waited};
use super::{Connection, Device, Packet};

/// One door's connection: packets in, packets out, with channels of its own. Disconnects when dropped, which ends
/// what its channels had pending.
pub(crate) struct Port {
    device: Device,
    number: u64,
}

impl Port {
    /// Connects. Responses wait in the device while `room` packets have not been [taken](Self::take).
    ///
    /// Closed once the device has no power; from the beginning if it has none now.
    pub(crate) fn new(device: &Device, room: usize) -> Self {
        Port { number: device.shared.connect(room, false), device: device.clone() }
    }

    /// The same for a door that cannot go when the power does: it is deaf and dumb meanwhile.
    pub(crate) fn lasting(device: &Device, room: usize) -> Self {
        Port { number: device.shared.connect(room, true), device: device.clone() }
    }

    /// Gives the device a packet. `false` if the door has to [take](Self::take) packets first. What is sent to a device
    /// without power, or through a closed port, is lost.
    ///
    /// Works on a request that is now complete. The caller is to take packets until there are none: those of this
    /// call wake nobody who [waits](Self::wait).
    pub(crate) fn send(&self, packet: &Packet) -> bool {
        self.device.shared.send(self.number, packet) != Sent::Full
    }

    /// The next packet for this door.
    pub(crate) fn take(&self) -> Option<Packet> {
        self.device.shared.take(self.number)
    }

    /// Waits until there is a packet to take. `false` once the port is [closed](Self::close).
    pub(crate) fn wait(&self) -> bool {
        self.device.shared.wait(self.number, None) != Waited::Closed
    }

    /// Wakes whoever waits; nobody waits from now on.
    pub(crate) fn close(&self) {
        self.device.shared.close(self.number);
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.device.shared.disconnect(self.number);
    }
}

/// A connection within this process: no socket.
///
/// Holds up to 1,024 packets that were not received; then [`send`](Connection::send) is
/// [`WouldBlock`](io::ErrorKind::WouldBlock). [`NotConnected`](io::ErrorKind::NotConnected) once the device has lost its
/// power.
pub struct LocalConnection {
    port: Port,
}

impl LocalConnection {
    pub(super) fn new(device: &Device) -> Self {
        LocalConnection { port: Port::new(device, 1024) }
    }
}

impl Connection for LocalConnection {
    fn send(&mut self, packet: &Packet) -> io::Result<()> {
        match self.port.device.shared.send(self.port.number, packet) {
            Sent::Taken => Ok(()),
            Sent::Full => Err(io::ErrorKind::WouldBlock.into()),
            Sent::Closed => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn receive(&mut self, timeout: Option<Duration>) -> io::Result<Option<Packet>> {
        let shared = &self.port.device.shared;
        let until = timeout.map(|timeout| shared.now().saturating_add(timeout));
        loop {
            if let Some(packet) = self.port.take() {
                return Ok(Some(packet));
            }
            match shared.wait(self.port.number, until) {
                Waited::Ready => {}
                Waited::TimedOut => return Ok(None),
                Waited::Closed => return Err(io::ErrorKind::NotConnected.into()),
            }
        }
    }
}
