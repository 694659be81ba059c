//! Custody: where a vault's key is kept.
//!
//! One 32-byte key to a vault, whatever the number of credentials. Where it is kept is decided once, when the vault
//! is made, and written into the vault's header; an existing vault whose custody does not answer is an error, and
//! never gets a new key.

use std::fmt;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use argon2::Argon2;
use zeroize::Zeroizing;

use super::Notice;
use super::error::VaultError;
use super::seal::{KEY_LENGTH, VaultKey, random};
use crate::private_file;
use crate::text::hex;

mod keyring;
mod keyutils;

pub(super) use keyutils::Renewal;

/// Where the key of a new vault is to be kept, or where that of an existing one is expected.
#[derive(Clone)]
pub enum Custody {
    /// The keyring of the desktop or the operating system.
    Keyring,
    /// The Linux kernel's key retention service. The key is gone after a reboot, and some days after it was last used.
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

/// The kinds of custody. Displayed, they are the words of `--custody` and of the ready line; their numbers are part
/// of the vault's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u8)]
pub enum CustodyKind {
    /// This process's memory: nothing is kept.
    Ephemeral = 0,
    /// The keyring of the desktop or the operating system.
    Keyring = 1,
    /// The Linux kernel's key retention service.
    Keyutils = 2,
    /// A key file.
    File = 3,
    /// A passphrase.
    Passphrase = 4,
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

/// Tries the custodies that need no word from the user, and leaves nothing in them: for diagnosis.
///
/// Blocks while the keyring asks the user to unlock it.
pub fn try_custodies() -> [(CustodyKind, Result<(), VaultError>); 2] {
    [(CustodyKind::Keyring, keyring::try_out("probe")), (CustodyKind::Keyutils, keyutils::try_out("probe"))]
}

/// When the kernel forgets a vault's key, on this machine, as a part of a sentence: "after a reboot, or …".
pub(crate) fn kernel_forgets() -> String {
    keyutils::forgotten(keyutils::expires_after())
}

/// As [`kernel_forgets`], after this time.
pub(super) fn kernel_forgets_after(expires_after: Option<Duration>) -> String {
    keyutils::forgotten(expires_after)
}

/// What is told of a vault whose key is in the kernel.
pub(super) fn in_kernel() -> Notice {
    Notice::KeyInKernel { expires_after: keyutils::expires_after() }
}

/// Keeps the key of an open vault in a custody that would forget it; `None` where none does.
pub(super) fn renew(custody: CustodyKind, vault_id: &[u8; 16], key: &VaultKey) -> Option<Renewal> {
    (custody == CustodyKind::Keyutils).then(|| Renewal::start(entry_name(vault_id), key.clone()))
}

/// What a vault's header says of its custody. Not a secret.
///
/// | kind | custody | parameters |
/// |---|---|---|
/// | 0 | ephemeral | none |
/// | 1 | keyring | none: the entry is named by the vault's id |
/// | 2 | keyutils | none: the entry is named by the vault's id |
/// | 3 | key file | its absolute path in UTF-8; empty if it has none |
/// | 4 | passphrase | Argon2id's memory in KiB (4), passes (4), lanes (4), salt (16) |
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CustodyRecord {
    pub(super) kind: u8,
    pub(super) parameters: Vec<u8>,
}

impl CustodyRecord {
    /// What a vault in memory has.
    pub(super) fn ephemeral() -> Self {
        Self::of(CustodyKind::Ephemeral, Vec::new())
    }

    pub(super) fn kind(&self) -> Option<CustodyKind> {
        KINDS.into_iter().find(|kind| *kind as u8 == self.kind)
    }

