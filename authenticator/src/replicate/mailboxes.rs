//! Where mailboxes are, and how to reach them.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use doppelkey_sync::relay::{RelayClient, RelayUrl};
use doppelkey_sync::{CircleId, Folder, Listing, LogId, Mailbox, Name, Order, Replica};
use getrandom::rand_core::Rng as _;

use super::{Random, ReplicateError, random};
use crate::key_mailbox::{KeyMailbox, KeyPlace};
use crate::text::hex;

/// A mailbox: `folder:PATH`, `key:` and where it is, or a relay's URL (with `#TOKEN` once the relay knows this device).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A folder that something else carries.
    Folder(PathBuf),
    /// A security key with Doppelkey's firmware.
    Key(KeyPlace),
    /// A relay that does not know this device yet.
    Relay(String),
    /// A relay, and the token that opens the circle there.
    Opened(RelayUrl),
}

impl FromStr for Place {
    type Err = ReplicateError;

    fn from_str(text: &str) -> Result<Self, ReplicateError> {
        if let Some(path) = text.strip_prefix("folder:") {
            let path =
                std::path::absolute(path).map_err(|error| ReplicateError::Mailbox(text.to_owned(), error))?;
            return Ok(Place::Folder(path));
        }
        if let Some(place) = text.strip_prefix("key:") {
            return place.parse().map(Place::Key).map_err(|_| ReplicateError::NoPlace(text.to_owned()));
        }
        match RelayUrl::parse(text) {
            Some(url) => Ok(Place::Opened(url)),
            None if text.starts_with("http://") || text.starts_with("https://") => {
                Ok(Place::Relay(text.to_owned()))
            }
            None => Err(ReplicateError::NoPlace(text.to_owned())),
        }
    }
}

/// Without the token.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Folder(path) => write!(f, "folder:{}", path.display()),
            Place::Key(place) => place.fmt(f),
            Place::Relay(url) => f.write_str(url),
            Place::Opened(url) => f.write_str(url.base()),
        }
    }
}

impl Place {
    /// With the token: for the sync file and for an invitation.
    pub fn to_text(&self) -> String {
        match self {
            Place::Opened(url) => url.to_text(),
            other => other.to_string(),
        }
    }

    /// Several, one a line: for the sync file and for an invitation.
    pub fn list_text(places: &[Place]) -> String {
        places.iter().map(|place| place.to_text() + "\n").collect()
    }

    /// Reads such a list.
    ///
    /// # Errors
    /// [`ReplicateError::NoPlace`].
    pub fn parse_list(text: &str) -> Result<Vec<Place>, ReplicateError> {
        text.lines().map(str::parse).collect()
    }

    /// Whether this is the same mailbox, however its address is written, and whatever token is with it.
    pub fn is_same_as(&self, other: &Place) -> bool {
        match (self.base(), other.base()) {
            (Some(one), Some(other)) => one == other,
            _ => self == other,
        }
    }

    /// Whether it is a relay: known here, or not yet.
    pub fn is_relay(&self) -> bool {
        self.base().is_some()
    }

    /// Where a relay is.
    fn base(&self) -> Option<String> {
        match self {
            Place::Relay(base) => Some(RelayUrl::new(base, "").base().to_owned()),
            Place::Opened(url) => Some(url.base().to_owned()),
            Place::Folder(_) | Place::Key(_) => None,
        }
    }

    /// The relay here, if it knows this device.
    pub fn relay(&self, circle: CircleId) -> Option<RelayClient> {
        match self {
            Place::Opened(url) => Some(RelayClient::new(url.clone(), circle)),
            _ => None,
        }
    }

    /// Connects, for the first time: a folder is made, and a key must be there and keep entries.
    pub fn connect(&self, circle: CircleId) -> Result<Box<dyn Mailbox>, ReplicateError> {
        let failed = |error| ReplicateError::Mailbox(self.to_string(), error);
        match self {
            Place::Folder(path) => drop(Folder::open(path).map_err(failed)?),
            Place::Key(place) => drop(KeyMailbox::new(place.clone()).list(u64::MAX).map_err(failed)?),
            _ => {}
        }
        self.reconnect(circle)
    }

    /// Connects to what may be away: that is found out when it is used.
    pub(crate) fn reconnect(&self, circle: CircleId) -> Result<Box<dyn Mailbox>, ReplicateError> {
        let failed = |error| ReplicateError::Mailbox(self.to_string(), error);
        Ok(match self {
            Place::Folder(path) => Box::new(LaterFolder { path: path.clone(), folder: None }),
            Place::Key(place) => Box::new(KeyMailbox::new(place.clone())),
            Place::Opened(url) => Box::new(RelayClient::new(url.clone(), circle)),
            Place::Relay(_) => return Err(failed(io::Error::other("the relay does not know this device"))),
        })
    }

