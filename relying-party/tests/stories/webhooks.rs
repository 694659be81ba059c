//! Webhooks: every event arrives, whatever the receiver, the network and our own processes do.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doppelkey_relying_party::{Config, Key, Webhooks};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::net::TcpSocket;

use crate::attacks::mailed;
use crate::second_factor::{App, shown_secret};
use crate::world::{ADMIN, Authenticator, ORIGIN, Twist, World, postgres, silent_socket};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const PASSWORD: &str = "correct horse battery";

/// How a receiver answers, and what it has been told.
struct Receiver {
    port: u16,
    /// The port is taken, and refuses connections, until it listens.
    socket: Mutex<Option<TcpSocket>>,
    status: Mutex<Option<StatusCode>>,
    heard: Mutex<Vec<Message>>,
}

/// `webhook-id`, the status of our answer, the events.
type Message = (String, Option<StatusCode>, Vec<Value>);

impl Receiver {
    /// One that is known, but does not listen yet.
    async fn silent() -> Arc<Self> {
        let socket = silent_socket();
        let port = socket.local_addr().expect("an address").port();
        let status = Mutex::new(Some(StatusCode::NO_CONTENT));
        Arc::new(Self { port, socket: Mutex::new(Some(socket)), status, heard: Mutex::default() })
    }

    async fn listen(self: &Arc<Self>) {
        let socket = self.socket.lock().expect("nobody panics with it").take().expect("it listens once");
        let listener = socket.listen(1024).expect("the port is this socket's");
        let routes = Router::new().route("/events", post(receive)).route("/elsewhere", post(receive));
        let routes = routes.with_state(Arc::clone(self));
        tokio::spawn(async move { axum::serve(listener, routes).await });
    }

    fn webhooks(&self) -> Webhooks {
        Webhooks::new(vec![format!("http://127.0.0.1:{}/events", self.port)], SECRET).expect("they hold")
    }

    /// Answers like this from now on; never, for `None`.
    fn answer(&self, status: Option<StatusCode>) {
        *self.status.lock().expect("nobody panics with it") = status;
    }

    fn heard(&self) -> Vec<Message> {
        self.heard.lock().expect("nobody panics with it").clone()
    }

    /// The ids of the events that it has said yes to.
    fn taken(&self) -> Vec<String> {
        let heard = self.heard();
        let taken = heard.iter().filter(|(_, status, _)| status.is_some_and(|status| status.is_success()));
        let events = taken.flat_map(|(_, _, events)| events);
        events.map(|event| event["log_id"].as_str().expect("an id").to_string()).collect()
    }