    fn of(kind: CustodyKind, parameters: Vec<u8>) -> Self {
        CustodyRecord { kind: kind as u8, parameters }
    }
}

/// A new vault's key, safely in custody.
pub(super) struct Kept {
    pub(super) key: VaultKey,
    pub(super) record: CustodyRecord,
    pub(super) notices: Vec<Notice>,
}

/// Makes a key for a new vault and puts it into custody; with `None`, on the first rung of the ladder that holds.
pub(super) fn keep_new(custody: Option<Custody>, vault_id: &[u8; 16]) -> Result<Kept, VaultError> {
    let name = entry_name(vault_id);
    let Some(custody) = custody else { return go_down_the_ladder(&name) };
    let (key, parameters, notices) = match custody {
        Custody::Keyring => (keyring::keep(&name)?, Vec::new(), Vec::new()),
        Custody::Keyutils => (keyutils::keep(&name)?, Vec::new(), vec![in_kernel()]),
        Custody::File(ref path) => {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            (keep_in_file(&path)?, recorded(&path), Vec::new())
        }
        Custody::Passphrase(ref given) => {
            let parameters = Stretching { memory_kib: 64 * 1024, passes: 3, lanes: 1, salt: random()? };
            let passphrase = passphrase(given.as_ref(), true)?;
            (
                parameters.stretch(&passphrase).ok_or(VaultError::NoPassphrase)?,
                parameters.encode(),
                Vec::new(),
            )
        }
    };
    Ok(Kept { key, record: CustodyRecord::of(custody.kind(), parameters), notices })
}

/// Fetches the key of an existing vault from where its header says.
pub(super) fn fetch(
    record: &CustodyRecord,
    asked: Option<Custody>,
    vault_id: &[u8; 16],
    vault: &Path,
) -> Result<VaultKey, VaultError> {
    let file = || vault.to_owned();
    let senseless =
        || VaultError::Corrupt { file: file(), offset: 60, what: "it names a custody that does not exist" };
    let kept = record.kind().ok_or_else(senseless)?;
    if let Some(asked) = asked.as_ref().map(Custody::kind).filter(|asked| *asked != kept) {
        return Err(VaultError::OtherCustody { file: file(), kept, asked });
    }
    let name = entry_name(vault_id);
    let found = match (kept, asked) {
        (CustodyKind::Keyring, _) => keyring::fetch(&name)?,
        (CustodyKind::Keyutils, _) => keyutils::fetch(&name)?,
        (CustodyKind::File, Some(Custody::File(path))) => read_key_file(&path)?,
        (CustodyKind::File, _) => match std::str::from_utf8(&record.parameters) {
            Ok("") => None,
            Ok(path) => read_key_file(Path::new(path))?,
            Err(_) => return Err(senseless()),
        },
        (CustodyKind::Passphrase, asked) => {
            let given = match asked {
                Some(Custody::Passphrase(given)) => given,
                _ => None,
            };
            let parameters = Stretching::decode(&record.parameters).ok_or_else(senseless)?;
            parameters.stretch(&passphrase(given.as_ref(), false)?)
        }
        (CustodyKind::Ephemeral, _) => return Err(senseless()),
    };
    found.ok_or_else(|| VaultError::KeyGone { file: file(), custody: kept })
}

fn go_down_the_ladder(name: &str) -> Result<Kept, VaultError> {
    let keyring = match keyring::keep(name) {
        Ok(key) => {
            let record = CustodyRecord::of(CustodyKind::Keyring, Vec::new());
            return Ok(Kept { key, record, notices: Vec::new() });
        }
        Err(error) => error.to_string(),
    };
    match keyutils::keep(name) {
        Ok(key) => Ok(Kept {
            key,
            record: CustodyRecord::of(CustodyKind::Keyutils, Vec::new()),
            notices: vec![Notice::KeyringUnavailable { reason: keyring }, in_kernel()],
        }),
        Err(error) => Err(VaultError::NoCustody { keyring, keyutils: error.to_string() }),
    }
}

/// The name of a vault's entry, below the service `doppelkey`: the vault's id in hexadecimal.
fn entry_name(vault_id: &[u8; 16]) -> String {
    hex(vault_id)
}

/// Takes the key in this file; makes the file, with a new key, if there is none.
fn keep_in_file(path: &Path) -> Result<VaultKey, VaultError> {
    if let Some(key) = read_key_file(path)? {
        return Ok(key);
    }
    let directory = path.parent().unwrap_or(Path::new("/"));
    if !directory.is_dir() {
        return Err(VaultError::MissingDirectory { directory: directory.to_owned() });
    }
    let key = Zeroizing::new(random::<KEY_LENGTH>()?);
    let mut text = Zeroizing::new(String::with_capacity(KEY_FILE_LENGTH));
    for byte in key.iter() {
        text.push(char::from(HEXADECIMAL[usize::from(byte >> 4)]));
        text.push(char::from(HEXADECIMAL[usize::from(byte & 15)]));
    }
    text.push('\n');
    match private_file::create_whole(path, text.as_bytes()) {
        Ok(()) => Ok(key),
        // Another process was first.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            read_key_file(path)?.ok_or(VaultError::Io { file: path.to_owned(), doing: "create", error })
        }
        Err(error) => Err(VaultError::Io { file: path.to_owned(), doing: "create", error }),
    }
}

/// The key in this file: 64 hexadecimal digits and a line feed. `None` if there is no such file.
fn read_key_file(path: &Path) -> Result<Option<VaultKey>, VaultError> {
    let failed = |error| VaultError::Io { file: path.to_owned(), doing: "read", error };
    let mut file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    #[cfg(unix)]
    {
        let metadata = file.metadata().map_err(failed)?;
        let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777;
        if mode & 0o077 != 0 {
            return Err(VaultError::ExposedKeyFile { file: path.to_owned(), mode });
        }
    }
    let mut text = Zeroizing::new([0; KEY_FILE_LENGTH + 1]);
    let mut length = 0;
    while length < text.len() {
        match file.read(&mut text[length..]).map_err(failed)? {
            0 => break,
            read => length += read,
        }
    }
    let bad = || VaultError::BadKeyFile { file: path.to_owned() };
    let (digits, rest) = text[..length].split_at_checked(2 * KEY_LENGTH).ok_or_else(bad)?;
    let digit = |digit: u8| HEXADECIMAL.iter().position(|known| *known == digit).ok_or_else(bad);
    let mut key = Zeroizing::new([0; KEY_LENGTH]);
    for (byte, pair) in key.iter_mut().zip(digits.as_chunks::<2>().0) {
        *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
    }
    if rest.is_empty() || rest == b"\n" { Ok(Some(key)) } else { Err(bad()) }
}

/// The path as the header keeps it.
fn recorded(path: &Path) -> Vec<u8> {
    // A path that is not UTF-8, or longer than any system takes, must be said anew each time.
    path.to_str().filter(|text| text.len() <= 4096).unwrap_or("").into()
}

/// The passphrase: the one given, that of the environment, or what is typed on the terminal.
fn passphrase(given: Option<&Zeroizing<String>>, is_new: bool) -> Result<Zeroizing<String>, VaultError> {
    let found = if let Some(given) = given {
        given.clone()
    } else if let Ok(set) = std::env::var("DOPPELKEY_PASSPHRASE") {
        Zeroizing::new(set)
    } else {
        let ask = |prompt| {
            rpassword::prompt_password(prompt).map(Zeroizing::new).map_err(|error| match error.kind() {
                io::ErrorKind::Interrupted => VaultError::Interrupted,
                _ => VaultError::NoPassphrase,
            })
        };
        if is_new {
            loop {
                let first = ask("New passphrase for the vault: ")?;
                if first.is_empty() || *first == *ask("The same again: ")? {
                    break first;
                }
                log::info!("they differ; once more");
            }
        } else {
            ask("Passphrase of the vault: ")?
        }
    };
    if found.is_empty() { Err(VaultError::EmptyPassphrase) } else { Ok(found) }
}

/// How a passphrase becomes a key (RFC 9106).
struct Stretching {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: [u8; 16],
}

impl Stretching {
    fn encode(&self) -> Vec<u8> {
        let numbers = [self.memory_kib, self.passes, self.lanes].map(u32::to_le_bytes);
        [numbers.as_flattened(), &self.salt].concat()
    }

