//! The timer of a device: one thread that sends keepalives and ends what is out of time.
//!
//! It works with the engine itself only where nobody waits for the answer. What is to be answered goes to a thread that
//! lives no longer than that takes, so that keepalives go out meanwhile.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, MutexGuard, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Shared, State, Work, wait};

/// The thread that sends keepalives and ends what is out of time; ends when dropped.
pub(in crate::device) struct Timer {
    shared: Weak<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Timer {
    pub(in crate::device) fn start(shared: &Arc<Shared>) -> Self {
        let timed = shared.clone();
        let thread = std::thread::Builder::new()
            .name("doppelkey-timer".into())
            .spawn(move || timed.keep_time())
            .expect("the operating system gives a thread");
        Timer { shared: Arc::downgrade(shared), thread: Some(thread) }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let shared = self.shared.upgrade();
        if let Some(shared) = &shared {
            shared.lock().timer.stopped = true;
            shared.alarm.notify_one();
        }
        join_from_elsewhere(self.thread.take());
        // The timer has stopped: there will be no other helper.
        let helper = shared.and_then(|shared| shared.lock().timer.helper.take());
        join_from_elsewhere(helper);
    }
}

/// Waits for a thread's end. The last clone of a device may be dropped by that thread itself: inside an answer.
fn join_from_elsewhere(thread: Option<JoinHandle<()>>) {
    if let Some(thread) = thread
        && thread.thread().id() != std::thread::current().id()
    {
        let _ = thread.join();
    }
}

/// When the timer's thread wakes next.
#[derive(Default)]
pub(super) struct TimerState {
    at: Option<Duration>,
    /// Something was pending since the timer woke last.
    used: bool,
    stopped: bool,
    /// The thread that works in the timer's stead, or has done so.
    helper: Option<JoinHandle<()>>,
    /// It was started and has not looked yet: it will see whatever there is to do.
    helper_comes: bool,
}

impl Shared {
    /// Sees to it that the timer wakes in time.
    pub(super) fn set_alarm(&self, state: &mut State) {
        let Some(due) = state.due() else { return };
        state.timer.used = true;
        if state.timer.at.is_none_or(|at| at > due) {
            state.timer.at = Some(due);
            self.alarm.notify_one();
        }
    }

    /// The timer's thread.
    fn keep_time(&self) {
        let mut state = self.lock();
        while !state.timer.stopped {
            let now = self.now();
            if state.timer.at.is_none_or(|at| at > now) {
                let left = state.timer.at.map(|at| at - now);
                state = wait(&self.alarm, state, left);
                continue;
            }
            state.hid.tick(now);
            if let Some(asking) = &state.asking
                && asking.until <= now
            {
                let prompt = asking.prompt;
                let told = |work: &Work| matches!(work, Work::TimeOut { prompt: told } if *told == prompt);
                if !state.work.iter().any(told) {
                    state.work.push_back(Work::TimeOut { prompt });
                }
            }
            state.pump(None);
            state = self.hand_over(state);
            // While requests come and go the timer stays armed, which costs them nothing; then it sleeps.
            let again =
                std::mem::take(&mut state.timer.used).then(|| now + doppelkey_ctaphid::KEEPALIVE_INTERVAL);
            let due = state.due().map(|due| due.max(now + SHORTEST));
            state.timer.at = due.or(again);
            // Before it sleeps, or while a user is thinking; unless a helper is about to want the engine.
            if (state.timer.at.is_none() || state.asking.is_some()) && state.work.is_empty() {
                state = self.prepare(state);
            }
        }
    }

    /// Lets the engine make ready what is wanted next, when the timer is awake and nobody waits for the engine: it
    /// costs no wake-up. It takes milliseconds, in which no keepalive is due yet.
    fn prepare<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let Some(mut brain) = state.brain.take() else { return state };
        drop(state);
        let prepared = catch_unwind(AssertUnwindSafe(|| brain.engine.prepare()));
        if prepared.is_err() {
            brain.engine = (brain.power_up)();
        }
        let mut state = self.lock();
        state.brain = Some(brain);
        // What came meanwhile was left to this thread.
        self.hand_over(state)
    }

    /// Has a helper do what there is to do, unless a thread is at it: this one goes on sending keepalives.
    fn hand_over<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        if state.work.is_empty() || state.brain.is_none() || state.timer.helper_comes {
            return state;
        }
        let shared = self.this.upgrade().expect("this thread holds it");
        let helper = std::thread::Builder::new().name("doppelkey-helper".into()).spawn(move || {
            let mut state = shared.lock();
            state.timer.helper_comes = false;
            shared.drive(state, None);
        });
        let Ok(helper) = helper else {
            // Late keepalives are better than no answer.
            self.drive(state, None);
            return self.lock();
        };
        state.timer.helper_comes = true;
        // The one before has given the engine back: it is at its end.
        join_from_elsewhere(state.timer.helper.replace(helper));
        state
    }
}

impl State {
    /// When the timer has something to do.
    fn due(&self) -> Option<Duration> {
        let until = self.asking.as_ref().map(|asking| asking.until);
        match (self.hid.due(), until) {
            (Some(hid), Some(until)) => Some(hid.min(until)),
            (hid, until) => hid.or(until),
        }
    }
}

/// The timer never wakes more often, whatever is due.
const SHORTEST: Duration = Duration::from_millis(1);
