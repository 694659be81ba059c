//! `doppelkey phone`: another device for `doppelkey bridge --phone`.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::time::Duration;

use clap::Args;
use doppelkey_core::Authenticator;
use getrandom::SysRng;
use rand_core::UnwrapErr;
use serde_json::json;
use zeroize::Zeroizing;

use super::hybrid::{AirOptions, patience};
use super::run::clock;
use super::signals::Signals;
use super::user_option::User;
use super::vault_options::VaultOptions;
use super::{Failure, print};
use crate::device::{Clock, Device, SharedStore};
use crate::hybrid::{Calls, Error, Operation, Phone, QrCode, Room};
use crate::private_file;
use crate::user_interface::typed;

/// Be a phone: scan the QR code of `doppelkey bridge --phone`, and answer in its place (hybrid transport)
///
/// Scans what is named, then whatever text of a code is pasted here, and answers desktops that it served before, which
/// call it without a code. There is no radio: who uses the same --air is near.
#[derive(Args)]
pub(super) struct Arguments {
    /// What a desktop shows: the text that begins with FIDO:/, or a picture of the QR code (PNG)
    #[arg(value_name = "CODE|FILE")]
    code: Option<String>,
    #[command(flatten)]
    vault: VaultOptions,
    /// Who answers when the user is asked
    #[arg(long, value_enum, default_value_t = User::Ask)]
    user: User,
    /// What desktops call it
    #[arg(long, default_value = "Doppelkey phone")]
    name: String,
    #[command(flatten)]
    air: AirOptions,
    /// Where its tunnel server listens; desktops call it at the same port again [default: 127.0.0.1:8420, or any free
    /// port]
    #[arg(long, value_name = "ADDR")]
    tunnel: Option<SocketAddr>,
    /// End when the code that is named has been served: with 0, or with 1 if it could not be
    #[arg(long, requires = "code")]
    once: bool,
    /// Print one line of JSON once it can be used
    #[arg(long)]
    json: bool,
}

const TUNNEL_PORT: u16 = 8420;
/// How long a phone says that it is near, in seconds.
const NEAR_S: u64 = 60;
/// How often it is looked whether a call has come.
const ATTENTION: Duration = Duration::from_secs(3600);

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        // A code that is none is said before the vault is opened.
        let code = self.code.as_deref().map(code).transpose()?;
        let clock = clock();
        let (phone, calls) = self.phone(&clock)?;
        let phone = Arc::new(phone);
        let signals = Signals::new()?;
        self.announce(&phone);
        if let (true, Some(code)) = (self.once, &code) {
            return serve_once(phone, code.clone(), clock, signals);
        }
        let (answering, at) = (Arc::clone(&phone), clock.clone());
        spawn("doppelkey-calls", move || answer_calls(&answering, &calls, &at))?;
        spawn("doppelkey-codes", move || scan_codes(&phone, code, &clock))?;
        signals.wait();
        Ok(())
    }

    fn phone(&self, clock: &Clock) -> Result<(Phone, Calls), Failure> {
        let root = match self.vault.ephemeral {
            true => random().map_err(|error| no_root(Path::new("memory"), &error))?,
            false => {
                let file = root_file(&self.vault.place()?);
                root(&file).map_err(|error| no_root(&file, &error))?
            }
        };
        let store = SharedStore::new(self.vault.open()?);
        let configuration = self.vault.for_its_circle(Phone::configuration())?;
        let user = self.user.interface();
        let device = Device::new(clock.clone(), user, move || {
            Box::new(Authenticator::new(store.clone(), UnwrapErr(SysRng), configuration.clone()))
        });
        let make = |address| {
            let authenticator = (device.clone(), clock.clone());
            Phone::new(authenticator, self.room(), &self.name, address, root.clone(), UnwrapErr(SysRng))
        };
        let usual = SocketAddr::from((Ipv4Addr::LOCALHOST, TUNNEL_PORT));
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        match self.tunnel {
            Some(address) => make(address).map_err(|error| (address, error)),
            None => make(usual).or_else(|_| make(any)).map_err(|error| (any, error)),
        }
        .map_err(|(address, error)| Failure::listen("the tunnel server", address, "--tunnel", &error))
    }

    fn room(&self) -> Room {
        self.air.room()
    }

    fn announce(&self, phone: &Phone) {
        let air = self.room();
        if self.json {
            let ready = json!({
                "ready": true,
                "tunnel": phone.address().to_string(),
                "air": air.folder().display().to_string(),
            });
            return print(&format!("{ready}\n"));
        }
        log::info!("tunnel server: {}; near: {}", phone.address(), air.folder().display());
        if !self.once {
            log::info!("paste the code of a desktop (FIDO:/…) and press Enter; end with Ctrl-C");
        }
    }
}

