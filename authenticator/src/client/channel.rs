//! Requests to an authenticator and their answers, over whatever carries them: CTAPHID, or the tunnel to a phone.

use std::time::Duration;

use doppelkey_ctaphid::command;
use rand_core::CryptoRng;

use super::ctaphid::CtapHid;
use super::phone::Phone;
use super::{Abort, Error};
use crate::device::{Clock, Connection};
use crate::hybrid::{Desktop, Operation};

/// An abort, or the end of the time allowed, is noticed within this time.
pub(super) const ATTENTION: Duration = Duration::from_millis(100);

/// Leads to one authenticator.
pub(crate) struct Channel {
    clock: Clock,
    carrier: Carrier,
}

enum Carrier {
    CtapHid(CtapHid),
    Phone(Box<Phone>),
}

/// Until when an answer is wanted.
#[derive(Clone, Default)]
pub(crate) struct Limit {
    /// The clock's time at which the request is cancelled.
    pub(crate) until: Option<Duration>,
    /// Whoever may abort.
    pub(crate) abort: Option<Abort>,
}

impl Limit {
    /// Whether to go on at this time.
    pub(super) fn check(&self, now: Duration) -> Result<(), Error> {
        if self.abort.as_ref().is_some_and(Abort::is_aborted) {
            Err(Error::Aborted)
        } else if self.until.is_some_and(|until| now >= until) {
            Err(Error::TimedOut)
        } else {
            Ok(())
        }
    }
}

impl Channel {
    /// A logical channel of the device at the other end.
    pub(crate) fn open(
        connection: Box<dyn Connection>,
        clock: Clock,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self, Error> {
        let carrier = Carrier::CtapHid(CtapHid::open(connection, clock.clone(), rng)?);
        Ok(Channel { clock, carrier })
    }

    /// To a phone, which comes when a ceremony [begins](Self::begin).
    pub(crate) fn to_phone(desktop: Desktop, clock: Clock) -> Self {
        Channel { carrier: Carrier::Phone(Box::new(Phone::new(desktop, clock.clone()))), clock }
    }

    /// The clock's time.
    pub(crate) fn now(&self) -> Duration {
        (self.clock)()
    }

    /// Whether the authenticator is another device, which is fetched for each ceremony.
    pub(crate) fn is_phone(&self) -> bool {
        matches!(self.carrier, Carrier::Phone(_))
    }

    /// Before a ceremony: has a phone fetched, where there is one to fetch.
    pub(crate) fn begin(&mut self, operation: Operation, limit: &Limit) -> Result<(), Error> {
        match &mut self.carrier {
            Carrier::CtapHid(_) => Ok(()),
            Carrier::Phone(phone) => phone.begin(operation, limit),
        }
    }

    /// After a ceremony, however it ended.
    pub(crate) fn end(&mut self) {
        if let Carrier::Phone(phone) = &mut self.carrier {
            phone.end();
        }
    }

    /// Sends a CTAP2 command and waits for its answer: the bytes after the status byte.
    ///
    /// At the limit the request is cancelled, and the device is given a moment to say so.
    ///
    /// # Errors
    /// What the status stands for; [`Error::TimedOut`] or [`Error::Aborted`] at the limit.
    pub(crate) fn cbor(&mut self, request: &[u8], limit: &Limit) -> Result<Vec<u8>, Error> {
        let mut answer = self.raw_cbor(request, limit)?;
        match answer.first() {
            Some(0) => Ok(answer.split_off(1)),
            Some(&status) => Err(Error::from_status(status)),
            None => Err(Error::BadAnswer("a CTAP2 answer has at least one byte")),
        }
    }

    /// The same, with the status byte.
    pub(crate) fn raw_cbor(&mut self, request: &[u8], limit: &Limit) -> Result<Vec<u8>, Error> {
        match &mut self.carrier {
            Carrier::CtapHid(hid) => hid.transact(command::CBOR, request, limit),
            Carrier::Phone(phone) => phone.transact(request, limit),
        }
    }

    /// Echoes bytes off the device: it is there, and how far away.
    pub(crate) fn ping(&mut self, payload: &[u8], limit: &Limit) -> Result<Vec<u8>, Error> {
        match &mut self.carrier {
            Carrier::CtapHid(hid) => hid.transact(command::PING, payload, limit),
            Carrier::Phone(_) => Err(Error::Unsupported("an echo over the hybrid transport")),
        }
    }
}
