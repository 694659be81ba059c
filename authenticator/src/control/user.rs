//! The user that the control port plays.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use doppelkey_core::{Action, Answer, Prompt, User};
use serde::{Deserialize, Serialize};

use crate::user_interface::{Reply, ShownPrompt, UserInterface};

/// A user whose hand is led through the control port: by a finger that stays on the sensor, by deeds that are done
/// now or kept for the prompts to come, and by a manner for everything else.
///
/// One clone goes to the device, the others lead it.
#[derive(Clone)]
pub struct ControlledUser {
    state: Arc<Mutex<State>>,
}

/// What the user does about a prompt that no deed was kept for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Manner {
    /// Lets it wait: for a deed, for a finger, until it is out of time.
    #[default]
    Control,
    /// Approves.
    Auto,
    /// Refuses.
    Deny,
    /// Asks whoever the program was started with: the person at the terminal.
    Ask,
}

/// How the user is, until told otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Habits {
    /// What happens to a prompt that no deed was kept for.
    pub manner: Manner,
    /// Whether built-in verification recognises this user.
    pub verified: bool,
    /// The account to pick where there is a choice, counted from the newest (0); `None` leaves it to the platform.
    pub account: Option<u32>,
    /// How long the user thinks before each answer, in milliseconds.
    pub delay_ms: u64,
}

impl Default for Habits {
    fn default() -> Self {
        Habits { manner: Manner::default(), verified: true, account: None, delay_ms: 0 }
    }
}

/// One thing a user does about one prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Touches, and is verified or not as ever.
    Press,
    /// Refuses.
    Deny,
    /// Touches, and is verified whatever the habit.
    Verify,
    /// Is not recognised.
    FailVerification,
    /// Picks this account, counted from the newest (0).
    Pick(u32),
    /// Gives a fingerprint sample of this quality (CTAP's lastEnrollSampleStatus).
    Sample(u8),
    /// Walks away: the request times out.
    Ignore,
}

/// What became of a deed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// It answered the prompt with this number.
    Answered(u64),
    /// Nothing was asked: it waits for a prompt, behind so many others.
    Kept(usize),
}

/// Told of every prompt.
type Watcher = Arc<dyn Fn(&ShownPrompt) + Send + Sync>;

struct State {
    habits: Habits,
    /// Counts the touches; `Some` while a finger is on the sensor.
    held: Option<u64>,
    touches: u64,
    kept: VecDeque<Deed>,
    prompts: u64,
    shown: Option<(ShownPrompt, Reply)>,
    /// The prompt that a deed is about to answer.
    spoken_for: Option<u64>,
    /// Whether the user is slower than their habit.
    slow: bool,
    watcher: Option<Watcher>,
    /// Whoever the program was started with.
    person: Option<Box<dyn UserInterface>>,
}

impl ControlledUser {
    /// A user of these habits; `person` is asked where the manner is [`Manner::Ask`].
    pub fn new(habits: Habits, person: Option<Box<dyn UserInterface>>) -> Self {
        let (kept, shown, watcher) = (VecDeque::new(), None, None);
        let (spoken_for, slow) = (None, false);
        let state = State {
            habits,
            held: None,
            touches: 0,
            kept,
            prompts: 0,
            shown,
            spoken_for,
            slow,
            watcher,
            person,
        };
        ControlledUser { state: Arc::new(Mutex::new(state)) }
    }

    /// Has this function told of every prompt from now on, before it is answered; the one before is told no more.
    pub(super) fn watch(&self, watcher: impl Fn(&ShownPrompt) + Send + Sync + 'static) {
        self.lock().watcher = Some(Arc::new(watcher));
    }

    /// How the user is.
    pub fn habits(&self) -> Habits {
        self.lock().habits.clone()
    }

    /// From now on, the user is like this. A prompt that waits is taken up anew.
    pub fn set_habits(&self, habits: Habits) {
        self.lock().habits = habits;
        self.react();
    }

    /// Whether the user takes three seconds at least, whatever their habit.
    pub(super) fn is_slow(&self) -> bool {
        self.lock().slow
    }

    /// From now on, the user takes three seconds at least, or their own time again. A prompt that waits is taken up anew.
    pub(super) fn set_slow(&self, slow: bool) {
        let changed = std::mem::replace(&mut self.lock().slow, slow) != slow;
        if changed {
            self.react();
        }
    }

    /// What the user is being asked now.
    pub fn prompt(&self) -> Option<ShownPrompt> {
        self.lock().shown.as_ref().map(|(prompt, _)| prompt.clone())
    }

