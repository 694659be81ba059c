//! Changing what one is called.

use axum::http::StatusCode;
use serde_json::json;

use crate::world::{Answer, Authenticator, Browser, World};

const OLD: &str = "ada@example.org";
const NEW: &str = "countess@example.org";
const CODE: &str = "/account/identifiers/code";

async fn change(browser: &mut Browser, kind: &str, value: &str) -> Answer {
    browser.form(&format!("/account/identifiers/{kind}"), &[("value", value)]).await
}

#[tokio::test]
async fn a_new_address_counts_once_its_code_has_been_typed() {
    let world = World::new().await;
    let (mut browser, mut phone) = (world.browser(), Authenticator::platform());
    browser.sign_up(OLD, &mut phone).await;
    assert_eq!(change(&mut browser, "email", " Countess@Example.org").await.location(), CODE);
    assert!(browser.get(CODE).await.text.contains(NEW));
    assert!(browser.get("/account").await.text.contains(OLD), "the old one stays until then");
    let code = world.latest_code().await;
    let wrong = if code == "000000" { "111111" } else { "000000" };
    assert_eq!(browser.form(CODE, &[("code", wrong)]).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(browser.form(CODE, &[("code", &code)]).await.location(), "/account");
    let page = browser.get("/account").await.text;
    assert!(page.contains("Your e-mail address is countess@example.org now."));
    // What the script tells the passkeys' providers: signalCurrentUserDetails.
    assert!(page.contains("&quot;name&quot;:&quot;countess@example.org&quot;"), "{page}");
    // The owner of the old address is told, without the whole new one.
    let outbox = world.outbox().await;
    assert!(outbox.contains("is c•••@example.org now"), "{outbox}");
    assert_eq!(world.codes().await, ["ss", "s", "svr", "fv", "sce"]);
    // The old name is nobody's any more, and can be somebody else's.
    world.browser().sign_up(OLD, &mut Authenticator::platform()).await;
    let named = json!({ "identifier": NEW });
    let mut again = world.browser();
    assert_eq!(again.authenticate("/login/passkey", named, &mut phone).await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_was_mailed_to_the_old_address_is_void() {
    let world = World::new().await;
    let mut browser = world.browser();
    browser.sign_up(OLD, &mut Authenticator::platform()).await;
    // Whoever reads the old mailbox has a code and a link at hand.
    let mut thief = world.browser();
    thief.form("/recover", &[("email", OLD)]).await;
    let stolen = world.latest_code().await;
    thief.form("/reset-password", &[("email", OLD)]).await;
    let outbox = world.outbox().await;
    let link = outbox.split("/reset-password/new?token=").nth(1).and_then(|rest| rest.split('"').next());
    let link = format!("/reset-password/new?token={}", link.expect("a link"));
    assert_eq!(thief.get(&link).await.status, StatusCode::OK);
    world.pass_minutes(1);
    change(&mut browser, "email", NEW).await;
    let code = world.latest_code().await;
    assert_eq!(browser.form(CODE, &[("code", &code)]).await.location(), "/account");
    assert_eq!(thief.get(&link).await.status, StatusCode::BAD_REQUEST);
    let refused = thief.form("/recover/code", &[("code", &stolen)]).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn whose_address_it_is_shows_in_their_mailbox_only() {
    let world = World::new().await;
    world.browser().sign_up(NEW, &mut Authenticator::platform()).await;
    let mut browser = world.browser();
    browser.sign_up(OLD, &mut Authenticator::platform()).await;
    assert_eq!(change(&mut browser, "email", NEW).await.location(), CODE);
    assert!(world.outbox().await.contains("You have an account at Doppelkey already"));
    for _ in 0..4 {
        let wrong = browser.form(CODE, &[("code", "123456")]).await;
        assert!(wrong.text.contains("This is not the code that we sent."), "{}", wrong.text);
    }
    assert!(browser.get("/account").await.text.contains(OLD));
}

#[tokio::test]
async fn names_and_numbers_change_at_once_by_the_policys_rules() {
    let policy = "[attributes.username]\nidentifier = true\nsignup = \"optional\"\n\
                  [attributes.phone]\nidentifier = true\nsignup = \"optional\"";
    let world = World::with_policy(policy).await;
    let mut browser = world.browser();
    browser.sign_up(OLD, &mut Authenticator::platform()).await;
    assert_eq!(change(&mut browser, "username", "Ada").await.location(), "/account");
    assert_eq!(change(&mut browser, "phone", "+49 30 1234567").await.location(), "/account");
    assert!(change(&mut browser, "username", "not a name").await.text.contains("letters, digits"));
    let mut other = world.browser();
    other.sign_up("eve@example.org", &mut Authenticator::platform()).await;
    let taken = change(&mut other, "username", "ADA").await;
    assert_eq!(taken.status, StatusCode::CONFLICT, "{}", taken.text);
    // Optional ones can go, required ones stay.
    assert_eq!(change(&mut browser, "username", "").await.location(), "/account");
    assert_eq!(change(&mut browser, "email", "").await.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(change(&mut browser, "shoe-size", "38").await.status, StatusCode::NOT_FOUND);
    let codes = world.codes().await;
    let changes: Vec<_> = codes.iter().filter(|code| ["scu", "scpn"].contains(&code.as_str())).collect();
    assert_eq!(changes, ["scu", "scpn", "scu"]);
    // Only for whoever proved it just now.
    world.pass_minutes(6);
    assert!(change(&mut browser, "username", "ada").await.location().starts_with("/step-up"));
}

#[tokio::test]
async fn what_the_profile_must_hold_is_asked_for_on_the_account_page_and_stays() {
    let policy = "[attributes.phone]\nidentifier = true\nsignup = \"optional\"\nprofile_required = true\n\
                  [attributes.username]\nprofile_required = true";
    let world = World::with_policy(policy).await;
    let mut browser = world.browser();
    let sign_up = browser.get("/signup").await.text;
    assert!(sign_up.contains("(Optional)") && !sign_up.contains("User name"), "{sign_up}");
    browser.sign_up(OLD, &mut Authenticator::platform()).await;
    for path in ["/account", "/account/security"] {
        let page = browser.get(path).await.text;
        assert!(page.contains("Your account needs a phone number and a user name."), "{page}");
    }
    assert!(!browser.get("/account/identifiers").await.text.contains("(Optional)"));
    let nothing = change(&mut browser, "phone", "").await;
    assert_eq!(nothing.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(nothing.text.contains("Your account needs a phone number."), "{}", nothing.text);

    assert_eq!(change(&mut browser, "phone", "+49 30 1234567").await.location(), "/account");
    assert!(browser.get("/account").await.text.contains("Your account needs a user name."));
    assert_eq!(change(&mut browser, "username", "ada").await.location(), "/account");
    assert!(!browser.get("/account").await.text.contains("Your account needs"));
    // It can be another one, and not none.
    for kind in ["phone", "username", "email"] {
        assert_eq!(change(&mut browser, kind, "").await.status, StatusCode::UNPROCESSABLE_ENTITY, "{kind}");
    }
    assert_eq!(change(&mut browser, "phone", "+49 30 7654321").await.location(), "/account");
    assert_eq!(world.codes().await, ["ss", "s", "scpn", "scu", "scpn"]);

    // Once policy no longer asks for it, it can go.
    let patch = json!({ "attributes": { "phone": { "profile_required": false } } });
    assert_eq!(world.admin("PATCH", "/api/v2/policy", Some(patch)).await.status, StatusCode::OK);
    assert_eq!(change(&mut browser, "phone", "").await.location(), "/account");
    assert!(!browser.get("/account").await.text.contains("Your account needs"));
}

/// With an optional e-mail address.
const OPTIONAL: &str = "[attributes.email]\nidentifier = true\nsignup = \"optional\"\n\
                        [attributes.username]\nidentifier = true\nsignup = \"required\"\n\
                        [attributes.phone]\nidentifier = true\nsignup = \"optional\"";

async fn sign_up_with_a_name(browser: &mut Browser, name: &str, email: &str) {
    browser.form("/signup", &[("username", name), ("email", email), ("phone", "+49 30 1234567")]).await;
    let password = [("password", "correct horse battery")];
    assert_eq!(browser.form("/signup/password", &password).await.location(), "/account");
}

/// Whoever has a stolen session must not get rid of the address first, so that nobody is told.
#[tokio::test]
async fn whose_address_is_removed_is_told_so() {
    let world = World::with_policy(OPTIONAL).await;
    let mut browser = world.browser();
    sign_up_with_a_name(&mut browser, "ada", OLD).await;
    assert_eq!(change(&mut browser, "email", "").await.location(), "/account");
    let outbox = world.outbox().await;
    assert!(outbox.contains(OLD) && outbox.contains("has no e-mail address any more"), "{outbox}");
    // Once: what is gone cannot be removed again.
    assert_eq!(change(&mut browser, "email", "").await.location(), "/account");
    assert_eq!(world.codes().await.iter().filter(|code| *code == "sce").count(), 1);
}

#[tokio::test]
async fn of_two_last_names_that_are_removed_at_once_one_stays() {
    let world = World::with_policy(OPTIONAL).await;
    let mut browser = world.browser();
    sign_up_with_a_name(&mut browser, "ada", OLD).await;
    let all = json!({ "attributes": {
        "username": { "signup": "optional", "profile_required": false }, "email": { "signup": "optional" },
        "phone": { "signup": "required", "profile_required": true },
    } });
    assert_eq!(world.admin("PATCH", "/api/v2/policy", Some(all)).await.status, StatusCode::OK);
    for round in 0..3 {
        let name = format!("ada{round}");
        change(&mut browser, "username", &name).await;
        if round == 0 {
            // Only these two are left: the number went while it was optional.
            let optional = json!({ "signup": "optional", "profile_required": false });
            let required = json!({ "signup": "required", "profile_required": true });
            let phone = json!({ "attributes": { "phone": optional, "username": required } });
            world.admin("PATCH", "/api/v2/policy", Some(phone)).await;
            assert_eq!(change(&mut browser, "phone", "").await.location(), "/account");
            let back = json!({ "attributes": { "phone": required, "username": optional } });
            world.admin("PATCH", "/api/v2/policy", Some(back)).await;
        }
        let mut other = browser.clone();
        let (one, two) = tokio::join!(change(&mut browser, "email", ""), change(&mut other, "username", ""));
        let refused =
            [&one, &two].into_iter().filter(|answer| answer.status != StatusCode::SEE_OTHER).count();
        assert_eq!(refused, 1, "{} {}", one.text, two.text);
        if two.status == StatusCode::SEE_OTHER {
            continue;
        }
        // The address was the one that went: another one, for the next round.
        change(&mut browser, "email", NEW).await;
        let code = world.latest_code().await;
        assert_eq!(browser.form(CODE, &[("code", &code)]).await.location(), "/account");
    }
}
