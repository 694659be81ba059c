//! `doppelkey run`: the authenticator.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use clap::{Args, ValueEnum};
use doppelkey_core::{Configuration, Faults};
use serde::Serialize;

use super::attach::attach_command;
use super::bridge::{ExtensionOptions, refuse_other_hosts};
use super::kernel::KernelOptions;
use super::signals::Signals;
use super::sync::wall_clock;
use super::user_option::at_this_terminal;
use super::vault_options::VaultOptions;
use super::{Failure, print};
use crate::control::{self, BrowserDriver, ControlledUser, Fleet, Habits, Manner, Setup};
use crate::device::{Clock, Observed, OnAssertion, SharedStore};
use crate::persona::{Authority, Persona};
use crate::replicate::{Change, Replication, Service, Teller, tell_farewells_in_background};
use crate::user_interface::UserInterface;
use crate::vault::{CustodyKind, Vault};
use crate::{bridge, packets, usbip};

/// Run an authenticator: plug it in with `doppelkey attach`, over USB/IP, or through another door
///
/// Runs until SIGINT, SIGTERM or SIGHUP; then it finishes the write in hand, closes its doors and exits with 0.
#[derive(Args)]
pub(super) struct Arguments {
    /// Where to offer the devices over USB/IP, or off
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3240")]
    usbip: OrOff<SocketAddr>,
    /// Where to exchange raw 64-byte CTAPHID packets with the first device: an address, unix:PATH, or off
    #[arg(long, value_name = "ADDR", default_value = "off")]
    packets: OrOff<packets::Address>,
    /// Where to offer the control port (HTTP, with a token), or off
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    control: OrOff<SocketAddr>,
    /// Forward WebDriver sessions at the control port to this driver (chromedriver); their virtual authenticators are
    /// ours
    #[arg(long, value_name = "URL", requires = "bridge")]
    webdriver: Option<String>,
    #[command(flatten)]
    kernel: KernelOptions,
    /// Where browsers' extensions find the first device, or the one that was added since, without USB: a port of
    /// 127.0.0.1, or off
    #[arg(long, value_name = "ADDR", default_value = "off")]
    bridge: OrOff<SocketAddr>,
    #[command(flatten)]
    extensions: ExtensionOptions,
    /// Where to meet the sync circle's other devices on the local network, without a mailbox: an address, or off
    #[arg(long, value_name = "ADDR", default_value = "off")]
    lan: OrOff<SocketAddr>,
    /// Another device of the circle that multicast does not find, by its --lan address
    #[arg(long, value_name = "ADDR", requires = "lan")]
    peer: Vec<SocketAddr>,
    /// How many devices; each has a vault of its own (PATH, PATH.2, …)
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    devices: u32,
    #[command(flatten)]
    vault: VaultOptions,
    /// Who answers when the user is asked
    #[arg(long, value_enum, default_value_t = User::Ask)]
    user: User,
    /// A fingerprint sensor, on or off: with it the user can be verified once a fingerprint is enrolled; without it,
    /// whoever answers is verified [default: on with --user control, else off]
    #[arg(long, value_name = "on|off", value_parser = ["on", "off"])]
    sensor: Option<String>,
    /// How long the user takes to answer, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0)]
    user_delay_ms: u64,
    /// What the devices pretend to be: a name of `doppelkey persona list`, or a TOML file
    #[arg(long, value_name = "NAME|FILE")]
    persona: Option<String>,
    /// Listen on addresses that other machines can reach
    #[arg(long)]
    allow_remote: bool,
    /// Print one line of JSON once everything listens
    #[arg(long)]
    json: bool,
}

/// Who the user is.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum User {
    /// You, at this terminal
    Ask,
    /// Somebody who approves everything at once, verified
    Auto,
    /// Somebody who refuses everything at once
    Deny,
    /// Whoever uses the control port
    Control,
}

/// An address, or `off`.
#[derive(Clone, Debug)]
enum OrOff<T> {
    Off,
    On(T),
}

impl<T: FromStr> FromStr for OrOff<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(OrOff::Off),
            _ => text
                .parse()
                .map(OrOff::On)
                .map_err(|_| "expected an address with a port, such as 127.0.0.1:0, or off".into()),
        }
    }
}

