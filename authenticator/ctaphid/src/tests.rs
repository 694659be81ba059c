//! The machine against CTAP 2.3 §11.2, one story a rule.

extern crate std;

use core::time::Duration;
use std::vec::Vec;

use crate::packet::command::{CANCEL, CBOR, ERROR, INIT, KEEPALIVE, LOCK, MSG, PING, WINK};
use crate::*;

const ALL: [Capabilities; 3] = [Capabilities::CBOR, Capabilities::MSG, Capabilities::WINK];

/// A device, a clock, and a platform that has the wire.
struct World {
    hid: Ctaphid,
    now: Duration,
}

impl World {
    fn new() -> Self {
        World { hid: Ctaphid::new(ALL[0] | ALL[1] | ALL[2], [5, 6, 7]), now: Duration::ZERO }
    }

    fn give(&mut self, packet: Packet) -> Option<Event> {
        assert!(self.hid.ready());
        self.hid.receive(self.now, &packet)
    }

    /// Sends a whole message; the event of its last packet.
    fn send(&mut self, channel: u32, command: u8, payload: &[u8]) -> Option<Event> {
        let mut event = None;
        for packet in message(channel, command, payload) {
            event = self.give(packet);
        }
        event
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.hid.tick(self.now);
    }

    fn packets(&mut self) -> Vec<Packet> {
        core::iter::from_fn(|| self.hid.next_packet()).collect()
    }

    /// The only packet there is: its channel, command and payload.
    fn reply(&mut self) -> (u32, u8, Vec<u8>) {
        let packets = self.packets();
        assert_eq!(packets.len(), 1, "one packet is sent");
        let packet = packets[0];
        let length = usize::from(packet[6]);
        (
            u32::from_be_bytes(packet[..4].try_into().unwrap()),
            packet[4] & 0x7f,
            packet[7..7 + length].to_vec(),
        )
    }

    fn error(&mut self) -> (u32, u8) {
        let (channel, command, payload) = self.reply();
        assert_eq!((command, payload.len()), (ERROR, 1));
        (channel, payload[0])
    }

    fn open(&mut self) -> u32 {
        assert_eq!(self.send(BROADCAST, INIT, b"a nonce!"), None);
        let (channel, command, payload) = self.reply();
        assert_eq!((channel, command, payload.len()), (BROADCAST, INIT, 17));
        assert_eq!(&payload[..8], b"a nonce!");
        u32::from_be_bytes(payload[8..12].try_into().unwrap())
    }

    fn request(&mut self, channel: u32) -> Transaction {
        match self.send(channel, CBOR, &[4]) {
            Some(Event::Cbor(transaction)) => transaction,
            other => panic!("{other:?}"),
        }
    }
}

fn message(channel: u32, command: u8, payload: &[u8]) -> Vec<Packet> {
    let mut packets = Vec::from([packet::initial(channel, command, payload)]);
    for (chunk, sequence) in payload.get(57..).unwrap_or_default().chunks(59).zip(0..) {
        packets.push(packet::continuation(channel, sequence, chunk));
    }
    packets
}

#[test]
fn init_gives_channels_and_says_what_the_device_is() {
    let mut world = World::new();
    world.send(BROADCAST, INIT, b"12345678");
    let (_, _, payload) = world.reply();
    // Nonce, channel, protocol version 2, device version, capabilities WINK | CBOR and not NMSG.
    assert_eq!(payload, b"12345678\0\0\0\x01\x02\x05\x06\x07\x05");
    assert_eq!(world.open(), 2);
    let mut small = World { hid: Ctaphid::new(Capabilities::CBOR, [0; 3]), now: Duration::ZERO };
    small.send(BROADCAST, INIT, b"12345678");
    assert_eq!(small.reply().2[16], 0x0c, "CBOR and NMSG");
    assert_eq!(
        allocated_channel(&message(BROADCAST, INIT, &[0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4])[0]),
        Some(0x01020304)
    );
    assert_eq!(allocated_channel(&message(1, INIT, &[0; 17])[0]), None);
}

#[test]
fn messages_of_every_size_come_back() {
    let mut world = World::new();
    let channel = world.open();
    for length in (0..=200).chain([7_549, 7_550, 7_551, 7_608, 7_609]) {
        let payload: Vec<u8> = (0..length).map(|index| index as u8).collect();
        assert_eq!(world.send(channel, PING, &payload), None);
        assert_eq!(world.packets(), message(channel, PING, &payload), "{length} bytes");
    }
    let (first, second, third) = (world.open(), world.open(), world.open());
    assert!(first != second && second != third && first != third);
    assert_eq!(world.send(third, PING, &[0; 1024]), None);
    assert_eq!(world.packets(), message(third, PING, &[0; 1024]));
}

