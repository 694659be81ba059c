//! One attached device: what the host controller's side of USB/IP asks, put to a `usb_device` device.
//!
//! Control transfers are made at once. Interrupt transfers are held until the device has a packet, or room for one.
//! The thread that reads the socket does all of it for what it read; another sees to packets that come up by
//! themselves (keepalives, answers that a user gave), and sleeps otherwise.

use std::collections::VecDeque;
use std::io::{self, BufReader, Read as _, Write as _};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use doppelkey_ctaphid::{HidClass, Packet};
use usb_device::bus::UsbBusAllocator;
use usb_device::device::{StringDescriptors, UsbDevice, UsbDeviceBuilder, UsbRev, UsbVidPid};

use super::bus::{Bus, PACKET_MAX};
use super::protocol::{
    self, Command, ECONNRESET, EOVERFLOW, EPIPE, HEADER_LENGTH, RET_SUBMIT, RET_UNLINK, Submit, broken,
};
use crate::device::{Device, Identity, Port};
use crate::listener::Stream;

/// Serves the commands on this connection until it ends. An error says what the other side did wrong.
pub(super) fn serve(stream: &Stream, device_id: u32, identity: &Identity, device: &Device) -> io::Result<()> {
    let bus = Bus::default();
    let allocator = UsbBusAllocator::new(bus.clone());
    let class = HidClass::new(&allocator);
    let usb = build(&allocator, identity)?;
    // With the power, a device that is offered to others is unplugged, which ends this; one of our own kernel is not.
    let port = Port::lasting(device, ROOM);
    let attachment = Shared {
        inner: Mutex::new(Attachment {
            bus,
            usb,
            class,
            port: &port,
            held: None,
            outs: VecDeque::new(),
            ins: VecDeque::new(),
            answers: Vec::new(),
            gone: false,
        }),
        fetched: Condvar::new(),
    };
    attachment.lock().begin();
    std::thread::scope(|scope| {
        let carrier = std::thread::Builder::new().name("doppelkey-usbip-in".into());
        carrier.spawn_scoped(scope, || {
            if attachment.carry(stream, &port).is_err() {
                stream.shutdown();
            }
        })?;
        let served = attachment.obey(stream, device_id);
        attachment.lock().gone = true;
        attachment.fetched.notify_all();
        port.close();
        served
    })
}

fn build<'a>(allocator: &'a UsbBusAllocator<Bus>, identity: &'a Identity) -> io::Result<UsbDevice<'a, Bus>> {
    let strings = StringDescriptors::default()
        .manufacturer(&identity.manufacturer)
        .product(&identity.name)
        .serial_number(&identity.serial);
    let builder = UsbDeviceBuilder::new(allocator, UsbVidPid(identity.vendor, identity.product))
        .device_release(identity.release)
        .usb_rev(UsbRev::Usb200)
        .strings(&[strings])
        .and_then(|builder| builder.max_packet_size_0(PACKET_MAX as u8));
    let builder = builder.map_err(|error| io::Error::other(format!("{error:?}")))?;
    Ok(builder.build())
}

struct Shared<'a> {
    inner: Mutex<Attachment<'a>>,
    /// The host asks for a packet again, or is gone.
    fetched: Condvar,
}

struct Attachment<'a> {
    bus: Bus,
    usb: UsbDevice<'a, Bus>,
    class: HidClass<'a, Bus>,
    port: &'a Port,
    /// A report that the device has no room for.
    held: Option<Packet>,
    outs: VecDeque<Out>,
    ins: VecDeque<Submit>,
    answers: Vec<u8>,
    gone: bool,
}

/// An interrupt OUT transfer, and how much of it the device has.
struct Out {
    sequence: u32,
    endpoint: u8,
    data: Vec<u8>,
    given: usize,
}