    /// Waits for this many events, letting time pass in these worlds.
    async fn wait_for(&self, count: usize, worlds: &[&World]) -> Vec<String> {
        for _ in 0..300 {
            let taken = self.taken();
            if taken.iter().collect::<BTreeSet<_>>().len() >= count {
                return taken;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            for world in worlds {
                world.pass_seconds(1);
            }
        }
        panic!("{count} events did not come: {:?}", self.heard());
    }
}

async fn receive(State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: String) -> Response {
    let id = headers["webhook-id"].to_str().expect("text").to_string();
    let status = *receiver.status.lock().expect("nobody panics with it");
    let events = serde_json::from_str(&body).expect("a list of events");
    receiver.heard.lock().expect("nobody panics with it").push((id, status, events));
    match status {
        Some(status) => (status, [("location", "/elsewhere")]).into_response(),
        None => std::future::pending().await,
    }
}

/// The ids in the log.
async fn logged(world: &World) -> Vec<String> {
    let events = world.events().await;
    events.iter().map(|(_, event)| event["log_id"].as_str().expect("an id").to_string()).collect()
}

fn set(ids: &[String]) -> BTreeSet<&String> {
    ids.iter().collect()
}

#[tokio::test]
async fn events_arrive_as_the_log_has_them_once_a_receiver_is_there() {
    let receiver = Receiver::silent().await;
    let world = World::with_webhooks(&postgres::database_for_tests(), receiver.webhooks()).await;
    // The visitor does not wait for a receiver that is down.
    world.browser().sign_up_with_password("ada@example.org", PASSWORD).await;
    receiver.listen().await;
    let taken = receiver.wait_for(logged(&world).await.len(), &[&world]).await;
    assert_eq!(taken, logged(&world).await, "all, once, in order");
    let events: Vec<Value> = receiver.heard().into_iter().flat_map(|(_, _, events)| events).collect();
    let (code, logged) = world.events().await.remove(0);
    assert_eq!((events[0]["data"]["type"].as_str(), &events[0]["data"]), (Some(code.as_str()), &logged));
}

#[tokio::test]
async fn what_is_not_answered_with_a_yes_comes_again_as_the_same_message() {
    let receiver = Receiver::silent().await;
    receiver.listen().await;
    let world = World::with_webhooks(&postgres::database_for_tests(), receiver.webhooks()).await;
    let refusals = [StatusCode::INTERNAL_SERVER_ERROR, StatusCode::TOO_MANY_REQUESTS, StatusCode::FOUND];
    receiver.answer(Some(refusals[0]));
    world.browser().sign_up_with_password("ada@example.org", PASSWORD).await;
    for (round, status) in refusals.into_iter().enumerate() {
        receiver.answer(Some(status));
        for _ in 0..200 {
            if receiver.heard().iter().any(|(_, heard, _)| *heard == Some(status)) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
            world.pass_seconds(1);
        }
        assert!(receiver.heard().len() > round, "{status} came");
    }
    receiver.answer(Some(StatusCode::OK));
    receiver.wait_for(logged(&world).await.len(), &[&world]).await;
    let heard = receiver.heard();
    let first = &heard[0];
    let same: Vec<_> = heard.iter().filter(|(id, _, _)| *id == first.0).collect();
    assert!(same.len() >= 4 && same.iter().all(|message| message.2 == first.2), "{heard:?}");
    assert!(same.last().is_some_and(|message| message.1 == Some(StatusCode::OK)));
}

#[tokio::test]
async fn a_receiver_that_never_answers_holds_up_nobody_and_gets_all_later() {
    let receiver = Receiver::silent().await;
    receiver.listen().await;
    receiver.answer(None);
    let world = World::with_webhooks(&postgres::database_for_tests(), receiver.webhooks()).await;
    for number in 0..3 {
        world.browser().sign_up_with_password(&format!("ada{number}@example.org"), PASSWORD).await;
    }
    for _ in 0..100 {
        if !receiver.heard().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    receiver.answer(Some(StatusCode::OK));
    receiver.wait_for(logged(&world).await.len(), &[&world]).await;
}

#[tokio::test]
async fn a_restart_goes_on_where_the_last_process_stopped() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = postgres::shared_database(folder.path());
    let receiver = Receiver::silent().await;
    receiver.listen().await;
    let first = World::with_webhooks(&database, receiver.webhooks()).await;
    first.browser().sign_up_with_password("ada@example.org", PASSWORD).await;
    receiver.wait_for(logged(&first).await.len(), &[&first]).await;
    // What happens while the receiver says no is left to the next process.
    receiver.answer(Some(StatusCode::SERVICE_UNAVAILABLE));
    first.browser().sign_up_with_password("bob@example.org", PASSWORD).await;
    drop(first);
    receiver.answer(Some(StatusCode::OK));
    let second = World::with_webhooks(&database, receiver.webhooks()).await;
    second.pass_minutes(1);
    second.browser().sign_up_with_password("eve@example.org", PASSWORD).await;
    let log = logged(&second).await;
    let taken = receiver.wait_for(log.len(), &[&second]).await;
    assert_eq!(taken, log, "none is lost, and none comes twice");
}

#[tokio::test]
async fn a_replaced_key_loses_no_event_of_a_webhook() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = postgres::shared_database(folder.path());
    let receiver = Receiver::silent().await;
    receiver.listen().await;
    let start = async |key: [u8; 32], replace_lost_key: bool, secret: &str| {
        let url = format!("http://127.0.0.1:{}/events", receiver.port);
        let webhooks = Webhooks::new(vec![url], secret).expect("they hold");
        let (admin_token, key) = (ADMIN.into(), Some(Key::new(key)));
        let config = Config { database: database.clone(), webhooks, admin_token, ..Config::localhost(8080) };
        World::started(Config { key, replace_lost_key, ..config }).await.expect("it starts")
    };
    let before = start([1; 32], false, SECRET).await;
    receiver.answer(Some(StatusCode::SERVICE_UNAVAILABLE));
    let mut browser = before.browser();
    before.pass_seconds(1);
    browser.sign_up_with_password("ada@example.org", PASSWORD).await;
    App::default().set_up_in_account(&before, &mut browser).await;
    drop((before, browser));
    receiver.answer(Some(StatusCode::OK));
    // Both are lost at once: what was sealed, and what signed.
    let replaced = start([2; 32], true, &SECRET.to_lowercase().replace("whsec_", "")).await;
    replaced.pass_minutes(1);
    let log = logged(&replaced).await;
    assert!(
        replaced.codes().await.contains(&"gd_unenroll".into()),
        "what went with the key is an event as well"
    );
    assert_eq!(receiver.wait_for(log.len(), &[&replaced]).await, log, "none is lost, and none comes twice");
}

