//! The thread of a board: takes requests from the port, asks the user by button and LED, answers.

use core::time::Duration;

use doppelkey_core::{Action, Answer, Authenticator, CredentialStore, Input, Message, Output, Time};
use doppelkey_ctaphid::Transaction;
use rand_core::CryptoRng;

use crate::port::{Kind, Port};
use crate::shelf::{self, Consent, Shelf};

/// What a board gives the worker. Everything else of a board is in interrupts.
pub trait Board {
    /// The time since power-up: all of it, also what the core slept through in [`wait`](Self::wait). It never goes back.
    fn now(&self) -> Time;

    /// Lends the port, with interrupts held off, and sends what that made.
    fn with_port<T>(&mut self, work: impl FnOnce(&mut Port) -> T) -> T;

    /// Whether the button is down.
    fn is_pressed(&mut self) -> bool;

    /// Switches the LED.
    fn light(&mut self, lit: bool);

    /// Told when a request begins to be worked on and when that ends: for boards that measure.
    fn works(&mut self, now: bool) {
        let _ = now;
    }

    /// Tells the watchdog that the worker lives. Nothing else may feed it.
    fn feed_watchdog(&mut self);

    /// Waits for the next interrupt; for ten milliseconds at most, so something that interrupts so often must run in sleep.
    fn wait(&mut self);
}

/// The worker.
pub struct Worker<S, R> {
    authenticator: Authenticator<S, R>,
    request: &'static mut Message,
    response: &'static mut Message,
    waiting: Option<Waiting>,
    /// By which the last request came; 0 before the first.
    channel: u32,
}

/// A request that waits for the user.
struct Waiting {
    transaction: Transaction,
    until: Time,
    touch: Touch,
    /// How long the button is to be held.
    held_for: Duration,
    /// It is one for [`shelf`], and not the authenticator's.
    for_shelf: bool,
}

impl<S: CredentialStore + Shelf, R: CryptoRng> Worker<S, R> {
    /// A worker at power-up, with two messages of 7,609 bytes to work on.
    pub fn new(
        authenticator: Authenticator<S, R>,
        request: &'static mut Message,
        response: &'static mut Message,
    ) -> Self {
        Worker { authenticator, request, response, waiting: None, channel: 0 }
    }

    /// Works until power goes.
    pub fn run(&mut self, board: &mut impl Board) -> ! {
        loop {
            self.step(board);
            board.wait();
        }
    }

    /// One turn: whatever there is to do now.
    pub fn step(&mut self, board: &mut impl Board) {
        board.feed_watchdog();
        let request = &mut *self.request;
        if let Some((transaction, kind)) = board.with_port(|port| port.take(request)) {
            self.waiting = None;
            if self.channel != transaction.channel() {
                self.channel = transaction.channel();
                self.authenticator.end_stateful_commands();
            }
            self.begin(board);
            let output = match kind {
                Kind::Cbor if shelf::is_for_shelf(self.request) => self.shelf(board.now(), Consent::Unasked),
                Kind::Cbor => {
                    self.authenticator.handle(board.now(), Input::Cbor(self.request), self.response)
                }
                Kind::Msg => self.authenticator.handle(board.now(), Input::Msg(self.request), self.response),
            };
            self.conclude(board, transaction, output);
        } else if let Some(input) = self.user_input(board)
            && let Some(waiting) = self.waiting.take()
        {
            self.begin(board);
            // The request stays in its buffer until the next one is taken out of the port.
            let output = match input {
                Input::Cancel if waiting.for_shelf => self.shelf(board.now(), Consent::Cancelled),
                Input::Tick if waiting.for_shelf => self.shelf(board.now(), Consent::TimedOut),
                _ if waiting.for_shelf => self.shelf(board.now(), Consent::Given),
                input => self.authenticator.handle(board.now(), input, self.response),
            };
            self.conclude(board, waiting.transaction, output);
        }
        let now = board.now();
        let led = match &self.waiting {
            _ if board.with_port(|port| port.winks(now)) => Led::Wink,
            Some(_) => Led::Waiting,
            None => Led::Idle,
        };
        board.light(led.is_lit(now));
    }

