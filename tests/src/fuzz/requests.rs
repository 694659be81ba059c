//! Stories of HTTP requests: one browser, one relying party, any bytes as bodies.

use std::sync::LazyLock;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use doppelkey_relying_party::{Clock, Config, app};
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

use super::steps;

pub(super) const STEPS_MAX: usize = 40;

/// Where requests go; a step's kind modulo their number chooses one. `{there}` is where the last answer has sent its visitor.
/// The stream of events is not here: it has no end. Nor are the files of `/assets/`, which look at nothing.
pub(super) const PATHS: &[&str] = &[
    "/",
    "/signup",
    "/signup/code",
    "/signup/code/resend",
    "/signup/passkey",
    "/signup/passkey/options",
    "/signup/password",
    "/login",
    "/login/passkey",
    "/login/passkey/options",
    "/login/password",
    "/logout",
    "/mfa/otp",
    "/mfa/recovery-code",
    "/mfa/setup",
    "/mfa/setup/done",
    "/enroll",
    "/enroll/options",
    "/enroll/local",
    "/enroll/local/options",
    "/enroll/skip",
    "/recover",
    "/recover/code",
    "/recover/new",
    "/recover/passkey",
    "/recover/passkey/options",
    "/recover/password",
    "/reset-password",
    "/reset-password/new",
    "/step-up",
    "/step-up/options",
    "/step-up/password",
    "/unblock",
    "/account",
    "/account/delete",
    "/account/lost",
    "/account/passkeys",
    "/account/passkeys/options",
    "/account/passkeys/{id}/remove",
    "/account/passkeys/{id}/rename",
    "/account/security",
    "/account/security/otp",
    "/account/security/otp/remove",
    "/account/security/password",
    "/account/security/password/remove",
    "/account/security/recorded",
    "/account/security/recovery-code",
    "/account/sessions/end-others",
    "/account/sessions/{id}/end",
    "/account/identifiers",
    "/account/identifiers/code",
    "/account/identifiers/{kind}",
    "/admin",
    "/admin/policy",
    "/admin/token",
    "/admin/users",
    "/admin/users/{id}",
    "/api/v2/logs",
    "/api/v2/logs/{id}",
    "/api/v2/users/{id}",
    "/api/v2/policy",
    "/inspect",
    "/inspect/{id}",
    "/outbox",
    "/passkey/register",
    "/passkey/challenge",
    "/oauth/token",
    "/me/v1/authentication-methods",
    "/me/v1/authentication-methods/{id}",
    "/me/v1/authentication-methods/{id}/verify",
    "/.well-known/jwks.json",
    "/.well-known/change-password",
    "/.well-known/passkey-endpoints",
    "/.well-known/webauthn",
    "/assertion/options",
    "/assertion/result",
    "/attestation/options",
    "/attestation/result",
    "/browser-error",
    "/healthz",
    "/playground",
    "/no/such/path?{id}",
    "{there}",
];

const METHODS: [&str; 6] = ["GET", "POST", "POST", "PATCH", "DELETE", "PUT"];
const CONTENT_TYPES: [&str; 4] = [
    "application/json",
    "application/x-www-form-urlencoded",
    "text/plain",
    "application/json; charset=utf-16",
];

/// The first byte of a payload that makes it a form, as a page posts it.
pub(super) const FORM: u8 = 1 + 6;
/// The first byte of a payload that makes it JSON, as a script posts it.
pub(super) const JSON: u8 = 1;
/// The first byte of a payload that asks for a page.
pub(super) const PAGE: u8 = 0;

struct World {
    runtime: Runtime,
    router: Router,
}

/// One for all stories: what one leaves behind, the next one meets. A minute passes with each request, or limits on
/// guessing would keep the rest out.
static WORLD: LazyLock<Mutex<World>> = LazyLock::new(|| {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be built");
    let now = AtomicI64::new(1_750_000_000_000);
    let config = Config {
        admin_token: "operator".into(),
        clock: Clock::new(move || now.fetch_add(61_000, Ordering::Relaxed)),
        ..Config::localhost(8080)
    };
    let router = runtime.block_on(app(config)).expect("a relying party in memory starts");
    Mutex::new(World { runtime, router })
});

/// Sends a story's requests: each step a path, then a byte for method, content type and who asks, then the body.
///
/// How many were carried out.
///
/// # Panics
/// If an answer is the fault of the service (500 and above).
pub fn requests(story: &[u8]) -> u32 {
    let world = WORLD.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (mut cookie, mut there) = (String::new(), String::from("/"));
    let mut carried_out = 0;
    for (kind, payload) in steps(story).take(STEPS_MAX) {
        let Some(request) = request(kind, payload, &cookie, &there) else { continue };
        let told = format!("{} {}", request.method(), request.uri());
        let response =
            world.runtime.block_on(world.router.clone().oneshot(request)).expect("a router never fails");
        assert!(response.status() < StatusCode::INTERNAL_SERVER_ERROR, "{told}: {}", response.status());
        carried_out += u32::from(response.status().is_success() || response.status().is_redirection());
        if let Some(location) = response.headers().get("location") {
            there = location.to_str().expect("locations are ASCII").to_string();
        }
        for line in response.headers().get_all("set-cookie") {
            let pair = line.to_str().expect("cookies are ASCII").split(';').next().unwrap_or_default();
            cookie = pair.to_string();
        }
    }
    carried_out
}

fn request(kind: u8, payload: &[u8], cookie: &str, there: &str) -> Option<Request<Body>> {
    let (how, body) = payload.split_first()?;
    let how = usize::from(*how);
    let id: String = body.iter().take(12).map(|byte| format!("%{byte:02X}")).collect();
    let path = PATHS[usize::from(kind) % PATHS.len()].replace("{id}", &id).replace("{kind}", &id);
    let path = path.replace("{there}", there);
    let mut request = Request::builder().method(METHODS[how % 6]).uri(path);
    request = request.header("content-type", CONTENT_TYPES[how / 6 % 4]).header("cookie", cookie);
    match how / 24 % 4 {
        0 => {}
        1 => request = request.header("authorization", "Bearer operator"),
        2 => request = request.header("authorization", format!("Bearer {id}")),
        _ => request = request.header("origin", "https://elsewhere.example"),
    }
    request.body(Body::from(body.to_vec())).ok()
}

#[cfg(test)]
mod tests {
    use super::PATHS;
    use crate::{root, sources::routes};

    #[test]
    fn every_route_of_the_relying_party_is_among_the_paths() {
        let routes = routes::under(&root().join("relying-party/src"));
        let routes: Vec<_> = routes.iter().map(|route| route.path.as_str()).collect();
        let is_asked = |path: &str| path != "/api/v2/logs/stream" && !path.starts_with("/assets/");
        let missing: Vec<_> = routes.iter().filter(|path| is_asked(path) && !PATHS.contains(path)).collect();
        assert!(missing.is_empty(), "{missing:?}");
        let gone: Vec<_> = PATHS.iter().filter(|path| !routes.contains(path)).collect();
        assert_eq!(gone, [&"/no/such/path?{id}", &"{there}"], "the rest are routes");
    }
}
