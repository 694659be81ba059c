//! What a stranger's authenticator answers to our platform client.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use doppelkey::client::{Client, KnownPin, without_sensor};
use doppelkey::device::{Clock, Device, Engine};
use doppelkey::user_interface::Auto;
use doppelkey_core::testing::SeededRng;
use doppelkey_core::{Authenticator, Input, MemoryStore, Message, Output, Prompt, Time};
use serde_json::{Value, json};

use super::{step, steps};

/// An authenticator that gives these answers, whatever it is asked, and in the end the same one again and again.
struct Stranger(VecDeque<Vec<u8>>);

impl Engine for Stranger {
    fn handle(&mut self, _: Time, input: Input<'_>, response: &mut Message) -> Output {
        if !matches!(input, Input::Cbor(_) | Input::Msg(_)) {
            return Output::Idle;
        }
        let answer = self.0.pop_front().unwrap_or_else(|| vec![0x01]);
        response.clear();
        let length = answer.len().min(response.capacity());
        response.extend_from_slice(&answer[..length]).expect("it was cut to what fits");
        Output::Respond
    }

    fn end_stateful_commands(&mut self) {}

    fn prompt(&self) -> Option<Prompt<'_>> {
        None
    }
}

/// A registration and an authentication at an authenticator that answers with a story's steps; whether both succeed.
pub fn answers(story: &[u8]) -> bool {
    let answers: VecDeque<_> = steps(story).map(|(_, answer)| answer.to_vec()).collect();
    ceremonies(Box::new(Stranger(answers)))
}

/// What a right authenticator answers to the same client, as a story.
pub(super) fn right() -> Vec<u8> {
    let told = Arc::new(Mutex::new(Vec::new()));
    let authenticator = Authenticator::new(MemoryStore::new(), SeededRng::new(2), without_sensor());
    let succeeded = ceremonies(Box::new(Overheard { authenticator, told: told.clone() }));
    assert!(succeeded, "a right authenticator is believed");
    let told = told.lock().unwrap_or_else(PoisonError::into_inner);
    told.iter().flat_map(|answer: &Vec<u8>| step(0, answer)).collect()
}

/// An authenticator whose answers are written down.
struct Overheard {
    authenticator: Authenticator<MemoryStore, SeededRng>,
    told: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Engine for Overheard {
    fn handle(&mut self, now: Time, input: Input<'_>, response: &mut Message) -> Output {
        let output = self.authenticator.handle(now, input, response);
        if output == Output::Respond {
            self.told.lock().unwrap_or_else(PoisonError::into_inner).push(response.to_vec());
        }
        output
    }

    fn end_stateful_commands(&mut self) {
        self.authenticator.end_stateful_commands();
    }

    fn prompt(&self) -> Option<Prompt<'_>> {
        self.authenticator.prompt()
    }
}

/// The client is the same each time, to its random numbers: so what was right once is right again.
fn ceremonies(engine: Box<dyn Engine>) -> bool {
    let clock: Clock = Arc::new(|| Duration::from_secs(1));
    let mut engine = Some(engine);
    let device = Device::new(clock.clone(), Box::new(Auto), move || {
        engine.take().unwrap_or_else(|| Box::new(Stranger(VecDeque::new())))
    });
    let Ok(client) = Client::new(device.connect(), clock, SeededRng::new(1)) else { return false };
    let mut client = client.with_dialogs(KnownPin::new("1234"));
    let created = client.create("https://example.com", &creation());
    let got = client.get("https://example.com", &request());
    created.is_ok() && got.is_ok()
}

fn creation() -> Value {
    json!({
        "rp": {"id": "example.com", "name": "Example"},
        "user": {"id": "AQ", "name": "alice", "displayName": "Alice"},
        "challenge": "AAAA",
        "pubKeyCredParams": [{"type": "public-key", "alg": -7}],
        "authenticatorSelection": {"residentKey": "required", "userVerification": "preferred"},
        "extensions": {"prf": {"eval": {"first": "AA"}}, "largeBlob": {"support": "preferred"}, "credProps": true},
        "attestation": "direct",
    })
}

fn request() -> Value {
    json!({
        "challenge": "AAAA",
        "rpId": "example.com",
        "userVerification": "preferred",
        "extensions": {"prf": {"eval": {"first": "AA"}}, "largeBlob": {"read": true}},
    })
}
