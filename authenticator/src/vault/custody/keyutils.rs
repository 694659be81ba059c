//! The Linux kernel's key retention service: kept across sessions of one user, and gone at reboot.

use crate::vault::error::VaultError;
use crate::vault::seal::VaultKey;

/// Makes a key and keeps it under this name.
#[cfg(target_os = "linux")]
pub(super) fn keep(name: &str) -> Result<VaultKey, VaultError> {
    let key = zeroize::Zeroizing::new(crate::vault::seal::random()?);
    let entry = entry(name)?;
    entry.set_secret(key.as_slice()).map_err(explain)?;
    let back = zeroize::Zeroizing::new(entry.get_secret().map_err(explain)?);
    if super::same(&key, &back) {
        Ok(key)
    } else {
        Err(VaultError::KeyutilsFailed { reason: "it gave back another value than it was given".into() })
    }
}

/// Keeps something of no worth under this name, gets it back and forgets it.
#[cfg(target_os = "linux")]
pub(super) fn try_out(name: &str) -> Result<(), VaultError> {
    keep(name)?;
    entry(name)?.delete_credential().map_err(explain)
}

/// Only Linux has it.
#[cfg(not(target_os = "linux"))]
pub(super) fn try_out(name: &str) -> Result<(), VaultError> {
    keep(name).map(drop)
}

/// The key under this name; `None` if the kernel has none.
#[cfg(target_os = "linux")]
pub(super) fn fetch(name: &str) -> Result<Option<VaultKey>, VaultError> {
    match entry(name)?.get_secret().map(zeroize::Zeroizing::new) {
        Ok(secret) => match secret.as_slice().try_into() {
            Ok(key) => Ok(Some(zeroize::Zeroizing::new(key))),
            Err(_) => Err(VaultError::KeyutilsFailed { reason: "its entry is not a key of ours".into() }),
        },
        Err(keyring_core::Error::NoEntry) => Ok(None),
        Err(error) => Err(explain(error)),
    }
}

#[cfg(target_os = "linux")]
fn entry(name: &str) -> Result<keyring_core::Entry, VaultError> {
    use keyring_core::api::CredentialStoreApi as _;
    let store = linux_keyutils_keyring_store::Store::new().map_err(explain)?;
    store.build(super::SERVICE, name, None).map_err(explain)
}

#[cfg(target_os = "linux")]
fn explain(error: keyring_core::Error) -> VaultError {
    VaultError::KeyutilsFailed { reason: error.to_string() }
}

/// Only Linux has it.
#[cfg(not(target_os = "linux"))]
pub(super) fn keep(_: &str) -> Result<VaultKey, VaultError> {
    Err(VaultError::KeyutilsFailed { reason: "only Linux has one".into() })
}

/// Only Linux has it.
#[cfg(not(target_os = "linux"))]
pub(super) fn fetch(_: &str) -> Result<Option<VaultKey>, VaultError> {
    Err(VaultError::KeyutilsFailed { reason: "only Linux has one".into() })
}
