//! Who the user is on a computer: a terminal, a policy, a script, a control port.

mod delayed;
mod external;
mod names;
mod terminal;

use std::sync::Arc;

use doppelkey_core::{Action, Answer, Prompt, User};

pub use delayed::Delayed;
pub use external::External;
pub(crate) use names::visible;
pub use terminal::{Ask, typed};

/// The target of a message of the log that says what the user can do about the one before it.
pub(crate) const HINT: &str = "doppelkey::hint";

/// Someone to show a prompt to.
pub trait UserInterface: Send {
    /// Shows the prompt. The answer goes through `reply`: at once, or later and from any thread.
    ///
    /// `accounts` names those that the user may choose from, the newest first; it is empty where there is no choice, and
    /// shorter than [`Prompt::accounts`] where there are too many to name.
    fn show(&mut self, prompt: &Prompt<'_>, accounts: &[User], reply: Reply);

    /// Takes the prompt away: answered, cancelled, or out of time.
    fn clear(&mut self);

    /// The platform asks the device to show itself (CTAPHID_WINK). Nothing by default.
    fn wink(&mut self) {}
}

/// Where the answer to one prompt goes. Later copies and late answers do nothing.
#[derive(Clone)]
pub struct Reply {
    deliver: Arc<dyn Fn(Answer) + Send + Sync>,
}

impl Reply {
    /// A reply that goes to this function.
    pub fn new(deliver: impl Fn(Answer) + Send + Sync + 'static) -> Self {
        Reply { deliver: Arc::new(deliver) }
    }

    /// The user's answer. Ignored if the prompt is no longer shown.
    pub fn answer(&self, answer: Answer) {
        (self.deliver)(answer);
    }
}

/// A user who approves everything at once, verified.
#[derive(Clone, Copy, Debug, Default)]
pub struct Auto;

impl UserInterface for Auto {
    fn show(&mut self, prompt: &Prompt<'_>, _: &[User], reply: Reply) {
        reply.answer(approval(prompt.action));
    }

    fn clear(&mut self) {}
}

/// What a user who approves everything says to this prompt: a good sample, and whichever account the platform takes,
/// since an authenticator without a display shows none to choose from.
fn approval(action: Action) -> Answer {
    match action {
        Action::FingerprintSample => Answer::Sample { status: 0 },
        _ => Answer::Approve { verified: true, account: None },
    }
}

/// A user who refuses everything at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Deny;

impl UserInterface for Deny {
    fn show(&mut self, _: &Prompt<'_>, _: &[User], reply: Reply) {
        reply.answer(Answer::Deny);
    }

    fn clear(&mut self) {}
}

/// A prompt that is shown, with what it says copied out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownPrompt {
    /// Counts the prompts of this interface, from 1.
    pub number: u64,
    /// What the platform wants to do.
    pub action: Action,
    /// The relying party, where the action has one.
    pub rp_id: Option<String>,
    /// The account's name, where it is known.
    pub user_name: Option<String>,
    /// The account's display name, where it is known.
    pub user_display_name: Option<String>,
    /// How many accounts there are to choose from.
    pub accounts: u32,
    /// Those of them that can be named, the newest first.
    pub named: Vec<User>,
    /// Whether built-in verification is asked for.
    pub verification: bool,
}

impl ShownPrompt {
    /// Copies a prompt.
    pub fn new(number: u64, prompt: &Prompt<'_>, accounts: &[User]) -> Self {
        ShownPrompt {
            number,
            action: prompt.action,
            rp_id: prompt.rp_id.map(str::to_owned),
            user_name: prompt.user_name.map(str::to_owned),
            user_display_name: prompt.user_display_name.map(str::to_owned),
            accounts: prompt.accounts,
            named: accounts.to_vec(),
            verification: prompt.verification,
        }
    }

    /// The prompt again, for another user interface.
    pub fn as_prompt(&self) -> Prompt<'_> {
        Prompt {
            action: self.action,
            rp_id: self.rp_id.as_deref(),
            user_name: self.user_name.as_deref(),
            user_display_name: self.user_display_name.as_deref(),
            accounts: self.accounts,
            verification: self.verification,
        }
    }
}

#[cfg(test)]
mod tests;
