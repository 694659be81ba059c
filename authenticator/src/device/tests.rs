use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use doppelkey_core::testing::SeededRng;
use doppelkey_core::{
    Action, Algorithm, Answer, Configuration, CredRandom, Credential, MemoryStore, PrivateKey,
};
use doppelkey_ctaphid::command;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::user_interface::{Auto, External};

/// An engine of few words: the first byte of a request says what it does.
struct Parrot {
    asking: bool,
    gate: Option<Receiver<()>>,
}

pub(crate) const ECHO: u8 = 1;
pub(crate) const ASK: u8 = 2;
const ASK_BRIEFLY: u8 = 6;
const PANIC: u8 = 3;
const SLOW: u8 = 4;
const LONG: u8 = 5;
pub(crate) const APPROVED: u8 = 0xa0;
const DENIED: u8 = 0xa1;
const CANCELLED: u8 = 0xa2;
const TIMED_OUT: u8 = 0xa3;

impl Engine for Parrot {
    fn handle(&mut self, now: Time, input: Input<'_>, response: &mut Message) -> Output {
        response.clear();
        let said: &[u8] = match input {
            Input::Cbor([PANIC, request @ ..]) => {
                // As a bug of ours may: it prints what it had in its hands.
                let key: [u8; 32] = request.first_chunk().copied().unwrap_or([1; 32]);
                let key = PrivateKey::from_bytes(Algorithm::Es256, &key).expect("a key");
                let mut credential = Credential::new([1; 32], key);
                credential.cred_random = Some(CredRandom { with_uv: [0x5A; 32], without_uv: [0x5A; 32] });
                panic!("as told: {credential:?}");
            }
            Input::Cbor([kind @ (ASK | ASK_BRIEFLY), ..]) => {
                self.asking = true;
                // Longer than a busy machine may stand still, or short enough to wait for its end.
                let patience = Duration::from_millis(if *kind == ASK { 30_000 } else { 300 });
                return Output::AskUser { until: now + patience };
            }
            Input::Cbor([SLOW, ..]) => {
                let _ = self.gate.as_ref().map(Receiver::recv);
                &[SLOW]
            }
            Input::Cbor([LONG, ..]) => &[LONG; 7609],
            Input::Cbor(request) | Input::Msg(request) => request,
            _ if !self.asking => return Output::Idle,
            Input::Answer(Answer::Approve { .. }) => &[APPROVED],
            Input::Answer(_) => &[DENIED],
            Input::Cancel => &[CANCELLED],
            Input::Tick => {
                let _ = self.gate.as_ref().map(Receiver::recv);
                &[TIMED_OUT]
            }
        };
        self.asking = false;
        response.extend_from_slice(said).expect("it fits");
        Output::Respond
    }

    fn prompt(&self) -> Option<Prompt<'_>> {
        let prompt = Prompt {
            action: Action::Select,
            rp_id: None,
            user_name: None,
            user_display_name: None,
            accounts: 0,
            verification: false,
        };
        self.asking.then_some(prompt)
    }

    fn end_stateful_commands(&mut self) {}
}

#[expect(clippy::disallowed_methods, reason = "the tests compose a device as a program does")]
fn clock() -> Clock {
    let start = Instant::now();
    Arc::new(move || start.elapsed())
}

pub(crate) fn device(user: impl UserInterface + 'static) -> Device {
    Device::new(clock(), Box::new(user), || Box::new(Parrot { asking: false, gate: None }))
}

/// A device for which no time passes: a message may stop half-way for as long as a busy machine has it.
pub(crate) fn timeless_device() -> Device {
    let clock: Clock = Arc::new(|| Duration::from_secs(1));
    Device::new(clock, Box::new(Auto), || Box::new(Parrot { asking: false, gate: None }))
}

/// A device whose slow requests, and those that are out of time, wait for a word through the sender.
fn slow_device(user: impl UserInterface + 'static) -> (Device, Sender<()>) {
    let (sender, receiver) = channel();
    let mut gate = Some(receiver);
    let device =
        Device::new(clock(), Box::new(user), move || Box::new(Parrot { asking: false, gate: gate.take() }));
    (device, sender)
}

struct Channel {
    connection: LocalConnection,
    id: [u8; 4],
}

impl Channel {
    fn open(device: &Device) -> Self {
        let mut channel = Channel { connection: device.connect(), id: [0xff; 4] };
        channel.send(command::INIT, b"12345678");
        let answer = channel.packet();
        assert_eq!(answer[7..15], *b"12345678");
        channel.id.copy_from_slice(&answer[15..19]);
        channel
    }

