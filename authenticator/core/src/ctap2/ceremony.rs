//! What makeCredential and getAssertion have in common: options, how the user is verified, and consent.
//!
//! Steps are those of §6.1.2 (makeCredential) and §6.2.2 (getAssertion).

use heapless::{String, Vec};
use rand_core::CryptoRng;

use crate::authenticator::Authenticator;
use crate::cbor::{Item, Map};
use crate::configuration::OptionId;
use crate::credential::{CREDENTIAL_ID_MAX, Credential, RP_ID_MAX};
use crate::pending::Pending;
use crate::pin::Permissions;
use crate::pin_protocol::Protocol;
use crate::status::{Status, Step};
use crate::store::CredentialStore;
use crate::time::Time;
use crate::user::Answer;
use crate::wrapped;

/// The `options` of a request. Unknown ones are ignored.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    pub(crate) rk: Option<bool>,
    pub(crate) up: Option<bool>,
    pub(crate) uv: bool,
}

impl Options {
    pub(crate) fn read(options: Option<Item<'_>>) -> Step<Self> {
        let Some(options) = options else { return Ok(Options::default()) };
        let options = options.map()?;
        let option = |name| options.named(name).map(Item::boolean).transpose();
        Ok(Options { rk: option("rk")?, up: option("up")?, uv: option("uv")?.unwrap_or(false) })
    }
}

/// pinUvAuthProtocol and pinUvAuthParam of a request.
#[derive(Clone, Copy)]
pub(crate) struct PinUvAuth<'a> {
    pub(crate) protocol: Protocol,
    pub(crate) parameter: &'a [u8],
}

/// How the user is verified in a ceremony.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verification {
    /// Not at all.
    None,
    /// By a pinUvAuthToken, before.
    Token {
        /// Which built-in verification issued, not a PIN.
        built_in: bool,
    },
    /// By the authenticator itself, with the touch.
    BuiltIn,
}

impl Verification {
    /// The bit `uv` of the response.
    pub(crate) fn uv(self) -> bool {
        self != Verification::None
    }

    /// Whether it was by a token.
    pub(crate) fn is_token(self) -> bool {
        matches!(self, Verification::Token { .. })
    }

    /// The status for a user who did not agree: a touch that did not come is one that was refused (step 14, 9 in
    /// getAssertion), a verification that did not come is told apart (step 11.2.3, 6.2.3 in getAssertion).
    pub(crate) fn unanswered(self, why: Status) -> Status {
        match why {
            Status::UserActionTimeout if self != Verification::BuiltIn => Status::OperationDenied,
            why => why,
        }
    }
}

/// What an answer means for a ceremony.
pub(crate) enum Consent {
    /// The user agrees, and may have chosen an account.
    Given { account: Option<u32> },
    /// Built-in verification failed, and may be tried again.
    TryAgain,
}

/// Built-in verification is tried so often in one ceremony (maxUvAttemptsForInternalRetries, 1 to 5).
pub(crate) const UV_ATTEMPTS: u8 = 3;

impl<S: CredentialStore, R: CryptoRng> Authenticator<S, R> {
    /// Step 1: an empty pinUvAuthParam asks the user to choose this authenticator. What to ask, if it is one.
    pub(crate) fn choice(&mut self, parameter: Option<Item<'_>>) -> Step<Option<Pending>> {
        let supported = [OptionId::ClientPin, OptionId::PinUvAuthToken];
        if !supported.iter().any(|option| self.configuration.offers(*option))
            || parameter.is_none_or(|parameter| parameter.bytes() != Ok(&[]))
        {
            return Ok(None);
        }
        let set = self.pin.is_pin_set(&mut self.store)?;
        Ok(Some(Pending::Choice(if set { Status::PinInvalid } else { Status::PinNotSet })))
    }

