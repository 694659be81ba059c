//! What an operator decides when the relying party starts, and the two things it is told: time and randomness.

use std::cell::RefCell;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroize as _;

use crate::key::Key;
use crate::policy::Policy;
use crate::webhooks::Webhooks;

/// A clock: the Unix time in milliseconds. Tests inject their own.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> i64 + Send + Sync>);

impl Clock {
    /// A clock that asks `read` for the Unix time in milliseconds.
    pub fn new(read: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// The clock of this computer.
    #[must_use]
    pub fn system() -> Self {
        Self::new(|| {
            #[expect(
                clippy::disallowed_methods,
                reason = "this is the relying party's clock, where time enters"
            )]
            let now = std::time::SystemTime::now();
            let since = now.duration_since(std::time::UNIX_EPOCH).unwrap_or(Duration::ZERO);
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        })
    }

    /// Now, in milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// A source of randomness fit for keys. Tests may inject their own.
#[derive(Clone)]
pub struct Random(Arc<Fill>);

type Fill = dyn Fn(&mut [u8]) + Send + Sync;

impl Random {
    /// Randomness from `fill`, which must overwrite every byte with unpredictable ones.
    pub fn new(fill: impl Fn(&mut [u8]) + Send + Sync + 'static) -> Self {
        Self(Arc::new(fill))
    }

    /// The operating system's randomness, asked for in pieces: a login needs some of it eight times.
    #[must_use]
    pub fn system() -> Self {
        Self::new(|bytes| STOCK.with_borrow_mut(|stock| stock.fill(bytes)))
    }

    /// Fresh random bytes.
    #[must_use]
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        (self.0)(&mut bytes);
        bytes
    }
}

/// Random bytes that this thread has asked the operating system for and not used yet.
struct Stock {
    bytes: [u8; 512],
    used: usize,
}

impl Stock {
    /// Gives bytes that have never been given before, and keeps no copy of them.
    fn fill(&mut self, bytes: &mut [u8]) {
        for piece in bytes.chunks_mut(self.bytes.len()) {
            if self.used + piece.len() > self.bytes.len() {
                getrandom::fill(&mut self.bytes)
                    .expect("an operating system without randomness cannot run a service");
                self.used = 0;
            }
            let taken = &mut self.bytes[self.used..self.used + piece.len()];
            piece.copy_from_slice(taken);
            taken.zeroize();
            self.used += piece.len();
        }
    }
}

thread_local! {
    static STOCK: RefCell<Stock> = const { RefCell::new(Stock { bytes: [0; 512], used: 512 }) };
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Random")
    }
}

/// How a relying party is set up. [`Config::localhost`] is a complete one to start from.
#[derive(Clone)]
pub struct Config {
    /// `memory`, `sqlite:PATH` or `postgres://…`.
    pub database: String,
    /// What people read: "Create a passkey for NAME".
    pub name: String,
    /// The RP ID. Changing it orphans every passkey; see [`Config::accept_rp_id_change`].
    pub rp_id: String,
    /// The exact origins that ceremonies may come from; the first is this service's own address.
    pub origins: Vec<String>,
    /// Policy to install at the start; `None` keeps the one in the database (at first: the defaults).
    pub policy: Option<Policy>,
    /// Outbox, playground and inspector pages, and the conformance binding: whoever reads the outbox can recover every
    /// account. So [`check`](Self::check) refuses them with an origin that is not this machine, and behind a proxy.
    pub dev: bool,
    /// The bearer token of `/api/v2` and `/admin`.
    pub admin_token: String,
    /// Take the client's address from the last `X-Forwarded-For` entry, which a proxy in front writes.
    pub behind_proxy: bool,
    /// Start although the RP ID is not the one that the stored passkeys were made for.
    pub accept_rp_id_change: bool,
    /// What a copy of the database must not give away is sealed under this key, which is kept elsewhere; all processes
    /// that share the database need it. Without one, whoever reads the database can sign tokens and knows the secrets
    /// of authenticator apps.
    pub key: Option<Key>,
    /// Start although what the database holds is sealed under another key than this one, and take this one from now on;
    /// no other process may be running on the database. What cannot be opened any more is given up, and told in the log:
    /// authenticator apps are removed, with the logins and remembered devices that they let in; mail that waits for its
    /// server is gone; tokens, and codes that are on their way, are void. Passkeys, passwords, recovery codes and sessions
    /// stay.
    pub replace_lost_key: bool,
    /// Where mail goes.
    pub mail: Mail,
    /// Where the log's events are sent, if anywhere.
    pub webhooks: Webhooks,
    /// FIDO metadata to judge models of authenticators by, if any.
    pub metadata: Option<MetadataFiles>,
    /// The community's list of provider names by AAGUID, JSON, beside the table that is built in.
    pub provider_names: Option<Vec<u8>>,
    /// Time.
    pub clock: Clock,
    /// Randomness.
    pub random: Random,
}

