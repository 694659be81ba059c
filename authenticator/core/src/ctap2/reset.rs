//! authenticatorReset (CTAP §6.6).

use rand_core::CryptoRng;

use crate::authenticator::{Authenticator, Reply};
use crate::status::{Status, Step};
use crate::store::CredentialStore;
use crate::time::Time;

impl<S: CredentialStore, R: CryptoRng> Authenticator<S, R> {
    pub(crate) fn reset(&mut self, _now: Time) -> Step<Reply> {
        Err(Status::InvalidCommand)
    }
}