    /// Step 2: a pinUvAuthParam needs a protocol that is supported.
    pub(crate) fn token_parameter<'a>(
        &self,
        parameter: Option<Item<'a>>,
        protocol: Option<Item<'a>>,
    ) -> Step<Option<PinUvAuth<'a>>> {
        let Some(parameter) = parameter else { return Ok(None) };
        let parameter = parameter.bytes()?;
        let protocol = self.pin_uv_protocol(protocol.ok_or(Status::MissingParameter)?)?;
        Ok(Some(PinUvAuth { protocol, parameter }))
    }

    /// Step 5 (4 in getAssertion): the option uv counts only without a pinUvAuthParam, and needs a built-in method
    /// that is set up.
    pub(crate) fn asked_verification(
        &mut self,
        options: &Options,
        token: Option<PinUvAuth<'_>>,
    ) -> Step<Verification> {
        match (token, options.uv) {
            (Some(_), _) => Ok(Verification::Token { built_in: self.pin.is_token_by_built_in() }),
            (None, true) if self.built_in_uv()? == Some(true) => Ok(Verification::BuiltIn),
            (None, true) => Err(Status::InvalidOption),
            (None, false) => Ok(Verification::None),
        }
    }

    /// Step 6 (5 in getAssertion) under alwaysUv: whoever did not ask for verification gets the built-in one, or is
    /// told to come with a token.
    pub(crate) fn always_verified(&mut self, asked: Verification) -> Step<Verification> {
        if !self.is_protected()? {
            return Err(self.verification_missing());
        }
        match asked {
            Verification::None if self.built_in_uv()? == Some(true) => Ok(Verification::BuiltIn),
            Verification::None => Err(self.verification_missing()),
            asked => Ok(asked),
        }
    }

    /// What alwaysUv tells a platform whose user was not verified: to come with a token, where a PIN could get it one.
    fn verification_missing(&self) -> Status {
        if self.pin_could_serve_ceremonies() { Status::PuatRequired } else { Status::OperationDenied }
    }

    /// Whether a PIN can get a token for makeCredential and getAssertion.
    fn pin_could_serve_ceremonies(&self) -> bool {
        self.configuration.offers(OptionId::ClientPin)
            && !self.configuration.offers(OptionId::NoMcGaPermissionsWithClientPin)
    }

    /// Whether a PIN is set, and can get a token for makeCredential and getAssertion.
    pub(crate) fn pin_serves_ceremonies(&mut self) -> Step<bool> {
        Ok(self.pin_could_serve_ceremonies() && self.pin.is_pin_set(&mut self.store)?)
    }

    /// Step 11, 6 in getAssertion: a token must be good for this; built-in verification must not be blocked.
    ///
    /// # Errors
    /// [`PinUv::authorize`](crate::pin::PinUv::authorize)'s, and those of built-in verification that is blocked.
    pub(crate) fn authorize(
        &mut self,
        now: Time,
        permission: Permissions,
        verification: Verification,
        token: Option<PinUvAuth<'_>>,
        client_data_hash: &[u8; 32],
        rp_id_hash: &[u8; 32],
    ) -> Step {
        match (verification, token) {
            (Verification::Token { .. }, Some(PinUvAuth { protocol, parameter })) => {
                self.pin.authorize(now, protocol, client_data_hash, parameter, permission, rp_id_hash)
            }
            (Verification::BuiltIn, _) if cfg!(feature = "built-in-verification") => self.may_verify(),
            _ => Ok(()),
        }
    }

    /// Refuses built-in verification after too many failures (step 11.2, 6.2 in getAssertion).
    fn may_verify(&mut self) -> Step {
        match self.pin.require_uv_unblocked(&mut self.store) {
            Err(Status::UvBlocked) => Err(self.verification_failed()?),
            other => other,
        }
    }

    /// Takes from the token in use what presence takes from it (step 14.4, 9.4 in getAssertion). Presence that came with
    /// built-in verification leaves it alone: the token had no part in that (step 13, 8 in getAssertion).
    pub(crate) fn spend_token(&mut self, verification: Verification) {
        if !cfg!(feature = "built-in-verification") || verification != Verification::BuiltIn {
            self.pin.spend();
        }
    }

    /// What an answer means, after it was taken down. `attempts` counts what is left of [`UV_ATTEMPTS`].
    pub(crate) fn consent(
        &mut self,
        verification: Verification,
        attempts: &mut u8,
        answer: Answer,
    ) -> Step<Consent> {
        let built_in = cfg!(feature = "built-in-verification") && verification == Verification::BuiltIn;
        match answer {
            Answer::Approve { verified, account } if verified || !built_in => {
                if built_in {
                    self.pin.verified_built_in(&mut self.store, true)?;
                }
                Ok(Consent::Given { account })
            }
            Answer::Approve { .. } | Answer::NotVerified if built_in => {
                *attempts = attempts.saturating_sub(1);
                match self.pin.verified_built_in(&mut self.store, false) {
                    Err(Status::UvInvalid) if *attempts > 0 => Ok(Consent::TryAgain),
                    Err(Status::UvInvalid | Status::UvBlocked) => Err(self.verification_failed()?),
                    Err(status) => Err(status),
                    Ok(()) => Err(Status::OperationDenied),
                }
            }
            _ => Err(Status::OperationDenied),
        }
    }

    /// After built-in verification failed (step 11.2.3, 6.2.3 in getAssertion): a PIN, where there is one, is the way
    /// out.
    fn verification_failed(&mut self) -> Step<Status> {
        if self.pin_serves_ceremonies()? {
            return Ok(Status::PuatRequired);
        }
        let retries = self.pin.uv_retries(&mut self.store)?;
        Ok(if retries == 0 { Status::PinBlocked } else { Status::OperationDenied })
    }

    /// The credential with this id, if it is here and this RP's.
    pub(crate) fn find(&mut self, rp_id_hash: &[u8; 32], id: &[u8]) -> Step<Option<Found>> {
        if id.is_empty() || id.len() > CREDENTIAL_ID_MAX {
            return Ok(None);
        }
        if let Some(credential) = self.store.get(id)? {
            return Ok((credential.rp_id_hash == *rp_id_hash).then_some(Found { credential, stored: true }));
        }
        let identity = self.identity()?;
        let credential = wrapped::unwrap(&identity.wrapping_key, rp_id_hash, id);
        Ok(credential.map(|credential| Found { credential, stored: false }))
    }

    /// The ids of an allow or exclude list; entries of an unknown type are passed over.
    ///
    /// # Errors
    /// [`Status::LimitExceeded`] for a list longer than this authenticator says it takes.
    pub(crate) fn descriptors<'a>(&self, list: Option<Item<'a>>) -> Step<Option<DescriptorList<'a>>> {
        let Some(list) = list else { return Ok(None) };
        let items = list.array()?;
        let limit = usize::from(self.configuration.limits.max_credential_count_in_list);
        if limit > 0 && items.count() > limit {
            return Err(Status::LimitExceeded);
        }
        for item in items {
            let descriptor = item.map()?;
            descriptor.required_named("id")?.bytes()?;
            descriptor.required_named("type")?.text()?;
        }
        Ok((!items.is_empty()).then_some(DescriptorList(items)))
    }
}

