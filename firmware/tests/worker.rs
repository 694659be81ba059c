//! The worker with a board of memory: a request comes as packets, the button is pressed, the answer goes.

#[expect(dead_code, reason = "power is never cut here")]
mod nor;

use std::collections::VecDeque;
use std::time::Duration;

use doppelkey_core::{Authenticator, Configuration, Message};
use doppelkey_ctaphid::Packet;
use doppelkey_firmware::flash_store::FlashStore;
use doppelkey_firmware::port::Port;
use doppelkey_firmware::rng::Rng;
use doppelkey_firmware::shelf::name_of;
use doppelkey_firmware::worker::{Board, Led, Worker};
use nor::Nor;
use zeroize::Zeroizing;

/// A board whose time passes only in [`Board::wait`].
struct Bench {
    now: Duration,
    port: Port,
    pressed: bool,
    lit: Vec<bool>,
    fed: u32,
}

impl Board for Bench {
    fn now(&self) -> Duration {
        self.now
    }

    fn with_port<T>(&mut self, work: impl FnOnce(&mut Port) -> T) -> T {
        work(&mut self.port)
    }

    fn is_pressed(&mut self) -> bool {
        self.pressed
    }

    fn light(&mut self, lit: bool) {
        self.lit.push(lit);
    }

    fn feed_watchdog(&mut self) {
        self.fed += 1;
    }

    fn wait(&mut self) {
        self.now += Duration::from_millis(10);
        self.port.tick(self.now);
    }
}

struct World {
    board: Bench,
    worker: Worker<FlashStore<Nor, Rng, 16>, Rng>,
    channel: [u8; 4],
    sent: VecDeque<Packet>,
}

impl World {
    fn new() -> Self {
        let board =
            Bench { now: Duration::from_secs(1), port: Port::new(), pressed: false, lit: Vec::new(), fed: 0 };
        let store = FlashStore::open(Nor::new(16), Zeroizing::new([7; 32]), Rng::from_seed([2; 32]));
        let store = store.expect("a blank flash can be opened");
        let authenticator = Authenticator::new(store, Rng::from_seed([1; 32]), Configuration::small());
        let mut world = World {
            board,
            worker: Worker::new(
                authenticator,
                Box::leak(Box::new(Message::new())),
                Box::leak(Box::new(Message::new())),
            ),
            channel: [0xFF; 4],
            sent: VecDeque::new(),
        };
        world.send(0x86, &[1, 2, 3, 4, 5, 6, 7, 8]);
        let answer = world.board.port.next_packet().expect("INIT is answered at once");
        world.channel.copy_from_slice(&answer[15..19]);
        world
    }

    /// Sends a message of less than 256 bytes.
    fn send(&mut self, command: u8, payload: &[u8]) {
        let (first, rest) = payload.split_at(payload.len().min(57));
        let initial = (vec![command, 0, payload.len() as u8], first);
        let continuations = (0..).zip(rest.chunks(59)).map(|(sequence, part)| (vec![sequence], part));
        for (head, part) in std::iter::once(initial).chain(continuations) {
            let bytes = [&self.channel, &head[..], part].concat();
            let mut packet: Packet = [0; 64];
            packet[..bytes.len()].copy_from_slice(&bytes);
            self.board.port.receive(self.board.now, &packet);
        }
    }

    fn turns(&mut self, count: usize) {
        for _ in 0..count {
            self.worker.step(&mut self.board);
            self.board.wait();
            self.sent.extend(std::iter::from_fn(|| self.board.port.next_packet()));
        }
    }

    /// The payload of the next message that is no keepalive, if its first packet is there; and the keepalives before it.
    fn answer(&mut self) -> (Option<Vec<u8>>, Vec<u8>) {
        let mut keepalives = Vec::new();
        while let Some(packet) = self.sent.pop_front() {
            let length = u16::from_be_bytes([packet[5], packet[6]]) as usize;
            match packet[4] {
                0xBB => keepalives.push(packet[7]),
                _ => return (Some(packet[7..7 + length.min(57)].to_vec()), keepalives),
            }
        }
        (None, keepalives)
    }
}

#[test]
fn a_request_is_answered_in_one_turn() {
    let mut world = World::new();
    world.send(0x90, &[0x04]);
    world.turns(1);
    let (answer, _) = world.answer();
    assert_eq!(answer.expect("getInfo is answered")[0], 0x00);
    assert!(world.board.fed > 0);
}

