//! The ports of a device: who has which channels, and which packets wait for whom.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar};
use std::time::Duration;

use doppelkey_ctaphid::{BROADCAST, Packet, allocated_channel, refusal};

use super::{Shared, State, wait};
use crate::device::wire::{Disturbed, PacketSeen};

pub(super) struct PortState {
    outgoing: VecDeque<Packet>,
    room: usize,
    channels: VecDeque<u32>,
    waiters: usize,
    wake: Arc<Condvar>,
    /// Whether it is still there after a time without power.
    lasting: bool,
    closed: bool,
    disturbed: Disturbed,
}

/// What became of a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::device) enum Sent {
    /// The device has it, or has no power.
    Taken,
    /// There are packets to take first.
    Full,
    /// The port is closed.
    Closed,
}

/// How a wait ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::device) enum Waited {
    Ready,
    TimedOut,
    Closed,
}

impl Shared {
    pub(in crate::device) fn connect(&self, room: usize, lasting: bool) -> u64 {
        let mut state = self.lock();
        state.last_port += 1;
        let number = state.last_port;
        let port = PortState {
            outgoing: VecDeque::new(),
            room,
            channels: VecDeque::new(),
            waiters: 0,
            wake: Arc::default(),
            lasting,
            closed: !state.powered && !lasting,
            disturbed: Disturbed::default(),
        };
        state.ports.insert(number, port);
        number
    }

    pub(in crate::device) fn disconnect(&self, port: u64) {
        let mut state = self.lock();
        let Some(gone) = state.ports.remove(&port) else { return };
        for channel in gone.channels {
            state.owners.remove(&channel);
            let event = state.hid.abandon(channel);
            state.note(event);
        }
        state.pump(None);
        self.drive(state, None);
    }

    pub(in crate::device) fn send(&self, port: u64, packet: &Packet) -> Sent {
        let now = self.now();
        let mut state = self.lock();
        let has_room = match state.ports.get(&port) {
            Some(port) if !port.closed => port.outgoing.len() < port.room,
            _ => return Sent::Closed,
        };
        if !state.powered {
            return Sent::Taken;
        }
        if !has_room || !state.hid.ready() {
            return Sent::Full;
        }
        if let Some(observer) = &state.packet_observer {
            observer(&PacketSeen::new(false, packet));
        }
        let channel = u32::from_be_bytes([packet[0], packet[1], packet[2], packet[3]]);
        if channel != BROADCAST && state.owners.get(&channel) != Some(&port) {
            // Another door's channel is not there for this one.
            if let Some(refusal) = refusal(packet) {
                state.deliver(port, refusal, Some(port));
            }
            return Sent::Taken;
        }
        let event = state.hid.receive(now, packet);
        state.note(event);
        state.pump(Some(port));
        self.set_alarm(&mut state);
        self.drive(state, Some(port));
        Sent::Taken
    }

    pub(in crate::device) fn take(&self, port: u64) -> Option<Packet> {
        let mut state = self.lock();
        let packet = state.ports.get_mut(&port)?.outgoing.pop_front()?;
        // There is room for more of the response.
        state.pump(Some(port));
        Some(packet)
    }

    /// Waits for a packet for this port, until this moment if there is one.
    pub(in crate::device) fn wait(&self, port: u64, until: Option<Duration>) -> Waited {
        let mut state = self.lock();
        loop {
            let Some(waiting) = state.ports.get_mut(&port) else { return Waited::Closed };
            if waiting.closed {
                return Waited::Closed;
            }
            if !waiting.outgoing.is_empty() {
                return Waited::Ready;
            }
            let left = match until.map(|until| until.saturating_sub(self.now())) {
                Some(Duration::ZERO) => return Waited::TimedOut,
                left => left,
            };
            waiting.waiters += 1;
            let wake = waiting.wake.clone();
            state = wait(&wake, state, left);
            if let Some(waiting) = state.ports.get_mut(&port) {
                waiting.waiters -= 1;
            }
        }
    }

    pub(in crate::device) fn close(&self, port: u64) {
        if let Some(port) = self.lock().ports.get_mut(&port) {
            port.close();
        }
    }
}

impl PortState {
    /// Forgets what a device without power has forgotten; where the power stays away, most ports end.
    pub(super) fn power_cycle(&mut self, powered: bool) {
        self.channels.clear();
        self.outgoing.clear();
        if !powered && !self.lasting {
            self.close();
        }
    }

    fn close(&mut self) {
        self.closed = true;
        self.wake.notify_all();
    }
}

impl State {
    /// Moves packets from the machine to their ports. `taker` is the port whose packets the calling thread takes.
    pub(super) fn pump(&mut self, taker: Option<u64>) {
        loop {
            // A response waits while its port is full. (The machine gives it up in time.)
            if let Some(channel) = self.hid.sending()
                && let Some(port) = self.owners.get(&channel).and_then(|owner| self.ports.get(owner))
                && port.outgoing.len() >= port.room
            {
                return;
            }
            let Some(packet) = self.hid.next_packet() else { return };
            let channel = u32::from_be_bytes([packet[0], packet[1], packet[2], packet[3]]);
            let port = if channel == BROADCAST {
                // The answer to what the taker has just sent.
                if let (Some(port), Some(channel)) = (taker, allocated_channel(&packet)) {
                    self.allot(channel, port);
                }
                taker
            } else {
                self.owners.get(&channel).copied()
            };
            if let Some(port) = port {
                self.deliver(port, packet, taker);
            }
        }
    }

    fn allot(&mut self, channel: u32, number: u64) {
        let Some(port) = self.ports.get_mut(&number) else { return };
        self.owners.insert(channel, number);
        port.channels.push_back(channel);
        if port.channels.len() > CHANNELS_MAX
            && let Some(oldest) = port.channels.pop_front()
        {
            self.owners.remove(&oldest);
            let event = self.hid.abandon(oldest);
            self.note(event);
        }
    }

    fn deliver(&mut self, number: u64, packet: Packet, taker: Option<u64>) {
        let Some(port) = self.ports.get_mut(&number) else { return };
        for packet in port.disturbed.pass(&self.packet_faults, packet).into_iter().flatten() {
            if let Some(observer) = &self.packet_observer {
                observer(&PacketSeen::new(true, &packet));
            }
            // What does not fit is a keepalive or the end of a timeout, to someone who does not listen.
            if port.outgoing.len() < port.room + REPLIES_ABOVE {
                port.outgoing.push_back(packet);
            }
        }
        if port.waiters > 0 && taker != Some(number) {
            port.wake.notify_all();
        }
    }
}

/// The most channels that one port keeps; the oldest goes.
const CHANNELS_MAX: usize = 256;
/// Replies of one packet that a full port takes nevertheless.
const REPLIES_ABOVE: usize = 8;
