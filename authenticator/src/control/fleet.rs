//! The devices of this process, and what the control port can do to each.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use doppelkey_core::{Authenticator, Configuration, Faults, OptionId, StoreError};
use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;

use super::asserting::Asserting;
use super::events::Events;
use super::reply::Failure;
use super::user::ControlledUser;
use crate::device::{Clock, Device, Engine, Observation, OnAssertion, SharedStore};
use crate::usbip::{self, NoFreePlace};

/// Devices under one roof: made, plugged in, unplugged and removed while the program runs. Clones are the same fleet.
#[derive(Clone)]
pub struct Fleet {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Clock,
    usbip: Option<usbip::Server>,
    members: Mutex<Members>,
    events: Events,
}

#[derive(Default)]
struct Members {
    last_number: u32,
    list: Vec<Arc<Member>>,
}

/// What a new device is made of.
pub struct Setup {
    /// What the device is; where the control port changes it, the change counts from the next power-up.
    pub configuration: Configuration,
    /// Where its credentials are.
    pub store: SharedStore,
    /// Who its user is.
    pub user: ControlledUser,
    /// The persona's name, to be shown.
    pub persona: String,
    /// Who is told which credential signs, if anybody.
    pub on_assertion: Option<OnAssertion>,
}

/// One device of a fleet.
pub struct Member {
    number: u32,
    device: Device,
    store: SharedStore,
    user: ControlledUser,
    model: Arc<Mutex<Model>>,
    plug: Mutex<Plug>,
    fleet: Arc<Shared>,
    unplug_when_prompted: AtomicBool,
}

/// What a device is, from its next power-up.
#[derive(Clone)]
pub struct Model {
    /// All of it.
    pub configuration: Configuration,
    /// The persona's name.
    pub persona: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Plug {
    powered: bool,
    busid: Option<String>,
}

impl Fleet {
    /// No devices yet. Those that come are plugged into this USB/IP server, if there is one.
    pub fn new(clock: Clock, usbip: Option<usbip::Server>) -> Self {
        let events = Events::new(clock.clone());
        Fleet { shared: Arc::new(Shared { clock, usbip, members: Mutex::default(), events }) }
    }

    /// Makes a device, plugs it in, and returns it. Its number is given once in the life of this fleet, from 1.
    ///
    /// # Panics
    /// If the operating system gives no thread.
    pub fn add(&self, setup: Setup) -> Result<Arc<Member>, NoFreePlace> {
        let Setup { configuration, store, user, persona, on_assertion } = setup;
        let model = Arc::new(Mutex::new(Model { configuration, persona }));
        let (engine_store, engine_model) = (store.clone(), model.clone());
        let power_up = move || -> Box<dyn Engine> {
            let configuration = lock(&engine_model).configuration.clone();
            let engine = Authenticator::new(engine_store.clone(), UnwrapErr(SysRng), configuration);
            match &on_assertion {
                Some(told) => Box::new(Asserting::new(Box::new(engine), told.clone())),
                None => Box::new(engine),
            }
        };
        let device = Device::new(self.shared.clock.clone(), Box::new(user.clone()), power_up);
        let busid = self.shared.usbip.as_ref().map(|server| server.plug(device.clone())).transpose()?;
        let mut members = lock(&self.shared.members);
        members.last_number += 1;
        let number = members.last_number;
        self.shared.events.watch(number, &device, &user);
        let plug = Mutex::new(Plug { powered: true, busid });
        let fleet = self.shared.clone();
        let unplug_when_prompted = AtomicBool::new(false);
        let member = Member { number, device, store, user, model, plug, fleet, unplug_when_prompted };
        let member = Arc::new(member);
        member.watch_prompts();
        members.list.push(member.clone());
        Ok(member)
    }

    /// Unplugs the device for good. `false` if there is none with this number.
    pub fn remove(&self, number: u32) -> bool {
        let mut members = lock(&self.shared.members);
        let Some(at) = members.list.iter().position(|member| member.number == number) else { return false };
        let member = members.list.remove(at);
        drop(members);
        member.power_off();
        true
    }

    /// Every device, by its number.
    pub fn members(&self) -> Vec<Arc<Member>> {
        lock(&self.shared.members).list.clone()
    }

