//! `/admin/users`: one user, found by what they are called, and blocked or let in again. Whoever is signed in to `/admin`
//! sees this, and nobody else.

use axum::Router;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::get;
use serde::Deserialize;

use super::users_api;
use crate::app::App;
use crate::edge::FormBody;
use crate::failure::Failure;
use crate::session::Visit;
use crate::store::User;
use crate::{identifiers, pages};

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/admin/users", get(show_search).post(search))
        .route("/admin/users/{id}", get(show).post(change))
}

async fn show_search(visit: Visit) -> Response {
    if !visit.is_operator() {
        return visit.page(pages::admin::token(&visit.app, None));
    }
    visit.page(pages::users::search(&visit.app, "", None))
}

#[derive(Debug, Deserialize)]
struct SearchForm {
    user: String,
}

/// Posted, so that what people are called is in no address, and so in no log of a proxy.
async fn search(visit: Visit, FormBody(form): FormBody<SearchForm>) -> Result<Response, Failure> {
    if !visit.is_operator() {
        return Err(Failure::NotOperator);
    }
    if let Some(user) = found(&visit, form.user.trim()).await? {
        return Ok(visit.see_other(&format!("/admin/users/{}", user.id)));
    }
    let told = Failure::Field("no-such-user", "No user is called that.".into()).told();
    let page = pages::users::search(&visit.app, &form.user, Some(&told));
    Ok(visit.refusal(&told, page))
}

/// The user of an id, or of any identifier: also of a kind that policy lets nobody log in with.
async fn found(visit: &Visit, text: &str) -> Result<Option<User>, Failure> {
    let database = &visit.app.database;
    if let Some(user) = database.user(text).await? {
        return Ok(Some(user));
    }
    let Some(identifier) = identifiers::meant(text) else { return Ok(None) };
    Ok(database.user_called(&identifier.kind, &identifier.value).await?)
}

async fn show(mut visit: Visit, Path(id): Path<String>) -> Result<Response, Failure> {
    if !visit.is_operator() {
        return Ok(visit.page(pages::admin::token(&visit.app, None)));
    }
    let database = visit.app.database.clone();
    let user = database.user(&id).await?.ok_or(Failure::NotFound)?;
    let facts = pages::users::Facts {
        passkeys: database.passkeys(&id).await?.len(),
        password_set_at: database.password_set_at(&id).await?,
        app_made_at: database.totp(&id).await?.map(|totp| totp.created_at),
        user: &user,
    };
    let notice = visit.take_notice().await?;
    Ok(visit.page(pages::users::one(&visit.app, &facts, notice.as_deref())))
}

/// What the button says is to be, not what is to be changed: a page that is older than another operator's decision does
/// not turn that round.
#[derive(Debug, Deserialize)]
struct BlockForm {
    blocked: bool,
}

async fn change(
    mut visit: Visit,
    Path(id): Path<String>,
    FormBody(form): FormBody<BlockForm>,
) -> Result<Response, Failure> {
    if !visit.is_operator() {
        return Err(Failure::NotOperator);
    }
    let user = users_api::set_blocked(&visit, &id, form.blocked).await?;
    let now = if user.blocked { "blocked, and logged out everywhere" } else { "not blocked any more" };
    visit.data.notice = Some(format!("{} is {now}.", user.name()));
    // If this session was the user's, too, it has ended with the others: the next page asks for the token.
    visit.save().await?;
    Ok(visit.see_other(&format!("/admin/users/{}", user.id)))
}
