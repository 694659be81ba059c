//! The core behind `ctaphid-dispatch`: what a Trussed runner sees of it, read back by `ctap-types`.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use ctap_types::ctap2;
use ctaphid_dispatch::app::{Command, Error};
use ctaphid_dispatch::{Channel, Dispatch};
use doppelkey_core::{AAGUID, Authenticator, Configuration, MemoryStore};
use doppelkey_firmware::rng::Rng;
use doppelkey_firmware::trussed::{FidoApp, Runner};
use heapless_bytes::Bytes;
use ref_swap::OptionRefSwap;
use trussed_core::InterruptFlag;

const N: usize = 7609;

/// A runner whose time passes only while it waits, and whose user does what `user` says.
struct Bench {
    now: Duration,
    user: User,
    interrupt: &'static InterruptFlag,
    told: Rc<Cell<(u32, u32)>>,
    /// Whether the request that is there has come by another channel than the one before it.
    is_another_channel: Rc<Cell<bool>>,
}

#[derive(Clone, Copy, PartialEq)]
enum User {
    Touches,
    Sleeps,
    Cancels,
}

impl Runner for Bench {
    fn now(&mut self) -> Duration {
        self.now
    }

    fn is_pressed(&mut self) -> bool {
        // Seen up first, as a button is.
        self.user == User::Touches && self.now.subsec_millis() >= 500
    }

    fn waits_for_user(&mut self, waits: bool) {
        let (winks, waited) = self.told.get();
        self.told.set((winks, waited + u32::from(waits)));
    }

    fn wait(&mut self) {
        self.now += Duration::from_millis(20);
        if self.user == User::Cancels {
            assert!(self.interrupt.interrupt(), "the dispatch has said that the app works");
        }
    }

    fn wink(&mut self) {
        let (winks, waited) = self.told.get();
        self.told.set((winks + 1, waited));
    }

    fn is_another_channel(&mut self) -> bool {
        self.is_another_channel.get()
    }
}

type Answers = Vec<Result<Vec<u8>, Error>>;

/// What comes of these requests with such a user; and how often it winked and waited.
fn told(user: User, requests: &[(Command, &[u8])]) -> (Answers, (u32, u32)) {
    told_by_channels(user, requests, &[])
}

/// As [`told`]; and which requests come by another channel than the one before. None is known where there are none.
fn told_by_channels(user: User, requests: &[(Command, &[u8])], others: &[bool]) -> (Answers, (u32, u32)) {
    // In a runner both are static.
    let flag: &'static InterruptFlag = Box::leak(Box::new(InterruptFlag::new()));
    let swap: &'static OptionRefSwap<'static, InterruptFlag> = Box::leak(Box::new(OptionRefSwap::new(None)));
    let channel: Channel<N> = Channel::new();
    let (mut requester, responder) = channel.split().expect("it is new");
    let mut dispatch = Dispatch::with_interrupt(responder, Some(swap));
    let told = Rc::new(Cell::new((0, 0)));
    let authenticator =
        Authenticator::new(MemoryStore::new(), Rng::from_seed([1; 32]), Configuration::small());
    let is_another_channel = Rc::new(Cell::new(false));
    let now = Duration::from_secs(1);
    let bench = Bench {
        now,
        user,
        interrupt: flag,
        told: told.clone(),
        is_another_channel: is_another_channel.clone(),
    };
    let mut app = FidoApp::new(authenticator, bench, flag);
    let mut answers = Vec::new();
    for (number, (command, request)) in requests.iter().enumerate() {
        is_another_channel.set(others.get(number).copied().unwrap_or(false));
        let request = Bytes::try_from(*request).expect("it fits");
        requester.request((*command, request)).expect("nothing is on its way");
        assert!(dispatch.poll(&mut [&mut app]), "it is answered in one turn");
        let response = requester.take_response().expect("there is an answer");
        answers.push(response.0.map(|bytes| bytes.to_vec()));
    }
    (answers, told.get())
}

#[test]
fn get_info_says_through_the_dispatch_what_ctap_types_reads() {
    let (answers, told) = told(User::Sleeps, &[(Command::Cbor, &[0x04])]);
    let answer = answers[0].as_ref().expect("it is answered");
    assert_eq!(answer[0], 0x00);
    let info: ctap2::get_info::Response =
        cbor_smol::cbor_deserialize(&answer[1..]).expect("it is a getInfo response");
    assert_eq!(info.aaguid, AAGUID);
    assert!(info.versions.contains(&ctap2::get_info::Version::Fido2_0));
    assert_eq!(told, (0, 0));
}

