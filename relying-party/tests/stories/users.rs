//! Users as an operator sees them, and blocks them.

use axum::http::StatusCode;
use serde_json::json;

use crate::world::{Authenticator, ORIGIN, Twist, World, postgres};

#[tokio::test]
async fn a_user_whom_the_operator_blocks_is_out_until_that_is_lifted() {
    const PASSWORD: &str = "correct horse battery";
    let (world, mut phone) = (World::new().await, Authenticator::platform());
    let email = "ada@example.org";
    let mut browser = world.browser();
    browser.sign_up(email, &mut phone).await;
    browser.form("/account/security/password", &[("password", PASSWORD)]).await;
    let (_, event) = world.events().await.swap_remove(0);
    let path = format!("/api/v2/users/{}", event["user_id"].as_str().expect("an id"));
    let known = world.admin("GET", &path, None).await.json();
    assert_eq!((&known["email"], &known["blocked"]), (&json!(email), &json!(false)), "{known}");
    // Under way while it happens: an address that has been proved.
    let mut recovering = world.browser();
    recovering.form("/recover", &[("email", email)]).await;
    let code = world.latest_code().await;
    assert_eq!(recovering.form("/recover/code", &[("code", &code)]).await.location(), "/recover/new");

    let blocked = world.admin("PATCH", &path, Some(json!({ "blocked": true }))).await;
    assert_eq!((blocked.status, &blocked.json()["blocked"]), (StatusCode::OK, &json!(true)));
    let (code, event) = world.events().await.pop().expect("an event");
    let told = (code.as_str(), &event["user_name"], &event["details"]["patch"]);
    assert_eq!(told, ("sapi", &json!(email), &json!({ "blocked": true })));
    assert_eq!(browser.get("/account").await.location(), "/login");
    assert_eq!(recovering.get("/recover/new").await.location(), "/recover");
    let refused = world.browser().authenticate("/login/passkey", json!({}), &mut phone).await;
    assert_eq!((refused.status, refused.error().as_str()), (StatusCode::FORBIDDEN, "user-blocked"));
    let mut visitor = world.browser();
    visitor.form("/login", &[("identifier", email)]).await;
    let refused = visitor.form("/login/password", &[("password", PASSWORD)]).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text);
    assert!(refused.text.contains("This account is blocked."), "{}", refused.text);

    let lifted = world.admin("PATCH", &path, Some(json!({ "blocked": false }))).await;
    assert_eq!(lifted.json()["blocked"], false);
    assert_eq!(browser.get("/account").await.location(), "/login", "what has ended stays so");
    assert_eq!(recovering.get("/recover/new").await.location(), "/recover");
    let done = world.browser().authenticate("/login/passkey", json!({}), &mut phone).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text);

    for (path, patch, expected) in [
        ("/api/v2/users/usr_nobody", json!({ "blocked": true }), StatusCode::NOT_FOUND),
        (path.as_str(), json!({ "blocked": true, "email": "eve@example.org" }), StatusCode::BAD_REQUEST),
        (path.as_str(), json!({}), StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(world.admin("PATCH", path, Some(patch.clone())).await.status, expected, "{patch}");
    }
    assert_eq!(world.admin("GET", &path, None).await.json()["blocked"], false);
    assert_eq!(world.admin("GET", "/api/v2/users/usr_nobody", None).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_passkey_that_was_answered_while_its_user_was_blocked_opens_nothing_once_that_is_lifted() {
    // With a session that is kept already, and without.
    for is_kept in [false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        let database = postgres::shared_database(folder.path());
        let (world, mut phone) = (World::start(&database, "").await, Authenticator::platform());
        let mut browser = world.browser();
        browser.sign_up("ada@example.org", &mut phone).await;
        let (_, event) = world.events().await.swap_remove(0);
        let path = format!("/api/v2/users/{}", event["user_id"].as_str().expect("an id"));
        if !is_kept {
            browser = world.browser();
        }
        let options = browser.json("/login/passkey/options", &json!({})).await.json();
        let credential = phone.get(&options["publicKey"], ORIGIN, Twist::None);
        // The user is read, not blocked yet; then the block of another process comes first.
        let blocking = "UPDATE users SET blocked = 1, generation = generation + 1";
        let holder = postgres::hold(&database, blocking, 0.6);
        let refused = browser.json("/login/passkey", &credential).await;
        holder.join().expect("it has been let go");
        assert_eq!((refused.status, refused.error().as_str()), (StatusCode::FORBIDDEN, "user-blocked"));
        assert_eq!(
            world.admin("PATCH", &path, Some(json!({ "blocked": true }))).await.status,
            StatusCode::OK
        );
        assert_eq!(
            world.admin("PATCH", &path, Some(json!({ "blocked": false }))).await.status,
            StatusCode::OK
        );
        assert_eq!(browser.get("/account").await.location(), "/login");
        let done = world.browser().authenticate("/login/passkey", json!({}), &mut phone).await;
        assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    }
}

/// The path of a user at the API, by the events of the sign-up.
async fn path_of(world: &World, email: &str) -> String {
    let events = world.events().await;
    let named = events.iter().find(|(_, event)| event["user_name"] == email).expect("an event");
    format!("/api/v2/users/{}", named.1["user_id"].as_str().expect("an id"))
}

#[tokio::test]
async fn a_blocked_user_sets_no_password_by_a_link() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = postgres::shared_database(folder.path());
    let (world, email) = (World::start(&database, "").await, "ada@example.org");
    world.browser().sign_up_with_password(email, "correct horse battery").await;
    let path = path_of(&world, email).await;
    let mut browser = world.browser();
    browser.form("/reset-password", &[("email", email)]).await;
    let outbox = world.outbox().await;
    let token = outbox.split("/reset-password/new?token=").nth(1).and_then(|rest| rest.split('"').next());
    // A block makes links void. This one was made by a process that had read the user before it.
    postgres::run(&database, "UPDATE users SET blocked = 1");
    let form = [("token", token.expect("a link")), ("password", "another horse battery")];
    let refused = browser.form("/reset-password/new", &form).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text);
    assert!(refused.text.contains("This account is blocked."), "{}", refused.text);
    world.admin("PATCH", &path, Some(json!({ "blocked": false }))).await;
    assert_eq!(world.browser().log_in_with_password(email, "correct horse battery").await, "/enroll");
}