#[test]
fn a_request_is_an_event_and_its_response_a_message() {
    let mut world = World::new();
    let channel = world.open();
    let Some(Event::Msg(transaction)) = world.send(channel, MSG, &[7; 100]) else { panic!() };
    assert_eq!(world.hid.request(transaction), Some(&[7; 100][..]));
    assert!(world.packets().is_empty());
    assert!(world.hid.respond(transaction, &[9; 60]));
    assert_eq!(world.packets(), message(channel, MSG, &[9; 60]));
    assert_eq!(world.hid.request(transaction), None);
    assert!(!world.hid.respond(transaction, &[1]), "one answer a request");
    assert!(!world.hid.refuse(transaction, ErrorCode::Other));
}

#[test]
fn a_response_that_no_message_can_carry_is_an_error() {
    let mut world = World::new();
    let channel = world.open();
    let transaction = world.request(channel);
    assert!(world.hid.respond(transaction, &[0; MESSAGE_MAX + 1]));
    assert_eq!(world.error(), (channel, 0x7f));
    let transaction = world.request(channel);
    assert!(world.hid.refuse(transaction, ErrorCode::Other));
    assert_eq!(world.error(), (channel, 0x7f));
}

#[test]
fn other_channels_are_told_that_the_device_is_busy() {
    let mut world = World::new();
    let (first, second) = (world.open(), world.open());
    // While receiving, processing and sending.
    world.give(message(first, CBOR, &[4; 60])[0]);
    assert_eq!(world.send(second, PING, &[]), None);
    assert_eq!(world.error(), (second, 0x06));
    let Some(Event::Cbor(transaction)) = world.give(message(first, CBOR, &[4; 60])[1]) else { panic!() };
    for channel in [first, second] {
        world.send(channel, CBOR, &[4]);
        assert_eq!(world.error(), (channel, 0x06), "also to the channel itself");
    }
    world.hid.respond(transaction, &[5; 100]);
    assert_eq!(world.hid.sending(), Some(first));
    let begun = world.hid.next_packet();
    world.send(second, PING, &[]);
    assert_eq!(world.hid.sending(), None, "the error goes before the rest");
    let rest = world.packets();
    let sent = message(first, CBOR, &[5; 100]);
    assert_eq!((begun, rest[1]), (Some(sent[0]), sent[1]));
    assert_eq!(rest[0], message(second, ERROR, &[0x06])[0]);
    // And is free again.
    world.send(second, PING, b"x");
    assert_eq!(world.reply(), (second, PING, b"x".to_vec()));
}

#[test]
fn init_is_served_whatever_else_is_going_on() {
    let mut world = World::new();
    let first = world.open();
    let transaction = world.request(first);
    let second = world.open();
    assert_ne!(first, second);
    assert!(world.hid.respond(transaction, &[1]), "the other channel's request was not touched");
    assert_eq!(world.reply(), (first, CBOR, [1].to_vec()));
}

#[test]
fn init_on_a_channel_resynchronises_that_channel() {
    let mut world = World::new();
    let channel = world.open();
    let answer = [&b"12345678"[..], &channel.to_be_bytes(), &[2, 5, 6, 7, 5]].concat();
    // While receiving: the part that came is forgotten.
    world.give(message(channel, PING, &[1; 100])[0]);
    assert_eq!(world.send(channel, INIT, b"12345678"), None);
    assert_eq!(world.reply(), (channel, INIT, answer.clone()));
    assert_eq!(world.give(message(channel, PING, &[1; 100])[1]), None);
    assert!(world.packets().is_empty(), "a continuation of nothing is ignored");
    // While processing: the request is abandoned.
    let transaction = world.request(channel);
    assert_eq!(world.send(channel, INIT, b"12345678"), Some(Event::Abandoned(transaction)));
    assert_eq!(world.reply(), (channel, INIT, answer.clone()));
    assert!(!world.hid.respond(transaction, &[1]));
    // While sending: the rest is not sent.
    let transaction = world.request(channel);
    world.hid.respond(transaction, &[5; 200]);
    world.hid.next_packet();
    assert_eq!(world.send(channel, INIT, b"12345678"), None);
    assert_eq!(world.reply(), (channel, INIT, answer));
}

