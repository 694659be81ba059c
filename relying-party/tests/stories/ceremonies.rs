//! What only the server can get right about challenges, credentials and sessions.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::world::{Answer, Authenticator, ORIGIN, Twist, World};

/// Starts a login; gives the request options.
async fn login_options(browser: &mut crate::world::Browser) -> Value {
    browser.json("/login/passkey/options", &json!({})).await.json()["publicKey"].clone()
}

#[tokio::test]
async fn a_response_works_once() {
    let world = World::new().await;
    let mut phone = Authenticator::platform();
    let mut browser = world.browser();
    browser.sign_up("ada@example.org", &mut phone).await;
    let mut other = world.browser();
    let options = login_options(&mut other).await;
    let response = phone.get(&options, ORIGIN, Twist::None);
    let mut replayer = other.clone();
    assert_eq!(other.json("/login/passkey", &response).await.status, StatusCode::OK);
    let replayed = replayer.json("/login/passkey", &response).await;
    assert_eq!(
        (replayed.status, replayed.error().as_str()),
        (StatusCode::BAD_REQUEST, "transaction-not-found")
    );
}

#[tokio::test]
async fn a_refused_response_uses_the_challenge_up_too() {
    let world = World::new().await;
    let mut phone = Authenticator::platform();
    let mut browser = world.browser();
    browser.sign_up("ada@example.org", &mut phone).await;
    let options = login_options(&mut browser).await;
    let wrong = phone.get(&options, ORIGIN, Twist::BadSignature);
    assert_eq!(browser.json("/login/passkey", &wrong).await.status, StatusCode::UNAUTHORIZED);
    let right = phone.get(&options, ORIGIN, Twist::None);
    assert_eq!(browser.json("/login/passkey", &right).await.error(), "transaction-not-found");
}

#[tokio::test]
async fn a_challenge_expires() {
    let world = World::new().await;
    let mut phone = Authenticator::platform();
    let mut browser = world.browser();
    browser.sign_up("ada@example.org", &mut phone).await;
    let options = login_options(&mut browser).await;
    world.pass_minutes(6);
    let late = browser.json("/login/passkey", &phone.get(&options, ORIGIN, Twist::None)).await;
    assert_eq!(late.error(), "transaction-not-found");
}

#[tokio::test]
async fn a_challenge_belongs_to_its_session() {
    let world = World::new().await;
    let mut phone = Authenticator::platform();
    world.browser().sign_up("ada@example.org", &mut phone).await;
    let options = login_options(&mut world.browser()).await;
    let mut other = world.browser();
    login_options(&mut other).await;
    let stolen = other.json("/login/passkey", &phone.get(&options, ORIGIN, Twist::None)).await;
    assert_eq!(stolen.error(), "transaction-not-found");
}

#[tokio::test]
async fn a_challenge_belongs_to_its_kind_of_ceremony() {
    let world = World::new().await;
    let mut phone = Authenticator::platform();
    let mut browser = world.browser();
    browser.sign_up("ada@example.org", &mut phone).await;
    let options = browser.json("/step-up/options", &json!({})).await.json()["publicKey"].clone();
    let misused = browser.json("/login/passkey", &phone.get(&options, ORIGIN, Twist::None)).await;
    assert_eq!(misused.error(), "transaction-not-found");
    // A challenge to log in is used up by the ceremony that it does not serve.
    let options = browser.json("/login/passkey/options", &json!({})).await.json()["publicKey"].clone();
    let credential = phone.get(&options, ORIGIN, Twist::None);
    assert_eq!(browser.json("/step-up", &credential).await.error(), "transaction-not-found");
    assert_eq!(browser.json("/login/passkey", &credential).await.error(), "transaction-not-found");
    // A registration's challenge does not serve another kind of registration.
    let options = browser.json("/account/passkeys/options", &json!({})).await.json()["publicKey"].clone();
    let credential = phone.create(&options, ORIGIN, Twist::None);
    assert_eq!(browser.json("/signup/passkey", &credential).await.error(), "transaction-not-found");
}

