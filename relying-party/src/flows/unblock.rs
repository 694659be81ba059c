//! The link that lifts a block: opened by the owner of the address, confirmed by a button, since programs that look
//! at mails open links too.

use axum::Router;
use axum::extract::Query;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use serde::Deserialize;

use crate::app::App;
use crate::edge::FormBody;
use crate::events::Event;
use crate::failure::Failure;
use crate::secret::Secret;
use crate::session::Visit;
use crate::{codes, pages};

pub(super) fn routes() -> Router<App> {
    Router::new().route("/unblock", get(show).post(submit))
}

#[derive(Debug, Deserialize)]
struct Token {
    #[serde(default)]
    token: Secret,
}

async fn show(visit: Visit, Query(query): Query<Token>) -> Response {
    visit.page(pages::unblock(&visit.app, &query.token))
}

async fn submit(mut visit: Visit, FormBody(form): FormBody<Token>) -> Result<Response, Failure> {
    let id = codes::link_id(&form.token);
    let Some(block) = visit.app.database.take_link(&id, "unblock", visit.app.now()).await? else {
        return Ok(visit.page_with(StatusCode::BAD_REQUEST, pages::recover::unblock_error(&visit.app)));
    };
    visit.app.database.forget(&block).await?;
    visit.log(Event::of("ublkdu")).await;
    visit.data.notice = Some("The block has been lifted. You can log in again.".into());
    visit.save().await?;
    Ok(visit.see_other("/login"))
}
