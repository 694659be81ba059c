//! Virtual time: devices go on and off, users act, messages travel. One seed, one course of events.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::string::{String, ToString as _};
use std::vec::Vec;
use std::{cmp, format};

use super::outcome::{Outcome, Violation};
use super::pin_guesser::Escrow;
use super::scenario::{DAY, Event, HOUR, Scenario, duration_ms};
use crate::seeded::Seeded;

/// The wall clock when a simulation begins: 2026-01-01.
pub(crate) const START_MS: u64 = 1_767_225_600_000;

/// A passkey, and an account at some relying party: numbers that the engine gives.
pub type Credential = u32;
/// See [`Credential`].
pub type Account = u32;

/// Who sends and receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node {
    /// One of the user's devices.
    Device(usize),
    /// The relay, cloud or shared disk.
    Server,
}

/// What a user does on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Action {
    Create { credential: Credential, account: Account },
    Rename { credential: Credential, value: u8 },
    Delete { credential: Credential },
    Used { credential: Credential },
    Revoke { device: usize },
    Admit { device: usize },
}

/// What a bad server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attack {
    /// Gives everything to whoever was revoked.
    Colludes,
    /// Forgets the newest tenth of what it holds.
    RollsBack,
    /// Shows half of the devices another history from now on.
    Forks,
    /// Acknowledges what comes and shows it to nobody but its author.
    Withholds,
    /// Gives out deleted things again.
    Resurrects,
    /// Flips bits.
    Tampers,
}

impl Attack {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "colludes" => Attack::Colludes,
            "rolls-back" => Attack::RollsBack,
            "forks" => Attack::Forks,
            "withholds" => Attack::Withholds,
            "resurrects" => Attack::Resurrects,
            "tampers" => Attack::Tampers,
            _ => return None,
        })
    }
}

/// A way to keep a user's devices in step: one value is all devices and the server of one run.
pub trait Fabric: Sized {
    /// What travels.
    type Message: Clone;

    /// All devices of the scenario, knowing each other, all idle.
    fn new(scenario: &Scenario, rng: &mut Seeded) -> Self;

    /// The user does something; `false` if the device refuses because it is off the net.
    fn act(&mut self, cx: &mut Context<Self::Message>, device: usize, action: Action) -> bool;

    /// A message arrives.
    fn receive(&mut self, cx: &mut Context<Self::Message>, to: Node, from: Node, message: Self::Message);

    /// The device has come on, or its timer has run out.
    fn wake(&mut self, cx: &mut Context<Self::Message>, device: usize, came_on: bool);

    /// Two devices that are up meet.
    fn meet(&mut self, _cx: &mut Context<Self::Message>, _one: usize, _other: usize) {}

    /// A bad server begins.
    fn attack(&mut self, cx: &mut Context<Self::Message>, attack: Attack);

    /// The device goes back to its disk of `back_ms` ago, if the fabric can tell what that was.
    fn restore(&mut self, _cx: &mut Context<Self::Message>, _device: usize, _back_ms: u64) {}

    /// All devices are gone; a new one begins with the recovery key, if there is such a thing. Whether it could.
    fn recover(&mut self, _cx: &mut Context<Self::Message>, _device: usize) -> bool {
        false
    }

    /// The account's passkeys on this device, best first.
    fn offered(&self, device: usize, account: Account) -> Vec<Credential>;

    /// Whether a sign-in needs the net.
    fn signs_in_offline(&self) -> bool {
        true
    }

    /// Whether the device would set BS for this passkey now.
    fn claims_backup(&self, device: usize, credential: Credential) -> bool;

    /// Whether a device has been told that another one is lost or revoked: what it says before that of the other's
    /// copies is not untrue, only late.
    fn knows_of_the_loss(&self, _device: usize, _other: usize) -> bool {
        true
    }

    /// Whether a device has another one's signed word that it holds the passkey: a claim that rests on less is untrue, not
    /// late, whatever the other one holds.
    fn has_word_of(&self, _device: usize, _other: usize, _credential: Credential) -> bool {
        true
    }

    /// Whether a device that is up has not been told everything yet that the server holds.
    fn catches_up(&self, _device: usize) -> bool {
        false
    }

    /// The passkeys of which this device alone knows that they are deleted: it has said so to none of these others, nor to
    /// the server if that one counts. Once it is lost or shut out nobody can know, and they may be back.
    fn unheard(&self, _device: usize, _by: &[usize], _server: bool) -> Vec<Credential> {
        Vec::new()
    }

    /// Whether the passkey would survive if this device burned now.
    fn survives_without(&self, device: usize, credential: Credential, live: &[usize]) -> bool;

