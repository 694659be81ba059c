//! What was proved before the account changed hands, or only its locks, and was not gone on with until afterwards.

use axum::http::StatusCode;
use serde_json::json;

use crate::second_factor::{App, shown_secret};
use crate::world::{Authenticator, Browser, ORIGIN, Twist, World};

const EMAIL: &str = "ada@example.org";
const PASSWORD: &str = "correct horse battery";
const OTHER_PASSWORD: &str = "another horse battery";

/// Asks for a code, and types it; gives the next screen.
async fn prove(world: &World, browser: &mut Browser) -> String {
    assert_eq!(browser.form("/recover", &[("email", EMAIL)]).await.location(), "/recover/code");
    let code = world.latest_code().await;
    browser.form("/recover/code", &[("code", &code)]).await.location().to_string()
}

/// The token of the latest link that sets a new password.
async fn new_link(world: &World) -> String {
    world.browser().form("/reset-password", &[("email", EMAIL)]).await;
    let outbox = world.outbox().await;
    let rest = outbox.split("/reset-password/new?token=").nth(1).expect("a mail with a link");
    rest.split('"').next().expect("the end of the link").to_string()
}

/// Whoever has proved the address cannot go on.
async fn is_void(thief: &mut Browser) {
    assert_eq!(thief.get("/recover/new").await.location(), "/recover");
    let options = thief.json("/recover/passkey/options", &json!({})).await;
    assert_eq!(
        (options.status, options.error().as_str()),
        (StatusCode::BAD_REQUEST, "transaction-not-found")
    );
    let password = thief.form("/recover/password", &[("password", OTHER_PASSWORD)]).await;
    assert_eq!(password.status, StatusCode::BAD_REQUEST);
    assert_eq!(thief.get("/account").await.location(), "/login");
}

#[tokio::test]
async fn a_recovery_that_was_proved_before_another_one_is_void() {
    for with_password in [false, true] {
        let world = World::new().await;
        world.browser().sign_up(EMAIL, &mut Authenticator::platform()).await;
        // Whoever reads the mailbox once goes as far as anybody can without being noticed, in one browser with the
        // options of the ceremony in hand, and keeps a code for another.
        let (mut thief, mut later) = (world.browser(), world.browser());
        assert_eq!(prove(&world, &mut thief).await, "/recover/new");
        let options = thief.json("/recover/passkey/options", &json!({})).await.json();
        later.form("/recover", &[("email", EMAIL)]).await;
        let stolen = world.latest_code().await;
        world.pass_minutes(1);

        let mut owner = world.browser();
        assert_eq!(prove(&world, &mut owner).await, "/recover/new");
        if with_password {
            owner.form("/recover/password", &[("password", PASSWORD)]).await;
        } else {
            owner.register("/recover/passkey", json!({}), &mut Authenticator::platform()).await;
        }
        assert_eq!(owner.get("/account").await.status, StatusCode::OK);

        let mut planted = Authenticator::platform();
        let credential = planted.create(&options["publicKey"], ORIGIN, Twist::None);
        assert_eq!(thief.json("/recover/passkey", &credential).await.status, StatusCode::BAD_REQUEST);
        is_void(&mut thief).await;
        let refused = later.form("/recover/code", &[("code", &stolen)]).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "codes of before are void, too");
        assert_eq!(owner.get("/account").await.status, StatusCode::OK, "nobody has thrown the owner out");
    }
}

#[tokio::test]
async fn of_two_recoveries_that_end_at_once_one_does() {
    let world = World::new().await;
    world.browser().sign_up(EMAIL, &mut Authenticator::platform()).await;
    let mut browsers = [world.browser(), world.browser()];
    let mut answers = Vec::new();
    for browser in &mut browsers {
        prove(&world, browser).await;
        let options = browser.json("/recover/passkey/options", &json!({})).await.json();
        answers.push(Authenticator::platform().create(&options["publicKey"], ORIGIN, Twist::None));
    }
    let [first, second] = &mut browsers;
    let (one, other) = tokio::join!(
        first.json("/recover/passkey", &answers[0]),
        second.json("/recover/passkey", &answers[1])
    );
    let succeeded = [&one, &other].into_iter().filter(|answer| answer.status == StatusCode::OK).count();
    assert_eq!(succeeded, 1, "{} {}", one.text, other.text);
}