    /// `None` for what no vault of ours says: a forged header must not make us take all memory.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (numbers, salt) = bytes.split_first_chunk::<12>()?;
        let &[memory_kib, passes, lanes] = numbers.as_chunks::<4>().0 else { return None };
        let [memory_kib, passes, lanes] = [memory_kib, passes, lanes].map(u32::from_le_bytes);
        let modest = memory_kib <= 1024 * 1024 && passes <= 64 && lanes <= 16;
        modest.then_some(Stretching { memory_kib, passes, lanes, salt: salt.try_into().ok()? })
    }

    fn stretch(&self, passphrase: &str) -> Option<VaultKey> {
        let parameters =
            argon2::Params::new(self.memory_kib, self.passes, self.lanes, Some(KEY_LENGTH)).ok()?;
        let argon2 = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, parameters);
        let mut key = Zeroizing::new([0; KEY_LENGTH]);
        argon2.hash_password_into(passphrase.as_bytes(), &self.salt, key.as_mut()).ok()?;
        Some(key)
    }
}

/// Compares what a custody gave back with what it was given; both are ours, so time tells nothing.
fn same(given: &VaultKey, got: &[u8]) -> bool {
    given.as_slice() == got
}

const KINDS: [CustodyKind; 5] = [
    CustodyKind::Ephemeral,
    CustodyKind::Keyring,
    CustodyKind::Keyutils,
    CustodyKind::File,
    CustodyKind::Passphrase,
];
const SERVICE: &str = "doppelkey";
const HEXADECIMAL: &[u8; 16] = b"0123456789abcdef";
const KEY_FILE_LENGTH: usize = 2 * KEY_LENGTH + 1;
