//! Who sent a request. For the log of what no flow saw, too: the request itself has gone to its handler by then.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, FromRequestParts as _, Request};
use axum::http::header::{COOKIE, USER_AGENT};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};

use super::Visit;
use crate::app::App;
use crate::events::Source;

/// What says who has sent a request. Every request has one made, and hardly any needs it: it holds what costs little.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    headers: Vec<(HeaderName, HeaderValue)>,
    peer: Option<ConnectInfo<SocketAddr>>,
}

impl Sender {
    pub(crate) fn of(request: &Request) -> Self {
        let of_name = |name: HeaderName| {
            request.headers().get_all(&name).iter().map(move |value| (name.clone(), value.clone()))
        };
        Self {
            headers: [COOKIE, USER_AGENT, FORWARDED_FOR].into_iter().flat_map(of_name).collect(),
            peer: request.extensions().get().copied(),
        }
    }

    /// Where its request comes from. What the database cannot tell at present is left out.
    pub(crate) async fn source(self, app: &App) -> Source {
        let (mut parts, ()) = axum::http::Request::new(()).into_parts();
        for (name, value) in self.headers {
            parts.headers.append(name, value);
        }
        if let Some(peer) = self.peer {
            parts.extensions.insert(peer);
        }
        match Visit::from_request_parts(&mut parts, app).await {
            Ok(visit) => visit.source,
            Err(_) => Source {
                ip: client_ip(&parts, app),
                user_agent: clipped(&parts.headers, USER_AGENT.as_str(), 256),
                correlation_id: String::new(),
            },
        }
    }
}

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Where the request came from: the peer, or what the proxy in front says.
pub(super) fn client_ip(parts: &Parts, app: &App) -> String {
    if app.config.behind_proxy {
        let forwarded = parts.headers.get_all(FORWARDED_FOR).iter().next_back();
        let last = forwarded.and_then(|line| line.to_str().ok()).and_then(|line| line.rsplit(',').next());
        if let Some(ip) = last.and_then(|text| text.trim().parse::<std::net::IpAddr>().ok()) {
            return ip.to_string();
        }
    }
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    peer.map_or_else(|| "127.0.0.1".into(), |ConnectInfo(address)| address.ip().to_string())
}

/// A header as text of at most `most` characters.
pub(super) fn clipped(headers: &HeaderMap, name: &str, most: usize) -> String {
    let value = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.chars().take(most).collect()
}
