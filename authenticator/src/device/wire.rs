//! Packets on their way out of a device: watched, and disturbed where a test asks for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use super::Packet;

/// A way for the packets of a device to go wrong (CTAPHID §11.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PacketFault {
    /// The first continuation packet of each message is lost.
    Lost,
    /// Each continuation packet comes twice.
    Duplicated,
    /// The first two continuation packets of each message come in the wrong order.
    Reordered,
    /// Every packet but those on the broadcast channel comes on another channel.
    WrongChannel,
    /// No keepalive is sent.
    KeepaliveMissing,
}

impl PacketFault {
    /// Every one there is.
    pub const ALL: [PacketFault; 5] = [
        PacketFault::Lost,
        PacketFault::Duplicated,
        PacketFault::Reordered,
        PacketFault::WrongChannel,
        PacketFault::KeepaliveMissing,
    ];

    /// Its name for the control port.
    pub const fn name(self) -> &'static str {
        match self {
            PacketFault::Lost => "packet-lost",
            PacketFault::Duplicated => "packet-duplicated",
            PacketFault::Reordered => "packets-reordered",
            PacketFault::WrongChannel => "packet-wrong-channel",
            PacketFault::KeepaliveMissing => "keepalive-missing",
        }
    }
}

/// The packet faults that are set. A handle: all clones are the same.
#[derive(Clone, Debug, Default)]
pub struct PacketFaults(Arc<AtomicU8>);

impl PacketFaults {
    /// Sets a fault, or takes it back.
    pub fn set(&self, fault: PacketFault, set: bool) {
        let bit = 1 << fault as u8;
        match set {
            true => self.0.fetch_or(bit, Ordering::Relaxed),
            false => self.0.fetch_and(!bit, Ordering::Relaxed),
        };
    }

    /// Whether this fault is set.
    pub fn is_set(&self, fault: PacketFault) -> bool {
        self.0.load(Ordering::Relaxed) & 1 << fault as u8 != 0
    }

    /// Takes back every fault.
    pub fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    fn any(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }
}

/// What one door's packets go through.
#[derive(Default)]
pub(super) struct Disturbed {
    /// The length of the message that is under way.
    length: usize,
    /// A continuation packet that waits for the next one.
    held: Option<Packet>,
}

impl Disturbed {
    /// What becomes of this packet: none, one or two.
    pub(super) fn pass(&mut self, faults: &PacketFaults, mut packet: Packet) -> [Option<Packet>; 2] {
        if !faults.any() {
            return [Some(packet), None];
        }
        let is_initial = packet[4] & 0x80 != 0;
        if is_initial && packet[4] == KEEPALIVE && faults.is_set(PacketFault::KeepaliveMissing) {
            return [None, None];
        }
        if faults.is_set(PacketFault::WrongChannel) && packet[..4] != [0xFF; 4] {
            packet[3] ^= 0x01;
        }
        if is_initial {
            self.length = usize::from(u16::from_be_bytes([packet[5], packet[6]]));
            self.held = None;
            return [Some(packet), None];
        }
        let sequence = packet[4];
        if sequence == 0 && faults.is_set(PacketFault::Lost) {
            return [None, None];
        }
        if faults.is_set(PacketFault::Reordered) {
            let has_another = self.length > FIRST + NEXT;
            match (sequence, self.held.take()) {
                (0, _) if has_another => {
                    self.held = Some(packet);
                    return [None, None];
                }
                (_, Some(held)) => return [Some(packet), Some(held)],
                (_, None) => {}
            }
        }
        [Some(packet), faults.is_set(PacketFault::Duplicated).then_some(packet)]
    }
}

/// What can be told of a packet: never its payload, which may hold secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketSeen {
    /// Whether the device sent it.
    pub from_device: bool,
    /// The channel.
    pub channel: u32,
    /// The command of an initialization packet, without its highest bit.
    pub command: Option<u8>,
    /// The message's length, in an initialization packet.
    pub length: Option<u16>,
    /// The sequence number of a continuation packet.
    pub sequence: Option<u8>,
}

impl PacketSeen {
    pub(super) fn new(from_device: bool, packet: &Packet) -> Self {
        let is_initial = packet[4] & 0x80 != 0;
        PacketSeen {
            from_device,
            channel: u32::from_be_bytes([packet[0], packet[1], packet[2], packet[3]]),
            command: is_initial.then_some(packet[4] & 0x7F),
            length: is_initial.then_some(u16::from_be_bytes([packet[5], packet[6]])),
            sequence: (!is_initial).then_some(packet[4]),
        }
    }
}

const KEEPALIVE: u8 = 0xBB;
/// Bytes of a message in its first packet, and in each further one.
const FIRST: usize = 57;
const NEXT: usize = 59;