#[test]
fn messages_that_break_the_rules_get_the_error_of_the_rule() {
    let mut world = World::new();
    let channel = world.open();
    let cases: [(u32, u8, &[u8], u8); 14] = [
        (channel, 0x02, &[], 0x01),
        (channel, KEEPALIVE, &[0], 0x01),
        (channel, ERROR, &[0], 0x01),
        (channel, 0x7f, &[], 0x01),
        (channel, LOCK, &[11], 0x02),
        (channel, CBOR, &[], 0x03),
        (channel, MSG, &[], 0x03),
        (channel, WINK, &[0], 0x03),
        (channel, LOCK, &[], 0x03),
        (channel, INIT, &[0; 7], 0x03),
        (BROADCAST, INIT, &[0; 9], 0x03),
        (BROADCAST, PING, &[], 0x0b),
        (0, PING, &[], 0x0b),
        (channel + 1, INIT, &[0; 8], 0x0b),
    ];
    for (channel, command, payload, error) in cases {
        assert_eq!(world.send(channel, command, payload), None);
        assert_eq!(world.error(), (channel, error), "command {command:#x} with {payload:?}");
    }
    // A length above what a message can carry.
    let mut long = message(channel, PING, &[])[0];
    long[5..7].copy_from_slice(&7_610_u16.to_be_bytes());
    world.give(long);
    assert_eq!(world.error(), (channel, 0x03));
    // What the device does not have is not a command.
    let mut small = World { hid: Ctaphid::new(Capabilities::CBOR, [0; 3]), now: Duration::ZERO };
    let channel = small.open();
    for command in [MSG, WINK] {
        small.send(channel, command, &[]);
        assert_eq!(small.error(), (channel, 0x01));
    }
}

#[test]
fn a_packet_out_of_sequence_ends_the_message() {
    let mut world = World::new();
    let channel = world.open();
    let packets = message(channel, PING, &[1; 200]);
    for wrong in [2, 0] {
        world.give(packets[0]);
        if wrong == 0 {
            world.give(packets[1]);
        }
        world.give(packet::continuation(channel, wrong, &[]));
        assert_eq!(world.error(), (channel, 0x04));
        world.give(packets[2]);
        assert!(world.packets().is_empty(), "the rest is ignored");
    }
    // A new message in the middle of one.
    world.give(packets[0]);
    world.send(channel, PING, b"x");
    assert_eq!(world.error(), (channel, 0x04));
    world.send(channel, PING, b"x");
    assert_eq!(world.reply().1, PING);
}

#[test]
fn nothing_is_said_to_silence_or_to_a_packet_that_continues_nothing() {
    let mut world = World::new();
    let channel = world.open();
    for _ in 0..30 {
        world.wait(Duration::from_millis(100));
        assert!(world.packets().is_empty());
    }
    for channel in [channel, channel + 1, 0, BROADCAST] {
        assert_eq!(world.give(packet::continuation(channel, 0, &[7; 59])), None);
        assert!(world.packets().is_empty());
    }
}

#[test]
fn continuations_of_other_channels_do_not_disturb_a_message() {
    let mut world = World::new();
    let (first, second) = (world.open(), world.open());
    let packets = message(first, PING, &[3; 100]);
    world.give(packets[0]);
    world.give(packet::continuation(second, 0, &[9; 59]));
    world.give(packet::continuation(77, 0, &[9; 59]));
    world.give(packets[1]);
    assert_eq!(world.packets(), packets);
}

#[test]
fn a_message_that_does_not_go_on_times_out() {
    let mut world = World::new();
    let (first, second) = (world.open(), world.open());
    let packets = message(first, PING, &[3; 200]);
    world.give(packets[0]);
    world.wait(TRANSACTION_TIMEOUT - Duration::from_millis(1));
    assert!(world.packets().is_empty());
    // Each packet gives the next one its time.
    world.give(packets[1]);
    assert_eq!(world.hid.due(), Some(world.now + TRANSACTION_TIMEOUT));
    world.wait(TRANSACTION_TIMEOUT);
    assert_eq!(world.error(), (first, 0x05));
    assert_eq!(world.hid.due(), None);
    // A packet that comes without a tick in between finds the same.
    world.give(packets[0]);
    world.now += TRANSACTION_TIMEOUT;
    world.send(second, PING, b"x");
    let replies = world.packets();
    assert_eq!(replies, [message(first, ERROR, &[5]), message(second, PING, b"x")].concat());
}

