//! A world to tell stories in: one relying party with a clock that can be moved, browsers with cookies, and
//! authenticators that do what they are told, wrong things too.
#![allow(unreachable_pub, reason = "a test has no outside")]

pub mod authenticator;
pub mod postgres;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use doppelkey_relying_party::policy::Policy;
use doppelkey_relying_party::{Clock, Config, Mail, StartError, Webhooks, app};
use serde_json::{Value, json};
use tower::ServiceExt as _;

pub use authenticator::{Authenticator, Twist};

/// The origin of the relying party in every story.
pub const ORIGIN: &str = "http://localhost:8080";

/// The token of the operator in every story.
pub const ADMIN: &str = "operator-token-of-the-tests";

/// When every story begins, in milliseconds.
const START_MS: i64 = 1_750_000_000_000;

/// One relying party.
pub struct World {
    router: Router,
    now: Arc<AtomicI64>,
}

impl World {
    /// With the default policy.
    pub async fn new() -> Self {
        Self::with_policy("").await
    }

    /// With a policy in TOML.
    pub async fn with_policy(policy: &str) -> Self {
        Self::start(&postgres::database_for_tests(), policy).await
    }

    /// So many processes that share a database.
    pub async fn processes(count: usize, database: &str) -> Vec<Self> {
        let mut worlds = Vec::new();
        for _ in 0..count {
            worlds.push(Self::start(database, "").await);
        }
        worlds
    }

    /// On a database.
    pub async fn start(database: &str, policy: &str) -> Self {
        Self::start_with(database, Some(policy)).await
    }

    /// On a database, with the policy that is in there for `None`.
    pub async fn start_with(database: &str, policy: Option<&str>) -> Self {
        let policy = policy.map(|text| Policy::from_toml(text).expect("a policy that holds"));
        Self::start_as(Config { database: database.into(), policy, ..Config::localhost(8080) }).await
    }

    /// On a database, with mail through the server of this URL.
    pub async fn with_mail(database: &str, url: &str) -> Self {
        let mail = Mail::Smtp { url: url.into(), from: "login@example.org".into() };
        Self::start_as(Config { database: database.into(), mail, ..Config::localhost(8080) }).await
    }

    /// On a database, with webhooks.
    pub async fn with_webhooks(database: &str, webhooks: Webhooks) -> Self {
        Self::start_as(Config { database: database.into(), webhooks, ..Config::localhost(8080) }).await
    }

    /// Behind a proxy that says where requests come from, and so without the pages for developers.
    pub async fn behind_a_proxy() -> Self {
        let database = postgres::database_for_tests();
        let policy = Policy::from_toml("").ok();
        let config = Config { database, policy, behind_proxy: true, dev: false, ..Config::localhost(8080) };
        Self::start_as(config).await
    }

    /// At these origins, for the RP ID of the first, and without the pages for developers.
    pub async fn at(origins: &[&str]) -> Self {
        let origins = origins.iter().map(ToString::to_string).collect();
        let database = postgres::database_for_tests();
        Self::start_as(Config { database, origins, dev: false, ..Config::localhost(8080) }).await
    }

    /// On a database, with this token of the operator's.
    pub async fn with_token(database: &str, token: &str) -> Self {
        let admin_token = token.into();
        Self::start_with_token(Config { database: database.into(), admin_token, ..Config::localhost(8080) })
            .await
    }

    async fn start_as(config: Config) -> Self {
        Self::start_with_token(Config { admin_token: ADMIN.into(), ..config }).await
    }

    async fn start_with_token(config: Config) -> Self {
        Self::started(config).await.expect("the relying party starts")
    }

    /// As these settings say, if they let it start.
    pub async fn started(config: Config) -> Result<Self, StartError> {
        let now = Arc::new(AtomicI64::new(START_MS));
        let read = Arc::clone(&now);
        let clock = Clock::new(move || read.load(Ordering::SeqCst));
        let config = Config { clock, ..config };
        Ok(Self { router: app(config).await?, now })
    }

    /// Lets time pass.
    pub fn pass_minutes(&self, minutes: i64) {
        self.now.fetch_add(minutes * 60_000, Ordering::SeqCst);
    }

    /// Lets time pass.
    pub fn pass_seconds(&self, seconds: i64) {
        self.now.fetch_add(seconds * 1000, Ordering::SeqCst);
    }