#[tokio::test]
async fn a_ceremony_for_one_user_refuses_another_users_passkey() {
    let world = World::new().await;
    let (mut adas, mut bobs) = (Authenticator::platform(), Authenticator::platform());
    world.browser().sign_up("ada@example.org", &mut adas).await;
    world.browser().sign_up("bob@example.org", &mut bobs).await;
    let mut browser = world.browser();
    let wish = json!({ "identifier": "ada@example.org" });
    let options = browser.json("/login/passkey/options", &wish).await.json()["publicKey"].clone();
    let refused = browser.json("/login/passkey", &bobs.get(&options, ORIGIN, Twist::None)).await;
    assert_eq!(refused.error(), "passkey-authentication-failed");
}

#[tokio::test]
async fn a_credential_id_is_registered_once_for_all_users() {
    let world = World::new().await;
    let id = vec![5; 32];
    for (email, expected) in [("ada@example.org", StatusCode::OK), ("eve@example.org", StatusCode::CONFLICT)]
    {
        let mut browser = world.browser();
        let options = browser.json("/signup/passkey/options", &json!({ "email": email })).await.json();
        let mut phone = Authenticator::platform();
        let credential = phone.create_with_id(&options["publicKey"], ORIGIN, Twist::None, id.clone());
        let done = browser.json("/signup/passkey", &credential).await;
        assert_eq!(done.status, expected, "{}", done.text);
        if expected == StatusCode::CONFLICT {
            // The passkey that was made in vain is to be forgotten by its provider.
            assert_eq!(done.json()["signalUnknownCredential"]["rpId"], "localhost");
        }
    }
}

#[tokio::test]
async fn of_two_registrations_with_one_challenge_one_succeeds() {
    let world = World::new().await;
    let mut browser = world.browser();
    browser.sign_up("ada@example.org", &mut Authenticator::platform()).await;
    // Two passkeys of one account: nothing but the challenge stands between them.
    let options = browser.json("/account/passkeys/options", &json!({})).await.json();
    let create = || Authenticator::platform().create(&options["publicKey"], ORIGIN, Twist::None);
    let (first, second) = (create(), create());
    let (mut left, mut right) = (browser.clone(), browser.clone());
    let (a, b) =
        tokio::join!(left.json("/account/passkeys", &first), right.json("/account/passkeys", &second));
    let mut statuses = [a.status, b.status];
    statuses.sort();
    assert_eq!(statuses, [StatusCode::OK, StatusCode::BAD_REQUEST], "{} {}", a.text, b.text);
    let refused = if a.status == StatusCode::OK { b } else { a };
    assert_eq!(refused.error(), "transaction-not-found");
    let account = browser.get("/account").await.text;
    assert_eq!(account.matches("/rename\"").count(), 2, "{account}");
}

#[tokio::test]
async fn of_two_assertions_with_one_counter_one_succeeds() {
    let world = World::new().await;
    let mut key = Authenticator::security_key();
    world.browser().sign_up("ada@example.org", &mut key).await;
    let (mut left, mut right) = (world.browser(), world.browser());
    let (one, two) = (login_options(&mut left).await, login_options(&mut right).await);
    let first = key.get(&one, ORIGIN, Twist::None);
    let second = key.get(&two, ORIGIN, Twist::SameCounter);
    let (a, b) = tokio::join!(left.json("/login/passkey", &first), right.json("/login/passkey", &second));
    let succeeded = [a.status, b.status].iter().filter(|status| **status == StatusCode::OK).count();
    assert_eq!(succeeded, 1, "{} {}", a.text, b.text);
}

#[tokio::test]
async fn a_counter_that_does_not_grow_is_refused_or_flagged_by_policy() {
    for (policy, expected) in
        [("", StatusCode::UNAUTHORIZED), ("[passkey]\ncounter = \"flag\"", StatusCode::OK)]
    {
        let world = World::with_policy(policy).await;
        let mut key = Authenticator::security_key();
        let mut browser = world.browser();
        browser.sign_up("ada@example.org", &mut key).await;
        assert_eq!(browser.authenticate("/login/passkey", json!({}), &mut key).await.status, StatusCode::OK);
        let options = login_options(&mut browser).await;
        let again = browser.json("/login/passkey", &key.get(&options, ORIGIN, Twist::SameCounter)).await;
        assert_eq!(again.status, expected, "{policy}");
    }
}