    /// Whether this device (a thief's) can read the passkey, with the server's help if it colludes.
    fn readable(&self, device: usize, credential: Credential, colludes: bool) -> bool;

    /// Whether two devices offer the same.
    fn in_step(&self, one: usize, other: usize) -> bool;

    /// Checks of the fabric's own at the end of a run.
    fn check(&self, _live: &[usize], _violations: &mut Vec<Violation>) {}
}

/// What a fabric can ask for and tell.
pub struct Context<'a, M> {
    /// Milliseconds since the beginning.
    pub now_ms: u64,
    /// The run's chance.
    pub rng: &'a mut Seeded,
    /// Which devices are up.
    pub up: &'a [bool],
    /// The chance of a crash at an effect.
    pub crash: f64,
    skews: &'a [i64],
    sends: Vec<(Node, Node, M)>,
    timers: Vec<(usize, u64)>,
    arrived: Vec<(usize, Credential)>,
    claimed: Vec<(usize, Credential)>,
    alarms: Vec<(usize, String)>,
    observed: Vec<usize>,
    crashes: u64,
    bytes: u64,
}

impl<M> Context<'_, M> {
    /// Sends a message of so many bytes. It may be lost.
    pub fn send(&mut self, from: Node, to: Node, message: M, bytes: usize) {
        self.bytes += bytes as u64;
        self.sends.push((from, to, message));
    }

    /// Asks for [`Fabric::wake`] after a time.
    pub fn wake_after(&mut self, device: usize, ms: u64) {
        self.timers.push((device, self.now_ms + ms));
    }

    /// The wall clock of a device, in milliseconds since 1970: wrong by its skew.
    pub fn clock_ms(&self, device: usize) -> u64 {
        (START_MS + self.now_ms).saturating_add_signed(self.skews[device] * 1000)
    }

    /// A passkey has come to a device.
    pub fn arrived(&mut self, device: usize, credential: Credential) {
        self.arrived.push((device, credential));
    }

    /// A device has begun to claim that a passkey is backed up.
    pub fn claimed(&mut self, device: usize, credential: Credential) {
        self.claimed.push((device, credential));
    }

    /// A device tells its user of something wrong.
    pub fn alarm(&mut self, device: usize, what: String) {
        self.alarms.push((device, what));
    }

    /// The server sees the size of an entry.
    pub fn observed(&mut self, size: usize) {
        self.observed.push(size);
    }

    /// Whether the device crashes just now.
    pub fn crashes(&mut self) -> bool {
        let crashes = self.crash > 0.0 && self.rng.chance(self.crash);
        self.crashes += u64::from(crashes);
        crashes
    }
}

#[derive(Clone)]
enum What<M> {
    Deliver { from: Node, to: Node, message: M },
    Timer(usize),
    Toggle(usize),
    User,
    Race { account: Account, device: usize },
    Meet,
    Script(usize),
    Notice(usize),
}

struct Scheduled<M> {
    at: u64,
    order: u64,
    what: What<M>,
}

