//! A USB bus whose other end is a program: the device's side is a [`UsbBus`], the host's side gives and takes packets.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use usb_device::bus::{PollResult, UsbBus};
use usb_device::endpoint::{EndpointAddress, EndpointType};
use usb_device::{Result, UsbDirection, UsbError};

/// The largest packet of a full-speed control or interrupt endpoint.
pub(super) const PACKET_MAX: usize = 64;

/// One packet on the wire; may be empty.
#[derive(Clone, Copy)]
pub(super) struct Chunk {
    bytes: [u8; PACKET_MAX],
    length: usize,
}

impl Chunk {
    /// `None` if it is longer than a packet.
    fn new(bytes: &[u8]) -> Option<Self> {
        let mut chunk = Chunk { bytes: [0; PACKET_MAX], length: bytes.len() };
        chunk.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(chunk)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Both ends of the bus.
#[derive(Clone, Default)]
pub(super) struct Bus {
    wire: Arc<Mutex<Wire>>,
}

#[derive(Default)]
struct Wire {
    reset: bool,
    setup: Option<Chunk>,
    from_host: [Endpoint; 16],
    to_host: [Endpoint; 16],
    /// Endpoints whose packet the host has taken since the last poll.
    taken: u16,
}

#[derive(Clone, Copy, Default)]
struct Endpoint {
    exists: bool,
    stalled: bool,
    packet: Option<Chunk>,
}

/// The host's side.
impl Bus {
    /// Resets the device.
    pub(super) fn reset_device(&self) {
        self.lock().reset = true;
    }

    /// A SETUP packet. What was left of an earlier control transfer is gone.
    pub(super) fn setup(&self, setup: [u8; 8]) {
        let mut wire = self.lock();
        wire.setup = Chunk::new(&setup);
        for pipe in [0x00, 0x80] {
            let endpoint = wire.endpoint(pipe.into());
            endpoint.stalled = false;
            endpoint.packet = None;
        }
        wire.taken &= !1;
    }

    /// An OUT packet. `false` if the endpoint still holds one.
    pub(super) fn give(&self, endpoint: u8, bytes: &[u8]) -> bool {
        let mut wire = self.lock();
        let endpoint = wire.endpoint(endpoint.into());
        if endpoint.packet.is_some() {
            return false;
        }
        endpoint.packet = Chunk::new(bytes);
        true
    }

    /// Whether this OUT endpoint holds a packet that the device has not read.
    pub(super) fn is_full(&self, endpoint: u8) -> bool {
        self.lock().endpoint(endpoint.into()).packet.is_some()
    }

    /// An IN packet, if the device has written one.
    pub(super) fn take(&self, endpoint: u8) -> Option<Chunk> {
        let mut wire = self.lock();
        let packet = wire.endpoint((endpoint | 0x80).into()).packet.take()?;
        wire.taken |= 1 << (endpoint & 0x0f);
        Some(packet)
    }

    /// Whether this endpoint answers with STALL. Bit 7 is the direction.
    pub(super) fn stalls(&self, address: u8) -> bool {
        self.lock().endpoint(address.into()).stalled
    }

    /// Whether there is such an endpoint. Bit 7 is the direction.
    pub(super) fn has(&self, address: u8) -> bool {
        self.lock().endpoint(address.into()).exists
    }

    fn lock(&self) -> MutexGuard<'_, Wire> {
        self.wire.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wire {
    fn endpoint(&mut self, address: EndpointAddress) -> &mut Endpoint {
        let endpoints = if address.is_in() { &mut self.to_host } else { &mut self.from_host };
        &mut endpoints[address.index() & 0x0f]
    }
}

/// The device's side.
impl UsbBus for Bus {
    fn alloc_ep(
        &mut self,
        direction: UsbDirection,
        address: Option<EndpointAddress>,
        _: EndpointType,
        max_packet_size: u16,
        _: u8,
    ) -> Result<EndpointAddress> {
        if usize::from(max_packet_size) > PACKET_MAX {
            return Err(UsbError::EndpointMemoryOverflow);
        }
        let mut wire = self.lock();
        let candidates = match address {
            Some(address) => address.index()..=address.index(),
            None => 1..=15,
        };
        for index in candidates {
            let address = EndpointAddress::from_parts(index, direction);
            let endpoint = wire.endpoint(address);
            if !endpoint.exists {
                endpoint.exists = true;
                return Ok(address);
            }
        }
        Err(if address.is_some() { UsbError::InvalidEndpoint } else { UsbError::EndpointOverflow })
    }

    fn enable(&mut self) {}

    fn reset(&self) {
        let mut wire = self.lock();
        wire.setup = None;
        wire.taken = 0;
        let Wire { from_host, to_host, .. } = &mut *wire;
        for endpoint in from_host.iter_mut().chain(to_host) {
            endpoint.stalled = false;
            endpoint.packet = None;
        }
    }

    fn set_device_address(&self, _: u8) {}

    fn write(&self, address: EndpointAddress, bytes: &[u8]) -> Result<usize> {
        let mut wire = self.lock();
        let endpoint = wire.endpoint(address);
        match endpoint {
            Endpoint { exists: false, .. } => Err(UsbError::InvalidEndpoint),
            Endpoint { packet: Some(_), .. } => Err(UsbError::WouldBlock),
            _ => {
                endpoint.packet = Some(Chunk::new(bytes).ok_or(UsbError::BufferOverflow)?);
                Ok(bytes.len())
            }
        }
    }

    fn read(&self, address: EndpointAddress, buffer: &mut [u8]) -> Result<usize> {
        let mut wire = self.lock();
        let packet = match address.index() {
            0 if wire.setup.is_some() => wire.setup.take(),
            _ => wire.endpoint(address).packet.take(),
        };
        let packet = packet.ok_or(UsbError::WouldBlock)?;
        let bytes = packet.bytes();
        buffer.get_mut(..bytes.len()).ok_or(UsbError::BufferOverflow)?.copy_from_slice(bytes);
        Ok(bytes.len())
    }

    fn set_stalled(&self, address: EndpointAddress, stalled: bool) {
        self.lock().endpoint(address).stalled = stalled;
    }

    fn is_stalled(&self, address: EndpointAddress) -> bool {
        self.lock().endpoint(address).stalled
    }

    fn suspend(&self) {}

    fn resume(&self) {}

    fn poll(&self) -> PollResult {
        let mut wire = self.lock();
        if std::mem::take(&mut wire.reset) {
            return PollResult::Reset;
        }
        let ep_setup = u16::from(wire.setup.is_some());
        let ep_in_complete = std::mem::take(&mut wire.taken);
        let mut ep_out = 0;
        for (index, endpoint) in wire.from_host.iter().enumerate() {
            ep_out |= u16::from(endpoint.packet.is_some()) << index;
        }
        if ep_setup | ep_in_complete | ep_out == 0 {
            return PollResult::None;
        }
        PollResult::Data { ep_out, ep_in_complete, ep_setup }
    }
}
