//! A USB/IP client in user space: attaches, enumerates as Linux does, exchanges reports.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::protocol::{
    self, BUSID_LENGTH, DEVICE_LENGTH, EPIPE, HEADER_LENGTH, OP_REP_DEVLIST, OP_REP_IMPORT, OP_REQ_DEVLIST,
    OP_REQ_IMPORT, RET_SUBMIT, Submit, broken,
};
use crate::device::{Connection, Packet};
use crate::listener::Stream;

/// What a server says of one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// The bus id to attach by.
    pub busid: String,
    /// idVendor.
    pub vendor: u16,
    /// idProduct.
    pub product: u16,
}

/// The devices a server offers (OP_REQ_DEVLIST).
///
/// # Errors
/// The connection's; [`TimedOut`](io::ErrorKind::TimedOut) if the server does not answer,
/// [`InvalidData`](io::ErrorKind::InvalidData) if it does not speak USB/IP.
pub fn devices(address: SocketAddr) -> io::Result<Vec<DeviceInfo>> {
    let mut stream = connect(address)?;
    stream.write_all(&protocol::operation(OP_REQ_DEVLIST, 0))?;
    expect_reply(&stream, OP_REP_DEVLIST)?;
    let count = u32::from_be_bytes(read(&stream)?);
    let mut devices = Vec::new();
    for _ in 0..count {
        let device = Imported::parse(&read(&stream)?);
        for _ in 0..device.interfaces {
            read::<4>(&stream)?;
        }
        devices.push(device.info);
    }
    Ok(devices)
}

/// An imported device: everything after this on the connection is its commands and answers.
pub(crate) struct Imported {
    pub(crate) info: DeviceInfo,
    /// Bus number << 16 | device number.
    pub(crate) id: u32,
    /// Linux's `enum usb_device_speed`.
    #[cfg(target_os = "linux")]
    pub(crate) speed: u32,
    interfaces: u8,
}

impl Imported {
    fn parse(bytes: &[u8; DEVICE_LENGTH]) -> Self {
        let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let half = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let busid = bytes[256..256 + BUSID_LENGTH].split(|byte| *byte == 0).next().unwrap_or_default();
        Imported {
            info: DeviceInfo {
                busid: String::from_utf8_lossy(busid).into_owned(),
                vendor: half(300),
                product: half(302),
            },
            id: word(288) << 16 | word(292),
            #[cfg(target_os = "linux")]
            speed: word(296),
            interfaces: bytes[311],
        }
    }
}

/// Takes a device (OP_REQ_IMPORT): the connection, and what it is.
pub(crate) fn import(address: SocketAddr, busid: &str) -> io::Result<(TcpStream, Imported)> {
    let mut request = protocol::operation(OP_REQ_IMPORT, 0).to_vec();
    let mut padded = [0; BUSID_LENGTH];
    // One byte at the end stays zero.
    let name = padded[..BUSID_LENGTH - 1].get_mut(..busid.len());
    name.ok_or(io::ErrorKind::InvalidInput)?.copy_from_slice(busid.as_bytes());
    request.extend(padded);
    let mut stream = connect(address)?;
    stream.write_all(&request)?;
    expect_reply(&stream, OP_REP_IMPORT)?;
    let imported = Imported::parse(&read(&stream)?);
    // From here on an answer may take as long as a user does, and the kernel may be given the connection.
    stream.set_read_timeout(None)?;
    Ok((stream, imported))
}

/// A connection to a server, whose reads end when it does not answer.
fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, ANSWER_TIMEOUT)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    Ok(stream)
}

fn read<const N: usize>(stream: &TcpStream) -> io::Result<[u8; N]> {
    protocol::read(stream).map_err(|error| match error.kind() {
        // What the systems call the end of a read's time.
        io::ErrorKind::WouldBlock => unanswered(),
        _ => error,
    })
}

fn unanswered() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the server does not answer")
}

fn expect_reply(stream: &TcpStream, code: u16) -> io::Result<()> {
    let reply: [u8; 8] = read(stream)?;
    if reply[..4] != protocol::operation(code, 0)[..4] {
        return Err(broken("the server does not answer in USB/IP"));
    }
    match u32::from_be_bytes([reply[4], reply[5], reply[6], reply[7]]) {
        0 => Ok(()),
        2 => Err(io::Error::new(io::ErrorKind::ResourceBusy, "somebody else has the device attached")),
        4 => Err(io::Error::new(io::ErrorKind::NotFound, "the server has no such device")),
        status => Err(io::Error::other(format!("the server refuses with status {status}"))),
    }
}

