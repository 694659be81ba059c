//! A vault file that somebody else has written to.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::LazyLock;

use doppelkey::vault::{Custody, Vault};
use doppelkey_core::CredentialStore as _;
use tempfile::TempDir;

/// A vault of version 1 with three credentials, and its key.
pub(super) const VAULT: &[u8] = include_bytes!("../../vectors/vault-1");
const KEY: &str = include_str!("../../vectors/vault-1.key");

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    // In memory where there is such a place: each story is written and synced.
    let memory = PathBuf::from("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let folder = folder.expect("there is a place for temporary files");
    let key = folder.path().join("key");
    std::fs::write(&key, KEY).expect("there is room");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
    folder
});

/// Opens a vault of these bytes; how many credentials it has, if it opens.
///
/// # Panics
/// If a file that is refused was touched, or one that opened does not open again with the same.
pub fn vault(bytes: &[u8]) -> Option<u32> {
    let (path, key) = (FOLDER.path().join("vault"), FOLDER.path().join("key"));
    std::fs::write(&path, bytes).expect("there is room");
    let open = || {
        let mut vault = Vault::open(&path, Some(Custody::File(key.clone()))).ok()?;
        Some(vault.len().expect("what was opened can be counted"))
    };
    let opened = open();
    if opened.is_some() {
        assert_eq!(open(), opened, "it opens again, with the same");
    } else {
        assert_eq!(std::fs::read(&path).expect("it is there"), bytes, "what is refused is left alone");
    }
    opened
}
