//! The layout of packets (§11.2.4) and the numbers of commands (§11.2.9) and errors (§11.2.9.1.6).
//!
//! | offset | initialization packet | continuation packet |
//! |---|---|---|
//! | 0 | channel identifier, 4 bytes, big-endian | the same |
//! | 4 | command, bit 7 set | sequence number, bit 7 clear |
//! | 5 | payload length, 2 bytes, big-endian | payload, 59 bytes |
//! | 7 | payload, 57 bytes | |

/// One report: what an interrupt endpoint carries at a time.
pub type Packet = [u8; PACKET_SIZE];

/// The size in bytes of a report.
pub const PACKET_SIZE: usize = 64;

/// The most payload bytes a message has: one initialization packet and 128 continuation packets.
pub const MESSAGE_MAX: usize = INITIAL_PAYLOAD + 128 * CONTINUATION_PAYLOAD;

/// The channel on which channels are asked for.
pub const BROADCAST: u32 = 0xffff_ffff;

/// Commands, without the bit that marks an initialization packet.
pub mod command {
    /// CTAPHID_PING: echo.
    pub const PING: u8 = 0x01;
    /// CTAPHID_MSG: a U2F raw message.
    pub const MSG: u8 = 0x03;
    /// CTAPHID_LOCK: keep other channels out for some seconds.
    pub const LOCK: u8 = 0x04;
    /// CTAPHID_INIT: allocate or resynchronise a channel.
    pub const INIT: u8 = 0x06;
    /// CTAPHID_WINK: show yourself.
    pub const WINK: u8 = 0x08;
    /// CTAPHID_CBOR: a CTAP2 command.
    pub const CBOR: u8 = 0x10;
    /// CTAPHID_CANCEL: the answer is no longer wanted.
    pub const CANCEL: u8 = 0x11;
    /// CTAPHID_KEEPALIVE: still at it.
    pub const KEEPALIVE: u8 = 0x3b;
    /// CTAPHID_ERROR.
    pub const ERROR: u8 = 0x3f;
}

/// Why a request was not served (§11.2.9.1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ErrorCode {
    /// The command is not known, or not supported here.
    InvalidCommand = 0x01,
    /// A parameter is out of range.
    InvalidParameter = 0x02,
    /// The payload length is wrong for this command, or above [`MESSAGE_MAX`].
    InvalidLength = 0x03,
    /// Not the continuation packet that was due.
    InvalidSequence = 0x04,
    /// The rest of the message did not come in time.
    MessageTimeout = 0x05,
    /// Another transaction, or another channel's lock, has the device.
    ChannelBusy = 0x06,
    /// The command needs the channel's lock. (No command here does.)
    LockRequired = 0x0a,
    /// There is no such channel.
    InvalidChannel = 0x0b,
    /// Something else: a response that no message can carry.
    Other = 0x7f,
}

pub(crate) const INITIAL_PAYLOAD: usize = PACKET_SIZE - 7;
pub(crate) const CONTINUATION_PAYLOAD: usize = PACKET_SIZE - 5;

/// What a packet from the platform says it is.
pub(crate) enum Parsed<'a> {
    Initial { command: u8, length: usize, payload: &'a [u8] },
    Continuation { sequence: u8, payload: &'a [u8] },
}

pub(crate) fn channel_of(packet: &Packet) -> u32 {
    u32::from_be_bytes([packet[0], packet[1], packet[2], packet[3]])
}

pub(crate) fn parse(packet: &Packet) -> Parsed<'_> {
    if packet[4] & 0x80 != 0 {
        let length = usize::from(u16::from_be_bytes([packet[5], packet[6]]));
        Parsed::Initial { command: packet[4] & 0x7f, length, payload: &packet[7..] }
    } else {
        Parsed::Continuation { sequence: packet[4], payload: &packet[5..] }
    }
}

/// The channel that this CTAPHID_INIT response allocates; `None` for any other packet.
///
/// For a host that leads several doors to one device and must know whose a channel is.
pub fn allocated_channel(packet: &Packet) -> Option<u32> {
    let is_response = channel_of(packet) == BROADCAST && packet[4] == command::INIT | 0x80;
    is_response.then(|| u32::from_be_bytes([packet[15], packet[16], packet[17], packet[18]]))
}

/// What a device answers to this packet if its sender has no such channel: nothing to a continuation packet or a
/// CTAPHID_CANCEL, else [`ErrorCode::InvalidChannel`].
pub fn refusal(packet: &Packet) -> Option<Packet> {
    match parse(packet) {
        Parsed::Initial { command: command::CANCEL, .. } | Parsed::Continuation { .. } => None,
        Parsed::Initial { .. } => {
            Some(initial(channel_of(packet), command::ERROR, &[ErrorCode::InvalidChannel as u8]))
        }
    }
}

/// An initialization packet with as much of the message as fits.
pub(crate) fn initial(channel: u32, command: u8, message: &[u8]) -> Packet {
    let mut packet = [0; PACKET_SIZE];
    packet[..4].copy_from_slice(&channel.to_be_bytes());
    packet[4] = command | 0x80;
    // A message is never longer than MESSAGE_MAX, which fits.
    packet[5..7].copy_from_slice(&(message.len() as u16).to_be_bytes());
    let piece = &message[..message.len().min(INITIAL_PAYLOAD)];
    packet[7..7 + piece.len()].copy_from_slice(piece);
    packet
}

/// A continuation packet with as much of the rest of the message as fits.
pub(crate) fn continuation(channel: u32, sequence: u8, rest: &[u8]) -> Packet {
    let mut packet = [0; PACKET_SIZE];
    packet[..4].copy_from_slice(&channel.to_be_bytes());
    packet[4] = sequence;
    let piece = &rest[..rest.len().min(CONTINUATION_PAYLOAD)];
    packet[5..5 + piece.len()].copy_from_slice(piece);
    packet
}
