//! The account: its passkeys.

use axum::Router;
use axum::extract::Path;
use axum::response::{Redirect, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::ceremony::{self, Kind, Subject, Wish};
use crate::edge::{FormBody, JsonBody};
use crate::enrollment;
use crate::failure::Failure;
use crate::pages;
use crate::session::Visit;
use crate::store::{Changes, User};

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/account", get(show))
        .route("/account/passkeys", get(async || Redirect::to("/account")).post(finish_passkey))
        .route("/account/passkeys/options", post(passkey_options))
        .route("/account/passkeys/{id}/rename", post(rename))
        .route("/account/passkeys/{id}/remove", post(remove))
}

async fn show(mut visit: Visit) -> Result<Response, Failure> {
    let user = visit.user().await?;
    visit.touch().await?;
    let policy = visit.app.policy().await?;
    let passkeys = visit.app.database.passkeys(&user.id).await?;
    let notice = visit.take_notice().await?;
    let page = pages::account::passkeys(&visit.app, &user, &passkeys, &policy, notice.as_deref());
    Ok(visit.page(page))
}

async fn passkey_options(mut visit: Visit, JsonBody(wish): JsonBody<Wish>) -> Result<Response, Failure> {
    let user = visit.recent_user().await?;
    let options = begin(&mut visit, &user, &wish).await?;
    Ok(visit.json(options))
}

async fn begin(visit: &mut Visit, user: &User, wish: &Wish) -> Result<Value, Failure> {
    let exclude = enrollment::room_for_one_more(visit, user).await?;
    let subject =
        Subject { user_id: Some(&user.id), handle: &user.handle, name: user.name(), exclude: &exclude };
    ceremony::begin_registration(visit, Kind::Enroll, &subject, wish, None).await
}

async fn finish_passkey(mut visit: Visit, JsonBody(body): JsonBody<Value>) -> Result<Response, Failure> {
    let user = visit.recent_user().await?;
    enrollment::finish(&visit, Kind::Enroll, &user, body).await?;
    visit.data.notice = Some("The passkey has been added.".into());
    visit.save().await?;
    Ok(visit.json(json!({ "next": "/account" })))
}

#[derive(Debug, Deserialize)]
struct NameForm {
    name: String,
}

async fn rename(
    mut visit: Visit,
    Path(id): Path<String>,
    FormBody(form): FormBody<NameForm>,
) -> Result<Response, Failure> {
    let user = visit.recent_user().await?;
    let name: String = form.name.trim().chars().filter(|c| !c.is_control()).take(64).collect();
    if name.is_empty() {
        return Err(Failure::Field("no-name", "Give the passkey a name.".into()));
    }
    if !visit.change(&user, Changes::default().rename_passkey(&user.id, &id, &name)).await? {
        return Err(Failure::NotFound);
    }
    visit.data.notice = Some(format!("The passkey is called “{name}” now."));
    visit.save().await?;
    Ok(visit.see_other("/account"))
}

async fn remove(mut visit: Visit, Path(id): Path<String>) -> Result<Response, Failure> {
    let user = visit.recent_user().await?;
    enrollment::remove_passkey(&visit, &user, &id).await?;
    visit.data.notice = Some("The passkey has been removed.".into());
    visit.save().await?;
    Ok(visit.see_other("/account"))
}
