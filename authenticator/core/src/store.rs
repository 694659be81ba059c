//! The seam to persistent memory: credentials and a few small slots.
//!
//! Three stores implement it (memory, the host's vault, the firmware's flash) and one conformance suite runs on
//! all of them. A store is a *call*: short, synchronous, not cancellable. It knows nothing of CTAP.

use crate::credential::Credential;

/// What a store can fail with. Never a CTAP status: the command handlers map it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// There is no room for what was to be written. Nothing changed.
    Full,
    /// The medium refused or returned something that is not what was written. Nothing is known to have changed.
    Fault,
}

/// Small values that are kept beside the credentials; each is read and replaced as a whole.
///
/// What is in a slot is the core's business. The number is part of the stored format and never changes meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Slot {
    /// Secrets made at first use and after a reset: wrapping key, device identifier. At most 256 bytes.
    Identity = 1,
    /// PIN hash, length and retry counters. At most 128 bytes. Written at every PIN attempt.
    Pin = 2,
    /// What authenticatorConfig can change. At most 1,024 bytes.
    Configuration = 3,
    /// The serialized large-blob array. At most [`LARGE_BLOBS_MAX`] bytes.
    LargeBlobs = 4,
    /// Fingerprint templates of the simulated sensor. At most 1,024 bytes.
    Fingerprints = 5,
    /// Opaque records of the sync module. At most 1,024 bytes.
    Sync = 6,
    /// What ties the credentials to [`Slot::Sync`], for the sync module: whoever finds that without this knows that the
    /// store was reset in between. At most 16 bytes.
    Membership = 7,
}

impl Slot {
    /// Every slot, in the order of its number.
    pub const ALL: [Slot; 7] = [
        Slot::Identity,
        Slot::Pin,
        Slot::Configuration,
        Slot::LargeBlobs,
        Slot::Fingerprints,
        Slot::Sync,
        Slot::Membership,
    ];
}

/// The size in bytes of the largest serialized large-blob array a store must take.
pub const LARGE_BLOBS_MAX: usize = 4096;

/// Persistent memory for credentials and slots.
///
/// # Guarantees that every implementation gives
/// * **Atomic**: after a crash or a power cut in any call, the store is as before the call or as after it.
/// * **Durable**: what a call that returned `Ok` wrote is there after a crash.
/// * **No resurrection**: what was removed or reset stays so.
/// * Reads have no side effects that a later read can see.
pub trait CredentialStore {
    /// The credential with this id, if it is here.
    fn get(&mut self, id: &[u8]) -> Result<Option<Credential>, StoreError>;

    /// The newest credential of this RP whose [`order`](Credential::order) is below `before`.
    ///
    /// Start with `u64::MAX`, go on with the order of what came back: the RP's credentials, newest first.
    fn newest_before(&mut self, rp_id_hash: &[u8; 32], before: u64)
    -> Result<Option<Credential>, StoreError>;

    /// One credential (the newest) of the first RP whose hash is above `after` in byte order; with `None`, of the
    /// first RP of all. Start with `None`, go on with the hash of what came back: every RP, once each.
    fn next_rp(&mut self, after: Option<&[u8; 32]>) -> Result<Option<Credential>, StoreError>;

    /// The credential of this RP with this user handle, if any.
    fn find_user(&mut self, rp_id_hash: &[u8; 32], user_id: &[u8]) -> Result<Option<Credential>, StoreError> {
        let mut before = u64::MAX;
        while let Some(credential) = self.newest_before(rp_id_hash, before)? {
            if credential.user.id.as_slice() == user_id {
                return Ok(Some(credential));
            }
            before = credential.order;
        }
        Ok(None)
    }

    /// Adds the credential, or replaces the one with the same id, and removes `replaces`, in one step.
    ///
    /// A new id gets an `order` above every order given before, whatever the argument's says; a replaced one keeps
    /// its own.
    fn put(&mut self, credential: &Credential, replaces: Option<&[u8]>) -> Result<(), StoreError>;

