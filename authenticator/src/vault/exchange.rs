//! Credentials on their way in and out: what can be shown of one, our own JSON, and CXF.
//!
//! | format | what it keeps |
//! |---|---|
//! | [`json`] | everything; what leaves one vault arrives in another as it was |
//! | [`bitwarden`] | Bitwarden's plain JSON export: read only |
//! | [`keepassxc`] | KeePassXC's passkey file, and its XML export of a database: read only |
//! | [`cxf`] | FIDO's Credential Exchange Format 1.0, which other credential managers read: no counters, no credProtect, no flags of backup, and no large-blob key |

pub mod bitwarden;
pub mod cxf;
pub mod json;
pub mod keepassxc;
mod pkcs8;

use std::fmt;

use doppelkey_core::{Credential, User};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::text::{algorithm_name, base64url};

pub use pkcs8::{private_key_from_pkcs8, private_key_to_pkcs8};

/// What can be shown of a credential without its secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The credential id, in unpadded base64url.
    pub id: String,
    /// The RP ID.
    pub rp_id: String,
    /// The user handle, in unpadded base64url.
    pub user_id: String,
    /// `user.name`.
    pub user_name: Option<String>,
    /// `user.displayName`.
    pub user_display_name: Option<String>,
    /// The algorithm, as JOSE names it.
    pub algorithm: &'static str,
    /// The signature counter it started above; `None` if it has none.
    pub sign_count: Option<u32>,
    /// BE.
    pub backup_eligible: bool,
    /// BS.
    pub backup_state: bool,
    /// The credProtect level, 1 to 3.
    pub cred_protect: u8,
    /// Whether it has secrets for hmac-secret (PRF).
    pub hmac_secret: bool,
    /// Whether it has a largeBlobKey.
    pub large_blob_key: bool,
    /// thirdPartyPayment.
    pub third_party_payment: bool,
    /// Hidden by the relying party's signal.
    pub hidden: bool,
}

impl Summary {
    /// What can be shown of this credential.
    pub fn of(credential: &Credential) -> Self {
        Summary {
            id: base64url(&credential.id),
            rp_id: credential.rp_id.as_str().into(),
            user_id: base64url(&credential.user.id),
            user_name: credential.user.name.as_ref().map(|name| name.as_str().into()),
            user_display_name: credential.user.display_name.as_ref().map(|name| name.as_str().into()),
            algorithm: algorithm_name(credential.key.algorithm()),
            sign_count: credential.sign_count,
            backup_eligible: credential.backup_eligible,
            backup_state: credential.backup_state,
            cred_protect: credential.protection as u8,
            hmac_secret: credential.cred_random.is_some(),
            large_blob_key: credential.large_blob_key.is_some(),
            third_party_payment: credential.third_party_payment,
            hidden: credential.hidden,
        }
    }
}

/// Why something is not a credential, or a file not an export. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExchangeError {
    /// Where in the file: `accounts[0].items[3]`, say. Empty for the whole of it.
    pub place: String,
    /// What is wrong there.
    pub what: String,
}

impl ExchangeError {
    fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        ExchangeError { place: place.into(), what: what.into() }
    }
}

impl fmt::Display for ExchangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.place.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        f.write_str(&self.what)
    }
}

impl std::error::Error for ExchangeError {}

/// A passkey as other managers know one; each part that can be wrong with the name it has there.
struct Foreign<'a> {
    id: (&'static str, Option<Vec<u8>>),
    rp_id: (&'static str, &'a str),
    user_id: (&'static str, Option<Vec<u8>>),
    user_name: Option<&'a str>,
    user_display_name: Option<&'a str>,
    pkcs8: (&'static str, Option<Vec<u8>>),
}

impl Foreign<'_> {
    /// A synced credential without a counter: it was elsewhere, and may be still.
    fn credential(self, place: &str) -> Result<Credential, ExchangeError> {
        let dot = if place.is_empty() { "" } else { "." };
        let wrong = |member: &str| {
            ExchangeError::new(format!("{place}{dot}{member}"), "this is not what belongs here")
        };
        let name = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(cut);
        let pkcs8 = self.pkcs8.1.map(zeroize::Zeroizing::new);
        let key = pkcs8.and_then(|der| private_key_from_pkcs8(&der)).ok_or_else(|| wrong(self.pkcs8.0))?;
        let rp_id = heapless::String::try_from(self.rp_id.1).ok().filter(|rp_id| !rp_id.is_empty());
        Ok(Credential {
            id: self.id.1.and_then(|id| json::sized(&id)).ok_or_else(|| wrong(self.id.0))?,
            rp_id: rp_id.ok_or_else(|| wrong(self.rp_id.0))?,
            user: User {
                id: self.user_id.1.and_then(|id| json::sized(&id)).ok_or_else(|| wrong(self.user_id.0))?,
                name: name(self.user_name),
                display_name: name(self.user_display_name),
            },
            backup_eligible: true,
            backup_state: true,
            ..Credential::new(rp_id_hash(self.rp_id.1), key)
        })
    }
}

/// SHA-256 of an RP ID.
pub fn rp_id_hash(rp_id: &str) -> [u8; 32] {
    Sha256::digest(rp_id.as_bytes()).into()
}

/// Text of at most so many bytes; cut at a character if it is longer, as the core does at creation.
fn cut<const N: usize>(text: &str) -> heapless::String<N> {
    let end = (0..=text.len().min(N)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    heapless::String::try_from(&text[..end]).unwrap_or_default()
}

#[cfg(test)]
mod tests;
