//! Replication of passkeys across one user's devices.
#![no_std]

extern crate alloc;
#[cfg(any(test, feature = "std"))]
extern crate std;

mod cbor;
mod crypto;
mod dag;
mod deliver;
mod entry;
mod exchange;
mod id;
mod journal;
mod mailbox;
mod membership;
mod replica;
mod speak;
mod state;

pub use crypto::{DeviceKeys, EpochKey, PublicKeys, Suite, padme};
pub use entry::{Body, Dep, ENTRY_MAX, Op};
pub use id::{AccountId, CircleId, EpochId, Hash, LogId, Name, RecordId};
pub use journal::OpenError;
pub use mailbox::Misbehaviour;
pub use membership::{Member, Members, Rank};
pub use replica::{ACKNOWLEDGE_AFTER_MS, Alarm, Effect, Event, POLICY_RECOVERY_CONFIRMED, Replica};
pub use state::{Record, Register, Stamp, State};
