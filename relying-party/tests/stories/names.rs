//! Identifiers: which there are, and that nobody learns whose.

use axum::http::StatusCode;
use serde_json::json;

use crate::world::{Authenticator, World};

/// What a stranger is told about an address before anything has been proved: the options of the ceremony but for the
/// challenge, asked for in both ways, and the next page.
async fn what_is_told(world: &World, email: &str) -> Vec<String> {
    let mut browser = world.browser();
    let mut told = Vec::new();
    for wish in [json!({ "identifier": email }), json!({ "targeted": true })] {
        assert_eq!(browser.form("/login", &[("identifier", email)]).await.location(), "/login/password");
        let answer = browser.json("/login/passkey/options", &wish).await;
        let mut options = answer.json();
        let challenge = options["publicKey"]["challenge"].take();
        told.push(format!("{} {options} {}", answer.status, challenge.as_str().map_or(0, str::len)));
    }
    let page = browser.get("/login/password").await.text;
    assert!(page.contains(email) && page.contains("Use a passkey instead"), "{page}");
    told.push(page.replace(email, "…"));
    told
}

#[tokio::test]
async fn an_unknown_address_looks_like_a_known_one_at_login() {
    let world = World::new().await;
    world.browser().sign_up("ada@example.org", &mut Authenticator::platform()).await;
    world.browser().sign_up("usb@example.org", &mut Authenticator::security_key()).await;
    world.browser().sign_up_with_password("pwd@example.org", "correct horse battery").await;
    let nobody = what_is_told(&world, "eve@example.org").await;
    for email in ["ada@example.org", "usb@example.org", "pwd@example.org", "bob@example.org"] {
        assert_eq!(what_is_told(&world, email).await, nobody, "{email}");
    }
}

