//! Requests that wait for the user.

use rand_core::CryptoRng;

use crate::authenticator::{Authenticator, Message, Reply};
#[cfg(feature = "built-in-verification")]
use crate::ctap2::{GOOD_SAMPLE, NO_USER_ACTIVITY, SampleRequest, UvTokenRequest};
use crate::ctap2::{get_assertion, make_credential};
use crate::status::{Status, Step};
use crate::store::CredentialStore;
use crate::time::Time;
#[cfg(feature = "u2f")]
use crate::u2f::U2fRequest;
use crate::user::{Action, Answer, Prompt};

/// A request that waits for the user, with all it needs to go on. One variant for each question that is asked.
#[expect(clippy::large_enum_variant, reason = "without an allocator it has to be somewhere")]
pub(crate) enum Pending {
    /// An empty pinUvAuthParam asks whether this is the authenticator to use (§6.1.2 step 1, §6.2.2 step 1): after
    /// the touch the answer is this status.
    Choice(Status),
    /// getPinUvAuthTokenUsingUvWithPermissions.
    #[cfg(feature = "built-in-verification")]
    UvToken(UvTokenRequest),
    /// authenticatorReset.
    Reset {
        long: bool,
    },
    /// authenticatorBioEnrollment's enrollBegin and enrollCaptureNextSample.
    #[cfg(feature = "built-in-verification")]
    FingerprintSample(SampleRequest),
    /// U2F_REGISTER and U2F_AUTHENTICATE.
    #[cfg(feature = "u2f")]
    U2f(U2fRequest),
    MakeCredential(make_credential::Ready),
    GetAssertion(get_assertion::Ready),
}

impl Pending {
    /// The question.
    pub(crate) fn prompt(&self) -> Prompt<'_> {
        match self {
            Pending::Choice(_) => Prompt::about(Action::Select),
            #[cfg(feature = "built-in-verification")]
            Pending::UvToken(_) => Prompt { verification: true, ..Prompt::about(Action::Verify) },
            Pending::Reset { long } => Prompt::about(Action::Reset { long: *long }),
            Pending::MakeCredential(ready) => ready.prompt(),
            Pending::GetAssertion(ready) => ready.prompt(),
            #[cfg(feature = "built-in-verification")]
            Pending::FingerprintSample(_) => Prompt::about(Action::FingerprintSample),
            #[cfg(feature = "u2f")]
            Pending::U2f(_) => Prompt::about(Action::U2f),
        }
    }

    /// How long the user has, where the request says so itself.
    pub(crate) fn timeout(&self) -> Option<Time> {
        match self {
            #[cfg(feature = "built-in-verification")]
            Pending::FingerprintSample(request) => request.timeout,
            _ => None,
        }
    }
}

impl<S: CredentialStore, R: CryptoRng> Authenticator<S, R> {
    /// Goes on with what the user said.
    pub(crate) fn answered(
        &mut self,
        now: Time,
        pending: Pending,
        answer: Answer,
        response: &mut Message,
    ) -> Step<Reply> {
        let _ = response.push(Status::Ok as u8);
        match (pending, answer) {
            (Pending::Choice(status), Answer::Approve { .. }) => Err(status),
            #[cfg(feature = "built-in-verification")]
            (Pending::UvToken(request), Answer::Approve { verified, .. }) => {
                self.verified_for_token(now, &request, verified, response)
            }
            #[cfg(feature = "built-in-verification")]
            (Pending::UvToken(request), Answer::NotVerified) => {
                self.verified_for_token(now, &request, false, response)
            }
            (Pending::Reset { .. }, Answer::Approve { .. }) => self.confirmed_reset(),
            #[cfg(feature = "u2f")]
            (Pending::U2f(request), answer) => self.u2f_answered(&request, answer, response),
            #[cfg(feature = "built-in-verification")]
            (Pending::FingerprintSample(request), Answer::Approve { .. }) => {
                self.sampled(request, GOOD_SAMPLE, response)
            }
            #[cfg(feature = "built-in-verification")]
            (Pending::FingerprintSample(request), Answer::Sample { status }) => {
                self.sampled(request, status, response)
            }
            (Pending::MakeCredential(ready), answer) => {
                self.make_credential_answered(ready, answer, response)
            }
            (Pending::GetAssertion(ready), answer) => {
                self.get_assertion_answered(now, ready, answer, response)
            }
            (pending, _) => self.ended(pending, Status::OperationDenied, response),
        }
    }

    /// Ends a request without the user's consent: refused, cancelled or out of time.
    pub(crate) fn ended(&mut self, pending: Pending, why: Status, response: &mut Message) -> Step<Reply> {
        match (pending, why) {
            #[cfg(feature = "built-in-verification")]
            // A sensor that nobody touches has something to say about it.
            (Pending::FingerprintSample(request), Status::UserActionTimeout) => {
                let _ = response.push(Status::Ok as u8);
                self.sampled(request, NO_USER_ACTIVITY, response)
            }
            #[cfg(feature = "u2f")]
            (Pending::U2f(request), _) => self.u2f_answered(&request, Answer::Deny, response),
            // An empty pinUvAuthParam is no authenticatorSelection, which has a status for this.
            (Pending::Choice(Status::PinNotSet | Status::PinInvalid), Status::UserActionTimeout) => {
                Err(Status::OperationDenied)
            }
            (Pending::MakeCredential(ready), why) => Err(ready.unanswered(why)),
            (Pending::GetAssertion(ready), why) => Err(ready.unanswered(why)),
            _ => Err(why),
        }
    }
}

impl Prompt<'_> {
    /// A prompt that is about an action and nothing else.
    pub(crate) const fn about(action: Action) -> Self {
        Prompt {
            action,
            rp_id: None,
            user_name: None,
            user_display_name: None,
            accounts: 0,
            verification: false,
        }
    }
}
