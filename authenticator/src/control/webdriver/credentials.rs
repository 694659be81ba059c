//! Credentials of a virtual authenticator.

use axum::body::Bytes;
use axum::extract::{Path, State};
use doppelkey_core::{CredRandom, Credential, CredentialStore, LARGE_BLOBS_MAX, Slot, User};
use getrandom::SysRng;
use rand_core::{Rng as _, UnwrapErr};
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::response::{Answer, Error, ErrorCode, Success, parse};
use super::{Virtual, WebDriver};
use crate::control::v1::credentials::all;
use crate::large_blobs::LargeBlobs;
use crate::text::{base64url, from_base64url};
use crate::vault::exchange::{private_key_from_pkcs8, private_key_to_pkcs8, rp_id_hash};

/// Credential Parameters (§11.3.3).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Parameters {
    credential_id: String,
    is_resident_credential: bool,
    rp_id: String,
    private_key: String,
    #[serde(default)]
    user_handle: Option<String>,
    /// DevTools says −1 where WebDriver says null: no counter.
    #[serde(default)]
    sign_count: Option<i64>,
    #[serde(default)]
    large_blob: Option<String>,
    #[serde(default)]
    backup_eligibility: Option<bool>,
    #[serde(default)]
    backup_state: Option<bool>,
    #[serde(default)]
    user_name: Option<String>,
    #[serde(default)]
    user_display_name: Option<String>,
}

/// Add Credential (§11.3.3).
pub(super) async fn add(
    State(driver): State<WebDriver>,
    Path((session, id)): Path<(String, String)>,
    body: Bytes,
) -> Answer {
    let authenticator = driver.find(&session, &id)?;
    let parameters: Parameters = parse(&body)?;
    let credential = parameters.credential(&authenticator)?;
    let blob = parameters.large_blob(&authenticator)?;
    let mut store = authenticator.member.store().lock();
    if let (Some(blob), Some(key)) = (blob, &credential.large_blob_key) {
        let mut blobs = large_blobs(&mut *store)?;
        blobs.put(key, &blob, &mut UnwrapErr(SysRng));
        keep(&mut *store, &blobs)?;
    }
    store.put(&credential, None)?;
    Ok(Success(Value::Null))
}

/// The large-blob array of this store.
fn large_blobs(store: &mut dyn CredentialStore) -> Result<LargeBlobs, Error> {
    let mut array = [0; LARGE_BLOBS_MAX];
    let length = store.read(Slot::LargeBlobs, &mut array)?.unwrap_or(0);
    Ok(LargeBlobs::parse(&array[..length]))
}

fn keep(store: &mut dyn CredentialStore, blobs: &LargeBlobs) -> Result<(), Error> {
    let array = blobs.encode();
    if array.len() > LARGE_BLOBS_MAX {
        let message = format!("largeBlob does not fit: all of them have {LARGE_BLOBS_MAX} bytes, packed");
        return Err(Error::invalid(message));
    }
    Ok(store.write(Slot::LargeBlobs, &array)?)
}

/// Forgets the blob of a credential that goes.
fn forget_blob(store: &mut dyn CredentialStore, credential: &Credential) -> Result<(), Error> {
    let Some(key) = &credential.large_blob_key else { return Ok(()) };
    let mut blobs = large_blobs(store)?;
    if blobs.remove(key) { keep(store, &blobs) } else { Ok(()) }
}

impl Parameters {
    fn credential(&self, authenticator: &Virtual) -> Result<Credential, Error> {
        let wrong = |member: &str| Error::invalid(format!("{member} is not what it must be"));
        let bytes = |member: &str, text: &str| unpadded(text).ok_or_else(|| wrong(member));
        if self.is_resident_credential && !authenticator.resident_keys {
            return Err(Error::invalid("this authenticator has no resident keys"));
        }
        let user_id = match &self.user_handle {
            Some(handle) => bytes("userHandle", handle)?,
            None if self.is_resident_credential => return Err(wrong("userHandle")),
            None => Vec::new(),
        };
        let model = authenticator.member.model().configuration;
        let name = |name: &Option<String>| {
            name.as_deref()
                .filter(|name| !name.is_empty())
                .and_then(|name| heapless::String::try_from(name).ok())
        };
        let random = || {
            let mut random = CredRandom { with_uv: [0; 32], without_uv: [0; 32] };
            let filled =
                getrandom::fill(&mut random.with_uv).and_then(|()| getrandom::fill(&mut random.without_uv));
            filled.ok().map(|()| random)
        };
        let large_blob_key = match self.is_resident_credential && authenticator.large_blobs {
            true => {
                let mut key = Zeroizing::new([0; 32]);
                UnwrapErr(SysRng).fill_bytes(&mut *key);
                Some(key)
            }
            false => None,
        };
        Ok(Credential {
            id: heapless::Vec::from_slice(&bytes("credentialId", &self.credential_id)?)
                .ok()
                .filter(|id| !id.is_empty())
                .ok_or_else(|| wrong("credentialId"))?,
            rp_id: heapless::String::try_from(self.rp_id.as_str()).map_err(|_| wrong("rpId"))?,
            user: User {
                id: heapless::Vec::from_slice(&user_id).map_err(|_| wrong("userHandle"))?,
                name: name(&self.user_name),
                display_name: name(&self.user_display_name),
            },
            sign_count: counter(self.sign_count)?,
            backup_eligible: self.backup_eligibility.unwrap_or(model.backup_eligible),
            backup_state: self.backup_state.unwrap_or(model.backup_state),
            cred_random: authenticator.hmac_secret.then(random).flatten(),
            large_blob_key,
            hidden: !self.is_resident_credential,
            non_discoverable: !self.is_resident_credential,
            ..Credential::new(
                rp_id_hash(&self.rp_id),
                private_key_from_pkcs8(&bytes("privateKey", &self.private_key)?)
                    .ok_or_else(|| wrong("privateKey"))?,
            )
        })
    }
}

