//! The files under `/.well-known/` that browsers and password managers look for.

use axum::Router;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use serde_json::json;

use crate::app::App;
use crate::failure::Failure;
use crate::session::Visit;

/// The paths; none of them redirects but the one that must.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/.well-known/webauthn", get(related_origins))
        .route("/.well-known/passkey-endpoints", get(passkey_endpoints))
        .route("/.well-known/change-password", get(change_password))
}

/// Which other origins may use this RP ID (WebAuthn Level 3 §5.11).
async fn related_origins(visit: Visit) -> Result<Response, Failure> {
    let policy = visit.app.policy().await?;
    let origins = policy.all_related_origins(&visit.app.config);
    Ok(visit.json(json!({ "origins": origins })))
}

/// Where a password manager sends people to create and manage passkeys (W3C passkey endpoints), and to read what PRF
/// is used for: only the playground uses it.
async fn passkey_endpoints(visit: Visit) -> Result<Response, Failure> {
    let config = &visit.app.config;
    let origin = config.own_origin();
    let mut endpoints = json!({ "manage": format!("{origin}/account") });
    if visit.app.policy().await?.passkey.enabled {
        endpoints["enroll"] = json!(format!("{origin}/account"));
    }
    if config.dev {
        endpoints["prfUsageDetails"] = json!(format!("{origin}/playground"));
    }
    Ok(visit.json(endpoints))
}

/// W3C change password URL: 302 to where a password is changed.
async fn change_password() -> Response {
    let mut response = Redirect::to("/account/security").into_response();
    *response.status_mut() = axum::http::StatusCode::FOUND;
    response
}
