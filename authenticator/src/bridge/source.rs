//! Which authenticator the bridge leads to.

use std::net::SocketAddr;
use std::time::Duration;

use doppelkey_core::StoreError;
use getrandom::SysRng;
use rand_core::UnwrapErr;
use sha2::{Digest as _, Sha256};

use super::turns::{InTurn, Turns};
use crate::client::{self, Abort, Attachment, Client};
use crate::device::{Clock, Device, SharedStore};
use crate::hybrid::Desktop;
use crate::packets;
use crate::usbip::client::UsbIpConnection;

/// An authenticator to lead to.
pub struct Source {
    clock: Clock,
    kind: Kind,
}

enum Kind {
    Here(Box<dyn Fn() -> (Device, SharedStore) + Send + Sync>),
    Packets(packets::Address),
    UsbIp(SocketAddr, String, Turns),
    Phone(Box<dyn Fn() -> Result<Desktop, client::Error> + Send + Sync>),
}

impl Source {
    /// A device of this process, and its store.
    pub fn here(clock: Clock, device: Device, store: SharedStore) -> Self {
        Source::fleet(clock, move || (device.clone(), store.clone()))
    }

    /// Whichever device of this process is given for a request, and its store.
    pub fn fleet(clock: Clock, choose: impl Fn() -> (Device, SharedStore) + Send + Sync + 'static) -> Self {
        Source { clock, kind: Kind::Here(Box::new(choose)) }
    }

    /// A packets door, of `doppelkey run --packets`.
    pub fn packets(clock: Clock, address: packets::Address) -> Self {
        Source { clock, kind: Kind::Packets(address) }
    }

    /// A device that is offered over USB/IP. It is attached for the length of each ceremony, one after the other.
    pub fn usbip(clock: Clock, address: SocketAddr, busid: String) -> Self {
        Source { clock, kind: Kind::UsbIp(address, busid, Turns::default()) }
    }

    /// Whichever phone comes: each ceremony is a desktop's of its own.
    pub fn phone(
        clock: Clock,
        desktop: impl Fn() -> Result<Desktop, client::Error> + Send + Sync + 'static,
    ) -> Self {
        Source { clock, kind: Kind::Phone(Box::new(desktop)) }
    }

    /// A client to it, for one ceremony. A ceremony before this one that has the device attached is waited for, at most
    /// this long.
    ///
    /// # Errors
    /// [`client::Error::Disconnected`] if it cannot be reached; [`client::Error::TimedOut`], or
    /// [`client::Error::Aborted`] within 100 milliseconds, where another has it.
    pub fn client(&self, within: Duration, abort: &Abort) -> Result<Client, client::Error> {
        let (clock, rng) = (self.clock.clone(), UnwrapErr(SysRng));
        let client = match &self.kind {
            Kind::Here(choose) => Client::new(choose().0.connect(), clock, rng),
            Kind::Packets(address) => Client::new(packets::client::connect(address)?, clock, rng),
            Kind::UsbIp(address, busid, turns) => {
                let turn = turns.wait(&clock, clock() + within, abort)?;
                let connection = UsbIpConnection::attach(*address, busid)?;
                Client::new(InTurn { connection, _turn: turn }, clock, rng)
            }
            Kind::Phone(desktop) => return Ok(Client::with_phone(desktop()?, clock, rng)),
        }?;
        // To a page it is whatever the page asks for: there is only this one.
        Ok(client.with_attachment(Attachment::AsAsked))
    }

    /// A credential of this RP ID, as [`Client::find`] looks for it: the wait for the device and the look have this long
    /// together.
    pub(super) fn find(
        &self,
        rp_id: &str,
        ids: Option<&[Vec<u8>]>,
        within: Duration,
        abort: &Abort,
    ) -> Result<Option<Vec<u8>>, client::Error> {
        let until = (self.clock)() + within;
        let mut client = self.client(within, abort)?;
        client.find(rp_id, ids, until.saturating_sub((self.clock)()), abort)
    }

    /// The store, where it is in this process.
    pub(super) fn store(&self) -> Option<SharedStore> {
        match &self.kind {
            Kind::Here(choose) => Some(choose().1),
            _ => None,
        }
    }

    /// The accounts that autofill can offer for an RP ID, newest first.
    ///
    /// `None` where the store is elsewhere: who is there cannot be told without asking the user.
    pub(super) fn accounts(&self, rp_id: &str) -> Option<Result<Vec<Account>, StoreError>> {
        if matches!(self.kind, Kind::Phone(_)) {
            // What a phone has is not known before it is there.
            return Some(Ok(Vec::new()));
        }
        let store = self.store()?;
        let mut store = store.lock();
        let hash = Sha256::digest(rp_id).into();
        let mut accounts = Vec::new();
        let mut before = u64::MAX;
        loop {
            match store.newest_before(&hash, before) {
                Ok(Some(credential)) => {
                    before = credential.order;
                    if !credential.hidden {
                        let name = credential.user.name.as_deref().unwrap_or(rp_id).to_owned();
                        accounts.push(Account { id: credential.id.to_vec(), name });
                    }
                }
                Ok(None) => return Some(Ok(accounts)),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// What autofill offers.
pub(super) struct Account {
    /// The credential id.
    pub(super) id: Vec<u8>,
    /// The account's name, or the RP ID where it is not known.
    pub(super) name: String,
}
