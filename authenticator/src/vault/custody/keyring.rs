//! The keyring of the desktop or operating system: Secret Service, macOS Keychain, Windows Credential Manager.

use keyring::{Entry, Error};
use zeroize::Zeroizing;

use super::{SERVICE, same};
use crate::vault::error::VaultError;
use crate::vault::seal::{KEY_LENGTH, VaultKey, random};

/// Makes a key and keeps it under this name. A locked keyring says it is well until it is used, so it is tried with
/// an entry of no worth first.
pub(super) fn keep(name: &str) -> Result<VaultKey, VaultError> {
    try_out(&format!("probe-{name}"))?;
    set_and_get_back(name)
}

/// Keeps something of no worth under this name, gets it back and forgets it.
pub(super) fn try_out(name: &str) -> Result<(), VaultError> {
    set_and_get_back(name)?;
    entry(name)?.delete_credential().map_err(explain)
}

/// The key under this name; `None` if the keyring has none.
pub(super) fn fetch(name: &str) -> Result<Option<VaultKey>, VaultError> {
    match entry(name)?.get_secret().map(Zeroizing::new) {
        Ok(secret) => match <[u8; KEY_LENGTH]>::try_from(secret.as_slice()) {
            Ok(key) => Ok(Some(Zeroizing::new(key))),
            Err(_) => Err(VaultError::KeyringFailed { reason: "its entry is not a key of ours".into() }),
        },
        Err(Error::NoEntry) => Ok(None),
        Err(error) => Err(explain(error)),
    }
}

fn set_and_get_back(name: &str) -> Result<VaultKey, VaultError> {
    let key = Zeroizing::new(random::<KEY_LENGTH>()?);
    let entry = entry(name)?;
    entry.set_secret(key.as_slice()).map_err(explain)?;
    let back = Zeroizing::new(entry.get_secret().map_err(explain)?);
    if same(&key, &back) {
        Ok(key)
    } else {
        Err(VaultError::KeyringFailed { reason: "it gave back another value than it was given".into() })
    }
}

fn entry(name: &str) -> Result<Entry, VaultError> {
    if let Err(error) = Entry::store_status() {
        return Err(VaultError::KeyringMissing { reason: plainly(error) });
    }
    Entry::new(SERVICE, name).map_err(explain)
}

fn explain(error: Error) -> VaultError {
    let reason = plainly(&error);
    let locked = reason.to_ascii_lowercase().contains("locked");
    match error {
        Error::NoStorageAccess(_) => VaultError::KeyringLocked { reason },
        Error::PlatformFailure(_) if locked => VaultError::KeyringLocked { reason },
        _ => VaultError::KeyringFailed { reason },
    }
}

/// What the platform said, without the wrapping.
fn plainly(error: &Error) -> String {
    match error {
        Error::PlatformFailure(inner) | Error::NoStorageAccess(inner) => inner.to_string(),
        other => other.to_string(),
    }
}