/// An attached device: imported, enumerated and configured. Detached when dropped.
pub struct UsbIpConnection {
    stream: Stream,
    device_id: u32,
    sequence: u32,
    /// Read, and not yet understood.
    input: Vec<u8>,
    /// Reports that came while something else was waited for.
    reports: VecDeque<Packet>,
    /// The interrupt IN transfer that is pending.
    polling: Option<u32>,
    /// The OUT transfers that are: their answers give a length, but no data follows.
    sending: VecDeque<u32>,
    timeout: Option<Duration>,
}

/// An answer of the server.
struct Answer {
    sequence: u32,
    status: i32,
    data: Vec<u8>,
}

impl UsbIpConnection {
    /// Attaches the device at this bus id and enumerates it as Linux does.
    ///
    /// # Errors
    /// As [`devices`]; [`ResourceBusy`](io::ErrorKind::ResourceBusy) if somebody else has the device,
    /// [`NotFound`](io::ErrorKind::NotFound) if there is none with this bus id.
    pub fn attach(address: SocketAddr, busid: &str) -> io::Result<Self> {
        let (stream, imported) = import(address, busid)?;
        let mut connection = UsbIpConnection {
            stream: Stream::Tcp(stream),
            device_id: imported.id,
            sequence: 0,
            input: Vec::new(),
            reports: VecDeque::new(),
            polling: None,
            sending: VecDeque::new(),
            timeout: None,
        };
        connection.enumerate()?;
        connection.poll(Vec::new())?;
        Ok(connection)
    }

