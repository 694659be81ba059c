//! Devices: which there are, their power, their end.

use axum::extract::{Path, State};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::control::blocking;
use crate::control::fleet::{Fleet, Member};
use crate::control::reply::{Answered, Body, Failure};

pub(super) fn routes() -> Router<Fleet> {
    Router::new()
        .route("/v1/devices", get(list))
        .route("/v1/devices/{number}", get(show).delete(remove))
        .route("/v1/devices/{number}/power", put(set_power))
        .route("/v1/devices/{number}/replug", post(replug))
        .route("/v1/devices/{number}/reset", post(reset))
}

async fn list(State(fleet): State<Fleet>) -> Answered {
    blocking(move || {
        let devices =
            fleet.members().iter().map(|member| described(member)).collect::<Result<Vec<_>, _>>()?;
        Ok(Json(json!({ "devices": devices })))
    })
    .await
}

async fn show(State(fleet): State<Fleet>, Path(number): Path<u32>) -> Answered {
    let member = fleet.member(number)?;
    blocking(move || described(&member).map(Json)).await
}

async fn remove(State(fleet): State<Fleet>, Path(number): Path<u32>) -> Answered {
    fleet.member(number)?;
    blocking(move || Ok(Json(json!({ "removed": fleet.remove(number) })))).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Power {
    on: bool,
}

async fn set_power(
    State(fleet): State<Fleet>,
    Path(number): Path<u32>,
    Body(Power { on }): Body<Power>,
) -> Answered {
    let member = fleet.member(number)?;
    blocking(move || {
        member.set_power(on)?;
        described(&member).map(Json)
    })
    .await
}

async fn replug(State(fleet): State<Fleet>, Path(number): Path<u32>) -> Answered {
    let member = fleet.member(number)?;
    blocking(move || {
        member.replug();
        described(&member).map(Json)
    })
    .await
}

async fn reset(State(fleet): State<Fleet>, Path(number): Path<u32>) -> Answered {
    let member = fleet.member(number)?;
    blocking(move || {
        member.reset()?;
        described(&member).map(Json)
    })
    .await
}

fn described(member: &Member) -> Result<Value, Failure> {
    let (credentials, remaining) = {
        let mut store = member.store().lock();
        (store.len()?, store.remaining()?)
    };
    Ok(json!({
        "number": member.number(),
        "busid": member.busid(),
        "powered": member.is_powered(),
        "persona": member.model().persona,
        "credentials": credentials,
        "remaining": remaining,
        "user": member.user().habits(),
        "prompt": member.user().prompt().as_ref().map(super::user::described),
    }))
}
