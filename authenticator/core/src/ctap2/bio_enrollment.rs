//! authenticatorBioEnrollment (CTAP §6.7).

use rand_core::CryptoRng;

use crate::authenticator::{Authenticator, Message, Reply};
use crate::cbor::Map;
use crate::ctap2::Command;
use crate::status::{Status, Step};
use crate::store::CredentialStore;
use crate::time::Time;

impl<S: CredentialStore, R: CryptoRng> Authenticator<S, R> {
    pub(crate) fn bio_enrollment(
        &mut self,
        _now: Time,
        _command: Command,
        _parameters: Map<'_>,
        _response: &mut Message,
    ) -> Step<Reply> {
        Err(Status::InvalidCommand)
    }
}
