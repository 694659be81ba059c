//! Who the user is on a computer: a terminal, a policy, a script, a control port.

use std::sync::{Arc, Mutex};

use doppelkey_core::{Action, Answer, Prompt};

/// Someone to show a prompt to.
pub trait UserInterface: Send {
    /// Shows the prompt. The answer goes through `reply`: at once, or later and from any thread.
    fn show(&mut self, prompt: &Prompt<'_>, reply: Reply);

    /// Takes the prompt away: answered, cancelled, or out of time.
    fn clear(&mut self);
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
    fn show(&mut self, prompt: &Prompt<'_>, reply: Reply) {
        let account = (prompt.accounts > 1).then_some(0);
        reply.answer(match prompt.action {
            Action::FingerprintSample => Answer::Sample { status: 0 },
            _ => Answer::Approve { verified: true, account },
        });
    }

    fn clear(&mut self) {}
}

/// A user who refuses everything at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Deny;

impl UserInterface for Deny {
    fn show(&mut self, _: &Prompt<'_>, reply: Reply) {
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
    /// How many accounts there are to choose from.
    pub accounts: u32,
    /// Whether built-in verification is asked for.
    pub verification: bool,
}

/// A user whose prompts wait for someone else to answer: the control port, a test.
///
/// One clone goes to the device; the others look at the prompt and answer it.
#[derive(Clone, Default)]
pub struct External {
    shown: Arc<Mutex<Option<(ShownPrompt, Reply)>>>,
}

impl External {
    /// What the user is being asked now.
    pub fn prompt(&self) -> Option<ShownPrompt> {
        None
    }

    /// Answers the prompt that is shown. `false` if there is none.
    pub fn answer(&self, answer: Answer) -> bool {
        let _ = (answer, &self.shown);
        false
    }
}

impl UserInterface for External {
    fn show(&mut self, _: &Prompt<'_>, _: Reply) {}

    fn clear(&mut self) {}
}

/// A user at the terminal: prompts on standard error, answers from standard input.
#[derive(Default)]
pub struct Ask {}

impl UserInterface for Ask {
    fn show(&mut self, _: &Prompt<'_>, reply: Reply) {
        reply.answer(Answer::Deny);
    }

    fn clear(&mut self) {}
}