#[tokio::test]
async fn a_counter_that_went_back_is_in_the_log_whatever_comes_after_the_passkey() {
    let world = World::with_policy("[passkey]\ncounter = \"flag\"").await;
    let mut key = Authenticator::security_key();
    let mut browser = world.browser();
    browser.sign_up("ada@example.org", &mut key).await;
    assert_eq!(browser.authenticate("/login/passkey", json!({}), &mut key).await.status, StatusCode::OK);
    let told = async |code: &str, what: &str| {
        let (last, event) = world.events().await.pop().expect("an event");
        let details = &event["details"];
        assert_eq!(
            (last.as_str(), &details["webauthn"]["counter_regressed"]),
            (code, &json!(true)),
            "{what}"
        );
        assert!(details["inspect"].is_string(), "{what}: with the transcript");
    };
    for (mfa, confirmed, exchanged) in
        [("never", "gd_auth_succeed", "s"), ("always", "gd_start_auth", "gd_start_auth")]
    {
        world.admin("PATCH", "/api/v2/policy", Some(json!({ "mfa": { "policy": mfa } }))).await;
        let options = browser.json("/step-up/options", &json!({})).await.json()["publicKey"].clone();
        let answer = browser.json("/step-up", &key.get(&options, ORIGIN, Twist::SameCounter)).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        told(confirmed, "confirming").await;

        let mut app = world.browser();
        let begun = app.json("/passkey/challenge", &json!({ "client_id": "doppelkey" })).await.json();
        let response = key.get(&begun["authn_params_public_key"], ORIGIN, Twist::SameCounter);
        let exchange = json!({
            "grant_type": "urn:okta:params:oauth:grant-type:webauthn", "client_id": "doppelkey",
            "auth_session": begun["auth_session"], "authn_response": response,
        });
        app.json("/oauth/token", &exchange).await;
        told(exchanged, "tokens").await;
    }
    let mut other = world.browser();
    let options = login_options(&mut other).await;
    let next = other.json("/login/passkey", &key.get(&options, ORIGIN, Twist::SameCounter)).await.json();
    assert_eq!(next["next"], "/mfa/setup");
    told("gd_start_auth", "a second factor").await;
}

/// Everything about an answer that a stranger could tell apart.
fn looks(answer: &Answer) -> (StatusCode, Value, Vec<String>) {
    let mut body = answer.json();
    if let Some(signal) = body.get_mut("signalUnknownCredential") {
        signal["credentialId"] = json!("…");
    }
    (answer.status, body, answer.headers.keys().map(ToString::to_string).collect())
}

