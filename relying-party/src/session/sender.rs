//! Who sent a request, for the log of what no flow saw: the request itself has gone to its handler by then.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, FromRequestParts as _, Request};
use axum::http::header::{COOKIE, USER_AGENT};
use axum::http::{HeaderName, HeaderValue};

use super::{FORWARDED_FOR, Visit, client_ip, clipped};
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
