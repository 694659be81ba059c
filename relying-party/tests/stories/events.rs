//! Which events each flow writes: these, in this order, and no others.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::second_factor::App;
use crate::world::{Authenticator, ORIGIN, Twist, World};

const EMAIL: &str = "ada@example.org";
const PASSWORD: &str = "correct horse battery";
const WRONG: [(&str, &str); 1] = [("code", "000000")];

/// The type codes after the first `skip`.
async fn codes_after(world: &World, skip: usize) -> Vec<String> {
    world.codes().await.split_off(skip)
}

#[tokio::test]
async fn a_second_factor_is_set_up_asked_for_refused_and_passed() {
    let world = World::with_policy("[mfa]\npolicy = \"always\"").await;
    let (mut browser, mut app) = (world.browser(), App::default());
    assert_eq!(browser.sign_up_with_password(EMAIL, PASSWORD).await, "/mfa/setup");
    app.scan(&browser.get("/mfa/setup").await.text);
    browser.form("/mfa/setup", &WRONG).await;
    let shown = browser.form("/mfa/setup", &[("code", &app.code(&world))]).await.text;
    browser.form("/mfa/setup/done", &[("recorded", "on")]).await;
    let expected =
        ["ss", "gd_start_auth", "gd_start_enroll", "gd_auth_failed", "gd_enrollment_complete", "s"];
    assert_eq!(world.codes().await, expected);
    let (_, enrolled) = &world.events().await[4];
    assert_eq!(enrolled["details"]["authenticator"], json!({ "type": "otp" }));

    world.pass_minutes(1);
    let mut browser = world.browser();
    assert_eq!(browser.log_in_with_password(EMAIL, PASSWORD).await, "/mfa/otp");
    browser.form("/mfa/otp", &WRONG).await;
    browser.form("/mfa/otp", &[("code", &app.code(&world))]).await;
    assert_eq!(codes_after(&world, 6).await, ["gd_start_auth", "gd_auth_failed", "gd_auth_succeed", "s"]);
    let (_, login) = world.events().await.pop().expect("an event");
    assert_eq!(login["details"]["prompts"], json!([{ "performed_amr": ["pwd", "otp"] }]));

    let code = shown.split("class=\"secret\">").nth(1).and_then(|rest| rest.split('<').next());
    let mut browser = world.browser();
    browser.log_in_with_password(EMAIL, PASSWORD).await;
    browser.form("/mfa/recovery-code", &WRONG).await;
    browser.form("/mfa/recovery-code", &[("code", code.expect("a code"))]).await;
    browser.form("/mfa/setup/done", &[("recorded", "on")]).await;
    let expected = ["gd_start_auth", "gd_recovery_failed", "gd_recovery_succeed", "s"];
    assert_eq!(codes_after(&world, 10).await, expected);
    // All events of one login belong together; those of two do not.
    let references: Vec<_> =
        world.events().await.iter().map(|(_, event)| event["references"]["correlation_id"].clone()).collect();
    assert_eq!(references[10], references[12]);
    assert_ne!(references[6], references[10]);
}

#[tokio::test]
async fn a_passkey_that_is_refused_says_at_which_step() {
    let world = World::new().await;
    world.browser().sign_up_with_password(EMAIL, PASSWORD).await;
    let (mut browser, mut phone) = (world.browser(), Authenticator::platform());
    browser.log_in_with_password(EMAIL, PASSWORD).await;
    let options = browser.json("/enroll/options", &json!({})).await.json()["publicKey"].clone();
    let forged = phone.create(&options, ORIGIN, Twist::ForeignOrigin);
    assert_eq!(browser.json("/enroll", &forged).await.status, StatusCode::BAD_REQUEST);
    let mut phone = Authenticator::platform();
    browser.register("/enroll", json!({}), &mut phone).await;
    let options = browser.json("/step-up/options", &json!({})).await.json()["publicKey"].clone();
    browser.json("/step-up", &phone.get(&options, ORIGIN, Twist::BadSignature)).await;
    let expected =
        ["gd_webauthn_enrollment_failed", "gd_enrollment_complete", "gd_webauthn_challenge_failed"];
    assert_eq!(codes_after(&world, 3).await, expected);
    let events = world.events().await.split_off(1);
    let (failed, confirmed) = (&events[2].1["details"], &events[4].1["details"]);
    assert_eq!(failed["authentication_methods"], json!(["passkey"]));
    assert_eq!(failed["webauthn"]["failed_step"], "7.1-9");
    assert_eq!(events[3].1["details"]["authenticator"]["type"], "passkey");
    assert_eq!(confirmed["webauthn"]["failed_step"], "7.2-21");
    // Behind each is the whole verification.
    for (details, steps) in [(failed, 29), (confirmed, 25)] {
        let path = details["inspect"].as_str().expect("a link").replace("/inspect", "/api/v2/logs");
        let event = world.admin("GET", &path, None).await.json();
        assert_eq!(event["transcript"].as_array().map(Vec::len), Some(steps));
    }
}