    fn send(&mut self, command: u8, payload: &[u8]) {
        let mut packet = [0; 64];
        packet[..4].copy_from_slice(&self.id);
        packet[4] = command | 0x80;
        packet[6] = payload.len() as u8;
        packet[7..7 + payload.len()].copy_from_slice(payload);
        self.connection.send(&packet).expect("it is taken");
    }

    fn packet(&mut self) -> Packet {
        let packet = self.connection.receive(Some(Duration::from_secs(20)));
        packet.expect("the device is there").expect("it answers")
    }

    /// The next packet that is no keepalive: its command and the first byte of its payload.
    fn answer(&mut self) -> (u8, u8) {
        loop {
            let packet = self.packet();
            assert_eq!(packet[..4], self.id);
            if packet[4] != command::KEEPALIVE | 0x80 {
                return (packet[4] & 0x7f, packet[7]);
            }
        }
    }
}

#[test]
fn a_request_is_answered_on_its_channel() {
    let mut channel = Channel::open(&device(Auto));
    channel.send(command::CBOR, &[ECHO, 7]);
    assert_eq!(channel.packet()[4..9], [0x90, 0, 2, ECHO, 7]);
    channel.send(command::MSG, &[9]);
    assert_eq!(channel.packet()[4..8], [0x83, 0, 1, 9]);
}

#[test]
fn a_user_who_answers_at_once_costs_no_keepalive() {
    let mut channel = Channel::open(&device(Auto));
    channel.send(command::CBOR, &[ASK]);
    assert_eq!(channel.packet()[4..8], [0x90, 0, 1, APPROVED]);
}

#[test]
fn a_door_cannot_use_the_channel_of_another() {
    let device = device(Auto);
    let first = Channel::open(&device);
    let mut second = Channel::open(&device);
    second.id = first.id;
    second.send(command::PING, b"x");
    assert_eq!(second.answer(), (command::ERROR, 0x0b));
    let mut first = first;
    assert_eq!(first.connection.receive(Some(Duration::ZERO)).expect("it is there"), None);
}

/// An authenticator with three accounts of the relying party "a", and its clock in seconds.
fn accounts() -> (Device, Arc<AtomicU64>) {
    let seconds = Arc::new(AtomicU64::new(1));
    let told = seconds.clone();
    let device = Device::new(
        Arc::new(move || Duration::from_secs(told.load(Ordering::Relaxed))),
        Box::new(Auto),
        || {
            let mut store = MemoryStore::new();
            for number in 1..=3 {
                let key = PrivateKey::from_bytes(Algorithm::Es256, &[number; 32]).expect("a key");
                let mut credential = Credential::new(Sha256::digest("a").into(), key);
                credential.id.extend_from_slice(&[number; 16]).expect("it fits");
                credential.rp_id.push('a').expect("it fits");
                credential.user.id.push(number).expect("it fits");
                store.put(&credential, None).expect("there is room");
            }
            Box::new(Authenticator::new(store, SeededRng::new(1), Configuration::default()))
        },
    );
    (device, seconds)
}

/// A CTAP2 command's status, once the whole response has been taken.
fn status(channel: &mut Channel, request: &[u8]) -> u8 {
    channel.send(command::CBOR, request);
    let first = channel.packet();
    assert_eq!(first[4], command::CBOR | 0x80);
    let length = usize::from(u16::from_be_bytes([first[5], first[6]]));
    for _ in 0..length.saturating_sub(57).div_ceil(59) {
        channel.packet();
    }
    first[7]
}

#[test]
fn what_one_channel_began_no_other_goes_on_with_nor_anybody_after_thirty_seconds() {
    const NEXT: [u8; 1] = [0x08];
    const NOT_ALLOWED: u8 = 0x30;
    let get_assertion = [&[0x02, 0xa2, 0x01, 0x61, b'a', 0x02, 0x58, 0x20][..], &[7; 32]].concat();
    let (device, seconds) = accounts();
    let (mut first, mut second) = (Channel::open(&device), Channel::open(&device));
    assert_eq!(status(&mut first, &get_assertion), 0);
    assert_eq!(status(&mut first, &NEXT), 0);
    assert_eq!(status(&mut second, &NEXT), NOT_ALLOWED);
    assert_eq!(status(&mut first, &NEXT), NOT_ALLOWED, "a stranger's request ends it");
    // One who went away leaves nothing, either.
    assert_eq!(status(&mut first, &get_assertion), 0);
    drop(first);
    assert_eq!(status(&mut Channel::open(&device), &NEXT), NOT_ALLOWED);
    assert_eq!(status(&mut second, &get_assertion), 0);
    seconds.fetch_add(31, Ordering::Relaxed);
    assert_eq!(status(&mut second, &NEXT), NOT_ALLOWED);
}

