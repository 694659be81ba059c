//! Confirming that it is still the user, before the account changes: with what logs in by policy, and with the second factor
//! where a log-in would ask for one. Otherwise half of that and a stolen session would be enough to change the other half.

use axum::Router;
use axum::extract::Query;
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use super::finish::{self, Outcome};
use super::login;
use crate::app::App;
use crate::ceremony::{self, Kind, Wish};
use crate::destination;
use crate::edge::{FormBody, JsonBody};
use crate::events::Event;
use crate::failure::{Failure, NO_PASSWORD};
use crate::pages;
use crate::secret::Secret;
use crate::session::{FirstFactor, Method, Visit};
use crate::store::User;
use crate::verify::Credential;

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
    let then = destination::after_confirming(query.then.as_deref());
    let ways = ways(&visit, &user).await?;
    Ok(visit.page(pages::step_up(&visit.app, user.name(), then, &ways, None)))
}

/// What the user has, and policy lets log in with.
async fn ways(visit: &Visit, user: &User) -> Result<pages::Ways, Failure> {
    let policy = visit.app.policy().await?;
    let database = &visit.app.database;
    Ok(pages::Ways {
        passkey: policy.passkey.enabled && !database.passkeys(&user.id).await?.is_empty(),
        password: policy.password.enabled && database.password_hash(&user.id).await?.is_some(),
        code: policy.code.enabled && user.email().is_some(),
    })
}

async fn options(mut visit: Visit, JsonBody(wish): JsonBody<Wish>) -> Result<Response, Failure> {
    let user = visit.user().await?;
    if !visit.app.policy().await?.passkey.enabled {
        return Err(Failure::NO_PASSKEYS);
    }
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
    let mut accepted = match ceremony::finish_authentication(&visit, Kind::StepUp, &credential).await {
        Ok(accepted) if accepted.user.id == user.id => accepted,
        Ok(_) => return Err(Failure::PasskeyRefused { signal: None }),
        Err(refused) => {
            let event = refused.tell_authentication(Event::of("gd_webauthn_challenge_failed"));
            // Whose passkey it was is one thing, who could not confirm another.
            visit.log(event.user(&user)).await;
            return Err(refused.failure);
        }
    };
    let outcome = Outcome::of(&mut accepted, None);
    let first = FirstFactor {
        user_verified: accepted.authentication.user_verified,
        confirming: Some(destination::after_confirming(query.then.as_deref()).into()),
        used: Some(accepted.used),
        ..FirstFactor::of(&accepted.user, Method::Passkey)
    };
    let next = finish::first_factor_of(&mut visit, &user, first, outcome).await?;
    Ok(visit.json(json!({ "next": next })))
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
    let then = destination::after_confirming(form.then.as_deref());
    if !visit.app.policy().await?.password.enabled {
        return Err(Failure::NO_PASSWORDS);
    }
    let identifier = user.identifiers.first().cloned().ok_or(Failure::OutOfOrder)?;
    match login::check_password(&visit, &identifier, &form.password).await {
        Ok(known) if known.id == user.id => {
            let first =
                FirstFactor { confirming: Some(then.into()), ..FirstFactor::of(&known, Method::Password) };
            let next = finish::first_factor_of(&mut visit, &known, first, Outcome::default()).await?;
            Ok(visit.see_other(next))
        }
        Ok(_) => Err(Failure::OutOfOrder),
        Err(failure @ (Failure::Store(_) | Failure::Broken(_))) => Err(failure),
        Err(failure) => {
            let told = match failure {
                // Who it is, is known here.
                Failure::Field(key, _) if key != NO_PASSWORD => {
                    Failure::Field(key, "This is not your password.".into()).told()
                }
                failure => failure.told(),
            };
            let ways = ways(&visit, &user).await?;
            let page = pages::step_up(&visit.app, user.name(), then, &ways, Some(&told));
            Ok(visit.refusal(&told, page))
        }
    }
}
