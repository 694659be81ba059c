//! Whoever a webhook speaks to: one URL, and one `POST` to it at a time.
//!
//! Nothing but the answer's status is looked at. A redirect is not followed: it is no yes. No proxy is asked for.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use axum::http::{HeaderName, Request, StatusCode, Uri};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// How long everything about one message may take: finding the name, connecting, TLS, the answer's head.
const PATIENCE: Duration = Duration::from_secs(5);

/// One URL that events go to.
pub(super) struct Receiver {
    uri: Uri,
    host: String,
    port: u16,
    tls: Option<TlsConnector>,
}

/// Why a message was not taken. Whether it arrived is not always known: it is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The name is unknown, or nobody listens there.
    Unreachable,
    /// There is no TLS, or a certificate that this system does not believe.
    Untrusted,
    /// No answer in time.
    Slow,
    /// What came is not an answer in HTTP.
    Broken,
    /// An answer that is no yes.
    Answered(StatusCode),
}

impl Trouble {
    pub(super) fn hint(self) -> &'static str {
        match self {
            Self::Unreachable => "is it running, are host and port in --webhook right?",
            Self::Untrusted => "is its certificate for this name, of an authority that this system knows?",
            Self::Slow => "answer within five seconds, and do the work afterwards",
            Self::Broken => "is it an HTTP server?",
            Self::Answered(status) if status.is_redirection() => {
                "name the address that it leads to: redirects are not followed"
            }
            Self::Answered(_) => "look into its log; is the secret the one of --webhook-secret?",
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable => f.write_str("cannot be reached"),
            Self::Untrusted => f.write_str("has no secure connection to offer"),
            Self::Slow => f.write_str("did not answer in time"),
            Self::Broken => f.write_str("did not answer in HTTP"),
            Self::Answered(status) => write!(f, "answered {}", status.as_u16()),
        }
    }
}

impl Receiver {
    /// The receiver at a URL: https, or http to this very machine.
    ///
    /// # Errors
    /// What is wrong with the URL, without repeating it.
    pub(super) fn at(url: &str) -> Result<Self, &'static str> {
        let uri: Uri = url.parse().map_err(|_| "is not a URL")?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or("names no host")?;
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err("holds a user's name, which is not sent");
        }
        let host = host.trim_start_matches('[').trim_end_matches(']').to_string();
        let (port, tls) = match uri.scheme_str() {
            Some("https") => (443, Some(tls()?)),
            Some("http") if is_loopback(&host) => (80, None),
            Some("http") => return Err("is not https: whoever listens on the way would read it all"),
            _ => return Err("is neither https nor http"),
        };
        Ok(Self { port: uri.port_u16().unwrap_or(port), host, tls, uri })
    }

    /// Scheme, host and port: what may be shown of a URL whose path may be a secret.
    pub(super) fn name(&self) -> String {
        let authority = self.uri.authority().map_or("", |authority| authority.as_str());
        format!("{}://{authority}", self.uri.scheme_str().unwrap_or_default())
    }

    /// Sends a message: done when the receiver says that it has it (2xx).
    pub(super) async fn post(&self, headers: &[(&'static str, &str)], body: String) -> Result<(), Trouble> {
        tokio::time::timeout(PATIENCE, self.exchange(headers, body)).await.map_err(|_| Trouble::Slow)?
    }

    async fn exchange(&self, headers: &[(&'static str, &str)], body: String) -> Result<(), Trouble> {
        let stream = TcpStream::connect((self.host.as_str(), self.port));
        let stream = stream.await.map_err(|_| Trouble::Unreachable)?;
        let request = self.request(headers, body)?;
        let Some(tls) = &self.tls else {
            let is_near = stream.peer_addr().is_ok_and(|address| address.ip().is_loopback());
            return if is_near { send(stream, request).await } else { Err(Trouble::Unreachable) };
        };
        let name = ServerName::try_from(self.host.clone()).map_err(|_| Trouble::Untrusted)?;
        send(tls.connect(name, stream).await.map_err(|_| Trouble::Untrusted)?, request).await
    }

    fn request(&self, headers: &[(&'static str, &str)], body: String) -> Result<Request<Body>, Trouble> {
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let authority = self.uri.authority().map_or("", |authority| authority.as_str());
        let mut request = Request::post(path)
            .header(HOST, authority)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("doppelkey/", env!("CARGO_PKG_VERSION")));
        for (name, value) in headers {
            request = request.header(HeaderName::from_static(name), *value);
        }
        // What it is made of has been a URL, and is ours: this is as good as certain.
        request.body(Body::from(body)).map_err(|_| Trouble::Broken)
    }
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Body>,
) -> Result<(), Trouble> {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|_| Trouble::Broken)?;
    // It ends when the sender is gone, which is at the latest when time is up.
    tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(|_| Trouble::Broken)?;
    if answer.status().is_success() { Ok(()) } else { Err(Trouble::Answered(answer.status())) }
}

/// TLS as this system's authorities vouch for it; `SSL_CERT_FILE` names others.
fn tls() -> Result<TlsConnector, &'static str> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err("needs TLS, but this system knows no authorities (install ca-certificates)");
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|_| "needs TLS, and there is none")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_leave_this_machine_over_https_only() {
        for fine in ["http://localhost:9/a?b", "http://127.0.0.1/", "http://[::1]:80/x"] {
            assert!(Receiver::at(fine).is_ok(), "{fine}");
        }
        for wrong in [
            "http://example.org/",
            "http://127.0.0.1.example.org/",
            "ftp://localhost/",
            "localhost",
            "/events",
            "http://user:password@localhost/",
            "http://local host/",
            "",
        ] {
            assert!(Receiver::at(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_shown_of_a_url_is_where_it_leads_not_its_path() {
        let receiver =
            Receiver::at("http://localhost:9000/hooks/s3cret?token=1").unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(receiver.name(), "http://localhost:9000");
    }
}
