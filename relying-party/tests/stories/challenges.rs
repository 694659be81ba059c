//! A challenge is one session's, one ceremony's and one user's, for as long as it lasts.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::world::{Authenticator, Browser, ORIGIN, Twist, World};

const ADA: &str = "ada@example.org";
const BOB: &str = "bob@example.org";

/// Proves an address: the next page is that of a new passkey.
async fn prove(world: &World, browser: &mut Browser, email: &str) {
    assert_eq!(browser.form("/recover", &[("email", email)]).await.location(), "/recover/code");
    let code = world.latest_code().await;
    assert_eq!(browser.form("/recover/code", &[("code", &code)]).await.location(), "/recover/new");
}

/// Options of a ceremony.
async fn options(browser: &mut Browser, path: &str, wish: &Value) -> Value {
    browser.json(&format!("{path}/options"), wish).await.json()["publicKey"].clone()
}

#[tokio::test]
async fn every_challenge_expires_whatever_it_is_for() {
    for path in ["/signup/passkey", "/account/passkeys", "/recover/passkey", "/step-up", "/login/passkey"] {
        for (seconds, is_in_time) in [(59, true), (60, false)] {
            let world = World::with_policy("[passkey]\ntimeout_ms = 60000").await;
            let (mut browser, mut phone) = (world.browser(), Authenticator::platform());
            browser.sign_up(ADA, &mut phone).await;
            if !["/account/passkeys", "/step-up"].contains(&path) {
                browser = world.browser();
            }
            let wish = match path {
                "/signup/passkey" => json!({ "email": BOB }),
                // Of a user who is named: such a challenge is kept, not sealed.
                "/login/passkey" => json!({ "identifier": ADA }),
                _ => json!({}),
            };
            if path == "/recover/passkey" {
                prove(&world, &mut browser, ADA).await;
            }
            let options = options(&mut browser, path, &wish).await;
            let answer = match options.get("user") {
                Some(_) => Authenticator::platform().create(&options, ORIGIN, Twist::None),
                None => phone.get(&options, ORIGIN, Twist::None),
            };
            world.pass_seconds(seconds);
            let done = browser.json(path, &answer).await;
            if is_in_time {
                assert_eq!(done.status, StatusCode::OK, "{path}: {}", done.text);
            } else {
                assert_eq!(done.error(), "transaction-not-found", "{path}: {}", done.text);
            }
        }
    }
}

#[tokio::test]
async fn a_challenge_to_recover_one_account_gets_nobody_into_another() {
    let world = World::new().await;
    world.browser().sign_up(ADA, &mut Authenticator::platform()).await;
    world.browser().sign_up(BOB, &mut Authenticator::platform()).await;
    let (mut browser, mut phone) = (world.browser(), Authenticator::platform());
    prove(&world, &mut browser, ADA).await;
    let adas = options(&mut browser, "/recover/passkey", &json!({})).await;
    // The same session proves to be Bob, and answers what it was asked as Ada.
    prove(&world, &mut browser, BOB).await;
    let done = browser.json("/recover/passkey", &phone.create(&adas, ORIGIN, Twist::None)).await;
    assert_eq!(done.error(), "transaction-not-found", "{}", done.text);
    let (code, event) = world.events().await.pop().expect("an event");
    assert_eq!(code, "gd_webauthn_enrollment_failed");
    assert_eq!(event["details"]["error"]["message"], "the challenge was issued for another user");
    let stranger = world.browser().authenticate("/login/passkey", json!({}), &mut phone).await;
    assert_eq!(stranger.status, StatusCode::UNAUTHORIZED, "it is nobody's passkey");
}

#[tokio::test]
async fn a_recovery_that_was_left_alone_does_not_keep_its_session_from_adding_a_passkey() {
    let world = World::new().await;
    world.browser().sign_up(BOB, &mut Authenticator::platform()).await;
    let mut browser = world.browser();
    browser.sign_up(ADA, &mut Authenticator::platform()).await;
    prove(&world, &mut browser, BOB).await;
    let done = browser.register("/account/passkeys", json!({}), &mut Authenticator::platform()).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    assert!(browser.get("/account").await.text.contains("2 of at most 20"), "it is Ada's");
    // Nor does Bob's recovery end with Ada's challenge.
    let adas = options(&mut browser, "/account/passkeys", &json!({})).await;
    let answer = Authenticator::platform().create(&adas, ORIGIN, Twist::None);
    assert_eq!(browser.json("/recover/passkey", &answer).await.error(), "transaction-not-found");
}