/// `details.webauthn` of the latest event, which is of this type; what the step found is told elsewhere.
async fn latest_refusal(world: &World, code: &str) -> Value {
    let (latest, mut event) = world.events().await.pop().expect("an event");
    assert_eq!(latest, code);
    let mut told = event["details"]["webauthn"].take();
    assert!(told.as_object_mut().is_some_and(|told| told.remove("found").is_some()), "{told}");
    told
}

#[tokio::test]
async fn a_new_passkey_that_is_refused_is_in_the_log_with_what_it_says_of_itself() {
    let world = World::new().await;
    let mut browser = world.browser();
    browser.sign_up_with_password(EMAIL, PASSWORD).await;
    let mut options = browser.json("/account/passkeys/options", &json!({})).await.json()["publicKey"].clone();
    options["rp"]["id"] = "elsewhere.example".into();
    let mut forged = Authenticator::platform().create(&options, ORIGIN, Twist::None);
    let endless = "x".repeat(1000);
    forged["response"]["transports"] = json!(["internal", endless, 7, "hybrid"]);
    assert_eq!(browser.json("/account/passkeys", &forged).await.status, StatusCode::BAD_REQUEST);
    let expected = json!({
        "ceremony": "registration", "failed_step": "7.1-14", "aaguid": "00000000-0000-0000-0000-000000000000",
        "be": true, "bs": true, "uv": true, "transports": ["internal", "hybrid"], "mediation": "optional",
    });
    assert_eq!(latest_refusal(&world, "gd_webauthn_enrollment_failed").await, expected);
}

#[tokio::test]
async fn a_passkey_that_is_refused_is_in_the_log_with_what_it_says_of_itself() {
    let world = World::new().await;
    let mut key = Authenticator::security_key();
    world.browser().sign_up(EMAIL, &mut key).await;
    let autofill = json!({ "mediation": "conditional" });
    for (twist, failed_step, known) in
        [(Twist::BadSignature, "7.2-21", true), (Twist::UnknownCredential, "7.2-6", false)]
    {
        let mut browser = world.browser();
        let options = browser.json("/login/passkey/options", &autofill).await.json()["publicKey"].clone();
        browser.json("/login/passkey", &key.get(&options, ORIGIN, twist)).await;
        let mut expected = json!({
            "ceremony": "authentication", "failed_step": failed_step, "be": false, "bs": false, "uv": false,
            "mediation": "conditional",
        });
        // An assertion does not say what made it: these are of the passkey that it names.
        if known {
            expected["aaguid"] = "00000000-0000-0000-0000-000000000000".into();
            expected["transports"] = json!(["usb", "nfc"]);
        }
        assert_eq!(latest_refusal(&world, "f").await, expected);
    }
}

#[tokio::test]
async fn a_response_that_cannot_be_read_is_one_event_that_says_nothing_of_the_passkeys_flags() {
    let world = World::new().await;
    let (mut browser, mut phone) = (world.browser(), Authenticator::platform());
    browser.sign_up(EMAIL, &mut phone).await;
    // An empty map; authenticator data that ends early, and with something left over.
    for (kind, odd) in [("create", "oA"), ("get", "AAAA"), ("get", "")] {
        let path = if kind == "create" { "/account/passkeys" } else { "/step-up" };
        let options = browser.json(&format!("{path}/options"), &json!({})).await.json()["publicKey"].clone();
        let (code, mut response) = match kind {
            "create" => {
                ("gd_webauthn_enrollment_failed", phone.clone().create(&options, ORIGIN, Twist::None))
            }
            _ => ("gd_webauthn_challenge_failed", phone.get(&options, ORIGIN, Twist::None)),
        };
        match (kind, odd) {
            ("create", _) => response["response"]["attestationObject"] = odd.into(),
            ("get", "") => {
                let whole = response["response"]["authenticatorData"].as_str().expect("base64url");
                response["response"]["authenticatorData"] = format!("{whole}AAAA").into();
            }
            _ => response["response"]["authenticatorData"] = odd.into(),
        }
        let before = world.events().await.len();
        let refused = browser.json(path, &response).await;
        assert!(refused.status.is_client_error(), "{}", refused.text);
        assert_eq!(world.events().await.len(), before + 1);
        let told = latest_refusal(&world, code).await;
        for flag in ["be", "bs", "uv"] {
            assert_eq!(told.get(flag), None, "{kind} {odd}: {told}");
        }
        assert_eq!(told["mediation"], "optional", "{kind} {odd}: {told}");
        assert!(told["failed_step"].is_string(), "{kind} {odd}: {told}");
    }
}

