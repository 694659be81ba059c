//! The start, the way out, and the answer to a balancer.

use axum::Router;
use axum::response::Response;
use axum::routing::{get, post};

use crate::app::App;
use crate::events::Event;
use crate::failure::Failure;
use crate::session::Visit;

pub(super) fn routes() -> Router<App> {
    Router::new().route("/", get(start)).route("/logout", post(log_out)).route("/healthz", get(health))
}

async fn start(visit: Visit) -> Response {
    visit.see_other(if visit.user_id().is_some() { "/account" } else { "/login" })
}

async fn log_out(mut visit: Visit) -> Result<Response, Failure> {
    if let Ok(user) = visit.user().await {
        visit.log(Event::of("slo").user(&user)).await;
    }
    visit.sign_out().await?;
    Ok(visit.see_other("/login"))
}

/// 200 while the database answers.
async fn health(visit: Visit) -> Result<Response, Failure> {
    visit.app.database.setting("rp_id").await?;
    Ok(visit.json(serde_json::json!({ "status": "ok" })))
}
