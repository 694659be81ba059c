//! Limits on guessing.

use axum::http::StatusCode;
use serde_json::json;

use crate::world::{Authenticator, World};

const EMAIL: &str = "ada@example.org";
const PASSWORD: &str = "correct horse battery";

/// Guesses a password so many times.
async fn guess(world: &World, times: u32) -> StatusCode {
    let mut browser = world.browser();
    browser.form("/login", &[("identifier", EMAIL)]).await;
    let mut last = StatusCode::OK;
    for _ in 0..times {
        last = browser.form("/login/password", &[("password", "wrong horse")]).await.status;
    }
    last
}

#[tokio::test]
async fn guessing_blocks_the_account_for_this_address_and_the_owner_lifts_it() {
    let world = World::new().await;
    world.browser().sign_up_with_password(EMAIL, PASSWORD).await;
    assert_eq!(guess(&world, 10).await, StatusCode::UNPROCESSABLE_ENTITY);
    let mut browser = world.browser();
    browser.form("/login", &[("identifier", EMAIL)]).await;
    let blocked = browser.form("/login/password", &[("password", PASSWORD)]).await;
    assert_eq!(blocked.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(
        blocked.text.contains("open the link in the mail that its owner got"),
        "what next: {}",
        blocked.text
    );
    assert_eq!(blocked.headers["retry-after"], "900", "a page says when, too");
    assert!(world.codes().await.contains(&"limit_wc".to_string()));

    let outbox = world.outbox().await;
    let token =
        outbox.split("/unblock?token=").nth(1).and_then(|rest| rest.split('"').next()).expect("a link");
    // Looking at the link does nothing.
    assert_eq!(browser.get(&format!("/unblock?token={token}")).await.status, StatusCode::OK);
    let still = browser.form("/login/password", &[("password", PASSWORD)]).await;
    assert_eq!(still.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(browser.form("/unblock", &[("token", token)]).await.location(), "/login");
    assert_eq!(browser.form("/login/password", &[("password", PASSWORD)]).await.location(), "/enroll");
    assert!(world.codes().await.contains(&"ublkdu".to_string()));
}

#[tokio::test]
async fn who_is_blocked_while_confirming_is_told_so_and_not_that_the_password_is_wrong() {
    let world = World::with_policy("[limits]\nbrute_force_threshold = 1").await;
    let mut browser = world.browser();
    browser.sign_up_with_password(EMAIL, PASSWORD).await;
    world.pass_minutes(6);
    for (password, expected) in
        [("wrong horse", "This is not your password."), (PASSWORD, "Too many failed logins")]
    {
        let refused = browser.form("/step-up/password", &[("password", password)]).await;
        assert!(refused.text.contains(expected), "{}", refused.text);
    }
}

#[tokio::test]
async fn a_block_ends_by_itself_and_the_next_is_longer() {
    let world = World::new().await;
    world.browser().sign_up_with_password(EMAIL, PASSWORD).await;
    guess(&world, 10).await;
    world.pass_minutes(16);
    assert_eq!(guess(&world, 10).await, StatusCode::UNPROCESSABLE_ENTITY);
    world.pass_minutes(16);
    assert_eq!(guess(&world, 1).await, StatusCode::TOO_MANY_REQUESTS);
    world.pass_minutes(15);
    assert_eq!(world.browser().log_in_with_password(EMAIL, PASSWORD).await, "/enroll");
}

#[tokio::test]
async fn an_address_that_fails_too_often_a_day_is_blocked_for_passkeys_too() {
    let world = World::with_policy("[limits]\nfailed_logins_per_ip_day = 3").await;
    let mut phone = Authenticator::platform();
    world.browser().sign_up(EMAIL, &mut phone).await;
    guess(&world, 3).await;
    let mut browser = world.browser();
    let blocked = browser.authenticate("/login/passkey", json!({}), &mut phone).await;
    assert_eq!((blocked.status, blocked.error().as_str()), (StatusCode::TOO_MANY_REQUESTS, "ip-blocked"));
    assert!(blocked.headers.contains_key("retry-after"));
    assert!(world.codes().await.contains(&"limit_mu".to_string()));
    world.pass_days(1);
    assert_eq!(browser.authenticate("/login/passkey", json!({}), &mut phone).await.status, StatusCode::OK);
}

#[tokio::test]
async fn sign_ups_from_one_address_are_limited() {
    let world = World::with_policy("[limits]\nsignups_per_ip_minute = 2").await;
    for number in 0..3 {
        let email = format!("user{number}@example.org");
        let answer = world.browser().json("/signup/passkey/options", &json!({ "email": email })).await;
        let expected = if number < 2 { StatusCode::OK } else { StatusCode::TOO_MANY_REQUESTS };
        assert_eq!(answer.status, expected, "{}", answer.text);
    }
    assert!(world.codes().await.contains(&"limit_sul".to_string()));
    world.pass_minutes(2);
    let answer =
        world.browser().json("/signup/passkey/options", &json!({ "email": "later@example.org" })).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn mails_to_one_address_are_limited() {
    let world = World::with_policy("[limits]\ncodes_per_hour = 2").await;
    for number in 0..3 {
        // Whether or not there is an account.
        let answer = world.browser().form("/recover", &[("email", "nobody@example.org")]).await;
        let expected = if number < 2 { StatusCode::SEE_OTHER } else { StatusCode::TOO_MANY_REQUESTS };
        assert_eq!(answer.status, expected);
        assert_eq!(answer.headers.contains_key("retry-after"), number == 2);
    }
    let refused = world.events().await.pop().expect("an event");
    assert_eq!((refused.0.as_str(), &refused.1["details"]["key"]), ("fv", &json!("too-many-otps")));
    for _ in 0..3 {
        world.browser().form("/reset-password", &[("email", "somebody@example.org")]).await;
    }
    assert_eq!(world.codes().await.pop().as_deref(), Some("fcpr"));
}
