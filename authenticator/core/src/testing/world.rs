//! A device, its user and the time; and randomness from a seed.
//!
//! Requests go in and responses come out as bytes, as on the wire; the user answers by a script, and what the user
//! was asked can be looked at.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::convert::Infallible;
use core::time::Duration;

use rand_core::{TryCryptoRng, TryRng};
use sha2::{Digest as _, Sha256};

use crate::{
    Action, Answer, Authenticator, Configuration, CredentialStore, Input, MemoryStore, Message, Output,
    Prompt, Time,
};

/// Randomness that a seed decides: SHA-256 of the seed and a counter. For tests only.
#[derive(Clone, Debug)]
pub struct SeededRng {
    seed: u64,
    block: u64,
    left: Vec<u8>,
}

impl SeededRng {
    /// The randomness of this seed.
    pub const fn new(seed: u64) -> Self {
        SeededRng { seed, block: 0, left: Vec::new() }
    }

    fn byte(&mut self) -> u8 {
        if self.left.is_empty() {
            let digest =
                Sha256::new().chain_update(self.seed.to_be_bytes()).chain_update(self.block.to_be_bytes());
            self.block += 1;
            self.left.extend_from_slice(&digest.finalize());
        }
        self.left.pop().unwrap_or_default()
    }
}

impl TryRng for SeededRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_be_bytes(core::array::from_fn(|_| self.byte())))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_be_bytes(core::array::from_fn(|_| self.byte())))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.fill_with(|| self.byte());
        Ok(())
    }
}

impl TryCryptoRng for SeededRng {}

/// What the user was asked, copied out of a [`Prompt`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What the platform wanted to do.
    pub action: Action,
    /// The relying party.
    pub rp_id: Option<String>,
    /// The account's name.
    pub user_name: Option<String>,
    /// How many accounts there were to choose from.
    pub accounts: u32,
    /// Whether verification was asked for.
    pub verification: bool,
}

impl Asked {
    fn new(prompt: &Prompt<'_>) -> Self {
        Asked {
            action: prompt.action,
            rp_id: prompt.rp_id.map(String::from),
            user_name: prompt.user_name.map(String::from),
            accounts: prompt.accounts,
            verification: prompt.verification,
        }
    }
}

/// What the user of a [`World`] does about a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    /// Answers.
    Says(Answer),
    /// Walks away: the request times out.
    Nothing,
    /// The platform cancels.
    IsCancelled,
}

/// Approves, verified; leaves the choice of account to the platform.
pub const APPROVES: Does = Does::Says(Answer::Approve { verified: true, account: None });

/// A device, its user and the time.
pub struct World<S = MemoryStore> {
    /// The time since power-up. A test moves it.
    pub now: Time,
    /// What the user was asked, oldest first.
    pub asked: Vec<Asked>,
    /// Decides what the user does.
    pub user: Box<dyn FnMut(&Asked) -> Does>,
    authenticator: Authenticator<S, SeededRng>,
    power_ups: u64,
    response: Box<Message>,
}

impl World {
    /// A new device of this configuration, with a user who approves everything, verified.
    pub fn new(configuration: Configuration) -> Self {
        Self::with_store(configuration, MemoryStore::new())
    }

    /// The same, with other randomness than every other world's.
    pub fn with_rng(configuration: Configuration, rng: SeededRng) -> Self {
        let mut world = Self::new(configuration.clone());
        world.authenticator = Authenticator::new(MemoryStore::new(), rng, configuration);
        world
    }
}

impl<S: CredentialStore> World<S> {
    /// A new device over this store.
    pub fn with_store(configuration: Configuration, store: S) -> Self {
        World {
            now: Duration::from_secs(1),
            asked: Vec::new(),
            user: Box::new(|_| APPROVES),
            authenticator: Authenticator::new(store, SeededRng::new(0), configuration),
            power_ups: 0,
            response: Box::new(Message::new()),
        }
    }

    /// The authenticator itself, for what cannot be seen on the wire.
    pub fn authenticator(&mut self) -> &mut Authenticator<S, SeededRng> {
        &mut self.authenticator
    }

    /// Sends a CTAP2 command and sees the user through it. The response: status byte and CBOR.
    pub fn cbor(&mut self, request: &[u8]) -> (u8, Vec<u8>) {
        let response = self.handle(Input::Cbor(request));
        let (status, body) = response.split_first().expect("a response has a status");
        (*status, body.to_vec())
    }

    /// Sends a U2F message and sees the user through it. The response: data and status word.
    pub fn msg(&mut self, apdu: &[u8]) -> (Vec<u8>, u16) {
        let response = self.handle(Input::Msg(apdu));
        let (data, word) = response.split_last_chunk().expect("a response has a status word");
        (data.to_vec(), u16::from_be_bytes(*word))
    }

    /// Unplugs the device and plugs it in again.
    pub fn replug(&mut self)
    where
        S: Default,
    {
        self.power_ups += 1;
        let store = core::mem::take(self.authenticator.store_mut());
        let configuration = self.authenticator.configuration().clone();
        self.authenticator = Authenticator::new(store, SeededRng::new(self.power_ups), configuration);
        self.now = Duration::from_secs(1);
    }

    fn handle(&mut self, input: Input<'_>) -> Vec<u8> {
        let mut output = self.authenticator.handle(self.now, input, &mut self.response);
        while let Output::AskUser { until } = output {
            let prompt = self.authenticator.prompt().expect("whoever asks has a question");
            let asked = Asked::new(&prompt);
            let input = match (self.user)(&asked) {
                Does::Says(answer) => Input::Answer(answer),
                Does::IsCancelled => Input::Cancel,
                Does::Nothing => {
                    self.now = until;
                    Input::Tick
                }
            };
            self.asked.push(asked);
            output = self.authenticator.handle(self.now, input, &mut self.response);
        }
        assert_eq!(output, Output::Respond, "a request has a response");
        self.response.to_vec()
    }
}