#[test]
fn keepalives_come_more_often_than_every_100_ms_and_say_what_is_waited_for() {
    let mut world = World::new();
    let channel = world.open();
    let transaction = world.request(channel);
    assert!(world.packets().is_empty());
    for _ in 0..20 {
        let due = world.hid.due().unwrap();
        assert!(due - world.now < Duration::from_millis(100));
        world.wait(due - world.now);
        assert_eq!(world.reply(), (channel, KEEPALIVE, [1].to_vec()));
    }
    // A change is said at once, and once.
    world.hid.wait_for_user(world.now, transaction, true);
    assert_eq!(world.hid.due(), Some(world.now));
    world.wait(Duration::ZERO);
    assert_eq!(world.reply(), (channel, KEEPALIVE, [2].to_vec()));
    world.hid.wait_for_user(world.now, transaction, true);
    world.wait(Duration::ZERO);
    assert!(world.packets().is_empty());
    // None piles up when nobody fetches them, and none comes after the response.
    world.wait(Duration::from_secs(5));
    world.wait(Duration::from_secs(5));
    world.hid.respond(transaction, &[0]);
    assert_eq!(world.reply(), (channel, CBOR, [0].to_vec()));
    world.wait(Duration::from_secs(5));
    assert!(world.packets().is_empty());
}

#[test]
fn cancel_is_for_a_pending_cbor_request_of_its_own_channel_and_never_answered() {
    let mut world = World::new();
    let (first, second) = (world.open(), world.open());
    assert_eq!(world.send(first, CANCEL, &[]), None, "nothing is pending");
    let transaction = world.request(first);
    assert_eq!(world.send(second, CANCEL, &[]), None, "not its own");
    assert_eq!(world.send(99, CANCEL, &[]), None, "no such channel");
    assert_eq!(world.send(first, CANCEL, &[]), Some(Event::Cancel(transaction)));
    assert!(world.packets().is_empty());
    // The response is still due.
    assert!(world.hid.respond(transaction, &[0x2d]));
    assert_eq!(world.reply(), (first, CBOR, [0x2d].to_vec()));
    assert_eq!(world.send(first, CANCEL, &[]), None);
    assert!(world.packets().is_empty(), "there is nothing any more");
    let Some(Event::Msg(_)) = world.send(first, MSG, &[0; 7]) else { panic!() };
    assert_eq!(world.send(first, CANCEL, &[]), None, "U2F has no cancel");
}

#[test]
fn wink_is_an_event_and_answered() {
    let mut world = World::new();
    let channel = world.open();
    assert_eq!(world.send(channel, WINK, &[]), Some(Event::Wink));
    assert_eq!(world.reply(), (channel, WINK, [].to_vec()));
}

#[test]
fn a_lock_keeps_others_out_until_it_ends() {
    let mut world = World::new();
    let (first, second) = (world.open(), world.open());
    let is_busy = |world: &mut World| {
        world.send(second, PING, &[]);
        let (channel, command, payload) = world.reply();
        assert_eq!(channel, second);
        if command == ERROR {
            assert_eq!(payload, [0x06]);
        }
        command == ERROR
    };
    let lock = |world: &mut World, channel, seconds| {
        world.send(channel, LOCK, &[seconds]);
        world.reply().1
    };
    assert_eq!(lock(&mut world, first, 10), LOCK);
    assert!(is_busy(&mut world));
    assert_eq!(lock(&mut world, second, 1), ERROR, "a lock cannot be taken away");
    world.send(first, PING, &[]);
    assert_eq!(world.reply().1, PING, "its owner goes on");
    world.open();
    world.send(second, INIT, &[0; 8]);
    assert_eq!(world.error(), (second, 0x06), "and nobody resynchronises");
    // Resynchronising keeps it; zero seconds end it; so does time, and so does the owner's going.
    world.send(first, INIT, &[0; 8]);
    world.reply();
    assert!(is_busy(&mut world));
    assert_eq!(lock(&mut world, first, 0), LOCK);
    assert!(!is_busy(&mut world));
    world.send(second, INIT, &[0; 8]);
    assert_eq!(world.reply().2[8..12], second.to_be_bytes());
    lock(&mut world, first, 2);
    world.now += Duration::from_millis(1_999);
    assert!(is_busy(&mut world));
    world.now += Duration::from_millis(1);
    assert!(!is_busy(&mut world));
    lock(&mut world, first, 10);
    assert_eq!(world.hid.abandon(first), None);
    assert!(!is_busy(&mut world));
}

