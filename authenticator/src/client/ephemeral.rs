//! An authenticator in memory, in this process: for tests of relying parties.

use std::time::Instant;

use doppelkey_core::{Authenticator, Configuration, MemoryStore, OptionId};
use getrandom::SysRng;
use rand_core::UnwrapErr;
use std::sync::Arc;

use super::Client;
use crate::device::{Clock, Device, SharedStore};
use crate::user_interface::{Auto, UserInterface};

impl Client {
    /// A client to a fresh authenticator in memory, whose user approves everything. Gone when dropped.
    ///
    /// # Panics
    /// If the operating system gives no thread or no randomness.
    pub fn ephemeral() -> Self {
        let clock = system_clock();
        let device = ephemeral_device(without_sensor(), Box::new(Auto), clock.clone());
        Client::new(device.connect(), clock, UnwrapErr(SysRng))
            .expect("a device of this process gives a channel")
    }
}

/// Doppelkey as it is without a fingerprint sensor: whoever approves is verified, with nothing to enrol before.
pub fn without_sensor() -> Configuration {
    let mut configuration = Configuration::default();
    let of_sensors = [OptionId::BioEnroll, OptionId::UvBioEnroll, OptionId::UserVerificationMgmtPreview];
    configuration.options.retain(|option| !of_sensors.contains(option));
    configuration
}

/// A fresh device with its credentials in memory: they outlive a replug, and are gone when it is dropped.
///
/// # Panics
/// If the operating system gives no thread.
pub fn ephemeral_device(configuration: Configuration, user: Box<dyn UserInterface>, clock: Clock) -> Device {
    let store = SharedStore::new(MemoryStore::new());
    Device::new(clock, user, move || {
        Box::new(Authenticator::new(store.clone(), UnwrapErr(SysRng), configuration.clone()))
    })
}

/// This computer's monotonic clock.
pub fn system_clock() -> Clock {
    #[expect(
        clippy::disallowed_methods,
        reason = "programs and tests that want a real clock are composed with this"
    )]
    let start = Instant::now();
    Arc::new(move || start.elapsed())
}
