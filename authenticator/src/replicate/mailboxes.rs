//! Where mailboxes are, and how to reach them.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;

use doppelkey_sync::relay::{RelayClient, RelayUrl};
use doppelkey_sync::{CircleId, Folder, LogId, Mailbox, Replica};
use getrandom::rand_core::Rng as _;

use super::{Random, ReplicateError, random};

/// A mailbox: `folder:PATH`, or a relay's URL (with `#TOKEN` once the relay knows this device).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A folder that something else carries.
    Folder(PathBuf),
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

    pub(super) fn list_text(places: &[Place]) -> String {
        places.iter().map(|place| place.to_text() + "\n").collect()
    }

    pub(super) fn parse_list(text: &str) -> Result<Vec<Place>, ReplicateError> {
        text.lines().map(str::parse).collect()
    }

    /// The relay here, if it is one.
    pub fn relay(&self, circle: CircleId) -> Option<RelayClient> {
        match self {
            Place::Opened(url) => Some(RelayClient::new(url.clone(), circle)),
            _ => None,
        }
    }

    /// Connects.
    pub fn connect(&self, circle: CircleId) -> Result<Box<dyn Mailbox>, ReplicateError> {
        let failed = |error| ReplicateError::Mailbox(self.to_string(), error);
        Ok(match self {
            Place::Folder(path) => Box::new(Folder::open(path).map_err(failed)?),
            Place::Opened(url) => Box::new(RelayClient::new(url.clone(), circle)),
            Place::Relay(_) => return Err(failed(io::Error::other("the relay does not know this device"))),
        })
    }

    /// What a newcomer is to be told: for a relay, with a token of its own, that `label` names there.
    pub fn for_newcomer(&self, circle: CircleId, label: &str) -> Result<String, ReplicateError> {
        let Some(relay) = self.relay(circle) else { return Ok(self.to_text()) };
        let token = new_token();
        relay.let_in(label, &token).map_err(|error| ReplicateError::Mailbox(self.to_string(), error))?;
        let Place::Opened(url) = self else { return Ok(self.to_text()) };
        Ok(RelayUrl::new(url.base(), &token).to_text())
    }
}

pub(super) fn connect(places: &[Place], circle: CircleId) -> Result<Vec<Box<dyn Mailbox>>, ReplicateError> {
    places.iter().map(|place| place.connect(circle)).collect()
}

/// Opens a new circle at each relay.
pub(super) fn open_circle(places: &[Place], replica: &Replica<Random>) -> Result<Vec<Place>, ReplicateError> {
    let open = |place: &Place| {
        let Place::Relay(base) = place else { return Ok(place.clone()) };
        let failed = |error| ReplicateError::Mailbox(place.to_string(), error);
        let url = RelayUrl::new(base, &new_token());
        let relay = RelayClient::new(url.clone(), replica.circle());
        relay.open().map_err(failed)?;
        settle_in(Place::Opened(url), replica)
    };
    places.iter().map(open).collect()
}

/// Exchanges a token that others know (an invitation's) for one that only this device has, under its log's name, so
/// that any member can shut it out.
pub(super) fn settle_in(place: Place, replica: &Replica<Random>) -> Result<Place, ReplicateError> {
    let Some(relay) = place.relay(replica.circle()) else { return Ok(place) };
    let Place::Opened(url) = &place else { return Ok(place) };
    let failed = |error| ReplicateError::Mailbox(place.to_string(), error);
    let token = new_token();
    relay.let_in(&label(replica.log()), &token).map_err(failed)?;
    Ok(Place::Opened(RelayUrl::new(url.base(), &token)))
}

/// What a device's token is called at a relay.
pub fn label(log: LogId) -> String {
    log.to_string()
}

fn new_token() -> String {
    let mut bytes = [0; 16];
    random().fill_bytes(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
