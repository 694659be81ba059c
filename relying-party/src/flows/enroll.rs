//! The offer of a passkey between logging in and the application: after a password (progressive), or after another
//! device's passkey (local).

use axum::Router;
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use super::finish;
use crate::app::App;
use crate::ceremony::{self, Kind, Subject, Wish};
use crate::destination;
use crate::edge::{FormBody, JsonBody};
use crate::enrollment;
use crate::failure::Failure;
use crate::pages;
use crate::session::{Prompt, Visit};

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/enroll", get(show_progressive).post(create_progressive))
        .route("/enroll/local", get(show_local).post(create_local))
        .route("/enroll/options", post(options_progressive))
        .route("/enroll/local/options", post(options_local))
        .route("/enroll/skip", post(skip))
}

async fn show_progressive(visit: Visit) -> Result<Response, Failure> {
    show(visit, Prompt::Progressive).await
}

async fn show_local(visit: Visit) -> Result<Response, Failure> {
    show(visit, Prompt::Local).await
}

async fn show(mut visit: Visit, prompt: Prompt) -> Result<Response, Failure> {
    let user = visit.user().await?;
    if visit.data.prompt == Some(prompt) && !finish::offers(visit.app.policy().await?.as_ref(), prompt) {
        // Policy has turned the offer off since.
        visit.data.prompt = None;
        visit.save().await?;
    }
    if visit.data.prompt != Some(prompt) {
        return Ok(visit.see_other(destination::of(visit.data.then.as_deref())));
    }
    Ok(visit.page(pages::enroll::offer(&visit.app, user.name(), prompt)))
}

/// Refuses what takes up an offer that this session has not got, or that policy has turned off since.
async fn refuse_unoffered(visit: &Visit, prompt: Prompt) -> Result<(), Failure> {
    if !finish::offers(visit.app.policy().await?.as_ref(), prompt) {
        return Err(Failure::NO_PASSKEYS);
    }
    if visit.data.prompt == Some(prompt) { Ok(()) } else { Err(Failure::OutOfOrder) }
}

async fn options_progressive(visit: Visit, body: JsonBody<Wish>) -> Result<Response, Failure> {
    options(visit, Prompt::Progressive, body).await
}

async fn options_local(visit: Visit, body: JsonBody<Wish>) -> Result<Response, Failure> {
    options(visit, Prompt::Local, body).await
}

async fn options(
    mut visit: Visit,
    prompt: Prompt,
    JsonBody(wish): JsonBody<Wish>,
) -> Result<Response, Failure> {
    let user = visit.recent_user().await?;
    refuse_unoffered(&visit, prompt).await?;
    let exclude = enrollment::room_for_one_more(&visit, &user).await?;
    let subject =
        Subject { user_id: Some(&user.id), handle: &user.handle, name: user.name(), exclude: &exclude };
    let options =
        ceremony::begin_registration(&mut visit, Kind::Enroll, &subject, &wish, Some(prompt)).await?;
    Ok(visit.json(options))
}

async fn create_progressive(visit: Visit, body: JsonBody<Value>) -> Result<Response, Failure> {
    create(visit, Prompt::Progressive, body).await
}

async fn create_local(visit: Visit, body: JsonBody<Value>) -> Result<Response, Failure> {
    create(visit, Prompt::Local, body).await
}

async fn create(
    mut visit: Visit,
    prompt: Prompt,
    JsonBody(body): JsonBody<Value>,
) -> Result<Response, Failure> {
    let user = visit.recent_user().await?;
    refuse_unoffered(&visit, prompt).await?;
    enrollment::finish(&visit, Kind::Enroll, &user, body).await?;
    visit.data.prompt = None;
    visit.data.notice = Some("The passkey has been created. Use it the next time you log in.".into());
    let next = destination::of(visit.data.then.take().as_deref());
    visit.save().await?;
    Ok(visit.json(json!({ "next": next })))
}

#[derive(Debug, Deserialize)]
struct SkipForm {
    never: Option<String>,
}

async fn skip(mut visit: Visit, FormBody(form): FormBody<SkipForm>) -> Result<Response, Failure> {
    let user = visit.user().await?;
    let policy = visit.app.policy().await?;
    let mut next = destination::ACCOUNT;
    if let Some(prompt) = visit.data.prompt.take() {
        let days = i64::from(policy.passkey.put_off_days);
        let until = if form.never.is_some() { i64::MAX } else { visit.app.now() + days * 86_400_000 };
        visit.app.database.put_off(&user.id, prompt.name(), until).await?;
        next = destination::of(visit.data.then.take().as_deref());
        visit.save().await?;
    }
    Ok(visit.see_other(next))
}