#[test]
fn a_response_that_is_not_fetched_gives_the_device_free() {
    let mut world = World::new();
    let (first, second) = (world.open(), world.open());
    let transaction = world.request(first);
    world.hid.respond(transaction, &[1; 1000]);
    world.hid.next_packet();
    let mut waited = Duration::ZERO;
    // Whoever keeps time as it is asked to sees it end, within twice the time.
    while let Some(due) = world.hid.due() {
        let step = due.saturating_sub(world.now).max(Duration::from_millis(1));
        waited += step;
        world.wait(step);
    }
    assert!(waited >= TRANSACTION_TIMEOUT && waited <= 2 * TRANSACTION_TIMEOUT, "{waited:?}");
    world.send(second, PING, &[]);
    assert_eq!(world.reply(), (second, PING, [].to_vec()));
}

#[test]
fn a_power_cycle_forgets_channels_and_late_answers_find_nobody() {
    let mut world = World::new();
    let channel = world.open();
    let transaction = world.request(channel);
    world.hid.power_cycle();
    world.hid.offer(Capabilities::CBOR);
    assert!(!world.hid.respond(transaction, &[1]));
    assert_eq!(world.send(channel, PING, &[]), None);
    assert_eq!(world.error(), (channel, 0x0b));
    let channel = world.open();
    let fresh = world.request(channel);
    assert_ne!(transaction, fresh);
    assert!(!world.hid.respond(transaction, &[1]));
    assert!(world.hid.respond(fresh, &[1]));
}

#[test]
fn a_refusal_is_what_a_device_without_the_channel_would_say() {
    for command in [PING, CBOR, MSG, INIT, LOCK, WINK] {
        assert_eq!(refusal(&message(9, command, &[])[0]), Some(message(9, ERROR, &[0x0b])[0]));
    }
    assert_eq!(refusal(&message(9, CANCEL, &[])[0]), None);
    assert_eq!(refusal(&packet::continuation(9, 0, &[])), None);
}

#[test]
fn no_sequence_of_packets_upsets_it() {
    // A small generator with fixed seeds; packets near the rules, on few channels, with time in between.
    for seed in 0..200_u64 {
        let mut state = seed;
        let mut next = move |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut world = World::new();
        let mut pending = None;
        for _ in 0..400 {
            let mut packet = [0; 64];
            let channel = [BROADCAST, 0, 1, 2, 3][next(5) as usize];
            packet[..4].copy_from_slice(&channel.to_be_bytes());
            let commands = [INIT, PING, CBOR, MSG, CANCEL, LOCK, WINK, KEEPALIVE];
            packet[4] = if next(3) == 0 { next(4) as u8 } else { commands[next(8) as usize] | 0x80 };
            packet[5..7]
                .copy_from_slice(&[0_u16, 1, 8, 57, 58, 120, 300, 9_999][next(8) as usize].to_be_bytes());
            packet[7] = next(12) as u8;
            world.wait(Duration::from_millis([0, 1, 90, 600][next(4) as usize]));
            if world.hid.ready() {
                match world.hid.receive(world.now, &packet) {
                    Some(Event::Cbor(transaction) | Event::Msg(transaction)) => pending = Some(transaction),
                    Some(Event::Abandoned(transaction)) => {
                        assert_eq!(Some(transaction), pending, "seed {seed}")
                    }
                    _ => {}
                }
            }
            if next(3) == 0
                && let Some(transaction) = pending.take()
            {
                world.hid.respond(transaction, &std::vec![0; next(400) as usize]);
            }
            for _ in 0..next(6) {
                world.hid.next_packet();
            }
        }
        // Whatever happened, after its timeouts the device serves a newcomer.
        world.packets();
        if let Some(transaction) = pending {
            world.hid.refuse(transaction, ErrorCode::Other);
        }
        for _ in 0..4 {
            world.packets();
            world.wait(Duration::from_secs(11));
        }
        world.packets();
        let channel = world.open();
        world.send(channel, PING, b"hello");
        assert_eq!(world.reply(), (channel, PING, b"hello".to_vec()), "seed {seed}");
    }
}