/// Where mail goes. A copy of every message is in the outbox page when `dev` is on.
#[derive(Clone, PartialEq, Eq)]
pub enum Mail {
    /// Into the database only, for the outbox page.
    Outbox,
    /// To standard error, one message after another.
    Console,
    /// To a mail server: `smtp://user:password@host:port?tls=required`, and the sender's address.
    Smtp {
        /// The server's URL.
        url: String,
        /// `From:`.
        from: String,
    },
}

/// Tells neither the operator's token nor the URL of a database or a mail server, which may hold a password.
impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("name", &self.name)
            .field("rp_id", &self.rp_id)
            .field("origins", &self.origins)
            .field("policy", &self.policy)
            .field("dev", &self.dev)
            .field("behind_proxy", &self.behind_proxy)
            .field("accept_rp_id_change", &self.accept_rp_id_change)
            .field("replace_lost_key", &self.replace_lost_key)
            .field("mail", &self.mail)
            .field("webhooks", &self.webhooks)
            .finish_non_exhaustive()
    }
}

/// Tells no password of a mail server.
impl std::fmt::Debug for Mail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Mail::Outbox => "Outbox",
            Mail::Console => "Console",
            Mail::Smtp { .. } => "Smtp(…)",
        })
    }
}

/// A FIDO metadata BLOB, and whom to believe about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataFiles {
    /// The BLOB: a signed JSON text.
    pub blob: String,
    /// The root that its signer's certificate must chain to, DER or PEM.
    pub root: Vec<u8>,
    /// The DNS name in its signer's certificate: [`Publisher::FIDO`](crate::metadata::Publisher::FIDO) for FIDO's own.
    pub publisher: String,
    /// Certificate revocation lists of the publisher's and the makers' authorities, DER or PEM; nothing is fetched.
    pub revocation_lists: Vec<Vec<u8>>,
}

impl Config {
    /// A relying party for trying things out: in memory, on `http://localhost:PORT`, with the pages for
    /// developers.
    #[must_use]
    pub fn localhost(port: u16) -> Self {
        let random = Random::system();
        Self {
            database: "memory".into(),
            name: "Doppelkey".into(),
            rp_id: "localhost".into(),
            origins: vec![format!("http://localhost:{port}")],
            policy: None,
            dev: true,
            admin_token: crate::secret::text(&random.bytes::<32>()),
            behind_proxy: false,
            accept_rp_id_change: false,
            key: None,
            replace_lost_key: false,
            mail: Mail::Outbox,
            webhooks: Webhooks::default(),
            metadata: None,
            provider_names: None,
            clock: Clock::system(),
            random,
        }
    }

    /// This service's own origin.
    #[must_use]
    pub fn own_origin(&self) -> &str {
        self.origins.first().map_or("", String::as_str)
    }

