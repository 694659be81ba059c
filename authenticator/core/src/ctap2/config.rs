//! authenticatorConfig (CTAP §6.11).

use rand_core::CryptoRng;

use crate::authenticator::{Authenticator, Reply};
use crate::cbor::Map;
use crate::status::{Status, Step};
use crate::store::CredentialStore;
use crate::time::Time;

impl<S: CredentialStore, R: CryptoRng> Authenticator<S, R> {
    pub(crate) fn config(&mut self, _now: Time, _parameters: Map<'_>) -> Step<Reply> {
        Err(Status::InvalidCommand)
    }
}
