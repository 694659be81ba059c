//! An authenticator on another device, over the hybrid transport (CTAP §11.5).

use super::Error;
use super::channel::{ATTENTION, Limit};
use crate::device::Clock;
use crate::hybrid::{self, Connected, Desktop, Operation};

/// authenticatorGetInfo: a phone says it without being asked.
const GET_INFO: u8 = 0x04;

/// A phone that is fetched for each ceremony, and let go after it.
pub(super) struct Phone {
    desktop: Desktop,
    clock: Clock,
    connected: Option<Connected>,
}

impl Phone {
    pub(super) fn new(desktop: Desktop, clock: Clock) -> Self {
        Phone { desktop, clock, connected: None }
    }

    /// Calls the phone that is known, or shows a code until one comes.
    pub(super) fn begin(&mut self, operation: Operation, limit: &Limit) -> Result<(), Error> {
        self.connected = None;
        let go_on = || limit.check((self.clock)()).is_ok();
        match self.desktop.connect(operation, &go_on) {
            Ok(connected) => {
                self.connected = Some(connected);
                Ok(())
            }
            Err(error) => {
                limit.check((self.clock)())?;
                Err(error.into())
            }
        }
    }

    /// Lets the phone go, which takes back what it is asking its user.
    pub(super) fn end(&mut self) {
        if let Some(mut connected) = self.connected.take() {
            self.desktop.remember(&mut connected);
        }
    }

    /// Sends a CTAP2 request; its answer, with the status byte.
    pub(super) fn transact(&mut self, request: &[u8], limit: &Limit) -> Result<Vec<u8>, Error> {
        let connected = self.connected.as_mut().ok_or(Error::NoCredential)?;
        if request == [GET_INFO] {
            return Ok([&[0], connected.info()].concat());
        }
        connected.send(request)?;
        loop {
            limit.check((self.clock)())?;
            if let Some(answer) = connected.receive(ATTENTION)? {
                return Ok(answer);
            }
        }
    }
}

impl From<hybrid::Error> for Error {
    fn from(error: hybrid::Error) -> Self {
        match error {
            hybrid::Error::GivenUp => Error::TimedOut,
            error => Error::Disconnected(std::io::Error::other(error)),
        }
    }
}
