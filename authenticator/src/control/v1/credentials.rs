//! Credentials: read back, injected, deleted; and the PIN.
//!
//! `POST …/credentials` takes one record of the exchange format (`vault/exchange/json.rs`), with its private key; what
//! is read back has none unless `?with_keys=true` asks for it.

use axum::extract::{Path, Query, State};
use axum::routing::get;
use axum::{Json, Router};
use doppelkey_core::{Credential, Slot, StoreError, pin_status, remove_pin};
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::client::Client;
use crate::control::blocking;
use crate::control::fleet::{Fleet, Member};
use crate::control::reply::{Answered, Body, Failure};
use crate::text::from_base64url;
use crate::vault::exchange::{self, Summary};

pub(super) fn routes() -> Router<Fleet> {
    Router::new()
        .route("/v1/devices/{number}/credentials", get(list).post(inject).delete(delete_all))
        .route("/v1/devices/{number}/credentials/{id}", get(show).delete(delete))
        .route("/v1/devices/{number}/pin", get(show_pin).put(set_pin).delete(delete_pin))
}

#[derive(Deserialize)]
struct WithKeys {
    #[serde(default)]
    with_keys: bool,
}

async fn list(
    State(fleet): State<Fleet>,
    Path(number): Path<u32>,
    Query(WithKeys { with_keys }): Query<WithKeys>,
) -> Answered {
    let member = fleet.member(number)?;
    blocking(move || {
        let credentials = all(&member)?;
        Ok(Json(match with_keys {
            true => record(&member, credentials)?,
            false => json!({ "credentials": Vec::from_iter(credentials.iter().map(Summary::of)) }),
        }))
    })
    .await
}

async fn show(
    State(fleet): State<Fleet>,
    Path((number, id)): Path<(u32, String)>,
    Query(WithKeys { with_keys }): Query<WithKeys>,
) -> Answered {
    let member = fleet.member(number)?;
    blocking(move || {
        let credential = find(&member, &id)?;
        Ok(Json(match with_keys {
            true => record(&member, vec![credential])?["credentials"][0].take(),
            false => json!(Summary::of(&credential)),
        }))
    })
    .await
}

async fn inject(State(fleet): State<Fleet>, Path(number): Path<u32>, Body(record): Body<Value>) -> Answered {
    let member = fleet.member(number)?;
    blocking(move || {
        let file = json!({ "format": exchange::json::FORMAT, "credentials": [record] });
        let hint = "send what GET …/credentials/ID?with_keys=true answers";
        let credentials = exchange::json::read(&file.to_string())
            .map_err(|error| Failure::bad_request(error.to_string(), hint))?;
        let mut store = member.store().lock();
        for credential in &credentials {
            store.put(credential, None)?;
        }
        Ok(Json(json!({ "credentials": Vec::from_iter(credentials.iter().map(Summary::of)) })))
    })
    .await
}

async fn delete(State(fleet): State<Fleet>, Path((number, id)): Path<(u32, String)>) -> Answered {
    let member = fleet.member(number)?;
    blocking(move || {
        let credential = find(&member, &id)?;
        let deleted = member.store().lock().remove(&credential.id)?;
        Ok(Json(json!({ "deleted": u32::from(deleted) })))
    })
    .await
}

async fn delete_all(State(fleet): State<Fleet>, Path(number): Path<u32>) -> Answered {
    let member = fleet.member(number)?;
    blocking(move || {
        let credentials = all(&member)?;
        let mut store = member.store().lock();
        for credential in &credentials {
            store.remove(&credential.id)?;
        }
        Ok(Json(json!({ "deleted": credentials.len() })))
    })
    .await
}

/// Every credential of a device, by relying party, newest first.
pub(in crate::control) fn all(member: &Member) -> Result<Vec<Credential>, StoreError> {
    let mut store = member.store().lock();
    let (mut credentials, mut after) = (Vec::new(), None);
    while let Some(newest) = store.next_rp(after.as_ref())? {
        let mut before = u64::MAX;
        while let Some(credential) = store.newest_before(&newest.rp_id_hash, before)? {
            before = credential.order;
            credentials.push(credential);
        }
        after = Some(newest.rp_id_hash);
    }
    Ok(credentials)
}

fn find(member: &Member, id: &str) -> Result<Credential, Failure> {
    let none = || Failure::not_found(format!("there is no credential {id}"), "GET …/credentials lists them");
    let id = from_base64url(id).ok_or_else(none)?;
    member.store().lock().get(&id)?.ok_or_else(none)
}

/// Records that another authenticator can take: their signature counters go on where they are now.
fn record(member: &Member, mut credentials: Vec<Credential>) -> Result<Value, Failure> {
    for credential in &mut credentials {
        credential.sign_count = member.store().lock().last_sign_count(&credential.id)?;
    }
    let written = exchange::json::write(&credentials).ok().and_then(|text| serde_json::from_str(&text).ok());
    written.ok_or_else(|| Failure::bad_request("this key cannot be exported", "leave with_keys out"))
}

async fn show_pin(State(fleet): State<Fleet>, Path(number): Path<u32>) -> Answered {
    let member = fleet.member(number)?;
    blocking(move || pin(&member).map(Json)).await
}

fn pin(member: &Member) -> Result<Value, Failure> {
    let status = pin_status(&mut member.store().clone())?;
    let configuration = member.model().configuration;
    Ok(json!({
        "set": status.is_set,
        "retries": configuration.pin_retries.saturating_sub(status.wrong_pins),
        "uv_retries": configuration.uv_retries.saturating_sub(status.failed_verifications),
    }))
}

#[derive(Deserialize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct NewPin {
    pin: String,
}

/// Sets the PIN, whatever it was, with all its retries. One that is refused leaves the one before, as it was.
async fn set_pin(State(fleet): State<Fleet>, Path(number): Path<u32>, Body(new): Body<NewPin>) -> Answered {
    let member = fleet.member(number)?;
    blocking(move || {
        if !member.is_powered() {
            let hint = "PUT …/power {\"on\": true} first";
            return Err(Failure::conflict("the device has no power, and sets its PIN itself", hint));
        }
        let before = kept_pin(&member)?;
        forget_pin(&member)?;
        let rng = rand_core::UnwrapErr(getrandom::SysRng);
        let set = Client::new(member.device().connect(), fleet.clock(), rng)
            .and_then(|mut client| client.set_pin(&new.pin));
        let hint = "a PIN has 4 characters at least and 63 bytes at most, unless the persona wants more";
        if let Err(error) = set {
            if let Some(before) = before {
                member.store().lock().write(Slot::Pin, &before)?;
            }
            return Err(Failure::bad_request(error.to_string(), hint));
        }
        pin(&member).map(Json)
    })
    .await
}

async fn delete_pin(State(fleet): State<Fleet>, Path(number): Path<u32>) -> Answered {
    let member = fleet.member(number)?;
    blocking(move || {
        forget_pin(&member)?;
        pin(&member).map(Json)
    })
    .await
}

/// What is kept of the PIN, its retries and the persistent token.
fn kept_pin(member: &Member) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
    // More than the slot takes.
    let mut bytes = Zeroizing::new(vec![0; 256]);
    let length = member.store().lock().read(Slot::Pin, &mut bytes)?;
    Ok(length.map(|length| {
        bytes.truncate(length);
        bytes
    }))
}

fn forget_pin(member: &Member) -> Result<(), StoreError> {
    remove_pin(&mut member.store().clone())?;
    // Tokens of before end with the power.
    member.replug();
    Ok(())
}