impl<M> PartialEq for Scheduled<M> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl<M> Eq for Scheduled<M> {}
impl<M> PartialOrd for Scheduled<M> {
    fn partial_cmp(&self, other: &Self) -> Option<cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<M> Ord for Scheduled<M> {
    fn cmp(&self, other: &Self) -> cmp::Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

/// What is known of a passkey from outside.
struct Known {
    account: Account,
    made_at: u64,
    /// Devices that were up when it was made and have been since, and have not got it yet.
    awaited: BTreeSet<usize>,
    /// Where it has ever been.
    been_on: BTreeSet<usize>,
    /// Whether its maker knew then of every revocation that there had been.
    maker_aware: bool,
    deleted: bool,
    /// Whether nobody who is left could know of that.
    unheard: bool,
    claimed: bool,
}

/// One run.
pub(crate) struct Engine<'a, F: Fabric> {
    scenario: &'a Scenario,
    fabric: F,
    rng: Seeded,
    now: u64,
    order: u64,
    queue: BinaryHeap<Scheduled<F::Message>>,
    names: Vec<String>,
    up_part: Vec<f64>,
    skews: Vec<i64>,
    up: Vec<bool>,
    /// Destroyed, or not there yet.
    gone: Vec<bool>,
    stolen: Vec<bool>,
    revoked: Vec<bool>,
    /// Whose disk went back to what it had been.
    restored: Vec<bool>,
    revoked_at: Option<u64>,
    attacked_at: Option<u64>,
    attacked: BTreeSet<&'static str>,
    colludes: bool,
    quiet: bool,
    known: BTreeMap<Credential, Known>,
    /// For each account what the relying party accepts.
    accepted: BTreeMap<Account, BTreeSet<Credential>>,
    escrow: Option<Escrow>,
    outcome: Outcome,
    trace: Option<Vec<String>>,
}

impl<'a, F: Fabric> Engine<'a, F> {
    pub(crate) fn new(scenario: &'a Scenario, seed: u64, trace: bool) -> Self {
        let mut rng = Seeded::new(seed);
        let fabric = F::new(scenario, &mut rng);
        let joins = scenario.events.iter().filter_map(|event| event.join.clone());
        let burns = scenario.events.iter().filter(|event| event.burn).map(|_| "new".to_string());
        let names: Vec<String> = scenario.devices.keys().cloned().chain(joins).chain(burns).collect();
        let present = scenario.devices.len();
        let mut engine = Engine {
            scenario,
            fabric,
            rng,
            now: 0,
            order: 0,
            queue: BinaryHeap::new(),
            up_part: (0..names.len())
                .map(|device| scenario.devices.get(&names[device]).map_or(0.9, |device| device.up))
                .collect(),
            skews: (0..names.len())
                .map(|device| scenario.devices.get(&names[device]).map_or(0, |device| device.skew_s))
                .collect(),
            up: (0..names.len()).map(|device| device < present).collect(),
            gone: (0..names.len()).map(|device| device >= present).collect(),
            stolen: names.iter().map(|_| false).collect(),
            revoked: names.iter().map(|_| false).collect(),
            restored: names.iter().map(|_| false).collect(),
            names,
            revoked_at: None,
            attacked_at: None,
            attacked: BTreeSet::new(),
            colludes: false,
            quiet: false,
            known: BTreeMap::new(),
            accepted: BTreeMap::new(),
            escrow: scenario.pin.as_ref().map(|pin| Escrow::new(pin, seed)),
            outcome: Outcome::default(),
            trace: trace.then(Vec::new),
        };
        engine.begin();
        engine
    }

    fn begin(&mut self) {
        for device in 0..self.scenario.devices.len() {
            self.with(|fabric, cx| fabric.wake(cx, device, true));
            self.schedule_toggle(device);
        }
        self.after_gap(self.actions_per_day(), What::User);
        if self.scenario.link.lan {
            self.after_gap(self.scenario.link.contacts, What::Meet);
        }
        for (index, event) in self.scenario.events.iter().enumerate() {
            let at = duration_ms(&event.at).expect("the scenario was checked");
            self.schedule(at, What::Script(index));
        }
    }

    /// Runs to the end; then the net is perfect for some days and everyone is on; then the checks.
    pub(crate) fn run(mut self) -> (Outcome, Option<Vec<String>>) {
        let end = u64::from(self.scenario.days) * DAY;
        self.run_until(end);
        self.quiet = true;
        for device in 0..self.names.len() {
            if !self.gone[device] && !self.up[device] {
                self.switch(device, true);
            }
        }
        for day in 1..=3 {
            self.run_until(end + day * DAY);
            let live = self.live();
            for pair in live.windows(2) {
                if self.scenario.link.lan && self.scenario.link.contacts > 0.0 {
                    self.with(|fabric, cx| fabric.meet(cx, pair[0], pair[1]));
                }
            }
        }
        self.judge();
        self.outcome.device_days = self.scenario.device_days();
        (self.outcome, self.trace)
    }

    fn run_until(&mut self, end: u64) {
        while let Some(next) = self.queue.peek() {
            if next.at > end {
                break;
            }
            let Some(Scheduled { at, what, .. }) = self.queue.pop() else { break };
            self.now = at;
            self.outcome.events += 1;
            self.happen(what);
        }
        self.now = end;
    }

    fn happen(&mut self, what: What<F::Message>) {
        match what {
            What::Deliver { from, to, message } => {
                if matches!(to, Node::Device(device) if !self.up[device] || self.gone[device]) {
                    return;
                }
                self.with(|fabric, cx| fabric.receive(cx, to, from, message));
            }
            What::Timer(device) if self.up[device] && !self.gone[device] => {
                self.with(|fabric, cx| fabric.wake(cx, device, false));
            }
            What::Timer(_) => {}
            What::Toggle(device) => {
                if !self.gone[device] && !self.quiet {
                    self.switch(device, !self.up[device]);
                    self.schedule_toggle(device);
                }
            }
            What::User => {
                if !self.quiet {
                    self.user_acts();
                    self.after_gap(self.actions_per_day(), What::User);
                }
            }
            What::Race { account, device } => {
                if self.usable().contains(&device) {
                    self.create(device, account);
                }
            }
            What::Meet => {
                let up = self.usable().into_iter().filter(|device| self.up[*device]).collect::<Vec<_>>();
                if up.len() >= 2 {
                    let one = up[self.rng.below(up.len() as u64) as usize];
                    let other = up[self.rng.below(up.len() as u64) as usize];
                    if one != other {
                        self.with(|fabric, cx| fabric.meet(cx, one, other));
                    }
                }
                self.after_gap(self.scenario.link.contacts, What::Meet);
            }
            What::Script(_) | What::Notice(_) if self.quiet => {}
            What::Script(index) => self.script(&self.scenario.events[index].clone(), index),
            What::Notice(index) => self.notice(&self.scenario.events[index].clone()),
        }
    }