/// Until now a webhook was called by a digest that was keyed with the shared secret.
#[tokio::test]
async fn a_webhook_that_an_earlier_version_began_goes_on_where_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = postgres::shared_database(folder.path());
    let receiver = Receiver::silent().await;
    drop(World::start(&database, "").await);
    let secret = URL_SAFE_NO_PAD.encode([7; 32]);
    postgres::run(&database, &format!("UPDATE settings SET value = '{secret}' WHERE name = 'secret'"));
    drop(World::with_webhooks(&database, receiver.webhooks()).await);
    let mut mac = Hmac::<Sha256>::new_from_slice(&[7; 32]).expect("any length");
    for part in ["webhook", &format!("http://127.0.0.1:{}/events", receiver.port)] {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part.as_bytes());
    }
    let earlier = URL_SAFE_NO_PAD.encode(&mac.finalize().into_bytes()[..15]);
    postgres::run(&database, &format!("UPDATE webhooks SET id = '{earlier}', lease_until = 0"));

    let alone = World::start(&database, "").await;
    alone.pass_seconds(1);
    alone.browser().sign_up_with_password("ada@example.org", PASSWORD).await;
    drop(alone);
    receiver.listen().await;
    let world = World::with_webhooks(&database, receiver.webhooks()).await;
    let log = logged(&world).await;
    assert!(!log.is_empty());
    assert_eq!(receiver.wait_for(log.len(), &[&world]).await, log);
}

#[tokio::test]
async fn of_two_processes_one_sends_until_it_is_gone() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = postgres::shared_database(folder.path());
    let receiver = Receiver::silent().await;
    receiver.listen().await;
    let first = World::with_webhooks(&database, receiver.webhooks()).await;
    let second = World::with_webhooks(&database, receiver.webhooks()).await;
    for number in 0..4 {
        let world = [&first, &second][number % 2];
        world.browser().sign_up_with_password(&format!("ada{number}@example.org"), PASSWORD).await;
    }
    let log = logged(&first).await;
    let taken = receiver.wait_for(log.len(), &[]).await;
    assert_eq!(set(&taken), set(&log));
    assert_eq!(taken.len(), log.len(), "none comes from both");
    drop(first);
    second.browser().sign_up_with_password("eve@example.org", PASSWORD).await;
    let log = logged(&second).await;
    // Its lease runs out.
    let taken = receiver.wait_for(log.len(), &[&second]).await;
    assert_eq!((set(&taken), taken.len()), (set(&log), log.len()));
}

#[tokio::test]
async fn an_event_that_is_written_behind_a_later_one_arrives_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = postgres::shared_database(folder.path());
    let receiver = Receiver::silent().await;
    receiver.listen().await;
    let world = World::with_webhooks(&database, receiver.webhooks()).await;
    world.pass_seconds(30);
    world.browser().sign_up_with_password("ada@example.org", PASSWORD).await;
    let count = logged(&world).await.len();
    receiver.wait_for(count, &[]).await;
    // As another process would that waited for the database.
    let late = format!("{:014}000000010000", (world.now_s() - 10) * 1000);
    put_event(&database, &late);
    let taken = receiver.wait_for(count + 1, &[]).await;
    assert_eq!(taken.last(), Some(&late));
    assert_eq!(taken.len(), count + 1, "and nothing else comes again");
}

#[tokio::test]
async fn an_event_that_appears_while_the_receiver_is_down_arrives_afterwards() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = postgres::shared_database(folder.path());
    let receiver = Receiver::silent().await;
    receiver.listen().await;
    receiver.answer(Some(StatusCode::SERVICE_UNAVAILABLE));
    let world = World::with_webhooks(&database, receiver.webhooks()).await;
    world.pass_seconds(30);
    world.browser().sign_up_with_password("ada@example.org", PASSWORD).await;
    for _ in 0..100 {
        if !receiver.heard().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // What is on its way is later than this, which another process writes now.
    let late = format!("{:014}000000010000", (world.now_s() - 10) * 1000);
    put_event(&database, &late);
    world.pass_minutes(10);
    receiver.answer(Some(StatusCode::OK));
    let log = logged(&world).await;
    let taken = receiver.wait_for(log.len(), &[&world]).await;
    assert!(taken.contains(&late), "{taken:?}");
}

