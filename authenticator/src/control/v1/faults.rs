//! Faults: what is to go wrong, by name, until it is taken back.
//!
//! | where | names |
//! |---|---|
//! | in responses and certificates | those of [`Fault`] |
//! | in packets | those of [`PacketFault`] |
//! | in time | `touch-slow`: the user takes three seconds; `unplug-mid-ceremony`: the device is unplugged while the user is asked |
//! | in status | `PUT …/faults/status {"command": 1, "status": 39}`: every such command fails so; 0 takes it back |

use axum::extract::{Path, State};
use axum::routing::{get, put};
use axum::{Json, Router};
use doppelkey_core::Fault;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::control::blocking;
use crate::control::fleet::{Fleet, Member};
use crate::control::reply::{Answered, Body, Failure};
use crate::device::PacketFault;

pub(super) fn routes() -> Router<Fleet> {
    Router::new()
        .route("/v1/faults", get(names))
        .route("/v1/devices/{number}/faults", get(show).delete(clear))
        .route("/v1/devices/{number}/faults/status", put(set_status))
        .route("/v1/devices/{number}/faults/{name}", put(set).delete(take_back))
}

/// The names there are.
async fn names() -> Json<Value> {
    Json(json!({ "faults": Vec::from_iter(all_names()) }))
}

/// The names that are set.
async fn show(State(fleet): State<Fleet>, Path(number): Path<u32>) -> Answered {
    let member = fleet.member(number)?;
    Ok(Json(described(&member)))
}

async fn clear(State(fleet): State<Fleet>, Path(number): Path<u32>) -> Answered {
    let member = fleet.member(number)?;
    blocking(move || {
        // With the prompt that waited for it, a slow touch may be given now.
        for name in all_names() {
            set_by_name(&member, name, false)?;
        }
        member.faults().clear();
        Ok(Json(described(&member)))
    })
    .await
}

async fn set(State(fleet): State<Fleet>, Path((number, name)): Path<(u32, String)>) -> Answered {
    switch(fleet, number, name, true).await
}

async fn take_back(State(fleet): State<Fleet>, Path((number, name)): Path<(u32, String)>) -> Answered {
    switch(fleet, number, name, false).await
}

async fn switch(fleet: Fleet, number: u32, name: String, set: bool) -> Answered {
    let member = fleet.member(number)?;
    blocking(move || {
        set_by_name(&member, &name, set)?;
        Ok(Json(described(&member)))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FailWith {
    command: u8,
    status: u8,
}

async fn set_status(
    State(fleet): State<Fleet>,
    Path(number): Path<u32>,
    Body(FailWith { command, status }): Body<FailWith>,
) -> Answered {
    let member = fleet.member(number)?;
    member.faults().set_status(command, status);
    Ok(Json(described(&member)))
}

fn set_by_name(member: &Member, name: &str, set: bool) -> Result<(), Failure> {
    if let Some(fault) = Fault::from_name(name) {
        member.faults().set(fault, set);
        return Ok(());
    }
    if let Some(fault) = PacketFault::ALL.into_iter().find(|fault| fault.name() == name) {
        member.device().packet_faults().set(fault, set);
        return Ok(());
    }
    match name {
        TOUCH_SLOW => member.user().set_slow(set),
        UNPLUG => member.unplug_when_prompted(set),
        _ => {
            return Err(Failure::not_found(format!("there is no fault {name}"), "GET /v1/faults lists them"));
        }
    }
    Ok(())
}

fn is_set(member: &Member, name: &str) -> bool {
    if let Some(fault) = Fault::from_name(name) {
        return member.faults().is_set(fault);
    }
    if let Some(fault) = PacketFault::ALL.into_iter().find(|fault| fault.name() == name) {
        return member.device().packet_faults().is_set(fault);
    }
    match name {
        TOUCH_SLOW => member.user().is_slow(),
        _ => member.unplugs_when_prompted(),
    }
}

fn described(member: &Member) -> Value {
    let set = Vec::from_iter(all_names().filter(|name| is_set(member, name)));
    let statuses = (0..=u8::MAX).filter_map(|command| Some((command, member.faults().status(command)?)));
    let statuses =
        Vec::from_iter(statuses.map(|(command, status)| json!({ "command": command, "status": status })));
    json!({ "set": set, "statuses": statuses })
}

fn all_names() -> impl Iterator<Item = &'static str> {
    let core = Fault::ALL.iter().map(|fault| fault.name());
    core.chain(PacketFault::ALL.into_iter().map(PacketFault::name)).chain([TOUCH_SLOW, UNPLUG])
}

const TOUCH_SLOW: &str = "touch-slow";
const UNPLUG: &str = "unplug-mid-ceremony";
