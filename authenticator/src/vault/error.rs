//! What can keep a vault from opening, each with what a person needs to go on.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::CustodyKind;

/// Why a vault could not be opened or written.
///
/// [`Display`](fmt::Display) is the text after `error:`; [`VaultError::hint`] the one after `hint:`. None of them
/// holds a secret. Whichever it is, the vault's file was left as it was.
#[derive(Debug)]
#[non_exhaustive]
pub enum VaultError {
    /// The directory the vault is to be in does not exist.
    MissingDirectory {
        /// That directory.
        directory: PathBuf,
    },
    /// The vault's file is a symbolic link to one that cannot be reached.
    LinkToNothing {
        /// The link.
        link: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// Neither a variable nor the account says where this user's data is kept.
    NoHome,
    /// Another process has this vault open.
    InUse {
        /// The vault's file.
        file: PathBuf,
    },
    /// The operating system refused to read or write.
    Io {
        /// The file it refused.
        file: PathBuf,
        /// What was being done, as a verb: "read", "create".
        doing: &'static str,
        /// What it said.
        error: io::Error,
    },
    /// The file is not a vault.
    NotAVault {
        /// The file.
        file: PathBuf,
    },
    /// The file is a vault of a later version of this program.
    NewerFormat {
        /// The file.
        file: PathBuf,
        /// Its format's version.
        version: u16,
    },
    /// What is in the file is not what was written there.
    Corrupt {
        /// The file.
        file: PathBuf,
        /// Where what cannot be trusted starts, in bytes from the start of the file.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// The key found in custody does not open this vault.
    WrongKey {
        /// The vault's file.
        file: PathBuf,
        /// Where the key came from.
        custody: CustodyKind,
    },
    /// The vault's key is kept elsewhere than was asked for.
    OtherCustody {
        /// The vault's file.
        file: PathBuf,
        /// Where its key is kept.
        kept: CustodyKind,
        /// Where it was looked for.
        asked: CustodyKind,
    },
    /// The keyring is there, but locked, and was not unlocked.
    KeyringLocked {
        /// What it said.
        reason: String,
    },
    /// There is no keyring to be reached: no D-Bus session, or no Secret Service on it.
    KeyringMissing {
        /// What was said.
        reason: String,
    },
    /// The keyring is there and fails otherwise.
    KeyringFailed {
        /// What it said.
        reason: String,
    },
    /// The kernel's key retention service cannot be used.
    KeyutilsFailed {
        /// What it said.
        reason: String,
    },
    /// The custody that keeps this vault's key has no entry for it.
    KeyGone {
        /// The vault's file.
        file: PathBuf,
        /// Where the key was kept.
        custody: CustodyKind,
    },
    /// None of the custodies that need no word from the user works here.
    NoCustody {
        /// Why not the keyring.
        keyring: String,
        /// Why not the kernel.
        keyutils: String,
    },
    /// The key file does not hold a key.
    BadKeyFile {
        /// The key file.
        file: PathBuf,
    },
    /// The key file can be read by others.
    ExposedKeyFile {
        /// The key file.
        file: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A passphrase is needed and could not be asked for.
    NoPassphrase,
    /// Whoever was asked for the passphrase interrupted (Ctrl-C).
    Interrupted,
    /// The passphrase that was given is empty.
    EmptyPassphrase,
    /// The operating system gave no random bytes.
    NoRandomness,
}

impl VaultError {
    /// What to do next, as a sentence for the user.
    pub fn hint(&self) -> String {
        match self {
            Self::MissingDirectory { directory } => {
                format!("create it with `mkdir -p -m 700 {}`, or name another file with --vault", directory.display())
            }
            Self::LinkToNothing { link, target } => format!(
                "mount the disk that {} is on, or remove the link {} to make a new vault there",
                target.display(),
                link.display()
            ),
            Self::NoHome => "name a file with --vault, or keep nothing with --ephemeral".into(),
            Self::InUse { .. } => {
                "stop the other doppelkey first, or name another file with --vault".into()
            }
            Self::Io { file, error, .. } => match error.kind() {
                io::ErrorKind::PermissionDenied => {
                    format!("check who owns {} and its folder", file.display())
                }
                io::ErrorKind::StorageFull => "free some space on that disk".into(),
                io::ErrorKind::ReadOnlyFilesystem => "name a file on a writable disk with --vault".into(),
                _ => "check the disk; nothing was changed".into(),
            },
            Self::NotAVault { .. } => "name a vault, or a file that does not exist yet, with --vault".into(),
            Self::NewerFormat { .. } => "use the version of doppelkey that wrote it, or a later one".into(),
            Self::Corrupt { file, .. } => format!(
                "the file was left alone; restore {} from a backup, or move it away to start anew",
                file.display()
            ),
            Self::WrongKey { custody: CustodyKind::Passphrase, .. } => "try again with the right passphrase".into(),
            Self::WrongKey { .. } => {
                "was the file copied from elsewhere? its key stayed there: export the credentials on that machine".into()
            }
            Self::OtherCustody { kept: CustodyKind::File, .. } => {
                "leave --custody out; or say --custody file:PATH, if the key file was moved".into()
            }
            Self::OtherCustody { kept, .. } => format!("leave --custody out, or say --custody {kept}"),
            Self::KeyringLocked { .. } => {
                "unlock the keyring (log in to the desktop, or open your password manager), then try again".into()
            }
            Self::KeyringMissing { .. } => {
                "run inside a desktop session or under `dbus-run-session`, or make a vault with --custody file:PATH \
                 or --custody passphrase"
                    .into()
            }
            Self::KeyringFailed { .. } => "check the keyring's service, or use --custody file:PATH".into(),
            Self::KeyutilsFailed { .. } => "use --custody file:PATH or --custody passphrase".into(),
            Self::KeyGone { custody: CustodyKind::Keyutils, .. } => {
                format!(
                    "the kernel forgets keys {}: without one this vault cannot be opened; move it away to start anew, \
                     and choose --custody keyring, file:PATH or passphrase",
                    super::kernel_forgets()
                )
            }
            Self::KeyGone { custody: CustodyKind::File, .. } => {
                "put the key file back, or say where it is with --custody file:PATH".into()
            }
            Self::KeyGone { .. } => {
                "restore the keyring's entry, or move the vault away to start anew; a new key would not open it".into()
            }
            Self::NoCustody { .. } => {
                "choose where to keep the key: --custody file:PATH or --custody passphrase, or keep nothing with \
                 --ephemeral"
                    .into()
            }
            Self::BadKeyFile { .. } => "name the key file that was made with this vault".into(),
            Self::ExposedKeyFile { file, .. } => format!("run `chmod 600 {}`", file.display()),
            Self::NoPassphrase => "set DOPPELKEY_PASSPHRASE, or run in a terminal".into(),
            Self::Interrupted => "start again and type the passphrase, or set DOPPELKEY_PASSPHRASE".into(),
            Self::EmptyPassphrase => "give a passphrase of at least one character".into(),
            Self::NoRandomness => "this machine has no working random source; nothing safe can be done on it".into(),
        }
    }
}

impl fmt::Display for VaultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingDirectory { directory } => {
                write!(f, "the vault's directory {} does not exist", directory.display())
            }
            Self::LinkToNothing { link, target } => write!(
                f,
                "the vault {} is a link to {}, which is not there",
                link.display(),
                target.display()
            ),
            Self::NoHome => {
                f.write_str("neither XDG_DATA_HOME nor HOME is set, and this account has no home directory")
            }
            Self::InUse { file } => write!(f, "another process is using the vault {}", file.display()),
            Self::Io { file, doing, error } => write!(f, "cannot {doing} {}: {error}", file.display()),
            Self::NotAVault { file } => write!(f, "{} is not a vault", file.display()),
            Self::NewerFormat { file, version } => {
                write!(
                    f,
                    "{} is a vault of format {version}, which this version does not know",
                    file.display()
                )
            }
            Self::Corrupt { file, offset, what } => {
                write!(f, "the vault {} is corrupt at byte {offset}: {what}", file.display())
            }
            Self::WrongKey { file, custody } => {
                write!(f, "the key from {} does not open the vault {}", custody.place(), file.display())
            }
            Self::OtherCustody { file, kept, asked } => write!(
                f,
                "the key of the vault {} is kept in {}, not in {}",
                file.display(),
                kept.place(),
                asked.place()
            ),
            Self::KeyringLocked { reason } => write!(f, "the keyring is locked: {reason}"),
            Self::KeyringMissing { reason } => write!(f, "no keyring can be reached: {reason}"),
            Self::KeyringFailed { reason } => write!(f, "the keyring failed: {reason}"),
            Self::KeyutilsFailed { reason } => write!(f, "the kernel's keyring failed: {reason}"),
            Self::KeyGone { file, custody } => {
                write!(f, "{} has no key for the vault {}", custody.place(), file.display())
            }
            Self::NoCustody { keyring, keyutils } => {
                write!(f, "there is nowhere to keep the vault's key: {keyring}; {keyutils}")
            }
            Self::BadKeyFile { file } => write!(f, "{} does not hold a vault's key", file.display()),
            Self::ExposedKeyFile { file, mode } => {
                write!(f, "the key file {} can be read by others (mode {mode:03o})", file.display())
            }
            Self::NoPassphrase => f.write_str("this vault needs a passphrase, and there is nobody to ask"),
            Self::Interrupted => {
                f.write_str("this vault needs a passphrase, and none was given: interrupted")
            }
            Self::EmptyPassphrase => f.write_str("the passphrase is empty"),
            Self::NoRandomness => f.write_str("the operating system gave no random bytes"),
        }
    }
}

impl std::error::Error for VaultError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { error, .. } => Some(error),
            _ => None,
        }
    }
}
