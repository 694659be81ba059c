//! Who may use the control port: whoever has its token, from this machine, and no web page.

use std::net::{IpAddr, SocketAddr};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use tower::ServiceExt as _;

use super::reply::Failure;
use crate::token::Token;

/// What is checked before a request reaches a route.
#[derive(Clone)]
struct Gate {
    token: Token,
    /// Where the port listens.
    address: SocketAddr,
    routes: Router,
}

/// Puts these routes behind the gate.
pub(super) fn guarded(routes: Router, token: Token, address: SocketAddr) -> Router {
    Router::new().fallback(pass).with_state(Gate { token, address, routes })
}

async fn pass(State(gate): State<Gate>, mut request: Request<Body>) -> Response {
    if !is_our_host(request.headers(), gate.address) {
        let text = "this Host is not where the control port listens";
        return Failure::new(StatusCode::FORBIDDEN, text, "use the URL that the program printed")
            .into_response();
    }
    if request.headers().contains_key(header::ORIGIN) {
        let (text, hint) =
            ("web pages may not use the control port", "call it from a program, without Origin");
        return Failure::new(StatusCode::FORBIDDEN, text, hint).into_response();
    }
    let prefixed =
        request.uri().path().strip_prefix("/t/").map(|rest| rest.split_once('/').unwrap_or((rest, "")));
    let allowed = match prefixed {
        Some((shown, rest)) => {
            let allowed = gate.token.is(shown);
            let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
            match format!("/{rest}{query}").parse::<Uri>() {
                Ok(uri) => *request.uri_mut() = uri,
                Err(_) => return StatusCode::BAD_REQUEST.into_response(),
            }
            allowed
        }
        None => bearer(request.headers()).is_some_and(|shown| gate.token.is(shown)),
    };
    if !allowed {
        let hint = "send `Authorization: Bearer TOKEN`, or put /t/TOKEN in front of the path";
        return Failure::new(StatusCode::UNAUTHORIZED, "the token is missing or wrong", hint).into_response();
    }
    gate.routes.oneshot(request).await.into_response()
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

/// Whether the request was meant for this port: a page elsewhere whose name was made to point here says its own name.
fn is_our_host(headers: &HeaderMap, address: SocketAddr) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    if name.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let Ok(named) = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() else {
        return false;
    };
    // Numbers cannot be made to point elsewhere.
    named.is_loopback() || !address.ip().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_was_made_to_point_here_is_refused() {
        let here = "127.0.0.1:4000".parse().unwrap();
        let host = |name: &str| HeaderMap::from_iter([(header::HOST, name.parse().unwrap())]);
        for ours in ["127.0.0.1:4000", "localhost:4000", "LOCALHOST", "[::1]:4000", "127.0.0.1"] {
            assert!(is_our_host(&host(ours), here), "{ours}");
        }
        for foreign in
            ["evil.example:4000", "127.0.0.1.evil.example", "192.0.2.1:4000", "", "localhost.evil:1"]
        {
            assert!(!is_our_host(&host(foreign), here), "{foreign}");
        }
        assert!(!is_our_host(&HeaderMap::new(), here));
        assert!(is_our_host(&host("192.0.2.1:4000"), "0.0.0.0:4000".parse().unwrap()));
    }
}
