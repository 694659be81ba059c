//! The offer of a passkey between logging in and the application: after a password (progressive), or after another
//! device's passkey (local).

use axum::Router;
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};

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
        .route("/enroll", get(show_progressive).post(finish))
        .route("/enroll/local", get(show_local).post(finish))
        .route("/enroll/options", post(options))
        .route("/enroll/local/options", post(options))
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
    if visit.data.prompt == Some(prompt) && !visit.app.policy().await?.passkey.enabled {
        // Policy has turned passkeys off since.
        visit.data.prompt = None;
        visit.save().await?;
    }
    if visit.data.prompt != Some(prompt) {
        return Ok(visit.see_other(destination::of(visit.data.then.as_deref())));
    }
    Ok(visit.page(pages::enroll::offer(&visit.app, user.name(), prompt)))
}

async fn options(mut visit: Visit, JsonBody(wish): JsonBody<Wish>) -> Result<Response, Failure> {
    let user = visit.recent_user().await?;
    let prompt = visit.data.prompt.ok_or(Failure::OutOfOrder)?;
    let exclude = enrollment::room_for_one_more(&visit, &user).await?;
    let subject =
        Subject { user_id: Some(&user.id), handle: &user.handle, name: user.name(), exclude: &exclude };
    let options =
        ceremony::begin_registration(&mut visit, Kind::Enroll, &subject, &wish, Some(prompt)).await?;
    Ok(visit.json(options))
}

async fn finish(mut visit: Visit, JsonBody(body): JsonBody<Value>) -> Result<Response, Failure> {
    let user = visit.recent_user().await?;
    visit.data.prompt.ok_or(Failure::OutOfOrder)?;
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
