//! The authenticator: one call, one result.

use rand_core::CryptoRng;

use crate::configuration::Configuration;
use crate::credential::User;
#[cfg(feature = "credential-management")]
use crate::ctap2::Enumeration;
#[cfg(feature = "large-blobs")]
use crate::ctap2::LargeBlobWrite;
use crate::ctap2::get_next_assertion::RemainingAssertions;
use crate::ctap2::{self, Command};
#[cfg(feature = "built-in-verification")]
use crate::fingerprint::Enrolment;
use crate::key::{Algorithm, KeyPair};
use crate::pending::Pending;
use crate::pin::PinUv;
use crate::status::{Status, Step};
use crate::store::CredentialStore;
use crate::time::Time;
use crate::user::{Answer, Prompt};

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
///
/// One value lives for one power-up: unplugging and plugging in again is a new one over the same store.
///
/// ```
/// # #[cfg(feature = "testing")] {
/// use core::time::Duration;
/// use doppelkey_core::{Authenticator, Configuration, Input, MemoryStore, Message, Output, testing::SeededRng};
///
/// let mut authenticator = Authenticator::new(MemoryStore::new(), SeededRng::new(1), Configuration::default());
/// let mut response = Message::new();
/// let get_info = Input::Cbor(&[0x04]);
/// assert_eq!(authenticator.handle(Duration::ZERO, get_info, &mut response), Output::Respond);
/// assert_eq!(response[0], 0x00); // CTAP2_OK
/// # }
/// ```
pub struct Authenticator<S, R> {
    pub(crate) store: S,
    pub(crate) rng: R,
    pub(crate) configuration: Configuration,
    pub(crate) pin: PinUv,
    /// An enumeration of authenticatorCredentialManagement that may go on.
    #[cfg(feature = "credential-management")]
    pub(crate) enumeration: Option<Enumeration>,
    /// A fingerprint that is being enrolled.
    #[cfg(feature = "built-in-verification")]
    pub(crate) enrolment: Option<Enrolment>,
    /// A large-blob array that is being written.
    #[cfg(feature = "large-blobs")]
    pub(crate) large_blob_write: Option<LargeBlobWrite>,
    /// What getNextAssertion goes on with.
    pub(crate) assertions: Option<RemainingAssertions>,
    /// A key pair for the next makeCredential, made in idle time.
    pub(crate) spare: Option<KeyPair>,
    /// The request that waits for the user, and until when.
    waiting: Option<(Pending, Time)>,
}

/// How a command, or a step of one, goes on when it does not fail.
#[expect(clippy::large_enum_variant, reason = "without an allocator it has to be somewhere")]
pub(crate) enum Reply {
    /// The response is in the buffer, behind the status byte that is there already.
    Done,
    /// The user is to be asked; the command goes on with the answer.
    Ask(Pending),
}

impl<S: CredentialStore, R: CryptoRng> Authenticator<S, R> {
    /// An authenticator at power-up. Touches neither the store nor the randomness.
    pub fn new(store: S, rng: R, configuration: Configuration) -> Self {
        let pin = PinUv::new(configuration.pin_retries, configuration.uv_retries);
        Authenticator {
            store,
            rng,
            configuration,
            pin,
            assertions: None,
            #[cfg(feature = "credential-management")]
            enumeration: None,
            #[cfg(feature = "built-in-verification")]
            enrolment: None,
            #[cfg(feature = "large-blobs")]
            large_blob_write: None,
            spare: None,
            waiting: None,
        }
    }

    /// Takes one step.
    ///
    /// Never panics, whatever the input. `response` is overwritten with [`Output::Respond`] and left empty else.
    /// A request while the user is being asked abandons the earlier one.
    pub fn handle(&mut self, now: Time, input: Input<'_>, response: &mut Message) -> Output {
        response.clear();
        let outcome = match input {
            Input::Cbor(request) => {
                self.waiting = None;
                self.command(now, request, response)
            }
            Input::Msg(apdu) => {
                self.waiting = None;
                self.end_stateful_commands();
                self.message(apdu, response)
            }
            Input::Answer(answer) => match self.waiting.take() {
                Some((pending, _)) => self.answered(now, pending, answer, response),
                None => return Output::Idle,
            },
            Input::Cancel => match self.waiting.take() {
                Some((pending, _)) => self.ended(pending, Status::KeepaliveCancel, response),
                None => return Output::Idle,
            },
            Input::Tick => match self.waiting.take() {
                Some((pending, until)) if now < until => {
                    self.waiting = Some((pending, until));
                    return Output::AskUser { until };
                }
                Some((pending, _)) => self.ended(pending, Status::UserActionTimeout, response),
                None => return Output::Idle,
            },
        };
        self.conclude(now, outcome, response)
    }

