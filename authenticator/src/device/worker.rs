//! The inside of a device: who does what, on which thread.
//!
//! One mutex guards the state: the CTAPHID machine, the ports, the work to be done. The engine and the user are in a
//! [`Brain`], which one thread at a time takes out to work *without* the mutex: meanwhile packets are received,
//! BUSY is answered and keepalives go out. Work that comes up meanwhile is left in the queue for that thread.

mod ports;
mod timer;

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use doppelkey_core::{Answer, Input, Message, Output, Time};
use doppelkey_ctaphid::{BROADCAST, Capabilities, Ctaphid, ErrorCode, Event, Transaction};

use super::wire::{PacketFaults, PacketSeen};
use super::{Clock, Engine};
use crate::stack;
use crate::user_interface::{Reply, UserInterface};
use ports::PortState;
use timer::TimerState;

pub(super) use ports::{Sent, Waited};
pub(super) use timer::Timer;

/// Something that happened in a device, for whoever watches. Holds no message: nothing secret, nobody's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Observation {
    /// The device got power: it has a new engine and no channels.
    PoweredUp,
    /// A request is being worked on.
    Request {
        /// The first byte of a CTAP2 request: its command. `None` for a U2F message.
        command: Option<u8>,
    },
    /// The user is being asked.
    Prompted,
    /// The user answered.
    Answered(Answer),
    /// The platform cancelled the request, or went away.
    Cancelled,
    /// A response was made.
    Responded {
        /// The first byte of a CTAP2 response: its status. `None` for a U2F message.
        status: Option<u8>,
    },
    /// The platform asked the device to show itself (CTAPHID_WINK).
    Winked,
}

/// A function that makes an engine at power-up.
pub(super) type PowerUp = Box<dyn FnMut() -> Box<dyn Engine> + Send>;
type Observer = Arc<dyn Fn(&Observation) + Send + Sync>;
/// Told of every packet, under the lock.
pub(super) type PacketObserver = Arc<dyn Fn(&PacketSeen) + Send + Sync>;

/// What all clones of a device, its ports and its timer share.
pub(super) struct Shared {
    state: Mutex<State>,
    alarm: Condvar,
    clock: Clock,
    this: Weak<Shared>,
    packet_faults: PacketFaults,
}

struct State {
    hid: Ctaphid,
    ports: HashMap<u64, PortState>,
    /// Whose each channel is.
    owners: HashMap<u32, u64>,
    last_port: u64,
    work: VecDeque<Work>,
    /// `None` while a thread works with it.
    brain: Option<Box<Brain>>,
    asking: Option<Asking>,
    prompts: u64,
    /// Without power nothing is taken, and nothing said.
    powered: bool,
    powered_up: Duration,
    observers: Arc<[Observer]>,
    packet_observer: Option<PacketObserver>,
    packet_faults: PacketFaults,
    timer: TimerState,
}

/// What takes time.
struct Brain {
    engine: Box<dyn Engine>,
    user: Box<dyn UserInterface>,
    power_up: PowerUp,
    /// By which the last request came.
    channel: u32,
    request: Vec<u8>,
    response: Box<Message>,
}

/// A step that the brain is to take.
enum Work {
    PowerUp,
    PowerDown,
    Request { transaction: Transaction, is_cbor: bool },
    Cancel(Transaction),
    Abandon(Transaction),
    Answer { prompt: u64, answer: Answer },
    TimeOut { prompt: u64 },
    Wink,
}

/// The request that the user is being asked about.
struct Asking {
    transaction: Transaction,
    is_cbor: bool,
    prompt: u64,
    until: Duration,
}

impl Shared {
    pub(super) fn new(clock: Clock, user: Box<dyn UserInterface>, mut power_up: PowerUp) -> Arc<Self> {
        let engine = power_up();
        let response = Box::new(Message::new());
        let hid = Ctaphid::new(capabilities(&*engine), DEVICE_VERSION);
        let brain =
            Box::new(Brain { engine, user, power_up, channel: BROADCAST, request: Vec::new(), response });
        let packet_faults = PacketFaults::default();
        let state = State {
            hid,
            ports: HashMap::new(),
            owners: HashMap::new(),
            last_port: 0,
            work: VecDeque::new(),
            brain: Some(brain),
            asking: None,
            prompts: 0,
            powered: true,
            powered_up: clock(),
            observers: Arc::new([]),
            packet_observer: None,
            packet_faults: packet_faults.clone(),
            timer: TimerState::default(),
        };
        Arc::new_cyclic(|this| Shared {
            state: Mutex::new(state),
            alarm: Condvar::new(),
            clock,
            this: this.clone(),
            packet_faults,
        })
    }

    pub(super) fn now(&self) -> Duration {
        (self.clock)()
    }

    pub(super) fn observe(&self, observer: Observer) {
        let mut state = self.lock();
        let mut observers = state.observers.to_vec();
        observers.push(observer);
        state.observers = observers.into();
    }

