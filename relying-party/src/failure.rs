//! What can go wrong for a visitor, as facts, and the one function that maps a fact to status, key and words.
//!
//! The keys of the messages are those of Auth0's text catalogue, so that scripts written against it find them here.

use std::fmt;

use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::store::StoreError;

/// Why a request was not carried out.
#[derive(Debug)]
#[non_exhaustive]
pub(crate) enum Failure {
    /// Our fault or the operator's: the database.
    Store(StoreError),
    /// Our fault: something that cannot be.
    Broken(&'static str),
    /// Nothing is here.
    NotFound,
    /// The method is not for this path.
    MethodNotAllowed,
    /// The body is not what its content type says, or lacks a member, or has one too many.
    BadBody(String),
    /// The body is no JSON, or not the JSON that it should be.
    BadJson(serde_json::Error),
    /// The body is of another content type.
    WrongContentType,
    /// The body is too long.
    TooLarge,
    /// The body did not arrive in time.
    TooSlow,
    /// The request comes from a page of somebody else.
    ForeignOrigin,
    /// The request needs a signed-in user.
    NotSignedIn,
    /// The request needs the operator's token.
    NotOperator,
    /// The change needs a user who signed in just now.
    StepUpNeeded,
    /// This screen is not part of what the visitor is doing.
    OutOfOrder,
    /// The feature is off by policy: the key of the message says which.
    Off(&'static str),
    /// The challenge never was, has expired, has been used, or is another session's or ceremony's.
    ChallengeUnknown,
    /// Nothing was sent where a passkey's answer should be.
    NoPasskey,
    /// What was sent is no passkey's answer. That depends on it alone, and not on whose passkey it names.
    PasskeyMalformed,
    /// The passkey did not verify, or is nobody's; `signal` asks the page to tell the passkey's provider.
    PasskeyRefused {
        /// The credential id in base64url that the provider should forget.
        signal: Option<String>,
    },
    /// The new passkey did not verify; `orphan` as above.
    EnrollmentRefused {
        /// The credential id in base64url that the provider should forget.
        orphan: Option<String>,
    },
    /// The credential is registered already.
    PasskeyTaken {
        /// The credential id in base64url that the provider should forget.
        orphan: Option<String>,
    },
    /// The user has as many passkeys as the policy allows.
    TooManyPasskeys {
        /// How many that is.
        most: u32,
        /// The credential id in base64url that the provider should forget, if there is one already.
        orphan: Option<String>,
    },
    /// Removing this would leave no way to sign in.
    LastMethod,
    /// The address is somebody's.
    IdentifierTaken {
        /// `email`, `phone` or `username`.
        kind: String,
        /// The credential id in base64url that the provider should forget, if there is one already.
        orphan: Option<String>,
    },
    /// A field is wrong: the key of the message, and the message.
    Field(&'static str, String),
    /// The policy in the database is a newer program's: changing it would lose what that one has decided.
    PolicyUnreadable(String),
    /// The user is blocked by an administrator.
    UserBlocked,
    /// Too many; try again in so many seconds.
    TooMany {
        /// Which limit.
        limit: &'static str,
        /// How long it lasts.
        retry_after_s: i64,
    },
}

/// A failure in the words of the wire.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) status: StatusCode,
    /// For scripts.
    pub(crate) key: &'static str,
    /// For people: what.
    pub(crate) message: String,
    /// For people: what next.
    pub(crate) hint: &'static str,
    /// A credential id that the passkey's provider should forget.
    pub(crate) signal: Option<String>,
    pub(crate) retry_after_s: Option<i64>,
    /// For the log, where the message repeats what was sent: that may be a code or a password in the wrong place.
    noted: Option<String>,
}

impl Told {
    /// What, and what next, on a page.
    pub(crate) fn text(&self) -> String {
        format!("{} {}", self.message, self.hint).trim_end().to_string()
    }

    /// What the log is told.
    pub(crate) fn for_the_log(&self) -> String {
        self.noted.as_ref().unwrap_or(&self.message).clone()
    }

    /// Says when to try again, where that is known.
    pub(crate) fn say_when(&self, headers: &mut HeaderMap) {
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
    }
}

impl Failure {
    /// Passkeys are off.
    pub(crate) const NO_PASSKEYS: Self = Self::Off("passkey-not-allowed");
    /// Passwords are off.
    pub(crate) const NO_PASSWORDS: Self = Self::Off("password-not-allowed");
    /// Recovery by a code is off.
    pub(crate) const NO_CODES: Self = Self::Off("code-not-allowed");

    /// The one mapping from facts to the wire.
    pub(crate) fn told(&self) -> Told {
        let (status, key, message, hint) = self.words();
        let signal = match self {
            Self::PasskeyRefused { signal } => signal.clone(),
            Self::EnrollmentRefused { orphan }
            | Self::PasskeyTaken { orphan }
            | Self::TooManyPasskeys { orphan, .. }
            | Self::IdentifierTaken { orphan, .. } => orphan.clone(),
            _ => None,
        };
        let retry_after_s = match self {
            Self::TooMany { retry_after_s, .. } => Some(*retry_after_s),
            _ => None,
        };
        let noted = match self {
            Self::BadJson(why) => Some(format!(
                "The JSON is not what it should be, at line {}, column {}.",
                why.line(),
                why.column()
            )),
            _ => None,
        };
        Told { status, key, message, hint, signal, retry_after_s, noted }
    }

    fn words(&self) -> (StatusCode, &'static str, String, &'static str) {
        use StatusCode as S;
        let say = |status, key, message: &str, hint| (status, key, message.to_string(), hint);
        match self {
            Self::Store(_) | Self::Broken(_) => say(
                S::INTERNAL_SERVER_ERROR,
                "server-error",
                "Something went wrong on our side.",
                "Try again in a moment.",
            ),
            Self::NotFound => say(
                S::NOT_FOUND,
                "not-found",
                "There is nothing here.",
                "The address may be mistyped, or what was here is gone.",
            ),
            Self::MethodNotAllowed => say(
                S::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "This cannot be done here.",
                "Go back to the start.",
            ),
            Self::BadBody(why) => {
                (S::BAD_REQUEST, "invalid_request", format!("The request is malformed: {why}."), "")
            }
            Self::BadJson(why) => {
                (S::BAD_REQUEST, "invalid_request", format!("The request is malformed: {why}."), "")
            }
            Self::WrongContentType => say(
                S::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-media-type",
                "The request's content type is not supported.",
                "Send application/json.",
            ),
            Self::TooLarge => say(S::PAYLOAD_TOO_LARGE, "too-large", "The request is too large.", ""),
            Self::TooSlow => say(
                S::REQUEST_TIMEOUT,
                "too-slow",
                "The request did not arrive in time.",
                "Try again, with a better connection.",
            ),
            Self::ForeignOrigin => say(
                S::FORBIDDEN,
                "foreign-origin",
                "This request came from another site.",
                "Open this site itself and try again.",
            ),
            Self::NotSignedIn => {
                say(S::UNAUTHORIZED, "not-signed-in", "You are not logged in.", "Log in first.")
            }
            Self::NotOperator => say(
                S::UNAUTHORIZED,
                "invalid-token",
                "This needs the operator's token.",
                "It was printed when the service started.",
            ),
            Self::StepUpNeeded => say(
                S::FORBIDDEN,
                "step-up-required",
                "Please confirm that it is you.",
                "Confirm with your passkey or password, then try again.",
            ),
            Self::OutOfOrder => say(
                S::BAD_REQUEST,
                "transaction-not-found",
                "This page has expired.",
                "Start again from the first page.",
            ),
            Self::Off(key) => say(S::NOT_FOUND, key, "This is not offered here.", "Choose another way."),
            Self::ChallengeUnknown => say(
                S::BAD_REQUEST,
                "transaction-not-found",
                "This request has expired or was used already.",
                "Try again.",
            ),
            Self::NoPasskey => say(
                S::BAD_REQUEST,
                "no-passkey",
                "No passkey was chosen.",
                "Choose one, or another way to log in.",
            ),
            Self::PasskeyMalformed => say(
                S::BAD_REQUEST,
                "invalid-passkey",
                "What was sent is not a passkey’s answer.",
                "Try again, or choose another way to log in.",
            ),
            Self::PasskeyRefused { .. } => say(
                S::UNAUTHORIZED,
                "passkey-authentication-failed",
                "We could not log you in with this passkey.",
                "Try another passkey or another way to log in.",
            ),
            Self::EnrollmentRefused { .. } => say(
                S::BAD_REQUEST,
                "passkey-enrollment-failure",
                "This passkey could not be created.",
                "Try again, or continue without a passkey.",
            ),
            Self::PasskeyTaken { .. } => say(
                S::CONFLICT,
                "passkey-enrollment-failure",
                "This passkey is registered already.",
                "Log in with it instead.",
            ),
            Self::TooManyPasskeys { most, .. } => (
                S::CONFLICT,
                "passkey-enrollment-max-allowed-reached",
                format!(
                    "You have {most} passkey{}, which is the most an account can have.",
                    if *most == 1 { "" } else { "s" }
                ),
                "Remove one that you no longer use first.",
            ),
            Self::LastMethod => say(
                S::CONFLICT,
                "last-method",
                "This is your only way to log in.",
                "Add another passkey or a password first.",
            ),
            Self::IdentifierTaken { kind, .. } => (
                S::CONFLICT,
                match kind.as_str() {
                    "email" => "email-in-use",
                    "phone" => "phone-in-use",
                    _ => "username-taken",
                },
                format!("An account with this {} exists already.", words_for(kind)),
                "Log in, or use another one.",
            ),
            Self::Field(key, message) => (S::UNPROCESSABLE_ENTITY, key, message.clone(), ""),
            Self::PolicyUnreadable(why) => (
                S::CONFLICT,
                "policy-unreadable",
                format!("The policy in the database is of another version, and nothing has changed: {why}."),
                "Change it with the newest doppelkey that uses this database.",
            ),
            Self::UserBlocked => say(
                S::FORBIDDEN,
                "user-blocked",
                "This account is blocked.",
                "Ask the people who run this service.",
            ),
            Self::TooMany { limit: "user-blocked", .. } => say(
                S::TOO_MANY_REQUESTS,
                "user-blocked",
                "Too many failed logins to this account from where you are.",
                "Wait a while, or open the link in the mail that its owner got.",
            ),
            Self::TooMany { limit: "same-user-login", .. } => say(
                S::TOO_MANY_REQUESTS,
                "same-user-login",
                "Too many logins to this account from where you are.",
                "Wait a minute and try again.",
            ),
            Self::TooMany { limit, .. } => {
                say(S::TOO_MANY_REQUESTS, limit, "Too many attempts.", "Wait a while and try again.")
            }
        }
    }
}

impl Failure {
    /// Tells the operator on standard error, as nobody else can mend it.
    pub(crate) fn tell(&self) {
        let hint = match self {
            Self::Store(error) => error.hint(),
            _ => "this is a mistake in the program: please report it, with the log's entries of this moment",
        };
        tell!("error: {self}\nhint: {hint}");
    }
}

/// The key of a password that was left out.
pub(crate) const NO_PASSWORD: &str = "no-password";

/// What people call a kind of identifier.
pub(crate) fn words_for(kind: &str) -> &'static str {
    match kind {
        "email" => "e-mail address",
        "phone" => "phone number",
        _ => "user name",
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Broken(what) => f.write_str(what),
            other => f.write_str(&other.told().message),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl IntoResponse for Failure {
    /// A bare response that carries the failure; [`edge`](crate::edge) turns it into a page or JSON.
    fn into_response(self) -> Response {
        let told = self.told();
        if told.status.is_server_error() {
            // No request data here: an error of the database holds none of ours, and the log has the rest.
            self.tell();
        }
        let mut response = told.status.into_response();
        response.extensions_mut().insert(told);
        response
    }
}