    /// Lets time pass.
    pub fn pass_days(&self, days: i64) {
        self.pass_minutes(days * 1440);
    }

    /// How many minutes have passed.
    pub fn minutes_passed(&self) -> i64 {
        (self.now.load(Ordering::SeqCst) - START_MS) / 60_000
    }

    /// Now, in seconds.
    pub fn now_s(&self) -> i64 {
        self.now.load(Ordering::SeqCst) / 1000
    }

    /// A browser that has never been here.
    pub fn browser(&self) -> Browser {
        Browser::of(self.router.clone())
    }

    /// A browser that came from another process of the same service, with its cookies.
    pub fn adopt(&self, browser: &Browser) -> Browser {
        Browser { cookies: browser.cookies.clone(), ..self.browser() }
    }

    /// Every event so far as `(type, data)`, the oldest first.
    pub async fn events(&self) -> Vec<(String, Value)> {
        let answer = self.admin("GET", "/api/v2/logs?take=100", None).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        let events = answer.json();
        let events = events.as_array().expect("a list").iter();
        events.map(|event| (event["type"].as_str().expect("a type").to_string(), event.clone())).collect()
    }

    /// The type codes of the events so far.
    pub async fn codes(&self) -> Vec<String> {
        self.events().await.into_iter().map(|(code, _)| code).collect()
    }

    /// Whether there is an event of this type, however many others there are.
    pub async fn has_event(&self, code: &str) -> bool {
        let found = self.admin("GET", &format!("/api/v2/logs?q=type:{code}"), None).await;
        found.json().as_array().is_some_and(|events| !events.is_empty())
    }

    /// A request of the operator.
    pub async fn admin(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let mut browser = self.browser();
        let token = format!("Bearer {ADMIN}");
        let body = body.map(|body| body.to_string());
        browser
            .send(method, path, &[("authorization", &token), ("content-type", "application/json")], body)
            .await
    }

    /// The texts of the mails in the outbox, the latest first.
    pub async fn outbox(&self) -> String {
        self.browser().get("/outbox").await.text
    }

    /// The six digits in the latest mail.
    pub async fn latest_code(&self) -> String {
        let text = self.outbox().await;
        let start = text.find("Your code for").expect("a mail with a code");
        let digits = text[start..].split(|c: char| !c.is_ascii_digit()).find(|part| part.len() == 6);
        digits.expect("six digits").to_string()
    }
}

/// A browser: it keeps cookies and says where it is.
#[derive(Clone)]
pub struct Browser {
    /// One, or several processes behind a balancer that hands each request to the next.
    routers: Vec<Router>,
    requests: usize,
    cookies: Vec<(String, String)>,
    headers: Vec<(&'static str, String)>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {} {}", self.status, self.text))
    }

    /// Where a redirect leads.
    pub fn location(&self) -> &str {
        assert_eq!(self.status, StatusCode::SEE_OTHER, "{}", self.text);
        self.headers["location"].to_str().expect("text")
    }

    /// The key of the error in JSON.
    pub fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_default().to_string()
    }
}

impl Browser {
    /// A browser that has never been at this service.
    pub fn of(router: Router) -> Self {
        Self { routers: vec![router], requests: 0, cookies: Vec::new(), headers: Vec::new() }
    }

    /// The same, with one header more on every request.
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// A browser whose every request goes to the next of these processes.
    pub fn behind_a_balancer(worlds: &[World]) -> Self {
        let routers = worlds.iter().map(|world| world.router.clone()).collect();
        Self { routers, requests: 0, cookies: Vec::new(), headers: Vec::new() }
    }