#[tokio::test]
async fn a_recovery_that_was_proved_before_the_address_or_the_password_changed_is_void() {
    for change in ["address", "password", "reset"] {
        let world = World::new().await;
        let mut owner = world.browser();
        owner.sign_up_with_password(EMAIL, PASSWORD).await;
        let mut thief = world.browser();
        assert_eq!(prove(&world, &mut thief).await, "/recover/new");
        world.pass_minutes(1);
        match change {
            "address" => {
                owner.form("/account/identifiers/email", &[("value", "countess@example.org")]).await;
                let code = world.latest_code().await;
                let done = owner.form("/account/identifiers/code", &[("code", &code)]).await;
                assert_eq!(done.location(), "/account");
            }
            "password" => {
                let done = owner.form("/account/security/password", &[("password", OTHER_PASSWORD)]).await;
                assert_eq!(done.location(), "/account/security");
            }
            _ => {
                let token = new_link(&world).await;
                let form = [("token", token.as_str()), ("password", OTHER_PASSWORD)];
                assert_eq!(owner.form("/reset-password/new", &form).await.location(), "/login");
            }
        }
        is_void(&mut thief).await;
    }
}

#[tokio::test]
async fn a_proof_that_nobody_goes_on_with_is_void_after_half_an_hour() {
    let world = World::new().await;
    world.browser().sign_up_with_password(EMAIL, PASSWORD).await;
    let mut recovering = world.browser();
    prove(&world, &mut recovering).await;
    world.admin("PATCH", "/api/v2/policy", Some(json!({ "mfa": { "policy": "always" } }))).await;
    let mut waiting = world.browser();
    assert_eq!(waiting.log_in_with_password(EMAIL, PASSWORD).await, "/mfa/setup");
    world.admin("PATCH", "/api/v2/policy", Some(json!({ "mfa": { "policy": "never" } }))).await;
    world.pass_minutes(29);
    assert_eq!(recovering.get("/recover/new").await.status, StatusCode::OK);
    assert_eq!(waiting.get("/mfa/setup").await.status, StatusCode::OK);
    world.pass_minutes(1);
    is_void(&mut recovering).await;
    assert_eq!(waiting.get("/mfa/setup").await.location(), "/login");
}