fn make_credential(user: u8) -> Vec<u8> {
    // {1: hash, 2: {"id": "a.b"}, 3: {"id": h'..', "name": "n"}, 4: [{"alg": -7, "type": "public-key"}], 7: {"rk": true}}
    [
        &[0x01, 0xA5, 0x01, 0x58, 0x20][..],
        &[7; 32],
        b"\x02\xA1\x62id\x63a.b\x03\xA2\x62id\x41",
        &[user],
        b"\x64name\x61n\x04\x81\xA2\x63alg\x26\x64type\x6Apublic-key\x07\xA1\x62rk\xF5",
    ]
    .concat()
}

fn get_assertion() -> Vec<u8> {
    [&b"\x02\xA2\x01\x63a.b\x02\x58\x20"[..], &[7; 32]].concat()
}

#[test]
fn what_one_program_began_no_other_goes_on_with_where_the_runner_knows_the_channel() {
    let (alice, bob, get) = (make_credential(1), make_credential(2), get_assertion());
    let requests: [&[u8]; 4] = [&alice, &bob, &get, &[0x08]];
    let requests = requests.map(|request| (Command::Cbor, request));
    let next = |others: &[bool]| {
        let (answers, _) = told_by_channels(User::Touches, &requests, others);
        answers[3].as_ref().expect("it is answered")[0]
    };
    assert_eq!(next(&[true, true, true, false]), 0x00);
    assert_eq!(next(&[true, true, true, true]), 0x30, "it is not allowed");
    assert_eq!(next(&[]), 0x00, "a runner that does not know");
    // Bob winks between Alice's assertion and his asking for the next: then it is the wink that comes by another channel.
    let winked = [requests[0], requests[1], requests[2], (Command::Wink, &[]), requests[3]];
    let (answers, _) = told_by_channels(User::Touches, &winked, &[true, true, true, true, false]);
    assert_eq!(answers[4], Ok(vec![0x30]), "it is not allowed");
    let (answers, _) = told_by_channels(User::Touches, &winked, &[true, true, true, false, false]);
    assert_eq!(answers[4].as_ref().expect("it is answered")[0], 0x00, "Alice's own wink ends nothing");
}

#[test]
fn a_credential_is_made_with_a_touch_and_signs() {
    let make = make_credential(1);
    let get = get_assertion();
    let (answers, (_, waited)) = told(User::Touches, &[(Command::Cbor, &make), (Command::Cbor, &get)]);
    let read = |answer: &Result<Vec<u8>, Error>| answer.clone().expect("it is answered");
    let (made, got) = (read(&answers[0]), read(&answers[1]));
    assert_eq!((made[0], got[0]), (0x00, 0x00));
    let made: ctap2::make_credential::Response =
        cbor_smol::cbor_deserialize(&made[1..]).expect("well formed");
    assert!(made.auth_data.len() > 100);
    let got: ctap2::get_assertion::Response = cbor_smol::cbor_deserialize(&got[1..]).expect("well formed");
    assert!(got.signature.len() >= 68);
    assert_eq!(waited, 2, "the LED was told twice");
}

#[test]
fn whoever_does_not_touch_or_cancels_is_told_so() {
    let selection: &[(Command, &[u8])] = &[(Command::Cbor, &[0x0B])];
    assert_eq!(told(User::Touches, selection).0, [Ok(vec![0x00])]);
    assert_eq!(told(User::Sleeps, selection).0, [Ok(vec![0x2F])]);
    assert_eq!(told(User::Cancels, selection).0, [Ok(vec![0x2D])]);
}

#[test]
fn it_winks_and_leaves_other_commands_to_other_apps() {
    let vendor = Command::try_from(0x61).expect("a vendor command");
    let (answers, (winks, _)) = told(User::Sleeps, &[(Command::Wink, &[]), (vendor, &[1])]);
    assert_eq!(answers, [Ok(vec![]), Err(Error::InvalidCommand)]);
    assert_eq!(winks, 1);
}
