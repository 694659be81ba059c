//! A user who is somewhere else.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use doppelkey_core::{Answer, Prompt, User};

use super::{Reply, ShownPrompt, UserInterface};

/// A user whose prompts wait for someone else to answer: the control port, a test.
///
/// One clone goes to the device; the others look at the prompt and answer it.
#[derive(Clone, Default)]
pub struct External {
    shared: Arc<(Mutex<Prompts>, Condvar)>,
}

#[derive(Default)]
struct Prompts {
    count: u64,
    shown: Option<(ShownPrompt, Reply)>,
}

impl External {
    /// What the user is being asked now.
    pub fn prompt(&self) -> Option<ShownPrompt> {
        self.lock().shown.as_ref().map(|(prompt, _)| prompt.clone())
    }

    /// Waits until a prompt later than number `after` is shown: 0 for any. `None` if there is none within `timeout`.
    pub fn wait_for_prompt(&self, after: u64, timeout: Duration) -> Option<ShownPrompt> {
        let nothing =
            |prompts: &mut Prompts| prompts.shown.as_ref().is_none_or(|(prompt, _)| prompt.number <= after);
        let (prompts, _) = self
            .shared
            .1
            .wait_timeout_while(self.lock(), timeout, nothing)
            .unwrap_or_else(PoisonError::into_inner);
        let (prompt, _) = prompts.shown.as_ref().filter(|(prompt, _)| prompt.number > after)?;
        Some(prompt.clone())
    }

    /// Answers the prompt that is shown. `false` if there is none.
    pub fn answer(&self, answer: Answer) -> bool {
        let Some((_, reply)) = self.lock().shown.take() else { return false };
        // Without the lock: the device may show the next prompt at once.
        reply.answer(answer);
        true
    }

    fn lock(&self) -> MutexGuard<'_, Prompts> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UserInterface for External {
    fn show(&mut self, prompt: &Prompt<'_>, accounts: &[User], reply: Reply) {
        let mut prompts = self.lock();
        prompts.count += 1;
        let shown = ShownPrompt::new(prompts.count, prompt, accounts);
        prompts.shown = Some((shown, reply));
        self.shared.1.notify_all();
    }

    fn clear(&mut self) {
        self.lock().shown = None;
    }
}
