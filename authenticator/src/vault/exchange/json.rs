//! Our own format: a JSON object that keeps everything of a credential.
//!
//! `{"format": "doppelkey credentials 1", "credentials": [ … ]}`; a member that is not known here is refused, so that
//! nothing is lost unnoticed. Bytes are unpadded base64url.

use doppelkey_core::{CredRandom, Credential, CredentialProtection, User};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{ExchangeError, cut, private_key_from_pkcs8, private_key_to_pkcs8, rp_id_hash};
use crate::text::{base64url, from_base64url};

/// What the member `format` says.
pub const FORMAT: &str = "doppelkey credentials 1";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: String,
    credentials: Vec<Record>,
}

#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct Record {
    id: String,
    rp_id: String,
    user_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user_display_name: Option<String>,
    private_key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sign_count: Option<u32>,
    backup_eligible: bool,
    backup_state: bool,
    cred_protect: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cred_random_with_uv: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cred_random_without_uv: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    large_blob_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cred_blob: Option<String>,
    #[serde(default)]
    third_party_payment: bool,
    #[serde(default)]
    hidden: bool,
    /// Left out where it is not so: versions of before know it not, and take no file with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    non_discoverable: bool,
}

/// These credentials, keys and all, as text.
///
/// # Errors
/// [`ExchangeError`] for a key that cannot be carried.
pub fn write(credentials: &[Credential]) -> Result<String, ExchangeError> {
    let records = credentials.iter().enumerate().map(|(at, credential)| Record::of(credential, at));
    let file = File { format: FORMAT.into(), credentials: records.collect::<Result<_, _>>()? };
    serde_json::to_string_pretty(&file).map_err(|error| ExchangeError::new("", error.to_string()))
}

/// The credentials in this text. Orders are left out: the store gives them.
///
/// # Errors
/// [`ExchangeError`], with the place in the text of what is not as it should be. Nothing is read in part.
pub fn read(text: &str) -> Result<Vec<Credential>, ExchangeError> {
    let file: File = serde_json::from_str(text).map_err(|error| ExchangeError::new("", error.to_string()))?;
    if file.format != FORMAT {
        return Err(ExchangeError::new("format", format!("it is not {FORMAT:?}")));
    }
    file.credentials.iter().enumerate().map(|(at, record)| record.credential(at)).collect()
}

impl Record {
    fn of(credential: &Credential, at: usize) -> Result<Self, ExchangeError> {
        let key = private_key_to_pkcs8(&credential.key).ok_or_else(|| {
            ExchangeError::new(format!("credentials[{at}]"), "its algorithm's keys cannot be exported")
        })?;
        let random = credential.cred_random.as_ref();
        Ok(Record {
            id: base64url(&credential.id),
            rp_id: credential.rp_id.as_str().into(),
            user_id: base64url(&credential.user.id),
            user_name: credential.user.name.as_ref().map(|name| name.as_str().into()),
            user_display_name: credential.user.display_name.as_ref().map(|name| name.as_str().into()),
            private_key: base64url(&key),
            sign_count: credential.sign_count,
            backup_eligible: credential.backup_eligible,
            backup_state: credential.backup_state,
            cred_protect: credential.protection as u8,
            cred_random_with_uv: random.map(|random| base64url(&random.with_uv)),
            cred_random_without_uv: random.map(|random| base64url(&random.without_uv)),
            large_blob_key: credential.large_blob_key.as_ref().map(|key| base64url(&**key)),
            cred_blob: credential.cred_blob.as_ref().map(|blob| base64url(blob)),
            third_party_payment: credential.third_party_payment,
            hidden: credential.hidden,
            non_discoverable: credential.non_discoverable,
        })
    }

    fn credential(&self, at: usize) -> Result<Credential, ExchangeError> {
        let wrong = |member: &str| {
            ExchangeError::new(format!("credentials[{at}].{member}"), "this is not what belongs here")
        };
        let bytes = |member: &str, text: &str| from_base64url(text).ok_or_else(|| wrong(member));
        let key = |member: &str, text: &Option<String>| match text {
            Some(text) => Ok(Some(<[u8; 32]>::try_from(bytes(member, text)?).map_err(|_| wrong(member))?)),
            None => Ok(None),
        };
        let cred_random = match (
            key("cred_random_with_uv", &self.cred_random_with_uv)?,
            key("cred_random_without_uv", &self.cred_random_without_uv)?,
        ) {
            (Some(with_uv), Some(without_uv)) => Some(CredRandom { with_uv, without_uv }),
            (None, None) => None,
            _ => return Err(wrong("cred_random_with_uv")),
        };
        let user_id = bytes("user_id", &self.user_id)?;
        Ok(Credential {
            id: sized(&bytes("id", &self.id)?).ok_or_else(|| wrong("id"))?,
            rp_id_hash: rp_id_hash(&self.rp_id),
            rp_id: heapless::String::try_from(self.rp_id.as_str()).map_err(|_| wrong("rp_id"))?,
            user: User {
                id: heapless::Vec::from_slice(&user_id).map_err(|_| wrong("user_id"))?,
                name: self.user_name.as_deref().map(cut),
                display_name: self.user_display_name.as_deref().map(cut),
            },
            key: private_key_from_pkcs8(&bytes("private_key", &self.private_key)?)
                .ok_or_else(|| wrong("private_key"))?,
            order: 0,
            sign_count: self.sign_count,
            backup_eligible: self.backup_eligible,
            backup_state: self.backup_state,
            protection: CredentialProtection::from_number(self.cred_protect.into())
                .ok_or_else(|| wrong("cred_protect"))?,
            cred_random,
            large_blob_key: key("large_blob_key", &self.large_blob_key)?.map(Zeroizing::new),
            cred_blob: match &self.cred_blob {
                Some(blob) => {
                    let blob = heapless::Vec::from_slice(&bytes("cred_blob", blob)?);
                    Some(Zeroizing::new(blob.map_err(|_| wrong("cred_blob"))?))
                }
                None => None,
            },
            third_party_payment: self.third_party_payment,
            hidden: self.hidden || self.non_discoverable,
            non_discoverable: self.non_discoverable,
        })
    }
}

/// An id of at least one byte that fits.
pub(super) fn sized<const N: usize>(bytes: &[u8]) -> Option<heapless::Vec<u8, N>> {
    heapless::Vec::from_slice(bytes).ok().filter(|bytes| !bytes.is_empty())
}
