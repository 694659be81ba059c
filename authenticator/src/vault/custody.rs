//! Custody: where a vault's key is kept.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use zeroize::Zeroizing;

/// Where the key of a new vault is to be kept, or where that of an existing one is expected.
#[derive(Clone)]
pub enum Custody {
    /// The keyring of the desktop or the operating system.
    Keyring,
    /// The Linux kernel's key retention service. The key is gone at reboot.
    Keyutils,
    /// A file of its own, readable by its owner only.
    File(PathBuf),
    /// Nowhere: derived from a passphrase by Argon2id. `None` takes it from `DOPPELKEY_PASSPHRASE`, or asks on the
    /// terminal.
    Passphrase(Option<Zeroizing<String>>),
}

impl Custody {
    /// Which kind this is.
    pub fn kind(&self) -> CustodyKind {
        match self {
            Self::Keyring => CustodyKind::Keyring,
            Self::Keyutils => CustodyKind::Keyutils,
            Self::File(_) => CustodyKind::File,
            Self::Passphrase(_) => CustodyKind::Passphrase,
        }
    }
}

impl fmt::Debug for Custody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            other => write!(f, "{:?}", other.kind()),
        }
    }
}

impl FromStr for Custody {
    type Err = String;

    /// Reads what `--custody` takes: `keyring`, `keyutils`, `file:PATH` or `passphrase`.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "keyring" => Ok(Self::Keyring),
            "keyutils" => Ok(Self::Keyutils),
            "passphrase" => Ok(Self::Passphrase(None)),
            _ => match text.strip_prefix("file:") {
                Some(path) if !path.is_empty() => Ok(Self::File(path.into())),
                _ => Err("expected keyring, keyutils, file:PATH or passphrase".into()),
            },
        }
    }
}

/// The kinds of custody. Displayed, they are the words of `--custody` and of the ready line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CustodyKind {
    /// The keyring of the desktop or the operating system.
    Keyring,
    /// The Linux kernel's key retention service.
    Keyutils,
    /// A key file.
    File,
    /// A passphrase.
    Passphrase,
    /// This process's memory: nothing is kept.
    Ephemeral,
}

impl CustodyKind {
    /// The place, as a noun for messages.
    pub fn place(self) -> &'static str {
        match self {
            Self::Keyring => "the keyring",
            Self::Keyutils => "the kernel's keyring",
            Self::File => "the key file",
            Self::Passphrase => "the passphrase",
            Self::Ephemeral => "memory",
        }
    }
}

impl fmt::Display for CustodyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Keyring => "keyring",
            Self::Keyutils => "keyutils",
            Self::File => "file",
            Self::Passphrase => "passphrase",
            Self::Ephemeral => "ephemeral",
        })
    }
}
