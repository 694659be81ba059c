//! A user who takes their time.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use doppelkey_core::{Prompt, User};

use super::{Reply, ShownPrompt, UserInterface};

/// Shows each prompt to another user after a while; not at all if it is taken away before.
pub struct Delayed {
    to_waiter: Sender<Event>,
}

enum Event {
    Show(ShownPrompt, Reply),
    Clear,
    Wink,
}

impl Delayed {
    /// `user`, `delay` later.
    ///
    /// # Panics
    /// If the operating system gives no thread.
    pub fn new(delay: Duration, user: Box<dyn UserInterface>) -> Self {
        let (to_waiter, events) = channel();
        std::thread::Builder::new()
            .name("doppelkey-delay".into())
            .spawn(move || wait(&events, delay, user))
            .expect("the operating system gives a thread");
        Delayed { to_waiter }
    }

    fn tell(&self, event: Event) {
        // The waiter ends after this side only.
        let _ = self.to_waiter.send(event);
    }
}

impl UserInterface for Delayed {
    fn show(&mut self, prompt: &Prompt<'_>, accounts: &[User], reply: Reply) {
        self.tell(Event::Show(ShownPrompt::new(0, prompt, accounts), reply));
    }

    fn clear(&mut self) {
        self.tell(Event::Clear);
    }

    fn wink(&mut self) {
        self.tell(Event::Wink);
    }
}

fn wait(events: &Receiver<Event>, delay: Duration, mut user: Box<dyn UserInterface>) {
    let mut pending: Option<(ShownPrompt, Reply)> = None;
    loop {
        let event = match &pending {
            None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(_) => events.recv_timeout(delay),
        };
        match event {
            Ok(Event::Show(prompt, reply)) => pending = Some((prompt, reply)),
            Ok(Event::Clear) => {
                pending = None;
                user.clear();
            }
            Ok(Event::Wink) => user.wink(),
            Err(RecvTimeoutError::Timeout) => {
                if let Some((prompt, reply)) = pending.take() {
                    user.show(&prompt.as_prompt(), &prompt.named, reply);
                }
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
