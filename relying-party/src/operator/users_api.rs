//! `GET` and `PATCH /api/v2/users/{id}`: what a user is called, and whether an administrator has blocked them.

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Operator;
use crate::app::App;
use crate::edge::JsonBody;
use crate::events::{Event, iso};
use crate::failure::Failure;
use crate::session::Visit;
use crate::store::{Changes, User};

pub(super) fn routes() -> Router<App> {
    Router::new().route("/api/v2/users/{id}", get(read).patch(change))
}

async fn read(operator: Operator, Path(id): Path<String>) -> Result<Response, Failure> {
    let user = operator.app.database.user(&id).await?.ok_or(Failure::NotFound)?;
    Ok(Json(json_of(&user)).into_response())
}

/// What can be changed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Patch {
    blocked: bool,
}

async fn change(
    operator: Operator,
    Path(id): Path<String>,
    JsonBody(patch): JsonBody<Patch>,
) -> Result<Response, Failure> {
    let user = set_blocked(&operator.visit, &id, patch.blocked).await?;
    Ok(Json(json_of(&user)).into_response())
}

/// Blocks a user, who is out at once, or lifts that; logged, in one piece with it. Gives the user as they are then.
///
/// # Errors
/// [`Failure::NotFound`] if there is none.
pub(super) async fn set_blocked(visit: &Visit, id: &str, blocked: bool) -> Result<User, Failure> {
    let app = &visit.app;
    let user = app.database.user(id).await?.ok_or(Failure::NotFound)?;
    let event = Event::of("sapi")
        .user(&user)
        .detail("operation", "user")
        .detail("patch", json!({ "blocked": blocked }));
    let changes = Changes::default().set_blocked(id, blocked);
    if !app.database.make(changes.put_event(&visit.event(event))).await? {
        return Err(Failure::NotFound);
    }
    app.event_written();
    Ok(User { blocked, ..user })
}

fn json_of(user: &User) -> Value {
    let mut json = json!({
        "user_id": user.id,
        "name": user.name(),
        "created_at": iso(user.created_at),
        "blocked": user.blocked,
    });
    for identifier in &user.identifiers {
        let (value, verified) = match identifier.kind.as_str() {
            "email" => ("email", Some("email_verified")),
            "phone" => ("phone_number", Some("phone_verified")),
            _ => ("username", None),
        };
        json[value] = identifier.value.as_str().into();
        if let Some(verified) = verified {
            json[verified] = identifier.verified.into();
        }
    }
    json
}