    /// Puts the finger on the sensor, or takes it away. While it is there every prompt is answered; one that asks for
    /// a long touch, after ten seconds.
    pub fn hold(&self, touching: bool) {
        let mut state = self.lock();
        state.touches += u64::from(touching);
        state.held = touching.then_some(state.touches);
        drop(state);
        self.react();
    }

    /// Does this about the prompt that is shown; if there is none, about the next one that is not spoken for.
    pub fn act(&self, deed: Deed) -> Done {
        let mut state = self.lock();
        match state.open_prompt() {
            Some(number) if state.kept.is_empty() => {
                state.kept.push_back(deed);
                drop(state);
                self.react();
                Done::Answered(number)
            }
            _ => {
                state.kept.push_back(deed);
                Done::Kept(state.kept.len() - 1)
            }
        }
    }

    /// Forgets what was kept for later. Says how much that was.
    pub fn forget_deeds(&self) -> usize {
        let mut state = self.lock();
        let kept = state.kept.len();
        state.kept.clear();
        kept
    }

    /// Does what there is to do about the prompt that is shown.
    fn react(&self) {
        let mut state = self.lock();
        let Some((prompt, reply)) = state.shown.clone() else { return };
        let number = prompt.number;
        if state.spoken_for == Some(number) {
            return;
        }
        if let Some(deed) = state.kept.pop_front() {
            let answer = answer(deed, &prompt, &state.habits);
            let delay = state.delay();
            state.spoken_for = Some(number);
            drop(state);
            match answer {
                Some(answer) => self.after(delay, move |user| user.give(number, &reply, answer)),
                // Left to time out: nobody else answers it.
                None => self.lock().shown = None,
            }
            return;
        }
        if let Some(touch) = state.held {
            let Some(answer) = answer(Deed::Press, &prompt, &state.habits) else { return };
            drop(state);
            let delay =
                if prompt.action == (Action::Reset { long: true }) { LONG_TOUCH } else { Duration::ZERO };
            return self.after(delay, move |user| {
                if user.lock().held == Some(touch) {
                    user.give_if_open(number, &reply, answer);
                }
            });
        }
        self.in_manner(state, &prompt, reply);
    }

    fn in_manner<'a>(&'a self, state: MutexGuard<'a, State>, prompt: &ShownPrompt, reply: Reply) {
        let delay = state.delay();
        let deed = match state.habits.manner {
            Manner::Control => return,
            Manner::Auto => Deed::Press,
            Manner::Deny => Deed::Deny,
            Manner::Ask => return self.ask(state, prompt.clone(), reply),
        };
        let Some(answer) = answer(deed, prompt, &state.habits) else { return };
        drop(state);
        let number = prompt.number;
        self.after(delay, move |user| user.give_if_open(number, &reply, answer));
    }

    /// Has the person asked, without the lock: the answer may come before `show` returns, and have the device take this
    /// prompt away and show the next one, all on this thread.
    fn ask<'a>(&'a self, mut state: MutexGuard<'a, State>, mut prompt: ShownPrompt, mut reply: Reply) {
        // Whoever is just having the person asked looks again before they put them back.
        let Some(mut person) = state.person.take() else { return };
        loop {
            drop(state);
            person.show(&prompt.as_prompt(), &prompt.named, reply);
            state = self.lock();
            let asks = state.habits.manner == Manner::Ask;
            match &state.shown {
                Some((later, its_reply)) if asks && later.number != prompt.number => {
                    (prompt, reply) = (later.clone(), its_reply.clone());
                }
                Some((same, _)) if same.number == prompt.number => break,
                // It was taken away meanwhile, or is another's to answer.
                _ => {
                    person.clear();
                    break;
                }
            }
        }
        state.person = Some(person);
    }

    /// Gives the answer, unless that prompt is gone or a deed's by now.
    fn give_if_open(&self, number: u64, reply: &Reply, answer: Answer) {
        let open = self.lock().open_prompt();
        if open == Some(number) {
            self.give(number, reply, answer);
        }
    }

    /// Gives the answer, if that prompt is still shown.
    fn give(&self, number: u64, reply: &Reply, answer: Answer) {
        let mut state = self.lock();
        if state.shown.as_ref().is_none_or(|(prompt, _)| prompt.number != number) {
            return;
        }
        state.shown = None;
        // Without the lock: the device may show the next prompt before this returns.
        drop(state);
        reply.answer(answer);
    }

    fn after(&self, delay: Duration, act: impl FnOnce(&Self) + Send + 'static) {
        if delay.is_zero() {
            return act(self);
        }
        let user = self.clone();
        let waits = move || {
            std::thread::sleep(delay);
            act(&user);
        };
        // Without a thread the prompt runs out of time, as with a user who is too slow.
        let _ = std::thread::Builder::new().name("doppelkey-user".into()).spawn(waits);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The prompt that is shown, unless a deed is about to answer it.
    fn open_prompt(&self) -> Option<u64> {
        let (prompt, _) = self.shown.as_ref()?;
        Some(prompt.number).filter(|number| self.spoken_for != Some(*number))
    }

    /// How long the user thinks now.
    fn delay(&self) -> Duration {
        let habit = Duration::from_millis(self.habits.delay_ms);
        if self.slow { habit.max(SLOW) } else { habit }
    }
}