#[tokio::test]
async fn another_users_passkey_confirms_nothing() {
    let (mut adas, mut bobs) = (Authenticator::platform(), Authenticator::platform());
    let world = World::new().await;
    world.browser().sign_up(BOB, &mut bobs).await;
    let mut browser = world.browser();
    browser.sign_up(ADA, &mut adas).await;
    world.pass_minutes(6);
    let options = options(&mut browser, "/step-up", &json!({})).await;
    let refused = browser.json("/step-up", &bobs.get(&options, ORIGIN, Twist::None)).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{}", refused.text);
    let (code, event) = world.events().await.pop().expect("an event");
    assert_eq!(code, "gd_webauthn_challenge_failed");
    assert_eq!(event["details"]["webauthn"]["failed_step"], "7.2-5");
    assert_eq!(event["user_name"], ADA, "who could not confirm, not whose passkey it was");
    let still = browser.json("/account/passkeys/options", &json!({})).await;
    assert_eq!(still.error(), "step-up-required");
    // Ada's own does.
    let done = browser.authenticate("/step-up", json!({}), &mut adas).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    assert_eq!(browser.json("/account/passkeys/options", &json!({})).await.status, StatusCode::OK);
}

#[tokio::test]
async fn client_data_with_a_byte_order_mark_is_answered() {
    // §7.1 step 5 and §7.2 step 8: UTF-8 decode, which takes the mark away.
    let (world, mut phone) = (World::new().await, Authenticator::platform());
    let mut browser = world.browser();
    let asked = options(&mut browser, "/signup/passkey", &json!({ "email": ADA })).await;
    let done = browser.json("/signup/passkey", &phone.create(&asked, ORIGIN, Twist::ByteOrderMark)).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    let mut browser = world.browser();
    let asked = options(&mut browser, "/login/passkey", &json!({})).await;
    let done = browser.json("/login/passkey", &phone.get(&asked, ORIGIN, Twist::ByteOrderMark)).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text);
}

/// One that names a user is a row until it expires. One that names nobody is none, and is not counted.
#[tokio::test]
async fn who_asks_for_ever_more_challenges_to_log_in_waits_and_nobody_else_does() {
    let world = World::behind_a_proxy().await;
    world.browser().sign_up(ADA, &mut Authenticator::platform()).await;
    let patch = json!({ "limits": { "challenges_per_ip_minute": 4 } });
    assert_eq!(world.admin("PATCH", "/api/v2/policy", Some(patch)).await.status, StatusCode::OK);
    let ask = async |address: &str, wish: Value| {
        let mut browser = world.browser().with_header("x-forwarded-for", address);
        browser.json("/login/passkey/options", &wish).await
    };
    // A network of IPv6 is one address; whether there is such a user makes no difference.
    for (address, email) in [("2001:db8::1", ADA), ("2001:db8::2", BOB), ("2001:db8::3", ADA)] {
        let answer = ask(address, json!({ "identifier": email })).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    }
    let mut browser = world.browser().with_header("x-forwarded-for", "2001:db8::4");
    browser.form("/login", &[("identifier", ADA)]).await;
    let targeted = json!({ "targeted": true });
    assert_eq!(browser.json("/login/passkey/options", &targeted).await.status, StatusCode::OK);
    for email in [ADA, BOB] {
        let refused = ask("2001:db8::5", json!({ "identifier": email })).await;
        let told = (refused.status, refused.error());
        assert_eq!(told, (StatusCode::TOO_MANY_REQUESTS, "too-many-challenges".into()));
        assert_eq!(refused.headers["retry-after"], "60");
    }
    assert_eq!(browser.json("/login/passkey/options", &targeted).await.error(), "too-many-challenges");
    // The log says so once.
    let events = world.events().await;
    let limits: Vec<_> = events.iter().filter(|(code, _)| code == "limit_mu").collect();
    assert_eq!(limits.len(), 1, "{events:?}");
    assert_eq!(limits[0].1["details"], json!({ "ip": "2001:db8::5", "key": "too-many-challenges" }));
    // Others, and who names nobody, go on; and after a minute all do.
    assert_eq!(ask("2001:db8:0:1::1", json!({ "identifier": ADA })).await.status, StatusCode::OK);
    for _ in 0..10 {
        assert_eq!(ask("2001:db8::1", json!({})).await.status, StatusCode::OK);
    }
    world.pass_minutes(1);
    assert_eq!(ask("2001:db8::1", json!({ "identifier": ADA })).await.status, StatusCode::OK);
}