    pub(super) fn observe_packets(&self, observer: PacketObserver) {
        self.lock().packet_observer = Some(observer);
    }

    pub(super) fn packet_faults(&self) -> &PacketFaults {
        &self.packet_faults
    }

    pub(super) fn set_power(&self, powered: bool) {
        let mut state = self.lock();
        if std::mem::replace(&mut state.powered, powered) != powered {
            let work = if powered { Work::PowerUp } else { Work::PowerDown };
            self.power_cycle(state, work);
        }
    }

    pub(super) fn replug(&self) {
        let state = self.lock();
        if state.powered {
            self.power_cycle(state, Work::PowerUp);
        }
    }

    fn power_cycle<'a>(&'a self, mut state: MutexGuard<'a, State>, work: Work) {
        let powered = state.powered;
        state.hid.power_cycle();
        state.owners.clear();
        for port in state.ports.values_mut() {
            port.power_cycle(powered);
        }
        // What was to be done for the engine of before is not to be done by the new one.
        state.work.clear();
        state.work.push_back(work);
        self.drive(state, None);
    }

    fn answer(&self, prompt: u64, answer: Answer) {
        let mut state = self.lock();
        if state.asking.as_ref().is_some_and(|asking| asking.prompt == prompt) {
            state.work.push_back(Work::Answer { prompt, answer });
            self.drive(state, None);
        }
    }

    /// Does what there is to do, unless another thread is at it: then it will do this too.
    ///
    /// `taker` is the port whose packets the calling thread will take.
    fn drive<'a>(&'a self, mut state: MutexGuard<'a, State>, taker: Option<u64>) {
        if state.work.is_empty() {
            return;
        }
        let Some(mut brain) = state.brain.take() else { return };
        while let Some(work) = state.work.pop_front() {
            state = self.step(state, &mut brain, work, taker);
        }
        state.brain = Some(brain);
        self.set_alarm(&mut state);
    }

    fn step<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        brain: &mut Brain,
        work: Work,
        taker: Option<u64>,
    ) -> MutexGuard<'a, State> {
        match work {
            Work::PowerUp => {
                state.asking = None;
                drop(state);
                brain.user.clear();
                brain.engine = (brain.power_up)();
                let mut state = self.lock();
                state.hid.offer(capabilities(&*brain.engine));
                state.powered_up = self.now();
                self.tell(state, Observation::PoweredUp)
            }
            Work::PowerDown => {
                state.asking = None;
                drop(state);
                brain.user.clear();
                self.lock()
            }
            Work::Wink => {
                drop(state);
                brain.user.wink();
                self.tell(self.lock(), Observation::Winked)
            }
            Work::Request { transaction, is_cbor } => {
                // It may have been abandoned since.
                let Some(request) = state.hid.request(transaction) else { return state };
                brain.request.clear();
                brain.request.extend_from_slice(request);
                if std::mem::replace(&mut brain.channel, transaction.channel()) != transaction.channel() {
                    brain.engine.end_stateful_commands();
                }
                let command = is_cbor.then(|| brain.request.first().copied().unwrap_or_default());
                let state = self.tell(state, Observation::Request { command });
                let asking = Asking { transaction, is_cbor, prompt: 0, until: Duration::MAX };
                self.handle(state, brain, Said::Request, asking, taker)
            }
            Work::Cancel(transaction) | Work::Abandon(transaction) => {
                let Some(asking) = state.asking.take_if(|asking| asking.transaction == transaction) else {
                    return state;
                };
                let state = self.tell(state, Observation::Cancelled);
                self.handle(state, brain, Said::Cancel, asking, taker)
            }
            Work::Answer { prompt, answer } => {
                let Some(asking) = state.asking.take_if(|asking| asking.prompt == prompt) else {
                    return state;
                };
                let state = self.tell(state, Observation::Answered(answer));
                self.handle(state, brain, Said::Answer(answer), asking, taker)
            }
            Work::TimeOut { prompt } => {
                let Some(asking) = state.asking.take_if(|asking| asking.prompt == prompt) else {
                    return state;
                };
                self.handle(state, brain, Said::Nothing, asking, taker)
            }
        }
    }

    /// Tells the engine, without the lock, and does what it says.
    fn handle<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        brain: &mut Brain,
        said: Said,
        mut asking: Asking,
        taker: Option<u64>,
    ) -> MutexGuard<'a, State> {
        let powered_up = state.powered_up;
        drop(state);
        let output = brain.handle(self.now().saturating_sub(powered_up), said, asking.is_cbor);
        // A prompt stays where it is while its time is not over.
        let stays = matches!((said, output), (Said::Nothing, Some(Output::AskUser { .. })));
        if asking.prompt != 0 && !stays {
            brain.user.clear();
        }
        let mut state = self.lock();
        match output {
            Some(Output::AskUser { until }) => {
                asking.until = powered_up.saturating_add(until);
                if stays {
                    state.asking = Some(asking);
                    self.set_alarm(&mut state);
                    return state;
                }
                self.ask(state, brain, asking, taker)
            }
            Some(Output::Respond) => {
                let status = asking.is_cbor.then(|| brain.response.first().copied().unwrap_or_default());
                state.hid.respond(asking.transaction, &brain.response);
                state.pump(taker);
                self.tell(state, Observation::Responded { status })
            }
            Some(Output::Idle) | None => {
                state.hid.refuse(asking.transaction, ErrorCode::Other);
                state.pump(taker);
                state
            }
        }
    }

    fn ask<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        brain: &mut Brain,
        mut asking: Asking,
        taker: Option<u64>,
    ) -> MutexGuard<'a, State> {
        let Brain { engine, user, .. } = brain;
        // Not under the lock: it may take reads of the store.
        let accounts = match engine.prompt() {
            Some(prompt) if prompt.accounts > 1 => {
                drop(state);
                let accounts = engine.offered_accounts(NAMED_ACCOUNTS);
                state = self.lock();
                accounts
            }
            _ => Vec::new(),
        };
        let Some(prompt) = engine.prompt() else {
            debug_assert!(false, "whoever asks says what");
            state.hid.refuse(asking.transaction, ErrorCode::Other);
            state.pump(taker);
            return state;
        };
        state.prompts += 1;
        let (number, transaction) = (state.prompts, asking.transaction);
        asking.prompt = number;
        state.asking = Some(asking);
        drop(self.tell(state, Observation::Prompted));
        let this = self.this.clone();
        user.show(
            &prompt,
            &accounts,
            Reply::new(move |answer| {
                if let Some(shared) = this.upgrade() {
                    shared.answer(number, answer);
                }
            }),
        );
        let mut state = self.lock();
        // A user who answers at once needs no keepalive.
        if state.work.is_empty() {
            state.hid.wait_for_user(self.now(), transaction, true);
            state.hid.tick(self.now());
            state.pump(taker);
        }
        self.set_alarm(&mut state);
        state
    }

    /// Tells the observers, without the lock.
    fn tell<'a>(&'a self, state: MutexGuard<'a, State>, observation: Observation) -> MutexGuard<'a, State> {
        if state.observers.is_empty() {
            return state;
        }
        let observers = state.observers.clone();
        drop(state);
        for observer in observers.iter() {
            observer(&observation);
        }
        drop(observers);
        self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that runs under the lock leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Leaves what the machine says to the brain.
    fn note(&mut self, event: Option<Event>) {
        self.work.push_back(match event {
            Some(Event::Cbor(transaction)) => Work::Request { transaction, is_cbor: true },
            Some(Event::Msg(transaction)) => Work::Request { transaction, is_cbor: false },
            Some(Event::Cancel(transaction)) => Work::Cancel(transaction),
            Some(Event::Abandoned(transaction)) => Work::Abandon(transaction),
            Some(Event::Wink) => Work::Wink,
            None => return,
        });
    }
}