#[tokio::test]
async fn who_reads_the_log_page_by_page_misses_no_event_that_appears_late() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = postgres::shared_database(folder.path());
    let world = World::start(&database, "").await;
    world.pass_seconds(30);
    world.browser().sign_up_with_password("ada@example.org", PASSWORD).await;
    let mut path = "/api/v2/logs?take=1".to_string();
    let mut read = Vec::new();
    let late = format!("{:014}000000010000", (world.now_s() - 10) * 1000);
    for round in 0..8 {
        let page = world.admin("GET", &path, None).await;
        read.extend(page.json().as_array().expect("a list").clone());
        let link = page.headers["link"].to_str().expect("text");
        path = link.split(['<', '>']).nth(1).expect("<…>; rel=\"next\"").to_string();
        if round == 2 {
            put_event(&database, &late);
        }
    }
    // What came late is there, and then nothing more: only its minute was read twice.
    let ids: Vec<_> = read.iter().map(|event| event["log_id"].as_str().expect("an id").to_string()).collect();
    assert_eq!(set(&ids), set(&logged(&world).await));
    assert!(ids.contains(&late) && ids.len() <= 5, "{ids:?}");
}

/// Writes an event as another process would.
fn put_event(database: &str, id: &str) {
    let row = format!(
        "INSERT INTO events (id, date, type, user_id, data, transcript) \
         VALUES ('{id}', 0, 's', NULL, '{{\"log_id\":\"{id}\",\"type\":\"s\"}}', NULL)"
    );
    postgres::run(database, &row);
}

/// Every way in is taken once, and once with a mistake; what each was opened with is looked for in all that is told.
#[tokio::test]
async fn nothing_that_opens_an_account_is_in_an_event_or_a_webhook() {
    let receiver = Receiver::silent().await;
    receiver.listen().await;
    let world = World::with_webhooks(&postgres::database_for_tests(), receiver.webhooks()).await;
    let email = "ada@example.org";
    let mut kept = Kept::default();
    kept.put("the operator's token", ADMIN);
    for password in [PASSWORD, "wrong horse battery", "a new and longer phrase"] {
        kept.put("a password", password);
    }
    // A password, an app and a recovery code.
    let (mut owner, mut app) = (world.browser(), App::default());
    owner.sign_up_with_password(email, PASSWORD).await;
    kept.cookies(&owner);
    let page = owner.get("/account/security/otp").await.text;
    app.scan(&page);
    kept.put("the secret of an app", &shown_secret(&page));
    assert_eq!(owner.form("/account/security/otp", &[("code", "000000")]).await.status, 422);
    let page = owner.form("/account/security/otp", &[("code", &kept.put("a code", &app.code(&world)))]).await;
    let recovery_code = kept.put("a recovery code", &shown_secret(&page.text));
    let policy = json!({ "mfa": { "policy": "always" } });
    assert_eq!(world.admin("PATCH", "/api/v2/policy", Some(policy)).await.status, 200);
    // Logging in with them.
    world.pass_minutes(2);
    let mut browser = world.browser();
    browser.form("/login", &[("identifier", email)]).await;
    browser.form("/login/password", &[("password", "wrong horse battery")]).await;
    assert_eq!(browser.log_in_with_password(email, PASSWORD).await, "/mfa/otp");
    kept.cookies(&browser);
    let code = kept.put("a code", &app.code(&world));
    assert_eq!(browser.form("/mfa/otp", &[("code", &code), ("remember", "on")]).await.location(), "/enroll");
    kept.cookies(&browser);
    let mut browser = world.browser();
    assert_eq!(browser.log_in_with_password(email, PASSWORD).await, "/mfa/otp");
    let wrong = kept.put("a wrong recovery code", "AAAABBBBCCCCDDDDEEEEFFFF");
    browser.form("/mfa/recovery-code", &[("code", &wrong)]).await;
    let page = browser.form("/mfa/recovery-code", &[("code", &recovery_code)]).await;
    kept.put("a recovery code", &shown_secret(&page.text));
    kept.cookies(&browser);
    // What was forgotten, and what was guessed at too often.
    world.pass_minutes(61);
    let mut browser = world.browser();
    browser.form("/recover", &[("email", email)]).await;
    let code = kept.put("a mailed code", &world.latest_code().await);
    browser.form("/recover/code", &[("code", "000000")]).await;
    assert_eq!(browser.form("/recover/code", &[("code", &code)]).await.location(), "/mfa/otp");
    kept.cookies(&browser);
    browser.form("/reset-password", &[("email", email)]).await;
    let token = kept.put("a link", &mailed(&world.outbox().await, "/reset-password/new?token="));
    assert_eq!(browser.get(&format!("/reset-password/new?token={token}")).await.status, 200);
    let form = [("token", token.as_str()), ("password", "a new and longer phrase")];
    assert_eq!(browser.form("/reset-password/new", &form).await.location(), "/login");
    for _ in 0..11 {
        browser.form("/login", &[("identifier", email)]).await;
        browser.form("/login/password", &[("password", "wrong horse battery")]).await;
    }
    let token = kept.put("a link", &mailed(&world.outbox().await, "/unblock?token="));
    assert_eq!(browser.form("/unblock", &[("token", &token)]).await.location(), "/login");
    // The operator, in a browser.
    let mut operator = world.browser();
    operator.form("/admin/token", &[("token", "a guess of somebody's")]).await;
    kept.put("a guess at the operator's token", "a guess of somebody's");
    assert_eq!(operator.form("/admin/token", &[("token", ADMIN)]).await.location(), "/admin");
    kept.cookies(&operator);
    // An app without a browser.
    app_without_a_browser(&world, &mut kept).await;
    for line in kept.0.iter().map(|(what, secret)| (what, secret, secret.len())) {
        assert!(line.2 >= 6, "{} is no secret: {}", line.0, line.1);
    }
    assert!(kept.0.len() > 18, "only {} secrets were seen", kept.0.len());

    let count = logged(&world).await.len();
    assert!((30..100).contains(&count), "{count} events");
    receiver.wait_for(count, &[&world]).await;
    let told = [json!(world.events().await).to_string(), format!("{:?}", receiver.heard())];
    for (what, secret) in &kept.0 {
        // Digits alone may be part of a time or an id.
        let is_word = secret.bytes().all(|byte| byte.is_ascii_digit());
        let found = |text: &String| match is_word {
            true => text.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == secret),
            false => text.contains(secret.as_str()) || text.contains(&secret.replace(' ', "")),
        };
        assert!(!told.iter().any(found), "{what}, {secret}, is in {told:?}");
    }
}

