//! authenticatorSelection (CTAP §6.9).

use rand_core::CryptoRng;

use crate::authenticator::{Authenticator, Reply};
use crate::pending::Pending;
use crate::status::{Status, Step};
use crate::store::CredentialStore;

impl<S: CredentialStore, R: CryptoRng> Authenticator<S, R> {
    /// Asks for a touch, and answers with nothing but that it came.
    #[inline(never)]
    pub(crate) fn selection(&mut self) -> Step<Reply> {
        Ok(Reply::Ask(Pending::Choice(Status::Ok)))
    }
}