impl UserInterface for ControlledUser {
    fn show(&mut self, prompt: &Prompt<'_>, accounts: &[User], reply: Reply) {
        let mut state = self.lock();
        state.prompts += 1;
        let shown = ShownPrompt::new(state.prompts, prompt, accounts);
        let watcher = state.watcher.clone();
        state.shown = Some((shown.clone(), reply));
        drop(state);
        if let Some(watcher) = watcher {
            watcher(&shown);
        }
        self.react();
    }

    fn clear(&mut self) {
        let mut state = self.lock();
        state.shown = None;
        if let Some(person) = &mut state.person {
            person.clear();
        }
    }

    fn wink(&mut self) {
        if let Some(person) = &mut self.lock().person {
            person.wink();
        }
    }
}

/// What this deed says to this prompt; `None` for nothing at all.
fn answer(deed: Deed, prompt: &ShownPrompt, habits: &Habits) -> Option<Answer> {
    let approve = |verified: bool, account: Option<u32>| {
        if prompt.action == Action::FingerprintSample {
            return Answer::Sample { status: 0 };
        }
        if prompt.verification && !verified {
            return Answer::NotVerified;
        }
        Answer::Approve { verified, account: account.filter(|account| *account < prompt.accounts) }
    };
    Some(match deed {
        Deed::Press => approve(habits.verified, habits.account),
        Deed::Verify => approve(true, habits.account),
        Deed::Pick(account) => approve(habits.verified, Some(account)),
        Deed::FailVerification => Answer::NotVerified,
        Deed::Deny => Answer::Deny,
        Deed::Sample(status) => Answer::Sample { status },
        Deed::Ignore => return None,
    })
}

