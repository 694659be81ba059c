//! The REST binding of the FIDO conformance tools, in development mode: `/attestation/*` and `/assertion/*`.
//!
//! Requests may carry any member of the options (`authenticatorSelection`, `attestation`, `extensions`, `hints`,
//! `pubKeyCredParams`, …), which is what the playground uses too. Users made here are apart from accounts: their
//! names begin with `trial:`, which no form can type. Results carry the transcript of the verification.
//!
//! The form is the tool's: a credential may come without `rawId`, its extension results are called
//! `getClientExtensionResults`, a user handle that is empty is none. `tests/clients/test_fido_server.py` and
//! `test_fido_attestation.py` run the published list of test items against it, and say where Level 3 contradicts the list.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::ceremony::{self, Kind, Refused, Subject};
use crate::edge::JsonBody;
use crate::events::Event;
use crate::failure::Failure;
use crate::secret;
use crate::session::{SignUp, Visit};
use crate::store::{Changes, Identifier, User};
use crate::verify::Credential;

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/attestation/options", post(creation_options))
        .route("/attestation/result", post(registered))
        .route("/assertion/options", post(request_options))
        .route("/assertion/result", post(authenticated))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    username: String,
    /// Wanted of a registration.
    display_name: Option<String>,
    /// Members of the options.
    #[serde(flatten)]
    options: Map<String, Value>,
}

impl Wanted {
    fn identifier(&self) -> Identifier {
        let name: String = self.username.chars().take(64).collect();
        Identifier { kind: "username".into(), value: format!("trial:{name}"), verified: false }
    }

    /// What is missing, if anything.
    fn check(&self) -> Result<(), Failure> {
        if self.username.is_empty() {
            return Err(Failure::BadBody("username is empty".into()));
        }
        Ok(())
    }

    async fn user(&self, visit: &Visit) -> Result<Option<User>, Failure> {
        let Identifier { kind, value, .. } = self.identifier();
        Ok(visit.app.database.user_called(&kind, &value).await?)
    }
}

async fn creation_options(
    mut visit: Visit,
    JsonBody(mut wanted): JsonBody<Wanted>,
) -> Result<Response, Failure> {
    wanted.check()?;
    let display_name = wanted.display_name.take().filter(|name| !name.is_empty());
    let display_name = display_name.ok_or_else(|| Failure::BadBody("displayName is missing".into()))?;
    wanted.options.entry("attestation").or_insert_with(|| json!("none"));
    let user = wanted.user(&visit).await?;
    let exclude = match &user {
        Some(user) => visit.app.database.passkeys(&user.id).await?,
        None => Vec::new(),
    };
    let handle = user.map_or_else(|| visit.app.config.random.bytes::<64>().to_vec(), |user| user.handle);
    visit.data.signup = Some(SignUp { identifiers: vec![wanted.identifier()], ..SignUp::default() });
    let subject = Subject { user_id: None, handle: &handle, name: &wanted.username, exclude: &exclude };
    let mut options = ceremony::try_registration(&mut visit, &subject, &wanted.options).await?;
    if let Some(user) = options["user"].as_object_mut() {
        user.insert("displayName".into(), json!(display_name));
    }
    Ok(ok(&visit, options))
}

async fn registered(visit: Visit, JsonBody(body): JsonBody<Value>) -> Result<Response, Failure> {
    let credential = credential_of(body)?;
    let registered = match ceremony::finish_registration(&visit, Kind::Trial, &credential).await {
        Ok(finished) => finished,
        Err(refused) => {
            let event = refused.tell_registration(Event::of("gd_webauthn_enrollment_failed"));
            return Ok(failed(&visit, event, &refused).await);
        }
    };
    let (asked, registration) = (&registered.asked, &registered.registration);
    let identifiers =
        visit.data.signup.clone().map(|signup| signup.identifiers).ok_or(Failure::OutOfOrder)?;
    let user = match visit.app.database.user_of_handle(&asked.handle).await? {
        Some(user) => user,
        None => {
            let (id, created_at) = (visit.app.new_id("usr"), visit.app.now());
            let (handle, blocked, generation) = (asked.handle.clone(), false, 0);
            let user = User { id, handle, created_at, blocked, generation, identifiers };
            visit.app.database.make(Changes::default().create_user(&user, None, None)).await?;
            user
        }
    };
    let passkey = ceremony::new_passkey(&visit, &user.id, registration);
    visit.app.database.make(Changes::default().add_passkey(&passkey, u32::MAX)).await?;
    let event = Event::of("gd_enrollment_complete")
        .user(&user)
        .detail("webauthn", ceremony::registration_details(&registered))
        .transcript(&registration.transcript);
    visit.log(event).await;
    Ok(ok(&visit, json!({ "transcript": registration.transcript })))
}

