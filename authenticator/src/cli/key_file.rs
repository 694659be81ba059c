//! Keys in files of their own, apart from the databases that hold what is sealed under them.

use std::io;
use std::path::Path;

use getrandom::SysRng;
use getrandom::rand_core::{Rng as _, UnwrapErr};
use zeroize::Zeroizing;

use super::Failure;
use crate::private_file;
use crate::text::{from_hex, hex};

/// What a key is for.
pub(super) struct Purpose {
    /// The option that names its file.
    pub(super) flag: &'static str,
    /// "for escrows"
    pub(super) what_for: &'static str,
    /// What is lost without it, as half a sentence.
    pub(super) lost: &'static str,
}

impl Purpose {
    /// Reads a key, or makes it: 64 hexadecimal digits. A new one is on the disk, whole, before it has its name; of
    /// several processes that begin at once, one makes it and the others read it.
    pub(super) fn read_or_make(&self, path: &Path) -> Result<Zeroizing<[u8; 32]>, Failure> {
        let failed = |error: io::Error| {
            let hint = format!("name a file that this user may read and write with {}", self.flag);
            Failure::new(format_args!("{}: {error}", path.display()), hint)
        };
        if !path.try_exists().map_err(failed)? {
            let text = Zeroizing::new(hex(&*new_key()) + "\n");
            match private_file::create_whole(path, text.as_bytes()) {
                // Another process was first.
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
                _ => {}
            }
        }
        let text = Zeroizing::new(std::fs::read(path).map_err(failed)?);
        key_in(&text).ok_or_else(|| {
            Failure::new(
                format_args!("{} is no key {}", path.display(), self.what_for),
                format_args!("put the file back from its backup; without it {}", self.lost),
            )
        })
    }
}

impl Purpose {
    /// Puts a file that is there and holds no key aside, for whoever wants to look at it: `PATH.unreadable`.
    pub(super) fn set_aside(&self, path: &Path) -> Result<(), Failure> {
        let Ok(text) = std::fs::read(path).map(Zeroizing::new) else { return Ok(()) };
        if key_in(&text).is_some() {
            return Ok(());
        }
        let mut aside = path.as_os_str().to_owned();
        aside.push(".unreadable");
        std::fs::rename(path, &aside).map_err(|error| {
            let hint = format!("move it away, or name another file with {}", self.flag);
            Failure::new(format_args!("{}: {error}", path.display()), hint)
        })
    }
}

/// The key in a file's text.
fn key_in(text: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let bytes = Zeroizing::new(from_hex(std::str::from_utf8(text).ok()?.trim())?);
    <[u8; 32]>::try_from(bytes.as_slice()).ok().map(Zeroizing::new)
}

/// A fresh key.
pub(super) fn new_key() -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    UnwrapErr(SysRng).fill_bytes(&mut *key);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    const ESCROWS: Purpose =
        Purpose { flag: "--escrow-key", what_for: "for escrows", lost: "what is in escrow is lost" };

    #[test]
    fn processes_that_begin_at_once_have_one_key_and_leave_nothing_half_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let keys: Vec<[u8; 32]> = std::thread::scope(|scope| {
            let relays: Vec<_> =
                (0..8).map(|_| scope.spawn(|| *ESCROWS.read_or_make(&path).unwrap())).collect();
            relays.into_iter().map(|relay| relay.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0] && *key != [0; 32]));
        assert_eq!(*ESCROWS.read_or_make(&path).unwrap(), keys[0], "it is read back");
        assert_eq!(directory.path().read_dir().unwrap().count(), 1, "and nothing else is left");
        std::fs::write(&path, "half a k").unwrap();
        let refused = ESCROWS.read_or_make(&path).unwrap_err().to_string();
        assert!(
            refused.contains("is no key for escrows") && refused.contains("from its backup"),
            "{refused}"
        );
    }
}