async fn app_without_a_browser(world: &World, kept: &mut Kept) {
    let policy = json!({ "mfa": { "policy": "never" } });
    assert_eq!(world.admin("PATCH", "/api/v2/policy", Some(policy)).await.status, 200);
    let mut phone = Authenticator::platform();
    let client = json!("doppelkey");
    let mut http = world.browser();
    let headers = [("content-type", "application/json")];
    let profile = json!({ "client_id": client, "user_profile": { "email": "bea@example.org" } });
    let begun = http.send("POST", "/passkey/register", &headers, Some(profile.to_string())).await.json();
    let auth_session = begun["auth_session"].as_str().expect("text");
    let exchange = |credential: Value| {
        json!({
            "grant_type": "urn:okta:params:oauth:grant-type:webauthn", "client_id": "doppelkey",
            "scope": "openid read:me:authentication_methods", "auth_session": auth_session,
            "authn_response": credential,
        })
    };
    kept.put("the session of an app", auth_session);
    let credential = phone.create(&begun["authn_params_public_key"], ORIGIN, Twist::None);
    let body = exchange(credential).to_string();
    let tokens = http.send("POST", "/oauth/token", &headers, Some(body)).await;
    assert_eq!(tokens.status, 200, "{}", tokens.text);
    for name in ["access_token", "id_token"] {
        kept.put(name, tokens.json()[name].as_str().expect("text"));
    }
    let bearer = format!("Bearer {}", tokens.json()["access_token"].as_str().expect("text"));
    let methods = "/me/v1/authentication-methods";
    assert_eq!(http.send("GET", methods, &[("authorization", &bearer)], None).await.status, 200);
}

/// What somebody could get in with, and what it is.
#[derive(Default)]
struct Kept(Vec<(String, String)>);

impl Kept {
    fn put(&mut self, what: &str, secret: &str) -> String {
        self.0.push((what.to_string(), secret.to_string()));
        secret.to_string()
    }

    /// Those that a browser has now.
    fn cookies(&mut self, browser: &crate::world::Browser) {
        for name in ["session", "device"] {
            if let Some(value) = browser.cookie(name) {
                self.put(&format!("the cookie {name}"), &value);
            }
        }
    }
}