async fn request_options(mut visit: Visit, JsonBody(wanted): JsonBody<Wanted>) -> Result<Response, Failure> {
    wanted.check()?;
    let Some(user) = wanted.user(&visit).await? else {
        return Ok(told_failed("there is no such user", Value::Null));
    };
    let options = ceremony::try_authentication(&mut visit, &user, &wanted.options).await?;
    Ok(ok(&visit, options))
}

async fn authenticated(visit: Visit, JsonBody(body): JsonBody<Value>) -> Result<Response, Failure> {
    let credential = credential_of(body)?;
    let accepted = match ceremony::finish_authentication(&visit, Kind::Trial, &credential).await {
        Ok(accepted) => accepted,
        Err(refused) => {
            let event = refused.tell_authentication(Event::of("gd_webauthn_challenge_failed"));
            return Ok(failed(&visit, event, &refused).await);
        }
    };
    let used = Changes::default().use_passkey(&accepted.used, visit.app.now());
    if !visit.app.database.make(used).await? {
        return Ok(told_failed("the signature counter was used meanwhile", Value::Null));
    }
    let event = Event::of("gd_auth_succeed")
        .user(&accepted.user)
        .detail("webauthn", ceremony::authentication_details(&accepted))
        .transcript(&accepted.authentication.transcript);
    visit.log(event).await;
    Ok(ok(&visit, json!({ "transcript": accepted.authentication.transcript })))
}

/// A credential in the tool's form, or in that of `toJSON()`.
///
/// # Errors
/// [`Failure::BadBody`] for a `tokenBinding` that Level 1 knows and is malformed; Level 3 reserves the name only, and
/// the verification ignores it.
fn credential_of(mut body: Value) -> Result<Credential, Failure> {
    if let Some(members) = body.as_object_mut() {
        if let (None, Some(id)) = (members.get("rawId"), members.get("id").cloned()) {
            members.insert("rawId".into(), id);
        }
        if let Some(results) = members.remove("getClientExtensionResults") {
            members.entry("clientExtensionResults").or_insert(results);
        }
        if let Some(response) = members.get_mut("response").and_then(Value::as_object_mut)
            && response.get("userHandle") == Some(&json!(""))
        {
            response.remove("userHandle");
        }
    }
    let credential = Credential::from_json(body);
    let client_data =
        credential.response.get("clientDataJSON").and_then(Value::as_str).and_then(secret::bytes);
    let client_data: Option<Value> = client_data.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    match client_data.as_ref().and_then(|data| data.get("tokenBinding")) {
        Some(binding)
            if !["present", "supported", "not-supported"].map(Value::from).contains(&binding["status"]) =>
        {
            Err(Failure::BadBody("clientDataJSON.tokenBinding has no status of the list".into()))
        }
        _ => Ok(credential),
    }
}

fn ok(visit: &Visit, mut value: Value) -> Response {
    value["status"] = json!("ok");
    value["errorMessage"] = json!("");
    visit.json(value)
}

async fn failed(visit: &Visit, event: Event, refused: &Refused) -> Response {
    visit.log(event).await;
    told_failed(&refused.found, json!(refused.transcript()))
}

fn told_failed(message: &str, transcript: Value) -> Response {
    let body = json!({ "status": "failed", "errorMessage": message, "transcript": transcript });
    (StatusCode::BAD_REQUEST, Json(body)).into_response()
}
