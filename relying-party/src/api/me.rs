//! The My Account API: a user's own passkeys, with the user's own access token.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Body;
use super::error::ApiError;
use super::jwt;
use crate::app::App;
use crate::ceremony::{self, Kind, Subject, Wish};
use crate::events::{Event, iso};
use crate::failure::Failure;
use crate::session::Visit;
use crate::store::{Changes, Passkey, User};
use crate::{edge, enrollment, secret};

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/me/v1/authentication-methods", get(list).post(begin))
        .route("/me/v1/authentication-methods/{id}", get(one).patch(rename).delete(remove))
        .route("/me/v1/authentication-methods/{id}/verify", post(finish))
}

/// What a method is called before it exists.
const NEW: &str = "passkey|new";

/// A request with an access token whose session lives.
#[derive(Debug)]
struct Me {
    visit: Visit,
    user: User,
    scope: String,
}

impl FromRequestParts<App> for Me {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let token = edge::bearer(&parts.headers).ok_or(ApiError::INVALID_TOKEN)?;
        let claims = jwt::verify(app, jwt::Kind::Access, token).ok_or(ApiError::INVALID_TOKEN)?;
        let text = |name: &str| claims[name].as_str().unwrap_or_default().to_string();
        // Signing out, recovery and a password reset end sessions, and with them the tokens.
        let sessions = app.database.sessions(&text("sub"), app.now()).await?;
        let session = sessions.into_iter().find(|session| session.id == text("sid"));
        let session = session.ok_or(ApiError::INVALID_TOKEN)?;
        let visit = Visit::from_request_parts(parts, app).await?.of_session(session);
        let user = visit.user().await?;
        Ok(Self { visit, user, scope: text("scope") })
    }
}

impl Me {
    fn may(&self, what: &str) -> Result<(), ApiError> {
        let scope = format!("{what}:me:authentication_methods");
        if self.scope.split(' ').any(|granted| granted == scope) {
            Ok(())
        } else {
            Err(ApiError::insufficient_scope(&scope))
        }
    }

    async fn passkey(&self, id: &str) -> Result<Passkey, ApiError> {
        let passkeys = self.visit.app.database.passkeys(&self.user.id).await?;
        passkeys.into_iter().find(|passkey| passkey.id == id).ok_or_else(|| Failure::NotFound.into())
    }

    fn json(&self, passkey: &Passkey) -> Value {
        json!({
            "id": passkey.id,
            "type": "passkey",
            "name": passkey.name,
            "created_at": iso(passkey.created_at),
            "last_auth_at": passkey.last_used_at.map(iso),
            "key_id": secret::text(&passkey.credential_id),
            "public_key": secret::text(&passkey.public_key),
            "credential_device_type": if passkey.backup_eligible { "multi_device" } else { "single_device" },
            "credential_backed_up": passkey.backup_state,
            "transports": passkey.transports,
            "user_agent": passkey.user_agent,
            "user_handle": secret::text(&self.user.handle),
            "aaguid": passkey.aaguid,
            "relying_party_id": self.visit.app.config.rp_id,
            "usage": ["primary"],
        })
    }

    /// Logs what became of an operation.
    async fn log<T>(&self, operation: &str, id: &str, outcome: Result<T, ApiError>) -> Result<T, ApiError> {
        let event = match &outcome {
            Ok(_) => Event::of("my_account_authentication_method_succeeded"),
            Err(error) => Event::of("my_account_authentication_method_failed").error(error.message()),
        };
        let event =
            event.user(&self.user).detail("operation", operation).detail("authentication_method_id", id);
        self.visit.log(event).await;
        outcome
    }
}

async fn list(me: Me) -> Result<Json<Value>, ApiError> {
    me.may("read")?;
    let passkeys = me.visit.app.database.passkeys(&me.user.id).await?;
    let methods: Vec<_> = passkeys.iter().map(|passkey| me.json(passkey)).collect();
    Ok(Json(json!({ "authentication_methods": methods })))
}

async fn one(me: Me, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    me.may("read")?;
    let passkey = me.passkey(&id).await?;
    Ok(Json(me.json(&passkey)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Begin {
    r#type: String,
    /// Accepted for compatibility: there is one connection.
    #[serde(rename = "connection")]
    _connection: Option<String>,
    #[serde(rename = "identity_user_id")]
    _identity_user_id: Option<String>,
}

async fn begin(mut me: Me, Body(body): Body<Begin>) -> Result<Response, ApiError> {
    me.may("create")?;
    let begun = begin_passkey(&mut me, &body).await;
    let options = me.log("enroll", NEW, begun).await?;
    let body = json!({
        "auth_session": me.visit.session_id(),
        "authn_params_public_key": options["publicKey"],
    });
    let location = "/me/v1/authentication-methods/passkey%7Cnew";
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(body)).into_response())
}

async fn begin_passkey(me: &mut Me, body: &Begin) -> Result<Value, ApiError> {
    if body.r#type != "passkey" {
        return Err(ApiError::invalid_request("Only the type passkey can be enrolled here."));
    }
    me.visit.recent_user().await?;
    let exclude = enrollment::room_for_one_more(&me.visit, &me.user).await?;
    let name = me.user.name().to_string();
    let handle = me.user.handle.clone();
    let subject = Subject { user_id: Some(&me.user.id), handle: &handle, name: &name, exclude: &exclude };
    Ok(ceremony::begin_registration(&mut me.visit, Kind::Enroll, &subject, &Wish::default(), None).await?)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Finish {
    auth_session: String,
    authn_response: Value,
}

async fn finish(me: Me, Path(id): Path<String>, Body(body): Body<Finish>) -> Result<Response, ApiError> {
    me.may("create")?;
    let finished = finish_passkey(&me, &id, body).await;
    let passkey = me.log("verify", &id, finished).await?;
    Ok((StatusCode::CREATED, Json(me.json(&passkey))).into_response())
}

async fn finish_passkey(me: &Me, id: &str, body: Finish) -> Result<Passkey, ApiError> {
    if id != NEW {
        return Err(Failure::NotFound.into());
    }
    if body.auth_session != me.visit.session_id() {
        return Err(ApiError::UNKNOWN_SESSION);
    }
    me.visit.recent_user().await?;
    Ok(enrollment::finish(&me.visit, Kind::Enroll, &me.user, body.authn_response).await?)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rename {
    name: String,
}

async fn rename(me: Me, Path(id): Path<String>, Body(body): Body<Rename>) -> Result<Json<Value>, ApiError> {
    me.may("update")?;
    let renamed = rename_passkey(&me, &id, &body.name).await;
    let passkey = me.log("update", &id, renamed).await?;
    Ok(Json(me.json(&passkey)))
}

async fn rename_passkey(me: &Me, id: &str, name: &str) -> Result<Passkey, ApiError> {
    let name: String = name.trim().chars().filter(|letter| !letter.is_control()).take(64).collect();
    if name.is_empty() {
        return Err(ApiError::invalid_request("name is empty."));
    }
    me.visit.recent_user().await?;
    if !me.visit.change(&me.user, Changes::default().rename_passkey(&me.user.id, id, &name)).await? {
        return Err(Failure::NotFound.into());
    }
    me.passkey(id).await
}

async fn remove(me: Me, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    me.may("delete")?;
    let removed = remove_passkey(&me, &id).await;
    me.log("delete", &id, removed).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn remove_passkey(me: &Me, id: &str) -> Result<(), ApiError> {
    me.visit.recent_user().await?;
    Ok(enrollment::remove_passkey(&me.visit, &me.user, id).await?)
}
