//! Doppelkey's core, in process, in memory; and the floors: what a ceremony's signature costs alone.

use std::time::{Duration, Instant};

use comparison::{Peer, run, times};
use doppelkey_core::{Answer, Authenticator, Configuration, Input, MemoryStore, Message, OptionId, Output};
use getrandom::SysRng;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use p256::elliptic_curve::Generate as _;
use rand_core::UnwrapErr;
use serde_json::json;

fn main() {
    if std::env::args().any(|argument| argument == "floors") {
        return floors();
    }
    let mut configuration = Configuration::default();
    // As the program has it without a sensor: whoever approves is verified.
    let of_sensors = [OptionId::BioEnroll, OptionId::UvBioEnroll, OptionId::UserVerificationMgmtPreview];
    configuration.options.retain(|option| !of_sensors.contains(option));
    let authenticator = Authenticator::new(MemoryStore::new(), UnwrapErr(SysRng), configuration);
    run(Doppelkey { authenticator, start: Instant::now(), response: Message::new() });
}

struct Doppelkey {
    authenticator: Authenticator<MemoryStore, UnwrapErr<SysRng>>,
    start: Instant,
    response: Message,
}

impl Doppelkey {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn answer(&mut self, input: Input<'_>) -> Vec<u8> {
        let mut output = self.authenticator.handle(self.now(), input, &mut self.response);
        while let Output::AskUser { .. } = output {
            let answer = Answer::Approve { verified: true, account: None };
            output = self.authenticator.handle(self.now(), Input::Answer(answer), &mut self.response);
        }
        self.response.to_vec()
    }
}

impl Peer for Doppelkey {
    fn ctap2(&mut self, request: &[u8]) -> Vec<u8> {
        self.answer(Input::Cbor(request))
    }

    fn u2f(&mut self, apdu: &[u8]) -> Option<Vec<u8>> {
        Some(self.answer(Input::Msg(apdu)))
    }
}

/// A P-256 signature as the `p256` crate makes it by itself; and a key pair before it, as makeCredential needs.
fn floors() {
    let new_key = || SigningKey::generate_from_rng(&mut UnwrapErr(SysRng));
    let key = new_key();
    let sign = |key: &SigningKey| {
        let signature: Signature = key.sign(&[7; 69]);
        std::hint::black_box(signature);
    };
    let key_pair = times(1000, || {
        std::hint::black_box(new_key().verifying_key());
    });
    println!("{}", json!({"sign": times(1000, || sign(&key)), "key_pair": key_pair}));
}