    pub async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<String>,
    ) -> Answer {
        self.send_body(method, path, headers, body.map_or_else(Body::empty, Body::from)).await
    }

    /// Sends the head of a request at once, and its body when `until` is over.
    pub async fn send_late(
        &mut self,
        (method, path): (&str, &str),
        headers: &[(&str, &str)],
        body: String,
        until: impl Future<Output = ()> + Send + 'static,
    ) -> Answer {
        let late = async move {
            until.await;
            Ok::<_, std::convert::Infallible>(body)
        };
        self.send_body(method, path, headers, Body::from_stream(futures_util::stream::once(late))).await
    }

    async fn send_body(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: Body) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !self.cookies.is_empty() {
            let line: Vec<String> =
                self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            request = request.header("cookie", line.join("; "));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let request = request.body(body).expect("a request");
        let router = self.routers[self.requests % self.routers.len()].clone();
        self.requests += 1;
        let response = router.oneshot(request).await.expect("a router never fails");
        let (parts, body) = response.into_parts();
        for line in parts.headers.get_all("set-cookie") {
            self.keep_cookie(line.to_str().expect("text"));
        }
        let bytes = axum::body::to_bytes(body, 1 << 22).await.expect("a body");
        Answer {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8_lossy(&bytes).into_owned(),
        }
    }

    fn keep_cookie(&mut self, line: &str) {
        let (pair, attributes) = line.split_once(';').expect("attributes");
        let (name, value) = pair.split_once('=').expect("name=value");
        self.cookies.retain(|(known, _)| known != name);
        if !attributes.contains("Max-Age=0") {
            self.cookies.push((name.into(), value.into()));
        }
    }

    /// The value of a cookie.
    pub fn cookie(&self, name: &str) -> Option<String> {
        self.cookies.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, &[], None).await
    }

    /// Submits a form, as a page of the relying party does.
    pub async fn form(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.send("POST", path, &FORM, Some(encoded(fields))).await
    }

    /// Posts JSON, as the script of a page does.
    pub async fn json(&mut self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &JSON, Some(body.to_string())).await
    }

    /// Posts JSON from a page of another origin.
    pub async fn json_from(&mut self, origin: &str, path: &str, body: &Value) -> Answer {
        let headers =
            [("content-type", "application/json"), ("origin", origin), ("sec-fetch-site", "same-origin")];
        self.send("POST", path, &headers, Some(body.to_string())).await
    }

    /// A whole registration: options, the authenticator, the answer.
    pub async fn register(&mut self, path: &str, wish: Value, authenticator: &mut Authenticator) -> Answer {
        let options = self.json(&format!("{path}/options"), &wish).await;
        if options.status != StatusCode::OK {
            return options;
        }
        let credential = authenticator.create(&options.json()["publicKey"], ORIGIN, Twist::None);
        self.json(path, &credential).await
    }

    /// A whole authentication.
    pub async fn authenticate(
        &mut self,
        path: &str,
        wish: Value,
        authenticator: &mut Authenticator,
    ) -> Answer {
        let options = self.json(&format!("{path}/options"), &wish).await;
        if options.status != StatusCode::OK {
            return options;
        }
        let credential = authenticator.get(&options.json()["publicKey"], ORIGIN, Twist::None);
        self.json(path, &credential).await
    }

    /// Signs up with a passkey and is signed in.
    pub async fn sign_up(&mut self, email: &str, authenticator: &mut Authenticator) {
        let done = self.register("/signup/passkey", json!({ "email": email }), authenticator).await;
        assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    }

    /// Signs up with a password; gives the next screen.
    pub async fn sign_up_with_password(&mut self, email: &str, password: &str) -> String {
        assert_eq!(self.form("/signup", &[("email", email)]).await.location(), "/signup/passkey");
        self.form("/signup/password", &[("password", password)]).await.location().to_string()
    }

    /// Logs in with a password; gives the next screen.
    pub async fn log_in_with_password(&mut self, email: &str, password: &str) -> String {
        assert_eq!(self.form("/login", &[("identifier", email)]).await.location(), "/login/password");
        self.form("/login/password", &[("password", password)]).await.location().to_string()
    }
}

/// The headers of a form that a page of the relying party submits.
pub const FORM: [(&str, &str); 3] = [
    ("content-type", "application/x-www-form-urlencoded"),
    ("origin", ORIGIN),
    ("sec-fetch-site", "same-origin"),
];

/// The headers of what the script of a page posts.
pub const JSON: [(&str, &str); 3] =
    [("content-type", "application/json"), ("origin", ORIGIN), ("sec-fetch-site", "same-origin")];

/// A form's fields as its body.
pub fn encoded(fields: &[(&str, &str)]) -> String {
    let encode = |text: &str| {
        text.bytes().fold(String::new(), |all, byte| {
            if byte.is_ascii_alphanumeric() {
                all + &char::from(byte).to_string()
            } else {
                all + &format!("%{byte:02X}")
            }
        })
    };
    let pairs: Vec<String> =
        fields.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    pairs.join("&")
}

/// A port of this machine that is this story's, and at which nobody listens yet: connections to it are refused.
pub fn silent_socket() -> tokio::net::TcpSocket {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    socket
}
