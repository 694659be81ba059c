//! The offers of a passkey after logging in.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::world::{Authenticator, Browser, ORIGIN, Twist, World};

const EMAIL: &str = "ada@example.org";
const PASSWORD: &str = "correct horse battery";

#[tokio::test]
async fn a_passkey_is_offered_after_a_password_and_never_once_there_is_one() {
    let world = World::new().await;
    assert_eq!(world.browser().sign_up_with_password(EMAIL, PASSWORD).await, "/account");
    let mut browser = world.browser();
    assert_eq!(browser.log_in_with_password(EMAIL, PASSWORD).await, "/enroll");
    let page = browser.get("/enroll").await.text;
    assert!(page.contains("Don’t show me this again") && page.contains("data-upgrade"), "{page}");
    let mut phone = Authenticator::platform();
    assert_eq!(
        browser.register("/enroll", json!({}), &mut phone).await.json(),
        json!({ "next": "/account" })
    );
    assert_eq!(world.codes().await.last().map(String::as_str), Some("gd_enrollment_complete"));
    assert_eq!(world.browser().log_in_with_password(EMAIL, PASSWORD).await, "/account");
    assert_eq!(browser.authenticate("/login/passkey", json!({}), &mut phone).await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_offer_can_be_put_off_for_thirty_days_or_for_ever() {
    let world = World::new().await;
    world.browser().sign_up_with_password(EMAIL, PASSWORD).await;
    let mut browser = world.browser();
    browser.log_in_with_password(EMAIL, PASSWORD).await;
    assert_eq!(browser.form("/enroll/skip", &[]).await.location(), "/account");
    world.pass_days(29);
    assert_eq!(world.browser().log_in_with_password(EMAIL, PASSWORD).await, "/account");
    world.pass_days(2);
    let mut browser = world.browser();
    assert_eq!(browser.log_in_with_password(EMAIL, PASSWORD).await, "/enroll");
    browser.form("/enroll/skip", &[("never", "on")]).await;
    world.pass_days(1000);
    assert_eq!(world.browser().log_in_with_password(EMAIL, PASSWORD).await, "/account");
}

#[tokio::test]
async fn a_silent_upgrade_needs_no_user_but_only_then() {
    let world = World::new().await;
    world.browser().sign_up_with_password(EMAIL, PASSWORD).await;
    for (wish, expected) in
        [(json!({}), StatusCode::BAD_REQUEST), (json!({ "mediation": "conditional" }), StatusCode::OK)]
    {
        let mut browser = world.browser();
        browser.log_in_with_password(EMAIL, PASSWORD).await;
        let options = browser.json("/enroll/options", &wish).await.json();
        assert_eq!(options["mediation"], wish["mediation"]);
        let mut phone = Authenticator::platform();
        let credential = phone.create(&options["publicKey"], ORIGIN, Twist::UserAbsent);
        assert_eq!(browser.json("/enroll", &credential).await.status, expected, "{wish}");
    }
}

#[tokio::test]
async fn only_the_upgrade_after_a_password_needs_no_user() {
    let world = World::new().await;
    let refused = async |browser: &mut Browser, path: &str, mut wish: Value| {
        wish["mediation"] = json!("conditional");
        let options = browser.json(&format!("{path}/options"), &wish).await.json();
        assert!(options["publicKey"].is_object() && options["mediation"].is_null(), "{path}: {options}");
        let credential = Authenticator::platform().create(&options["publicKey"], ORIGIN, Twist::UserAbsent);
        let answer = browser.json(path, &credential).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}: {}", answer.text);
    };
    refused(&mut world.browser(), "/signup/passkey", json!({ "email": EMAIL })).await;
    let (mut browser, mut phone) = (world.browser(), Authenticator::platform());
    browser.sign_up(EMAIL, &mut phone).await;
    refused(&mut browser, "/account/passkeys", json!({})).await;
    let mut lost = world.browser();
    lost.form("/recover", &[("email", EMAIL)]).await;
    lost.form("/recover/code", &[("code", &world.latest_code().await)]).await;
    refused(&mut lost, "/recover/passkey", json!({})).await;
    phone.attachment = "cross-platform";
    let mut laptop = world.browser();
    let here = json!({ "platformAuthenticator": true });
    let next = laptop.authenticate("/login/passkey", here.clone(), &mut phone).await.json();
    assert_eq!(next["next"], "/enroll/local");
    refused(&mut laptop, "/enroll/local", here).await;
}

#[tokio::test]
async fn who_takes_up_the_offer_late_comes_back_to_it_after_confirming() {
    let world = World::new().await;
    world.browser().sign_up_with_password(EMAIL, PASSWORD).await;
    let mut browser = world.browser();
    assert_eq!(browser.log_in_with_password(EMAIL, PASSWORD).await, "/enroll");
    world.pass_minutes(6);
    assert_eq!(browser.json("/enroll/options", &json!({})).await.error(), "step-up-required");
    assert!(browser.get("/step-up?then=/enroll").await.text.contains("value=\"/enroll\""));
    let confirmed = browser.form("/step-up/password", &[("password", PASSWORD), ("then", "/enroll")]).await;
    assert_eq!(confirmed.location(), "/enroll");
    assert!(browser.get("/enroll").await.text.contains("Don’t show me this again"));
    let done = browser.register("/enroll", json!({}), &mut Authenticator::platform()).await;
    assert_eq!(done.json()["next"], "/account");
}

#[tokio::test]
async fn a_local_passkey_is_offered_after_another_devices() {
    let world = World::new().await;
    let mut phone = Authenticator::platform();
    world.browser().sign_up(EMAIL, &mut phone).await;
    let here = json!({ "platformAuthenticator": true });
    let mut browser = world.browser();
    assert_eq!(
        browser.authenticate("/login/passkey", here.clone(), &mut phone).await.json()["next"],
        "/account"
    );
    phone.attachment = "cross-platform";
    // A device that cannot hold a passkey gets no offer.
    let nothing = world.browser().authenticate("/login/passkey", json!({}), &mut phone).await;
    assert_eq!(nothing.json()["next"], "/account");
    assert_eq!(
        browser.authenticate("/login/passkey", here.clone(), &mut phone).await.json()["next"],
        "/enroll/local"
    );
    let page = browser.get("/enroll/local").await.text;
    assert!(page.contains("Continue without a new passkey"), "{page}");
    let options = browser.json("/enroll/local/options", &json!({})).await.json()["publicKey"].clone();
    assert_eq!(options["authenticatorSelection"]["authenticatorAttachment"], "platform");
    assert_eq!(options["excludeCredentials"].as_array().map(Vec::len), Some(1));
    let mut laptop = Authenticator::platform();
    let credential = laptop.create(&options, ORIGIN, Twist::None);
    assert_eq!(browser.json("/enroll/local", &credential).await.status, StatusCode::OK);
}

#[tokio::test]
async fn offers_can_be_turned_off() {
    let policy = "[passkey]\nprogressive_enrollment_enabled = false\nlocal_enrollment_enabled = false";
    let world = World::with_policy(policy).await;
    world.browser().sign_up_with_password(EMAIL, PASSWORD).await;
    assert_eq!(world.browser().log_in_with_password(EMAIL, PASSWORD).await, "/account");
}

/// Each of the two is an option of its own, and either may be turned off while somebody looks at its page.
#[tokio::test]
async fn an_offer_that_policy_has_turned_off_since_is_shown_to_nobody_and_cannot_be_taken_up() {
    for (path, option, other) in [
        ("/enroll", "progressive_enrollment_enabled", "local_enrollment_enabled"),
        ("/enroll/local", "local_enrollment_enabled", "progressive_enrollment_enabled"),
    ] {
        let (world, mut phone) = (World::new().await, Authenticator::platform());
        phone.attachment = "cross-platform";
        let here = json!({ "platformAuthenticator": true });
        let mut browser = world.browser();
        if path == "/enroll" {
            world.browser().sign_up_with_password(EMAIL, PASSWORD).await;
            assert_eq!(browser.log_in_with_password(EMAIL, PASSWORD).await, path);
        } else {
            world.browser().sign_up(EMAIL, &mut phone).await;
            assert_eq!(browser.authenticate("/login/passkey", here, &mut phone).await.json()["next"], path);
        }
        let turn = async |option: &str, on: bool| {
            let patch = json!({ "passkey": { option: on } });
            assert_eq!(world.admin("PATCH", "/api/v2/policy", Some(patch)).await.status, StatusCode::OK);
        };
        // The other one is none of this page's business.
        turn(other, false).await;
        assert_eq!(browser.get(path).await.status, StatusCode::OK, "{path}");
        let options = browser.json(&format!("{path}/options"), &json!({})).await;
        assert_eq!(options.status, StatusCode::OK, "{path}: {}", options.text);
        let credential = Authenticator::platform().create(&options.json()["publicKey"], ORIGIN, Twist::None);

        turn(option, false).await;
        for (path, body) in [(format!("{path}/options"), json!({})), (path.to_string(), credential)] {
            let refused = browser.json(&path, &body).await;
            let told = (refused.status, refused.error());
            assert_eq!(told, (StatusCode::NOT_FOUND, "passkey-not-allowed".into()), "{path}");
        }
        assert_eq!(browser.get(path).await.location(), "/account", "{path}: whoever was asked goes on");
        turn(option, true).await;
        assert_eq!(browser.get(path).await.location(), "/account", "{path}: and is not asked again");
    }
}

#[tokio::test]
async fn an_offer_is_taken_up_where_it_was_made() {
    let world = World::new().await;
    world.browser().sign_up_with_password(EMAIL, PASSWORD).await;
    let mut browser = world.browser();
    assert_eq!(browser.log_in_with_password(EMAIL, PASSWORD).await, "/enroll");
    assert_eq!(browser.json("/enroll/local/options", &json!({})).await.error(), "transaction-not-found");
    assert_eq!(browser.json("/enroll/options", &json!({})).await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_policy_says_how_login_offers_passkeys() {
    for (ui, autofill, button) in [("both", true, true), ("autofill", true, false), ("button", false, true)] {
        let world = World::with_policy(&format!("[passkey]\nchallenge_ui = \"{ui}\"")).await;
        let page = world.browser().get("/login").await.text;
        assert_eq!(page.contains("autocomplete=\"username webauthn\""), autofill, "{ui}");
        assert_eq!(page.contains("data-conditional"), autofill, "{ui}");
        assert_eq!(page.contains("Continue with a passkey"), button, "{ui}");
    }
}
