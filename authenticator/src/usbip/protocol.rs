//! The bytes of USB/IP. Everything is big-endian, but for the SETUP packet, which goes as on a USB wire.
//!
//! A connection starts with operations (`OP_`): list the devices, import one. After an import it carries commands
//! (`USBIP_`) of 48 bytes and their data, both ways, until it closes.
//!
//! | offset | size | operation |
//! |---|---|---|
//! | 0 | 2 | version, 0x0111 |
//! | 2 | 2 | code |
//! | 4 | 4 | status: 0 in requests |
//!
//! | offset | size | device, 312 bytes |
//! |---|---|---|
//! | 0 | 256 | path on the server |
//! | 256 | 32 | bus id |
//! | 288 | 12 | bus number, device number, speed |
//! | 300 | 6 | idVendor, idProduct, bcdDevice |
//! | 306 | 6 | bDeviceClass, subclass, protocol, bConfigurationValue, bNumConfigurations, bNumInterfaces |
//!
//! | offset | size | command |
//! |---|---|---|
//! | 0 | 4 | 1 SUBMIT, 2 UNLINK, 3 RET_SUBMIT, 4 RET_UNLINK |
//! | 4 | 4 | sequence number |
//! | 8 | 4 | device: bus number << 16 \| device number; 0 in answers |
//! | 12 | 4 | direction: 0 out, 1 in; 0 in answers |
//! | 16 | 4 | endpoint; 0 in answers |
//! | 20 | 20 | SUBMIT: flags, length, start frame, number of packets, interval; RET_SUBMIT: status, actual length, start frame, number of packets, error count; UNLINK: the sequence number to unlink; RET_UNLINK: status |
//! | 40 | 8 | SUBMIT: the SETUP packet |

use std::io::{self, Read};

use crate::device::Identity;

pub(super) const VERSION: u16 = 0x0111;
pub(super) const OP_REQ_DEVLIST: u16 = 0x8005;
pub(super) const OP_REP_DEVLIST: u16 = 0x0005;
pub(super) const OP_REQ_IMPORT: u16 = 0x8003;
pub(super) const OP_REP_IMPORT: u16 = 0x0003;
const CMD_SUBMIT: u32 = 1;
const CMD_UNLINK: u32 = 2;
pub(super) const RET_SUBMIT: u32 = 3;
pub(super) const RET_UNLINK: u32 = 4;

pub(super) const DEVICE_LENGTH: usize = 312;
pub(super) const BUSID_LENGTH: usize = 32;
pub(super) const HEADER_LENGTH: usize = 48;

/// `USB_SPEED_FULL` of Linux: a 64-byte interrupt endpoint needs no more.
pub(super) const FULL_SPEED: u32 = 2;

/// Statuses of Linux, negated on the wire.
pub(super) const EPIPE: i32 = 32;
pub(super) const EOVERFLOW: i32 = 75;
pub(super) const ECONNRESET: i32 = 104;

/// Statuses of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum OpStatus {
    Ok = 0,
    Busy = 2,
    NoDevice = 4,
}

pub(super) fn operation(code: u16, status: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..2].copy_from_slice(&VERSION.to_be_bytes());
    bytes[2..4].copy_from_slice(&code.to_be_bytes());
    bytes[4..].copy_from_slice(&status.to_be_bytes());
    bytes
}

/// A request that does not speak this protocol.
pub(super) fn broken(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// Where a device sits: bus 1, and its place on it.
pub(super) fn device_id(place: u8) -> u32 {
    1 << 16 | u32::from(place)
}

pub(super) fn busid(place: u8) -> String {
    format!("1-{place}")
}

pub(super) fn device(place: u8, identity: &Identity) -> [u8; DEVICE_LENGTH] {
    let mut bytes = [0; DEVICE_LENGTH];
    let path = format!("/doppelkey/{}", busid(place));
    bytes[..path.len()].copy_from_slice(path.as_bytes());
    bytes[256..256 + busid(place).len()].copy_from_slice(busid(place).as_bytes());
    for (offset, number) in [(288, 1), (292, u32::from(place)), (296, FULL_SPEED)] {
        bytes[offset..offset + 4].copy_from_slice(&number.to_be_bytes());
    }
    for (offset, number) in [(300, identity.vendor), (302, identity.product), (304, identity.release)] {
        bytes[offset..offset + 2].copy_from_slice(&number.to_be_bytes());
    }
    // Class, subclass and protocol are the interface's. Not configured yet; one configuration, one interface.
    bytes[306..].copy_from_slice(&[0, 0, 0, 0, 1, 1]);
    bytes
}

/// One interface in a list of devices: class, subclass, protocol, padding.
pub(super) const HID_INTERFACE: [u8; 4] = [3, 0, 0, 0];

/// A command from the host.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Submit(Submit),
    Unlink { sequence: u32, target: u32 },
}

