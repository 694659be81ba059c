//! Where the interrupts that carry packets and the thread that works on requests meet.

use doppelkey_core::{Message, Time};
use doppelkey_ctaphid::{Capabilities, Ctaphid, Event, HidClass, Packet, Transaction};
use usb_device::bus::UsbBus;
use usb_device::device::UsbDevice;

/// CTAPHID, seen from both sides. Short calls only: interrupts make them.
pub struct Port {
    hid: Ctaphid,
    request: Option<(Transaction, Kind)>,
    /// The request whose platform wants no answer any more.
    cancelled: Option<Transaction>,
    winks_until: Time,
}

/// What a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// CTAPHID_CBOR: a CTAP2 command.
    Cbor,
    /// CTAPHID_MSG: a U2F message.
    Msg,
}

impl Port {
    /// A port at power-up.
    pub fn new() -> Self {
        let capabilities = Capabilities::CBOR | Capabilities::MSG | Capabilities::WINK;
        let hid = Ctaphid::new(capabilities, VERSION);
        Port { hid, request: None, cancelled: None, winks_until: Time::ZERO }
    }

    /// Whether a packet can be received.
    pub fn ready(&self) -> bool {
        self.hid.ready()
    }

    /// Takes a packet from the platform.
    pub fn receive(&mut self, now: Time, packet: &Packet) {
        match self.hid.receive(now, packet) {
            Some(Event::Cbor(transaction)) => self.request = Some((transaction, Kind::Cbor)),
            Some(Event::Msg(transaction)) => self.request = Some((transaction, Kind::Msg)),
            Some(Event::Cancel(transaction) | Event::Abandoned(transaction)) => {
                self.cancelled = Some(transaction);
            }
            Some(Event::Wink) => self.winks_until = now + WINK,
            None => {}
        }
    }

    /// The next packet for the platform.
    pub fn next_packet(&mut self) -> Option<Packet> {
        self.hid.next_packet()
    }

    /// Lets time act: keepalives and timeouts. Call it every few milliseconds.
    pub fn tick(&mut self, now: Time) {
        self.hid.tick(now);
    }

    /// Takes the request that has arrived, if there is one, and copies it out.
    pub fn take(&mut self, copy: &mut Message) -> Option<(Transaction, Kind)> {
        let (transaction, kind) = self.request.take()?;
        copy.clear();
        copy.extend_from_slice(self.hid.request(transaction)?).ok()?;
        Some((transaction, kind))
    }

    /// Whether nobody waits for this answer any more.
    pub fn is_cancelled(&self, transaction: Transaction) -> bool {
        self.cancelled == Some(transaction)
    }

    /// Says in the keepalives whether the request waits for the user.
    pub fn wait_for_user(&mut self, now: Time, transaction: Transaction, waiting: bool) {
        self.hid.wait_for_user(now, transaction, waiting);
    }

    /// Answers.
    pub fn respond(&mut self, transaction: Transaction, response: &[u8]) {
        self.hid.respond(transaction, response);
    }

    /// Whether the LED is to wink.
    pub fn winks(&self, now: Time) -> bool {
        now < self.winks_until
    }
}

impl Default for Port {
    fn default() -> Self {
        Self::new()
    }
}

/// A port behind a board's USB controller.
pub struct UsbPort<'a, B: UsbBus> {
    usb: UsbDevice<'a, B>,
    class: HidClass<'a, B>,
    unsent: Option<Packet>,
    /// The port itself: after a call that makes packets, [`pump`](Self::pump).
    pub port: Port,
}

impl<'a, B: UsbBus> UsbPort<'a, B> {
    /// Puts the two together.
    pub fn new(usb: UsbDevice<'a, B>, class: HidClass<'a, B>) -> Self {
        UsbPort { usb, class, unsent: None, port: Port::new() }
    }

    /// What the USB interrupt does, and a timer's every few milliseconds.
    pub fn poll(&mut self, now: Time) {
        self.usb.poll(&mut [&mut self.class]);
        self.port.tick(now);
        while self.port.ready() {
            let Some(packet) = self.class.read() else { break };
            self.port.receive(now, &packet);
        }
        self.pump();
    }

    /// Gives the bus the packets it takes.
    pub fn pump(&mut self) {
        while let Some(packet) = self.unsent.take().or_else(|| self.port.next_packet()) {
            if !self.class.write(&packet) {
                self.unsent = Some(packet);
                break;
            }
        }
    }
}

/// The device version of CTAPHID_INIT.
const VERSION: [u8; 3] = [0, 1, 0];
/// How long a wink lasts.
const WINK: Time = Time::from_secs(3);
