//! A day of a relying party, in minutes: its clock is told, so a day is as long as its requests take.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use doppelkey::client::Client;
use doppelkey_relying_party::{Clock, Config, app};
use doppelkey_sync::Seeded;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

use super::Trace;

/// What a day was like.
#[derive(Debug)]
pub struct Day {
    /// What this process held.
    pub trace: Trace,
    /// Users who signed up.
    pub users: u64,
    /// Log-ins by passkey: all of them succeeded.
    pub log_ins: u64,
    /// Requests in all.
    pub requests: u64,
}

/// 24 hours of mixed load on a relying party with SQLite: log-ins, sign-ups, wrong passwords, forgotten ones, pages,
/// challenges that nobody answers, an operator who reads the log. So many visits, evenly over the day.
///
/// # Panics
/// If a right log-in is refused, or an answer is the fault of the service.
pub fn day(visits: u64, seed: u64) -> Day {
    let mut party = Party::new(seed);
    let mut day = Day {
        trace: Trace::new(format!("a relying party's day: {visits} visits")),
        users: 0,
        log_ins: 0,
        requests: 0,
    };
    for visit in 0..visits {
        if visit % visits.div_ceil(100) == 0 {
            day.trace.sample(visit);
        }
        party.now_ms.store(START_MS + (DAY_MS * visit / visits) as i64, Ordering::Relaxed);
        match party.rng.below(100) {
            0..10 if party.users < USERS_MAX => {
                party.users += 1;
                let email = party.email(party.users);
                let passkey = party.ceremony("/signup/passkey", &json!({ "email": email }), &json!([]));
                party.passkeys.push(json!([{ "type": "public-key", "id": passkey }]));
            }
            0..50 if party.users > 0 => {
                let user = 1 + party.rng.below(party.users);
                let email = party.email(user);
                let own = party.passkeys[user as usize - 1].clone();
                party.ceremony("/login/passkey", &json!({ "identifier": email }), &own);
                day.log_ins += 1;
            }
            50..60 => party.wrong_password(),
            60..65 => party.forgotten(),
            65..75 => {
                party.visitor().post_json(&mut party, "/login/passkey/options", &json!({}));
            }
            75..78 => party.reads_the_log(),
            _ => party.looks_around(),
        }
    }
    (day.users, day.requests) = (party.users, party.requests);
    day
}

const START_MS: i64 = 1_750_000_000_000;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// As many passkeys as the authenticator of these visitors keeps.
const USERS_MAX: u64 = 200;
const ORIGIN: &str = "http://localhost:8080";

struct Party {
    runtime: Runtime,
    router: Router,
    now_ms: Arc<AtomicI64>,
    client: Client,
    rng: Seeded,
    users: u64,
    /// Of each user, as a list to choose from: before a login the service does not tell whose passkeys there are.
    passkeys: Vec<Value>,
    requests: u64,
    _folder: tempfile::TempDir,
}

