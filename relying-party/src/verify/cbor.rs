//! CBOR as authenticators write it: checked strictly first, then read by `ciborium`.
//!
//! `ciborium` alone is too lax for signed structures: it accepts duplicate keys, indefinite lengths and
//! integers longer than need be, stops silently at the end of the first item, and recurses 256 deep. The
//! walk here refuses all that (CTAP2 canonical form, but any order of keys, as clients re-encode attestation
//! objects), and tells where an item ends.

use std::fmt;

pub(crate) use ciborium::Value;

/// Deepest nesting accepted; the attestation object of a compound attestation needs 6.
const MAX_DEPTH: u8 = 12;
/// Most entries of one map; the largest map in use has 12.
const MAX_MAP_ENTRIES: u64 = 128;

/// Why bytes are not acceptable CBOR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CborError {
    /// The bytes end inside an item.
    Truncated,
    /// Bytes are left over after the item.
    Trailing(usize),
    /// Indefinite length, reserved encodings, or an argument longer than need be.
    NotCanonical,
    /// Nested too deeply, or a map with too many entries.
    TooLarge,
    /// Text that is not UTF-8.
    TextNotUtf8,
    /// A map has a key twice.
    DuplicateKey,
    /// A member is missing, or is of another type than the specification says.
    Member(&'static str),
}

impl fmt::Display for CborError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => write!(f, "ends inside an item"),
            Self::Trailing(count) => write!(f, "{count} bytes left over"),
            Self::NotCanonical => write!(f, "not in canonical CBOR"),
            Self::TooLarge => write!(f, "nested too deeply or too large"),
            Self::TextNotUtf8 => write!(f, "text is not UTF-8"),
            Self::DuplicateKey => write!(f, "a map has a key twice"),
            Self::Member(name) => write!(f, "member {name} is missing or of the wrong type"),
        }
    }
}

/// Reads one item that must fill `bytes`.
pub(crate) fn read(bytes: &[u8]) -> Result<Value, CborError> {
    let (value, length) = read_prefix(bytes)?;
    match bytes.len() - length {
        0 => Ok(value),
        left => Err(CborError::Trailing(left)),
    }
}

/// Reads the item at the start of `bytes`, and says how many bytes it takes.
pub(crate) fn read_prefix(bytes: &[u8]) -> Result<(Value, usize), CborError> {
    let mut walk = Walk { bytes, at: 0 };
    walk.item(0)?;
    let length = walk.at;
    let value: Value = ciborium::from_reader(&bytes[..length]).map_err(|_| CborError::NotCanonical)?;
    if has_duplicate_key(&value) {
        return Err(CborError::DuplicateKey);
    }
    Ok((value, length))
}

/// The value of a text key of a map.
pub(crate) fn member<'v>(map: &'v [(Value, Value)], key: &str) -> Option<&'v Value> {
    map.iter().find(|(name, _)| name.as_text() == Some(key)).map(|(_, value)| value)
}

/// The value of an integer key of a map.
pub(crate) fn labelled(map: &[(Value, Value)], label: i64) -> Option<&Value> {
    map.iter().find(|(name, _)| integer(name) == Some(label)).map(|(_, value)| value)
}

/// An integer that fits 64 bits with a sign.
pub(crate) fn integer(value: &Value) -> Option<i64> {
    i64::try_from(i128::from(value.as_integer()?)).ok()
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Walk<'_> {
    fn item(&mut self, depth: u8) -> Result<(), CborError> {
        if depth > MAX_DEPTH {
            return Err(CborError::TooLarge);
        }
        let initial = self.take(1)?[0];
        let (major, info) = (initial >> 5, initial & 0x1f);
        if major == 7 {
            return self.simple(info);
        }
        let argument = self.argument(info)?;
        match major {
            0 | 1 => Ok(()),
            2 => self.string(argument).map(drop),
            3 => std::str::from_utf8(self.string(argument)?).map(drop).map_err(|_| CborError::TextNotUtf8),
            4 => self.items(argument, depth),
            5 if argument > MAX_MAP_ENTRIES => Err(CborError::TooLarge),
            5 => self.items(argument * 2, depth),
            // tags: none of the structures of WebAuthn has one
            _ => Err(CborError::NotCanonical),
        }
    }

    fn items(&mut self, count: u64, depth: u8) -> Result<(), CborError> {
        // every item takes a byte at least, so a count beyond the input ends early
        (0..count).try_for_each(|_| self.item(depth + 1))
    }

    fn argument(&mut self, info: u8) -> Result<u64, CborError> {
        let (value, least) = match info {
            0..=23 => return Ok(u64::from(info)),
            24 => (u64::from(self.take(1)?[0]), 24),
            25 => (self.unsigned(2)?, 1 << 8),
            26 => (self.unsigned(4)?, 1 << 16),
            27 => (self.unsigned(8)?, 1 << 32),
            _ => return Err(CborError::NotCanonical),
        };
        if value < least { Err(CborError::NotCanonical) } else { Ok(value) }
    }

    fn simple(&mut self, info: u8) -> Result<(), CborError> {
        match info {
            20..=22 => Ok(()),
            25 => self.take(2).map(drop),
            26 => self.take(4).map(drop),
            27 => self.take(8).map(drop),
            _ => Err(CborError::NotCanonical),
        }
    }

    fn unsigned(&mut self, width: usize) -> Result<u64, CborError> {
        Ok(self.take(width)?.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    fn string(&mut self, length: u64) -> Result<&[u8], CborError> {
        self.take(usize::try_from(length).map_err(|_| CborError::Truncated)?)
    }

    fn take(&mut self, count: usize) -> Result<&[u8], CborError> {
        let end = self.at.checked_add(count).ok_or(CborError::Truncated)?;
        let taken = self.bytes.get(self.at..end).ok_or(CborError::Truncated)?;
        self.at = end;
        Ok(taken)
    }
}

/// Quadratic in the entries of one map, which the walk bounds.
fn has_duplicate_key(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(has_duplicate_key),
        Value::Map(entries) => entries.iter().enumerate().any(|(at, (key, value))| {
            entries[..at].iter().any(|(earlier, _)| earlier == key)
                || has_duplicate_key(key)
                || has_duplicate_key(value)
        }),
        _ => false,
    }
}
