//! Authenticator data (WebAuthn Level 3 §6.1) and attested credential data (§6.5.1).
//!
//! | bytes | what |
//! |---|---|
//! | 0..32 | SHA-256 of the RP ID |
//! | 32 | flags: UP 0x01, UV 0x04, BE 0x08, BS 0x10, AT 0x40, ED 0x80 |
//! | 33..37 | signature counter, big-endian |
//! | 37..53 | if AT: AAGUID |
//! | 53..55 | if AT: length L of the credential id, big-endian |
//! | 55..55+L | if AT: credential id |
//! | then | if AT: credential public key, one CBOR map |
//! | then | if ED: extension outputs, one CBOR map |

use std::fmt;

use super::cbor::{self, CborError, Value};
use super::options::RelyingParty;
use super::rejection::Fact;
use super::signature::Hash;

/// The flags byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flags(pub(crate) u8);

impl Flags {
    pub(crate) fn up(self) -> bool {
        self.0 & 0x01 != 0
    }
    pub(crate) fn uv(self) -> bool {
        self.0 & 0x04 != 0
    }
    pub(crate) fn be(self) -> bool {
        self.0 & 0x08 != 0
    }
    pub(crate) fn bs(self) -> bool {
        self.0 & 0x10 != 0
    }
    pub(crate) fn at(self) -> bool {
        self.0 & 0x40 != 0
    }
    pub(crate) fn ed(self) -> bool {
        self.0 & 0x80 != 0
    }
}

/// Authenticator data, taken apart; borrows the bytes it came from.
#[derive(Debug)]
pub(crate) struct AuthenticatorData<'a> {
    pub(crate) rp_id_hash: &'a [u8],
    pub(crate) flags: Flags,
    pub(crate) sign_count: u32,
    pub(crate) attested: Option<AttestedCredential<'a>>,
    pub(crate) extensions: Option<&'a [u8]>,
}

/// Attested credential data.
#[derive(Debug)]
pub(crate) struct AttestedCredential<'a> {
    pub(crate) aaguid: [u8; 16],
    pub(crate) id: &'a [u8],
    /// The credential public key as it stands in the bytes.
    pub(crate) key_bytes: &'a [u8],
    /// The same, read.
    pub(crate) key: Value,
}

/// Why authenticator data is not laid out as its flags say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthenticatorDataError {
    /// Shorter than its fixed part, or than AT promises.
    TooShort,
    /// AT is 0 where a credential must be attested.
    NoAttestedCredential,
    /// The credential public key is not one CBOR map.
    KeyNotCbor(CborError),
    /// ED is 1 and the extension outputs are not one CBOR map.
    ExtensionsNotCbor(CborError),
    /// Bytes are left over after everything that the flags promise.
    Trailing(usize),
}

impl fmt::Display for AuthenticatorDataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort => write!(f, "too short"),
            Self::NoAttestedCredential => write!(f, "AT is 0: no credential is attested"),
            Self::KeyNotCbor(why) => write!(f, "credential public key: {why}"),
            Self::ExtensionsNotCbor(why) => write!(f, "extension outputs: {why}"),
            Self::Trailing(count) => write!(f, "{count} bytes left over"),
        }
    }
}

impl<'a> AuthenticatorData<'a> {
    /// Takes authenticator data apart; nothing may be missing and nothing left over.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, AuthenticatorDataError> {
        use AuthenticatorDataError as Error;
        let (head, mut rest) = bytes.split_at_checked(37).ok_or(Error::TooShort)?;
        let flags = Flags(head[32]);
        let sign_count = u32::from_be_bytes(head[33..].try_into().expect("37 - 33 = 4 bytes"));
        let attested = if flags.at() {
            let (attested, after) = AttestedCredential::parse(rest)?;
            rest = after;
            Some(attested)
        } else {
            None
        };
        let extensions = if flags.ed() {
            let (value, length) = cbor::read_prefix(rest).map_err(Error::ExtensionsNotCbor)?;
            if !value.is_map() {
                return Err(Error::ExtensionsNotCbor(CborError::Member("extensions")));
            }
            let (extensions, after) = rest.split_at(length);
            rest = after;
            Some(extensions)
        } else {
            None
        };
        if !rest.is_empty() {
            return Err(Error::Trailing(rest.len()));
        }
        Ok(Self { rp_id_hash: &head[..32], flags, sign_count, attested, extensions })
    }

    pub(crate) fn check_rp_id(&self, rp: &RelyingParty) -> Result<String, Fact> {
        if self.rp_id_hash == Hash::Sha256.of(rp.rp_id.as_bytes()) {
            Ok(format!("rpIdHash is that of {}", rp.rp_id))
        } else {
            Err(Fact::RpIdMismatch)
        }
    }

    pub(crate) fn check_user_presence(&self) -> Result<String, Fact> {
        if self.flags.up() { Ok("UP is 1".into()) } else { Err(Fact::UserNotPresent) }
    }

    pub(crate) fn check_user_verification(&self, required: bool) -> Result<String, Fact> {
        match (self.flags.uv(), required) {
            (true, _) => Ok("UV is 1".into()),
            (false, false) => Ok("UV is 0, and was not required".into()),
            (false, true) => Err(Fact::UserNotVerified),
        }
    }

    pub(crate) fn check_backup_flags(&self) -> Result<String, Fact> {
        match (self.flags.be(), self.flags.bs()) {
            (false, true) => Err(Fact::BackedUpButNotEligible),
            (false, false) => Ok("bound to its device".into()),
            (true, false) => Ok("may be backed up, is not".into()),
            (true, true) => Ok("backed up".into()),
        }
    }
}

impl<'a> AttestedCredential<'a> {
    fn parse(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), AuthenticatorDataError> {
        use AuthenticatorDataError as Error;
        let (head, rest) = bytes.split_at_checked(18).ok_or(Error::TooShort)?;
        let aaguid = head[..16].try_into().expect("16 bytes");
        let id_length = usize::from(u16::from_be_bytes([head[16], head[17]]));
        let (id, rest) = rest.split_at_checked(id_length).ok_or(Error::TooShort)?;
        let (key, length) = cbor::read_prefix(rest).map_err(Error::KeyNotCbor)?;
        if !key.is_map() {
            return Err(Error::KeyNotCbor(CborError::Member("key")));
        }
        let (key_bytes, rest) = rest.split_at(length);
        Ok((Self { aaguid, id, key_bytes, key }, rest))
    }
}