impl Party {
    fn new(seed: u64) -> Self {
        let folder = tempfile::tempdir().expect("there is a place for temporary files");
        let now_ms = Arc::new(AtomicI64::new(START_MS));
        let read = now_ms.clone();
        let config = Config {
            database: format!("sqlite:{}", folder.path().join("accounts.db").display()),
            admin_token: "operator".into(),
            behind_proxy: true,
            dev: false,
            clock: Clock::new(move || read.load(Ordering::Relaxed)),
            ..Config::localhost(8080)
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime can be built");
        let router = runtime.block_on(app(config)).expect("the relying party starts");
        let (client, rng) = (Client::ephemeral(), Seeded::new(seed));
        Party {
            runtime,
            router,
            now_ms,
            client,
            rng,
            users: 0,
            passkeys: Vec::new(),
            requests: 0,
            _folder: folder,
        }
    }

    fn email(&self, user: u64) -> String {
        format!("user-{user}@example.org")
    }

    /// Somebody from somewhere.
    fn visitor(&mut self) -> Visitor {
        let [a, b] = [self.rng.below(256), self.rng.below(256)];
        Visitor { address: format!("10.1.{a}.{b}"), cookie: String::new() }
    }

    /// A whole ceremony, with one of these passkeys; the id of the one that was used.
    fn ceremony(&mut self, path: &str, wish: &Value, own: &Value) -> Value {
        let mut visitor = self.visitor();
        let (status, text) = visitor.post_json(self, &format!("{path}/options"), wish);
        assert_eq!(status, 200, "{path}: {text}");
        let mut options: Value = serde_json::from_str(&text).expect("options are JSON");
        let response = if path.starts_with("/signup") {
            self.client.create(ORIGIN, &options["publicKey"])
        } else {
            options["publicKey"]["allowCredentials"] = own.clone();
            self.client.get(ORIGIN, &options["publicKey"])
        };
        let response = response.expect("a right request succeeds");
        let (status, text) = visitor.post_json(self, path, &response);
        assert_eq!(status, 200, "{path}: {text}");
        let (status, _) = visitor.get(self, "/account");
        assert_eq!(status, 200, "whoever is logged in sees the account");
        response["id"].clone()
    }

    fn wrong_password(&mut self) {
        let (mut visitor, user) = (self.visitor(), self.rng.below(2 * USERS_MAX));
        let identifier = format!("identifier=user-{user}%40example.org");
        visitor.post_form(self, "/login", &identifier);
        visitor.post_form(self, "/login/password", "password=not+this+one");
    }

    fn forgotten(&mut self) {
        let (mut visitor, user) = (self.visitor(), self.rng.below(2 * USERS_MAX));
        visitor.post_form(self, "/recover", &format!("email=user-{user}%40example.org"));
        visitor.post_form(self, "/recover/code", "code=000000");
    }

    fn looks_around(&mut self) {
        let mut visitor = self.visitor();
        for path in ["/", "/login", "/signup", "/recover", "/assets/app.css", "/.well-known/jwks.json"] {
            visitor.get(self, path);
        }
    }

    fn reads_the_log(&mut self) {
        let request = Request::get("/api/v2/logs?take=100").header("authorization", "Bearer operator");
        let (status, text, _) = self.send(request.body(Body::empty()).expect("a request"));
        assert_eq!(status, 200, "{text}");
    }

    fn send(&mut self, request: Request<Body>) -> (u16, String, Option<String>) {
        self.requests += 1;
        let told = format!("{} {}", request.method(), request.uri());
        let (parts, bytes) = self.runtime.block_on(async {
            let response = self.router.clone().oneshot(request).await.expect("a router never fails");
            let (parts, body) = response.into_parts();
            (parts, axum::body::to_bytes(body, 1 << 22).await.expect("a body"))
        });
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(parts.status.as_u16() < 500, "{told}: {} {text}", parts.status);
        let cookie = parts.headers.get("set-cookie").and_then(|line| line.to_str().ok());
        let cookie = cookie.and_then(|line| line.split(';').next()).map(String::from);
        (parts.status.as_u16(), text, cookie)
    }
}

struct Visitor {
    address: String,
    cookie: String,
}

impl Visitor {
    fn post_json(&mut self, party: &mut Party, path: &str, body: &Value) -> (u16, String) {
        self.send(party, "POST", path, "application/json", body.to_string())
    }

    fn post_form(&mut self, party: &mut Party, path: &str, body: &str) -> (u16, String) {
        self.send(party, "POST", path, "application/x-www-form-urlencoded", body.to_owned())
    }

    fn get(&mut self, party: &mut Party, path: &str) -> (u16, String) {
        self.send(party, "GET", path, "text/plain", String::new())
    }

    fn send(
        &mut self,
        party: &mut Party,
        method: &str,
        path: &str,
        kind: &str,
        body: String,
    ) -> (u16, String) {
        let request = Request::builder().method(method).uri(path).header("content-type", kind);
        let request = request.header("origin", ORIGIN).header("host", "localhost:8080");
        let request = request.header("x-forwarded-for", &self.address).header("cookie", &self.cookie);
        let (status, text, cookie) = party.send(request.body(Body::from(body)).expect("a request"));
        if let Some(cookie) = cookie {
            self.cookie = cookie;
        }
        (status, text)
    }
}
