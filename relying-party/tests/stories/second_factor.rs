//! Second factors.

use axum::http::StatusCode;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::json;
use sha1::Sha1;

use crate::world::{Authenticator, Browser, World};

const EMAIL: &str = "ada@example.org";
const PASSWORD: &str = "correct horse battery";

/// An authenticator app.
#[derive(Default)]
pub(crate) struct App {
    secret: Vec<u8>,
}

impl App {
    /// Reads the secret from a page, as a person types it.
    pub(crate) fn scan(&mut self, page: &str) {
        self.secret = bytes_of(&shown_secret(page));
    }

    /// The secret that it shares with the service.
    pub(crate) fn secret(&self) -> &[u8] {
        &self.secret
    }

    /// The code it shows now.
    pub(crate) fn code(&self, world: &World) -> String {
        let mut mac = Hmac::<Sha1>::new_from_slice(&self.secret).expect("any length");
        mac.update(&(world.now_s() / 30).to_be_bytes());
        let digest = mac.finalize().into_bytes();
        let at = usize::from(digest[19] & 15);
        let word = [digest[at] & 0x7f, digest[at + 1], digest[at + 2], digest[at + 3]];
        format!("{:06}", u32::from_be_bytes(word) % 1_000_000)
    }

    /// Sets the app up on the security page; gives the recovery code.
    pub(crate) async fn set_up_in_account(&mut self, world: &World, browser: &mut Browser) -> String {
        self.scan(&browser.get("/account/security/otp").await.text);
        let page = browser.form("/account/security/otp", &[("code", &self.code(world))]).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text);
        recovery_code(&page.text)
    }
}

/// The secret on a page: of an app that is set up, or a recovery code.
pub(crate) fn shown_secret(page: &str) -> String {
    let text = page.split("class=\"secret\">").nth(1).and_then(|rest| rest.split('<').next());
    text.unwrap_or_else(|| panic!("it shows a secret: {page}")).to_string()
}

