//! What holds for every request and response: where a change may come from, how large it may be, the headers that
//! protect the pages, and how a failure looks.

use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::http::header::{ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderName, ORIGIN};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::app::App;
use crate::destination;
use crate::events::Event;
use crate::failure::{Failure, Told};
use crate::pages;
use crate::session::Sender;

/// The most a request's body may hold. A registration with a long attestation chain has some 10 kB.
const BODY_LIMIT: usize = 64 * 1024;

/// How long a body may take to arrive.
const BODY_PATIENCE: Duration = Duration::from_secs(30);

/// Wraps the application's paths in what holds for all of them.
pub(crate) fn wrap(routes: Router<App>, app: App) -> Router {
    routes
        .fallback(async || Failure::NotFound)
        .method_not_allowed_fallback(async || Failure::MethodNotAllowed)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(from_fn_with_state(app.clone(), guard))
        .with_state(app)
}

async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    let as_json = wants_json(&request);
    let sender = Sender::of(&request);
    let path = request.uri().path().to_string();
    let refused = if is_foreign(&app, request.method(), request.headers())
        || (app.config.dev && !is_at_home(&app, request.headers()))
    {
        Some(Failure::ForeignOrigin)
    } else if is_oversized(request.headers()) {
        Some(Failure::TooLarge)
    } else if request.uri().path_and_query().is_some_and(|path| path.as_str().contains("%00")) {
        Some(Failure::BadBody("its address holds a NUL character".into()))
    } else {
        None
    };
    let mut response = match refused {
        Some(failure) => failure.into_response(),
        None => match whole(request).await {
            Ok(request) => to_the_end(next.run(request)).await,
            Err(failure) => failure.into_response(),
        },
    };
    if is_the_frameworks(&response) {
        response.extensions_mut().insert(Failure::BadBody("its address cannot be read".into()).told());
    }
    if let Some(AnsweredAlready(told)) = response.extensions_mut().remove() {
        note(&app, &told, &path, sender.clone()).await;
    }
    if let Some(told) = response.extensions_mut().remove::<Told>() {
        note(&app, &told, &path, sender).await;
        response = tell(&app, &told, &path, as_json, response);
    }
    protect(&app, &path, response.headers_mut());
    response
}

/// A request once its whole body is here. A body may be long on its way, and what a handler reads first, such as the session,
/// must not be of before.
async fn whole(request: Request) -> Result<Request, Failure> {
    let (parts, content) = request.into_parts();
    let bytes = tokio::time::timeout(BODY_PATIENCE, bytes_of(content)).await;
    Ok(Request::from_parts(parts, bytes.map_err(|_| Failure::TooSlow)??.into()))
}

/// Lets a handler come to its end, also when nobody waits for the answer any more: with its connection, a handler would
/// end anywhere, say between a change and the mail that tells of it.
async fn to_the_end(handler: impl Future<Output = Response> + Send + 'static) -> Response {
    let done = tokio::spawn(handler).await;
    done.unwrap_or_else(|_| Failure::Broken("a handler has panicked").into_response())
}

/// A refusal that a response tells in words of its own, and that has yet to be logged.
#[derive(Clone, Debug)]
pub(crate) struct AnsweredAlready(pub(crate) Told);

/// A path or query that axum could not read, and answered by itself: nothing of ours is plain text.
fn is_the_frameworks(response: &Response) -> bool {
    let is_plain =
        response.headers().get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"text/plain"));
    response.status().is_client_error() && is_plain
}

/// A change from another site: neither `Sec-Fetch-Site` nor `Origin` may say so (no tokens needed, since every
/// browser that knows passkeys sends at least one of them with a POST).
fn is_foreign(app: &App, method: &Method, headers: &HeaderMap) -> bool {
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return false;
    }
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    if site.is_some_and(|site| site != b"same-origin" && site != b"none") {
        return true;
    }
    let origin = headers.get(ORIGIN).map(HeaderValue::as_bytes);
    origin.is_some_and(|origin| !app.config.origins.iter().any(|allowed| allowed.as_bytes() == origin))
}