    /// What Linux does with a new device.
    fn enumerate(&mut self) -> io::Result<()> {
        self.descriptor(DEVICE, 0, 64)?;
        let device = self.descriptor(DEVICE, 0, 18)?;
        for _ in 0..3 {
            match self.descriptor(DEVICE_QUALIFIER, 0, 10) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
                Err(error) => return Err(error),
                Ok(_) => return Err(broken("a full-speed device has a device qualifier")),
            }
        }
        let start = self.descriptor(CONFIGURATION, 0, 9)?;
        let [.., low, high, _, value, _, _, _] = start[..] else {
            return Err(broken("a configuration descriptor is too short"));
        };
        self.descriptor(CONFIGURATION, 0, u16::from_le_bytes([low, high]))?;
        for string in [0, 2, 1, 3] {
            self.descriptor(STRING, string, 255)?;
        }
        self.control([0x00, SET_CONFIGURATION, value, 0, 0, 0, 0, 0])?;
        match self.control([0x21, SET_IDLE, 0, 0, 0, 0, 0, 0]) {
            // Linux ignores a stall here.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            idle => drop(idle?),
        }
        let report = self.control([0x81, GET_DESCRIPTOR, 0, REPORT, 0, 0, 34, 0])?;
        if device.len() != 18 || !report.starts_with(&[0x06, 0xd0, 0xf1]) {
            return Err(broken("the device is no FIDO authenticator"));
        }
        Ok(())
    }

    fn descriptor(&mut self, kind: u8, number: u8, length: u16) -> io::Result<Vec<u8>> {
        let language: u16 = if kind == STRING && number > 0 { ENGLISH } else { 0 };
        let ([low, high], [first, second]) = (length.to_le_bytes(), language.to_le_bytes());
        self.control([0x80, GET_DESCRIPTOR, number, kind, first, second, low, high])
    }

    /// A control transfer without data to the device; it ends when the server does not answer. A stall is [`io::ErrorKind::BrokenPipe`].
    fn control(&mut self, setup: [u8; 8]) -> io::Result<Vec<u8>> {
        let is_in = setup[0] & 0x80 != 0;
        let length = usize::from(u16::from_le_bytes([setup[6], setup[7]]));
        let sequence = self.next_sequence();
        let submit = Submit { sequence, is_in, endpoint: 0, length, setup };
        self.write(&protocol::submit(self.device_id, &submit))?;
        loop {
            let answer = self.answer(Some(ANSWER_TIMEOUT))?.ok_or_else(unanswered)?;
            if answer.sequence == sequence {
                return if answer.status == 0 { Ok(answer.data) } else { Err(status(answer.status)) };
            }
        }
    }

    /// Asks for the next report, after what is in `output`, unless that is pending already.
    fn poll(&mut self, mut output: Vec<u8>) -> io::Result<()> {
        if self.polling.is_none() {
            let sequence = self.next_sequence();
            let submit = Submit { sequence, is_in: true, endpoint: 1, length: 64, setup: [0; 8] };
            output.extend(protocol::submit(self.device_id, &submit));
            self.polling = Some(sequence);
        }
        if output.is_empty() { Ok(()) } else { self.write(&output) }
    }

    fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        (&self.stream).write_all(bytes)
    }

    /// The next answer; reports are put by. `None` if nothing comes within the timeout.
    fn answer(&mut self, timeout: Option<Duration>) -> io::Result<Option<Answer>> {
        loop {
            if let Some(answer) = self.parse()? {
                if Some(answer.sequence) == self.polling {
                    self.polling = None;
                    if answer.status != 0 {
                        return Err(status(answer.status));
                    }
                    let report = Packet::try_from(&answer.data[..]);
                    self.reports.push_back(report.map_err(|_| broken("a report is not of 64 bytes"))?);
                }
                return Ok(Some(answer));
            }
            if !self.fill(timeout)? {
                return Ok(None);
            }
        }
    }

    /// Takes a complete answer out of what was read.
    fn parse(&mut self) -> io::Result<Option<Answer>> {
        let Some((header, rest)) = self.input.split_first_chunk::<HEADER_LENGTH>() else { return Ok(None) };
        let word =
            |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let (command, sequence, status) = (word(0), word(4), word(20).cast_signed());
        if command != RET_SUBMIT {
            return Err(broken(format!("an answer of kind {command:#x}")));
        }
        let is_out = self.sending.contains(&sequence);
        let length = if is_out { 0 } else { word(24) as usize };
        if length > u16::MAX.into() {
            return Err(broken(format!("an answer of {length} bytes")));
        }
        let Some(data) = rest.get(..length) else { return Ok(None) };
        let answer = Answer { sequence, status, data: data.to_vec() };
        self.input.drain(..HEADER_LENGTH + length);
        if is_out {
            self.sending.retain(|sent| *sent != sequence);
            if status != 0 {
                return Err(self::status(status));
            }
        }
        Ok(Some(answer))
    }

    /// Reads what there is; waits for it. `false` if nothing comes within the timeout.
    fn fill(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        // A system call only where it changes something; the shortest timeout there is stands for none at all.
        let timeout = timeout.map(|timeout| timeout.max(Duration::from_micros(1)));
        if self.timeout != timeout {
            self.stream.set_read_timeout(timeout)?;
            self.timeout = timeout;
        }
        let mut buffer = [0; 4096];
        let read = loop {
            match (&self.stream).read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        match read {
            Ok(0) => Err(io::Error::new(io::ErrorKind::ConnectionReset, "the device was unplugged")),
            Ok(read) => {
                self.input.extend_from_slice(&buffer[..read]);
                Ok(true)
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

impl Connection for UsbIpConnection {
    fn send(&mut self, packet: &Packet) -> io::Result<()> {
        let sequence = self.next_sequence();
        let submit = Submit { sequence, is_in: false, endpoint: 1, length: packet.len(), setup: [0; 8] };
        let mut output = protocol::submit(self.device_id, &submit).to_vec();
        output.extend_from_slice(packet);
        self.sending.push_back(sequence);
        // In one segment with the request for the next report, if that is due.
        self.poll(output)
    }

    /// The timeout is that of each read: an answer that comes in pieces can take longer.
    fn receive(&mut self, timeout: Option<Duration>) -> io::Result<Option<Packet>> {
        loop {
            if let Some(report) = self.reports.pop_front() {
                return Ok(Some(report));
            }
            self.poll(Vec::new())?;
            if self.answer(timeout)?.is_none() {
                return Ok(None);
            }
        }
    }
}

impl Drop for UsbIpConnection {
    fn drop(&mut self) {
        if let Some(polling) = self.polling.take() {
            let sequence = self.next_sequence();
            // The server may have gone first.
            let _ = self.write(&protocol::unlink(self.device_id, sequence, polling));
        }
        self.stream.shutdown();
    }
}

fn status(status: i32) -> io::Error {
    match -status {
        EPIPE => io::Error::new(io::ErrorKind::BrokenPipe, "the device answered with STALL"),
        _ => io::Error::other(format!("the transfer failed with status {status}")),
    }
}

/// How long a server may take for what needs no user: listing, importing, and each step of enumeration.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

const DEVICE: u8 = 1;
const CONFIGURATION: u8 = 2;
const STRING: u8 = 3;
const DEVICE_QUALIFIER: u8 = 6;
const REPORT: u8 = 0x22;
const ENGLISH: u16 = 0x0409;
const GET_DESCRIPTOR: u8 = 6;
const SET_CONFIGURATION: u8 = 9;
const SET_IDLE: u8 = 0x0a;
