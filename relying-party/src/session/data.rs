//! What a session remembers between two requests.

use serde::{Deserialize, Serialize};

use crate::second_factor::NewApp;
use crate::store::{Identifier, PasskeyUse, User};

/// What a session remembers between two requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SessionData {
    /// A sign-up under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) signup: Option<SignUp>,
    /// The identifier typed at sign-in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) login: Option<Identifier>,
    /// A first factor that has passed, while the second is waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first_factor: Option<FirstFactor>,
    /// Who proved an address in order to recover the account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) recovery: Option<Recovery>,
    /// A new address of a signed-in user that has yet to be proved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) new_identifier: Option<NewIdentifier>,
    /// An authenticator app that is being set up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) new_app: Option<NewApp>,
    /// When the user last proved to be the user, in milliseconds.
    pub(crate) authenticated_at: i64,
    /// How: `pwd`, `phr`, `otp`, …
    pub(crate) amr: Vec<String>,
    /// The screen that may be shown between signing in and the application.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prompt: Option<Prompt>,
    /// The passkey that a recovery ended with: not among those that may be lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) recovered_with: Option<String>,
    /// The page to go to once logged in, if not the account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) then: Option<String>,
    /// A keyed digest of the operator's token that was entered in this session: with another token, nobody is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) operator: Option<String>,
    /// A message for the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) notice: Option<String>,
}

/// A sign-up under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SignUp {
    pub(crate) identifiers: Vec<Identifier>,
    /// The id of the mailed code that has yet to be typed. Another may follow, for the next identifier.
    pub(crate) code_id: Option<String>,
}

/// How a user proved to be the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Method {
    Passkey,
    Password,
    /// A code by e-mail.
    Code,
}

/// A first factor that has passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FirstFactor {
    pub(crate) user_id: String,
    /// The user's when it passed.
    #[serde(default)]
    pub(crate) generation: i64,
    /// When it began to wait for the second factor.
    #[serde(default)]
    pub(crate) waits_since: i64,
    pub(crate) method: Method,
    /// The passkey verified its user.
    pub(crate) user_verified: bool,
    /// The passkey is another device's, and this device could hold one.
    pub(crate) offer_local: bool,
    /// This is the end of a sign-up or recovery: no offers.
    pub(crate) just_created: bool,
    /// The user cannot log in and recovers the account: what follows is a new passkey or password, not a session.
    pub(crate) recovering: bool,
    /// The user is signed in, and confirms to be there before changing the account: where to go then, instead of into a
    /// session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) confirming: Option<String>,
    /// This user's second factor has been proved since, and a new recovery code has yet to be recorded. It is a part of
    /// the first factor, because another user's first factor may take its place in the same session.
    #[serde(default)]
    pub(crate) second_passed: bool,
    /// What to write into the passkey's record at the very end.
    pub(crate) used: Option<PasskeyUse>,
}

impl FirstFactor {
    /// A first factor of a user who exists, without anything special.
    pub(crate) fn of(user: &User, method: Method) -> Self {
        Self {
            user_id: user.id.clone(),
            generation: user.generation,
            waits_since: 0,
            method,
            user_verified: false,
            offer_local: false,
            just_created: false,
            recovering: false,
            confirming: None,
            second_passed: false,
            used: None,
        }
    }
}

/// A recovery under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Recovery {
    /// The address that the code went to.
    pub(crate) email: String,
    pub(crate) code_id: String,
    /// Once the code has been typed, and the second factor has passed.
    pub(crate) proved: Option<Proved>,
}

/// Whose account is being recovered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Proved {
    pub(crate) user_id: String,
    /// The user's when the address was proved.
    pub(crate) generation: i64,
    pub(crate) since: i64,
    /// A second factor has passed, too.
    #[serde(default)]
    pub(crate) second: bool,
}

/// An address that takes the place of another one of its kind, once the mailed code has been typed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NewIdentifier {
    pub(crate) identifier: Identifier,
    pub(crate) code_id: String,
}

/// An offer to create a passkey.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Prompt {
    /// After a sign-in without a passkey.
    Progressive,
    /// After a sign-in with another device's passkey.
    Local,
}

impl Prompt {
    /// Its name in the database.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Progressive => "progressive",
            Self::Local => "local",
        }
    }
}
