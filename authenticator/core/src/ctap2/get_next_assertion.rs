//! authenticatorGetNextAssertion (CTAP §6.3).

use rand_core::CryptoRng;

use crate::authenticator::{Authenticator, Message, Reply};
use crate::ctap2::STATE_LASTS;
use crate::ctap2::ceremony::Found;
use crate::ctap2::get_assertion::{Ceremony, Choice};
use crate::status::{Status, Step};
use crate::store::CredentialStore;
use crate::time::Time;

/// The assertions that are still to be had after getAssertion.
pub(crate) struct RemainingAssertions {
    ceremony: Ceremony,
    /// The order of the last one given.
    before: u64,
    left: u32,
    since: Time,
}

impl RemainingAssertions {
    pub(crate) fn after(ceremony: Ceremony, before: u64, left: u32, since: Time) -> Self {
        RemainingAssertions { ceremony, before, left, since }
    }
}

impl<S: CredentialStore, R: CryptoRng> Authenticator<S, R> {
    /// The next older account's assertion, by the user's consent to the first.
    #[inline(never)]
    pub(crate) fn get_next_assertion(&mut self, now: Time, response: &mut Message) -> Step<Reply> {
        let mut remaining = self.assertions.take().ok_or(Status::NotAllowed)?; // step 1
        if remaining.left == 0 || now.saturating_sub(remaining.since) > STATE_LASTS {
            return Err(Status::NotAllowed); // steps 2 and 3
        }
        let RemainingAssertions { ceremony, before, .. } = &remaining;
        let next = self.discover(&ceremony.rp_id_hash, *before, ceremony.verification.uv())?;
        let found = Found { credential: next.ok_or(Status::NotAllowed)?, stored: true };
        self.assert(ceremony, &found, Choice::Next, response)?;
        remaining.before = found.credential.order;
        remaining.left -= 1;
        remaining.since = now; // step 6
        self.assertions = Some(remaining);
        Ok(Reply::Done)
    }
}