/// USBIP_CMD_SUBMIT: a transfer to be made. The data of an OUT transfer follows it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Submit {
    pub(super) sequence: u32,
    pub(super) is_in: bool,
    pub(super) endpoint: u8,
    pub(super) length: usize,
    pub(super) setup: [u8; 8],
}

impl Command {
    /// Reads a command for this device; an error says what is wrong with it.
    ///
    /// The start frame and the number of packets are of isochronous transfers, which a HID device has not.
    pub(super) fn parse(header: &[u8; HEADER_LENGTH], device: u32) -> io::Result<Self> {
        let word = |offset: usize| {
            u32::from_be_bytes([header[offset], header[offset + 1], header[offset + 2], header[offset + 3]])
        };
        let sequence = word(4);
        if word(8) != device {
            return Err(broken(format!("a command for device {:#x}, not {device:#x}", word(8))));
        }
        match word(0) {
            CMD_SUBMIT => {}
            CMD_UNLINK => return Ok(Command::Unlink { sequence, target: word(20) }),
            unknown => return Err(broken(format!("unknown command {unknown:#x}"))),
        }
        let is_in = match word(12) {
            0 => false,
            1 => true,
            unknown => return Err(broken(format!("unknown direction {unknown:#x}"))),
        };
        let endpoint = u8::try_from(word(16)).ok().filter(|endpoint| *endpoint < 16);
        let endpoint = endpoint.ok_or_else(|| broken(format!("no endpoint {:#x}", word(16))))?;
        let length = usize::try_from(word(24)).ok().filter(|length| *length <= TRANSFER_MAX);
        let length = length.ok_or_else(|| broken(format!("a transfer of {} bytes", word(24))))?;
        let mut setup = [0; 8];
        setup.copy_from_slice(&header[40..]);
        Ok(Command::Submit(Submit { sequence, is_in, endpoint, length, setup }))
    }
}

pub(super) fn submit(device: u32, command: &Submit) -> [u8; HEADER_LENGTH] {
    let mut bytes = [0; HEADER_LENGTH];
    let words = [
        (0, CMD_SUBMIT),
        (4, command.sequence),
        (8, device),
        (12, u32::from(command.is_in)),
        (16, u32::from(command.endpoint)),
        (24, command.length as u32),
        (36, if command.endpoint == 0 { 0 } else { INTERVAL }),
    ];
    for (offset, word) in words {
        bytes[offset..offset + 4].copy_from_slice(&word.to_be_bytes());
    }
    bytes[40..].copy_from_slice(&command.setup);
    bytes
}

pub(super) fn unlink(device: u32, sequence: u32, target: u32) -> [u8; HEADER_LENGTH] {
    let mut bytes = [0; HEADER_LENGTH];
    for (offset, word) in [(0, CMD_UNLINK), (4, sequence), (8, device), (20, target)] {
        bytes[offset..offset + 4].copy_from_slice(&word.to_be_bytes());
    }
    bytes
}

/// The header of an answer. `status` is 0 or one of the statuses above, negated.
pub(super) fn answer(command: u32, sequence: u32, status: i32, actual_length: usize) -> [u8; HEADER_LENGTH] {
    let mut bytes = [0; HEADER_LENGTH];
    bytes[..4].copy_from_slice(&command.to_be_bytes());
    bytes[4..8].copy_from_slice(&sequence.to_be_bytes());
    bytes[20..24].copy_from_slice(&status.to_be_bytes());
    bytes[24..28].copy_from_slice(&(actual_length as u32).to_be_bytes());
    bytes
}

/// Reads exactly so many bytes.
pub(super) fn read<const N: usize>(mut input: impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The most that a control transfer can carry, and far more than a report.
const TRANSFER_MAX: usize = 65_535;
const INTERVAL: u32 = 2;