    fn shelf(&mut self, now: Time, consent: Consent) -> Output {
        // Whatever the authenticator waited for is abandoned by another request.
        let _ = self.authenticator.handle(now, Input::Cancel, self.response);
        match shelf::handle(self.authenticator.store_mut(), self.request, consent, self.response) {
            true => Output::Respond,
            false => Output::AskUser { until: now + self.authenticator.configuration().user_timeout },
        }
    }

    fn begin(&self, board: &mut impl Board) {
        board.light(true);
        board.works(true);
    }

    /// What the waiting request is to be told, if anything.
    fn user_input(&mut self, board: &mut impl Board) -> Option<Input<'static>> {
        let waiting = self.waiting.as_mut()?;
        let (now, transaction) = (board.now(), waiting.transaction);
        if board.with_port(|port| port.is_cancelled(transaction)) {
            Some(Input::Cancel)
        } else if waiting.touch.take(now, board.is_pressed(), waiting.held_for) {
            Some(Input::Answer(Answer::Approve { verified: false, account: None }))
        } else {
            (now >= waiting.until).then_some(Input::Tick)
        }
    }

    fn conclude(&mut self, board: &mut impl Board, transaction: Transaction, output: Output) {
        board.works(false);
        match output {
            Output::Respond => board.with_port(|port| port.respond(transaction, self.response)),
            Output::AskUser { until } => {
                let held_for = held_for(&self.authenticator);
                let for_shelf = self.authenticator.prompt().is_none();
                let touch = Touch::default();
                self.waiting = Some(Waiting { transaction, until, touch, held_for, for_shelf });
                let now = board.now();
                board.with_port(|port| port.wait_for_user(now, transaction, true));
            }
            Output::Idle => {}
        }
        // The next makeCredential's key pair, while the answer travels or the user reaches for the button. At this place
        // and not in idle time, so that the order of what is random depends on requests alone, as the tests need it.
        self.authenticator.prepare();
    }
}

/// A touch counts from a release that was seen since the question: a finger left on the button approves nothing.
#[derive(Default)]
pub(crate) struct Touch {
    released: bool,
    pressed_since: Option<Time>,
}

impl Touch {
    /// Whether the button has been pressed and held for so long.
    pub(crate) fn take(&mut self, now: Time, pressed: bool, held_for: Duration) -> bool {
        if !pressed {
            (self.released, self.pressed_since) = (true, None);
            return false;
        }
        self.released && now.saturating_sub(*self.pressed_since.get_or_insert(now)) >= held_for
    }
}

/// How long the button is to be held for what the authenticator asks.
pub(crate) fn held_for<S: CredentialStore, R: CryptoRng>(authenticator: &Authenticator<S, R>) -> Duration {
    let action = authenticator.prompt().map(|prompt| prompt.action);
    if matches!(action, Some(Action::Reset { long: true })) { LONG_TOUCH } else { Duration::ZERO }
}

/// What the LED says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Led {
    /// Nothing to do: a short flash every two seconds.
    Idle,
    /// Press the button: twice a second, half on and half off.
    Waiting,
    /// This is the one that the platform means: eight times a second.
    Wink,
    /// The flash or the source of randomness is broken, and no request is answered: three short flashes, a pause.
    Error,
}

impl Led {
    /// Whether it is lit at this time.
    pub fn is_lit(self, now: Time) -> bool {
        // Not `as_millis`: a division of 128 bits takes 4 kB of flash.
        let ms = now.as_secs() as u32 * 1000 + now.subsec_millis();
        match self {
            Led::Idle => ms % 2000 < 40,
            Led::Waiting => ms % 500 < 250,
            Led::Wink => ms % 125 < 62,
            Led::Error => ms % 1500 < 900 && ms % 300 < 150,
        }
    }
}

/// How long a long touch is (CTAP 2.3, longTouchForReset).
const LONG_TOUCH: Duration = Duration::from_secs(10);
