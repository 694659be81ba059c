//! `doppelkey bridge`: an authenticator for a browser, without USB.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::Args;
use doppelkey_core::Authenticator;
use rand_core::UnwrapErr;
use serde::Serialize;

use super::hybrid::DesktopOptions;
use super::run::clock;
use super::signals::Signals;
use super::user_option::User;
use super::vault_options::VaultOptions;
use super::{Failure, print};
use crate::bridge::{Folders, Server, Source};
use crate::client::without_sensor;
use crate::device::{Clock, Device, SharedStore};
use crate::vault::Vault;
use crate::{packets, usbip};

/// Let Chromium and Firefox use this authenticator, without USB, a kernel module or root
///
/// Opens the vault as `run` does, or leads to an authenticator that runs already, and writes the two small browser
/// extensions, which know where to find it.
#[derive(Args)]
pub(super) struct Arguments {
    /// Where the extensions find it: a port of 127.0.0.1
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Lead to the packets door of an authenticator that runs already
    #[arg(long, value_name = "ADDR", conflicts_with_all = ["usbip", "vault", "ephemeral", "custody", "user"])]
    packets: Option<packets::Address>,
    /// Lead to the first device of a USB/IP server, attached for each ceremony
    #[arg(long, value_name = "ADDR", conflicts_with_all = ["vault", "ephemeral", "custody", "user"])]
    usbip: Option<SocketAddr>,
    /// Show a QR code for each ceremony, and have the phone that scans it answer (`doppelkey phone`)
    #[arg(long, conflicts_with_all = ["packets", "usbip", "vault", "ephemeral", "custody", "user"])]
    phone: bool,
    #[command(flatten)]
    desktop: DesktopOptions,
    #[command(flatten)]
    vault: VaultOptions,
    /// Who answers when the user is asked
    #[arg(long, value_enum, default_value_t = User::Ask)]
    user: User,
    #[command(flatten)]
    extensions: ExtensionOptions,
    /// Print one line of JSON once it listens
    #[arg(long)]
    json: bool,
}

/// Where the extensions go: the same for every command with a bridge.
#[derive(Args, Debug)]
pub(super) struct ExtensionOptions {
    /// Where to write the browser extensions [default: browser/ beside the vault, NAME.browser/ beside one of another
    /// name; with --ephemeral a new folder, which goes with the bridge]
    #[arg(long, value_name = "DIR")]
    extensions: Option<PathBuf>,
}

impl ExtensionOptions {
    /// Writes the extensions, for this bridge to this vault, or to an authenticator elsewhere.
    pub(super) fn write(&self, server: &Server, vault: Option<&VaultOptions>) -> Result<Folders, Failure> {
        let under = match (&self.extensions, vault) {
            (Some(folder), _) => Some(folder.clone()),
            (None, Some(vault)) => vault.place_of_extensions()?,
            (None, None) => Some(extensions_of_this_user()?),
        };
        let written = match &under {
            Some(under) => Folders::write(under, server),
            None => Folders::write_for_now(server),
        };
        written.map_err(|error| {
            let under = under.unwrap_or_else(std::env::temp_dir);
            Failure::new(format_args!("cannot write the extensions to {}: {error}", under.display()), HINT)
        })
    }
}

/// Where the extensions of a bridge without a vault of its own are.
fn extensions_of_this_user() -> Result<PathBuf, Failure> {
    let vault = Vault::default_path()
        .map_err(|error| Failure::new(format_args!("there is no place for the extensions: {error}"), HINT))?;
    Ok(vault.with_file_name("browser"))
}

const HINT: &str = "name a folder that you may write to with --extensions DIR";

/// The extensions' manifests let them ask one host, and no other name or address of it: a bridge elsewhere, or one that
/// other machines can reach, would be asked by nobody who should.
pub(super) fn refuse_other_hosts(address: SocketAddr, flag: &str) -> Result<(), Failure> {
    if address.ip() == Ipv4Addr::LOCALHOST {
        return Ok(());
    }
    Err(Failure::new(
        format_args!("a bridge at {address} would be of no use: the browser extensions ask 127.0.0.1 only"),
        format_args!("say {flag} 127.0.0.1:{}", address.port()),
    ))
}

/// What a script reads to know that it can begin, and where.
#[derive(Serialize)]
struct Ready {
    ready: bool,
    bridge: String,
    token: String,
    chromium: PathBuf,
    firefox: PathBuf,
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        refuse_other_hosts(self.listen, "--listen")?;
        let source = self.source(&clock())?;
        let signals = Signals::new()?;
        let server = Server::bind(self.listen, source)
            .map_err(|error| Failure::listen("the bridge", self.listen, "--listen", &error))?;
        let is_elsewhere = self.phone || self.packets.is_some() || self.usbip.is_some();
        let folders = self.extensions.write(&server, (!is_elsewhere).then_some(&self.vault))?;
        self.announce(&server, &folders);
        signals.wait();
        Ok(())
    }

    fn source(&self, clock: &Clock) -> Result<Source, Failure> {
        if self.phone {
            return self.desktop.source(clock, self.json);
        }
        if let Some(address) = &self.packets {
            packets::client::connect(address).map_err(|error| {
                Failure::new(
                    format_args!("no packets door answers at {address}: {error}"),
                    "start one: doppelkey run --packets ADDR",
                )
            })?;
            return Ok(Source::packets(clock.clone(), address.clone()));
        }
        if let Some(address) = self.usbip {
            let unreachable = |error| {
                Failure::new(
                    format_args!("no USB/IP server answers at {address}: {error}"),
                    "start one: doppelkey run",
                )
            };
            let devices = usbip::client::devices(address).map_err(unreachable)?;
            let first = devices.into_iter().next().ok_or_else(|| {
                Failure::new(
                    format_args!("nothing is plugged in at {address}"),
                    "plug a device in: doppelkey run",
                )
            })?;
            return Ok(Source::usbip(clock.clone(), address, first.busid));
        }
        let store = SharedStore::new(self.vault.open()?);
        let user = self.user.interface();
        let configuration = self.vault.for_its_circle(without_sensor())?;
        let powered = store.clone();
        let device = Device::new(clock.clone(), user, move || {
            Box::new(Authenticator::new(powered.clone(), UnwrapErr(getrandom::SysRng), configuration.clone()))
        });
        Ok(Source::here(clock.clone(), device, store))
    }

    fn announce(&self, server: &Server, folders: &Folders) {
        if self.json {
            let ready = Ready {
                ready: true,
                bridge: format!("http://{}", server.address()),
                token: server.token().as_str().to_owned(),
                chromium: folders.chromium.clone(),
                firefox: folders.firefox.clone(),
            };
            // It has no map with keys other than text, the only thing that could fail.
            return print(&format!("{}\n", serde_json::to_string(&ready).expect("plain data")));
        }
        print(&format!(
            "\
The bridge is ready; end with Ctrl-C.

  Chromium:  chromium --load-extension={chromium}
             or, as in Google Chrome, which ignores this option: open chrome://extensions, switch
             Developer mode on, and choose Load unpacked
  Firefox:   open about:debugging#/runtime/this-firefox, choose Load Temporary Add-on, and pick
             {firefox}/manifest.json
",
            chromium = folders.chromium.display(),
            firefox = folders.firefox.display(),
        ));
        if self.phone {
            print(
                "\nWhat a page asks, a phone answers: a QR code is shown here each time, for `doppelkey phone` in \
                 another terminal.\n",
            );
        }
    }
}
