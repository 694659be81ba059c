//! The secrets a device has for itself, made at first use and after a reset ([`Slot::Identity`]).

use rand_core::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::authenticator::Authenticator;
use crate::status::{Status, Step};
use crate::store::{CredentialStore, Slot};

/// Kept as its members one after the other: 32 + 16 + 16 bytes.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct Identity {
    /// Seals credentials that are kept in their own id.
    pub(crate) wrapping_key: [u8; 32],
    /// What encIdentifier hides.
    pub(crate) device_identifier: [u8; 16],
    /// What encCredStoreState is made from, together with the store's revision.
    pub(crate) store_identifier: [u8; 16],
}

impl<S: CredentialStore, R: CryptoRng> Authenticator<S, R> {
    /// The device's identity; makes it where there is none.
    pub(crate) fn identity(&mut self) -> Step<Identity> {
        let mut bytes = Zeroizing::new([0; IDENTITY_SIZE]);
        match self.store.read(Slot::Identity, &mut *bytes)? {
            Some(IDENTITY_SIZE) => {}
            Some(_) => return Err(Status::Other),
            None => {
                self.rng.fill_bytes(&mut *bytes);
                self.store.write(Slot::Identity, &*bytes)?;
            }
        }
        let mut identity =
            Identity { wrapping_key: [0; 32], device_identifier: [0; 16], store_identifier: [0; 16] };
        identity.wrapping_key.copy_from_slice(&bytes[..32]);
        identity.device_identifier.copy_from_slice(&bytes[32..48]);
        identity.store_identifier.copy_from_slice(&bytes[48..]);
        Ok(identity)
    }
}

const IDENTITY_SIZE: usize = 64;
