//! Where the interrupts that carry packets and the thread that works on requests meet.

use core::cell::RefCell;

use critical_section::Mutex;
use doppelkey_core::{Message, Time};
use doppelkey_ctaphid::{Capabilities, Ctaphid, Event, HidClass, Packet, Transaction};
use usb_device::bus::{UsbBus, UsbBusAllocator};
use usb_device::device::{StringDescriptors, UsbDevice, UsbDeviceBuilder, UsbVidPid};

/// CTAPHID, seen from both sides. Short calls only: interrupts make them.
pub struct Port {
    hid: Ctaphid,
    request: Option<(Transaction, Kind)>,
    /// The request that was cancelled last; one that was abandoned is not in `hid` any more.
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
        let mut capabilities = Capabilities::CBOR | Capabilities::WINK;
        if cfg!(feature = "u2f") {
            capabilities = capabilities | Capabilities::MSG;
        }
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
            Some(Event::Cancel(transaction)) => self.cancelled = Some(transaction),
            Some(Event::Wink) => self.winks_until = now + WINK,
            Some(Event::Abandoned(_)) | None => {}
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

    /// Takes the request that has arrived, if there is one, and copies it out. Without one the copy is left as it is.
    pub fn take(&mut self, copy: &mut Message) -> Option<(Transaction, Kind)> {
        let (transaction, kind) = self.request.take()?;
        let request = self.hid.request(transaction)?;
        copy.clear();
        copy.extend_from_slice(request).ok()?;
        Some((transaction, kind))
    }

    /// Whether the platform wants this request to end: it was cancelled, or abandoned, whatever came after it.
    pub fn is_cancelled(&self, transaction: Transaction) -> bool {
        self.cancelled == Some(transaction) || self.hid.request(transaction).is_none()
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
    /// How often the bus has interrupted since the last tick.
    interrupts: u8,
    /// The port itself: after a call that makes packets, [`pump`](Self::pump).
    pub port: Port,
}

impl<'a, B: UsbBus> UsbPort<'a, B> {
    /// A device on this bus: the platform sees it from now on.
    pub fn new(bus: &'a UsbBusAllocator<B>) -> Self {
        let class = HidClass::new(bus);
        let strings =
            StringDescriptors::default().manufacturer("Doppelkey").product("Doppelkey authenticator");
        let usb = UsbDeviceBuilder::new(bus, IDS)
            .strings(&[strings])
            .expect("one language is not too many")
            .max_packet_size_0(64)
            .expect("64 is a size of USB 2")
            .build();
        UsbPort { usb, class, unsent: None, interrupts: 0, port: Port::new() }
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

/// A [`UsbPort`] that interrupts and the thread share; there is one a board, in static memory.
///
/// It holds a reference, so that 8 kB of zeros need not lie in the flash.
pub struct SharedPort<B: UsbBus + 'static>(Mutex<RefCell<Option<&'static mut UsbPort<'static, B>>>>);

impl<B: UsbBus> SharedPort<B> {
    /// Nothing yet: polling does nothing.
    pub const fn new() -> Self {
        SharedPort(Mutex::new(RefCell::new(None)))
    }

    /// Puts the port in: from here on it works.
    pub fn start(&self, port: &'static mut UsbPort<'static, B>) {
        critical_section::with(|section| self.0.borrow_ref_mut(section).replace(port));
    }

    /// What the USB interrupt does. Returns whether it may come again before the next tick.
    ///
    /// A controller interrupts for as long as something waits to be taken, and what waits is not always taken: a packet for
    /// which there is no room until the platform has read an answer, or one that belongs to no request. A platform that
    /// leaves it at that would keep the thread from running, and the watchdog would end the board.
    #[must_use]
    pub fn interrupt(&self, now: Time) -> bool {
        self.poll(now, |interrupts| interrupts.saturating_add(1)) < INTERRUPTS_A_TICK
    }

    /// What a timer's interrupt does, every few milliseconds.
    pub fn tick(&self, now: Time) {
        self.poll(now, |_| 0);
    }

    /// Not inlined: two interrupts call it.
    #[inline(never)]
    fn poll(&self, now: Time, count: fn(u8) -> u8) -> u8 {
        critical_section::with(|section| {
            let mut port = self.0.borrow_ref_mut(section);
            let Some(port) = port.as_mut() else { return 0 };
            port.poll(now);
            port.interrupts = count(port.interrupts);
            port.interrupts
        })
    }

    /// Lends the port to the thread, and sends what that made.
    ///
    /// # Panics
    /// Before [`start`](Self::start): a mistake of the board's file.
    pub fn with<T>(&self, work: impl FnOnce(&mut Port) -> T) -> T {
        critical_section::with(|section| {
            let mut port = self.0.borrow_ref_mut(section);
            let port = port.as_mut().expect("the port is started before the worker");
            let result = work(&mut port.port);
            port.pump();
            result
        })
    }
}

impl<B: UsbBus> Default for SharedPort<B> {
    fn default() -> Self {
        Self::new()
    }
}

/// Who the device is on the bus: pid.codes' vendor id, and a number for each kind of test device.
const IDS: UsbVidPid = UsbVidPid(0x1209, 0xF1D0);
/// The device version of CTAPHID_INIT.
const VERSION: [u8; 3] = [0, 1, 0];
/// The most interrupts of the bus between two ticks. In five milliseconds full speed makes ten for the reports, and some for
/// a request to the control endpoint; a platform that makes more waits for the tick.
const INTERRUPTS_A_TICK: u8 = 64;
/// How long a wink lasts.
const WINK: Time = Time::from_secs(3);
