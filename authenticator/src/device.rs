//! A device: CTAPHID, the core and a user, run on a computer.

mod identity;
mod observed;
mod port;
mod store;
mod wire;
mod worker;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use doppelkey_core::{Authenticator, CredentialStore, Input, Message, Output, Prompt, Time, User, Version};
use rand_core::CryptoRng;

use crate::user_interface::UserInterface;
use worker::{Shared, Timer};

pub use crate::clock::Clock;
pub use doppelkey_ctaphid::Packet;
pub use identity::Identity;
pub use observed::{Observed, Observer};
pub use port::LocalConnection;
pub(crate) use port::Port;
pub use store::SharedStore;
pub use wire::{PacketFault, PacketFaults, PacketSeen};
pub use worker::Observation;

/// Told of the credential of each assertion, by its id, and whether the user was present, on the thread of the device;
/// must not call the device.
pub type OnAssertion = Arc<dyn Fn(&[u8], bool) + Send + Sync>;

/// What a device runs: an [`Authenticator`], whatever its store and its randomness.
pub trait Engine: Send {
    /// [`Authenticator::handle`].
    fn handle(&mut self, now: Time, input: Input<'_>, response: &mut Message) -> Output;
    /// [`Authenticator::prompt`].
    fn prompt(&self) -> Option<Prompt<'_>>;
    /// The accounts that the prompt offers to choose from, the newest first; at most so many.
    fn offered_accounts(&mut self, most: usize) -> Vec<User> {
        let _ = most;
        Vec::new()
    }
    /// [`Authenticator::prepare`]: called when nothing has happened for a while.
    fn prepare(&mut self) {}
    /// [`Authenticator::end_stateful_commands`]: the next request comes by another channel than the last one.
    fn end_stateful_commands(&mut self);
    /// Whether it speaks U2F (CTAPHID_MSG).
    fn speaks_u2f(&self) -> bool {
        true
    }
}

impl<S: CredentialStore + Send, R: CryptoRng + Send> Engine for Authenticator<S, R> {
    fn handle(&mut self, now: Time, input: Input<'_>, response: &mut Message) -> Output {
        Authenticator::handle(self, now, input, response)
    }

    fn prompt(&self) -> Option<Prompt<'_>> {
        Authenticator::prompt(self)
    }

    fn offered_accounts(&mut self, most: usize) -> Vec<User> {
        let mut accounts = Vec::new();
        Authenticator::offered_accounts(self, |user| {
            if accounts.len() < most {
                accounts.push(user.clone());
            }
        });
        accounts
    }

    fn prepare(&mut self) {
        Authenticator::prepare(self);
    }

    fn end_stateful_commands(&mut self) {
        Authenticator::end_stateful_commands(self);
    }

    fn speaks_u2f(&self) -> bool {
        self.configuration().versions.contains(&Version::U2fV2)
    }
}

/// One virtual authenticator: what a user would hold in the hand. Cheap to clone; all clones are the same device.
///
/// Any number of doors (USB/IP, packets, uhid, in-process) lead to it at once; its channels keep them apart: a door
/// can use only the channels that it was given. What one channel began (assertions, an enumeration), no other goes on
/// with: a request by another channel ends it.
///
/// A request is worked on by the thread that brought its last packet, an answer by the thread that gave it, so that
/// no thread is woken on the way of a ceremony. One thread a device sends keepalives and ends what is out of time; it
/// sleeps while nothing is pending.
#[derive(Clone)]
pub struct Device {
    shared: Arc<Shared>,
    _timer: Arc<Timer>,
}

impl Device {
    /// A device under power.
    ///
    /// `power_up` makes the engine anew at each power-up: now, and at every [`replug`](Self::replug).
    ///
    /// # Panics
    /// If the operating system gives no thread.
    pub fn new(
        clock: Clock,
        user: Box<dyn UserInterface>,
        power_up: impl FnMut() -> Box<dyn Engine> + Send + 'static,
    ) -> Self {
        let shared = Shared::new(clock, user, Box::new(power_up));
        let timer = Arc::new(Timer::start(&shared));
        Device { shared, _timer: timer }
    }

    /// Takes the power away, or gives it back. Without it, connections end and nobody is answered; with it again, the
    /// engine is made anew. A device of this computer's kernel (`--uhid`, `--attach`) stays there, and is silent.
    pub fn set_power(&self, powered: bool) {
        self.shared.set_power(powered);
    }

    /// Unplugs the device and plugs it in again: the engine is made anew, channels and transactions are forgotten. Does
    /// nothing to a device without power.
    pub fn replug(&self) {
        self.shared.replug();
    }

    /// A connection of this process, with its own view of the device as another program's would be.
    pub fn connect(&self) -> LocalConnection {
        LocalConnection::new(self)
    }

    /// Has this function told of everything that happens in the device from now on.
    ///
    /// It is called on the thread it happens on: it should be quick, and must not call the device.
    pub fn observe(&self, observer: impl Fn(&Observation) + Send + Sync + 'static) {
        self.shared.observe(Arc::new(observer));
    }
}

impl Device {
    /// Has this function told of every packet from now on; the one before is told no more. It must be quick and must
    /// not call the device.
    pub fn observe_packets(&self, observer: impl Fn(&PacketSeen) + Send + Sync + 'static) {
        self.shared.observe_packets(Arc::new(observer));
    }

    /// How this device's packets go wrong.
    pub fn packet_faults(&self) -> &PacketFaults {
        self.shared.packet_faults()
    }
}

/// Packets to a device and back, whatever carries them.
pub trait Connection: Send {
    /// Sends one packet.
    fn send(&mut self, packet: &Packet) -> io::Result<()>;

    /// The next packet from the device; `None` if there is none within `timeout`. Without a timeout, waits.
    fn receive(&mut self, timeout: Option<Duration>) -> io::Result<Option<Packet>>;
}

#[cfg(test)]
pub(crate) mod tests;
