//! Sessions and authenticators.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use doppelkey_core::{Credential, Extension, Fault, MemoryStore, remove_pin};
use serde::Deserialize;
use serde_json::{Value, json};

use super::events::Teller;
use super::options::Options;
use super::response::{Answer, Error, ErrorCode, Success, parse};
use super::{Virtual, WebDriver};
use crate::control::fleet::Setup;
use crate::control::user::{ControlledUser, Manner};
use crate::device::{Observed, OnAssertion, SharedStore};
use crate::text::base64url;
use crate::token::Token;

/// `GET /status`.
pub(super) async fn status() -> Success {
    Success(json!({ "ready": true, "message": "virtual authenticators only: no pages" }))
}

/// `POST /session`.
pub(super) async fn new_session() -> Answer {
    let capabilities = json!({
        "webauthn:virtualAuthenticators": true,
        "webauthn:extension:largeBlob": true,
        "webauthn:extension:prf": true,
        "webauthn:extension:credBlob": true,
    });
    Ok(Success(json!({ "sessionId": identifier()?, "capabilities": capabilities })))
}

/// `DELETE /session/SID`: with every authenticator in it.
pub(super) async fn delete_session(State(driver): State<WebDriver>, Path(session): Path<String>) -> Answer {
    let mut authenticators = driver.lock();
    let gone =
        Vec::from_iter(authenticators.extract_if(.., |_, authenticator| authenticator.session == session));
    drop(authenticators);
    for (_, authenticator) in gone {
        driver.fleet.remove(authenticator.member.number());
    }
    Ok(Success(Value::Null))
}

/// Add Virtual Authenticator (§11.3.1).
pub(super) async fn add(State(driver): State<WebDriver>, Path(session): Path<String>, body: Bytes) -> Answer {
    let options: Options = parse(&body)?;
    let configuration = options.configuration()?;
    let hmac_secret = configuration.extensions.contains(&Extension::HmacSecret);
    let large_blobs = configuration.extensions.contains(&Extension::LargeBlobKey);
    let id = identifier()?;
    let teller = Teller::new(driver.events.clone(), session.clone(), id.clone());
    let store = SharedStore::new(Observed::new(MemoryStore::new(), teller.clone()));
    let member = driver.fleet.add(Setup {
        configuration,
        store: store.clone(),
        user: ControlledUser::new(options.habits(), None),
        persona: "webdriver".into(),
        on_assertion: Some(telling_assertions(store, teller.clone())),
    })?;
    let resident_keys = options.has_resident_key;
    let authenticator = Virtual { session, member, resident_keys, hmac_secret, large_blobs, teller };
    driver.lock().insert(id.clone(), authenticator);
    Ok(Success(Value::String(id)))
}

/// Tells each assertion, with the counter that it gave.
fn telling_assertions(store: SharedStore, teller: Teller) -> OnAssertion {
    Arc::new(move |id, _| {
        let mut store = store.lock();
        let (found, count) = (store.get(id), store.last_sign_count(id));
        drop(store);
        if let Ok(Some(credential)) = found {
            let sign_count = count.ok().flatten().or(credential.sign_count);
            teller.asserted(&Credential { sign_count, ..credential });
        }
    })
}

/// Remove Virtual Authenticator (§11.3.2).
pub(super) async fn remove(
    State(driver): State<WebDriver>,
    Path((session, id)): Path<(String, String)>,
) -> Answer {
    let authenticator = driver.find(&session, &id)?;
    driver.lock().remove(&id);
    driver.fleet.remove(authenticator.member.number());
    Ok(Success(Value::Null))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Verified {
    is_user_verified: bool,
}

/// Set User Verified (§11.3.7).
pub(super) async fn set_user_verified(
    State(driver): State<WebDriver>,
    Path((session, id)): Path<(String, String)>,
    body: Bytes,
) -> Answer {
    let member = driver.find(&session, &id)?.member;
    let user = member.user().clone();
    let Verified { is_user_verified } = parse(&body)?;
    if is_user_verified {
        // From now on verification always succeeds (§11.2), however often it has failed. Without a PIN, nothing else
        // would unblock it.
        remove_pin(&mut member.store().clone())?;
    }
    let mut habits = user.habits();
    habits.verified = is_user_verified;
    user.set_habits(habits);
    Ok(Success(Value::Null))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Presence {
    enabled: bool,
}

/// DevTools' setAutomaticPresenceSimulation.
pub(super) async fn set_presence(
    State(driver): State<WebDriver>,
    Path((session, id)): Path<(String, String)>,
    body: Bytes,
) -> Answer {
    let user = driver.find(&session, &id)?.member.user().clone();
    let Presence { enabled } = parse(&body)?;
    let mut habits = user.habits();
    habits.manner = if enabled { Manner::Auto } else { Manner::Control };
    user.set_habits(habits);
    Ok(Success(Value::Null))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Overrides {
    #[serde(default)]
    is_bogus_signature: bool,
    #[serde(default, rename = "isBadUV")]
    is_bad_uv: bool,
    #[serde(default, rename = "isBadUP")]
    is_bad_up: bool,
}

/// DevTools' setResponseOverrideBits.
pub(super) async fn set_overrides(
    State(driver): State<WebDriver>,
    Path((session, id)): Path<(String, String)>,
    body: Bytes,
) -> Answer {
    let faults = driver.find(&session, &id)?.member.faults();
    let Overrides { is_bogus_signature, is_bad_uv, is_bad_up } = parse(&body)?;
    faults.set(Fault::SignatureWrong, is_bogus_signature);
    faults.set(Fault::UserVerifiedLie, is_bad_uv);
    faults.set(Fault::UserPresentLie, is_bad_up);
    Ok(Success(Value::Null))
}

/// A random id of 43 unreserved characters.
fn identifier() -> Result<String, Error> {
    let none = || Error::new(ErrorCode::UnknownError, "the operating system gave no random bytes");
    Ok(base64url(Token::random().ok_or_else(none)?.as_str().get(..32).ok_or_else(none)?.as_bytes()))
}
