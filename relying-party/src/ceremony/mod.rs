//! The server's half of a ceremony: options out, one answer in.
//!
//! Exactly one answer takes a challenge, whatever the answer is. It belongs to a session, a kind of ceremony and, where one
//! is known, a user; an answer that comes from elsewhere finds no challenge. It is a row, or [sealed](crate::sealed).
//!
//! | | WebAuthn Level 3 |
//! |---|---|
//! | `options` | §5.4 and §5.5, what a page is asked to do |
//! | `challenge` | §13.4.3, what makes an answer fresh |
//! | `registration` | §7.1 around the verifier: what belongs to a user, policy, and what is stored |
//! | `authentication` | §7.2 around the verifier |
//! | `details` | what the log is told of a ceremony |

mod authentication;
mod challenge;
mod details;
mod options;
mod registration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::events::Event;
use crate::failure::Failure;
use crate::policy::Policy;
use crate::session::Visit;
use crate::store::{Passkey, User};
use crate::verify::{Rejection, RelyingParty, Transcript, UserVerification};

pub(crate) use authentication::{Accepted, check_authentication, finish_authentication};
pub(crate) use challenge::Answered;
pub(crate) use details::{authentication_details, registration_details};
pub(crate) use options::{begin_authentication, begin_registration, try_authentication, try_registration};
pub(crate) use registration::{finish_registration, new_passkey, orphan};

/// What a ceremony is for; a challenge serves one kind only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A new account.
    SignUp,
    /// One more passkey of a signed-in user.
    Enroll,
    /// The passkey that a recovery ends with.
    Recover,
    /// Signing in.
    SignIn,
    /// Confirming before a change.
    StepUp,
    /// Trying things out, in development mode.
    Trial,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::SignUp => "sign-up",
            Self::Enroll => "enroll",
            Self::Recover => "recover",
            Self::SignIn => "sign-in",
            Self::StepUp => "step-up",
            Self::Trial => "trial",
        }
    }
}

/// What was asked for, kept with the challenge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Asked {
    /// The user handle that the new passkey is for.
    pub(crate) handle: Vec<u8>,
    pub(crate) user_verification: UserVerification,
    pub(crate) algorithms: Vec<i64>,
    /// A conditional request: autofill at sign-in, a silent upgrade at enrolment.
    pub(crate) conditional: bool,
    /// The credential ids that may answer.
    pub(crate) allow: Vec<Vec<u8>>,
    /// The user was named before the ceremony: the answer must be this user's.
    pub(crate) identified: bool,
    /// The browser says that this device could hold a passkey.
    pub(crate) platform: bool,
}

/// What a page asks for when it asks for options; all optional.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct Wish {
    /// `conditional` for autofill or a silent upgrade.
    pub(crate) mediation: Option<String>,
    /// `isUserVerifyingPlatformAuthenticatorAvailable()`.
    pub(crate) platform_authenticator: bool,
    /// Only this user's passkeys: the identifier, for programs; pages name it in the session.
    pub(crate) identifier: Option<String>,
    /// Only the passkeys of the user whose identifier was typed on the page before.
    pub(crate) targeted: bool,
    /// Sign-up by a program: the address.
    pub(crate) email: Option<String>,
    /// Sign-up by a program: the phone number.
    pub(crate) phone: Option<String>,
    /// Sign-up by a program: the user name.
    pub(crate) username: Option<String>,
}

impl Wish {
    /// Whether the ceremony is a conditional one.
    pub(crate) fn is_conditional(&self) -> bool {
        self.mediation.as_deref() == Some("conditional")
    }
}

/// Whom a registration is for.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) user_id: Option<&'a str>,
    pub(crate) handle: &'a [u8],
    pub(crate) name: &'a str,
    /// Passkeys that exist already.
    pub(crate) exclude: &'a [Passkey],
}

/// A ceremony that was refused: what the visitor is told, and what the log is told.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) failure: Failure,
    pub(crate) user: Option<User>,
    pub(crate) found: String,
    step: Option<String>,
    transcript: Option<Transcript>,
    /// What is told of the passkey, if the verification was reached. Where a step of it refused, nobody vouches for that.
    facts: Map<String, Value>,
}

impl Refused {
    fn because(failure: Failure, found: impl Into<String>) -> Self {
        Self { failure, user: None, found: found.into(), step: None, transcript: None, facts: Map::new() }
    }

    /// The verification refused.
    fn by(rejection: Rejection, failure: Failure, user: Option<User>, facts: Map<String, Value>) -> Self {
        Self {
            failure,
            user,
            found: rejection.to_string(),
            step: Some(rejection.step.to_string()),
            transcript: Some(rejection.transcript),
            facts,
        }
    }

    /// The transcript, if the verification was reached.
    pub(crate) fn transcript(&self) -> Option<&Transcript> {
        self.transcript.as_ref()
    }

    /// Adds to the event of a `registration` that failed what was refused, of whom if that is known, and the transcript.
    pub(crate) fn tell_registration(&self, event: Event) -> Event {
        self.tell(event, "registration")
    }

    /// The same for the event of an `authentication`.
    pub(crate) fn tell_authentication(&self, event: Event) -> Event {
        self.tell(event, "authentication")
    }

    fn tell(&self, event: Event, ceremony: &str) -> Event {
        let mut details = self.facts.clone();
        details.insert("ceremony".into(), ceremony.into());
        details.insert("failed_step".into(), self.step.clone().into());
        details.insert("found".into(), self.found.clone().into());
        let mut event = event.error(self.found.clone()).detail("webauthn", details);
        if let Some(user) = &self.user {
            event = event.user(user);
        }
        if let Some(transcript) = &self.transcript {
            event = event.transcript(transcript);
        }
        event
    }
}

impl<E: Into<Failure>> From<E> for Refused {
    fn from(error: E) -> Self {
        let failure = error.into();
        let found = failure.to_string();
        Self::because(failure, found)
    }
}

fn aaguid_text(bytes: &[u8; 16]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

fn relying_party(visit: &Visit, policy: &Policy) -> RelyingParty {
    let config = &visit.app.config;
    let origins = config.origins.iter().chain(&policy.related_origins).cloned().collect();
    RelyingParty { rp_id: config.rp_id.clone(), origins, cross_origin: false, top_origins: Vec::new() }
}
