//! A security key as a mailbox: Doppelkey's firmware keeps sealed entries behind a vendor command.
//!
//! The key is opened for each thing that is asked of it and closed again: it may be pulled out at any time, browsers use it
//! meanwhile, and a serial line serves one program at a time. A key that is away is a mailbox that cannot be reached:
//! what was to be put there is put once it is back.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ciborium::Value;
use doppelkey_ctaphid::MESSAGE_MAX;
use doppelkey_sync::command::CommandMailbox;
use doppelkey_sync::{Listing, Mailbox, Name, Order};
use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;

use crate::cbor::Map;
use crate::client::{Channel, Error, Limit, system_clock};
use crate::device::Connection;
use crate::hidraw::{self, Hidraw, UDEV_RULE};
use crate::packets::{self, Address};

/// The vendor command (CTAP §6: 0x40 to 0xBF are vendors'), sent by CTAPHID_CBOR.
const COMMAND: u8 = 0x53;
/// authenticatorGetInfo, and its member aaguid (§6.4).
const GET_INFO: u8 = 0x04;
const GET_INFO_AAGUID: i64 = 0x03;
/// CTAP1_ERR_INVALID_COMMAND (§8.2).
const INVALID_COMMAND: u8 = 0x01;
/// How long the key may take for one answer; it waits while somebody touches it for a sign-in.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the user has to touch the key.
const TOUCH: Duration = Duration::from_secs(30);
/// What takes every entry away: after the three of `doppelkey-sync`'s.
const CLEAR: u8 = 4;
/// CTAP2_ERR_KEEPALIVE_CANCEL, CTAP2_ERR_USER_ACTION_TIMEOUT (§8.2).
const NOT_TOUCHED: [u8; 2] = [0x2d, 0x2f];
/// The longest entry that the firmware takes.
const ENTRY_MAX: usize = 4096;

/// Where a key is: what comes after `key:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPlace {
    /// Whichever of Doppelkey's is plugged in: nothing.
    Any,
    /// `/dev/hidraw3`, or a name that udev gave it.
    Device(PathBuf),
    /// A board's serial line or a packets door: `127.0.0.1:3241` or `unix:PATH`.
    Packets(Address),
}

impl FromStr for KeyPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" => Ok(KeyPlace::Any),
            _ if text.starts_with('/') => Ok(KeyPlace::Device(text.into())),
            _ => text.parse().map(KeyPlace::Packets),
        }
    }
}

impl fmt::Display for KeyPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyPlace::Any => f.write_str("key:"),
            KeyPlace::Device(path) => write!(f, "key:{}", path.display()),
            KeyPlace::Packets(address) => write!(f, "key:{address}"),
        }
    }
}

/// Takes every entry off a key, once the user has touched it.
///
/// # Errors
/// The key's and its transport's; [`TimedOut`](io::ErrorKind::TimedOut) if nobody touched it.
pub fn clear(place: &KeyPlace) -> io::Result<()> {
    let mut channel = KeyMailbox::new(place.clone()).open()?;
    let until = channel.now() + TOUCH;
    let answer =
        channel.raw_cbor(&[COMMAND, CLEAR], &Limit { until: Some(until), abort: None }).map_err(failed)?;
    match *answer {
        [0, 0] => Ok(()),
        [status] if NOT_TOUCHED.contains(&status) => {
            Err(io::Error::new(io::ErrorKind::TimedOut, "nobody touched the key"))
        }
        [INVALID_COMMAND] => Err(keeps_none()),
        _ => Err(io::Error::other(format!("the key answers {answer:02x?}"))),
    }
}

/// What to do where a key may not be opened.
pub fn permission_hint() -> String {
    format!(
        "let whoever sits here use security keys: write {UDEV_RULE} into /etc/udev/rules.d/70-doppelkey-keys.rules, and \
         plug the key in anew"
    )
}

/// The mailbox that a key is.
pub struct KeyMailbox {
    place: KeyPlace,
    /// Where the key was that kept entries, if any may be it.
    known: Option<PathBuf>,
}

impl KeyMailbox {
    /// Does not look for it yet.
    pub fn new(place: KeyPlace) -> Self {
        KeyMailbox { place, known: None }
    }

    /// Lends the key, open.
    fn with<T>(&mut self, work: impl FnOnce(&mut dyn Mailbox) -> io::Result<T>) -> io::Result<T> {
        let mut channel = self.open()?;
        work(&mut CommandMailbox::new(|request: &[u8]| ask(&mut channel, request), MESSAGE_MAX - 1))
    }