#[tokio::test]
async fn a_user_with_two_passkeys_looks_like_nobody() {
    let world = World::new().await;
    let (mut phone, mut key) = (Authenticator::platform(), Authenticator::security_key());
    let mut browser = world.browser();
    browser.sign_up("ada@example.org", &mut phone).await;
    browser.register("/account/passkeys", json!({}), &mut key).await;
    assert_eq!(what_is_told(&world, "ada@example.org").await, what_is_told(&world, "eve@example.org").await);
    // Nor does anything show who answers with a passkey of another account, made to find out.
    let mut own = Authenticator::platform();
    world.browser().sign_up("mallory@example.org", &mut own).await;
    let mut refusals = Vec::new();
    for email in ["ada@example.org", "eve@example.org"] {
        let named = json!({ "identifier": email });
        let answer = world.browser().authenticate("/login/passkey", named, &mut own).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{email}: {}", answer.text);
        refusals.push(answer.text);
    }
    assert_eq!(refusals[0], refusals[1]);
    // Both of the named user's own lead in.
    for own in [&mut phone, &mut key] {
        let named = json!({ "identifier": "ada@example.org" });
        let answer = world.browser().authenticate("/login/passkey", named, own).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    }
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_address_look_the_same() {
    let world = World::new().await;
    world.browser().sign_up_with_password("ada@example.org", "correct horse battery").await;
    let mut pages = Vec::new();
    for email in ["ada@example.org", "eve@example.org"] {
        let mut browser = world.browser();
        browser.form("/login", &[("identifier", email)]).await;
        let answer = browser.form("/login/password", &[("password", "wrong horse battery")]).await;
        pages.push((answer.status, answer.text.replace(email, "…")));
    }
    assert!(pages[0] == pages[1], "the pages differ");
    assert_eq!(&world.codes().await[2..], ["fp", "fu"]);
}

#[tokio::test]
async fn signing_up_with_somebodys_address_reveals_nothing_when_addresses_are_verified() {
    let world =
        World::with_policy("[attributes.email]\nidentifier = true\nsignup = \"required\"\nverify = true")
            .await;
    let mut phone = Authenticator::platform();
    let mut ada = world.browser();
    assert_eq!(ada.form("/signup", &[("email", "ada@example.org")]).await.location(), "/signup/code");
    // Nothing goes on without the code.
    assert_eq!(ada.get("/signup/passkey").await.location(), "/signup");
    assert_eq!(ada.json("/signup/passkey/options", &json!({})).await.status, StatusCode::BAD_REQUEST);
    let code = world.latest_code().await;
    assert_eq!(ada.form("/signup/code", &[("code", &code)]).await.location(), "/signup/passkey");
    ada.register("/signup/passkey", json!({}), &mut phone).await;

    let mut pages = Vec::new();
    for email in ["ada@example.org", "eve@example.org"] {
        let mut browser = world.browser();
        assert_eq!(browser.form("/signup", &[("email", email)]).await.location(), "/signup/code");
        let mut page = browser.get("/signup/code").await.text;
        for _ in 0..5 {
            let wrong = browser.form("/signup/code", &[("code", "000000")]).await;
            page += &wrong.text;
        }
        pages.push(page.replace(&format!("{}•••", &email[..1]), "…"));
    }
    assert!(pages[0] == pages[1], "the pages differ");
    assert!(world.outbox().await.contains("You have an account at Doppelkey already"));
}

#[tokio::test]
async fn a_code_is_void_after_five_tries_and_after_its_time() {
    let world =
        World::with_policy("[attributes.email]\nidentifier = true\nsignup = \"required\"\nverify = true")
            .await;
    let mut browser = world.browser();
    browser.form("/signup", &[("email", "ada@example.org")]).await;
    let code = world.latest_code().await;
    let wrong = if code == "000000" { "000001" } else { "000000" };
    for _ in 0..5 {
        assert_eq!(
            browser.form("/signup/code", &[("code", wrong)]).await.status,
            StatusCode::UNPROCESSABLE_ENTITY
        );
    }
    assert_eq!(
        browser.form("/signup/code", &[("code", &code)]).await.status,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    // A new one works, but not for ever.
    browser.form("/signup/code/resend", &[]).await;
    let code = world.latest_code().await;
    world.pass_minutes(16);
    assert_eq!(
        browser.form("/signup/code", &[("code", &code)]).await.status,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    browser.form("/signup/code/resend", &[]).await;
    let code = world.latest_code().await;
    assert_eq!(browser.form("/signup/code", &[("code", &code)]).await.location(), "/signup/passkey");
}

#[tokio::test]
async fn a_taken_address_is_told_when_addresses_are_not_verified() {
    let world = World::new().await;
    let mut phone = Authenticator::platform();
    world.browser().sign_up("ada@example.org", &mut phone).await;
    let page = world.browser().form("/signup", &[("email", "ADA@example.org")]).await;
    assert_eq!(page.status, StatusCode::CONFLICT);
    assert!(page.text.contains("exists already. Log in, or use another one."), "{}", page.text);
}

#[tokio::test]
async fn a_user_logs_in_by_any_identifier_that_policy_allows() {
    let policy = "[attributes.email]\nidentifier = true\nsignup = \"optional\"\n[attributes.username]\nidentifier = true\n\
                  signup = \"required\"\n[attributes.phone]\nidentifier = true\nsignup = \"optional\"";
    let world = World::with_policy(policy).await;
    let mut browser = world.browser();
    let fields = [("username", "Ada"), ("email", ""), ("phone", "+49 30 1234567")];
    assert_eq!(browser.form("/signup", &fields).await.location(), "/signup/passkey");
    browser.form("/signup/password", &[("password", "correct horse battery")]).await;
    for name in ["ada", "ADA ", "+49301234567"] {
        let mut browser = world.browser();
        assert_eq!(browser.log_in_with_password(name, "correct horse battery").await, "/enroll", "{name}");
    }
    let missing = world.browser().form("/signup", &[("email", "x@example.org")]).await;
    assert!(missing.text.contains("Enter a user name."), "{}", missing.text);
}

const ALL_PROVED: &str = "[attributes.email]\nidentifier = true\nsignup = \"required\"\nverify = true\n\
     [attributes.phone]\nidentifier = true\nsignup = \"optional\"\nverify = true\n\
     [attributes.username]\nidentifier = true\nsignup = \"optional\"";

#[tokio::test]
async fn whatever_policy_has_proved_is_proved_before_there_is_an_account() {
    let world = World::with_policy(ALL_PROVED).await;
    let mut browser = world.browser();
    let fields = [("email", "ada@example.org"), ("phone", "+49 30 1234567"), ("username", "ada")];
    assert_eq!(browser.form("/signup", &fields).await.location(), "/signup/code");
    assert!(browser.get("/signup/code").await.text.contains("a•••@example.org"));
    let code = world.latest_code().await;
    assert_eq!(browser.form("/signup/code", &[("code", &code)]).await.location(), "/signup/code");
    // The address alone is not enough.
    assert_eq!(browser.get("/signup/passkey").await.location(), "/signup");
    let page = browser.get("/signup/code").await.text;
    assert!(page.contains("Verify your phone number") && page.contains("+49•••67"), "{page}");
    world.pass_minutes(1);
    browser.form("/signup/code/resend", &[]).await;
    let code = world.latest_code().await;
    assert_eq!(browser.form("/signup/code", &[("code", &code)]).await.location(), "/signup/passkey");
    browser.register("/signup/passkey", json!({}), &mut Authenticator::platform()).await;
    let page = browser.get("/account/security").await.text;
    assert_eq!(page.matches("Verified").count(), 2, "{page}");
    assert_eq!(world.codes().await, ["svr", "sv", "svr", "svr", "sv", "ss", "s"]);

    // Who owns the number is told; who typed it sees what everybody sees, and gets no further.
    let mut eve = world.browser();
    eve.form("/signup", &[("email", "eve@example.org"), ("phone", "+49301234567")]).await;
    let code = world.latest_code().await;
    assert_eq!(eve.form("/signup/code", &[("code", &code)]).await.location(), "/signup/code");
    assert!(world.outbox().await.contains("You have an account at Doppelkey already"));
    assert!(eve.get("/signup/code").await.text.contains("We have sent a code to"));
    assert_eq!(eve.get("/signup/password").await.location(), "/signup");
}

#[tokio::test]
async fn a_taken_user_name_is_told_at_once_since_no_mailbox_can_tell_it() {
    let world = World::with_policy(ALL_PROVED).await;
    let mut browser = world.browser();
    browser.form("/signup", &[("email", "ada@example.org"), ("username", "ada")]).await;
    let code = world.latest_code().await;
    browser.form("/signup/code", &[("code", &code)]).await;
    browser.register("/signup/passkey", json!({}), &mut Authenticator::platform()).await;
    let fields = [("email", "eve@example.org"), ("username", "Ada")];
    let refused = world.browser().form("/signup", &fields).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert!(refused.text.contains("An account with this user name exists already"), "{}", refused.text);
    let (code, event) = world.events().await.pop().expect("an event");
    assert_eq!((code.as_str(), &event["details"]["key"]), ("fs", &json!("username-taken")));
}
