//! authenticatorSelection (CTAP §6.9).

use rand_core::CryptoRng;

use crate::authenticator::{Authenticator, Reply};
use crate::status::{Status, Step};
use crate::store::CredentialStore;

impl<S: CredentialStore, R: CryptoRng> Authenticator<S, R> {
    pub(crate) fn selection(&mut self) -> Step<Reply> {
        Err(Status::InvalidCommand)
    }
}