/// The block shows to nobody who has proved nothing: what is said is the same as of an address that is nobody's.
#[tokio::test]
async fn a_blocked_user_is_mailed_no_link_and_no_code_and_nobody_sees_the_difference() {
    let (world, ada, nobody) = (World::new().await, "ada@example.org", "eve@example.org");
    world.browser().sign_up_with_password(ada, "correct horse battery").await;
    let path = path_of(&world, ada).await;
    world.admin("PATCH", &path, Some(json!({ "blocked": true }))).await;
    let ask = async |email: &str| {
        let mut browser = world.browser();
        let reset = browser.form("/reset-password", &[("email", email)]).await;
        let mut told = format!("{} {}", reset.status, reset.text);
        assert_eq!(browser.form("/recover", &[("email", email)]).await.location(), "/recover/code");
        told += &browser.get("/recover/code").await.text;
        for _ in 0..6 {
            let wrong = browser.form("/recover/code", &[("code", "000000")]).await;
            told += &format!("{} {}", wrong.status, wrong.text);
        }
        told.replace(email, "…")
    };
    assert!(ask(ada).await == ask(nobody).await, "the pages differ");
    assert!(world.outbox().await.contains("No mail has been sent yet."));
    // The operator reads why.
    let events = world.events().await;
    for code in ["fcpr", "fv"] {
        let told = events.iter().find(|(known, _)| known == code).map(|(_, event)| event);
        let told = told.unwrap_or_else(|| panic!("{code} in {events:?}"));
        assert_eq!(told["user_name"], ada);
        assert_eq!(told["details"]["error"]["message"], "the user is blocked: no mail was sent");
    }
    // Once the block is lifted, mail leads somewhere again.
    world.admin("PATCH", &path, Some(json!({ "blocked": false }))).await;
    let mut browser = world.browser();
    browser.form("/recover", &[("email", ada)]).await;
    let code = world.latest_code().await;
    assert_eq!(browser.form("/recover/code", &[("code", &code)]).await.location(), "/recover/new");
}

/// The block of an address of the network that too many wrong passwords begin is another one.
#[tokio::test]
async fn a_blocked_user_is_mailed_no_link_that_lifts_another_block() {
    let world = World::with_policy("[limits]\nbrute_force_threshold = 2").await;
    for email in ["ada@example.org", "eve@example.org"] {
        world.browser().sign_up_with_password(email, "correct horse battery").await;
    }
    let path = path_of(&world, "ada@example.org").await;
    world.admin("PATCH", &path, Some(json!({ "blocked": true }))).await;
    for email in ["ada@example.org", "eve@example.org"] {
        let mut browser = world.browser();
        browser.form("/login", &[("identifier", email)]).await;
        for _ in 0..2 {
            browser.form("/login/password", &[("password", "a wrong one")]).await;
        }
    }
    assert_eq!(world.codes().await.iter().filter(|code| *code == "limit_wc").count(), 2);
    let outbox = world.outbox().await;
    assert!(outbox.contains("To eve@example.org") && !outbox.contains("To ada@example.org"), "{outbox}");
}

/// Whoever types a blocked user's address at sign-up has its owner told what leads somewhere, and no more.
#[tokio::test]
async fn a_blocked_user_is_not_sent_to_a_recovery_that_would_send_no_code() {
    let world = World::with_policy("[attributes.email]\nverify = true").await;
    let (email, mut browser) = ("ada@example.org", world.browser());
    browser.form("/signup", &[("email", email)]).await;
    let code = world.latest_code().await;
    browser.form("/signup/code", &[("code", &code)]).await;
    browser.form("/signup/password", &[("password", "correct horse battery")]).await;
    let path = path_of(&world, email).await;
    for (blocked, mails) in [(false, true), (true, false)] {
        world.admin("PATCH", &path, Some(json!({ "blocked": blocked }))).await;
        let answer = world.browser().form("/signup", &[("email", email)]).await;
        assert_eq!(answer.location(), "/signup/code");
        let outbox = world.outbox().await;
        let latest = outbox.split("<section>").nth(1).unwrap_or_default();
        assert!(latest.contains("You have an account at Doppelkey already"), "{outbox}");
        assert!(
            latest.contains("/login") && latest.contains("/recover") == mails,
            "blocked: {blocked}: {latest}"
        );
    }
}
