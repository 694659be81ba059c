//! Confirming that it is still the user, before the account changes.

use axum::Router;
use axum::extract::Query;
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use super::login;
use crate::app::App;
use crate::ceremony::{self, Kind, Wish};
use crate::destination;
use crate::edge::{FormBody, JsonBody};
use crate::events::Event;
use crate::failure::Failure;
use crate::secret::Secret;
use crate::session::Visit;
use crate::store::Changes;
use crate::verify::Credential;
use crate::{limits, pages};

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/step-up", get(show).post(finish_passkey))
        .route("/step-up/options", post(options))
        .route("/step-up/password", post(submit_password))
}

#[derive(Debug, Deserialize)]
struct Then {
    then: Option<String>,
}

async fn show(visit: Visit, Query(query): Query<Then>) -> Result<Response, Failure> {
    let user = visit.user().await?;
    let then = destination::of(query.then.as_deref());
    let has_passkey = !visit.app.database.passkeys(&user.id).await?.is_empty();
    let has_password = visit.app.database.password_hash(&user.id).await?.is_some();
    Ok(visit.page(pages::step_up(&visit.app, user.name(), then, has_passkey, has_password, None)))
}

async fn options(mut visit: Visit, JsonBody(wish): JsonBody<Wish>) -> Result<Response, Failure> {
    let user = visit.user().await?;
    let named = Some((user.name(), Some(&user)));
    let options = ceremony::begin_authentication(&mut visit, Kind::StepUp, named, &wish).await?;
    Ok(visit.json(options))
}

async fn finish_passkey(
    mut visit: Visit,
    Query(query): Query<Then>,
    JsonBody(body): JsonBody<Value>,
) -> Result<Response, Failure> {
    let user = visit.user().await?;
    let credential = Credential::from_json(body);
    let accepted = match ceremony::finish_authentication(&visit, Kind::StepUp, &credential).await {
        Ok(accepted) if accepted.user.id == user.id => accepted,
        Ok(_) => return Err(Failure::PasskeyRefused { signal: None }),
        Err(refused) => {
            let event = refused.tell_authentication(Event::of("gd_webauthn_challenge_failed"));
            // Whose passkey it was is one thing, who could not confirm another.
            visit.log(event.user(&user)).await;
            return Err(refused.failure);
        }
    };
    let used = Changes::default().use_passkey(&accepted.used, visit.app.now());
    if !confirmed(&mut visit, used).await? {
        return Err(Failure::PasskeyRefused { signal: None });
    }
    Ok(visit.json(json!({ "next": destination::of(query.then.as_deref()) })))
}

async fn confirmed(visit: &mut Visit, others: Changes) -> Result<bool, Failure> {
    visit.data.authenticated_at = visit.app.now();
    visit.save_with(others).await
}

#[derive(Debug, Deserialize)]
struct PasswordForm {
    password: Secret,
    then: Option<String>,
}

async fn submit_password(
    mut visit: Visit,
    FormBody(form): FormBody<PasswordForm>,
) -> Result<Response, Failure> {
    let user = visit.user().await?;
    let then = destination::of(form.then.as_deref());
    let identifier = user.identifiers.first().cloned().ok_or(Failure::OutOfOrder)?;
    match login::check_password(&visit, &identifier, &form.password).await {
        Ok(_) => {
            limits::login_succeeded(&visit, &identifier).await?;
            confirmed(&mut visit, Changes::default()).await?;
            Ok(visit.see_other(then))
        }
        Err(failure @ (Failure::Store(_) | Failure::Broken(_))) => Err(failure),
        Err(failure) => {
            let told = failure.told();
            let is_wrong = matches!(failure, Failure::Field(..));
            let message = if is_wrong { "This is not your password.".into() } else { told.text() };
            let has_passkey = !visit.app.database.passkeys(&user.id).await?.is_empty();
            let page = pages::step_up(&visit.app, user.name(), then, has_passkey, true, Some(&message));
            Ok(visit.refusal(&told, page))
        }
    }
}
