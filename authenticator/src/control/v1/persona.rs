//! Personas, and further devices.

use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use doppelkey_core::{Configuration, Faults, MemoryStore, OptionId};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::control::blocking;
use crate::control::fleet::{Fleet, Model, Setup, without_sensor};
use crate::control::reply::{Answered, Body, Failure};
use crate::control::user::{ControlledUser, Habits, Manner};
use crate::device::SharedStore;
use crate::persona::{Authority, Persona, PersonaError, metadata_statement};

pub(super) fn routes() -> Router<Fleet> {
    Router::new()
        .route("/v1/personas", get(names))
        .route("/v1/devices", post(add))
        .route("/v1/devices/{number}/persona", get(show).put(set))
        .route("/v1/devices/{number}/metadata", get(metadata))
}

async fn names() -> Json<Value> {
    Json(json!({ "personas": Vec::from_iter(Persona::names()) }))
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct New {
    persona: Option<String>,
    user: Habits,
}

/// `POST /v1/devices {"persona": "tpm", "user": {"manner": "auto"}}`: a further device, in memory, plugged in.
async fn add(State(fleet): State<Fleet>, Body(new): Body<New>) -> Answered {
    blocking(move || {
        let mut usual = Configuration::default();
        if new.user.manner != Manner::Control {
            without_sensor(&mut usual);
        }
        let model = match &new.persona {
            Some(name) => model(name, &usual)?,
            None => Model { configuration: usual, persona: "doppelkey".into() },
        };
        let member = fleet.add(Setup {
            configuration: model.configuration,
            store: SharedStore::new(MemoryStore::new()),
            user: ControlledUser::new(new.user, None),
            persona: model.persona,
            on_assertion: None,
        })?;
        Ok(Json(json!({ "number": member.number(), "busid": member.busid() })))
    })
    .await
}

async fn show(State(fleet): State<Fleet>, Path(number): Path<u32>) -> Answered {
    Ok(Json(json!({ "persona": fleet.member(number)?.model().persona })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Choice {
    persona: String,
}

/// Takes a persona on, and replugs: what it has of credentials and PIN stays.
async fn set(
    State(fleet): State<Fleet>,
    Path(number): Path<u32>,
    Body(Choice { persona }): Body<Choice>,
) -> Answered {
    let member = fleet.member(number)?;
    blocking(move || {
        member.set_model(model(&persona, &member.model().configuration)?);
        Ok(Json(json!({ "persona": persona })))
    })
    .await
}

async fn metadata(State(fleet): State<Fleet>, Path(number): Path<u32>) -> Answered {
    let member = fleet.member(number)?;
    blocking(move || Ok(Json(metadata_statement(&load(&member.model().persona)?)))).await
}

fn load(name: &str) -> Result<Persona, Failure> {
    let name = if name == "doppelkey" { "packed-self" } else { name };
    Ok(Persona::load(name, &Authority::of_this_user()?)?)
}

/// The model of this persona. What it says nothing of, options and sensor, is as before.
fn model(name: &str, before: &Configuration) -> Result<Model, Failure> {
    // A file on this computer is not for whoever is at the other end of HTTP to name.
    if !Persona::names().any(|known| known == name) {
        return Err(Failure::not_found(format!("there is no persona {name}"), "GET /v1/personas lists them"));
    }
    let Persona { mut configuration, profile, .. } = load(name)?;
    if profile.options.is_none() {
        let enterprise = configuration.offers(OptionId::Ep);
        configuration.options = before.options.clone();
        configuration.set_option(OptionId::Ep, enterprise);
    }
    configuration.faults = Faults::default();
    Ok(Model { configuration, persona: name.into() })
}

impl From<PersonaError> for Failure {
    fn from(error: PersonaError) -> Self {
        Failure::bad_request(error.error, error.hint)
    }
}