impl<'a> Shared<'a> {
    fn lock(&self) -> MutexGuard<'_, Attachment<'a>> {
        // A panic ends the connection: nobody goes on with what it left.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads commands and does them.
    fn obey(&self, stream: &Stream, device_id: u32) -> io::Result<()> {
        let mut input = BufReader::with_capacity(16 * 1024, stream);
        loop {
            if input.buffer().len() < HEADER_LENGTH {
                self.lock().flush(stream)?;
            }
            let mut header = [0; HEADER_LENGTH];
            if !read_or_end(&mut input, &mut header)? {
                return Ok(());
            }
            match Command::parse(&header, device_id)? {
                Command::Unlink { sequence, target } => self.lock().unlink(sequence, target),
                Command::Submit(submit) => {
                    let mut data = vec![0; if submit.is_in { 0 } else { submit.length }];
                    if input.buffer().len() < data.len() {
                        self.lock().flush(stream)?;
                    }
                    input.read_exact(&mut data)?;
                    let mut attachment = self.lock();
                    attachment.submit(submit, data)?;
                    if !attachment.ins.is_empty() {
                        self.fetched.notify_one();
                    }
                }
            }
        }
    }

    /// Carries packets that came up by themselves.
    fn carry(&self, stream: &Stream, port: &Port) -> io::Result<()> {
        while port.wait() {
            let mut attachment = self.lock();
            attachment.progress();
            attachment.flush(stream)?;
            while attachment.ins.is_empty() && !attachment.gone {
                attachment = self.fetched.wait(attachment).unwrap_or_else(PoisonError::into_inner);
            }
        }
        Ok(())
    }
}

/// Fills the buffer. `false` if the input ended before its first byte.
pub(super) fn read_or_end(input: &mut impl io::Read, buffer: &mut [u8]) -> io::Result<bool> {
    let first = loop {
        match input.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => break read?,
        }
    };
    if first == 0 {
        return Ok(false);
    }
    input.read_exact(&mut buffer[first..])?;
    Ok(true)
}