#[test]
fn others_are_told_to_wait_while_a_user_is_asked_and_the_platform_gets_keepalives() {
    let user = External::default();
    let device = device(user.clone());
    let mut first = Channel::open(&device);
    first.send(command::CBOR, &[ASK]);
    // The first says at once that the user is needed; more follow.
    for _ in 0..3 {
        assert_eq!(first.packet()[4..8], [0xbb, 0, 1, 2]);
    }
    let mut second = Channel::open(&device);
    second.send(command::CBOR, &[ECHO]);
    assert_eq!(second.answer(), (command::ERROR, 0x06));
    assert!(user.answer(Answer::Approve { verified: true, account: None }));
    assert_eq!(first.answer(), (command::CBOR, APPROVED));
    second.send(command::CBOR, &[ECHO]);
    assert_eq!(second.answer(), (command::CBOR, ECHO));
}

#[test]
fn a_request_ends_when_the_platform_cancels_or_time_is_over() {
    let user = External::default();
    let mut channel = Channel::open(&device(user.clone()));
    channel.send(command::CBOR, &[ASK]);
    channel.send(command::CANCEL, &[]);
    assert_eq!(channel.answer(), (command::CBOR, CANCELLED));
    assert_eq!(user.prompt(), None);
    channel.send(command::CBOR, &[ASK_BRIEFLY]);
    assert_eq!(channel.answer(), (command::CBOR, TIMED_OUT));
    assert_eq!(user.prompt(), None);
}

#[test]
fn a_prompt_goes_away_with_the_door_that_asked() {
    let user = External::default();
    let device = device(user.clone());
    let mut channel = Channel::open(&device);
    channel.send(command::CBOR, &[ASK]);
    assert!(user.prompt().is_some());
    drop(channel);
    assert_eq!(user.prompt(), None);
    let mut next = Channel::open(&device);
    next.send(command::CBOR, &[ECHO]);
    assert_eq!(next.answer(), (command::CBOR, ECHO));
}

#[test]
fn keepalives_and_other_channels_are_served_while_the_engine_works() {
    let (device, gate) = slow_device(Auto);
    let mut first = Channel::open(&device);
    let mut second = Channel::open(&device);
    let (seen, sees) = channel();
    device.observe_packets(move |packet| {
        if packet.command == Some(command::KEEPALIVE) {
            // Those after the first are of no interest.
            let _ = seen.send(());
        }
    });
    std::thread::scope(|scope| {
        let (started, starts) = channel();
        scope.spawn(move || {
            started.send(()).expect("the test waits");
            let packet = loop {
                first.send(command::CBOR, &[SLOW]);
                let packet = first.packet();
                // The other channel's request may be under way.
                if packet[4..8] != [0xbf, 0, 1, 0x06] {
                    break packet;
                }
            };
            // Sent while the engine worked, before its response.
            assert_eq!(packet[4..8], [0xbb, 0, 1, 1]);
            assert_eq!(first.answer(), (command::CBOR, SLOW));
        });
        starts.recv().expect("it starts");
        // Until the first has begun, this is answered; then it is refused.
        loop {
            second.send(command::CBOR, &[ECHO]);
            if second.answer() == (command::ERROR, 0x06) {
                break;
            }
        }
        // Not before a keepalive went out, however late the timer is on a busy machine.
        sees.recv_timeout(Duration::from_secs(20)).expect("a keepalive is sent");
        gate.send(()).expect("the engine waits");
    });
}

/// Counts how often it was asked to prepare.
struct Preparing {
    parrot: Parrot,
    prepared: Sender<()>,
    /// Where there is one, every preparation waits for its word.
    goes_on: Option<Receiver<()>>,
}

impl Engine for Preparing {
    fn handle(&mut self, now: Time, input: Input<'_>, response: &mut Message) -> Output {
        self.parrot.handle(now, input, response)
    }

    fn prepare(&mut self) {
        let _ = self.prepared.send(());
        let _ = self.goes_on.as_ref().map(Receiver::recv);
    }

    fn end_stateful_commands(&mut self) {}

    fn prompt(&self) -> Option<Prompt<'_>> {
        self.parrot.prompt()
    }
}

