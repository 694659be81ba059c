//! What a desktop and a phone have in common on the command line: the air, and the desktop's screen.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use getrandom::SysRng;
use rand_core::UnwrapErr;
use serde_json::json;

use super::sync::wall_clock;
use super::{Failure, print, tell};
use crate::bridge::Source;
use crate::client;
use crate::device::Clock;
use crate::hybrid::{Desktop, Links, QrCode, Room, Screen};
use crate::private_file;
use crate::user_interface::visible;
use crate::vault::Vault;

/// Where phones and desktops hear each other.
#[derive(Args, Clone, Debug)]
pub(super) struct AirOptions {
    /// The folder that stands for Bluetooth: who uses the same one is near [default: this user's]
    #[arg(long, value_name = "DIR")]
    air: Option<PathBuf>,
}

impl AirOptions {
    pub(super) fn room(&self) -> Room {
        self.air.as_ref().map_or_else(Room::of_this_user, Room::new)
    }
}

/// How a desktop shows codes and what it remembers.
#[derive(Args, Clone, Debug)]
pub(super) struct DesktopOptions {
    #[command(flatten)]
    air: AirOptions,
    /// With --phone: write each QR code to this file, too (PNG)
    #[arg(long, value_name = "FILE", requires = "phone")]
    picture: Option<PathBuf>,
    /// With --phone: remember no phone, so that each ceremony shows a code
    #[arg(long, requires = "phone")]
    forget_phones: bool,
}

impl DesktopOptions {
    /// A desktop for each ceremony of a bridge.
    pub(super) fn source(&self, clock: &Clock, json: bool) -> Result<Source, Failure> {
        let room = self.air.room();
        let file = match self.forget_phones {
            true => None,
            false => Some(linked_phones()?),
        };
        // Said once, before the first ceremony finds it out.
        links(file.as_ref()).map_err(|error| {
            let place = file.clone().unwrap_or_default();
            let hint =
                "remove it: phones that it names are linked again by a QR code; or say --forget-phones";
            Failure::new(format_args!("cannot use {}: {error}", place.display()), hint)
        })?;
        let screen = TerminalScreen { json, picture: self.picture.clone() };
        let clocks = (clock.clone(), wall_clock());
        Ok(Source::phone(clock.clone(), move || {
            let links = links(file.as_ref()).map_err(client::Error::from)?;
            Ok(Desktop::new(room.clone(), screen.clone(), links, clocks.clone(), UnwrapErr(SysRng)))
        }))
    }
}

/// Where this user's are, in a folder that is there.
fn linked_phones() -> Result<PathBuf, Failure> {
    let directory = Vault::make_default_directory().map_err(|error| {
        Failure::new(
            format_args!("there is no place to remember phones: {error}"),
            "set HOME, or remember none: --forget-phones",
        )
    })?;
    Ok(directory.join("linked-phones.json"))
}

fn links(file: Option<&PathBuf>) -> io::Result<Links> {
    file.map_or_else(|| Ok(Links::in_memory()), |file| Links::load(file))
}

/// Codes on standard error, drawn; their text on standard output, for whoever scans by pasting.
#[derive(Clone)]
struct TerminalScreen {
    json: bool,
    picture: Option<PathBuf>,
}

impl Screen for TerminalScreen {
    fn show(&mut self, code: &QrCode) {
        if let Some(file) = &self.picture
            // For this user alone: whoever reads the code can answer as the phone.
            && let Err(error) = private_file::replace(file, &code.picture())
        {
            log::warn!("the picture of the code cannot be written to {}: {error}", file.display());
        }
        if self.json {
            return print(&format!("{}\n", json!({ "scan": code.to_string() })));
        }
        tell(&format!("{}\nScan this with a phone, or in another terminal:\n", code.drawn()));
        print(&format!("  doppelkey phone {code}\n"));
    }

    fn calling(&mut self, phone: &str) {
        if self.json {
            print(&format!("{}\n", json!({ "calling": phone })));
        } else {
            log::info!("calling {}: look at it", shown(phone));
        }
    }

    fn hide(&mut self) {
        if let Some(file) = &self.picture {
            // There is none after a call.
            let _ = fs::remove_file(file);
        }
    }
}

/// A name that a stranger may have chosen, fit for a terminal.
fn shown(name: &str) -> String {
    visible(name).chars().take(64).collect()
}

/// Whoever waits goes on until this much time has passed.
pub(super) fn patience(clock: &Clock, seconds: u64) -> impl Fn() -> bool + use<> {
    let (clock, until) = (Arc::clone(clock), clock() + std::time::Duration::from_secs(seconds));
    move || clock() < until
}