    fn open(&mut self) -> io::Result<Channel> {
        match &self.place {
            KeyPlace::Any => self.search(),
            KeyPlace::Device(path) => channel(Hidraw::open(path)?),
            KeyPlace::Packets(address) => channel(packets::client::connect(address)?),
        }
    }

    /// The first key of Doppelkey's that keeps entries. Other keys are asked who they are, and no more: what their vendors
    /// mean by the command's number is unknown.
    fn search(&mut self) -> io::Result<Channel> {
        let mut refused = None;
        for path in hidraw::keys()? {
            let opened = Hidraw::open(&path).and_then(channel).and_then(|mut channel| {
                let is_known = self.known.as_ref() == Some(&path);
                let keeps = is_doppelkey(&mut channel)? && (is_known || keeps_entries(&mut channel)?);
                Ok(keeps.then_some(channel))
            });
            match opened {
                Ok(Some(channel)) => {
                    self.known = Some(path);
                    return Ok(channel);
                }
                Ok(None) => {}
                Err(error) => {
                    refused = Some(io::Error::new(error.kind(), format!("{}: {error}", path.display())))
                }
            }
        }
        self.known = None;
        Err(refused.unwrap_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, "no key that keeps entries is plugged in")
        }))
    }
}

impl Mailbox for KeyMailbox {
    /// Another device may have another key in the place of this one: their histories are not to be compared.
    fn order(&self) -> Order {
        Order::Private
    }

    /// As a stick: it may be in the computer when that is lost. One that lies in a drawer keeps everything, too, and with the
    /// recovery key brings it back; but nobody can tell where it will be.
    fn is_near(&self) -> bool {
        true
    }

    fn put(&mut self, name: Name, bytes: &[u8]) -> io::Result<()> {
        self.with(|key| key.put(name, bytes)).map_err(|error| match error.kind() {
            io::ErrorKind::StorageFull if bytes.len() > ENTRY_MAX => {
                let what = format!("an entry of {} bytes is too long for a key", bytes.len());
                io::Error::new(io::ErrorKind::FileTooLarge, what)
            }
            io::ErrorKind::StorageFull => {
                io::Error::new(error.kind(), "the key has no room for more entries")
            }
            _ => error,
        })
    }

    fn list(&mut self, since: u64) -> io::Result<Listing> {
        self.with(|key| key.list(since))
    }

    fn get(&mut self, name: Name) -> io::Result<Option<Vec<u8>>> {
        self.with(|key| key.get(name))
    }
}

fn channel(connection: impl Connection + 'static) -> io::Result<Channel> {
    Channel::open(Box::new(connection), system_clock(), &mut UnwrapErr(SysRng)).map_err(failed)
}

/// One request and its answer, without the command's byte and the status.
fn ask(channel: &mut Channel, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut answer = transact(channel, &[&[COMMAND], request].concat())?;
    match answer.first() {
        Some(0) => Ok(answer.split_off(1)),
        Some(&INVALID_COMMAND) => Err(keeps_none()),
        Some(status) => Err(io::Error::other(format!("the key answers with CTAP status 0x{status:02x}"))),
        None => Err(io::Error::new(io::ErrorKind::InvalidData, "the key answers nothing")),
    }
}

fn keeps_none() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "this key keeps no entries")
}

fn transact(channel: &mut Channel, request: &[u8]) -> io::Result<Vec<u8>> {
    let until = channel.now() + PATIENCE;
    channel.raw_cbor(request, &Limit { until: Some(until), abort: None }).map_err(failed)
}

fn is_doppelkey(channel: &mut Channel) -> io::Result<bool> {
    let answer = transact(channel, &[GET_INFO])?;
    let info = answer.strip_prefix(&[0]).and_then(|map| Map::decode(map).ok());
    let aaguid = info.and_then(|info| info.get(GET_INFO_AAGUID).and_then(Value::as_bytes).cloned());
    Ok(aaguid.is_some_and(|aaguid| aaguid == doppelkey_core::AAGUID))
}

/// Whether it answers a list of what comes after everything. A `doppelkey run` that is plugged in here does not.
fn keeps_entries(channel: &mut Channel) -> io::Result<bool> {
    let after_all = [&[2], &u64::MAX.to_be_bytes()[..]].concat();
    match ask(channel, &after_all) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(false),
        Err(error) => Err(error),
    }
}

fn failed(error: Error) -> io::Error {
    match error {
        Error::Disconnected(error) => error,
        Error::TimedOut => io::Error::new(io::ErrorKind::TimedOut, "the key does not answer"),
        other => {
            io::Error::new(io::ErrorKind::InvalidData, format!("what is there is no security key: {other}"))
        }
    }
}
