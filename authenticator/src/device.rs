//! A device: CTAPHID, the core and a user, run on a computer.

mod store;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use doppelkey_core::{Authenticator, CredentialStore, Input, Message, Output, Prompt, Time};
use rand_core::CryptoRng;

use crate::user_interface::UserInterface;

pub use doppelkey_ctaphid::Packet;
pub use store::SharedStore;

/// The time since some fixed moment, monotonic. Read where the program is composed, told everywhere else.
pub type Clock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// What a device runs: an [`Authenticator`], whatever its store and its randomness.
pub trait Engine: Send {
    /// [`Authenticator::handle`].
    fn handle(&mut self, now: Time, input: Input<'_>, response: &mut Message) -> Output;
    /// [`Authenticator::prompt`].
    fn prompt(&self) -> Option<Prompt<'_>>;
}

impl<S: CredentialStore + Send, R: CryptoRng + Send> Engine for Authenticator<S, R> {
    fn handle(&mut self, now: Time, input: Input<'_>, response: &mut Message) -> Output {
        Authenticator::handle(self, now, input, response)
    }

    fn prompt(&self) -> Option<Prompt<'_>> {
        Authenticator::prompt(self)
    }
}

/// One virtual authenticator: what a user would hold in the hand. Cheap to clone; all clones are the same device.
///
/// Any number of doors (USB/IP, packets, uhid, in-process) lead to it at once; its channels keep them apart.
#[derive(Clone)]
pub struct Device {}

impl Device {
    /// A device under power.
    ///
    /// `power_up` makes the engine anew at each power-up: now, and at every [`replug`](Self::replug).
    pub fn new(
        clock: Clock,
        user: Box<dyn UserInterface>,
        power_up: impl FnMut() -> Box<dyn Engine> + Send + 'static,
    ) -> Self {
        let _ = (clock, user, power_up);
        Device {}
    }

    /// Unplugs the device and plugs it in again: the engine is made anew, channels and transactions are forgotten.
    pub fn replug(&self) {}

    /// A connection of this process, with its own view of the device as another program's would be.
    pub fn connect(&self) -> LocalConnection {
        LocalConnection {}
    }
}

/// Packets to a device and back, whatever carries them.
pub trait Connection: Send {
    /// Sends one packet.
    fn send(&mut self, packet: &Packet) -> io::Result<()>;

    /// The next packet from the device; `None` if there is none within `timeout`. Without a timeout, waits.
    fn receive(&mut self, timeout: Option<Duration>) -> io::Result<Option<Packet>>;
}

/// A connection within this process: no socket.
pub struct LocalConnection {}

impl Connection for LocalConnection {
    fn send(&mut self, _: &Packet) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn receive(&mut self, _: Option<Duration>) -> io::Result<Option<Packet>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
