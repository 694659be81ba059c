//! Stories of CTAP2 and U2F requests, of a user, of time and of power.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use ciborium::Value;
use doppelkey_core::testing::platform::{Platform, Token};
use doppelkey_core::testing::wire::get;
use doppelkey_core::testing::{APPROVES, Does, World};
use doppelkey_core::{Answer, Configuration, Input, Message, Output};
use sha2::{Digest as _, Sha256};

use super::steps;

/// The kinds of a step, by [`step`](super::step)'s first byte modulo their number.
pub(super) mod kind {
    /// A CTAP2 request as it is.
    pub(crate) const CBOR: u8 = 0;
    /// A U2F message as it is.
    pub(crate) const MSG: u8 = 1;
    /// A command byte and the CBOR map of its parameters; a pinUvAuthParam of the token is put in.
    pub(crate) const AUTHORIZED: u8 = 2;
    /// Sets the PIN if there is none and gets a token with the permissions of the first byte.
    pub(crate) const TOKEN: u8 = 3;
    /// What the user does from now on, by the first byte.
    pub(crate) const USER: u8 = 4;
    /// So many seconds pass.
    pub(crate) const WAIT: u8 = 5;
    /// Unplugs and plugs in.
    pub(crate) const REPLUG: u8 = 6;
    /// An answer, a cancel or a tick that nobody waits for.
    pub(crate) const STRAY: u8 = 7;
    /// How many kinds there are.
    pub(crate) const COUNT: u8 = 8;
}

/// Longer stories tell nothing new.
const STEPS_MAX: usize = 48;

/// Tells a story to a new device; how many of its CTAP2 requests succeeded.
///
/// # Panics
/// If a response is malformed, or the device no longer says what it is at the end. The core must not panic at all.
pub fn commands(story: &[u8]) -> u32 {
    let mut successes = 0;
    let habit = Rc::new(Cell::new(0));
    let mut world = World::new(Configuration::default());
    let shown = habit.clone();
    world.user = Box::new(move |_| does(shown.get()));
    let mut token = None;
    let mut known = Known::default();
    for (kind, payload) in steps(story).take(STEPS_MAX) {
        let first = payload.first().copied().unwrap_or_default();
        match kind % kind::COUNT {
            kind::CBOR => successes += u32::from(known.succeeds(&mut world, payload)),
            kind::MSG => {
                // It checks itself that there is a status word.
                world.msg(payload);
            }
            kind::AUTHORIZED => {
                let request = authorized(payload, token.as_ref(), &known);
                successes += u32::from(known.succeeds(&mut world, &request));
            }
            kind::TOKEN => token = new_token(&mut world, &mut known, first),
            kind::USER => habit.set(first),
            kind::WAIT => world.now += Duration::from_secs(first.into()),
            kind::REPLUG => world.replug(),
            _ => stray(&mut world, first),
        }
    }
    assert_eq!(world.cbor(&[0x04]).0, 0, "the device still says what it is");
    successes
}

fn does(habit: u8) -> Does {
    match habit % 6 {
        0 | 1 => APPROVES,
        2 => Does::Says(Answer::Approve { verified: false, account: Some(habit.into()) }),
        3 => Does::Says(Answer::NotVerified),
        4 => Does::Says(Answer::Sample { status: habit }),
        _ => [Does::Nothing, Does::IsCancelled, Does::Says(Answer::Deny)][usize::from(habit) % 3],
    }
}

/// What the device said that later requests name: stories cannot know it.
#[derive(Default)]
struct Known {
    credential: Vec<u8>,
    template: Vec<u8>,
    pin_is_set: bool,
}

/// Stands for the id of the newest credential in an authorized request.
pub(super) const CREDENTIAL: [u8; 16] = *b"the credential's";
/// Stands for the id of the newest fingerprint in an authorized request.
pub(super) const TEMPLATE: [u8; 4] = *b"tmpl";

impl Known {
    /// Sends a request, and checks that the response is a status and, with success only, one CBOR map or nothing.
    fn succeeds(&mut self, world: &mut World, request: &[u8]) -> bool {
        let (status, body) = world.cbor(request);
        if status != 0 {
            assert!(body.is_empty(), "status {status:#04x} with a body, to {request:02x?}");
        } else if !body.is_empty() {
            let mut rest = &body[..];
            let value: Value = ciborium::from_reader(&mut rest).expect("the body of a success is CBOR");
            assert!(rest.is_empty(), "{} bytes behind the response to {request:02x?}", rest.len());
            assert!(value.is_map(), "a response is a map");
            self.learn(request[0], &value);
        }
        status == 0
    }