#[test]
fn when_requests_have_ceased_the_engine_prepares_for_the_next_once() {
    let (sender, prepared) = channel();
    let device = Device::new(clock(), Box::new(Auto), move || {
        let parrot = Parrot { asking: false, gate: None };
        Box::new(Preparing { parrot, prepared: sender.clone(), goes_on: None })
    });
    assert!(prepared.try_recv().is_err());
    let mut channel = Channel::open(&device);
    for _ in 0..2 {
        channel.send(command::CBOR, &[ECHO]);
        assert_eq!(channel.answer(), (command::CBOR, ECHO));
        prepared.recv_timeout(Duration::from_secs(20)).expect("it is told when it is quiet");
        // A slow machine may have seen quiet between two packets, too.
        while prepared.recv_timeout(4 * doppelkey_ctaphid::KEEPALIVE_INTERVAL).is_ok() {}
        let again = prepared.recv_timeout(4 * doppelkey_ctaphid::KEEPALIVE_INTERVAL);
        assert!(again.is_err(), "an idle device has no wake-up");
    }
}

#[test]
fn keepalives_go_out_while_what_came_during_a_preparation_is_worked_on() {
    let ((sender, prepared), (go_on, goes_on), (gate, gated)) = (channel(), channel(), channel());
    let mut receivers = Some((goes_on, gated));
    let device = Device::new(clock(), Box::new(Auto), move || {
        let (goes_on, gate) = receivers.take().expect("it is powered up once");
        let parrot = Parrot { asking: false, gate: Some(gate) };
        Box::new(Preparing { parrot, prepared: sender.clone(), goes_on: Some(goes_on) })
    });
    let mut channel = Channel::open(&device);
    channel.send(command::CBOR, &[ECHO]);
    assert_eq!(channel.answer(), (command::CBOR, ECHO));
    prepared.recv_timeout(Duration::from_secs(20)).expect("it is told when it is quiet");
    // The timer's thread is at that: it will find this.
    channel.send(command::CBOR, &[SLOW]);
    go_on.send(()).expect("the engine waits");
    drop(go_on);
    for _ in 0..3 {
        assert_eq!(channel.packet()[4..8], [0xbb, 0, 1, 1]);
    }
    gate.send(()).expect("the engine waits");
    assert_eq!(channel.answer(), (command::CBOR, SLOW));
}

#[test]
fn keepalives_go_out_while_a_request_that_is_out_of_time_is_ended() {
    let (device, gate) = slow_device(External::default());
    let mut channel = Channel::open(&device);
    channel.send(command::CBOR, &[ASK_BRIEFLY]);
    // More than have room in the time that the user has.
    for _ in 0..10 {
        assert_eq!(channel.packet()[4..8], [0xbb, 0, 1, 2]);
    }
    gate.send(()).expect("the engine waits");
    assert_eq!(channel.answer(), (command::CBOR, TIMED_OUT));
}

#[test]
fn a_device_that_is_dropped_while_it_ends_a_request_is_gone_with_its_engine() {
    let (device, gate) = slow_device(External::default());
    let mut channel = Channel::open(&device);
    channel.send(command::CBOR, &[ASK_BRIEFLY]);
    for _ in 0..10 {
        channel.packet();
    }
    let (gone, is_gone) = self::channel();
    std::thread::spawn(move || {
        drop((channel, device));
        let _ = gone.send(());
    });
    assert!(is_gone.recv_timeout(Duration::from_millis(200)).is_err(), "the engine is still at work");
    gate.send(()).expect("the engine waits");
    is_gone.recv_timeout(Duration::from_secs(20)).expect("the device is dropped");
    assert!(gate.send(()).is_err(), "the engine is still there");
}

#[test]
fn a_replug_forgets_channels_and_a_late_answer_finds_nobody() {
    let user = External::default();
    let powered = Arc::new(AtomicU32::new(0));
    let counter = powered.clone();
    let device = Device::new(clock(), Box::new(user.clone()), move || {
        counter.fetch_add(1, Ordering::Relaxed);
        Box::new(Parrot { asking: false, gate: None })
    });
    let mut channel = Channel::open(&device);
    channel.send(command::CBOR, &[ASK]);
    device.replug();
    assert_eq!(powered.load(Ordering::Relaxed), 2);
    assert!(!user.answer(Answer::Deny));
    channel.send(command::PING, b"x");
    assert_eq!(channel.answer(), (command::ERROR, 0x0b));
    let mut fresh = Channel::open(&device);
    fresh.send(command::CBOR, &[ECHO]);
    assert_eq!(fresh.answer(), (command::CBOR, ECHO));
}