impl Attachment<'_> {
    fn begin(&mut self) {
        self.bus.reset_device();
        self.poll();
    }

    fn poll(&mut self) {
        self.usb.poll(&mut [&mut self.class]);
    }

    fn submit(&mut self, submit: Submit, data: Vec<u8>) -> io::Result<()> {
        let address = submit.endpoint | if submit.is_in { 0x80 } else { 0 };
        if submit.endpoint == 0 {
            let made = self.control(&submit, &data);
            self.answer(&submit, made);
        } else if !self.bus.has(address) || self.bus.stalls(address) {
            self.answer(&submit, Err(EPIPE));
        } else if self.ins.len() + self.outs.len() >= PENDING_MAX {
            return Err(broken(format!("more than {PENDING_MAX} transfers are pending")));
        } else if submit.is_in {
            self.ins.push_back(submit);
            self.progress();
        } else {
            let Submit { sequence, endpoint, .. } = submit;
            self.outs.push_back(Out { sequence, endpoint, data, given: 0 });
            self.progress();
        }
        Ok(())
    }

    /// USBIP_CMD_UNLINK: takes a pending transfer back, which then has no answer of its own.
    fn unlink(&mut self, sequence: u32, target: u32) {
        let pending = self.ins.len() + self.outs.len();
        self.ins.retain(|submit| submit.sequence != target);
        self.outs.retain(|out| out.sequence != target);
        let was_pending = self.ins.len() + self.outs.len() < pending;
        let status = if was_pending { -ECONNRESET } else { 0 };
        self.answers.extend(protocol::answer(RET_UNLINK, sequence, status, 0));
    }

    /// A control transfer (USB 2.0 §8.5.3): what was read, or a status.
    fn control(&mut self, submit: &Submit, data: &[u8]) -> Result<Vec<u8>, i32> {
        let setup = submit.setup;
        let wanted = usize::from(u16::from_le_bytes([setup[6], setup[7]])).min(submit.length);
        if (setup[0] & 0x80 != 0) != submit.is_in && submit.length > 0 {
            return Err(EPIPE);
        }
        self.bus.setup(setup);
        self.poll();
        let made = if setup[0] & 0x80 != 0 { self.control_in(wanted) } else { self.control_out(data) };
        // Whatever the device would go on to say, this transfer is over.
        made.ok_or(EPIPE)
    }

    /// The data stage, and the status stage. `None`: the device stalls, or would never answer.
    fn control_in(&mut self, wanted: usize) -> Option<Vec<u8>> {
        let mut received = Vec::new();
        loop {
            let chunk = if self.bus.stalls(0x80) { None } else { self.bus.take(0) }?;
            received.extend_from_slice(chunk.bytes());
            self.poll();
            if chunk.bytes().len() < PACKET_MAX || received.len() >= wanted {
                break;
            }
        }
        self.bus.give(0, &[]);
        self.poll();
        received.truncate(wanted);
        Some(received)
    }

    fn control_out(&mut self, data: &[u8]) -> Option<Vec<u8>> {
        for chunk in data.chunks(PACKET_MAX) {
            self.bus.give(0, chunk);
            self.poll();
            if self.bus.stalls(0x00) || self.bus.is_full(0) {
                return None;
            }
        }
        if self.bus.stalls(0x80) {
            return None;
        }
        self.bus.take(0)?;
        self.poll();
        Some(Vec::new())
    }

    /// Moves reports both ways, as far as there are transfers for them and the device has room.
    fn progress(&mut self) {
        self.move_out();
        while !self.ins.is_empty()
            && let Some(packet) = self.port.take()
        {
            // The endpoint is empty: what is written is taken at once.
            self.class.write(&packet);
            self.move_in();
            // There is room in the device again.
            self.move_out();
        }
    }

    fn move_out(&mut self) {
        loop {
            if let Some(packet) = &self.held {
                if !self.port.send(packet) {
                    return;
                }
                self.held = None;
            }
            let Some(out) = self.outs.front_mut() else { return };
            let rest = &out.data[out.given..];
            let piece = &rest[..rest.len().min(PACKET_MAX)];
            self.bus.give(out.endpoint, piece);
            out.given += piece.len();
            if out.given == out.data.len() {
                let (sequence, length) = (out.sequence, out.given);
                self.outs.pop_front();
                self.answers.extend(protocol::answer(RET_SUBMIT, sequence, 0, length));
            }
            self.poll();
            self.held = self.class.read();
        }
    }

    fn move_in(&mut self) {
        let Some(submit) = self.ins.pop_front() else { return };
        let Some(chunk) = self.bus.take(submit.endpoint) else { return self.ins.push_front(submit) };
        self.poll();
        let bytes = chunk.bytes();
        let read = if bytes.len() <= submit.length { Ok(bytes.to_vec()) } else { Err(EOVERFLOW) };
        self.answer(&submit, read);
    }

    fn answer(&mut self, submit: &Submit, made: Result<Vec<u8>, i32>) {
        let (status, data) = match made {
            Ok(data) => (0, data),
            Err(status) => (-status, Vec::new()),
        };
        let length = match (submit.is_in, status) {
            (false, 0) => submit.length,
            _ => data.len(),
        };
        self.answers.extend(protocol::answer(RET_SUBMIT, submit.sequence, status, length));
        if submit.is_in {
            self.answers.extend(data);
        }
    }

    /// Sends the answers there are.
    fn flush(&mut self, mut stream: &Stream) -> io::Result<()> {
        if self.answers.is_empty() {
            return Ok(());
        }
        let sent = stream.write_all(&self.answers);
        self.answers.clear();
        sent
    }
}

/// Packets that wait in the device for the host; those of a response stay behind them.
const ROOM: usize = 4;
/// A host has one transfer pending in each direction; this many are no host's.
const PENDING_MAX: usize = 64;
