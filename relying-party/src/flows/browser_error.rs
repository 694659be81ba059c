//! What the browser would not do: told to the log, since the operator can mend it, and the visitor cannot.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use serde::Deserialize;
use serde_json::json;

use crate::app::App;
use crate::edge::JsonBody;
use crate::events::Event;
use crate::failure::Failure;
use crate::limits;
use crate::session::Visit;

pub(super) fn routes() -> Router<App> {
    Router::new().route("/browser-error", post(report))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Report {
    ceremony: Ceremony,
    error: Name,
    /// The browser's own words.
    message: String,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Ceremony {
    Create,
    Get,
}

/// The `DOMException`s that are not the visitor's fault.
#[derive(Clone, Copy, Debug, Deserialize)]
enum Name {
    /// The RP ID does not fit the page's origin.
    SecurityError,
    /// None of the algorithms is supported.
    NotSupportedError,
}

async fn report(visit: Visit, JsonBody(report): JsonBody<Report>) -> Result<StatusCode, Failure> {
    limits::browser_error(&visit).await?;
    let code = match (report.ceremony, visit.user_id()) {
        (Ceremony::Create, Some(_)) => "gd_webauthn_enrollment_failed",
        (Ceremony::Create, None) => "fs",
        (Ceremony::Get, Some(_)) => "gd_webauthn_challenge_failed",
        (Ceremony::Get, None) => "f",
    };
    let message: String = report.message.chars().filter(|letter| !letter.is_control()).take(200).collect();
    let mut event = Event::of(code)
        .error(format!("the browser refused: {:?}: {message}", report.error))
        .detail("authentication_methods", json!(["passkey"]));
    if let Ok(user) = visit.user().await {
        event = event.user(&user);
    }
    visit.log(event).await;
    Ok(StatusCode::NO_CONTENT)
}
