//! Requests that wait for the user.

use rand_core::CryptoRng;

use crate::authenticator::{Authenticator, Message, Reply};
use crate::status::{Status, Step};
use crate::store::CredentialStore;
use crate::time::Time;
use crate::user::{Action, Answer, Prompt};

/// A request that waits for the user, with all it needs to go on. One variant for each question that is asked.
pub(crate) enum Pending {
    /// An empty pinUvAuthParam asks whether this is the authenticator to use (§6.1.2 step 1, §6.2.2 step 1): after
    /// the touch the answer is this status.
    Choice(Status),
}

impl Pending {
    /// The question.
    pub(crate) fn prompt(&self) -> Prompt<'_> {
        match self {
            Pending::Choice(_) => Prompt::about(Action::Select),
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
        let _ = now;
        match (pending, answer) {
            (Pending::Choice(status), Answer::Approve { .. }) => Err(status),
            (pending, _) => self.ended(pending, Status::OperationDenied, response),
        }
    }

    /// Ends a request without the user's consent: refused, cancelled or out of time.
    pub(crate) fn ended(&mut self, pending: Pending, why: Status, response: &mut Message) -> Step<Reply> {
        let _ = (pending, response);
        Err(why)
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