/// Whether the request names this service as its host. The pages for developers are for whoever sits at this machine,
/// and so for every page whose name was made to point here (DNS rebinding), if names were not looked at.
fn is_at_home(app: &App, headers: &HeaderMap) -> bool {
    // Whatever is no browser may leave it out.
    let Some(host) = headers.get(HOST) else { return true };
    let Ok(host) = host.to_str() else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    let ours = app.config.origins.iter().filter_map(|origin| origin.split_once("://"));
    let is_ours = ours.map(|(_, host)| host.split(':').next().unwrap_or_default()).any(|ours| ours == name);
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    is_ours || name == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn is_oversized(headers: &HeaderMap) -> bool {
    let length = headers.get("content-length").and_then(|value| value.to_str().ok());
    length.and_then(|text| text.parse::<u64>().ok()).is_some_and(|length| length > BODY_LIMIT as u64)
}

fn wants_json(request: &Request) -> bool {
    let has = |name: HeaderName| {
        request
            .headers()
            .get(name)
            .is_some_and(|value| value.as_bytes().windows(4).any(|part| part == b"json"))
    };
    let path = request.uri().path();
    let is_api = ["/api/", "/passkey/", "/me/", "/oauth/", "/attestation/", "/assertion/", "/.well-known/"];
    has(CONTENT_TYPE) || has(ACCEPT) || is_api.iter().any(|prefix| path.starts_with(prefix))
}

/// Failures that no flow has logged, because no flow was reached, are logged here.
async fn note(app: &App, told: &Told, path: &str, sender: Sender) {
    let unlogged = [
        "foreign-origin",
        "too-large",
        "too-slow",
        "unsupported-media-type",
        "invalid_request",
        "server-error",
    ];
    if unlogged.contains(&told.key) {
        let event = Event::of("fapi").detail("path", path).detail("key", told.key).error(told.for_the_log());
        app.log(&sender.source(app).await, event).await;
    }
}

/// A failure as JSON for scripts, as a redirect where another page mends it, and as a page otherwise.
fn tell(app: &App, told: &Told, path: &str, as_json: bool, bare: Response) -> Response {
    let mut response = if as_json {
        let mut body = json!({ "error": told.key, "message": told.message });
        if !told.hint.is_empty() {
            body["hint"] = json!(told.hint);
        }
        if path.starts_with("/attestation/") || path.starts_with("/assertion/") {
            // The form of the FIDO conformance binding.
            body["status"] = json!("failed");
            body["errorMessage"] = json!(told.message);
        }
        if let Some(credential_id) = &told.signal {
            body["signalUnknownCredential"] =
                json!({ "rpId": app.config.rp_id, "credentialId": credential_id });
        }
        (told.status, axum::Json(body)).into_response()
    } else {
        match told.key {
            "not-signed-in" => see_other(&destination::login_for(path)),
            "step-up-required" => see_other(&format!("/step-up?then={}", pages::url_encoded(path))),
            _ => (told.status, pages::status(app, told)).into_response(),
        }
    };
    told.say_when(response.headers_mut());
    for cookie in bare.headers().get_all("set-cookie") {
        response.headers_mut().append("set-cookie", cookie.clone());
    }
    response
}

fn see_other(path: &str) -> Response {
    (StatusCode::SEE_OTHER, [("location", path)]).into_response()
}

fn protect(app: &App, path: &str, headers: &mut HeaderMap) {
    let mut set = |name: &'static str, value: &'static str| {
        headers.entry(HeaderName::from_static(name)).or_insert(HeaderValue::from_static(value));
    };
    set("content-security-policy", CONTENT_SECURITY_POLICY);
    set("permissions-policy", "publickey-credentials-get=(self), publickey-credentials-create=(self)");
    set("referrer-policy", "same-origin");
    set("x-content-type-options", "nosniff");
    set("x-frame-options", "DENY");
    set("cross-origin-opener-policy", "same-origin");
    if app.config.is_https() {
        set("strict-transport-security", "max-age=31536000");
    }
    if !path.starts_with("/assets/") {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// A JSON body; unlike axum's, its refusals are [`Failure`]s.
#[derive(Debug)]
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<App> for JsonBody<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &App) -> Result<Self, Failure> {
        if !has_content_type(&request, "application/json") {
            return Err(Failure::WrongContentType);
        }
        let bytes = bytes_of(request.into_body()).await?;
        if holds(&bytes, br"\u0000") {
            return Err(Failure::BadBody(NUL.into()));
        }
        serde_json::from_slice(&bytes).map(Self).map_err(Failure::BadJson)
    }
}

/// A form's body.
#[derive(Debug)]
pub(crate) struct FormBody<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<App> for FormBody<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &App) -> Result<Self, Failure> {
        if !has_content_type(&request, "application/x-www-form-urlencoded") {
            return Err(Failure::WrongContentType);
        }
        let (parts, content) = request.into_parts();
        let bytes = bytes_of(content).await?;
        if holds(&bytes, b"%00") || bytes.contains(&0) {
            return Err(Failure::BadBody(NUL.into()));
        }
        let form = axum::Form::<T>::from_request(Request::from_parts(parts, bytes.into()), app).await;
        match form {
            Ok(axum::Form(value)) => Ok(Self(value)),
            Err(error) => Err(Failure::BadBody(error.body_text())),
        }
    }
}

/// A character that no name, address or password has, and that PostgreSQL keeps in no text.
const NUL: &str = "it holds a NUL character";

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn has_content_type(request: &Request, expected: &str) -> bool {
    let value = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(expected)
}

async fn bytes_of(content: Body) -> Result<Bytes, Failure> {
    axum::body::to_bytes(content, BODY_LIMIT).await.map_err(|_| Failure::TooLarge)
}

/// The bearer token of a request.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_handler_that_panics_is_a_failure_of_ours_and_nobody_waits_for_it() {
        async fn broken() -> Response {
            panic!("as a test wants it")
        }
        assert_eq!(to_the_end(broken()).await.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
}