    /// The device with this number.
    pub(super) fn member(&self, number: u32) -> Result<Arc<Member>, Failure> {
        let members = lock(&self.shared.members);
        members.list.iter().find(|member| member.number == number).cloned().ok_or_else(|| {
            Failure::not_found(format!("there is no device {number}"), "GET /v1/devices lists them")
        })
    }

    /// What the devices go by.
    pub(super) fn clock(&self) -> Clock {
        self.shared.clock.clone()
    }

    /// What happens in the devices.
    pub(super) fn events(&self) -> &Events {
        &self.shared.events
    }
}

impl Member {
    /// Counted from 1.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The device itself.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Where its credentials are.
    pub fn store(&self) -> &SharedStore {
        &self.store
    }

    /// Who its user is.
    pub fn user(&self) -> &ControlledUser {
        &self.user
    }

    /// What it is.
    pub fn model(&self) -> Model {
        lock(&self.model).clone()
    }

    /// Makes it another model, and replugs it, as only a new power-up can bring that about.
    pub fn set_model(&self, model: Model) {
        *lock(&self.model) = model;
        self.replug();
    }

    /// How it misbehaves.
    pub fn faults(&self) -> Faults {
        lock(&self.model).configuration.faults.clone()
    }

    /// Whether it is unplugged while the user is asked.
    pub fn unplugs_when_prompted(&self) -> bool {
        self.unplug_when_prompted.load(Ordering::Relaxed)
    }

    /// From now on, it is unplugged while the user is asked, or no longer.
    pub fn unplug_when_prompted(&self, unplug: bool) {
        self.unplug_when_prompted.store(unplug, Ordering::Relaxed);
    }

    fn watch_prompts(self: &Arc<Self>) {
        let member = Arc::downgrade(self);
        self.device.observe(move |observation| {
            let unplugs = |member: &Arc<Self>| member.unplugs_when_prompted();
            if *observation == Observation::Prompted
                && let Some(member) = member.upgrade().filter(unplugs)
            {
                // From another thread: an observer must not call its device.
                let unplug = move || member.power_off();
                let _ = std::thread::Builder::new().name("doppelkey-unplug".into()).spawn(unplug);
            }
        });
    }

    /// Where USB/IP clients find it, while it is plugged in there.
    pub fn busid(&self) -> Option<String> {
        lock(&self.plug).busid.clone()
    }

    /// Whether it is plugged in.
    pub fn is_powered(&self) -> bool {
        lock(&self.plug).powered
    }

    /// Plugs it in, with everything as after power-up, or unplugs it: whoever has it attached sees it go, what was under
    /// way ends, and no door leads to it.
    ///
    /// # Errors
    /// There is no place for it any more; it stays unplugged.
    pub fn set_power(&self, powered: bool) -> Result<(), NoFreePlace> {
        if !powered {
            self.power_off();
            return Ok(());
        }
        let mut plug = lock(&self.plug);
        if !plug.powered {
            plug.busid =
                self.fleet.usbip.as_ref().map(|server| server.plug(self.device.clone())).transpose()?;
            plug.powered = true;
            self.device.set_power(true);
        }
        Ok(())
    }

    fn power_off(&self) {
        let mut plug = lock(&self.plug);
        plug.powered = false;
        if let (Some(server), Some(busid)) = (&self.fleet.usbip, plug.busid.take()) {
            server.unplug(&busid);
        }
        self.device.set_power(false);
    }

    /// Unplugs it and plugs it in again. One that is not plugged in stays so.
    pub fn replug(&self) {
        let plug = lock(&self.plug);
        if let (Some(server), Some(busid)) = (&self.fleet.usbip, &plug.busid) {
            server.replug(busid);
        }
        self.device.replug();
    }

    /// Forgets all credentials and the PIN, as authenticatorReset does, and replugs.
    pub fn reset(&self) -> Result<(), StoreError> {
        self.store.lock().reset()?;
        self.replug();
        Ok(())
    }
}

/// Takes the fingerprint sensor away: built-in verification is then always set up, and needs nobody to enrol.
pub fn without_sensor(configuration: &mut Configuration) {
    const SENSOR: [OptionId; 3] =
        [OptionId::BioEnroll, OptionId::UvBioEnroll, OptionId::UserVerificationMgmtPreview];
    configuration.options.retain(|option| !SENSOR.contains(option));
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