/// What base32 stands for, as a person typed it.
pub(crate) fn bytes_of(base32: &str) -> Vec<u8> {
    let (mut bits, mut count, mut bytes) = (0_u32, 0, Vec::new());
    for letter in base32.bytes().filter(|byte| *byte != b' ') {
        let value = if letter >= b'A' { letter - b'A' } else { letter - b'2' + 26 };
        bits = (bits << 5) | u32::from(value);
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    bytes
}

fn recovery_code(page: &str) -> String {
    let text = shown_secret(page);
    assert_eq!(text.replace(' ', "").len(), 24);
    text
}

#[tokio::test]
async fn what_asks_for_a_second_factor_is_a_matter_of_method_and_policy() {
    // {password, passkey with UV, passkey without UV} × {never, always} × {require, skip, skip-if-uv}
    let expected = [
        ("never", "require", [false, false, false]),
        ("never", "skip", [false, false, false]),
        ("never", "skip-if-uv", [false, false, false]),
        ("always", "require", [true, true, true]),
        ("always", "skip", [true, false, false]),
        ("always", "skip-if-uv", [true, false, true]),
    ];
    let world = World::new().await;
    let (mut phone, mut key) = (Authenticator::platform(), Authenticator::security_key());
    let mut browser = world.browser();
    browser.sign_up_with_password(EMAIL, PASSWORD).await;
    browser.register("/account/passkeys", json!({}), &mut phone).await;
    browser.register("/account/passkeys", json!({}), &mut key).await;
    App::default().set_up_in_account(&world, &mut browser).await;
    for (policy, after_passkey, asks) in expected {
        let patch = json!({ "mfa": { "policy": policy, "after_passkey": after_passkey } });
        let patched = world.admin("PATCH", "/api/v2/policy", Some(patch)).await;
        assert_eq!(patched.status, StatusCode::OK, "{}", patched.text);
        let with_password = world.browser().log_in_with_password(EMAIL, PASSWORD).await;
        let uv = world.browser().authenticate("/login/passkey", json!({}), &mut phone).await.json();
        let no_uv = world.browser().authenticate("/login/passkey", json!({}), &mut key).await.json();
        let found = [with_password.as_str(), uv["next"].as_str().unwrap(), no_uv["next"].as_str().unwrap()];
        assert_eq!(found.map(|next| next == "/mfa/otp"), asks, "{policy} {after_passkey}: {found:?}");
    }
}

#[tokio::test]
async fn who_has_none_sets_one_up_when_policy_asks_everybody() {
    let world = World::with_policy("[mfa]\npolicy = \"always\"").await;
    let mut browser = world.browser();
    assert_eq!(browser.sign_up_with_password(EMAIL, PASSWORD).await, "/mfa/setup");
    assert_eq!(browser.get("/account").await.location(), "/login", "not signed in yet");
    let mut app = App::default();
    app.scan(&browser.get("/mfa/setup").await.text);
    assert_eq!(
        browser.form("/mfa/setup", &[("code", "000000")]).await.status,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    let page = browser.form("/mfa/setup", &[("code", &app.code(&world))]).await;
    recovery_code(&page.text);
    let unticked = browser.form("/mfa/setup/done", &[]).await;
    assert_eq!(unticked.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(browser.form("/mfa/setup/done", &[("recorded", "on")]).await.location(), "/account");
    assert_eq!(browser.get("/account").await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_session_and_the_counter_wait_for_the_second_factor() {
    let world = World::with_policy("[mfa]\npolicy = \"always\"").await;
    let mut key = Authenticator::security_key();
    let mut browser = world.browser();
    browser.sign_up_with_passkey_and_app(EMAIL, &mut key, &world, &mut App::default()).await;
    let mut waiting = world.browser();
    assert_eq!(waiting.authenticate("/login/passkey", json!({}), &mut key).await.json()["next"], "/mfa/otp");
    assert_eq!(waiting.get("/account").await.location(), "/login");
    let account = browser.get("/account").await.text;
    assert!(account.contains("Not used yet"), "the record is updated in the end only");
}

#[tokio::test]
async fn a_one_time_code_works_once() {
    let world = World::with_policy("[mfa]\npolicy = \"always\"").await;
    let mut app = App::default();
    let mut key = Authenticator::security_key();
    world.browser().sign_up_with_passkey_and_app(EMAIL, &mut key, &world, &mut app).await;
    world.pass_minutes(2);
    let code = app.code(&world);
    let (mut first, mut second) = (world.browser(), world.browser());
    first.authenticate("/login/passkey", json!({}), &mut key).await;
    assert_eq!(first.form("/mfa/otp", &[("code", &code)]).await.location(), "/account");
    second.authenticate("/login/passkey", json!({}), &mut key).await;
    assert_eq!(second.form("/mfa/otp", &[("code", &code)]).await.status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn too_many_wrong_codes_take_a_break() {
    let world = World::with_policy("[mfa]\npolicy = \"always\"").await;
    let mut app = App::default();
    let mut key = Authenticator::security_key();
    world.browser().sign_up_with_passkey_and_app(EMAIL, &mut key, &world, &mut app).await;
    world.pass_minutes(10);
    let mut browser = world.browser();
    browser.authenticate("/login/passkey", json!({}), &mut key).await;
    // Half-typed ones are none.
    for wrong in ["12", "", "000 000 0", "12", "12", "000000", "000000", "000 000", "000000", "000000"] {
        let refused = browser.form("/mfa/otp", &[("code", wrong)]).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
    }
    let blocked = browser.form("/mfa/otp", &[("code", &app.code(&world))]).await;
    assert_eq!(blocked.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(world.codes().await.last().map(String::as_str), Some("gd_otp_rate_limit_exceed"));
    world.pass_minutes(6);
    assert_eq!(browser.form("/mfa/otp", &[("code", &app.code(&world))]).await.location(), "/account");
}

#[tokio::test]
async fn a_recovery_code_works_once_and_is_replaced() {
    let world = World::new().await;
    let mut browser = world.browser();
    browser.sign_up_with_password(EMAIL, PASSWORD).await;
    let code = App::default().set_up_in_account(&world, &mut browser).await;
    world.admin("PATCH", "/api/v2/policy", Some(json!({ "mfa": { "policy": "always" } }))).await;
    let mut recovering = world.browser();
    assert_eq!(recovering.log_in_with_password(EMAIL, PASSWORD).await, "/mfa/otp");
    let page = recovering.form("/mfa/recovery-code", &[("code", &code.to_lowercase())]).await;
    assert_ne!(recovery_code(&page.text), code);
    assert_eq!(recovering.form("/mfa/setup/done", &[("recorded", "on")]).await.location(), "/enroll");
    let mut again = world.browser();
    again.log_in_with_password(EMAIL, PASSWORD).await;
    let used = again.form("/mfa/recovery-code", &[("code", &code)]).await;
    assert_eq!(used.status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn a_remembered_device_is_not_asked_for_thirty_days() {
    let world = World::new().await;
    let mut browser = world.browser();
    browser.sign_up_with_password(EMAIL, PASSWORD).await;
    let mut app = App::default();
    app.set_up_in_account(&world, &mut browser).await;
    world.admin("PATCH", "/api/v2/policy", Some(json!({ "mfa": { "policy": "always" } }))).await;
    world.pass_minutes(2);
    let mut known = world.browser();
    assert_eq!(known.log_in_with_password(EMAIL, PASSWORD).await, "/mfa/otp");
    assert_eq!(
        known.form("/mfa/otp", &[("code", &app.code(&world)), ("remember", "on")]).await.location(),
        "/enroll"
    );
    known.form("/logout", &[]).await;
    world.pass_days(29);
    assert_eq!(known.log_in_with_password(EMAIL, PASSWORD).await, "/enroll");
    assert_eq!(world.browser().log_in_with_password(EMAIL, PASSWORD).await, "/mfa/otp");
    known.form("/logout", &[]).await;
    world.pass_days(2);
    assert_eq!(known.log_in_with_password(EMAIL, PASSWORD).await, "/mfa/otp");
}

#[tokio::test]
async fn a_remembered_device_is_asked_once_policy_remembers_none() {
    let world = World::new().await;
    let mut browser = world.browser();
    browser.sign_up_with_password(EMAIL, PASSWORD).await;
    let mut app = App::default();
    app.set_up_in_account(&world, &mut browser).await;
    let remember_days = async |days: u32| {
        let patch = json!({ "mfa": { "policy": "always", "remember_days": days } });
        world.admin("PATCH", "/api/v2/policy", Some(patch)).await;
    };
    remember_days(30).await;
    world.pass_minutes(2);
    let mut known = world.browser();
    assert_eq!(known.log_in_with_password(EMAIL, PASSWORD).await, "/mfa/otp");
    known.form("/mfa/otp", &[("code", &app.code(&world)), ("remember", "on")]).await;
    // As many days as policy says now have to have passed since, not before it is forgotten.
    let cases = [
        (0, 30, "/enroll"),
        (0, 0, "/mfa/otp"),
        (0, 7, "/enroll"),
        (8, 7, "/mfa/otp"),
        (0, 9, "/enroll"),
        (21, 7, "/mfa/otp"),
        (0, 30, "/enroll"),
        (1, 60, "/mfa/otp"),
    ];
    for (passed, days, next) in cases {
        world.pass_days(passed);
        remember_days(days).await;
        let mut browser = known.clone();
        browser.form("/logout", &[]).await;
        assert_eq!(browser.log_in_with_password(EMAIL, PASSWORD).await, next, "{passed} {days}");
    }
}

#[tokio::test]
async fn a_second_factor_that_one_user_has_set_up_lets_nobody_else_in() {
    let world = World::with_policy("[mfa]\npolicy = \"always\"").await;
    let (mut victim, mut victims_app) = (world.browser(), App::default());
    victim.sign_up_with_password(EMAIL, PASSWORD).await;
    victims_app.scan(&victim.get("/mfa/setup").await.text);
    let page = victim.form("/mfa/setup", &[("code", &victims_app.code(&world))]).await;
    let victims_code = recovery_code(&page.text);
    victim.form("/mfa/setup/done", &[("recorded", "on")]).await;

    // The thief knows the password only, and sets the second factor of another account up in the same session.
    let (mut thief, mut app) = (world.browser(), App::default());
    thief.sign_up_with_password("eve@example.org", "another horse battery").await;
    app.scan(&thief.get("/mfa/setup").await.text);
    recovery_code(&thief.form("/mfa/setup", &[("code", &app.code(&world))]).await.text);
    assert_eq!(thief.log_in_with_password(EMAIL, PASSWORD).await, "/mfa/otp");
    for form in [&[][..], &[("recorded", "on")]] {
        let refused = thief.form("/mfa/setup/done", form).await;
        assert!(!refused.text.contains("class=\"secret\""), "no recovery code of somebody else's");
        assert_eq!(thief.get("/account").await.location(), "/login");
    }
    // The same by way of the mailbox.
    thief.form("/recover", &[("email", EMAIL)]).await;
    let code = world.latest_code().await;
    assert_eq!(thief.form("/recover/code", &[("code", &code)]).await.location(), "/mfa/otp");
    thief.form("/mfa/setup/done", &[("recorded", "on")]).await;
    assert_eq!(thief.get("/recover/new").await.location(), "/recover");

    let mut again = world.browser();
    again.log_in_with_password(EMAIL, PASSWORD).await;
    let page = again.form("/mfa/recovery-code", &[("code", &victims_code)]).await;
    assert_ne!(recovery_code(&page.text), victims_code, "it still was the victim's");
}

#[tokio::test]
async fn a_secret_that_another_session_has_seen_is_not_set_up() {
    let world = World::with_policy("[mfa]\npolicy = \"always\"").await;
    world.browser().sign_up_with_password(EMAIL, PASSWORD).await;
    // Whoever knows the password looks at the secret, and leaves.
    let (mut thief, mut seen) = (world.browser(), App::default());
    assert_eq!(thief.log_in_with_password(EMAIL, PASSWORD).await, "/mfa/setup");
    seen.scan(&thief.get("/mfa/setup").await.text);
    let (mut owner, mut app) = (world.browser(), App::default());
    owner.log_in_with_password(EMAIL, PASSWORD).await;
    app.scan(&owner.get("/mfa/setup").await.text);
    assert_ne!(app.secret, seen.secret);
    // One session is shown the same secret again, also after a wrong code.
    let wrong = owner.form("/mfa/setup", &[("code", &seen.code(&world))]).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    for page in [wrong.text, owner.get("/mfa/setup").await.text] {
        let mut again = App::default();
        again.scan(&page);
        assert_eq!(again.secret, app.secret);
    }
    owner.form("/mfa/setup", &[("code", &app.code(&world))]).await;
    assert_eq!(owner.form("/mfa/setup/done", &[("recorded", "on")]).await.location(), "/enroll");
    // What the thief has seen is worth nothing, there or anywhere.
    let late = thief.form("/mfa/setup", &[("code", &seen.code(&world))]).await;
    assert_eq!(late.status, StatusCode::BAD_REQUEST);
    assert_eq!(thief.get("/mfa/setup").await.location(), "/mfa/otp");
    let refused = thief.form("/mfa/otp", &[("code", &seen.code(&world))]).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn a_secret_belongs_to_one_user_in_one_session_and_is_used_once() {
    let world = World::new().await;
    let path = "/account/security/otp";
    let (mut here, mut there) = (world.browser(), world.browser());
    here.sign_up_with_password(EMAIL, PASSWORD).await;
    there.log_in_with_password(EMAIL, PASSWORD).await;
    let (mut first, mut second) = (App::default(), App::default());
    first.scan(&here.get(path).await.text);
    second.scan(&there.get(path).await.text);
    assert_ne!(first.secret, second.secret);
    let done = here.form(path, &[("code", &first.code(&world))]).await;
    assert_eq!(done.status, StatusCode::OK);
    let late = there.form(path, &[("code", &second.code(&world))]).await;
    assert_eq!(late.status, StatusCode::BAD_REQUEST, "of two that are set up at once, one is");
    // Who removes the app, since the phone was stolen, does not get the secret that is on it.
    assert_eq!(here.form("/account/security/otp/remove", &[]).await.location(), "/account/security");
    let mut new = App::default();
    new.scan(&here.get(path).await.text);
    assert_ne!(new.secret, first.secret);

    // One session may wait for two users, one after the other.
    world.browser().sign_up_with_password("eve@example.org", "another horse battery").await;
    world.admin("PATCH", "/api/v2/policy", Some(json!({ "mfa": { "policy": "always" } }))).await;
    let mut both = world.browser();
    let (mut eves, mut adas) = (App::default(), App::default());
    assert_eq!(both.log_in_with_password("eve@example.org", "another horse battery").await, "/mfa/setup");
    eves.scan(&both.get("/mfa/setup").await.text);
    assert_eq!(both.log_in_with_password(EMAIL, PASSWORD).await, "/mfa/setup");
    adas.scan(&both.get("/mfa/setup").await.text);
    assert_ne!(eves.secret, adas.secret);
}

/// A double click, or a line that breaks before the page with the next code has come.
#[tokio::test]
async fn a_recovery_code_that_is_sent_twice_leads_on_all_the_same() {
    let world = World::with_policy("[mfa]\npolicy = \"always\"").await;
    let mut browser = world.browser();
    assert_eq!(browser.sign_up_with_password(EMAIL, PASSWORD).await, "/mfa/setup");
    let mut app = App::default();
    app.scan(&browser.get("/mfa/setup").await.text);
    let first = browser.form("/mfa/setup", &[("code", &app.code(&world))]).await;
    // That page may be lost as well.
    let mut code = recovery_code(&first.text);
    let again = browser.form("/mfa/setup", &[("code", &app.code(&world))]).await;
    assert_ne!(std::mem::replace(&mut code, recovery_code(&again.text)), code);
    browser.form("/mfa/setup/done", &[("recorded", "on")]).await;

    // The app is lost.
    for way in ["one after the other", "at once", "the next page", "the page of the app"] {
        let mut browser = world.browser();
        assert_eq!(browser.log_in_with_password(EMAIL, PASSWORD).await, "/mfa/otp");
        let form = [("code", code.as_str())];
        let shown = match way {
            "at once" => {
                let mut other = browser.clone();
                let path = "/mfa/recovery-code";
                let (one, two) = tokio::join!(browser.form(path, &form), other.form(path, &form));
                assert_eq!((one.status, two.status), (StatusCode::OK, StatusCode::OK), "{}", two.text);
                browser.get(path).await
            }
            _ => {
                assert_eq!(browser.form("/mfa/recovery-code", &form).await.status, StatusCode::OK);
                match way {
                    "the next page" => browser.get("/mfa/recovery-code").await,
                    "the page of the app" => browser.get("/mfa/otp").await,
                    _ => browser.form("/mfa/recovery-code", &form).await,
                }
            }
        };
        let next = recovery_code(&shown.text);
        assert_ne!(next, code);
        assert_eq!(browser.form("/mfa/setup/done", &[("recorded", "on")]).await.location(), "/enroll");
        // The one of the last page counts, and no other.
        let mut stale = world.browser();
        stale.log_in_with_password(EMAIL, PASSWORD).await;
        let refused = stale.form("/mfa/recovery-code", &form).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{way}");
        code = next;
    }
}

impl Browser {
    /// Signs up where policy asks everybody for a second factor.
    pub(crate) async fn sign_up_with_passkey_and_app(
        &mut self,
        email: &str,
        authenticator: &mut Authenticator,
        world: &World,
        app: &mut App,
    ) {
        let done = self.register("/signup/passkey", json!({ "email": email }), authenticator).await;
        assert_eq!(done.json()["next"], "/mfa/setup");
        app.scan(&self.get("/mfa/setup").await.text);
        self.form("/mfa/setup", &[("code", &app.code(world))]).await;
        assert_eq!(self.form("/mfa/setup/done", &[("recorded", "on")]).await.location(), "/account");
    }
}