#[tokio::test]
async fn a_login_that_waits_for_its_second_factor_is_void_once_the_password_is_another() {
    let world = World::with_policy("[mfa]\npolicy = \"always\"\nafter_passkey = \"skip\"").await;
    for way in ["reset", "account"] {
        let email = format!("{way}@example.org");
        let mut phone = Authenticator::platform();
        let mut owner = world.browser();
        owner.sign_up(&email, &mut phone).await;
        owner.form("/account/security/password", &[("password", PASSWORD)]).await;
        // The account has no second factor yet, and whoever knows the password is about to set one up.
        let mut thief = world.browser();
        assert_eq!(thief.log_in_with_password(&email, PASSWORD).await, "/mfa/setup");
        let mut app = App::default();
        app.scan(&thief.get("/mfa/setup").await.text);
        world.pass_minutes(1);
        if way == "account" {
            owner.form("/account/security/password", &[("password", OTHER_PASSWORD)]).await;
        } else {
            owner.form("/reset-password", &[("email", &email)]).await;
            let outbox = world.outbox().await;
            let token =
                outbox.split("/reset-password/new?token=").nth(1).and_then(|rest| rest.split('"').next());
            let form = [("token", token.expect("a link")), ("password", OTHER_PASSWORD)];
            assert_eq!(owner.form("/reset-password/new", &form).await.location(), "/login");
        }
        assert_eq!(thief.get("/mfa/setup").await.location(), "/login");
        let refused = thief.form("/mfa/setup", &[("code", &app.code(&world))]).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST);
        assert_eq!(
            thief.form("/mfa/setup/done", &[("recorded", "on")]).await.status,
            StatusCode::BAD_REQUEST
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_login_that_is_under_way_while_the_password_is_removed_is_void() {
    let world = World::new().await;
    let mut owner = world.browser();
    owner.sign_up(EMAIL, &mut Authenticator::platform()).await;
    owner.form("/account/security/password", &[("password", PASSWORD)]).await;
    // More passwords than are compared at a time: most of them wait for that while the password goes away.
    let mut logins = Vec::new();
    for _ in 0..12 {
        let mut browser = world.browser();
        browser.form("/login", &[("identifier", EMAIL)]).await;
        logins.push(tokio::spawn(async move {
            browser.form("/login/password", &[("password", PASSWORD)]).await;
            browser
        }));
    }
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    assert_eq!(owner.form("/account/security/password/remove", &[]).await.location(), "/account/security");
    assert_eq!(owner.form("/account/sessions/end-others", &[]).await.location(), "/account/security");
    for login in logins {
        let mut browser = login.await.expect("it ends");
        assert_eq!(browser.get("/account").await.location(), "/login");
    }
    assert_eq!(owner.get("/account").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_new_password_makes_every_link_void_that_was_mailed_for_one() {
    for change in ["reset", "password", "recovery"] {
        let world = World::new().await;
        let mut owner = world.browser();
        owner.sign_up_with_password(EMAIL, PASSWORD).await;
        let stolen = new_link(&world).await;
        world.pass_minutes(1);
        let used = new_link(&world).await;
        match change {
            "reset" => {
                let form = [("token", used.as_str()), ("password", OTHER_PASSWORD)];
                assert_eq!(owner.form("/reset-password/new", &form).await.location(), "/login");
            }
            "password" => {
                let done = owner.form("/account/security/password", &[("password", OTHER_PASSWORD)]).await;
                assert_eq!(done.location(), "/account/security");
            }
            _ => {
                prove(&world, &mut owner).await;
                owner.form("/recover/password", &[("password", OTHER_PASSWORD)]).await;
            }
        }
        let path = format!("/reset-password/new?token={stolen}");
        assert_eq!(world.browser().get(&path).await.status, StatusCode::BAD_REQUEST, "{change}");
        let form = [("token", stolen.as_str()), ("password", "the horse of a thief")];
        assert_eq!(world.browser().form("/reset-password/new", &form).await.status, StatusCode::BAD_REQUEST);
    }
}

#[tokio::test]
async fn a_new_password_forgets_the_devices_that_were_remembered() {
    let world = World::new().await;
    let mut owner = world.browser();
    owner.sign_up_with_password(EMAIL, PASSWORD).await;
    let mut app = App::default();
    app.set_up_in_account(&world, &mut owner).await;
    world.admin("PATCH", "/api/v2/policy", Some(json!({ "mfa": { "policy": "always" } }))).await;
    world.pass_minutes(1);
    let mut known = world.browser();
    known.log_in_with_password(EMAIL, PASSWORD).await;
    known.form("/mfa/otp", &[("code", &app.code(&world)), ("remember", "on")]).await;
    known.form("/logout", &[]).await;
    assert_eq!(known.log_in_with_password(EMAIL, PASSWORD).await, "/enroll", "remembered");
    owner.form("/account/security/password", &[("password", OTHER_PASSWORD)]).await;
    assert_eq!(known.log_in_with_password(EMAIL, OTHER_PASSWORD).await, "/mfa/otp");
}

#[tokio::test]
async fn who_logs_out_everywhere_else_ends_logins_that_wait_as_well() {
    let world = World::new().await;
    let mut owner = world.browser();
    owner.sign_up_with_password(EMAIL, PASSWORD).await;
    let mut app = App::default();
    app.set_up_in_account(&world, &mut owner).await;
    world.admin("PATCH", "/api/v2/policy", Some(json!({ "mfa": { "policy": "always" } }))).await;
    for path in ["/account/sessions/end-others", "/account/security/otp/remove"] {
        let mut other = world.browser();
        assert_eq!(other.log_in_with_password(EMAIL, PASSWORD).await, "/mfa/otp");
        assert_eq!(other.get("/mfa/otp").await.status, StatusCode::OK);
        assert_eq!(owner.form(path, &[]).await.location(), "/account/security");
        assert_eq!(other.get("/mfa/otp").await.location(), "/login");
        assert_eq!(other.form("/mfa/otp", &[("code", "000000")]).await.status, StatusCode::BAD_REQUEST);
    }
}

#[tokio::test]
async fn a_login_that_has_passed_a_recovery_code_is_void_once_its_owner_makes_another() {
    let world = World::new().await;
    let mut owner = world.browser();
    owner.sign_up_with_password(EMAIL, PASSWORD).await;
    let stolen = App::default().set_up_in_account(&world, &mut owner).await;
    world.admin("PATCH", "/api/v2/policy", Some(json!({ "mfa": { "policy": "always" } }))).await;
    let mut thief = world.browser();
    assert_eq!(thief.log_in_with_password(EMAIL, PASSWORD).await, "/mfa/otp");
    let passed = thief.form("/mfa/recovery-code", &[("code", &stolen)]).await;
    assert_eq!(passed.status, StatusCode::OK, "the next code is shown, and has yet to be recorded");

    let page = owner.form("/account/security/recovery-code", &[]).await;
    let renewed = shown_secret(&page.text);
    assert_eq!(thief.get("/mfa/otp").await.location(), "/login");
    for form in [&[][..], &[("recorded", "on")]] {
        assert_eq!(thief.form("/mfa/setup/done", form).await.status, StatusCode::BAD_REQUEST);
    }
    assert_eq!(owner.get("/account").await.status, StatusCode::OK);
    let mut again = world.browser();
    again.log_in_with_password(EMAIL, PASSWORD).await;
    let taken = again.form("/mfa/recovery-code", &[("code", &renewed)]).await;
    assert_eq!(taken.status, StatusCode::OK, "it still is the owner's");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_links_that_are_used_at_once_let_one_set_a_password_and_tell_the_other() {
    let world = World::with_policy("[limits]\ncodes_per_hour = 100").await;
    let mut owner = world.browser();
    owner.sign_up_with_password(EMAIL, PASSWORD).await;
    for round in 0..6 {
        let mut uses = Vec::new();
        for link in 0..3 {
            let token = new_link(&world).await;
            world.pass_seconds(1);
            let (mut browser, password) = (world.browser(), format!("{OTHER_PASSWORD} {round} {link}"));
            uses.push(async move {
                let form = [("token", token.as_str()), ("password", password.as_str())];
                browser.form("/reset-password/new", &form).await.status
            });
        }
        let uses: Vec<_> = uses.into_iter().map(tokio::spawn).collect();
        let mut statuses = Vec::new();
        for each in uses {
            statuses.push(each.await.expect("it ends"));
        }
        statuses.sort();
        let expected = [StatusCode::SEE_OTHER, StatusCode::BAD_REQUEST, StatusCode::BAD_REQUEST];
        assert_eq!(statuses, expected);
    }
}

#[tokio::test]
async fn a_password_that_is_set_after_the_clock_went_back_is_the_one_in_force() {
    let world = World::new().await;
    let mut phone = Authenticator::platform();
    let mut owner = world.browser();
    owner.sign_up(EMAIL, &mut phone).await;
    world.pass_days(1);
    let mut ahead = world.browser();
    ahead.authenticate("/login/passkey", json!({}), &mut phone).await;
    let done = ahead.form("/account/security/password", &[("password", PASSWORD)]).await;
    assert_eq!(done.location(), "/account/security");
    world.pass_days(-1);

    let token = new_link(&world).await;
    let form = [("token", token.as_str()), ("password", OTHER_PASSWORD)];
    assert_eq!(world.browser().form("/reset-password/new", &form).await.location(), "/login");
    let log_in = async |password: &str| {
        let mut browser = world.browser();
        browser.form("/login", &[("identifier", EMAIL)]).await;
        let done = browser.form("/login/password", &[("password", password)]).await;
        (done.status == StatusCode::SEE_OTHER, browser)
    };
    assert!(!log_in(PASSWORD).await.0, "the stolen one");
    let (is_in, mut browser) = log_in(OTHER_PASSWORD).await;
    assert!(is_in);
    assert_eq!(browser.form("/account/security/password/remove", &[]).await.location(), "/account/security");
    assert!(!log_in(OTHER_PASSWORD).await.0 && !log_in(PASSWORD).await.0, "it was removed");
}

#[tokio::test]
async fn what_policy_has_turned_off_leads_nobody_in_however_far_they_are() {
    let world = World::new().await;
    let mut phone = Authenticator::platform();
    let mut owner = world.browser();
    owner.sign_up(EMAIL, &mut phone).await;
    owner.form("/account/security/password", &[("password", PASSWORD)]).await;
    let mut recovering = world.browser();
    assert_eq!(prove(&world, &mut recovering).await, "/recover/new");
    let policy = async |patch| {
        let done = world.admin("PATCH", "/api/v2/policy", Some(patch)).await;
        assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    };
    policy(json!({ "mfa": { "policy": "always" } })).await;
    let mut waiting = world.browser();
    assert_eq!(waiting.log_in_with_password(EMAIL, PASSWORD).await, "/mfa/setup");
    let mut app = App::default();
    app.scan(&waiting.get("/mfa/setup").await.text);
    let mut asked = world.browser();
    let options = asked.json("/login/passkey/options", &json!({})).await.json();
    let answer = phone.get(&options["publicKey"], ORIGIN, Twist::None);
    let mut adding = Authenticator::platform();
    let options = owner.json("/account/passkeys/options", &json!({})).await.json();
    let added = adding.create(&options["publicKey"], ORIGIN, Twist::None);

    policy(json!({ "code": { "enabled": false } })).await;
    let refused = recovering.json("/recover/passkey/options", &json!({})).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND, "{}", refused.text);
    let refused = recovering.form("/recover/password", &[("password", OTHER_PASSWORD)]).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND);
    policy(json!({ "code": { "enabled": true }, "password": { "enabled": false } })).await;
    let refused = waiting.form("/mfa/setup", &[("code", &app.code(&world))]).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND);
    policy(json!({ "password": { "enabled": true }, "passkey": { "enabled": false } })).await;
    assert_eq!(asked.json("/login/passkey", &answer).await.status, StatusCode::NOT_FOUND);
    assert_eq!(owner.json("/account/passkeys", &added).await.status, StatusCode::NOT_FOUND);
    for browser in [&mut recovering, &mut waiting, &mut asked] {
        assert_eq!(browser.get("/account").await.location(), "/login");
    }
}

const VERIFIED: &str = "{\"attributes\":{\"email\":{\"verify\":true}}}";

async fn verify_addresses(world: &World) {
    let patch = serde_json::from_str(VERIFIED).expect("JSON");
    assert_eq!(world.admin("PATCH", "/api/v2/policy", Some(patch)).await.status, StatusCode::OK);
}

/// Whoever has begun before policy asked for more.
#[tokio::test]
async fn an_address_that_policy_wants_proved_by_now_is_proved_before_there_is_an_account() {
    let world = World::new().await;
    let mut with_password = world.browser();
    with_password.form("/signup", &[("email", EMAIL)]).await;
    let mut with_passkey = with_password.clone();
    let options = with_passkey.json("/signup/passkey/options", &json!({})).await.json();
    let passkey = Authenticator::platform().create(&options["publicKey"], ORIGIN, Twist::None);
    let mut native = world.browser();
    let json = [("content-type", "application/json")];
    let ask = json!({ "client_id": "doppelkey", "user_profile": { "email": EMAIL } }).to_string();
    let begun = native.send("POST", "/passkey/register", &json, Some(ask)).await.json();
    let native_passkey =
        Authenticator::platform().create(&begun["authn_params_public_key"], ORIGIN, Twist::None);

    verify_addresses(&world).await;
    assert_eq!(with_password.get("/signup/password").await.location(), "/signup");
    assert_eq!(with_password.get("/signup/passkey").await.location(), "/signup");
    let refused = with_password.form("/signup/password", &[("password", PASSWORD)]).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.text);
    let refused = with_passkey.json("/signup/passkey", &passkey).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.text);
    let exchange = json!({
        "grant_type": "urn:okta:params:oauth:grant-type:webauthn", "client_id": "doppelkey",
        "auth_session": begun["auth_session"], "authn_response": native_passkey,
    });
    let refused = native.send("POST", "/oauth/token", &json, Some(exchange.to_string())).await;
    assert!(refused.status.is_client_error(), "{}", refused.text);
    assert!(!world.codes().await.contains(&"ss".to_string()), "there is no account");
    // Whoever has the mailbox goes on.
    assert_eq!(with_password.form("/signup", &[("email", EMAIL)]).await.location(), "/signup/code");
    let code = world.latest_code().await;
    assert_eq!(with_password.form("/signup/code", &[("code", &code)]).await.location(), "/signup/passkey");
    let done = with_password.form("/signup/password", &[("password", PASSWORD)]).await;
    assert_eq!(done.location(), "/account");
}

#[tokio::test]
async fn a_recovery_that_was_proved_before_policy_asked_for_a_second_factor_asks_for_it() {
    let world = World::new().await;
    let mut owner = world.browser();
    owner.sign_up(EMAIL, &mut Authenticator::platform()).await;
    let mut app = App::default();
    app.set_up_in_account(&world, &mut owner).await;
    world.pass_minutes(1);
    let mut thief = world.browser();
    assert_eq!(prove(&world, &mut thief).await, "/recover/new");
    let always = json!({ "mfa": { "policy": "always" } });
    assert_eq!(world.admin("PATCH", "/api/v2/policy", Some(always)).await.status, StatusCode::OK);
    is_void(&mut thief).await;
    // Whoever has both goes on.
    let mut owner = world.browser();
    assert_eq!(prove(&world, &mut owner).await, "/mfa/otp");
    let next = owner.form("/mfa/otp", &[("code", &app.code(&world))]).await;
    assert_eq!(next.location(), "/recover/new");
    assert_eq!(
        owner.form("/recover/password", &[("password", OTHER_PASSWORD)]).await.location(),
        "/account/lost"
    );
}