    fn learn(&mut self, command: u8, response: &Value) {
        match command {
            0x01 => {
                let data = get(response, 2).and_then(Value::as_bytes).expect("there is authenticator data");
                let length = usize::from(u16::from_be_bytes([data[53], data[54]]));
                self.credential = data[55..55 + length].to_vec();
            }
            0x09 => {
                self.template = get(response, 4).and_then(Value::as_bytes).unwrap_or(&self.template).clone()
            }
            _ => {}
        }
    }

    /// Puts in what stands for something.
    fn put_in(&self, value: &mut Value) {
        match value {
            Value::Bytes(bytes) if *bytes == CREDENTIAL => bytes.clone_from(&self.credential),
            Value::Bytes(bytes) if *bytes == TEMPLATE => bytes.clone_from(&self.template),
            Value::Array(items) => items.iter_mut().for_each(|item| self.put_in(item)),
            Value::Map(members) => members.iter_mut().for_each(|(_, value)| self.put_in(value)),
            _ => {}
        }
    }
}

fn new_token(world: &mut World, known: &mut Known, permissions: u8) -> Option<Token> {
    // With a PIN nobody is asked. A key agreement takes as long as all else in a story: it is set once, and after a reset.
    if !known.pin_is_set {
        let _ = Platform(2).set_pin(world, PIN);
    }
    let token = Platform(2).token(world, PIN, permissions, Some("example.com"));
    known.pin_is_set = token.is_ok();
    token.ok()
}

const PIN: &str = "1234";

/// The request with a right pinUvAuthParam, so that what lies behind its check is reached.
fn authorized(payload: &[u8], token: Option<&Token>, known: &Known) -> Vec<u8> {
    let Some((&command, parameters)) = payload.split_first() else { return vec![] };
    let command = COMMANDS[usize::from(command) % COMMANDS.len()];
    let Ok(mut parameters @ Value::Map(_)) = ciborium::from_reader(parameters) else {
        return [&[command], parameters].concat();
    };
    known.put_in(&mut parameters);
    let members = parameters.as_map().expect("it is a map");
    let (Some(token), Some((protocol_key, parameter_key, message))) = (token, message(command, members))
    else {
        return [&[command][..], &encoded(&parameters)].concat();
    };
    let mut members = parameters.into_map().expect("it is a map");
    let own = [Value::from(protocol_key), Value::from(parameter_key)];
    members.retain(|(key, _)| !own.contains(key));
    members.push((own[0].clone(), token.protocol()));
    members.push((own[1].clone(), token.authenticate(&message)));
    members.sort_by_key(|(key, _)| encoded(key));
    [&[command][..], &encoded(&Value::Map(members))].concat()
}

/// The commands that take a pinUvAuthParam.
pub(super) const COMMANDS: [u8; 6] = [0x01, 0x02, 0x09, 0x0A, 0x0C, 0x0D];

/// The keys of pinUvAuthProtocol and pinUvAuthParam, and what is authenticated.
fn message(command: u8, members: &[(Value, Value)]) -> Option<(i32, i32, Vec<u8>)> {
    let get = |key: i32| members.iter().find(|(one, _)| *one == Value::from(key)).map(|(_, value)| value);
    let byte = |key| get(key).and_then(|value| u8::try_from(value.as_integer()?).ok()).unwrap_or_default();
    let raw = |key| get(key).map(encoded).unwrap_or_default();
    Some(match command {
        0x01 => (9, 8, get(1)?.as_bytes()?.clone()),
        0x02 => (7, 6, get(2)?.as_bytes()?.clone()),
        0x09 => (4, 5, [vec![1, byte(2)], raw(3)].concat()),
        0x0A if byte(1) <= 2 => (3, 4, vec![byte(1)]),
        0x0A => (3, 4, [vec![byte(1)], raw(2)].concat()),
        0x0C => {
            let offset = u32::try_from(get(3)?.as_integer()?).ok()?.to_le_bytes();
            let digest = Sha256::digest(get(2)?.as_bytes()?);
            (6, 5, [&[0xFF; 32][..], &[0x0C, 0x00], &offset, &digest].concat())
        }
        _ => (3, 4, [vec![0xFF; 32], vec![0x0D, byte(1)], raw(2)].concat()),
    })
}

fn encoded(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).expect("memory takes everything");
    bytes
}

/// Input at a moment when nothing is waited for.
fn stray(world: &mut World, choice: u8) {
    let input = match choice % 4 {
        0 => Input::Tick,
        1 => Input::Cancel,
        2 => Input::Answer(Answer::Approve { verified: true, account: None }),
        _ => Input::Answer(Answer::Deny),
    };
    let (now, mut response) = (world.now, Box::new(Message::new()));
    assert_eq!(world.authenticator().handle(now, input, &mut response), Output::Idle);
    assert!(response.is_empty());
}
