//! Requests that are under way while something else happens: their session ends, or their browser goes away.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::world::{Answer, Authenticator, Browser, FORM, JSON, ORIGIN, Twist, World, encoded, postgres};

const EMAIL: &str = "ada@example.org";
const PASSWORD: &str = "correct horse battery";
const OTHER_PASSWORD: &str = "another horse battery";

/// Changes that somebody who is signed in can make: a password, a passkey, an address, a passkey's name, and a passkey with
/// an access token.
const CHANGES: [&str; 5] = ["password", "passkey", "address", "name", "method"];

/// Events that tell of a change to an account.
const TOLD: [&str; 5] = ["scp", "sce", "gd_enrollment_complete", "gd_unenroll", "sdu"];

/// One request, ready to be sent.
struct Prepared {
    browser: Browser,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Prepared {
    /// Somebody signs up, and is about to make a change.
    async fn of(world: &World, change: &str) -> Self {
        let mut browser = world.browser();
        if change == "method" {
            return Self::with_token(browser).await;
        }
        browser.sign_up_with_password(EMAIL, PASSWORD).await;
        let (path, body) = match change {
            "password" => ("/account/security/password".into(), encoded(&[("password", OTHER_PASSWORD)])),
            "passkey" => {
                let options = browser.json("/account/passkeys/options", &json!({})).await.json();
                let passkey = Authenticator::platform().create(&options["publicKey"], ORIGIN, Twist::None);
                ("/account/passkeys".into(), passkey.to_string())
            }
            "address" => {
                browser.form("/account/identifiers/email", &[("value", "eve@example.org")]).await;
                let code = world.latest_code().await;
                ("/account/identifiers/code".into(), encoded(&[("code", &code)]))
            }
            _ => {
                browser.register("/account/passkeys", json!({}), &mut Authenticator::platform()).await;
                let page = browser.get("/account").await.text;
                let id = page.split("/account/passkeys/pky_").nth(1).expect("a passkey");
                let id = id.split('/').next().expect("an id");
                (format!("/account/passkeys/pky_{id}/rename"), encoded(&[("name", "Eve’s")]))
            }
        };
        let headers = if change == "passkey" { JSON } else { FORM };
        let headers = headers.map(|(name, value)| (name, value.to_string())).to_vec();
        Self { browser, path, headers, body }
    }

    async fn with_token(mut browser: Browser) -> Self {
        let json = [("content-type", "application/json")];
        let mut phone = Authenticator::platform();
        let ask = json!({ "client_id": "doppelkey", "user_profile": { "email": EMAIL } }).to_string();
        let begun = browser.send("POST", "/passkey/register", &json, Some(ask)).await.json();
        let passkey = phone.create(&begun["authn_params_public_key"], ORIGIN, Twist::None);
        let exchange = json!({
            "grant_type": "urn:okta:params:oauth:grant-type:webauthn", "client_id": "doppelkey",
            "scope": "create:me:authentication_methods", "auth_session": begun["auth_session"],
            "authn_response": passkey,
        });
        let tokens = browser.send("POST", "/oauth/token", &json, Some(exchange.to_string())).await.json();
        let bearer = format!("Bearer {}", tokens["access_token"].as_str().expect("a token"));
        let headers = [("authorization", bearer.as_str()), json[0]];
        let wish = json!({ "type": "passkey" }).to_string();
        let begun = browser.send("POST", "/me/v1/authentication-methods", &headers, Some(wish)).await.json();
        let mut other = Authenticator::platform();
        let passkey: Value = other.create(&begun["authn_params_public_key"], ORIGIN, Twist::None);
        let body = json!({ "auth_session": begun["auth_session"], "authn_response": passkey }).to_string();
        let headers = vec![("authorization", bearer.clone()), ("content-type", "application/json".into())];
        let path = "/me/v1/authentication-methods/passkey%7Cnew/verify".into();
        Self { browser, path, headers, body }
    }

    fn headers(&self) -> Vec<(&'static str, &str)> {
        self.headers.iter().map(|(name, value)| (*name, value.as_str())).collect()
    }

    async fn send(self) -> Answer {
        self.browser.clone().send("POST", &self.path, &self.headers(), Some(self.body.clone())).await
    }

    async fn send_late(self, until: oneshot::Receiver<()>) -> Answer {
        let until = async { until.await.expect("somebody lets it go on") };
        let mut browser = self.browser.clone();
        browser.send_late(("POST", &self.path), &self.headers(), self.body.clone(), until).await
    }
}

/// The changes that events tell of.
async fn told(world: &World) -> Vec<String> {
    world.codes().await.into_iter().filter(|code| TOLD.contains(&code.as_str())).collect()
}

/// Whoever sent it is asked to log in.
fn is_of_nobody(change: &str, answer: &Answer) {
    match answer.status {
        StatusCode::UNAUTHORIZED => {}
        _ => assert!(answer.location().starts_with("/login"), "{change}: {}", answer.text),
    }
}

/// Whoever keeps a request open, its head sent and its body held back, would otherwise do so until the owner has got the
/// account back, and then go on.
#[tokio::test]
async fn a_request_whose_session_ends_while_its_body_is_on_its_way_changes_nothing() {
    for change in CHANGES {
        let world = World::new().await;
        let thiefs = Prepared::of(&world, change).await;
        let (let_go, until) = oneshot::channel();
        let on_its_way = tokio::spawn(thiefs.send_late(until));
        // Time to read whatever is read before the body.
        tokio::time::sleep(Duration::from_millis(50)).await;

        world.pass_minutes(1);
        let mut owner = world.browser();
        owner.form("/recover", &[("email", EMAIL)]).await;
        let code = world.latest_code().await;
        assert_eq!(owner.form("/recover/code", &[("code", &code)]).await.location(), "/recover/new");
        owner.form("/recover/password", &[("password", "the owner’s new one")]).await;
        let before = told(&world).await;

        let_go.send(()).expect("the request is under way");
        is_of_nobody(change, &on_its_way.await.expect("it is answered"));
        assert_eq!(told(&world).await, before, "{change}");
        assert_eq!(owner.get("/account").await.status, StatusCode::OK, "{change}: the owner stays");
    }
}

/// A session can end as late as between two statements of a request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_whose_session_ends_while_it_is_made_does_not_happen() {
    for change in CHANGES {
        let folder = tempfile::tempdir().expect("a folder");
        let database = postgres::shared_database(folder.path());
        let world = World::start(&database, "").await;
        let thiefs = Prepared::of(&world, change).await;
        let before = told(&world).await;
        // Read by everybody meanwhile, and changed by nobody.
        let holder = postgres::hold(&database, "DELETE FROM sessions;", 0.4);
        is_of_nobody(change, &thiefs.send().await);
        holder.join().expect("it has been let go");
        assert_eq!(told(&world).await, before, "{change}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_whose_browser_has_gone_is_told_to_the_old_address_all_the_same() {
    for (change, subject) in [
        ("password", "Your password at Doppelkey was changed"),
        ("address", "Your e-mail address at Doppelkey"),
    ] {
        let mut has_happened = false;
        // On a busy machine a browser may have gone before its request has begun: then nothing has happened.
        for patience in [1, 2, 4, 8] {
            let folder = tempfile::tempdir().expect("a folder");
            let database = postgres::shared_database(folder.path());
            let world = World::start(&database, "").await;
            let thiefs = Prepared::of(&world, change).await;
            let before = told(&world).await.len();
            let held_s = 0.6 * patience as f32;
            let holder = postgres::hold(&database, "UPDATE users SET blocked = blocked;", held_s);
            let connection = tokio::spawn(thiefs.send());
            tokio::time::sleep(Duration::from_millis(300 * patience)).await;
            connection.abort();
            holder.join().expect("it has been let go");
            for _ in 0..250 {
                has_happened = world.outbox().await.contains(subject);
                if has_happened {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let told = told(&world).await;
            assert_eq!(told.len(), before + usize::from(has_happened), "{change}: {told:?}");
            if has_happened {
                break;
            }
        }
        assert!(has_happened, "{change}: nobody is told");
    }
}