/// A credential that was looked up by its id.
pub(crate) struct Found {
    pub(crate) credential: Credential,
    /// Whether it is in the store, or only in its own id.
    pub(crate) stored: bool,
}

/// A list of PublicKeyCredentialDescriptors that was checked, and is not empty.
#[derive(Clone, Copy)]
pub(crate) struct DescriptorList<'a>(crate::cbor::Items<'a>);

impl<'a> DescriptorList<'a> {
    /// The ids of the entries that are public keys.
    pub(crate) fn ids(self) -> impl Iterator<Item = &'a [u8]> {
        self.0.filter_map(|item| {
            let descriptor = item.map().ok()?;
            (descriptor.named("type")?.text() == Ok(PUBLIC_KEY)).then_some(())?;
            descriptor.named("id")?.bytes().ok()
        })
    }
}

/// The only type of credential there is (WebAuthn §5.8.2).
pub(crate) const PUBLIC_KEY: &str = "public-key";

/// clientDataHash: a SHA-256.
pub(crate) fn client_data_hash(item: Item<'_>) -> Step<[u8; 32]> {
    item.bytes()?.try_into().map_err(|_| Status::InvalidLength)
}

/// A parameter that is looked at later, and has its type now.
pub(crate) fn typed<'a, T>(
    item: Option<Item<'a>>,
    read: impl FnOnce(Item<'a>) -> Step<T>,
) -> Step<Option<Item<'a>>> {
    if let Some(item) = item {
        read(item)?;
    }
    Ok(item)
}

/// An RP ID: not empty, and not longer than a domain name.
pub(crate) fn rp_id(item: Item<'_>) -> Step<String<RP_ID_MAX>> {
    match item.text()? {
        "" => Err(Status::InvalidParameter),
        id => String::try_from(id).map_err(|_| Status::LimitExceeded),
    }
}

/// The extension inputs of a request; an absent map is an empty one.
pub(crate) fn extension_inputs(item: Option<Item<'_>>) -> Step<Map<'_>> {
    item.map_or(Map::parameters(&[]), Item::map)
}

/// A credential id, kept.
pub(crate) type CredentialId = Vec<u8, CREDENTIAL_ID_MAX>;