/// The code in a text, or in a picture of that name.
fn code(text: &str) -> Result<QrCode, Failure> {
    if let Some(code) = QrCode::parse(text) {
        return Ok(code);
    }
    let hint = "give the whole text that begins with FIDO:/, or a picture (PNG) with the code in it";
    let bytes = fs::read(text)
        .map_err(|error| Failure::new(format_args!("{text:.60} is no code, and no file: {error}"), hint))?;
    match QrCode::in_picture(&bytes) {
        Ok(Some(code)) => Ok(code),
        Ok(None) => Err(Failure::new(format_args!("there is no code of a desktop in {text}"), hint)),
        Err(error) => Err(Failure::new(format_args!("{text} is no picture: {error}"), hint)),
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    let spawned = thread::Builder::new().name(name.into()).spawn(run);
    spawned.map(drop).map_err(|error| {
        Failure::new(format_args!("cannot start a thread: {error}"), "check the limit on threads")
    })
}

fn scan_codes(phone: &Phone, named: Option<QrCode>, clock: &Clock) {
    let lines = typed();
    let pasted = lines.into_iter().filter(|line| !line.trim().is_empty());
    let told = pasted.map(|line| QrCode::parse(&line));
    for code in named.map(Some).into_iter().chain(told) {
        match code {
            Some(code) => told_of(serve_code(phone, &code, clock)),
            None => log::warn!("this is no code: paste the whole text that begins with FIDO:/"),
        }
    }
}

/// Serves one desktop, unless a signal ends it before.
fn serve_once(phone: Arc<Phone>, code: QrCode, clock: Clock, signals: Signals) -> Result<(), Failure> {
    let (done, served) = tokio::sync::oneshot::channel();
    // Whoever was to hear of it may have been ended.
    spawn("doppelkey-code", move || drop(done.send(serve_code(&phone, &code, &clock))))?;
    match signals.wait_or(served) {
        Some(Ok(served)) => served.map_err(|error| failure(&error)),
        Some(Err(_)) => Err(Failure::bug()),
        None => Ok(()),
    }
}

fn serve_code(phone: &Phone, code: &QrCode, clock: &Clock) -> Result<(), Error> {
    log::info!("scanned: a desktop wants to {}", wish(code.operation()));
    phone.scan(code, &patience(clock, NEAR_S))
}

fn answer_calls(phone: &Phone, calls: &Calls, clock: &Clock) {
    loop {
        match calls.next(ATTENTION) {
            Ok(call) => {
                log::info!("a desktop calls, and wants to {}", wish(call.operation()));
                told_of(phone.answer(&call, &patience(clock, NEAR_S)));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn wish(operation: Operation) -> &'static str {
    match operation {
        Operation::Create => "create a passkey",
        Operation::Get => "sign in",
    }
}

fn told_of(served: Result<(), Error>) {
    match served {
        Ok(()) => log::info!("done"),
        Err(error) => log::warn!("{}", failure(&error)),
    }
}

fn failure(error: &Error) -> Failure {
    let hint = match error {
        Error::GivenUp => "scan the code while it is shown, and use the same --air on both sides",
        Error::Closed => "the desktop gave up: let it show another code",
        Error::Room(_) => "name another folder with --air, the same one on both sides",
        Error::NotAuthentic => "let the desktop show another code, and scan that one",
        _ => "let the desktop show another code",
    };
    Failure::new(error, hint)
}

/// Where the secret is that links come from.
fn root_file(vault: &Path) -> PathBuf {
    let mut name = vault.as_os_str().to_owned();
    name.push(".phone");
    name.into()
}

/// The phone's root: 32 bytes that only this user reads. Whoever has them can be called in its place, which takes the
/// passkeys of nobody: those are in the vault.
fn root(file: &Path) -> io::Result<Zeroizing<[u8; 32]>> {
    match fs::read(file).map(Zeroizing::new) {
        Ok(bytes) => {
            let malformed = "it should hold 32 bytes";
            let bytes = bytes.as_slice().try_into();
            bytes.map(Zeroizing::new).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, malformed))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let root = random()?;
            if let Some(folder) = file.parent() {
                private_file::create_folder(folder)?;
            }
            private_file::create_whole(file, &*root)?;
            Ok(root)
        }
        Err(error) => Err(error),
    }
}

fn random() -> io::Result<Zeroizing<[u8; 32]>> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut()).map_err(io::Error::other)?;
    Ok(bytes)
}

fn no_root(file: &Path, error: &io::Error) -> Failure {
    Failure::new(
        format_args!("cannot have the phone's secret in {}: {error}", file.display()),
        "remove that file, and link desktops again by scanning; or use --ephemeral",
    )
}
