//! What operators see: the policy, the events, and a page with both; and users, whom they block, with pages of their own.
//! Everything asks for the token that was printed when the service started.

mod admin;
mod logs_api;
mod policy_api;
mod users;
mod users_api;

use axum::Router;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::app::App;
use crate::edge;
use crate::failure::Failure;
use crate::secret;
use crate::session::Visit;

/// The paths for operators.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .merge(policy_api::routes())
        .merge(logs_api::routes())
        .merge(users_api::routes())
        .merge(admin::routes())
        .merge(users::routes())
}

/// A request with the operator's token as `Authorization: Bearer`.
#[derive(Debug)]
struct Operator {
    app: App,
    visit: Visit,
}

impl FromRequestParts<App> for Operator {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let token = edge::bearer(&parts.headers).unwrap_or_default();
        if !secret::equal(token.as_bytes(), app.config.admin_token.as_bytes()) {
            return Err(Failure::NotOperator);
        }
        let visit = Visit::from_request_parts(parts, app).await?;
        Ok(Self { app: app.clone(), visit })
    }
}
