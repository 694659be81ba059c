//! authenticatorGetAssertion and authenticatorGetNextAssertion (CTAP §6.2, §6.3).

use rand_core::CryptoRng;

use crate::authenticator::{Authenticator, Message, Reply};
use crate::cbor::Map;
use crate::status::{Status, Step};
use crate::store::CredentialStore;
use crate::time::Time;

impl<S: CredentialStore, R: CryptoRng> Authenticator<S, R> {
    pub(crate) fn get_assertion(
        &mut self,
        _now: Time,
        _parameters: Map<'_>,
        _response: &mut Message,
    ) -> Step<Reply> {
        Err(Status::InvalidCommand)
    }

    pub(crate) fn get_next_assertion(&mut self, _now: Time, _response: &mut Message) -> Step<Reply> {
        Err(Status::NotAllowed)
    }
}