/// What the engine is told; the request itself is in the brain.
#[derive(Clone, Copy)]
enum Said {
    Request,
    Cancel,
    Answer(Answer),
    Nothing,
}

impl Brain {
    /// `None` if the engine panicked. That is a bug of ours; it gets a new engine, as after a power failure.
    fn handle(&mut self, now: Time, said: Said, is_cbor: bool) -> Option<Output> {
        let input = match said {
            Said::Request if is_cbor => Input::Cbor(&self.request),
            Said::Request => Input::Msg(&self.request),
            Said::Cancel => Input::Cancel,
            Said::Answer(answer) => Input::Answer(answer),
            Said::Nothing => Input::Tick,
        };
        let (engine, response) = (&mut self.engine, &mut self.response);
        let output = catch_unwind(AssertUnwindSafe(|| engine.handle(now, input, response)));
        stack::scrub();
        if output.is_err() {
            log::error!("the engine panicked; the device was given a new one");
            self.engine = (self.power_up)();
        }
        output.ok()
    }
}

fn capabilities(engine: &dyn Engine) -> Capabilities {
    let always = Capabilities::CBOR | Capabilities::WINK;
    if engine.speaks_u2f() { always | Capabilities::MSG } else { always }
}

fn wait<'a>(
    condition: &Condvar,
    state: MutexGuard<'a, State>,
    timeout: Option<Duration>,
) -> MutexGuard<'a, State> {
    match timeout {
        None => condition.wait(state).unwrap_or_else(PoisonError::into_inner),
        Some(timeout) => condition.wait_timeout(state, timeout).unwrap_or_else(PoisonError::into_inner).0,
    }
}

/// What CTAPHID_INIT says of the device's version: major, minor, build.
const DEVICE_VERSION: [u8; 3] = [0, 1, 0];
/// So many accounts are named to the user; more than that nobody reads.
const NAMED_ACCOUNTS: usize = 20;