    /// Removes the credential. `false` if there was none with this id.
    fn remove(&mut self, id: &[u8]) -> Result<bool, StoreError>;

    /// The next signature counter of this credential; with `None`, of the store itself (for credentials that are
    /// not in it). Strictly above every value given before for it, also across crashes; values may be skipped.
    ///
    /// Starts above the credential's [`sign_count`](Credential::sign_count). [`StoreError::Fault`] for an unknown id.
    fn next_sign_count(&mut self, id: Option<&[u8]>) -> Result<u32, StoreError>;

    /// The signature counter this credential gave last, or starts above; `None` if it has none. Only reads.
    ///
    /// A store that does not keep it answers with what the credential started above.
    fn last_sign_count(&mut self, id: &[u8]) -> Result<Option<u32>, StoreError> {
        Ok(self.get(id)?.and_then(|credential| credential.sign_count))
    }

    /// How many credentials are here.
    fn len(&mut self) -> Result<u32, StoreError>;

    /// Whether there is no credential here.
    fn is_empty(&mut self) -> Result<bool, StoreError> {
        Ok(self.len()? == 0)
    }

    /// How many more credentials there is surely room for; an estimate that never promises too much.
    fn remaining(&mut self) -> Result<u32, StoreError>;

    /// A number that never repeats over the life of the store and is another after every change to the credentials.
    fn revision(&mut self) -> Result<u64, StoreError>;

    /// Reads a slot into `buffer` and returns its length; `None` if it was never written (or was reset).
    ///
    /// [`StoreError::Fault`] if the buffer is too small or what is there cannot be trusted: a fault is not "empty".
    fn read(&mut self, slot: Slot, buffer: &mut [u8]) -> Result<Option<usize>, StoreError>;

    /// Replaces a slot as a whole.
    fn write(&mut self, slot: Slot, bytes: &[u8]) -> Result<(), StoreError>;

    /// Forgets every credential and every slot but [`Slot::Sync`], in one step.
    fn reset(&mut self) -> Result<(), StoreError>;
}

/// A store that stays where it is: in static memory, on a microcontroller.
impl<S: CredentialStore> CredentialStore for &mut S {
    fn get(&mut self, id: &[u8]) -> Result<Option<Credential>, StoreError> {
        (**self).get(id)
    }

    fn newest_before(
        &mut self,
        rp_id_hash: &[u8; 32],
        before: u64,
    ) -> Result<Option<Credential>, StoreError> {
        (**self).newest_before(rp_id_hash, before)
    }

    fn next_rp(&mut self, after: Option<&[u8; 32]>) -> Result<Option<Credential>, StoreError> {
        (**self).next_rp(after)
    }

    fn find_user(&mut self, rp_id_hash: &[u8; 32], user_id: &[u8]) -> Result<Option<Credential>, StoreError> {
        (**self).find_user(rp_id_hash, user_id)
    }

    fn put(&mut self, credential: &Credential, replaces: Option<&[u8]>) -> Result<(), StoreError> {
        (**self).put(credential, replaces)
    }

    fn remove(&mut self, id: &[u8]) -> Result<bool, StoreError> {
        (**self).remove(id)
    }

    fn next_sign_count(&mut self, id: Option<&[u8]>) -> Result<u32, StoreError> {
        (**self).next_sign_count(id)
    }

    fn len(&mut self) -> Result<u32, StoreError> {
        (**self).len()
    }

    fn remaining(&mut self) -> Result<u32, StoreError> {
        (**self).remaining()
    }

    fn revision(&mut self) -> Result<u64, StoreError> {
        (**self).revision()
    }

    fn read(&mut self, slot: Slot, buffer: &mut [u8]) -> Result<Option<usize>, StoreError> {
        (**self).read(slot, buffer)
    }

    fn write(&mut self, slot: Slot, bytes: &[u8]) -> Result<(), StoreError> {
        (**self).write(slot, bytes)
    }

    fn reset(&mut self) -> Result<(), StoreError> {
        (**self).reset()
    }
}
