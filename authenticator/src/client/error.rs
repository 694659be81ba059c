//! What a ceremony can end with, other than a response.

use std::{fmt, io};

use crate::cbor::Malformed;

/// Why there is no response. [`name`](Self::name) is the `DOMException` that a page would see.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The page's fault: a member of the options is missing, or is not what it must be.
    Options(String),
    /// The page's fault: a member of the options has its type, and not its form.
    Syntax(&'static str),
    /// The page's fault: WebAuthn is for secure contexts; this origin is none.
    InsecureOrigin(String),
    /// The page's fault: the RP ID is not the caller's, nor related to it.
    RpId {
        /// The caller.
        origin: String,
        /// What it asked for.
        rp_id: String,
        /// Which rule it broke.
        why: &'static str,
    },
    /// The page's fault: called from a frame of another origin, without a policy that allows it.
    CrossOriginFrame,
    /// None of the algorithms asked for is one that the authenticator has.
    NoCommonAlgorithm,
    /// The authenticator cannot do what the options insist on.
    Unsupported(&'static str),
    /// A credential of the exclude list is on this authenticator, and the user agreed that the page learns so.
    AlreadyRegistered,
    /// The authenticator has no credential that was asked for.
    NoCredential,
    /// The user said no.
    Refused,
    /// The user did not answer within the ceremony's timeout, or the authenticator did not.
    TimedOut,
    /// Whoever holds the [`Abort`](super::Abort) used it.
    Aborted,
    /// User verification is required, and this authenticator has no PIN, no fingerprint, or is locked.
    NotVerified(NotVerified),
    /// The authenticator has no room for another credential.
    Full,
    /// The authenticator's storage is full, and what a sign-in or a PIN has to write (a signature counter, a retry) finds no
    /// room. What is there is still there.
    NoRoom,
    /// The authenticator answered with this CTAP2 status (§8.2), which none of the above stands for.
    Status(u8),
    /// The authenticator's fault: an answer that is not what CTAP says.
    BadAnswer(&'static str),
    /// The authenticator went away, or its transport failed.
    Disconnected(io::Error),
}

/// Why the user could not be verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotVerified {
    /// Nothing is set up: no PIN, no fingerprint.
    NotSetUp,
    /// The authenticator insists on it, and was not satisfied by what it was given.
    Required,
    /// A PIN is needed, and nobody gave one.
    NoPin,
    /// The PIN given is wrong.
    WrongPin,
    /// Too many wrong PINs: blocked until power-up.
    BlockedUntilPowerUp,
    /// Too many wrong PINs: blocked until a reset.
    Blocked,
    /// The PIN must be changed first.
    PinMustChange,
    /// The authenticator does not take the new PIN: it is too short for it, or too simple.
    PinRefused,
    /// Built-in verification did not recognise the user.
    NotRecognised,
    /// Built-in verification is blocked after too many failures, until a PIN is entered.
    RecognitionBlocked,
}

impl Error {
    /// The name of the exception that a page would see: `NotAllowedError`, `InvalidStateError`, …
    pub fn name(&self) -> &'static str {
        match self {
            Error::Options(_) => "TypeError",
            Error::Syntax(_) => "SyntaxError",
            Error::RpId { .. } | Error::InsecureOrigin(_) => "SecurityError",
            Error::NoCommonAlgorithm | Error::Unsupported(_) => "NotSupportedError",
            Error::AlreadyRegistered => "InvalidStateError",
            Error::Aborted => "AbortError",
            // One name for many: a page must not be able to tell them apart (WebAuthn §14.5).
            Error::NoCredential
            | Error::Refused
            | Error::TimedOut
            | Error::NotVerified(_)
            | Error::CrossOriginFrame
            | Error::Full
            | Error::NoRoom => "NotAllowedError",
            Error::Status(_) | Error::BadAnswer(_) | Error::Disconnected(_) => "UnknownError",
        }
    }

    /// What a CTAP2 status that is not OK means for a ceremony.
    pub(super) fn from_status(status: u8) -> Self {
        match status {
            0x19 => Error::AlreadyRegistered,
            0x26 => Error::NoCommonAlgorithm,
            0x27 | 0x30 => Error::Refused,
            0x2b => Error::Unsupported("an option that the authenticator does not have"),
            0x2d => Error::Aborted,
            0x2e => Error::NoCredential,
            0x2f | 0x3a | 0x05 => Error::TimedOut,
            0x28 => Error::Full,
            0x31 => Error::NotVerified(NotVerified::WrongPin),
            0x32 => Error::NotVerified(NotVerified::Blocked),
            0x34 => Error::NotVerified(NotVerified::BlockedUntilPowerUp),
            0x35 => Error::NotVerified(NotVerified::NotSetUp),
            0x36 => Error::NotVerified(NotVerified::Required),
            0x37 => Error::NotVerified(NotVerified::PinMustChange),
            0x3c => Error::NotVerified(NotVerified::RecognitionBlocked),
            0x3f => Error::NotVerified(NotVerified::NotRecognised),
            other => Error::Status(other),
        }
    }
}

impl From<Malformed> for Error {
    fn from(Malformed(what): Malformed) -> Self {
        Error::BadAnswer(what)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Options(what) => write!(f, "{what}"),
            Error::Syntax(what) => f.write_str(what),
            Error::InsecureOrigin(origin) => {
                write!(f, "{origin} is not a secure context: https, or http on localhost, is needed")
            }
            Error::RpId { origin, rp_id, why } => {
                write!(f, "{origin} may not use the RP ID {rp_id}: {why}")
            }
            Error::CrossOriginFrame => {
                f.write_str("a frame of another origin may not do this without a permissions policy")
            }
            Error::NoCommonAlgorithm => f.write_str("the authenticator has none of the algorithms asked for"),
            Error::Unsupported(what) => write!(f, "not supported: {what}"),
            Error::AlreadyRegistered => f.write_str("there is a passkey for this account here already"),
            Error::NoCredential => f.write_str("there is no passkey here that was asked for"),
            Error::Refused => f.write_str("the user said no"),
            Error::TimedOut => f.write_str("no answer within the time allowed"),
            Error::Aborted => f.write_str("the ceremony was aborted"),
            Error::NotVerified(why) => f.write_str(match why {
                NotVerified::NotSetUp => {
                    "user verification is required, and neither a PIN nor a fingerprint is set up"
                }
                NotVerified::Required => "the authenticator insists on the user's PIN or fingerprint",
                NotVerified::NoPin => "the PIN is needed",
                NotVerified::WrongPin => "the PIN is wrong",
                NotVerified::BlockedUntilPowerUp => {
                    "too many wrong PINs: unplug the authenticator and plug it in again"
                }
                NotVerified::Blocked => "too many wrong PINs: only a reset unlocks the authenticator",
                NotVerified::PinMustChange => "the PIN must be changed first",
                NotVerified::PinRefused => "the authenticator does not take this PIN",
                NotVerified::NotRecognised => "the user was not recognised",
                NotVerified::RecognitionBlocked => {
                    "too many failed verifications: built-in verification is blocked"
                }
            }),
            Error::Full => f.write_str("the authenticator has no room for another passkey"),
            Error::NoRoom => {
                f.write_str("the authenticator's storage is full: it cannot write what this needs")
            }
            Error::Status(status) => write!(f, "the authenticator answered with status {status:#04x}"),
            Error::BadAnswer(what) => write!(f, "the authenticator's answer is malformed: {what}"),
            Error::Disconnected(error) => write!(f, "the authenticator went away: {error}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Disconnected(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut => Error::TimedOut,
            _ => Error::Disconnected(error),
        }
    }
}
