//! What a use of another device can end with, other than a session.

use std::{fmt, io};

/// Why there is no session, or no more.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// Whoever waits has given up: the time allowed is over, or the page took its call back.
    GivenUp,
    /// The tunnel, or its server, failed.
    Tunnel(String),
    /// The other side ended it.
    Closed,
    /// The peer does not have the secrets that it should, or somebody on the way changed a message.
    NotAuthentic,
    /// The peer's fault: a message that is not what CTAP says.
    Malformed(&'static str),
    /// The phone of a link is not to be had at its tunnel server any more: scan a QR code again.
    Unlinked,
    /// The room's folder, or its sockets.
    Room(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::GivenUp => f.write_str("nobody came in time"),
            Error::Tunnel(why) => write!(f, "the tunnel could not be opened: {why}"),
            Error::Closed => f.write_str("the other device has gone"),
            Error::NotAuthentic => f.write_str(
                "the other device is not the one that it should be, or the tunnel changes messages",
            ),
            Error::Malformed(what) => write!(f, "the other device's message is malformed: {what}"),
            Error::Unlinked => f.write_str("the phone's tunnel server knows it no more"),
            Error::Room(error) => write!(f, "nothing can be heard: {error}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Room(error) => Some(error),
            _ => None,
        }
    }
}
