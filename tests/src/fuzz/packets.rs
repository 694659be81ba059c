//! Stories of packets, of time, and of an authenticator that answers when it likes.

use std::time::Duration;

use doppelkey_ctaphid::{BROADCAST, Capabilities, Ctaphid, Event, Packet, allocated_channel, command};

use super::steps;

/// The kinds of a step, by [`step`](super::step)'s first byte modulo their number.
pub(super) mod kind {
    /// The first 64 bytes as a packet; zeros where they are fewer.
    pub(crate) const PACKET: u8 = 0;
    /// The same on a channel that exists, chosen by the first byte.
    pub(crate) const ON_A_CHANNEL: u8 = 1;
    /// So many milliseconds pass (two bytes).
    pub(crate) const WAIT: u8 = 2;
    /// The authenticator answers with these bytes.
    pub(crate) const RESPOND: u8 = 3;
    /// The authenticator waits for the user, or no longer does.
    pub(crate) const USER: u8 = 4;
    /// The platform does not read for a while: so many packets are taken at most.
    pub(crate) const READ: u8 = 5;
    /// How many kinds there are.
    pub(crate) const COUNT: u8 = 6;
}

const STEPS_MAX: usize = 400;

/// Tells a story to a new device.
///
/// # Panics
/// If a packet goes out on a channel that does not exist, there are more packets than an answer has, or the device no
/// longer serves a newcomer at the end.
pub fn packets(story: &[u8]) {
    let mut device = Device::new();
    for (kind, payload) in steps(story).take(STEPS_MAX) {
        let two = u64::from(u16::from_be_bytes([byte(payload, 0), byte(payload, 1)]));
        match kind % kind::COUNT {
            kind::PACKET => device.receive(packet(payload)),
            kind::ON_A_CHANNEL => {
                let mut packet = packet(&payload[payload.len().min(1)..]);
                let channel = u32::from(byte(payload, 0)) % device.channels.max(1) + 1;
                packet[..4].copy_from_slice(&channel.to_be_bytes());
                device.receive(packet);
            }
            kind::WAIT => device.wait(Duration::from_millis(two)),
            kind::RESPOND => device.respond(payload),
            kind::USER => device.user(byte(payload, 0) & 1 == 1),
            _ => {
                device.read(two.try_into().unwrap_or(usize::MAX));
            }
        }
    }
    device.serves_a_newcomer();
}

fn byte(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or_default()
}

fn packet(bytes: &[u8]) -> Packet {
    let mut packet = [0; 64];
    for (to, from) in packet.iter_mut().zip(bytes) {
        *to = *from;
    }
    packet
}

struct Device {
    machine: Ctaphid,
    now: Duration,
    channels: u32,
    pending: Option<Event>,
}

impl Device {
    fn new() -> Self {
        let mut device = Device {
            machine: Ctaphid::new(Capabilities::CBOR, [1, 0, 0]),
            now: Duration::ZERO,
            channels: 0,
            pending: None,
        };
        for nonce in 0..3 {
            device.newcomer(nonce);
        }
        device
    }

    /// As the USB class does it: while there is no room for answers, packets are not taken from the bus.
    fn receive(&mut self, packet: Packet) {
        if !self.machine.ready() {
            self.read(usize::MAX);
        }
        if let Some(event) = self.machine.receive(self.now, &packet)
            && let Event::Cbor(transaction) | Event::Msg(transaction) = event
        {
            let request = self.machine.request(transaction).expect("a request that has arrived is there");
            assert!(request.len() <= doppelkey_ctaphid::MESSAGE_MAX);
            self.pending = Some(event);
        }
    }

    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.machine.due().filter(|due| *due <= end) {
            assert!(due >= self.now || self.now > Duration::ZERO);
            self.now = due.max(self.now);
            self.machine.tick(self.now);
            self.read(usize::MAX);
        }
        self.now = end;
        self.machine.tick(self.now);
    }

    fn respond(&mut self, response: &[u8]) {
        if let Some(Event::Cbor(transaction) | Event::Msg(transaction)) = self.pending.take() {
            self.machine.respond(transaction, response);
        }
    }

    fn user(&mut self, waiting: bool) {
        if let Some(Event::Cbor(transaction) | Event::Msg(transaction)) = self.pending {
            self.machine.wait_for_user(self.now, transaction, waiting);
        }
    }

    /// Takes packets from the device; the last one.
    fn read(&mut self, most: usize) -> Option<Packet> {
        let mut last = None;
        for count in 0..most {
            let Some(packet) = self.machine.next_packet() else { break };
            assert!(count < 400, "an answer has an end");
            let channel = u32::from_be_bytes([packet[0], packet[1], packet[2], packet[3]]);
            let known = channel == BROADCAST || (1..=self.channels).contains(&channel);
            // An error may also go back on a channel that does not exist: to whoever used it.
            assert!(known || packet[4] == command::ERROR | 0x80 || allocated_channel(&packet).is_some());
            if let Some(channel) = allocated_channel(&packet) {
                self.channels = self.channels.max(channel);
            }
            last = Some(packet);
        }
        last
    }

    /// A channel for somebody new.
    fn newcomer(&mut self, nonce: u8) -> Option<u32> {
        let mut init = [nonce; 64];
        init[..7].copy_from_slice(&[0xFF, 0xFF, 0xFF, 0xFF, command::INIT | 0x80, 0, 8]);
        self.receive(init);
        self.read(usize::MAX).and_then(|packet| allocated_channel(&packet))
    }

    /// After whatever it was: what was asked is answered, time passes, and a PING comes back.
    fn serves_a_newcomer(&mut self) {
        self.respond(&[0x7F]);
        self.read(usize::MAX);
        self.wait(Duration::from_secs(30));
        self.read(usize::MAX);
        let channel = self.newcomer(0xEE).expect("a newcomer gets a channel");
        let mut ping = [0; 64];
        ping[..4].copy_from_slice(&channel.to_be_bytes());
        ping[4..9].copy_from_slice(&[command::PING | 0x80, 0, 2, 0xAB, 0xCD]);
        self.receive(ping);
        assert_eq!(self.read(usize::MAX), Some(ping), "a PING comes back");
    }
}
