//! CTAP2 commands (CTAP §6): one file each.

mod bio_enrollment;
pub(crate) mod ceremony;
mod client_pin;
mod config;
mod credential_management;
pub(crate) mod get_assertion;
mod get_info;
pub(crate) mod get_next_assertion;
mod large_blobs;
pub(crate) mod make_credential;
mod reset;
mod selection;

pub(crate) use bio_enrollment::{GOOD_SAMPLE, NO_USER_ACTIVITY, SampleRequest};
pub(crate) use client_pin::UvTokenRequest;
pub(crate) use credential_management::Enumeration;
pub(crate) use large_blobs::LargeBlobWrite;

use rand_core::CryptoRng;

use crate::authenticator::{Authenticator, Message, Reply};
use crate::cbor::Map;
use crate::status::Step;
use crate::store::CredentialStore;
use crate::time::Time;

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
    BioEnrollment = 0x09,
    CredentialManagement = 0x0A,
    Selection = 0x0B,
    LargeBlobs = 0x0C,
    Config = 0x0D,
    BioEnrollmentPreview = 0x40,
    CredentialManagementPreview = 0x41,
}

impl Command {
    const ALL: [Command; 13] = [
        Command::MakeCredential,
        Command::GetAssertion,
        Command::GetInfo,
        Command::ClientPin,
        Command::Reset,
        Command::GetNextAssertion,
        Command::BioEnrollment,
        Command::CredentialManagement,
        Command::Selection,
        Command::LargeBlobs,
        Command::Config,
        Command::BioEnrollmentPreview,
        Command::CredentialManagementPreview,
    ];

    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|command| *command as u8 == byte)
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
        Command::BioEnrollment | Command::BioEnrollmentPreview => {
            authenticator.bio_enrollment(now, command, parameters, response)
        }
        Command::CredentialManagement | Command::CredentialManagementPreview => {
            authenticator.credential_management(now, command, parameters, response)
        }
        Command::LargeBlobs => authenticator.large_blobs(now, parameters, response),
        Command::Config => authenticator.config(now, parameters),
    }
}
