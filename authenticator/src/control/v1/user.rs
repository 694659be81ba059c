//! The user: how they are, what they are asked, what they do about it.
//!
//! A deed answers the prompt that is shown; if there is none it is kept for the next prompt, so that a test need not
//! catch the moment. The answer says which: `{"answered": 3}` or `{"kept": 1}`.

use axum::extract::{Path, State};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use doppelkey_core::Action;
use serde_json::{Map, Value, json};

use crate::control::blocking;
use crate::control::fleet::Fleet;
use crate::control::reply::{Answered, Body, Failure};
use crate::control::user::{Deed, Done, Habits};
use crate::user_interface::ShownPrompt;

pub(super) fn routes() -> Router<Fleet> {
    Router::new()
        .route("/v1/devices/{number}/user", get(show).put(set).patch(change))
        .route("/v1/devices/{number}/user/deeds", delete(forget))
        .route("/v1/devices/{number}/user/{deed}", post(act))
}

async fn show(State(fleet): State<Fleet>, Path(number): Path<u32>) -> Answered {
    let user = fleet.member(number)?.user().clone();
    Ok(Json(json!({ "user": user.habits(), "prompt": user.prompt().as_ref().map(described) })))
}

/// Members that are left out are at their default.
async fn set(State(fleet): State<Fleet>, Path(number): Path<u32>, Body(habits): Body<Habits>) -> Answered {
    let user = fleet.member(number)?.user().clone();
    blocking(move || {
        user.set_habits(habits.clone());
        Ok(Json(json!({ "user": habits })))
    })
    .await
}

/// Members that are left out stay as they are.
async fn change(
    State(fleet): State<Fleet>,
    Path(number): Path<u32>,
    Body(changes): Body<Map<String, Value>>,
) -> Answered {
    let user = fleet.member(number)?.user().clone();
    let mut habits = json!(user.habits());
    for (name, value) in changes {
        habits[name] = value;
    }
    let hint = "members: manner (control, auto, deny, ask), verified, account, delay_ms";
    let habits: Habits =
        serde_json::from_value(habits).map_err(|error| Failure::bad_request(error.to_string(), hint))?;
    blocking(move || {
        user.set_habits(habits.clone());
        Ok(Json(json!({ "user": habits })))
    })
    .await
}

/// `POST …/user/DEED`; the body of `pick` is `{"account": 1}`, that of `fingerprint` `{"sample_status": 0}`.
async fn act(
    State(fleet): State<Fleet>,
    Path((number, deed)): Path<(u32, String)>,
    body: axum::body::Bytes,
) -> Answered {
    let user = fleet.member(number)?.user().clone();
    let body: Map<String, Value> = match &*body {
        [] => Map::new(),
        body => serde_json::from_slice(body)
            .map_err(|error| Failure::bad_request(error.to_string(), "send a JSON object, or nothing"))?,
    };
    let deed = deed_from(&deed, &body)?;
    blocking(move || {
        Ok(Json(match user.act(deed) {
            Done::Answered(prompt) => json!({ "answered": prompt }),
            Done::Kept(behind) => json!({ "kept": behind + 1 }),
        }))
    })
    .await
}

async fn forget(State(fleet): State<Fleet>, Path(number): Path<u32>) -> Answered {
    Ok(Json(json!({ "forgotten": fleet.member(number)?.user().forget_deeds() })))
}

fn deed_from(name: &str, body: &Map<String, Value>) -> Result<Deed, Failure> {
    let number = |member: &str| match body.get(member) {
        None => Ok(0),
        Some(value) => value
            .as_u64()
            .ok_or_else(|| Failure::bad_request(format!("{member} is not a number"), "say a number from 0")),
    };
    Ok(match name {
        "press" => Deed::Press,
        "deny" => Deed::Deny,
        "verify" => Deed::Verify,
        "fail-verification" => Deed::FailVerification,
        "ignore" => Deed::Ignore,
        "pick" => Deed::Pick(u32::try_from(number("account")?).unwrap_or(u32::MAX)),
        "fingerprint" => match u8::try_from(number("sample_status")?) {
            Ok(status) => Deed::Sample(status),
            Err(_) => return Err(Failure::bad_request("sample_status is above 255", "0 is a good sample")),
        },
        _ => {
            let hint = "deeds: press, deny, verify, fail-verification, fingerprint, pick, ignore";
            return Err(Failure::not_found(format!("a user cannot {name}"), hint));
        }
    })
}

pub(in crate::control) fn described(prompt: &ShownPrompt) -> Value {
    json!({
        "number": prompt.number,
        "action": action(prompt.action),
        "rp_id": prompt.rp_id,
        "user_name": prompt.user_name,
        "user_display_name": prompt.user_display_name,
        "accounts": prompt.accounts,
        "account_names": prompt.named.iter().map(|account| json!({
            "user_name": account.name.as_deref(),
            "user_display_name": account.display_name.as_deref(),
        })).collect::<Vec<_>>(),
        "verification": prompt.verification,
    })
}

fn action(action: Action) -> &'static str {
    match action {
        Action::CreateCredential => "create",
        Action::UseCredential => "use",
        Action::Excluded => "excluded",
        Action::Select => "select",
        Action::Reset { long: false } => "reset",
        Action::Reset { long: true } => "reset with a long touch",
        Action::Verify => "verify",
        Action::FingerprintSample => "fingerprint sample",
        Action::U2f => "U2F",
        _ => "other",
    }
}
