//! Users as an operator sees them, and blocks them.

use axum::http::StatusCode;
use serde_json::json;

use crate::world::{ADMIN, Authenticator, Browser, FORM, ORIGIN, Twist, World, postgres};

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

/// A browser that is signed in to `/admin`.
async fn operator(world: &World) -> Browser {
    let mut browser = world.browser();
    assert_eq!(browser.form("/admin/token", &[("token", ADMIN)]).await.location(), "/admin");
    browser
}

/// The path of a user's page in `/admin`.
async fn page_of(world: &World, email: &str) -> String {
    path_of(world, email).await.replace("/api/v2/", "/admin/")
}

#[tokio::test]
async fn an_operator_finds_a_user_by_whatever_they_are_called() {
    let world = World::with_policy(
        "[attributes.phone]\nidentifier = true\nsignup = \"optional\"\n\
         [attributes.username]\nidentifier = true\nsignup = \"optional\"",
    )
    .await;
    let (mut browser, mut phone) = (world.browser(), Authenticator::platform());
    let wish = json!({ "email": "ada@example.org", "phone": "+49 30 1234567", "username": "Ada_L" });
    assert_eq!(browser.register("/signup/passkey", wish, &mut phone).await.status, StatusCode::OK);
    world.browser().sign_up_with_password("eve@example.org", "correct horse battery").await;
    let page = page_of(&world, "ada@example.org").await;
    let id = page.trim_start_matches("/admin/users/").to_string();
    // Also what nobody may log in with any more.
    let off = json!({ "attributes": { "username": { "identifier": false, "signup": "off" } } });
    assert_eq!(world.admin("PATCH", "/api/v2/policy", Some(off)).await.status, StatusCode::OK);
    let mut operator = operator(&world).await;
    assert!(operator.get("/admin").await.text.contains("href=\"/admin/users\""), "it can be found");
    for typed in [" Ada@Example.org ", "+49 (30) 123-4567", "ada_l", &id] {
        let found = operator.form("/admin/users", &[("user", typed)]).await;
        assert_eq!(found.location(), page, "{typed}");
    }
    for typed in ["bob@example.org", "usr_nobody", "+49301234568", "", "%", "ada"] {
        let none = operator.form("/admin/users", &[("user", typed)]).await;
        assert_eq!(none.status, StatusCode::UNPROCESSABLE_ENTITY, "{typed}");
        assert!(none.text.contains("No user is called that.") && none.text.contains(typed), "{}", none.text);
    }
    let shown = operator.get(&page).await.text;
    for fact in
        ["ada@example.org", "+49301234567", "ada_l", &id, "not verified", "15 Jun 2025", "Not blocked"]
    {
        assert!(shown.contains(fact), "{fact}: {shown}");
    }
    assert!(shown.contains("<dt>Passkeys</dt><dd>1</dd>"), "{shown}");
    assert!(shown.contains("<dt>Password</dt><dd>none</dd>"), "{shown}");
    let events = operator.get(&format!("/admin?q=user_id:{id}")).await.text;
    assert!(shown.contains(&format!("href=\"/admin?q=user_id:{id}#events\"")), "{shown}");
    assert!(
        events.contains(&format!("href=\"{page}\"")) && events.contains("Successful sign-up"),
        "{events}"
    );
    assert_eq!(operator.get("/admin/users/usr_nobody").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_operators_button_blocks_a_user_and_another_lets_them_in_again() {
    let (world, email, password) = (World::new().await, "ada@example.org", "correct horse battery");
    let mut browser = world.browser();
    browser.sign_up_with_password(email, password).await;
    let (page, mut operator) = (page_of(&world, email).await, operator(&world).await);
    let before = operator.get(&page).await.text;
    assert!(before.contains("Block this user") && !before.contains("Lift the block"), "{before}");

    assert_eq!(operator.form(&page, &[("blocked", "true")]).await.location(), page);
    assert_eq!(browser.get("/account").await.location(), "/login", "the session has ended");
    let (code, event) = world.events().await.pop().expect("an event");
    let told = (code.as_str(), &event["user_name"], &event["details"]["patch"]);
    assert_eq!(told, ("sapi", &json!(email), &json!({ "blocked": true })), "as at the API");
    let after = operator.get(&page).await.text;
    assert!(after.contains("is blocked, and logged out everywhere"), "{after}");
    assert!(after.contains("Lift the block") && !after.contains("Block this user"), "{after}");
    browser.form("/login", &[("identifier", email)]).await;
    let refused = browser.form("/login/password", &[("password", password)]).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text);
    // A page that was opened before says what is to be, and does not turn it round.
    operator.form(&page, &[("blocked", "true")]).await;
    assert_eq!(world.admin("GET", &path_of(&world, email).await, None).await.json()["blocked"], true);

    assert_eq!(operator.form(&page, &[("blocked", "false")]).await.location(), page);
    assert!(operator.get(&page).await.text.contains("is not blocked any more"));
    assert_eq!(world.browser().log_in_with_password(email, password).await, "/enroll");
    let gone = operator.form("/admin/users/usr_nobody", &[("blocked", "true")]).await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn users_are_shown_to_operators_only_and_blocked_by_them_only() {
    let (world, email) = (World::new().await, "ada@example.org");
    let mut user = world.browser();
    user.sign_up_with_password(email, "correct horse battery").await;
    let page = page_of(&world, email).await;
    for browser in [&mut world.browser(), &mut user] {
        for path in ["/admin/users", &page] {
            let answer = browser.get(path).await;
            assert!(answer.text.contains("Operators only") && !answer.text.contains(email), "{path}");
        }
        for (path, field) in [("/admin/users", ("user", email)), (&page, ("blocked", "true"))] {
            assert_eq!(browser.form(path, &[field]).await.status, StatusCode::UNAUTHORIZED, "{path}");
        }
    }
    // Nor does a page elsewhere do so in the operator's browser.
    let mut operator = operator(&world).await;
    let body = || Some("blocked=true".to_string());
    for header in [("origin", "https://elsewhere.example"), ("sec-fetch-site", "cross-site")] {
        let headers = [FORM[0], header];
        assert_eq!(operator.send("POST", &page, &headers, body()).await.status, StatusCode::FORBIDDEN);
    }
    assert_eq!(user.get("/account").await.status, StatusCode::OK, "nobody has been blocked");
    // An operator whose browser is logged in as that user is out, too.
    user.form("/admin/token", &[("token", ADMIN)]).await;
    assert_eq!(user.form(&page, &[("blocked", "true")]).await.location(), page);
    assert!(user.get(&page).await.text.contains("Operators only"));
    assert!(operator.get(&page).await.text.contains("Lift the block"));
}