impl Parameters {
    /// The large blob, where the authenticator has a place for it.
    fn large_blob(&self, authenticator: &Virtual) -> Result<Option<Vec<u8>>, Error> {
        let Some(blob) = &self.large_blob else { return Ok(None) };
        if !authenticator.large_blobs || !self.is_resident_credential {
            let message = "a large blob needs a resident credential and an authenticator with largeBlob";
            return Err(Error::new(ErrorCode::UnsupportedOperation, message));
        }
        from_base64url(blob).map(Some).ok_or_else(|| Error::invalid("largeBlob is not what it must be"))
    }
}

/// Base64url as WebDriver has it, and with the padding that Selenium adds, which browsers' drivers accept.
fn unpadded(text: &str) -> Option<Vec<u8>> {
    from_base64url(text.trim_end_matches('='))
}

/// A counter as WebDriver and DevTools give it.
fn counter(count: Option<i64>) -> Result<Option<u32>, Error> {
    match count {
        None | Some(-1) => Ok(None),
        Some(count) => match u32::try_from(count) {
            Ok(count) => Ok(Some(count)),
            Err(_) => Err(Error::invalid("signCount is not a number of 32 bits")),
        },
    }
}

/// Get Credentials (§11.3.4).
pub(super) async fn list(
    State(driver): State<WebDriver>,
    Path((session, id)): Path<(String, String)>,
) -> Answer {
    let authenticator = driver.find(&session, &id)?;
    let mut listed = Vec::new();
    let blobs = large_blobs(&mut *authenticator.member.store().lock())?;
    for credential in all(&authenticator.member)? {
        let count = authenticator.member.store().lock().last_sign_count(&credential.id)?;
        let mut described = described(&credential, count)?;
        if let Some(blob) = credential.large_blob_key.as_ref().and_then(|key| blobs.get(key)) {
            described["largeBlob"] = base64url(&blob).into();
        }
        listed.push(described);
    }
    Ok(Success(Value::Array(listed)))
}

fn described(credential: &Credential, sign_count: Option<u32>) -> Result<Value, Error> {
    let key = private_key_to_pkcs8(&credential.key).ok_or_else(|| {
        Error::new(ErrorCode::UnsupportedOperation, "this algorithm's keys have no PKCS#8 form here")
    })?;
    let mut described = json!({
        "credentialId": base64url(&credential.id),
        "isResidentCredential": !credential.hidden,
        "rpId": credential.rp_id.as_str(),
        "privateKey": base64url(&key),
        "signCount": sign_count,
        "backupEligibility": credential.backup_eligible,
        "backupState": credential.backup_state,
    });
    if !credential.user.id.is_empty() {
        described["userHandle"] = base64url(&credential.user.id).into();
    }
    for (member, name) in
        [("userName", &credential.user.name), ("userDisplayName", &credential.user.display_name)]
    {
        if let Some(name) = name {
            described[member] = name.as_str().into();
        }
    }
    Ok(described)
}

/// Remove Credential (§11.3.5).
pub(super) async fn remove(
    State(driver): State<WebDriver>,
    Path((session, id, credential)): Path<(String, String, String)>,
) -> Answer {
    let authenticator = driver.find(&session, &id)?;
    let mut store = authenticator.member.store().lock();
    let credential = find(&mut *store, &credential)?;
    store.remove(&credential.id)?;
    forget_blob(&mut *store, &credential)?;
    Ok(Success(Value::Null))
}

/// Remove All Credentials (§11.3.6).
pub(super) async fn remove_all(
    State(driver): State<WebDriver>,
    Path((session, id)): Path<(String, String)>,
) -> Answer {
    let authenticator = driver.find(&session, &id)?;
    for credential in all(&authenticator.member)? {
        let mut store = authenticator.member.store().lock();
        store.remove(&credential.id)?;
        forget_blob(&mut *store, &credential)?;
    }
    Ok(Success(Value::Null))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Properties {
    #[serde(default)]
    backup_eligibility: Option<bool>,
    #[serde(default)]
    backup_state: Option<bool>,
    #[serde(default, deserialize_with = "present")]
    sign_count: Option<Option<i64>>,
}

/// A member that is there, though it may be null.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Option<i64>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Set Credential Properties (§11.3.8).
pub(super) async fn set_properties(
    State(driver): State<WebDriver>,
    Path((session, id, credential)): Path<(String, String, String)>,
    body: Bytes,
) -> Answer {
    let authenticator = driver.find(&session, &id)?;
    let Properties { backup_eligibility, backup_state, sign_count } = parse(&body)?;
    // Nobody signs between what is read and what is written.
    let mut store = authenticator.member.store().lock();
    let mut credential = find(&mut *store, &credential)?;
    credential.sign_count = match sign_count {
        Some(count) => counter(count)?,
        None => store.last_sign_count(&credential.id)?,
    };
    credential.backup_eligible = backup_eligibility.unwrap_or(credential.backup_eligible);
    credential.backup_state = backup_state.unwrap_or(credential.backup_state);
    authenticator.teller.as_it_is(|| store.put(&credential, None))?;
    Ok(Success(Value::Null))
}

fn find(store: &mut dyn CredentialStore, id: &str) -> Result<Credential, Error> {
    let none = || Error::invalid(format!("there is no credential {id}"));
    let id = unpadded(id).ok_or_else(none)?;
    store.get(&id)?.ok_or_else(none)
}
