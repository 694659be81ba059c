//! The native passkey API: the options of a ceremony, for an app that calls the platform's passkey interface itself.

use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::ApiError;
use super::{Body, check_client};
use crate::app::App;
use crate::ceremony::{self, Kind, Subject, Wish};
use crate::events::Event;
use crate::failure::Failure;
use crate::flows::signup;
use crate::session::Visit;

pub(super) fn routes() -> Router<App> {
    Router::new().route("/passkey/register", post(register)).route("/passkey/challenge", post(challenge))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Register {
    client_id: String,
    /// Accepted for compatibility: there is one connection.
    #[serde(rename = "realm")]
    _realm: Option<String>,
    user_profile: Profile,
}

/// Names people by what the policy allows to identify them; `name` and the like are for other systems.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Profile {
    email: Option<String>,
    phone_number: Option<String>,
    username: Option<String>,
    #[serde(rename = "name")]
    _name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Challenge {
    client_id: String,
    /// Accepted for compatibility: there is one connection.
    #[serde(rename = "realm")]
    _realm: Option<String>,
}

async fn register(visit: Visit, Body(body): Body<Register>) -> Result<Json<Value>, ApiError> {
    let mut visit = visit.with_token(None).await?;
    let begun = begin_registration(&mut visit, &body).await;
    answer(&visit, "register", begun).await
}

async fn begin_registration(visit: &mut Visit, body: &Register) -> Result<Value, ApiError> {
    check_client(&body.client_id)?;
    let policy = visit.app.policy().await?;
    let attributes = &policy.attributes;
    // A code cannot be asked for here, and an address that must be proved stays unproved without one.
    let must_be_proved = [&attributes.email, &attributes.phone].iter().any(|attribute| attribute.verify);
    if !policy.passkey.enabled || must_be_proved {
        return Err(Failure::NO_PASSKEYS.into());
    }
    let profile = &body.user_profile;
    let given = [profile.email.as_deref(), profile.phone_number.as_deref(), profile.username.as_deref()];
    signup::start(visit, &policy, given).await?;
    let signup = signup::ready(visit, &policy)?;
    let handle = visit.app.config.random.bytes::<64>();
    let subject = Subject { user_id: None, handle: &handle, name: signup::name_of(&signup), exclude: &[] };
    Ok(ceremony::begin_registration(visit, Kind::SignUp, &subject, &Wish::default(), None).await?)
}

async fn challenge(visit: Visit, Body(body): Body<Challenge>) -> Result<Json<Value>, ApiError> {
    let mut visit = visit.with_token(None).await?;
    let begun = begin_authentication(&mut visit, &body).await;
    answer(&visit, "login", begun).await
}

async fn begin_authentication(visit: &mut Visit, body: &Challenge) -> Result<Value, ApiError> {
    check_client(&body.client_id)?;
    if !visit.app.policy().await?.passkey.enabled {
        return Err(Failure::NO_PASSKEYS.into());
    }
    // `auth_session` names a session that exists: whatever else is sent as one is told so.
    visit.save().await?;
    Ok(ceremony::begin_authentication(visit, Kind::SignIn, None, &Wish::default()).await?)
}

/// Logs what became of it, and tells the options with the token of the session they belong to.
async fn answer(
    visit: &Visit,
    purpose: &'static str,
    begun: Result<Value, ApiError>,
) -> Result<Json<Value>, ApiError> {
    match begun {
        Ok(options) => {
            visit.log(Event::of("passkey_challenge_started").detail("purpose", purpose)).await;
            let token = visit.token().ok_or(Failure::Broken("a challenge has a session"))?;
            Ok(Json(json!({ "auth_session": token, "authn_params_public_key": options["publicKey"] })))
        }
        Err(error) => {
            let event = Event::of("passkey_challenge_failed").detail("purpose", purpose);
            visit.log(event.error(error.message())).await;
            Err(error)
        }
    }
}