/// How long a touch is a long one (CTAP §6.6).
const LONG_TOUCH: Duration = Duration::from_secs(10);
/// How long a slow user takes at least.
const SLOW: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(user: &mut ControlledUser, action: Action, accounts: u32, verification: bool) -> Answers {
        let answers = Answers::default();
        let prompt =
            Prompt { action, rp_id: None, user_name: None, user_display_name: None, accounts, verification };
        let given = answers.clone();
        user.show(&prompt, &[], Reply::new(move |answer| given.lock().unwrap().push(answer)));
        answers
    }

    type Answers = Arc<Mutex<Vec<Answer>>>;

    fn in_manner(manner: Manner) -> ControlledUser {
        ControlledUser::new(Habits { manner, ..Habits::default() }, None)
    }

    const APPROVED: Answer = Answer::Approve { verified: true, account: None };

    #[test]
    fn a_prompt_waits_for_a_deed() {
        let mut user = in_manner(Manner::Control);
        let answers = asked(&mut user, Action::CreateCredential, 0, false);
        assert_eq!(*answers.lock().unwrap(), []);
        assert_eq!(user.prompt().unwrap().action, Action::CreateCredential);
        assert_eq!(user.act(Deed::Press), Done::Answered(1));
        assert_eq!(*answers.lock().unwrap(), [APPROVED]);
        assert_eq!(user.prompt(), None);
    }

    #[test]
    fn a_deed_waits_for_a_prompt() {
        let mut user = in_manner(Manner::Auto);
        assert_eq!(user.act(Deed::Deny), Done::Kept(0));
        assert_eq!(user.act(Deed::Pick(1)), Done::Kept(1));
        assert_eq!(*asked(&mut user, Action::UseCredential, 2, false).lock().unwrap(), [Answer::Deny]);
        let picked = Answer::Approve { verified: true, account: Some(1) };
        assert_eq!(*asked(&mut user, Action::UseCredential, 2, false).lock().unwrap(), [picked]);
        assert_eq!(*asked(&mut user, Action::UseCredential, 2, false).lock().unwrap(), [APPROVED]);
    }

    #[test]
    fn a_finger_that_stays_answers_until_it_is_taken_away() {
        let mut user = in_manner(Manner::Control);
        let first = asked(&mut user, Action::Select, 0, false);
        user.hold(true);
        assert_eq!(*first.lock().unwrap(), [APPROVED]);
        assert_eq!(*asked(&mut user, Action::Select, 0, false).lock().unwrap(), [APPROVED]);
        assert_eq!(*asked(&mut user, Action::Reset { long: true }, 0, false).lock().unwrap(), []);
        user.clear();
        user.hold(false);
        assert_eq!(*asked(&mut user, Action::Select, 0, false).lock().unwrap(), []);
    }

    #[test]
    fn an_unknown_finger_is_not_verified_where_that_is_asked_for() {
        let mut user = in_manner(Manner::Auto);
        user.set_habits(Habits { manner: Manner::Auto, verified: false, ..Habits::default() });
        assert_eq!(*asked(&mut user, Action::Verify, 0, true).lock().unwrap(), [Answer::NotVerified]);
        let touched = Answer::Approve { verified: false, account: None };
        assert_eq!(*asked(&mut user, Action::Select, 0, false).lock().unwrap(), [touched]);
    }

    /// A person who has left the terminal: whatever is shown is refused before `show` returns.
    #[test]
    fn asking_a_person_who_is_gone_about_a_prompt_that_waits_refuses_it() {
        let habits = Habits { manner: Manner::Control, ..Habits::default() };
        let mut user = ControlledUser::new(habits, Some(Box::new(crate::user_interface::Deny)));
        let (sender, receiver) = std::sync::mpsc::channel();
        let device = user.clone();
        let reply = Reply::new(move |answer| {
            // As the device does, on the thread of the answer.
            device.clone().clear();
            sender.send(answer).unwrap();
        });
        let prompt = Prompt {
            action: Action::CreateCredential,
            rp_id: None,
            user_name: None,
            user_display_name: None,
            accounts: 0,
            verification: false,
        };
        user.show(&prompt, &[], reply);
        let leads = user.clone();
        let habits = Habits { manner: Manner::Ask, ..Habits::default() };
        let leading = std::thread::spawn(move || leads.set_habits(habits));
        assert_eq!(receiver.recv_timeout(Duration::from_secs(30)), Ok(Answer::Deny));
        assert_eq!(user.prompt(), None);
        // Until it has, that thread would ask the person the next one, too.
        leading.join().unwrap();
        // And the person is still there for the next one.
        assert_eq!(*asked(&mut user, Action::Select, 0, false).lock().unwrap(), [Answer::Deny]);
    }

    #[test]
    fn an_ignored_prompt_is_answered_by_nobody() {
        let mut user = in_manner(Manner::Control);
        user.act(Deed::Ignore);
        let answers = asked(&mut user, Action::Select, 0, false);
        assert_eq!(user.act(Deed::Press), Done::Kept(0), "it is kept for the next prompt");
        user.hold(true);
        assert_eq!(*answers.lock().unwrap(), []);
    }

    /// Shows a prompt; the answers come out at the other end.
    fn shown(user: &mut ControlledUser) -> std::sync::mpsc::Receiver<Answer> {
        let (sender, receiver) = std::sync::mpsc::channel();
        let prompt = Prompt {
            action: Action::Select,
            rp_id: None,
            user_name: None,
            user_display_name: None,
            accounts: 0,
            verification: false,
        };
        user.show(&prompt, &[], Reply::new(move |answer| sender.send(answer).unwrap()));
        receiver
    }

    /// Longer than a busy machine may take from one line of a test to the next.
    const UNHURRIED: Habits =
        Habits { manner: Manner::Control, verified: true, account: None, delay_ms: 2000 };

    #[test]
    fn a_deed_while_another_answers_slowly_is_kept_for_the_next_prompt() {
        let mut user = ControlledUser::new(UNHURRIED, None);
        let first = shown(&mut user);
        assert_eq!(user.act(Deed::Press), Done::Answered(1));
        assert_eq!(user.act(Deed::Deny), Done::Kept(0));
        // Nor does a change of habits have it answer this one.
        user.set_habits(UNHURRIED);
        assert_eq!(first.recv(), Ok(APPROVED));
        assert_eq!(shown(&mut user).recv(), Ok(Answer::Deny));
    }

    #[test]
    fn a_deed_goes_before_what_the_user_was_about_to_do() {
        let mut user = ControlledUser::new(Habits { manner: Manner::Auto, ..UNHURRIED }, None);
        let answers = shown(&mut user);
        // Which takes longer than the touch that is on its way.
        user.lock().habits.delay_ms += 500;
        assert_eq!(user.act(Deed::Deny), Done::Answered(1));
        assert_eq!(answers.recv(), Ok(Answer::Deny));
    }

    #[test]
    fn an_answer_that_comes_late_goes_nowhere() {
        let mut user = ControlledUser::new(Habits { manner: Manner::Auto, ..UNHURRIED }, None);
        let late = asked(&mut user, Action::Select, 0, false);
        user.clear();
        assert_eq!(shown(&mut user).recv(), Ok(APPROVED));
        assert_eq!(*late.lock().unwrap(), []);
    }
}
