//! Getting back in.

use axum::http::StatusCode;
use serde_json::json;

use crate::world::{Authenticator, Browser, World};

const EMAIL: &str = "ada@example.org";
const PASSWORD: &str = "correct horse battery";

#[tokio::test]
async fn a_code_leads_to_a_new_passkey_and_the_old_ones_are_listed_for_removal() {
    let world = World::new().await;
    let mut lost = Authenticator::platform();
    let mut old = world.browser();
    old.sign_up(EMAIL, &mut lost).await;
    world.pass_minutes(1);

    let mut browser = world.browser();
    assert_eq!(browser.form("/recover", &[("email", EMAIL)]).await.location(), "/recover/code");
    // Nothing goes on without the code.
    assert_eq!(browser.get("/recover/new").await.location(), "/recover");
    let code = world.latest_code().await;
    assert_eq!(browser.form("/recover/code", &[("code", &code)]).await.location(), "/recover/new");
    let mut new = Authenticator::platform();
    let done = browser.register("/recover/passkey", json!({}), &mut new).await;
    assert_eq!(done.json(), json!({ "next": "/account/lost" }));

    assert_eq!(old.get("/account").await.location(), "/login", "the old session ends");
    assert!(world.outbox().await.contains("Your account at Doppelkey was recovered"));
    let page = browser.get("/account/lost").await.text;
    let ids: Vec<&str> =
        page.split("value=\"pky_").skip(1).filter_map(|part| part.split('"').next()).collect();
    assert_eq!(ids.len(), 1, "the new one is not lost");
    let first = format!("pky_{}", ids[0]);
    assert_eq!(browser.form("/account/lost", &[("lost", &first)]).await.location(), "/account");
    let mut thief = world.browser();
    assert_eq!(
        thief.authenticate("/login/passkey", json!({}), &mut lost).await.status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(thief.authenticate("/login/passkey", json!({}), &mut new).await.status, StatusCode::OK);
}

#[tokio::test]
async fn who_has_lost_as_many_passkeys_as_there_may_be_gets_another_all_the_same() {
    let policy = "[passkey]\nmax_per_user = 1\n[password]\nenabled = false";
    let world = World::with_policy(policy).await;
    world.browser().sign_up(EMAIL, &mut Authenticator::platform()).await;
    let mut browser = world.browser();
    browser.form("/recover", &[("email", EMAIL)]).await;
    let code = world.latest_code().await;
    browser.form("/recover/code", &[("code", &code)]).await;
    let done = browser.register("/recover/passkey", json!({}), &mut Authenticator::platform()).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    let more = browser.register("/account/passkeys", json!({}), &mut Authenticator::platform()).await;
    assert_eq!(more.error(), "passkey-enrollment-max-allowed-reached");
}

#[tokio::test]
async fn recovery_of_a_passkey_only_account_can_end_with_a_password() {
    let world = World::new().await;
    let mut lost = Authenticator::platform();
    world.browser().sign_up(EMAIL, &mut lost).await;
    let mut browser = world.browser();
    browser.form("/recover", &[("email", EMAIL)]).await;
    let code = world.latest_code().await;
    browser.form("/recover/code", &[("code", &code)]).await;
    assert_eq!(
        browser.form("/recover/password", &[("password", PASSWORD)]).await.location(),
        "/account/lost"
    );
    assert_eq!(world.browser().log_in_with_password(EMAIL, PASSWORD).await, "/account");
}

/// Proves the address; the next page is that of a new passkey or password.
async fn prove(world: &World, browser: &mut Browser) {
    browser.form("/recover", &[("email", EMAIL)]).await;
    let code = world.latest_code().await;
    assert_eq!(browser.form("/recover/code", &[("code", &code)]).await.location(), "/recover/new");
}

/// Whether a password logs in.
async fn logs_in(world: &World, password: &str) -> bool {
    let mut browser = world.browser();
    browser.form("/login", &[("identifier", EMAIL)]).await;
    browser.form("/login/password", &[("password", password)]).await.status == StatusCode::SEE_OTHER
}

#[tokio::test]
async fn a_recovery_offers_the_old_password_for_removal_too() {
    for ticked in [true, false] {
        let world = World::new().await;
        // Somebody signs up with the address of somebody else, who finds the account and gets it back.
        world.browser().sign_up_with_password(EMAIL, PASSWORD).await;
        let mut owner = world.browser();
        prove(&world, &mut owner).await;
        let done = owner.register("/recover/passkey", json!({}), &mut Authenticator::platform()).await;
        assert_eq!(done.json()["next"], "/account/lost", "there is no passkey, but a password");
        let page = owner.get("/account/lost").await.text;
        assert!(page.contains("value=\"password\" checked"), "{page}");
        let form = if ticked { &[("lost", "password")][..] } else { &[] };
        assert_eq!(owner.form("/account/lost", form).await.location(), "/account");
        assert_eq!(logs_in(&world, PASSWORD).await, !ticked);
        if ticked {
            assert_eq!(
                owner.get("/account/lost").await.location(),
                "/account",
                "the new passkey is not lost"
            );
        }
    }
}

#[tokio::test]
async fn a_recovery_offers_the_app_and_the_recovery_code_for_removal_too() {
    let world = World::new().await;
    let mut thief = world.browser();
    thief.sign_up_with_password(EMAIL, PASSWORD).await;
    let mut app = crate::second_factor::App::default();
    app.set_up_in_account(&world, &mut thief).await;
    world.pass_minutes(1);
    let mut owner = world.browser();
    prove(&world, &mut owner).await;
    let done = owner.form("/recover/password", &[("password", "another horse battery")]).await;
    assert_eq!(done.location(), "/account/lost");
    let page = owner.get("/account/lost").await.text;
    assert!(!page.contains("value=\"password\""), "the password is the owner's: {page}");
    for value in ["app", "recovery-code"] {
        assert!(page.contains(&format!("value=\"{value}\"")), "{value} in {page}");
    }
    let lost = [("lost", "app"), ("lost", "recovery-code")];
    assert_eq!(owner.form("/account/lost", &lost).await.location(), "/account");
    let page = owner.get("/account/security").await.text;
    assert!(page.contains("Set up an authenticator app") && page.contains("Make a recovery code"), "{page}");
    // Sent twice, it is done.
    assert_eq!(owner.form("/account/lost", &[("lost", "app")]).await.location(), "/account");
}

#[tokio::test]
async fn a_reset_shows_what_else_opens_the_account_once_logged_in() {
    let world = World::new().await;
    let mut planted = Authenticator::platform();
    world.browser().sign_up(EMAIL, &mut planted).await;
    let mut owner = world.browser();
    owner.form("/reset-password", &[("email", EMAIL)]).await;
    let outbox = world.outbox().await;
    let token = outbox.split("/reset-password/new?token=").nth(1).and_then(|rest| rest.split('"').next());
    let form = [("token", token.expect("a link")), ("password", PASSWORD)];
    assert_eq!(owner.form("/reset-password/new", &form).await.location(), "/login");
    assert!(world.outbox().await.contains("/account/lost"), "the mail says where, in whatever browser");
    owner.get("/login").await;
    assert_eq!(owner.log_in_with_password(EMAIL, PASSWORD).await, "/account/lost");
    let page = owner.get("/account/lost").await.text;
    assert!(!page.contains("value=\"password\""), "{page}");
    let id = page.split("value=\"pky_").nth(1).and_then(|rest| rest.split('"').next()).expect("a passkey");

    // Whoever holds it logs in meanwhile, and is out with it.
    let mut thief = world.browser();
    thief.authenticate("/login/passkey", json!({}), &mut planted).await;
    assert_eq!(thief.get("/account").await.status, StatusCode::OK);
    assert_eq!(owner.form("/account/lost", &[("lost", &format!("pky_{id}"))]).await.location(), "/account");
    assert_eq!(thief.get("/account").await.location(), "/login");
    let refused = thief.authenticate("/login/passkey", json!({}), &mut planted).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert_eq!(owner.get("/account").await.status, StatusCode::OK);
}

#[tokio::test]
async fn recovery_looks_the_same_whether_or_not_there_is_an_account() {
    let world = World::new().await;
    let mut phone = Authenticator::platform();
    world.browser().sign_up(EMAIL, &mut phone).await;
    let mut pages = Vec::new();
    for email in [EMAIL, "eve@example.org"] {
        let mut browser = world.browser();
        assert_eq!(browser.form("/recover", &[("email", email)]).await.location(), "/recover/code");
        let mut page = browser.get("/recover/code").await.text;
        for _ in 0..6 {
            page += &browser.form("/recover/code", &[("code", "000000")]).await.text;
        }
        pages.push(page.replace(email, "…"));
    }
    assert!(pages[0] == pages[1], "the pages differ");
}

#[tokio::test]
async fn a_second_factor_guards_recovery_too() {
    let world = World::with_policy("[mfa]\npolicy = \"always\"\nafter_passkey = \"skip\"").await;
    let mut phone = Authenticator::platform();
    let mut browser = world.browser();
    browser.sign_up(EMAIL, &mut phone).await;
    let mut app = crate::second_factor::App::default();
    app.set_up_in_account(&world, &mut browser).await;
    let mut recovering = world.browser();
    recovering.form("/recover", &[("email", EMAIL)]).await;
    let code = world.latest_code().await;
    assert_eq!(recovering.form("/recover/code", &[("code", &code)]).await.location(), "/mfa/otp");
    assert_eq!(recovering.get("/recover/new").await.location(), "/recover");
    world.pass_minutes(1);
    assert_eq!(recovering.form("/mfa/otp", &[("code", &app.code(&world))]).await.location(), "/recover/new");
}

#[tokio::test]
async fn a_password_reset_says_the_same_of_every_address_and_its_link_works_once() {
    let world = World::new().await;
    let mut old = world.browser();
    old.sign_up_with_password(EMAIL, PASSWORD).await;
    let mut pages = Vec::new();
    for email in ["eve@example.org", EMAIL] {
        let answer = world.browser().form("/reset-password", &[("email", email)]).await;
        pages.push((answer.status, answer.text.replace(email, "…")));
    }
    assert!(pages[0] == pages[1], "the pages differ");
    let outbox = world.outbox().await;
    let token =
        outbox.split("token=").nth(1).and_then(|rest| rest.split('"').next()).expect("a link").to_string();
    let mut browser = world.browser();
    let page = browser.get(&format!("/reset-password/new?token={token}")).await;
    assert!(page.text.contains("Set a new password"), "{}", page.text);
    // A bad password does not use the link up.
    let weak = [("token", token.as_str()), ("password", "short")];
    assert_eq!(browser.form("/reset-password/new", &weak).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    let strong = [("token", token.as_str()), ("password", "another horse battery")];
    assert_eq!(browser.form("/reset-password/new", &strong).await.location(), "/login");
    assert_eq!(browser.form("/reset-password/new", &strong).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(old.get("/account").await.location(), "/login", "a reset ends the sessions");
    assert_eq!(world.browser().log_in_with_password(EMAIL, "another horse battery").await, "/enroll");
    let codes = world.codes().await;
    for code in ["scpr", "fcp", "scp"] {
        assert!(codes.iter().any(|found| found == code), "{code} in {codes:?}");
    }
}

#[tokio::test]
async fn the_link_of_a_reset_lives_five_days() {
    let world = World::new().await;
    world.browser().sign_up_with_password(EMAIL, PASSWORD).await;
    world.browser().form("/reset-password", &[("email", EMAIL)]).await;
    let outbox = world.outbox().await;
    let token =
        outbox.split("token=").nth(1).and_then(|rest| rest.split('"').next()).expect("a link").to_string();
    let path = format!("/reset-password/new?token={token}");
    world.pass_minutes(5 * 1440 - 1);
    assert_eq!(world.browser().get(&path).await.status, StatusCode::OK);
    world.pass_minutes(2);
    assert_eq!(world.browser().get(&path).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn who_resets_the_password_while_logged_in_is_logged_out_and_told_so() {
    let world = World::new().await;
    let mut browser = world.browser();
    browser.sign_up_with_password(EMAIL, PASSWORD).await;
    browser.form("/reset-password", &[("email", EMAIL)]).await;
    let outbox = world.outbox().await;
    let token = outbox.split("/reset-password/new?token=").nth(1).and_then(|rest| rest.split('"').next());
    let fields = [("token", token.expect("a link")), ("password", "another horse battery")];
    assert_eq!(browser.form("/reset-password/new", &fields).await.location(), "/login");
    let page = browser.get("/login").await;
    assert!(page.text.contains("Your password has been changed. Log in with it."), "{}", page.text);
    assert_eq!(browser.get("/account").await.location(), "/login");
    assert_eq!(browser.log_in_with_password(EMAIL, "another horse battery").await, "/enroll");
}

/// A form that is sent twice, or after something on it was removed elsewhere.
#[tokio::test]
async fn what_has_gone_already_keeps_nothing_else_from_being_removed() {
    let world = World::new().await;
    let (mut old, mut tablet) = (Authenticator::platform(), Authenticator::platform());
    let mut thief = world.browser();
    thief.sign_up(EMAIL, &mut old).await;
    thief.register("/account/passkeys", json!({}), &mut tablet).await;
    let mut browser = world.browser();
    browser.form("/recover", &[("email", EMAIL)]).await;
    let code = world.latest_code().await;
    browser.form("/recover/code", &[("code", &code)]).await;
    let done = browser.register("/recover/passkey", json!({}), &mut Authenticator::platform()).await;
    assert_eq!(done.json()["next"], "/account/lost");
    let page = browser.get("/account/lost").await.text;
    let ids: Vec<String> =
        page.split("value=\"pky_").skip(1).map(|rest| format!("pky_{}", &rest[..20])).collect();
    assert_eq!(ids.len(), 2, "{page}");
    // Whoever holds the tablet has logged in since, and one of the two has been removed in another window.
    let mut meanwhile = world.browser();
    meanwhile.authenticate("/login/passkey", json!({}), &mut tablet).await;
    assert_eq!(meanwhile.get("/account").await.status, StatusCode::OK);
    browser.form(&format!("/account/passkeys/{}/remove", ids[0]), &[]).await;

    let lost = [("lost", ids[0].as_str()), ("lost", "app"), ("lost", ids[1].as_str())];
    assert_eq!(browser.form("/account/lost", &lost).await.location(), "/account");
    assert_eq!(meanwhile.get("/account").await.location(), "/login", "who used one of them is logged out");
    assert!(browser.get("/account").await.text.matches("/remove").count() == 1, "the new one alone is left");

    // A refusal is told, once everything else is done.
    let page = browser.get("/account").await.text;
    let last =
        page.split("/account/passkeys/pky_").nth(1).and_then(|rest| rest.split('/').next()).expect("an id");
    let done = browser.form("/account/security/recovery-code", &[]).await;
    assert_eq!(done.status, StatusCode::OK);
    let lost = [("lost", format!("pky_{last}")), ("lost", "recovery-code".into())];
    let lost: Vec<(&str, &str)> = lost.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let refused = browser.form("/account/lost", &lost).await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{}", refused.text);
    assert!(browser.get("/account/security").await.text.contains("Make a recovery code"), "it is gone");
}
