//! How the user can be verified at this moment, and how a request shows that it happened (CTAP §6.5.1, §6.5.2).

use rand_core::CryptoRng;

use crate::authenticator::Authenticator;
use crate::cbor::{Item, Map};
use crate::configuration::OptionId;
#[cfg(feature = "built-in-verification")]
use crate::fingerprint::Fingerprints;
use crate::pin_protocol::Protocol;
use crate::status::{Status, Step};
use crate::store::CredentialStore;

impl<S: CredentialStore, R: CryptoRng> Authenticator<S, R> {
    /// Without this option there is no such command.
    #[cfg(any(
        feature = "authenticator-config",
        feature = "built-in-verification",
        feature = "credential-management",
        feature = "large-blobs"
    ))]
    pub(crate) fn must_offer(&self, option: OptionId) -> Step {
        if self.configuration.offers(option) { Ok(()) } else { Err(Status::InvalidCommand) }
    }

    /// Built-in user verification: `None` if there is none, else whether it is set up (getInfo's option uv).
    ///
    /// A sensor is set up once a fingerprint is enrolled; a built-in method that is no sensor always is.
    #[cfg(feature = "built-in-verification")]
    pub(crate) fn built_in_uv(&mut self) -> Step<Option<bool>> {
        if !self.configuration.offers(OptionId::Uv) {
            return Ok(None);
        }
        if !self.has_sensor() {
            return Ok(Some(true));
        }
        Ok(Some(!Fingerprints::load(&mut self.store)?.is_empty()))
    }

    /// This build has none.
    #[cfg(not(feature = "built-in-verification"))]
    pub(crate) fn built_in_uv(&mut self) -> Step<Option<bool>> {
        Ok(None)
    }

    /// Whether fingerprints can be enrolled.
    #[cfg(feature = "built-in-verification")]
    pub(crate) fn has_sensor(&self) -> bool {
        self.configuration.offers(OptionId::BioEnroll)
            || self.configuration.offers(OptionId::UserVerificationMgmtPreview)
    }

    /// Whether the authenticator is "protected by some form of user verification": a PIN is set, or the built-in
    /// method is set up.
    pub(crate) fn is_protected(&mut self) -> Step<bool> {
        let pin = self.configuration.offers(OptionId::ClientPin) && self.pin.is_pin_set(&mut self.store)?;
        Ok(pin || self.built_in_uv()? == Some(true))
    }

    /// The PIN/UV auth protocol that a request names.
    ///
    /// # Errors
    /// [`Status::InvalidParameter`] for one that is not supported.
    pub(crate) fn pin_uv_protocol(&self, number: Item<'_>) -> Step<Protocol> {
        let number = number.unsigned()?;
        match self.configuration.pin_uv_auth_protocols.iter().any(|one| u64::from(*one) == number) {
            true => Protocol::from_number(number),
            false => Err(Status::InvalidParameter),
        }
    }

    /// The pinUvAuthProtocol and pinUvAuthParam of a request that must have both; their keys differ by command.
    ///
    /// # Errors
    /// [`Status::PuatRequired`] without the parameter, [`Status::MissingParameter`] without the protocol,
    /// [`Status::InvalidParameter`] for a protocol that is not supported.
    pub(crate) fn pin_uv_auth<'a>(
        &self,
        parameters: Map<'a>,
        protocol_key: i32,
        parameter_key: i32,
    ) -> Step<(Protocol, &'a [u8])> {
        let parameter = parameters.get(parameter_key).ok_or(Status::PuatRequired)?.bytes()?;
        let protocol = self.pin_uv_protocol(parameters.required(protocol_key)?)?;
        Ok((protocol, parameter))
    }
}
