//! authenticatorReset (CTAP §6.6).

use rand_core::CryptoRng;

use crate::authenticator::{Authenticator, Reply};
use crate::configuration::Configuration;
use crate::pending::Pending;
use crate::status::{Status, Step};
use crate::store::CredentialStore;
use crate::time::Time;

impl<S: CredentialStore, R: CryptoRng> Authenticator<S, R> {
    /// Up to the user: only over a transport for it, and within some seconds of power-up, so that it takes a hand on
    /// the device.
    #[inline(never)]
    pub(crate) fn reset(&mut self, now: Time) -> Step<Reply> {
        let Configuration { transports, transports_for_reset, .. } = &self.configuration;
        if !transports_for_reset.is_empty()
            && !transports_for_reset.iter().any(|one| transports.contains(one))
        {
            return Err(Status::OperationDenied);
        }
        if now > self.configuration.reset_window {
            return Err(Status::NotAllowed);
        }
        let long = self.settings()?.long_touch_for_reset;
        Ok(Reply::Ask(Pending::Reset { long }))
    }

    /// From the user on: forgets credentials, PIN, settings, large blobs and fingerprints in one step of the store,
    /// and everything of this power-up that stood on them.
    pub(crate) fn confirmed_reset(&mut self) -> Step<Reply> {
        self.store.reset()?;
        self.pin.reset();
        self.spare = None;
        #[cfg(feature = "built-in-verification")]
        {
            self.enrolment = None;
        }
        #[cfg(feature = "large-blobs")]
        {
            self.large_blob_write = None;
        }
        Ok(Reply::Done)
    }
}
