//! FIDO's Credential Exchange Format 1.0: the passkeys of it, in plain JSON as managers write it to a file.
//!
//! Reading takes the passkeys out and counts what else there was; writing gives each passkey an item of its own.

use doppelkey_core::{CredRandom, Credential, User};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use super::json::sized;
use super::{ExchangeError, cut, private_key_from_pkcs8, private_key_to_pkcs8, rp_id_hash};
use crate::text::{base64url, from_base64url};

/// What was in a file.
#[derive(Debug)]
pub struct Imported {
    /// The passkeys.
    pub credentials: Vec<Credential>,
    /// How many entries were passwords, notes and the like, which an authenticator has no use for.
    pub left_out: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    version: Version,
    exporter_rp_id: String,
    exporter_display_name: String,
    timestamp: u64,
    accounts: Vec<Account>,
}

#[derive(Serialize, Deserialize)]
struct Version {
    major: u8,
    minor: u8,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Account {
    id: String,
    username: String,
    email: String,
    #[serde(default)]
    collections: Vec<Value>,
    items: Vec<Item>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    id: String,
    title: String,
    credentials: Vec<Value>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Passkey {
    /// Always `passkey`.
    #[serde(rename = "type")]
    kind: String,
    credential_id: String,
    rp_id: String,
    username: String,
    user_display_name: String,
    user_handle: String,
    key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fido2_extensions: Option<Extensions>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Extensions {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hmac_credentials: Option<HmacCredentials>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cred_blob: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payments: Option<bool>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct HmacCredentials {
    algorithm: String,
    #[serde(rename = "credWithUV")]
    with_uv: String,
    #[serde(rename = "credWithoutUV")]
    without_uv: String,
}

/// These credentials, keys and all, as a CXF document made at this time (seconds since 1970).
///
/// # Errors
/// [`ExchangeError`] for a key that cannot be carried, with the credential's place.
pub fn write(credentials: &[Credential], timestamp: u64) -> Result<String, ExchangeError> {
    let items = credentials.iter().enumerate().map(|(at, credential)| item(credential, at));
    let account = Account {
        id: base64url(b"doppelkey"),
        username: String::new(),
        email: String::new(),
        collections: Vec::new(),
        items: items.collect::<Result<_, _>>()?,
    };
    let header = Header {
        version: Version { major: 1, minor: 0 },
        exporter_rp_id: "doppelkey.invalid".into(),
        exporter_display_name: "Doppelkey".into(),
        timestamp,
        accounts: vec![account],
    };
    serde_json::to_string_pretty(&header).map_err(|error| ExchangeError::new("", error.to_string()))
}

/// The passkeys in a CXF document of version 1. They come as synced credentials: they were elsewhere, and may be still.
///
/// # Errors
/// [`ExchangeError`], with the place in the text of what is not as it should be. Nothing is read in part.
pub fn read(text: &str) -> Result<Imported, ExchangeError> {
    let header: Header =
        serde_json::from_str(text).map_err(|error| ExchangeError::new("", error.to_string()))?;
    if header.version.major != 1 {
        let Version { major, minor } = header.version;
        return Err(ExchangeError::new("version", format!("{major}.{minor} is not known here; 1.0 is")));
    }
    let mut imported = Imported { credentials: Vec::new(), left_out: 0 };
    for (account, Account { items, .. }) in header.accounts.into_iter().enumerate() {
        for (item, Item { credentials, .. }) in items.into_iter().enumerate() {
            for (at, entry) in credentials.into_iter().enumerate() {
                if entry.get("type").and_then(Value::as_str) != Some("passkey") {
                    imported.left_out += 1;
                    continue;
                }
                let place = format!("accounts[{account}].items[{item}].credentials[{at}]");
                let passkey: Passkey = serde_json::from_value(entry)
                    .map_err(|error| ExchangeError::new(place.clone(), error.to_string()))?;
                imported.credentials.push(passkey.credential(&place)?);
            }
        }
    }
    Ok(imported)
}

fn item(credential: &Credential, at: usize) -> Result<Item, ExchangeError> {
    let passkey = Passkey::of(credential).ok_or_else(|| {
        ExchangeError::new(format!("items[{at}]"), "its algorithm's keys cannot be exported")
    })?;
    let entry = serde_json::to_value(passkey).map_err(|error| ExchangeError::new("", error.to_string()))?;
    Ok(Item {
        // Unique in the document, and the same at every export.
        id: base64url(&rp_id_hash(&base64url(&credential.id))[..16]),
        title: credential.rp_id.as_str().into(),
        credentials: vec![entry],
    })
}

impl Passkey {
    fn of(credential: &Credential) -> Option<Self> {
        let text =
            |name: &Option<heapless::String<64>>| name.as_ref().map_or("", |name| name.as_str()).to_owned();
        let hmac_credentials = credential.cred_random.as_ref().map(|random| HmacCredentials {
            algorithm: HMAC_SHA256.into(),
            with_uv: base64url(&random.with_uv),
            without_uv: base64url(&random.without_uv),
        });
        let extensions = Extensions {
            hmac_credentials,
            cred_blob: credential.cred_blob.as_ref().map(|blob| base64url(blob)),
            payments: credential.third_party_payment.then_some(true),
        };
        let is_plain = extensions.hmac_credentials.is_none()
            && extensions.cred_blob.is_none()
            && extensions.payments.is_none();
        Some(Passkey {
            kind: "passkey".into(),
            credential_id: base64url(&credential.id),
            rp_id: credential.rp_id.as_str().into(),
            username: text(&credential.user.name),
            user_display_name: text(&credential.user.display_name),
            user_handle: base64url(&credential.user.id),
            key: base64url(&private_key_to_pkcs8(&credential.key)?),
            fido2_extensions: (!is_plain).then_some(extensions),
        })
    }

    fn credential(&self, place: &str) -> Result<Credential, ExchangeError> {
        let wrong =
            |member: &str| ExchangeError::new(format!("{place}.{member}"), "this is not what belongs here");
        let bytes = |member: &str, text: &str| from_base64url(text).ok_or_else(|| wrong(member));
        let secret = |text: &str| -> Result<[u8; 32], ExchangeError> {
            let member = "fido2Extensions.hmacCredentials";
            bytes(member, text)?.try_into().map_err(|_| wrong(member))
        };
        let name = |text: &str| (!text.is_empty()).then(|| cut(text));
        let extensions = self.fido2_extensions.as_ref();
        let cred_random = match extensions.and_then(|extensions| extensions.hmac_credentials.as_ref()) {
            Some(hmac) if hmac.algorithm == HMAC_SHA256 => {
                Some(CredRandom { with_uv: secret(&hmac.with_uv)?, without_uv: secret(&hmac.without_uv)? })
            }
            _ => None,
        };
        let cred_blob = match extensions.and_then(|extensions| extensions.cred_blob.as_deref()) {
            Some(blob) => {
                let member = "fido2Extensions.credBlob";
                let blob = heapless::Vec::from_slice(&bytes(member, blob)?).map_err(|_| wrong(member))?;
                Some(Zeroizing::new(blob))
            }
            None => None,
        };
        Ok(Credential {
            id: sized(&bytes("credentialId", &self.credential_id)?).ok_or_else(|| wrong("credentialId"))?,
            rp_id: heapless::String::try_from(self.rp_id.as_str()).map_err(|_| wrong("rpId"))?,
            user: User {
                id: sized(&bytes("userHandle", &self.user_handle)?).ok_or_else(|| wrong("userHandle"))?,
                name: name(&self.username),
                display_name: name(&self.user_display_name),
            },
            backup_eligible: true,
            backup_state: true,
            cred_random,
            cred_blob,
            third_party_payment: extensions.and_then(|extensions| extensions.payments).unwrap_or(false),
            ..Credential::new(
                rp_id_hash(&self.rp_id),
                private_key_from_pkcs8(&bytes("key", &self.key)?).ok_or_else(|| wrong("key"))?,
            )
        })
    }
}

const HMAC_SHA256: &str = "hmac-sha256";