/// What a script reads to know that it can begin, and where.
#[derive(Serialize)]
struct Ready {
    ready: bool,
    usbip: Option<String>,
    busids: Vec<String>,
    packets: Option<String>,
    control: Option<String>,
    token: Option<String>,
    vault: String,
    custody: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    bridge: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chromium: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    firefox: Option<PathBuf>,
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        self.refuse_remote()?;
        let persona = self.persona()?;
        // The vaults first: whoever finds a door open finds the devices behind it.
        let vaults =
            (1..=self.devices).map(|number| self.vault.open_number(number)).collect::<Result<Vec<_>, _>>()?;
        let signals = Signals::new()?;
        let custody = vaults.first().map_or(CustodyKind::Ephemeral, Vault::custody);
        let usbip = self.usbip()?;
        let usbip_address = usbip.as_ref().map(|server| server.address().to_string());
        let fleet = Fleet::new(clock(), usbip);
        let mut sync = Vec::new();
        for (number, vault) in (1..).zip(vaults) {
            let (setup, service) = self.setup(number, vault, persona.as_ref())?;
            fleet.add(setup)?;
            sync.extend(service);
        }
        let packets = self.packets(&fleet)?;
        let bridge = self.bridge(&fleet)?;
        let folders =
            bridge.as_ref().map(|server| self.extensions.write(server, Some(&self.vault))).transpose()?;
        let control = self.control(&fleet, folders.as_ref())?;
        let _kernel = self.kernel.open(&fleet)?;
        let ready = Ready {
            ready: true,
            usbip: usbip_address,
            busids: fleet.members().iter().filter_map(|member| member.busid()).collect(),
            packets: packets.as_ref().map(|server| server.address().to_string()),
            control: control.as_ref().map(control::Server::url),
            token: control.as_ref().map(|server| server.token().as_str().to_owned()),
            vault: self.vault.place()?.display().to_string(),
            custody: custody.to_string(),
            bridge: bridge.as_ref().map(|server| format!("http://{}", server.address())),
            chromium: folders.as_ref().map(|folders| folders.chromium.clone()),
            firefox: folders.as_ref().map(|folders| folders.firefox.clone()),
        };
        self.announce(&ready);
        signals.wait();
        Ok(())
    }

    fn persona(&self) -> Result<Option<Persona>, Failure> {
        let Some(name) = &self.persona else { return Ok(None) };
        Ok(Some(Persona::load(name, &Authority::of_this_user()?)?))
    }

    /// A device, and what keeps its vault in step with other devices, if it takes part in a circle.
    fn setup(
        &self,
        number: u32,
        mut vault: Vault,
        persona: Option<&Persona>,
    ) -> Result<(Setup, Option<Service>), Failure> {
        let mut configuration = self.configuration(persona);
        let path = self.vault.place_of(number)?;
        if !self.vault.ephemeral {
            tell_farewells_in_background(path.clone());
        }
        let mut on_assertion: Option<OnAssertion> = None;
        let (store, service) = if !self.vault.ephemeral && Replication::is_set_up(&path) {
            let mut replication = Replication::load(&mut vault, &path)?;
            // Passkeys of this device may be copied; whether they are, sync says of each.
            (configuration.backup_eligible, configuration.backup_state) = (true, false);
            let (tell, changes) = Service::channel();
            self.meet_on_lan(&mut replication, tell.clone())?;
            on_assertion = Some(Service::on_assertion(tell.clone()));
            let store = SharedStore::new(Observed::new(vault, Teller::new(tell.clone())));
            let service = Service::start(replication, store.clone(), (tell, changes), wall_clock());
            (store, Some(service))
        } else {
            if let OrOff::On(address) = self.lan {
                log::warn!(
                    "{} is in no circle: there is nobody to meet at {address}; begin one with `doppelkey sync init`, or \
                     enter another device's with `doppelkey sync join`",
                    path.display()
                );
            }
            (SharedStore::new(vault), None)
        };
        let setup = Setup {
            configuration,
            store,
            user: self.user(),
            persona: persona.map_or_else(|| "doppelkey".into(), |persona| persona.name.clone()),
            on_assertion,
        };
        Ok((setup, service))
    }

    fn meet_on_lan(&self, replication: &mut Replication, tell: Sender<Change>) -> Result<(), Failure> {
        let OrOff::On(address) = self.lan else { return Ok(()) };
        if !address.ip().is_loopback() {
            log::warn!(
                "{address} can be reached by other machines; none but those of the circle is told anything"
            );
        }
        let listening = replication
            .meet_on_lan(address, &self.peer, tell)
            .map_err(|error| Failure::listen("the local network", address, "--lan", &error))?;
        log::info!("meets its circle's other devices at {listening}");
        Ok(())
    }

    fn configuration(&self, persona: Option<&Persona>) -> Configuration {
        let mut configuration =
            persona.map_or_else(Configuration::default, |persona| persona.configuration.clone());
        // Each device has faults of its own: a configuration's clones share them.
        configuration.faults = Faults::default();
        let has_sensor = match self.sensor.as_deref() {
            None if persona.is_some_and(|persona| persona.profile.options.is_some()) => true,
            None => matches!(self.user, User::Control),
            Some(sensor) => sensor == "on",
        };
        if !has_sensor {
            // Verification that is not set up is worse than none for many clients: they refuse, or ask for a PIN.
            control::without_sensor(&mut configuration);
        }
        configuration
    }

    fn user(&self) -> ControlledUser {
        let (manner, person) = match self.user {
            User::Ask => (Manner::Ask, Some(Box::new(at_this_terminal()) as Box<dyn UserInterface>)),
            User::Auto => (Manner::Auto, None),
            User::Deny => (Manner::Deny, None),
            User::Control => (Manner::Control, None),
        };
        let habits = Habits { manner, delay_ms: self.user_delay_ms, ..Habits::default() };
        ControlledUser::new(habits, person)
    }

    fn usbip(&self) -> Result<Option<usbip::Server>, Failure> {
        let OrOff::On(address) = self.usbip else { return Ok(None) };
        let server = usbip::Server::bind(address)
            .map_err(|error| Failure::listen("USB/IP", address, "--usbip", &error))?;
        Ok(Some(server))
    }

    fn packets(&self, fleet: &Fleet) -> Result<Option<packets::Server>, Failure> {
        let members = fleet.members();
        let (OrOff::On(address), [first, ..]) = (&self.packets, &*members) else { return Ok(None) };
        let server = packets::Server::bind(address, first.device().clone())
            .map_err(|error| Failure::listen("packets", address, "--packets", &error))?;
        Ok(Some(server))
    }

    fn control(
        &self,
        fleet: &Fleet,
        folders: Option<&bridge::Folders>,
    ) -> Result<Option<control::Server>, Failure> {
        let OrOff::On(address) = self.control else { return Ok(None) };
        let browser = self.webdriver.clone().zip(folders);
        let browser =
            browser.map(|(url, folders)| BrowserDriver { url, extension: folders.chromium.clone() });
        let server = control::Server::before_browser(address, fleet.clone(), browser)
            .map_err(|error| Failure::listen("the control port", address, "--control", &error))?;
        Ok(Some(server))
    }

    fn bridge(&self, fleet: &Fleet) -> Result<Option<bridge::Server>, Failure> {
        let members = fleet.members();
        let (OrOff::On(address), [first, ..]) = (&self.bridge, &*members) else { return Ok(None) };
        let (fleet, first, begun) = (fleet.clone(), Arc::clone(first), members.len());
        let source = bridge::Source::fleet(clock(), move || {
            // A test that adds an authenticator means that one.
            let added = fleet.members().get(begun..).and_then(|added| added.last().cloned());
            let member = added.unwrap_or_else(|| Arc::clone(&first));
            (member.device().clone(), member.store().clone())
        });
        let server = bridge::Server::bind(*address, source)
            .map_err(|error| Failure::listen("the bridge", address, "--bridge", &error))?;
        Ok(Some(server))
    }

    /// Whoever reaches a door can use the passkeys behind it.
    fn refuse_remote(&self) -> Result<(), Failure> {
        let usbip = match &self.usbip {
            OrOff::On(address) => Some(*address),
            OrOff::Off => None,
        };
        let packets = match &self.packets {
            OrOff::On(packets::Address::Tcp(address)) => Some(*address),
            _ => None,
        };
        let control = match &self.control {
            OrOff::On(address) => Some(*address),
            OrOff::Off => None,
        };
        if let OrOff::On(address) = self.bridge {
            refuse_other_hosts(address, "--bridge")?;
        }
        let Some(remote) = [usbip, packets, control].into_iter().flatten().find(|at| !at.ip().is_loopback())
        else {
            return Ok(());
        };
        if self.allow_remote {
            log::warn!(
                "{remote} can be reached by other machines, and whoever reaches it can use the passkeys"
            );
            return Ok(());
        }
        Err(Failure::new(
            format_args!(
                "{remote} can be reached by other machines, and whoever reaches it can use the passkeys"
            ),
            "listen on 127.0.0.1, or say --allow-remote if that is what you want",
        ))
    }

    fn announce(&self, ready: &Ready) {
        if self.json {
            // It has no map with keys other than text, the only thing that could fail.
            let line = serde_json::to_string(ready).expect("plain data");
            return print(&format!("{line}\n"));
        }
        log::info!("vault: {} (key: {})", ready.vault, ready.custody);
        if let Some(usbip) = &ready.usbip {
            log::info!("USB/IP: {usbip}, bus ids {}", ready.busids.join(", "));
            log::info!("to plug it into this Linux: sudo {}", attach_command(usbip));
        }
        if let Some(packets) = &ready.packets {
            log::info!("packets: {packets}");
        }
        if let (Some(control), Some(token)) = (&ready.control, &ready.token) {
            log::info!("control: {control}/t/{token}/");
        }
        if let (Some(chromium), Some(firefox)) = (&ready.chromium, &ready.firefox) {
            log::info!("browser extensions: {} and {}", chromium.display(), firefox.display());
        }
        log::info!("ready; end with Ctrl-C");
    }
}

/// The one clock of the program.
#[expect(clippy::disallowed_methods, reason = "the program is composed here")]
pub(super) fn clock() -> Clock {
    let start = std::time::Instant::now();
    Arc::new(move || start.elapsed())
}