#[tokio::test]
async fn a_request_that_no_flow_saw_is_logged_with_where_it_came_from() {
    let world = World::behind_a_proxy().await;
    let visitor = world.browser().with_header("x-forwarded-for", "203.0.113.7");
    let mut visitor = visitor.with_header("user-agent", "Lure/1");
    visitor.sign_up_with_password(EMAIL, PASSWORD).await;
    let foreign = visitor.json_from("https://lure.example", "/login/passkey/options", &json!({})).await;
    assert_eq!(foreign.status, StatusCode::FORBIDDEN);
    visitor
        .send("POST", "/login", &[("content-type", "text/plain"), ("origin", ORIGIN)], Some("x".into()))
        .await;
    visitor.form("/logout", &[]).await;
    let events = world.events().await.split_off(2);
    let codes: Vec<_> = events.iter().map(|(code, _)| code.as_str()).collect();
    assert_eq!(codes, ["fapi", "fapi", "slo"]);
    for (code, event) in &events {
        assert_eq!((&event["ip"], &event["user_agent"]), (&json!("203.0.113.7"), &json!("Lure/1")), "{code}");
        assert_eq!(event["references"], events[2].1["references"], "{code}");
        assert_eq!(event["hostname"], "localhost", "{code}");
    }
    assert!(!events[2].1["references"]["correlation_id"].as_str().unwrap_or_default().is_empty());
}

#[tokio::test]
async fn a_password_is_asked_for_anew_refused_and_changed() {
    let world = World::new().await;
    let mut browser = world.browser();
    browser.sign_up_with_password(EMAIL, PASSWORD).await;
    browser.form("/reset-password", &[("email", "nobody")]).await;
    browser.form("/reset-password", &[("email", EMAIL)]).await;
    let outbox = world.outbox().await;
    let token = outbox.split("/reset-password/new?token=").nth(1).and_then(|rest| rest.split('"').next());
    let token = token.expect("a link");
    for password in ["short", "another horse battery", "yet another horse battery"] {
        browser.form("/reset-password/new", &[("token", token), ("password", password)]).await;
    }
    assert_eq!(world.codes().await, ["ss", "s", "fcpr", "scpr", "fcp", "scp", "fcp"]);
}

#[tokio::test]
async fn a_login_during_a_block_is_in_the_log_too() {
    let world = World::with_policy("[limits]\nbrute_force_threshold = 1").await;
    let mut browser = world.browser();
    browser.form("/login", &[("identifier", EMAIL)]).await;
    browser.form("/login/password", &[("password", PASSWORD)]).await;
    let blocked = browser.form("/login/password", &[("password", PASSWORD)]).await;
    assert_eq!(blocked.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(world.codes().await, ["fu", "limit_wc", "f"]);
    let (_, event) = world.events().await.pop().expect("an event");
    assert_eq!(event["details"]["key"], "user-blocked");
}

#[tokio::test]
async fn a_recovery_by_passkey_a_log_out_everywhere_and_a_deletion_leave_their_trace() {
    let world = World::new().await;
    world.browser().sign_up(EMAIL, &mut Authenticator::platform()).await;
    let (mut browser, mut new) = (world.browser(), Authenticator::platform());
    browser.form("/recover", &[("email", EMAIL)]).await;
    browser.form("/recover/code", &[("code", "000000")]).await;
    let code = world.latest_code().await;
    browser.form("/recover/code", &[("code", &code)]).await;
    let done = browser.register("/recover/passkey", json!({}), &mut new).await;
    assert_eq!(done.json()["next"], "/account/lost");
    assert_eq!(codes_after(&world, 2).await, ["svr", "f", "sv", "gd_enrollment_complete", "s"]);
    let page = browser.get("/account/lost").await.text;
    let lost =
        page.split("value=\"pky_").nth(1).and_then(|rest| rest.split('"').next()).expect("the old one");
    browser.form("/account/lost", &[("lost", &format!("pky_{lost}"))]).await;
    assert_eq!(codes_after(&world, 7).await, ["gd_unenroll"]);

    let mut elsewhere = world.browser();
    elsewhere.authenticate("/login/passkey", json!({}), &mut new).await;
    browser.form("/account/sessions/end-others", &[]).await;
    assert_eq!(elsewhere.get("/account").await.location(), "/login");
    assert_eq!(codes_after(&world, 8).await, ["s", "slo"]);

    assert_eq!(browser.form("/account/delete", &[]).await.location(), "/signup");
    assert_eq!(codes_after(&world, 10).await, ["sdu"]);
}
