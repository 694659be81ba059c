//! CTAP2 commands (CTAP §6): one file each.

#[cfg(feature = "built-in-verification")]
mod bio_enrollment;
pub(crate) mod ceremony;
mod client_pin;
#[cfg(feature = "authenticator-config")]
mod config;
#[cfg(feature = "credential-management")]
mod credential_management;
pub(crate) mod get_assertion;
mod get_info;
pub(crate) mod get_next_assertion;
#[cfg(feature = "large-blobs")]
mod large_blobs;
pub(crate) mod make_credential;
mod reset;
mod selection;

#[cfg(feature = "built-in-verification")]
pub(crate) use bio_enrollment::{GOOD_SAMPLE, NO_USER_ACTIVITY, SampleRequest};
#[cfg(feature = "built-in-verification")]
pub(crate) use client_pin::UvTokenRequest;
#[cfg(feature = "credential-management")]
pub(crate) use credential_management::Enumeration;
#[cfg(feature = "large-blobs")]
pub(crate) use large_blobs::LargeBlobWrite;

use core::time::Duration;

use rand_core::CryptoRng;

use crate::authenticator::{Authenticator, Message, Reply};
use crate::cbor::Map;
use crate::status::Step;
use crate::store::CredentialStore;
use crate::time::Time;

/// How long after one command of a stateful sequence the next one can come (§6: 30 seconds are enough).
pub(crate) const STATE_LASTS: Duration = Duration::from_secs(30);

/// The commands, by their byte (CTAP §8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Command {
    MakeCredential = 0x01,
    GetAssertion = 0x02,
    GetInfo = 0x04,
    ClientPin = 0x06,
    Reset = 0x07,
    GetNextAssertion = 0x08,
    #[cfg(feature = "built-in-verification")]
    BioEnrollment = 0x09,
    #[cfg(feature = "credential-management")]
    CredentialManagement = 0x0A,
    Selection = 0x0B,
    #[cfg(feature = "large-blobs")]
    LargeBlobs = 0x0C,
    #[cfg(feature = "authenticator-config")]
    Config = 0x0D,
    #[cfg(feature = "built-in-verification")]
    BioEnrollmentPreview = 0x40,
    #[cfg(feature = "credential-management")]
    CredentialManagementPreview = 0x41,
}

impl Command {
    /// Those that this build has.
    const ALL: &'static [Command] = &[
        Command::MakeCredential,
        Command::GetAssertion,
        Command::GetInfo,
        Command::ClientPin,
        Command::Reset,
        Command::GetNextAssertion,
        #[cfg(feature = "built-in-verification")]
        Command::BioEnrollment,
        #[cfg(feature = "credential-management")]
        Command::CredentialManagement,
        Command::Selection,
        #[cfg(feature = "large-blobs")]
        Command::LargeBlobs,
        #[cfg(feature = "authenticator-config")]
        Command::Config,
        #[cfg(feature = "built-in-verification")]
        Command::BioEnrollmentPreview,
        #[cfg(feature = "credential-management")]
        Command::CredentialManagementPreview,
    ];

    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.iter().copied().find(|command| *command as u8 == byte)
    }
}

/// Hands a command to its file. `response` holds the status byte; the response's map goes behind it.
pub(crate) fn dispatch<S: CredentialStore, R: CryptoRng>(
    authenticator: &mut Authenticator<S, R>,
    now: Time,
    command: Command,
    parameters: &[u8],
    response: &mut Message,
) -> Step<Reply> {
    let parameters = Map::parameters(parameters)?;
    #[cfg(feature = "credential-management")]
    if !matches!(command, Command::CredentialManagement | Command::CredentialManagementPreview) {
        authenticator.enumeration = None;
    }
    if command != Command::GetNextAssertion {
        authenticator.assertions = None; // §6: a stateful command's state need not outlive another command
    }
    // None of them is inlined: on a microcontroller the stack must hold one handler's frame, not the sum of all.
    match command {
        Command::MakeCredential => authenticator.make_credential(now, parameters, response),
        Command::GetAssertion => authenticator.get_assertion(now, parameters, response),
        Command::GetNextAssertion => authenticator.get_next_assertion(now, response),
        Command::GetInfo => authenticator.get_info(now, response),
        Command::ClientPin => authenticator.client_pin(now, parameters, response),
        Command::Reset => authenticator.reset(now),
        Command::Selection => authenticator.selection(),
        #[cfg(feature = "built-in-verification")]
        Command::BioEnrollment | Command::BioEnrollmentPreview => {
            authenticator.bio_enrollment(now, command, parameters, response)
        }
        #[cfg(feature = "credential-management")]
        Command::CredentialManagement | Command::CredentialManagementPreview => {
            authenticator.credential_management(now, command, parameters, response)
        }
        #[cfg(feature = "large-blobs")]
        Command::LargeBlobs => authenticator.large_blobs(now, parameters, response),
        #[cfg(feature = "authenticator-config")]
        Command::Config => authenticator.config(now, parameters),
    }
}