#[test]
fn an_engine_that_panics_ends_its_request_and_no_other() {
    let mut channel = Channel::open(&device(Auto));
    channel.send(command::CBOR, &[PANIC]);
    assert_eq!(channel.answer(), (command::ERROR, 0x7f));
    channel.send(command::CBOR, &[ECHO]);
    assert_eq!(channel.answer(), (command::CBOR, ECHO));
}

#[test]
fn a_panic_of_the_engine_tells_nothing_of_the_request() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let (hears, before) = (Arc::clone(&told), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        hears.lock().expect("nobody panics with it").push(panic.to_string());
        before(panic);
    }));
    let mut channel = Channel::open(&device(Auto));
    channel.send(command::CBOR, &[&[PANIC][..], &[0x5A; 32], b"ZZZZ-the-PIN"].concat());
    assert_eq!(channel.answer(), (command::ERROR, 0x7f));
    let told = told.lock().expect("nobody panics with it").join("\n");
    assert!(told.contains("as told: Credential"), "it panicked: {told}");
    for secret in ["90, 90", "5a5a", "5A5A", "ZZZZ"] {
        assert!(!told.contains(secret), "{secret} is in {told}");
    }
}

#[test]
fn a_response_that_nobody_takes_does_not_keep_the_device() {
    let device = device(Auto);
    let port = Port::new(&device, 2);
    assert!(port.send(&{
        let mut init = [0; 64];
        init[..7].copy_from_slice(&[0xff, 0xff, 0xff, 0xff, 0x86, 0, 8]);
        init
    }));
    let answer = port.take().expect("it is answered");
    let mut long = [0; 64];
    long[..4].copy_from_slice(&answer[15..19]);
    long[4..8].copy_from_slice(&[0x90, 0, 1, LONG]);
    assert!(port.send(&long));
    let mut other = Channel::open(&device);
    loop {
        other.send(command::CBOR, &[ECHO]);
        match other.answer() {
            (command::ERROR, 0x06) => std::thread::sleep(Duration::from_millis(50)),
            answer => break assert_eq!(answer, (command::CBOR, ECHO)),
        }
    }
}

#[test]
fn observers_are_told_what_happens_and_nothing_that_is_secret() {
    let device = device(Auto);
    let (sender, observations) = channel();
    device.observe(move |observation| sender.send(*observation).expect("the test listens"));
    let mut channel = Channel::open(&device);
    channel.send(command::CBOR, &[ASK, 0x55]);
    channel.send(command::WINK, &[]);
    assert_eq!(
        observations.try_iter().collect::<Vec<_>>(),
        [
            Observation::Request { command: Some(ASK) },
            Observation::Prompted,
            Observation::Answered(Answer::Approve { verified: true, account: None }),
            Observation::Responded { status: Some(APPROVED) },
            Observation::Winked,
        ]
    );
}

#[test]
fn ninety_thousand_pings_of_mixed_sizes_come_back_unchanged() {
    let mut channel = Channel::open(&timeless_device());
    pings(&mut channel.connection, channel.id, 90_000);
}

/// A packet that starts with these bytes.
pub(crate) fn packet(parts: &[&[u8]]) -> Packet {
    let mut packet = [0; 64];
    let mut end = 0;
    for part in parts {
        packet[end..end + part.len()].copy_from_slice(part);
        end += part.len();
    }
    packet
}

pub(crate) fn receive(connection: &mut impl Connection) -> Packet {
    connection.receive(Some(Duration::from_secs(20))).expect("the device is there").expect("it answers")
}

/// Sends so many PINGs, and holds the device to their coming back unchanged; the last is of the greatest size.
pub(crate) fn pings(connection: &mut impl Connection, channel: [u8; 4], count: u32) {
    let mut state = 1_u64;
    for number in 1..=count {
        // A small generator (Knuth's constants) with a fixed seed: sizes near every packet boundary and anywhere,
        // small ones more often.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let any = ((state >> 33) as usize % 7610) >> ((state >> 60) as usize % 14);
        let length = if number == count { 7609 } else { any };
        let payload: Vec<u8> = (0..length).map(|index| (index as u8) ^ (state >> 24) as u8).collect();
        let (first, rest) = payload.split_at(length.min(57));
        let head = [0x81, (length >> 8) as u8, length as u8];
        let chunks = rest.chunks(59).zip(0..);
        let sent: Vec<_> = std::iter::once(packet(&[&channel, &head, first]))
            .chain(chunks.map(|(chunk, sequence)| packet(&[&channel, &[sequence], chunk])))
            .collect();
        for packet in &sent {
            connection.send(packet).expect("it takes a packet");
        }
        for packet in &sent {
            assert_eq!(receive(connection), *packet, "PING {number}, of {length} bytes");
        }
    }
}