#[test]
fn selection_waits_for_a_touch_with_keepalives_and_a_blinking_led() {
    let mut world = World::new();
    world.send(0x90, &[0x0B]);
    world.turns(60);
    let (answer, keepalives) = world.answer();
    assert_eq!(answer, None);
    assert!(keepalives.len() >= 5 && keepalives.iter().all(|&status| status == 2), "{keepalives:?}");
    let changes = world.board.lit.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(changes >= 2, "the LED blinks");
    world.board.pressed = true;
    world.turns(2);
    assert_eq!(world.answer().0, Some(vec![0x00]));
}

#[test]
fn a_finger_left_on_the_button_approves_nothing() {
    let mut world = World::new();
    world.board.pressed = true;
    world.send(0x90, &[0x0B]);
    world.turns(50);
    assert_eq!(world.answer().0, None);
    world.board.pressed = false;
    world.turns(1);
    world.board.pressed = true;
    world.turns(1);
    assert_eq!(world.answer().0, Some(vec![0x00]));
}

#[test]
fn cancel_ends_the_wait() {
    let mut world = World::new();
    world.send(0x90, &[0x0B]);
    world.turns(3);
    world.send(0x91, &[]);
    world.turns(1);
    assert_eq!(world.answer().0, Some(vec![0x2D]));
    // And the next request is served.
    world.send(0x90, &[0x04]);
    world.turns(1);
    assert_eq!(world.answer().0.expect("getInfo is answered")[0], 0x00);
}

#[test]
fn a_request_that_was_abandoned_is_not_approved_by_a_later_touch() {
    // {1: hash, 2: {"id": "a.b"}, 3: {"id": h'01', "name": "n"}, 4: [{"alg": -7, "type": "public-key"}], 7: {"rk": true}}
    let make = [
        &[0x01, 0xA5, 0x01, 0x58, 0x20][..],
        &[7; 32],
        b"\x02\xA1\x62id\x63a.b\x03\xA2\x62id\x41\x01\x64name\x61n",
        b"\x04\x81\xA2\x63alg\x26\x64type\x6Apublic-key\x07\xA1\x62rk\xF5",
    ]
    .concat();
    let get = [&b"\x02\xA2\x01\x63a.b\x02\x58\x20"[..], &[7; 32]].concat();
    let init = [1; 8];
    for abandoned in [1, 2] {
        let mut world = World::new();
        world.send(0x90, &make);
        world.turns(2);
        for request in 0..abandoned {
            if request > 0 {
                world.send(0x90, &[0x0B]);
            }
            // In this channel it ends what is pending, and all of this comes before the worker's next turn.
            world.send(0x86, &init);
        }
        world.board.pressed = true;
        world.turns(2);
        world.sent.clear();
        world.board.lit.clear();
        world.board.pressed = false;
        world.turns(100);
        let changes = world.board.lit.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(changes <= 2, "nothing waits for a touch: {changes} changes in a second");
        world.send(0x90, &get);
        world.turns(1);
        assert_eq!(world.answer().0, Some(vec![0x2E]), "a credential was made, of {abandoned} abandoned");
    }
}

#[test]
fn nobody_touches_and_the_request_times_out() {
    let mut world = World::new();
    world.send(0x90, &[0x0B]);
    let mut answer = None;
    for _ in 0..20_000 {
        world.turns(1);
        answer = world.answer().0;
        if answer.is_some() {
            break;
        }
    }
    assert_eq!(answer, Some(vec![0x2F]));
}

#[test]
fn wink_is_seen() {
    let mut world = World::new();
    world.turns(10);
    world.board.lit.clear();
    world.send(0x88, &[]);
    world.turns(100);
    let changes = world.board.lit.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(changes >= 12, "{changes} changes in a second");
}

#[test]
fn reset_takes_a_touch_and_works_only_soon_after_power_up() {
    let mut world = World::new();
    world.send(0x90, &[0x07]);
    world.turns(3);
    assert_eq!(world.answer().0, None, "it waits for a touch");
    world.board.pressed = true;
    world.turns(2);
    assert_eq!(world.answer().0, Some(vec![0x00]));
    world.board.pressed = false;
    world.turns(1000);
    world.send(0x90, &[0x07]);
    world.turns(2);
    assert_eq!(world.answer().0, Some(vec![0x30]), "the window of ten seconds is over");
}

