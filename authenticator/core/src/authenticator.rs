//! The authenticator: one call, one result.

use crate::store::CredentialStore;
use crate::time::Time;
use crate::user::{Answer, Prompt};
use rand_core::CryptoRng;

/// The most bytes a CTAPHID message carries: 64 − 7 + 128 × (64 − 5).
pub const MESSAGE_MAX: usize = 7609;

/// A response on its way out: the caller's buffer and how much of it is used.
pub type Message = heapless::Vec<u8, MESSAGE_MAX>;

/// What the authenticator is told.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A CTAP2 command: the command byte and its CBOR parameters (CTAPHID_CBOR's payload).
    Cbor(&'a [u8]),
    /// A U2F raw message: an APDU (CTAPHID_MSG's payload).
    Msg(&'a [u8]),
    /// The user answered the prompt that is shown.
    Answer(Answer),
    /// The platform no longer wants the answer (CTAPHID_CANCEL).
    Cancel,
    /// Time has passed; due at the latest at the `until` of the last [`Output::AskUser`].
    Tick,
}

/// What the caller is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// The response is in the buffer: send it. A CTAP2 response starts with its status byte.
    Respond,
    /// Show [`Authenticator::prompt`] to the user; come back with an answer, a cancel, or a tick at `until`.
    AskUser {
        /// When the request times out.
        until: Time,
    },
    /// Nothing to do: there was nothing to answer or to cancel.
    Idle,
}

/// A CTAP2 authenticator. It is told bytes, time, randomness and the user's answers, and never waits.
pub struct Authenticator<S, R> {
    store: S,
    rng: R,
}

impl<S: CredentialStore, R: CryptoRng> Authenticator<S, R> {
    /// Takes one step.
    ///
    /// Never panics, whatever the input. `response` is overwritten with [`Output::Respond`] and left empty else.
    /// A request while the user is being asked abandons the earlier one.
    pub fn handle(&mut self, now: Time, input: Input<'_>, response: &mut Message) -> Output {
        let _ = (now, input, &mut self.store, &mut self.rng);
        response.clear();
        Output::Idle
    }

    /// What the user is being asked, while that is so.
    pub fn prompt(&self) -> Option<Prompt<'_>> {
        None
    }
}
