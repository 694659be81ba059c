//! What a signed-in user can change, and what must be confirmed first.

use axum::http::StatusCode;
use serde_json::json;

use crate::world::{Authenticator, Browser, ORIGIN, Twist, World, postgres};

const EMAIL: &str = "ada@example.org";
const PASSWORD: &str = "correct horse battery";

/// The id of the first passkey on the account page.
pub(crate) async fn first_passkey(browser: &mut Browser) -> String {
    let page = browser.get("/account").await.text;
    page.split("/account/passkeys/pky_")
        .nth(1)
        .and_then(|rest| rest.split('/').next())
        .expect("a passkey")
        .to_string()
}

#[tokio::test]
async fn changes_need_a_user_who_proved_it_just_now() {
    let world = World::new().await;
    let mut phone = Authenticator::platform();
    let mut browser = world.browser();
    browser.sign_up(EMAIL, &mut phone).await;
    world.pass_minutes(6);
    let refused = browser.json("/account/passkeys/options", &json!({})).await;
    assert_eq!((refused.status, refused.error().as_str()), (StatusCode::FORBIDDEN, "step-up-required"));
    let id = first_passkey(&mut browser).await;
    let removal = browser.form(&format!("/account/passkeys/pky_{id}/remove"), &[]).await;
    assert!(removal.location().starts_with("/step-up?then="), "{}", removal.location());
    assert_eq!(browser.get("/account/security/otp").await.location(), "/step-up?then=/account/security/otp");

    let done = browser.authenticate_at("/step-up", "/step-up?then=/account/security", &mut phone).await;
    assert_eq!(done.json(), json!({ "next": "/account/security" }));
    let mut laptop = Authenticator::platform();
    assert_eq!(browser.register("/account/passkeys", json!({}), &mut laptop).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_password_confirms_too_and_leads_nowhere_else() {
    let world = World::new().await;
    let mut browser = world.browser();
    browser.sign_up_with_password(EMAIL, PASSWORD).await;
    world.pass_minutes(6);
    let wrong = browser.form("/step-up/password", &[("password", "wrong"), ("then", "/account")]).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(wrong.text.contains("This is not your password."), "{}", wrong.text);
    let away = [("password", PASSWORD), ("then", "https://evil.example")];
    assert_eq!(browser.form("/step-up/password", &away).await.location(), "/account");
    let mut phone = Authenticator::platform();
    assert_eq!(browser.register("/account/passkeys", json!({}), &mut phone).await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_policy_has_turned_off_confirms_nobody() {
    let world = World::new().await;
    let mut phone = Authenticator::platform();
    let mut browser = world.browser();
    browser.sign_up(EMAIL, &mut phone).await;
    browser.form("/account/security/password", &[("password", PASSWORD)]).await;
    world.pass_minutes(6);
    // Whoever has an old password and a stolen session.
    world.admin("PATCH", "/api/v2/policy", Some(json!({ "password": { "enabled": false } }))).await;
    let page = browser.get("/step-up?then=/account").await.text;
    assert!(page.contains("Confirm with a passkey") && !page.contains("password"), "{page}");
    let refused = browser.form("/step-up/password", &[("password", PASSWORD), ("then", "/account")]).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND);
    let still = browser.json("/account/passkeys/options", &json!({})).await;
    assert_eq!(still.error(), "step-up-required");

    let other = json!({ "password": { "enabled": true }, "passkey": { "enabled": false } });
    world.admin("PATCH", "/api/v2/policy", Some(other)).await;
    let page = browser.get("/step-up?then=/account").await.text;
    assert!(page.contains("Confirm with the password") && !page.contains("Confirm with a passkey"), "{page}");
    assert_eq!(browser.json("/step-up/options", &json!({})).await.status, StatusCode::NOT_FOUND);

    // Whoever has a password only, where passwords are off, gets a code.
    let both = json!({ "passkey": { "enabled": true } });
    world.admin("PATCH", "/api/v2/policy", Some(both)).await;
    let mut other = world.browser();
    other.sign_up_with_password("eve@example.org", PASSWORD).await;
    world.pass_minutes(6);
    let swapped = json!({ "password": { "enabled": false } });
    assert_eq!(world.admin("PATCH", "/api/v2/policy", Some(swapped)).await.status, StatusCode::OK);
    let page = other.get("/step-up?then=/account").await.text;
    assert!(page.contains("Get a code by mail"), "{page}");
}

#[tokio::test]
async fn who_confirms_is_asked_for_a_second_factor_where_a_log_in_would_be() {
    let world = World::new().await;
    let mut phone = Authenticator::platform();
    let mut browser = world.browser();
    browser.sign_up(EMAIL, &mut phone).await;
    browser.form("/account/security/password", &[("password", PASSWORD)]).await;
    let mut app = crate::second_factor::App::default();
    app.set_up_in_account(&world, &mut browser).await;
    let mfa = json!({ "mfa": { "policy": "always", "after_passkey": "skip" } });
    world.admin("PATCH", "/api/v2/policy", Some(mfa)).await;
    world.pass_minutes(6);
    let session = browser.cookie("session");

    // The password alone, with a stolen session, plants no passkey that would skip the code from then on.
    let form = [("password", PASSWORD), ("then", "/account/security")];
    assert_eq!(browser.form("/step-up/password", &form).await.location(), "/mfa/otp");
    let refused = browser.json("/account/passkeys/options", &json!({})).await;
    assert_eq!(refused.error(), "step-up-required");
    let wrong = browser.form("/mfa/otp", &[("code", "000000")]).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    let right = browser.form("/mfa/otp", &[("code", &app.code(&world))]).await;
    assert_eq!(right.location(), "/account/security");
    assert_eq!(browser.json("/account/passkeys/options", &json!({})).await.status, StatusCode::OK);
    assert_eq!(browser.cookie("session"), session, "it is the same session");
    assert_eq!(browser.form("/mfa/otp", &[("code", "000000")]).await.status, StatusCode::BAD_REQUEST);

    // A passkey is enough where it is enough to log in, and not where it is not: it would remove the other factor.
    world.pass_minutes(6);
    let path = "/step-up?then=/account/security";
    let done = browser.authenticate_at("/step-up", path, &mut phone).await;
    assert_eq!(done.json()["next"], "/account/security");
    world.admin("PATCH", "/api/v2/policy", Some(json!({ "mfa": { "after_passkey": "require" } }))).await;
    world.pass_minutes(6);
    let done = browser.authenticate_at("/step-up", path, &mut phone).await;
    assert_eq!(done.json()["next"], "/mfa/otp");
    let removal = browser.form("/account/security/otp/remove", &[]).await;
    assert!(removal.location().starts_with("/step-up"), "{}", removal.location());
    let right = browser.form("/mfa/otp", &[("code", &app.code(&world))]).await;
    assert_eq!(right.location(), "/account/security");
    assert_eq!(browser.form("/account/security/otp/remove", &[]).await.location(), "/account/security");
}

#[tokio::test]
async fn who_waits_to_confirm_is_nobody_else_and_gets_no_token() {
    let world = World::new().await;
    let mut browser = world.browser();
    browser.sign_up_with_password(EMAIL, PASSWORD).await;
    let mut app = crate::second_factor::App::default();
    app.set_up_in_account(&world, &mut browser).await;
    world.browser().sign_up_with_password("eve@example.org", "another horse battery").await;
    world.admin("PATCH", "/api/v2/policy", Some(json!({ "mfa": { "policy": "always" } }))).await;
    world.pass_minutes(6);
    assert_eq!(browser.form("/step-up/password", &[("password", PASSWORD)]).await.location(), "/mfa/otp");
    let body = json!({
        "grant_type": "http://auth0.com/oauth/grant-type/mfa-otp", "client_id": "doppelkey",
        "mfa_token": browser.cookie("session"), "otp": app.code(&world),
    });
    assert_eq!(world.browser().json("/oauth/token", &body).await.status, StatusCode::BAD_REQUEST);
    // Another log-in in the same session takes its place: its second factor confirms nothing.
    let mut other = browser.clone();
    assert_eq!(other.log_in_with_password("eve@example.org", "another horse battery").await, "/mfa/setup");
    let mut new = crate::second_factor::App::default();
    new.scan(&other.get("/mfa/setup").await.text);
    other.form("/mfa/setup", &[("code", &new.code(&world))]).await;
    assert_eq!(other.form("/mfa/setup/done", &[("recorded", "on")]).await.location(), "/enroll");
    assert!(other.get("/account").await.text.contains("eve@example.org"));
    assert_eq!(browser.get("/account").await.location(), "/login", "the session has ended with the log-in");
}

#[tokio::test]
async fn the_twenty_first_passkey_is_refused_and_logged() {
    let world = World::new().await;
    let mut phone = Authenticator::platform();
    let mut browser = world.browser();
    browser.sign_up(EMAIL, &mut phone).await;
    // The race for the last place is decided when the passkey is stored, not when its ceremony starts.
    let early = browser.json("/account/passkeys/options", &json!({})).await.json()["publicKey"].clone();
    for _ in 1..20 {
        assert_eq!(browser.register("/account/passkeys", json!({}), &mut phone).await.status, StatusCode::OK);
    }
    let late = browser.json("/account/passkeys", &phone.create(&early, ORIGIN, Twist::None)).await;
    assert_eq!(
        (late.status, late.error().as_str()),
        (StatusCode::CONFLICT, "passkey-enrollment-max-allowed-reached")
    );
    let refused = browser.json("/account/passkeys/options", &json!({})).await;
    assert_eq!(refused.error(), "passkey-enrollment-max-allowed-reached");
    let codes = world.codes().await;
    assert_eq!(codes.iter().filter(|code| *code == "too_many_records").count(), 2);
    assert!(browser.get("/account").await.text.contains("20 of at most 20"));
}

#[tokio::test]
async fn the_last_way_to_log_in_cannot_be_removed() {
    let world = World::new().await;
    let mut phone = Authenticator::platform();
    let mut browser = world.browser();
    browser.sign_up(EMAIL, &mut phone).await;
    let path = format!("/account/passkeys/pky_{}/remove", first_passkey(&mut browser).await);
    assert_eq!(browser.form(&path, &[]).await.status, StatusCode::CONFLICT);
    browser.form("/account/security/password", &[("password", PASSWORD)]).await;
    assert_eq!(browser.form(&path, &[]).await.location(), "/account");
    let last = browser.form("/account/security/password/remove", &[]).await;
    assert_eq!(last.status, StatusCode::CONFLICT);
    assert!(world.codes().await.contains(&"gd_unenroll".to_string()));
}

#[tokio::test]
async fn a_passkey_is_renamed_by_its_owner_only() {
    let world = World::new().await;
    let (mut adas, mut eves) = (Authenticator::platform(), Authenticator::platform());
    let (mut ada, mut eve) = (world.browser(), world.browser());
    ada.sign_up(EMAIL, &mut adas).await;
    eve.sign_up("eve@example.org", &mut eves).await;
    let id = first_passkey(&mut ada).await;
    let path = format!("/account/passkeys/pky_{id}/rename");
    assert_eq!(eve.form(&path, &[("name", "Mine")]).await.status, StatusCode::NOT_FOUND);
    assert_eq!(ada.form(&path, &[("name", "<b>Phone</b>")]).await.location(), "/account");
    let page = ada.get("/account").await.text;
    assert!(page.contains("&lt;b&gt;Phone&lt;/b&gt;") && !page.contains("<b>Phone"), "{page}");
    let removal = format!("/account/passkeys/pky_{id}/remove");
    assert_eq!(eve.form(&removal, &[]).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_user_ends_sessions_elsewhere() {
    let world = World::new().await;
    let mut phone = Authenticator::platform();
    let (mut here, mut there) = (world.browser(), world.browser());
    here.sign_up(EMAIL, &mut phone).await;
    there.authenticate("/login/passkey", json!({}), &mut phone).await;
    let page = here.get("/account/security").await.text;
    let id = page
        .split("/account/sessions/ses_")
        .nth(1)
        .and_then(|rest| rest.split('/').next())
        .expect("a session");
    assert_eq!(
        here.form(&format!("/account/sessions/ses_{id}/end"), &[]).await.location(),
        "/account/security"
    );
    assert_eq!(there.get("/account").await.location(), "/login");
    assert_eq!(here.get("/account").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_new_password_ends_sessions_elsewhere_and_does_not_come_back() {
    let world = World::with_policy("[password]\nhistory = 3").await;
    let (mut here, mut there) = (world.browser(), world.browser());
    here.sign_up_with_password(EMAIL, PASSWORD).await;
    there.log_in_with_password(EMAIL, PASSWORD).await;
    world.pass_minutes(1);
    let again = here.form("/account/security/password", &[("password", PASSWORD)]).await;
    assert_eq!(again.status, StatusCode::UNPROCESSABLE_ENTITY);
    let done = here.form("/account/security/password", &[("password", "another horse battery")]).await;
    assert_eq!(done.location(), "/account/security");
    assert_eq!(there.get("/account").await.location(), "/login");
}

#[tokio::test]
async fn a_password_that_was_removed_does_not_come_back_either() {
    let world = World::with_policy("[password]\nhistory = 2").await;
    let mut browser = world.browser();
    browser.sign_up(EMAIL, &mut Authenticator::platform()).await;
    let (set, remove) = ("/account/security/password", "/account/security/password/remove");
    for password in [PASSWORD, "another horse battery"] {
        assert_eq!(browser.form(set, &[("password", password)]).await.location(), "/account/security");
        assert_eq!(browser.form(remove, &[]).await.location(), "/account/security");
        for _ in 0..2 {
            assert_eq!(browser.form(remove, &[]).await.status, StatusCode::NOT_FOUND);
        }
        let again = browser.form(set, &[("password", PASSWORD)]).await;
        assert_eq!(again.status, StatusCode::UNPROCESSABLE_ENTITY, "after {password}");
    }
    let removals = world.events().await.into_iter().filter(|(_, event)| event["details"]["removed"] == true);
    assert_eq!(removals.count(), 2, "what is not there is not removed");
}

#[tokio::test]
async fn a_deleted_account_is_gone() {
    let world = World::new().await;
    let mut phone = Authenticator::platform();
    let mut browser = world.browser();
    browser.sign_up(EMAIL, &mut phone).await;
    assert_eq!(browser.form("/account/delete", &[]).await.location(), "/signup");
    let gone = browser.authenticate("/login/passkey", json!({}), &mut phone).await;
    assert_eq!(gone.status, StatusCode::UNAUTHORIZED);
    assert!(gone.json().get("signalUnknownCredential").is_some(), "{}", gone.text);
    browser.sign_up(EMAIL, &mut Authenticator::platform()).await;
}

#[tokio::test]
async fn the_page_tells_providers_which_passkeys_count() {
    let world = World::new().await;
    let mut phone = Authenticator::platform();
    let mut browser = world.browser();
    browser.sign_up(EMAIL, &mut phone).await;
    let page = browser.get("/account").await.text.replace("&quot;", "\"");
    let start = page.find("data-signal=\"").expect("the data") + 13;
    let mut values = serde_json::Deserializer::from_str(&page[start..]).into_iter::<serde_json::Value>();
    let data = values.next().expect("a value").expect("JSON");
    assert_eq!(data["rpId"], "localhost");
    assert_eq!(data["userId"], json!(phone.passkeys[0].handle));
    assert_eq!(data["allAcceptedCredentialIds"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn of_two_last_ways_to_log_in_that_are_removed_at_once_one_stays() {
    let world = World::new().await;
    for round in 0..4 {
        let mut browser = world.browser();
        let email = format!("ada{round}@example.org");
        browser.sign_up(&email, &mut Authenticator::platform()).await;
        browser.register("/account/passkeys", json!({}), &mut Authenticator::platform()).await;
        let page = browser.get("/account").await.text;
        let ids =
            page.split("/account/passkeys/pky_").skip(1).filter_map(|rest| rest.split_once("/remove\""));
        let paths = ids.map(|(id, _)| format!("/account/passkeys/pky_{id}/remove"));
        let paths: Vec<_> = paths.filter(|path| !path.contains("rename")).collect();
        let [one, other] = paths.as_slice() else { panic!("two passkeys: {paths:?}") };
        let (mut left, mut right) = (browser.clone(), browser.clone());
        let (left, right) = tokio::join!(left.form(one, &[]), right.form(other, &[]));
        let mut statuses = [left.status, right.status];
        statuses.sort();
        assert_eq!(statuses, [StatusCode::SEE_OTHER, StatusCode::CONFLICT]);
    }
}

#[tokio::test]
async fn of_two_last_ways_that_wait_for_the_same_lock_one_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = postgres::shared_database(folder.path());
    let world = World::start(&database, "").await;
    let mut browser = world.browser();
    browser.sign_up(EMAIL, &mut Authenticator::platform()).await;
    browser.register("/account/passkeys", json!({}), &mut Authenticator::platform()).await;
    let page = browser.get("/account").await.text;
    let ids = page.split("/account/passkeys/pky_").skip(1).filter_map(|rest| rest.split_once("/remove\""));
    let paths = ids.map(|(id, _)| format!("/account/passkeys/pky_{id}/remove"));
    let paths: Vec<_> = paths.filter(|path| !path.contains("rename")).collect();
    // Both have begun, and wait, before either can go on.
    let lock = postgres::hold(&database, "UPDATE users SET blocked = blocked", 1.0);
    let removals = paths.into_iter().map(|path| {
        let mut browser = browser.clone();
        tokio::spawn(async move { browser.form(&path, &[]).await.status })
    });
    let mut statuses = Vec::new();
    for removal in removals.collect::<Vec<_>>() {
        statuses.push(removal.await.expect("it is answered"));
    }
    statuses.sort();
    assert_eq!(statuses, [StatusCode::SEE_OTHER, StatusCode::CONFLICT]);
    lock.join().expect("the lock was let go");
}

#[tokio::test]
async fn a_way_to_log_in_that_policy_has_turned_off_does_not_count() {
    let world = World::new().await;
    let mut browser = world.browser();
    browser.sign_up_with_password(EMAIL, PASSWORD).await;
    browser.register("/account/passkeys", json!({}), &mut Authenticator::platform()).await;
    let path = format!("/account/passkeys/pky_{}/remove", first_passkey(&mut browser).await);
    let off = json!({ "password": { "enabled": false } });
    world.admin("PATCH", "/api/v2/policy", Some(off)).await;
    assert_eq!(browser.form(&path, &[]).await.status, StatusCode::CONFLICT);
    let refused = browser.json("/account/security/password/remove", &json!({})).await;
    assert_eq!(refused.status, StatusCode::SEE_OTHER, "the passkey is there: {}", refused.text);
}

#[tokio::test]
async fn what_only_the_operator_can_mend_is_told_by_the_browser_to_the_log() {
    let world = World::new().await;
    let mut browser = world.browser();
    let refusal = json!({ "ceremony": "get", "error": "SecurityError", "message": "The RP ID is \u{7}not for this origin." });
    assert_eq!(browser.json("/browser-error", &refusal).await.status, StatusCode::NO_CONTENT);
    let (code, event) = world.events().await.pop().expect("an event");
    assert_eq!(code, "f");
    let expected = "the browser refused: SecurityError: The RP ID is not for this origin.";
    assert_eq!(event["details"]["error"]["message"], expected);
    let mishap = json!({ "ceremony": "get", "error": "NotAllowedError", "message": "" });
    assert_eq!(browser.json("/browser-error", &mishap).await.status, StatusCode::BAD_REQUEST);
    for _ in 0..10 {
        browser.json("/browser-error", &refusal).await;
    }
    assert_eq!(browser.json("/browser-error", &refusal).await.status, StatusCode::TOO_MANY_REQUESTS);
}

impl Browser {
    /// An authentication whose answer goes to a path with a query.
    async fn authenticate_at(
        &mut self,
        begin: &str,
        finish: &str,
        authenticator: &mut Authenticator,
    ) -> crate::world::Answer {
        let options = self.json(&format!("{begin}/options"), &json!({})).await.json();
        let credential = authenticator.get(&options["publicKey"], ORIGIN, Twist::None);
        self.json(finish, &credential).await
    }
}