#[test]
fn every_state_of_the_led_can_be_told_from_the_others() {
    // How often it changes in three seconds, and for how long it is lit, in milliseconds.
    let seen = |led: Led| {
        let lit: Vec<bool> = (0..3000).map(|ms| led.is_lit(Duration::from_millis(ms))).collect();
        let changes = lit.windows(2).filter(|pair| pair[0] != pair[1]).count();
        (changes, lit.iter().filter(|lit| **lit).count())
    };
    assert_eq!(seen(Led::Idle), (3, 80));
    assert_eq!(seen(Led::Waiting), (11, 1500));
    assert_eq!(seen(Led::Wink), (47, 1488));
    assert_eq!(seen(Led::Error), (11, 900));
}

#[test]
fn the_watchdog_is_fed_by_every_turn_and_by_nothing_else() {
    let mut world = World::new();
    for _ in 0..100 {
        world.send(0x81, b"ping");
        world.board.wait();
    }
    assert_eq!(world.board.fed, 0, "interrupts alone do not feed it");
    world.turns(7);
    assert_eq!(world.board.fed, 7);
}

#[test]
fn entries_are_put_and_read_without_a_touch_and_taken_away_after_one() {
    let mut world = World::new();
    let ask = |world: &mut World, request: &[u8]| {
        world.send(0x90, request);
        world.turns(1);
        world.answer().0
    };
    let listed = |world: &mut World| ask(world, &[&[0x53, 2][..], &[0; 8]].concat()).expect("asks nobody");
    let name = name_of(b"sealed");
    let put = [&[0x53, 1][..], &name, &[0, 0, 0, 6], &[0; 4], b"sealed"].concat();
    let get = |offset| [&[0x53, 3][..], &name, &[0, 0, 0, offset]].concat();
    assert_eq!(listed(&mut world), [0; 10], "none");
    assert_eq!(ask(&mut world, &get(0)), Some(vec![0, 1]), "nothing of that name");
    assert_eq!(ask(&mut world, &put), Some(vec![0, 0]));
    assert_eq!(ask(&mut world, &put), Some(vec![0, 0]), "a second time is no error");
    assert_eq!(listed(&mut world), [&[0, 0, 0, 0, 0, 0, 0, 0, 0, 1][..], &name].concat());
    assert_eq!(ask(&mut world, &get(0)), Some([&[0, 0, 0, 0, 0, 6][..], b"sealed"].concat()));
    assert_eq!(ask(&mut world, &get(2)), Some([&[0, 0, 0, 0, 0, 6][..], b"aled"].concat()));
    assert_eq!(ask(&mut world, &get(7)), Some(vec![0, 1]), "beyond its end");

    // Cancelled, and out of time: nothing is taken away.
    assert_eq!(ask(&mut world, &[0x53, 4]), None, "it waits for a touch");
    world.send(0x91, &[]);
    world.turns(2);
    assert_eq!(world.answer().0, Some(vec![0x2D]));
    world.send(0x90, &[0x53, 4]);
    world.turns(3100);
    assert_eq!(world.answer().0, Some(vec![0x2F]));
    assert_eq!(listed(&mut world)[9], 1);
    world.send(0x90, &[0x53, 4]);
    world.turns(2);
    world.board.pressed = true;
    world.turns(2);
    assert_eq!(world.answer().0, Some(vec![0, 0]));
    world.board.pressed = false;
    assert_eq!(listed(&mut world), [0; 10]);
}

#[test]
fn a_malformed_request_for_the_shelf_is_told_so_and_changes_nothing() {
    let mut world = World::new();
    let name = name_of(b"sealed");
    let put = |name: &[u8], length: u8, offset: u8, piece: &[u8]| {
        [&[0x53, 1][..], name, &[0, 0, 0, length], &[0, 0, 0, offset], piece].concat()
    };
    let requests = [
        vec![0x53],
        vec![0x53, 0],
        vec![0x53, 4, 0],
        vec![0x53, 5],
        vec![0x53, 1, 2, 3],
        vec![0x53, 2, 0],
        vec![0x53, 3, 0],
        put(&name, 6, 0, b"seale"),
        put(&name, 6, 1, b"ealed"),
        put(&[0; 16], 6, 0, b"sealed"),
        put(&name_of(b""), 0, 0, b""),
    ];
    for request in requests {
        world.send(0x90, &request);
        world.turns(1);
        assert_eq!(world.answer().0, Some(vec![0, 3]), "{request:02x?}");
    }
    world.send(0x90, &[&[0x53, 1][..], &name, &[0, 0, 0x10, 1], &[0; 4], b"s"].concat());
    world.turns(1);
    assert_eq!(world.answer().0, Some(vec![0, 2]), "4,097 bytes are too many");
    world.send(0x90, &[&[0x53, 2][..], &[0; 8]].concat());
    world.turns(1);
    assert_eq!(world.answer().0, Some(vec![0; 10]));
}