    /// What a newcomer is to be told: for a relay, with a token of its own, that `label` names there.
    /// It ends by itself.
    pub fn for_newcomer(
        &self,
        circle: CircleId,
        label: &str,
        stay: Duration,
    ) -> Result<Place, ReplicateError> {
        let (Some(relay), Place::Opened(url)) = (self.relay(circle), self) else { return Ok(self.clone()) };
        let token = new_token();
        let let_in = relay.let_in_for(label, &token, stay);
        let_in.map_err(|error| ReplicateError::Mailbox(self.to_string(), error))?;
        Ok(Place::Opened(RelayUrl::new(url.base(), &token)))
    }
}

/// Each mailbox once, in the order in which they come: at a relay that is named twice one token would take the place of the
/// other, and what is there twice would count as two.
pub fn distinct(places: &[Place]) -> Vec<Place> {
    let mut distinct: Vec<Place> = Vec::new();
    for place in places {
        if !distinct.iter().any(|known| known.is_same_as(place)) {
            distinct.push(place.clone());
        }
    }
    distinct
}

pub(super) fn connect(places: &[Place], circle: CircleId) -> Result<Vec<Box<dyn Mailbox>>, ReplicateError> {
    places.iter().map(|place| place.reconnect(circle)).collect()
}

/// A folder that may be away, with the stick or the network drive it is on: it is not made anew in its place.
struct LaterFolder {
    path: PathBuf,
    folder: Option<Folder>,
}

impl LaterFolder {
    fn folder(&mut self) -> io::Result<&mut Folder> {
        if !self.path.is_dir() {
            let kind =
                if self.path.exists() { io::ErrorKind::NotADirectory } else { io::ErrorKind::NotFound };
            return Err(io::Error::new(kind, "the folder is not there"));
        }
        match &mut self.folder {
            Some(folder) => Ok(folder),
            none => Ok(none.insert(Folder::open(&self.path)?)),
        }
    }
}

impl Mailbox for LaterFolder {
    fn order(&self) -> Order {
        Order::Private
    }

    /// Also on a stick: it may be in the computer when that is lost.
    fn is_near(&self) -> bool {
        true
    }

    fn put(&mut self, name: Name, bytes: &[u8]) -> io::Result<()> {
        self.folder()?.put(name, bytes)
    }

    fn list(&mut self, since: u64) -> io::Result<Listing> {
        self.folder()?.list(since)
    }

    fn get(&mut self, name: Name) -> io::Result<Option<Vec<u8>>> {
        self.folder()?.get(name)
    }
}

/// What a relay calls the token that opened a circle.
const FOUNDING_TOKEN: &str = "founder";

/// Opens this circle at each relay, and sees that what else is named is there. What was done half may be done again with the
/// same replica.
pub(super) fn open_circle(places: &[Place], replica: &Replica<Random>) -> Result<Vec<Place>, ReplicateError> {
    let open = |place: &Place| {
        let Place::Relay(base) = place else {
            return place.connect(replica.circle()).map(|_| place.clone());
        };
        let failed = |error| ReplicateError::Mailbox(place.to_string(), error);
        // The same token at each try: whatever answer is lost, the next try finds its own circle and goes on.
        let url = RelayUrl::new(base, "");
        let token = replica.relay_token(url.base());
        let url = RelayUrl::new(base, &token);
        let relay = RelayClient::new(url.clone(), replica.circle());
        relay.open().map_err(failed)?;
        // By its log's name others can shut this device out; by the first token's, nobody thinks of it.
        relay.let_in(&label(replica.log()), &token).map_err(failed)?;
        relay.shut_out(FOUNDING_TOKEN).map_err(failed)?;
        Ok(Place::Opened(url))
    };
    distinct(places).iter().map(open).collect()
}

/// As [`settle_in`], at all of a newcomer's mailboxes. One that cannot be reached now is left out, and it is said; not if
/// it is the first, by which the newcomer came. Nobody else settles there by the invitation in its place: a relay has a guest
/// prove that the name is its own.
pub(super) fn settle_everywhere(
    places: Vec<Place>,
    replica: &Replica<Random>,
) -> Result<Vec<Place>, ReplicateError> {
    let mut settled = Vec::new();
    for place in places {
        let name = place.to_string();
        match settle_in(place, replica) {
            Ok(place) => settled.push(place),
            Err(error) if settled.is_empty() => return Err(error),
            Err(error) => log::warn!("{error}; this device goes on without {name}"),
        }
    }
    Ok(settled)
}

/// Exchanges a token that others know (an invitation's) for one that only this device has, under its log's name, so
/// that any member can shut it out.
pub(super) fn settle_in(place: Place, replica: &Replica<Random>) -> Result<Place, ReplicateError> {
    let Some(relay) = place.relay(replica.circle()) else { return Ok(place) };
    let Place::Opened(url) = &place else { return Ok(place) };
    let failed = |error| ReplicateError::Mailbox(place.to_string(), error);
    let token = new_token();
    relay.let_self_in(replica, &token).map_err(failed)?;
    Ok(Place::Opened(RelayUrl::new(url.base(), &token)))
}

/// What a device's token is called at a relay.
pub fn label(log: LogId) -> String {
    log.to_string()
}

pub(super) fn new_token() -> String {
    let mut bytes = [0; 16];
    random().fill_bytes(&mut bytes);
    hex(&bytes)
}