    /// Calls the fabric and carries out what it asks for.
    fn with<T>(&mut self, call: impl FnOnce(&mut F, &mut Context<'_, F::Message>) -> T) -> T {
        let quiet = self.quiet;
        let mut cx = Context {
            now_ms: self.now,
            rng: &mut self.rng,
            up: &self.up,
            crash: if quiet { 0.0 } else { self.scenario.link.crash },
            skews: &self.skews,
            sends: Vec::new(),
            timers: Vec::new(),
            arrived: Vec::new(),
            claimed: Vec::new(),
            alarms: Vec::new(),
            observed: Vec::new(),
            crashes: 0,
            bytes: 0,
        };
        let result = call(&mut self.fabric, &mut cx);
        let Context { sends, timers, arrived, claimed, alarms, observed, crashes, bytes, .. } = cx;
        self.outcome.bytes += bytes;
        self.outcome.crashes += crashes;
        for size in observed {
            *self.outcome.sizes.entry(size).or_default() += 1;
        }
        for (from, to, message) in sends {
            self.travel(from, to, message);
        }
        for (device, at) in timers {
            self.schedule(at, What::Timer(device));
        }
        for (device, credential) in arrived {
            self.note_arrival(device, credential);
        }
        for (device, credential) in claimed {
            self.note_claim(device, credential);
        }
        for (device, what) in alarms {
            self.note_alarm(device, &what);
        }
        result
    }

    fn travel(&mut self, from: Node, to: Node, message: F::Message) {
        let link = &self.scenario.link;
        let (loss, duplicates) = if self.quiet { (0.0, 0.0) } else { (link.loss, link.duplicates) };
        let copies = u32::from(!self.rng.chance(loss)) + u32::from(self.rng.chance(duplicates));
        let local = matches!((from, to), (Node::Device(_), Node::Device(_)));
        let one_way = if local { 5.0 } else { link.rtt_ms as f64 / 2.0 };
        let mut delays = [0; 2];
        let delays = &mut delays[..copies as usize];
        delays.fill_with(|| (one_way * (0.75 + 0.5 * self.rng.unit())) as u64 + 1);
        if let Some((last, others)) = delays.split_last() {
            for delay in others {
                self.schedule(self.now + delay, What::Deliver { from, to, message: message.clone() });
            }
            self.schedule(self.now + last, What::Deliver { from, to, message });
        }
    }

    fn schedule(&mut self, at: u64, what: What<F::Message>) {
        self.order += 1;
        self.queue.push(Scheduled { at, order: self.order, what });
    }

    fn after_gap(&mut self, per_day: f64, what: What<F::Message>) {
        if per_day > 0.0 {
            let gap = -(1.0 - self.rng.unit()).ln() * DAY as f64 / per_day;
            self.schedule(self.now + gap as u64 + 1, what);
        }
    }

    fn schedule_toggle(&mut self, device: usize) {
        let part = self.up_part[device];
        if part >= 1.0 {
            return;
        }
        let mean = 4.0 * HOUR as f64 * if self.up[device] { part } else { 1.0 - part };
        let stay = -(1.0 - self.rng.unit()).ln() * mean;
        self.schedule(self.now + stay as u64 + 1, What::Toggle(device));
    }

    fn switch(&mut self, device: usize, up: bool) {
        self.up[device] = up;
        if up {
            self.with(|fabric, cx| fabric.wake(cx, device, true));
        } else {
            self.known.values_mut().for_each(|known| {
                known.awaited.remove(&device);
            });
        }
    }

    fn say(&mut self, line: impl FnOnce(&Self) -> String) {
        if let Some(mut trace) = self.trace.take() {
            trace.push(format!("{:>9.4}d {}", self.now as f64 / DAY as f64, line(self)));
            self.trace = Some(trace);
        }
    }
}

mod user;
