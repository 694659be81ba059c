//! Replication of passkeys across one user's devices: end-to-end encrypted, without a server that orders anything,
//! over any carrier.
//!
//! [`Replica`] is the core: events in, effects out; it never waits, reads a clock or opens a file. [`Driver`] runs
//! one with a journal and [`Mailbox`]es. The same replica runs in the product, on a microcontroller and in the
//! simulator. `README.md` has the threat model, the invariants and the decisions.
#![no_std]

extern crate alloc;
#[cfg(any(test, feature = "std"))]
extern crate std;

mod alarm;
mod base;
#[cfg(any(test, feature = "std"))]
mod carrier;
mod cbor;
pub mod command;
mod compact;
mod crypto;
mod dag;
mod deliver;
#[cfg(any(test, feature = "std"))]
mod driver;
mod entry;
#[cfg(any(test, feature = "escrow"))]
pub mod escrow;
mod exchange;
#[cfg(any(test, feature = "std"))]
mod folder;
#[cfg(any(test, feature = "std"))]
mod fuzz;
mod id;
mod journal;
#[cfg(any(test, feature = "lan"))]
pub mod lan;
mod mailbox;
mod membership;
mod pairing;
mod recovery;
#[cfg(feature = "relay")]
pub mod relay;
mod replica;
#[cfg(any(test, feature = "simulator"))]
mod seeded;
#[cfg(feature = "simulator")]
pub mod simulator;
mod speak;
mod state;
#[cfg(test)]
mod tests;
mod text;
mod transfer;
mod unread;

pub use alarm::Alarm;
#[cfg(any(test, feature = "std"))]
pub use carrier::{Listing, Mailbox, MemoryMailbox, conformance};
pub use compact::COMPACT_AFTER;
pub use crypto::{DeviceKeys, EpochKey, PublicKeys, Suite, padme};
#[cfg(any(test, feature = "std"))]
pub use driver::{Driver, Journal, NAMES_MAX, Peers, Report};
pub use entry::{Body, Dep, ENTRY_MAX, Op};
#[cfg(any(test, feature = "std"))]
pub use folder::Folder;
#[cfg(any(test, feature = "std"))]
#[doc(hidden)]
pub use fuzz::decode_anything;
pub use id::{AccountId, CircleId, EpochId, Hash, LogId, Name, RecordId};
pub use journal::OpenError;
pub use mailbox::{Misbehaviour, Order};
pub use membership::{Member, Members, Rank};
pub use pairing::{Invitation, JoinRequest, emoji};
pub use recovery::{RecoveryKey, Share};
pub use replica::{
    ACKNOWLEDGE_AFTER_MS, Effect, Event, POLICY_PIN_RETIREMENT, POLICY_RECOVERY_CONFIRMED, Replica,
};
#[cfg(any(test, feature = "simulator"))]
pub use seeded::Seeded;
pub use state::{Record, Register, Stamp, State};
pub use transfer::{Recipient, TransferKey};