#[tokio::test]
async fn a_bad_signature_and_an_unknown_credential_look_the_same() {
    let world = World::new().await;
    let mut phone = Authenticator::platform();
    world.browser().sign_up("ada@example.org", &mut phone).await;
    let mut answers = Vec::new();
    for twist in [Twist::BadSignature, Twist::UnknownCredential] {
        let mut browser = world.browser();
        let options = login_options(&mut browser).await;
        // A stranger knows credential ids perhaps, but nobody's user handle.
        let mut response = phone.get(&options, ORIGIN, twist);
        response["response"]["userHandle"] = json!("CQkJCQ");
        answers.push(looks(&browser.json("/login/passkey", &response).await));
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0].0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_provider_is_told_to_forget_a_passkey_that_came_too_late() {
    let world = World::with_policy("[passkey]\nmax_per_user = 1").await;
    let mut tabs = [world.browser(), world.browser()];
    let late = async |tabs: &mut [crate::world::Browser; 2], path: &str, wish: Value| {
        let mut credentials = Vec::new();
        for tab in tabs.iter_mut() {
            let options = tab.json(&format!("{path}/options"), &wish).await.json();
            credentials.push(Authenticator::platform().create(&options["publicKey"], ORIGIN, Twist::None));
        }
        assert_eq!(tabs[0].json(path, &credentials[0]).await.status, StatusCode::OK, "{path}");
        let refused = tabs[1].json(path, &credentials[1]).await;
        assert_eq!(refused.status, StatusCode::CONFLICT, "{path}: {}", refused.text);
        let signal = &refused.json()["signalUnknownCredential"];
        assert_eq!(signal["credentialId"], credentials[1]["id"], "{path}: {}", refused.text);
        refused.json()["message"].as_str().unwrap_or_default().to_string()
    };
    late(&mut tabs, "/signup/passkey", json!({ "email": "ada@example.org" })).await;
    let mut bob = [world.browser(), world.browser()];
    bob[0].sign_up_with_password("bob@example.org", "correct horse battery").await;
    bob[1].log_in_with_password("bob@example.org", "correct horse battery").await;
    let message = late(&mut bob, "/account/passkeys", json!({})).await;
    assert_eq!(message, "You have 1 passkey, which is the most an account can have.");
}

#[tokio::test]
async fn the_provider_is_told_to_forget_a_passkey_that_was_removed() {
    let world = World::new().await;
    let (mut phone, mut laptop) = (Authenticator::platform(), Authenticator::platform());
    let mut browser = world.browser();
    browser.sign_up("ada@example.org", &mut phone).await;
    world.pass_minutes(1);
    assert_eq!(browser.register("/account/passkeys", json!({}), &mut laptop).await.status, StatusCode::OK);
    let account = browser.get("/account").await.text;
    let id =
        account.split("/account/passkeys/").nth(1).and_then(|rest| rest.split('/').next()).expect("an id");
    assert_eq!(browser.form(&format!("/account/passkeys/{id}/remove"), &[]).await.location(), "/account");
    let mut stranger = world.browser();
    let gone = stranger.authenticate("/login/passkey", json!({}), &mut phone).await;
    assert_eq!(gone.status, StatusCode::UNAUTHORIZED);
    assert_eq!(gone.json()["signalUnknownCredential"]["rpId"], "localhost");
    // A passkey that still counts is never told away, whatever is wrong with the signature.
    let options = login_options(&mut stranger).await;
    let wrong = stranger.json("/login/passkey", &laptop.get(&options, ORIGIN, Twist::BadSignature)).await;
    assert!(wrong.json().get("signalUnknownCredential").is_none(), "{}", wrong.text);
}

#[tokio::test]
async fn the_session_changes_at_login_and_logout_kills_it() {
    const EMAIL: &str = "ada@example.org";
    const PASSWORD: &str = "correct horse battery";
    let world = World::new().await;
    let mut phone = Authenticator::platform();
    let mut browser = world.browser();
    browser.sign_up(EMAIL, &mut phone).await;
    browser.form("/account/security/password", &[("password", PASSWORD)]).await;
    for way in ["sign-up", "passkey", "password"] {
        let mut browser = world.browser();
        login_options(&mut browser).await;
        let before = browser.cookie("session").expect("a session");
        // Whoever has planted or read the session of before has nothing of the one after.
        let mut planter = browser.clone();
        match way {
            "sign-up" => browser.sign_up("bob@example.org", &mut Authenticator::platform()).await,
            "passkey" => {
                let done = browser.authenticate("/login/passkey", json!({}), &mut phone).await;
                assert_eq!(done.status, StatusCode::OK, "{}", done.text);
            }
            _ => assert_eq!(browser.log_in_with_password(EMAIL, PASSWORD).await, "/account"),
        }
        assert_ne!(before, browser.cookie("session").expect("a session"), "{way}");
        assert_eq!(planter.get("/account").await.location(), "/login", "{way}");
        let mut thief = browser.clone();
        assert_eq!(thief.get("/account").await.status, StatusCode::OK, "{way}");
        browser.form("/logout", &[]).await;
        assert_eq!(browser.cookie("session"), None, "{way}");
        assert_eq!(thief.get("/account").await.location(), "/login", "{way}");
    }
}

#[tokio::test]
async fn a_session_ends_when_it_was_idle_for_half_a_day() {
    let world = World::new().await;
    let mut browser = world.browser();
    browser.sign_up("ada@example.org", &mut Authenticator::platform()).await;
    world.pass_minutes(12 * 60 - 1);
    assert_eq!(browser.get("/account").await.status, StatusCode::OK);
    world.pass_minutes(12 * 60 + 1);
    assert_eq!(browser.get("/account").await.location(), "/login");
}

#[tokio::test]
async fn a_session_in_use_ends_after_its_days() {
    let world = World::new().await;
    let mut browser = world.browser();
    browser.sign_up("ada@example.org", &mut Authenticator::platform()).await;
    // Never idle: the last time an hour before its seven days are over.
    for hours in [11; 15].into_iter().chain([2]) {
        world.pass_minutes(hours * 60);
        let status = browser.get("/account").await.status;
        assert_eq!(status, StatusCode::OK, "after {} hours", world.minutes_passed() / 60);
    }
    assert_eq!(world.minutes_passed(), (7 * 24 - 1) * 60);
    world.pass_minutes(2 * 60);
    assert_eq!(browser.get("/account").await.location(), "/login");
}

#[tokio::test]
async fn a_passkey_signs_for_this_origin_only() {
    let world = World::new().await;
    let mut phone = Authenticator::platform();
    let mut browser = world.browser();
    browser.sign_up("ada@example.org", &mut phone).await;
    let options = login_options(&mut browser).await;
    let refused = browser.json("/login/passkey", &phone.get(&options, ORIGIN, Twist::ForeignOrigin)).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    let (code, event) = world.events().await.pop().expect("an event");
    assert_eq!(code, "f");
    assert_eq!(event["details"]["webauthn"]["failed_step"], "7.2-12");
    // Behind it are all steps of the verification.
    let path = event["details"]["inspect"].as_str().expect("a link").replace("/inspect", "/api/v2/logs");
    let transcript = world.admin("GET", &path, None).await.json()["transcript"].clone();
    assert_eq!(transcript.as_array().map(Vec::len), Some(25));
}

#[tokio::test]
async fn the_policy_says_which_attestation_formats_are_accepted() {
    let world =
        World::with_policy("[passkey]\nattestation = \"direct\"\nformats = [\"packed\", \"tpm\"]").await;
    let mut browser = world.browser();
    let options =
        browser.json("/signup/passkey/options", &json!({ "email": "ada@example.org" })).await.json();
    assert_eq!(options["publicKey"]["attestation"], "direct");
    let credential = Authenticator::platform().create(&options["publicKey"], ORIGIN, Twist::None);
    let refused = browser.json("/signup/passkey", &credential).await;
    assert_eq!(refused.error(), "passkey-enrollment-failure");
    let (code, event) = world.events().await.pop().expect("an event");
    assert_eq!(code, "fs");
    assert_eq!(
        event["details"]["error"]["message"],
        "the policy does not accept the attestation format none"
    );
}

#[tokio::test]
async fn a_policy_that_requires_metadata_accepts_nobody_without_a_blob() {
    let world = World::with_policy("[passkey]\nattestation = \"direct\"").await;
    let required = json!({ "passkey": { "metadata": "required" } });
    world.admin("PATCH", "/api/v2/policy", Some(required)).await;
    let (_, event) = world.events().await.pop().expect("an event");
    let warnings = event["details"]["warnings"].to_string();
    assert!(warnings.contains("no metadata was loaded (--mds)"), "{event}");
    let wish = json!({ "email": "ada@example.org" });
    let refused = world.browser().register("/signup/passkey", wish, &mut Authenticator::platform()).await;
    assert_eq!(refused.error(), "passkey-enrollment-failure", "{}", refused.text);
    let (code, event) = world.events().await.pop().expect("an event");
    assert_eq!(code, "fs");
    assert_eq!(event["details"]["error"]["message"], "the policy wants metadata, and none was loaded");
}