    /// Forgets what getNextAssertion and the enumerations of credential management would go on with (§6, stateful
    /// commands): the next of them answers [`Status::NotAllowed`].
    ///
    /// A caller that serves several platforms calls it before a request that comes by another channel than the request
    /// before it: what one platform began by PIN or touch is not for another one.
    pub fn end_stateful_commands(&mut self) {
        self.assertions = None;
        #[cfg(feature = "credential-management")]
        {
            self.enumeration = None;
        }
    }

    /// Does in idle time what the next makeCredential would have to do else: makes an ES256 key pair, unless one is
    /// ready. `true` if it made one. Whoever never calls this loses nothing but time.
    ///
    /// The pair is in memory only, serves once, is zeroized when dropped, and does not survive a reset.
    pub fn prepare(&mut self) -> bool {
        if self.spare.is_some() || !self.configuration.algorithms.contains(&Algorithm::Es256) {
            return false;
        }
        self.spare = KeyPair::generate(&mut self.rng);
        self.spare.is_some()
    }

    /// What the user is being asked, while that is so.
    pub fn prompt(&self) -> Option<Prompt<'_>> {
        self.waiting.as_ref().map(|(pending, _)| pending.prompt())
    }

    /// Calls `each` with the accounts that the prompt offers to choose from, the newest first, for a user interface
    /// that can name them. Not at all where there is no choice, and no further than the store can be read.
    ///
    /// [`Answer::Approve`]'s `account` counts in this order.
    pub fn offered_accounts(&mut self, mut each: impl FnMut(&User)) {
        let Some((Pending::GetAssertion(ready), _)) = &self.waiting else { return };
        let (rp_id_hash, count, uv) = ready.offered();
        let mut before = u64::MAX;
        for _ in 0..count {
            let Ok(Some(credential)) = self.discover(&rp_id_hash, before, uv) else { return };
            before = credential.order;
            each(&credential.user);
        }
    }

    /// What this authenticator is.
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// Changes what this authenticator is, from the next command on. For tests and test controllers: a real one
    /// does not change.
    pub fn configuration_mut(&mut self) -> &mut Configuration {
        &mut self.configuration
    }

    /// The store.
    pub fn store_mut(&mut self) -> &mut S {
        &mut self.store
    }

    #[cfg(feature = "u2f")]
    fn message(&mut self, apdu: &[u8], response: &mut Message) -> Step<Reply> {
        self.u2f_message(apdu, response)
    }

    /// What a key without U2F answers to any APDU: ISO 7816-4's "instruction not supported".
    #[cfg(not(feature = "u2f"))]
    fn message(&mut self, _: &[u8], response: &mut Message) -> Step<Reply> {
        let _ = response.extend_from_slice(&[0x6D, 0x00]);
        Ok(Reply::Done)
    }

    fn command(&mut self, now: Time, request: &[u8], response: &mut Message) -> Step<Reply> {
        let (command, parameters) = request.split_first().ok_or(Status::InvalidLength)?;
        if request.len() > usize::from(self.configuration.limits.max_message_size) {
            return Err(Status::RequestTooLarge);
        }
        if self.configuration.versions.as_slice() == [crate::Version::U2fV2] {
            // A U2F key knows no CTAP2 at all.
            return Err(Status::InvalidCommand);
        }
        if let Some(status) = self.configuration.faults.status(*command) {
            let _ = response.push(status);
            return Ok(Reply::Done);
        }
        let command = Command::from_byte(*command).ok_or(Status::InvalidCommand)?;
        // The status byte; an error replaces it.
        let _ = response.push(Status::Ok as u8);
        ctap2::dispatch(self, now, command, parameters, response)
    }

    fn conclude(&mut self, now: Time, outcome: Step<Reply>, response: &mut Message) -> Output {
        match outcome {
            Ok(Reply::Done) => Output::Respond,
            Ok(Reply::Ask(pending)) => {
                response.clear();
                let until = now + pending.timeout().unwrap_or(self.configuration.user_timeout);
                self.waiting = Some((pending, until));
                Output::AskUser { until }
            }
            Err(status) => {
                response.clear();
                let _ = response.push(status as u8);
                Output::Respond
            }
        }
    }
}