    /// Whether cookies can be `Secure` and `__Host-`: everywhere but on plain http, which only localhost may use.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.own_origin().starts_with("https://")
    }

    /// Whether pages of this host may use the RP ID by themselves: it is their host, or a parent of it.
    pub(crate) fn covers(&self, host: &str) -> bool {
        host == self.rp_id || host.strip_suffix(self.rp_id.as_str()).is_some_and(|rest| rest.ends_with('.'))
    }

    /// What is wrong with these settings, as `(what, what to do)`; nothing is contacted.
    ///
    /// # Errors
    /// The first contradiction found; the operator's fault.
    pub fn check(&self) -> Result<(), (String, String)> {
        crate::mail::check(&self.mail)?;
        if self.origins.is_empty() {
            return Err(("no origin is allowed".into(), "name one with --origin https://…".into()));
        }
        let Some(host) = host_of(self.own_origin()) else {
            return Err((
                format!("{} is not an origin of a web page", self.own_origin()),
                "an origin is scheme, host and port, without a path: https://example.org".into(),
            ));
        };
        if !self.covers(host) {
            return Err((
                format!("the RP ID {} is not the host {host} or a parent of it", self.rp_id),
                "browsers would refuse every ceremony; set --rp-id and --origin to fit".into(),
            ));
        }
        self.check_dev()?;
        if !self.is_https() && !is_localhost(host) {
            return Err((
                format!("{} is neither https nor localhost", self.own_origin()),
                "browsers offer passkeys on secure origins only; put a TLS proxy in front and use https"
                    .into(),
            ));
        }
        Ok(())
    }

    /// The pages for developers show every code and link that is mailed: nobody elsewhere may come to them.
    fn check_dev(&self) -> Result<(), (String, String)> {
        if !self.dev {
            return Ok(());
        }
        let hint = "leave --dev out, or try it out at http://localhost, without a proxy in front";
        let elsewhere = |origin: &&String| host_of(origin).is_some_and(|host| !is_this_machine(host));
        if let Some(origin) = self.origins.iter().find(elsewhere) {
            return Err((
                format!("--dev would show mails and codes to everybody who reaches {origin}"),
                hint.into(),
            ));
        }
        if self.behind_proxy {
            let what = "--dev would show mails and codes to everybody who reaches the proxy";
            return Err((what.into(), hint.into()));
        }
        Ok(())
    }
}

/// A name that leads to this machine, wherever it is looked up (RFC 6761 §6.3).
fn is_localhost(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost")
}

fn is_this_machine(host: &str) -> bool {
    is_localhost(host) || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The host of an http or https origin; `None` for anything else.
pub(crate) fn host_of(origin: &str) -> Option<&str> {
    let rest = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"))?;
    let host = rest.split(':').next()?;
    (!host.is_empty() && !rest.contains(['/', '?', '#', '@'])).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_rp_id_must_be_the_host_or_a_parent_of_it() {
        let mut config = Config { dev: false, ..Config::localhost(8080) };
        assert_eq!(config.check(), Ok(()));
        config.origins = vec!["https://login.example.org".into()];
        assert!(config.check().is_err());
        config.rp_id = "example.org".into();
        assert_eq!(config.check(), Ok(()));
        config.rp_id = "ample.org".into();
        assert!(config.check().is_err());
    }

    #[test]
    fn pages_for_developers_are_refused_where_an_origin_is_not_this_machine() {
        let with = |origins: &[&str], rp_id: &str| Config {
            origins: origins.iter().map(ToString::to_string).collect(),
            rp_id: rp_id.into(),
            ..Config::localhost(8080)
        };
        let own = "http://localhost:8080";
        for origins in [
            &["http://app.localhost:8080"][..],
            &[own, "https://127.0.0.1:8443"],
            &[own, "android:apk-key-hash:bm8gaG9zdA"],
        ] {
            assert_eq!(with(origins, "localhost").check(), Ok(()), "{origins:?}");
        }
        for (origins, rp_id) in [
            (&["https://login.example.org"][..], "example.org"),
            (&[own, "https://login.example.org"], "localhost"),
            (&["https://localhost.example.org"], "example.org"),
        ] {
            let (what, _) = with(origins, rp_id).check().unwrap_err();
            assert!(what.starts_with("--dev would show"), "{what}");
            assert_eq!(Config { dev: false, ..with(origins, rp_id) }.check(), Ok(()), "{origins:?}");
        }
        let (what, _) = Config { behind_proxy: true, ..with(&[own], "localhost") }.check().unwrap_err();
        assert!(what.contains("the proxy"), "{what}");
    }

    #[test]
    fn the_systems_randomness_is_given_once() {
        let random = Random::system();
        let given: std::collections::BTreeSet<[u8; 16]> = (0..1000).map(|_| random.bytes()).collect();
        assert_eq!(given.len(), 1000);
        // More than is in stock, and no piece of it what was used before, which is zero.
        let long: [u8; 2000] = random.bytes();
        let pieces: std::collections::BTreeSet<&[u8]> = long.chunks(16).collect();
        assert_eq!(pieces.len(), 125);
        assert!(!pieces.contains(&[0; 16][..]));
    }

    #[test]
    fn plain_http_is_for_localhost_only() {
        let mut config = Config { dev: false, ..Config::localhost(8080) };
        config.rp_id = "example.org".into();
        config.origins = vec!["http://example.org".into()];
        assert!(config.check().is_err());
        config.origins = vec!["https://example.org/path".into()];
        assert!(config.check().is_err());
    }
}
