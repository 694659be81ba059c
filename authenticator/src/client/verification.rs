//! Whether the user is to be verified, and how: a token for a fingerprint or a PIN, or the option `uv` (CTAP §6.1.3).

use rand_core::CryptoRng;

use super::channel::{Channel, Limit};
use super::ctap::{self, Info, command};
use super::dialogs::{Dialogs, PinRequest};
use super::error::{Error, NotVerified};
use super::options::Requirement;
use super::pin::{self, Purpose, Token};
use crate::cbor::Map;

/// How a request says that the user is verified.
pub(crate) enum Verification {
    /// It does not.
    None,
    /// By the option `uv`: the authenticator verifies during the request.
    Option,
    /// By a pinUvAuthToken: verified already.
    Token(Token),
}

impl Verification {
    /// The token's bytes and protocol, where there is one.
    pub(crate) fn token(&self) -> Option<&Token> {
        match self {
            Verification::Token(token) => Some(token),
            _ => None,
        }
    }

    /// Whether the option `uv` is to be sent.
    pub(crate) fn is_option(&self) -> bool {
        matches!(self, Verification::Option)
    }
}

/// Whether the authenticator has a way to verify the user that is set up.
fn is_set_up(info: &Info) -> bool {
    info.is("uv") || info.is("clientPin")
}

/// Whether a request that failed like this is to be sent again with a PIN, which takes the place of built-in
/// verification (§6.1.2 step 11.2, §6.2.2 step 6.2: an authenticator with a PIN leaves that to the platform).
pub(crate) fn is_left_to_the_pin(info: &Info, error: &Error) -> bool {
    let unsatisfied =
        matches!(error, Error::NotVerified(NotVerified::Required | NotVerified::RecognitionBlocked));
    unsatisfied && by_option(info) && info.is("clientPin")
}

/// Whether the only way to built-in verification is the option `uv`.
fn by_option(info: &Info) -> bool {
    info.is("uv") && !info.is("pinUvAuthToken")
}

/// Whether a registration verifies the user.
pub(crate) fn wanted_to_create(info: &Info, requirement: Requirement, discoverable: bool) -> bool {
    // §6.1.2 steps 6 to 8: what a protected authenticator insists on, whatever the page prefers.
    let insists = is_set_up(info) && (discoverable || !info.is("makeCredUvNotRqd"));
    wanted(info, requirement) || insists
}

/// Whether an authentication verifies the user.
pub(crate) fn wanted(info: &Info, requirement: Requirement) -> bool {
    match requirement {
        Requirement::Required => true,
        Requirement::Preferred => is_set_up(info) || info.is("alwaysUv"),
        Requirement::Discouraged => info.is("alwaysUv"),
    }
}

/// Verifies the user, or learns how the request is to ask for it.
pub(crate) fn perform(
    channel: &mut Channel,
    info: &mut Info,
    dialogs: &mut dyn Dialogs,
    purpose: Purpose<'_>,
    rng: &mut dyn CryptoRng,
    limit: &Limit,
) -> Result<Verification, Error> {
    if by_option(info) {
        return Ok(Verification::Option);
    }
    if info.is("uv") {
        match using_uv(channel, info, purpose, rng, limit) {
            Err(Error::NotVerified(NotVerified::RecognitionBlocked)) if info.is("clientPin") => {}
            other => return other.map(Verification::Token),
        }
    }
    if !info.is("clientPin") {
        let not_set_up = Error::NotVerified(NotVerified::NotSetUp);
        if info.option("clientPin").is_none() {
            return Err(not_set_up);
        }
        let new = dialogs.new_pin().ok_or(not_set_up)?;
        pin::set(channel, info, &new, rng, limit)?;
        *info = Info::get(channel, limit)?;
    }
    using_pin(channel, info, dialogs, purpose, rng, limit).map(Verification::Token)
}

/// Lets the user try until recognised, refused or blocked: each wrong finger costs a retry of the authenticator's.
fn using_uv(
    channel: &mut Channel,
    info: &Info,
    purpose: Purpose<'_>,
    rng: &mut dyn CryptoRng,
    limit: &Limit,
) -> Result<Token, Error> {
    loop {
        match pin::token_using_uv(channel, info, purpose, rng, limit) {
            Err(Error::NotVerified(NotVerified::NotRecognised)) => {}
            other => return other,
        }
    }
}

fn using_pin(
    channel: &mut Channel,
    info: &Info,
    dialogs: &mut dyn Dialogs,
    purpose: Purpose<'_>,
    rng: &mut dyn CryptoRng,
    limit: &Limit,
) -> Result<Token, Error> {
    let mut again = false;
    loop {
        let retries = retries(channel, limit)?;
        if retries == 0 {
            return Err(Error::NotVerified(NotVerified::Blocked));
        }
        let missing = if again { NotVerified::WrongPin } else { NotVerified::NoPin };
        let pin = dialogs.pin(PinRequest { again, retries }).ok_or(Error::NotVerified(missing))?;
        match pin::token_using_pin(channel, info, &pin, purpose, rng, limit) {
            Err(Error::NotVerified(NotVerified::WrongPin)) => again = true,
            other => return other,
        }
    }
}

/// getPINRetries (§6.5.5.2).
fn retries(channel: &mut Channel, limit: &Limit) -> Result<u64, Error> {
    let answer = ctap::call(channel, command::CLIENT_PIN, Map::new().with(2, 1), limit)?;
    answer.unsigned(3)?.ok_or(Error::BadAnswer("no PIN retries"))
}
