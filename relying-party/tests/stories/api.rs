//! Programs without a browser: the native passkey API and the My Account API.

use crate::account::first_passkey;
use crate::second_factor;
use crate::world::{Answer, Authenticator, Browser, ORIGIN, Twist, World};
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::ecdsa::signature::Verifier as _;
use serde_json::{Value, json};

const PASSKEY_GRANT: &str = "urn:okta:params:oauth:grant-type:webauthn";
const RECOVERY_GRANT: &str = "http://auth0.com/oauth/grant-type/mfa-recovery-code";
const OTP_GRANT: &str = "http://auth0.com/oauth/grant-type/mfa-otp";
const METHODS: &str = "/me/v1/authentication-methods";
const ALL_SCOPES: &str = "openid create:me:authentication_methods read:me:authentication_methods \
                          update:me:authentication_methods delete:me:authentication_methods";

/// An app on a phone, with the phone's passkeys.
struct Native {
    http: Browser,
    phone: Authenticator,
}

impl Native {
    fn of(world: &World) -> Self {
        Self { http: world.browser(), phone: Authenticator::platform() }
    }

    async fn post(&mut self, path: &str, body: &Value) -> Answer {
        let answer = self
            .http
            .send("POST", path, &[("content-type", "application/json")], Some(body.to_string()))
            .await;
        assert!(answer.headers.get("set-cookie").is_none(), "an app keeps no cookies");
        answer
    }

    async fn register_options(&mut self, email: &str) -> Answer {
        self.post(
            "/passkey/register",
            &json!({ "client_id": "doppelkey", "user_profile": { "email": email } }),
        )
        .await
    }

    async fn challenge(&mut self) -> Answer {
        self.post("/passkey/challenge", &json!({ "client_id": "doppelkey" })).await
    }

    async fn exchange(&mut self, auth_session: &Value, credential: &Value) -> Answer {
        let body = json!({
            "grant_type": PASSKEY_GRANT, "client_id": "doppelkey", "scope": ALL_SCOPES,
            "auth_session": auth_session, "authn_response": credential,
        });
        self.post("/oauth/token", &body).await
    }

    async fn sign_up(&mut self, email: &str) -> Answer {
        let begun = self.register_options(email).await;
        assert_eq!(begun.status, StatusCode::OK, "{}", begun.text);
        let begun = begun.json();
        let credential = self.phone.create(&begun["authn_params_public_key"], ORIGIN, Twist::None);
        self.exchange(&begun["auth_session"], &credential).await
    }

    async fn log_in(&mut self) -> Answer {
        let begun = self.challenge().await.json();
        let credential = self.phone.get(&begun["authn_params_public_key"], ORIGIN, Twist::None);
        self.exchange(&begun["auth_session"], &credential).await
    }

    async fn me(&mut self, token: &str, method: &str, path: &str, body: Option<Value>) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        self.http.send(method, path, &headers, body.map(|body| body.to_string())).await
    }
}

fn token(answer: &Answer) -> String {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    answer.json()["access_token"].as_str().expect("a token").to_string()
}

#[tokio::test]
async fn an_app_signs_up_logs_in_and_sees_its_passkey() {
    let world = World::new().await;
    let mut native = Native::of(&world);
    let signed_up = native.sign_up("Ada@Example.org").await;
    let answer = signed_up.json();
    assert_eq!((&answer["token_type"], &answer["expires_in"]), (&json!("Bearer"), &json!(86_400)));
    let logged_in = native.log_in().await;
    let methods = native.me(&token(&logged_in), "GET", METHODS, None).await.json();
    let methods = methods["authentication_methods"].as_array().expect("a list");
    assert_eq!(methods.len(), 1);
    assert_eq!(methods[0]["type"], "passkey");
    assert_eq!(methods[0]["credential_device_type"], "multi_device");
    assert_eq!(methods[0]["relying_party_id"], "localhost");
    let path = format!("{METHODS}/{}", methods[0]["id"].as_str().expect("an id"));
    assert_eq!(&native.me(&token(&logged_in), "GET", &path, None).await.json(), &methods[0]);
    let codes = world.codes().await;
    assert_eq!(codes, ["passkey_challenge_started", "ss", "s", "passkey_challenge_started", "s"]);
}

#[tokio::test]
async fn an_id_token_verifies_with_the_published_key_and_names_the_user() {
    let world = World::new().await;
    let mut native = Native::of(&world);
    let answer = native.sign_up("ada@example.org").await.json();
    let keys = native.http.get("/.well-known/jwks.json").await.json();
    let part = |text: &str| URL_SAFE_NO_PAD.decode(text).expect("base64url");
    let coordinate = |name: &str| part(keys["keys"][0][name].as_str().expect("text"));
    let point = [vec![4], coordinate("x"), coordinate("y")].concat();
    let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(&point).expect("a point");
    let id_token = answer["id_token"].as_str().expect("text");
    let (signed, signature) = id_token.rsplit_once('.').expect("three parts");
    let signature = p256::ecdsa::Signature::from_slice(&part(signature)).expect("r and s");
    key.verify(signed.as_bytes(), &signature).expect("the service signed it");
    let claims: Value =
        serde_json::from_slice(&part(signed.split_once('.').expect("two parts").1)).expect("JSON");
    assert_eq!(claims["email"], "ada@example.org");
    assert_eq!(claims["aud"], "doppelkey");
    assert_eq!(claims["amr"], json!(["phr"]));
    // an ID token is no access token
    assert_eq!(native.me(id_token, "GET", METHODS, None).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn an_answer_is_exchanged_once_and_in_its_own_session_only() {
    let world = World::new().await;
    let mut native = Native::of(&world);
    token(&native.sign_up("ada@example.org").await);
    let begun = native.challenge().await.json();
    let other = native.challenge().await.json();
    let credential = native.phone.get(&begun["authn_params_public_key"], ORIGIN, Twist::None);
    let foreign = native.exchange(&other["auth_session"], &credential).await;
    assert_eq!((foreign.status, foreign.error().as_str()), (StatusCode::BAD_REQUEST, "invalid_grant"));
    token(&native.exchange(&begun["auth_session"], &credential).await);
    let again = native.exchange(&begun["auth_session"], &credential).await;
    assert_eq!((again.status, again.error().as_str()), (StatusCode::BAD_REQUEST, "invalid_grant"));
}

#[tokio::test]
async fn what_an_app_sends_wrong_gets_the_right_status() {
    let world = World::new().await;
    let mut native = Native::of(&world);
    token(&native.sign_up("ada@example.org").await);
    for (path, body, status, error) in [
        (
            "/passkey/register",
            json!({ "client_id": "doppelkey", "user_profile": {} }),
            400,
            "invalid_request",
        ),
        ("/passkey/register", json!({ "client_id": "doppelkey" }), 400, "invalid_request"),
        (
            "/passkey/register",
            json!({ "client_id": "doppelkey", "user_profile": { "email": "b@example.org", "age": 7 } }),
            400,
            "invalid_request",
        ),
        (
            "/passkey/register",
            json!({ "client_id": "doppelkey", "user_profile": { "email": "ada@example.org" } }),
            400,
            "invalid_request",
        ),
        (
            "/passkey/register",
            json!({ "client_id": "other", "user_profile": { "email": "b@example.org" } }),
            401,
            "invalid_client",
        ),
        ("/passkey/challenge", json!({ "client_id": "other" }), 401, "invalid_client"),
        ("/passkey/challenge", json!([]), 400, "invalid_request"),
        (
            "/oauth/token",
            json!({ "grant_type": "password", "client_id": "doppelkey" }),
            400,
            "unsupported_grant_type",
        ),
        (
            "/oauth/token",
            json!({ "grant_type": PASSKEY_GRANT, "client_id": "doppelkey" }),
            400,
            "invalid_request",
        ),
        (
            "/oauth/token",
            json!({ "grant_type": PASSKEY_GRANT, "client_id": "doppelkey", "auth_session": "x", "authn_response": {} }),
            400,
            "invalid_grant",
        ),
        (
            "/oauth/token",
            json!({ "grant_type": OTP_GRANT, "client_id": "doppelkey", "mfa_token": "x", "otp": "000000" }),
            400,
            "invalid_grant",
        ),
    ] {
        let answer = native.post(path, &body).await;
        assert_eq!((answer.status.as_u16(), answer.error().as_str()), (status, error), "{path} {body}");
    }
    let bare = native.http.send("POST", "/passkey/challenge", &[], Some("{}".into())).await;
    assert_eq!(bare.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let begun = native.challenge().await.json();
    let forged = native.phone.get(&begun["authn_params_public_key"], ORIGIN, Twist::BadSignature);
    let answer = native.exchange(&begun["auth_session"], &forged).await;
    assert_eq!((answer.status, answer.error().as_str()), (StatusCode::UNAUTHORIZED, "invalid_grant"));
    assert!(world.codes().await.contains(&"passkey_challenge_failed".to_string()));
}

#[tokio::test]
async fn the_native_api_is_absent_where_policy_says_so() {
    for policy in [
        "[passkey]\nenabled = false",
        "[attributes.email]\nidentifier = true\nsignup = \"required\"\nverify = true",
    ] {
        let world = World::with_policy(policy).await;
        let answer = Native::of(&world).register_options("ada@example.org").await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{policy}: {}", answer.text);
    }
}

#[tokio::test]
async fn who_signed_up_in_an_app_is_asked_on_the_account_page_for_what_the_app_did_not_give() {
    let policy = "[attributes.phone]\nsignup = \"optional\"\nprofile_required = true";
    let world = World::with_policy(policy).await;
    let mut app = Native::of(&world);
    assert_eq!(app.sign_up("ada@example.org").await.status, StatusCode::OK);
    let mut browser = world.browser();
    browser.authenticate("/login/passkey", json!({}), &mut app.phone).await;
    let page = browser.get("/account").await.text;
    assert!(page.contains("Your account needs a phone number."), "{page}");
}

#[tokio::test]
async fn a_passkey_is_added_named_and_removed_but_not_the_last() {
    let world = World::new().await;
    let mut native = Native::of(&world);
    let token = token(&native.sign_up("ada@example.org").await);
    let begun = native.me(&token, "POST", METHODS, Some(json!({ "type": "passkey" }))).await;
    assert_eq!(begun.status, StatusCode::ACCEPTED, "{}", begun.text);
    let location = begun.headers["location"].to_str().expect("text").to_string();
    let begun = begun.json();
    let options = &begun["authn_params_public_key"];
    assert_eq!(options["excludeCredentials"].as_array().map(Vec::len), Some(1));
    let mut key = Authenticator::security_key();
    let credential = key.create(options, ORIGIN, Twist::None);
    let body = json!({ "auth_session": begun["auth_session"], "authn_response": credential });
    let wrong = json!({ "auth_session": "ses_other", "authn_response": credential });
    let verify = format!("{location}/verify");
    assert_eq!(native.me(&token, "POST", &verify, Some(wrong)).await.status, StatusCode::BAD_REQUEST);
    let added = native.me(&token, "POST", &verify, Some(body.clone())).await;
    assert_eq!(added.status, StatusCode::CREATED, "{}", added.text);
    assert_eq!(added.json()["credential_device_type"], "single_device");
    assert_eq!(native.me(&token, "POST", &verify, Some(body)).await.status, StatusCode::BAD_REQUEST);

    let path = format!("{METHODS}/{}", added.json()["id"].as_str().expect("an id"));
    let renamed = native.me(&token, "PATCH", &path, Some(json!({ "name": "My key" }))).await;
    assert_eq!((renamed.status, &renamed.json()["name"]), (StatusCode::OK, &json!("My key")));
    let empty = native.me(&token, "PATCH", &path, Some(json!({ "name": " " }))).await;
    assert_eq!(empty.status, StatusCode::BAD_REQUEST);
    assert_eq!(native.me(&token, "DELETE", &path, None).await.status, StatusCode::NO_CONTENT);
    assert_eq!(native.me(&token, "DELETE", &path, None).await.status, StatusCode::NOT_FOUND);
    let list = native.me(&token, "GET", METHODS, None).await.json();
    let last = format!("{METHODS}/{}", list["authentication_methods"][0]["id"].as_str().expect("an id"));
    assert_eq!(native.me(&token, "DELETE", &last, None).await.status, StatusCode::CONFLICT);

    let events = world.events().await;
    let operations: Vec<_> = events
        .iter()
        .filter(|(code, _)| code.starts_with("my_account_"))
        .map(|(code, event)| {
            let outcome = code.trim_start_matches("my_account_authentication_method_");
            format!("{} {outcome}", event["details"]["operation"].as_str().expect("text"))
        })
        .collect();
    assert_eq!(
        operations,
        [
            "enroll succeeded",
            "verify failed",
            "verify succeeded",
            "verify failed",
            "update succeeded",
            "update failed",
            "delete succeeded",
            "delete failed",
            "delete failed",
        ]
    );
}

#[tokio::test]
async fn a_token_allows_what_its_scope_says_while_its_session_lives() {
    let world = World::new().await;
    let mut native = Native::of(&world);
    token(&native.sign_up("ada@example.org").await);
    let begun = native.challenge().await.json();
    let credential = native.phone.get(&begun["authn_params_public_key"], ORIGIN, Twist::None);
    let body = json!({
        "grant_type": PASSKEY_GRANT, "client_id": "doppelkey", "auth_session": begun["auth_session"],
        "authn_response": credential, "scope": "read:me:authentication_methods everything",
    });
    let answer = native.post("/oauth/token", &body).await;
    assert_eq!(answer.json()["scope"], "read:me:authentication_methods");
    let reader = token(&answer);
    assert_eq!(native.me(&reader, "GET", METHODS, None).await.status, StatusCode::OK);
    let refused = native.me(&reader, "POST", METHODS, Some(json!({ "type": "passkey" }))).await;
    assert_eq!((refused.status, refused.error().as_str()), (StatusCode::FORBIDDEN, "insufficient_scope"));

    for wrong in ["", "x", "a.b.c", &reader[..reader.len() - 2], &format!("{reader}A")] {
        let refused = native.me(wrong, "GET", METHODS, None).await;
        assert_eq!((refused.status, refused.error().as_str()), (StatusCode::UNAUTHORIZED, "invalid_token"));
        assert_eq!(refused.headers["www-authenticate"], "Bearer");
    }
    world.pass_minutes(23 * 60);
    assert_eq!(native.me(&reader, "GET", METHODS, None).await.status, StatusCode::OK);
    world.pass_minutes(61);
    assert_eq!(native.me(&reader, "GET", METHODS, None).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_change_needs_a_login_of_just_now() {
    let world = World::new().await;
    let mut native = Native::of(&world);
    let token = token(&native.sign_up("ada@example.org").await);
    world.pass_minutes(6);
    let stale = native.me(&token, "POST", METHODS, Some(json!({ "type": "passkey" }))).await;
    assert_eq!((stale.status, stale.error().as_str()), (StatusCode::FORBIDDEN, "step-up-required"));
    assert_eq!(native.me(&token, "GET", METHODS, None).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_recovery_ends_the_tokens_of_every_app() {
    let world = World::new().await;
    let mut native = Native::of(&world);
    let token = token(&native.sign_up("ada@example.org").await);
    let mut browser = world.browser();
    browser.form("/recover", &[("identifier", "ada@example.org"), ("email", "ada@example.org")]).await;
    let code = world.latest_code().await;
    browser.form("/recover/code", &[("code", &code)]).await;
    let done = browser.register("/recover/passkey", json!({}), &mut Authenticator::platform()).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    assert_eq!(native.me(&token, "GET", METHODS, None).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn an_app_shows_a_second_factor_where_policy_wants_one() {
    let world = World::with_policy("[mfa]\npolicy = \"always\"").await;
    let mut native = Native::of(&world);
    let begun = native.register_options("ada@example.org").await.json();
    let credential = native.phone.create(&begun["authn_params_public_key"], ORIGIN, Twist::None);
    let needed = native.exchange(&begun["auth_session"], &credential).await;
    assert_eq!((needed.status, needed.error().as_str()), (StatusCode::FORBIDDEN, "mfa_required"));
    assert!(needed.json().get("mfa_token").is_none(), "none is set up yet: {}", needed.text);

    // set up in a browser
    let mut browser = world.browser();
    let next = browser.authenticate("/login/passkey", json!({}), &mut native.phone).await;
    assert_eq!(next.json()["next"], "/mfa/setup");
    let mut app = second_factor::App::default();
    app.scan(&browser.get("/mfa/setup").await.text);
    browser.form("/mfa/setup", &[("code", &app.code(&world))]).await;
    world.pass_minutes(1);

    let needed = native.log_in().await;
    assert_eq!((needed.status, needed.error().as_str()), (StatusCode::FORBIDDEN, "mfa_required"));
    let mut body = json!({
        "grant_type": OTP_GRANT, "client_id": "doppelkey", "mfa_token": needed.json()["mfa_token"],
        "otp": "000000", "scope": ALL_SCOPES,
    });
    let wrong = native.post("/oauth/token", &body).await;
    assert_eq!((wrong.status, wrong.error().as_str()), (StatusCode::FORBIDDEN, "invalid_grant"));
    body["otp"] = app.code(&world).into();
    let token = token(&native.post("/oauth/token", &body).await);
    assert_eq!(native.me(&token, "GET", METHODS, None).await.status, StatusCode::OK);
    let again = native.post("/oauth/token", &body).await;
    assert_eq!(again.status, StatusCode::BAD_REQUEST, "an mfa_token works once");
    assert!(world.codes().await.contains(&"sepkotpft".to_string()));
}

#[tokio::test]
async fn an_app_shows_a_recovery_code_which_is_replaced() {
    let world = World::with_policy("[mfa]\npolicy = \"always\"\nafter_passkey = \"skip\"").await;
    let mut native = Native::of(&world);
    token(&native.sign_up("ada@example.org").await);
    let mut browser = world.browser();
    browser.authenticate("/login/passkey", json!({}), &mut native.phone).await;
    let code = second_factor::App::default().set_up_in_account(&world, &mut browser).await;
    world.admin("PATCH", "/api/v2/policy", Some(json!({ "mfa": { "after_passkey": "require" } }))).await;

    let mut log_in_with = async |code: &str| {
        let needed = native.log_in().await;
        assert_eq!((needed.status, needed.error().as_str()), (StatusCode::FORBIDDEN, "mfa_required"));
        let body = json!({
            "grant_type": RECOVERY_GRANT, "client_id": "doppelkey", "mfa_token": needed.json()["mfa_token"],
            "recovery_code": code,
        });
        native.post("/oauth/token", &body).await
    };
    let wrong = log_in_with("AAAABBBBCCCCDDDDEEEEFFFF").await;
    assert_eq!((wrong.status, wrong.error().as_str()), (StatusCode::FORBIDDEN, "invalid_grant"));
    let answer = log_in_with(&code).await;
    token(&answer);
    let next = answer.json()["recovery_code"].as_str().expect("a new one").to_string();
    assert_eq!(log_in_with(&code).await.error(), "invalid_grant", "it works once");
    token(&log_in_with(&next).await);
    let codes = world.codes().await;
    let count = |code: &str| codes.iter().filter(|found| *found == code).count();
    assert_eq!((count("sepkrcft"), count("gd_recovery_failed")), (2, 2), "{codes:?}");
}

#[tokio::test]
async fn an_app_whose_answer_with_the_next_recovery_code_is_lost_asks_once_more() {
    let world = World::with_policy("[mfa]\npolicy = \"always\"\nafter_passkey = \"skip\"").await;
    let mut native = Native { http: world.browser(), phone: Authenticator::security_key() };
    token(&native.sign_up("ada@example.org").await);
    let mut browser = world.browser();
    browser.authenticate("/login/passkey", json!({}), &mut native.phone).await;
    let code = second_factor::App::default().set_up_in_account(&world, &mut browser).await;
    world.admin("PATCH", "/api/v2/policy", Some(json!({ "mfa": { "after_passkey": "require" } }))).await;

    let needed = native.log_in().await;
    let body = json!({
        "grant_type": RECOVERY_GRANT, "client_id": "doppelkey", "mfa_token": needed.json()["mfa_token"],
        "recovery_code": code, "scope": ALL_SCOPES,
    });
    let lost = native.post("/oauth/token", &body).await.json();
    let answer = native.post("/oauth/token", &body).await;
    let token = token(&answer);
    assert_eq!(native.me(&token, "GET", METHODS, None).await.status, StatusCode::OK);
    assert_ne!(answer.json()["recovery_code"], lost["recovery_code"]);
    // Not when everything that was proved before is void.
    browser.form("/account/sessions/end-others", &[]).await;
    let void = native.post("/oauth/token", &body).await;
    assert_eq!((void.status, void.error().as_str()), (StatusCode::BAD_REQUEST, "invalid_grant"));
}

/// The passkey's counter and the recovery code are written together, or the code is used up and its successor never told.
#[tokio::test]
async fn an_app_whose_passkey_was_used_meanwhile_keeps_its_recovery_code() {
    let world = World::with_policy("[mfa]\npolicy = \"always\"\nafter_passkey = \"skip\"").await;
    let mut native = Native { http: world.browser(), phone: Authenticator::security_key() };
    token(&native.sign_up("ada@example.org").await);
    let mut browser = world.browser();
    browser.authenticate("/login/passkey", json!({}), &mut native.phone).await;
    let mut app = second_factor::App::default();
    let code = app.set_up_in_account(&world, &mut browser).await;
    world.admin("PATCH", "/api/v2/policy", Some(json!({ "mfa": { "after_passkey": "require" } }))).await;

    let overtaken = native.log_in().await;
    world.pass_minutes(1);
    let mut elsewhere = world.browser();
    elsewhere.authenticate("/login/passkey", json!({}), &mut native.phone).await;
    let next = elsewhere.form("/mfa/otp", &[("code", &app.code(&world))]).await;
    assert_eq!(next.location(), "/account");
    let grant = |needed: &Answer| {
        json!({
            "grant_type": RECOVERY_GRANT, "client_id": "doppelkey", "mfa_token": needed.json()["mfa_token"],
            "recovery_code": code, "scope": ALL_SCOPES,
        })
    };
    let refused = native.post("/oauth/token", &grant(&overtaken)).await;
    assert!(!refused.status.is_success(), "{}", refused.text);
    let again = native.log_in().await;
    token(&native.post("/oauth/token", &grant(&again)).await);
}

/// Whoever had the passkey and the recovery code once is out when the owner has ended one of the two, or the session.
#[tokio::test]
async fn an_mfa_token_is_void_once_its_passkey_is_removed() {
    for change in ["the passkey is removed", "the recovery code is another", "the session is ended"] {
        let world = World::with_policy("[mfa]\npolicy = \"always\"\nafter_passkey = \"skip\"").await;
        let mut thief = Native { http: world.browser(), phone: Authenticator::security_key() };
        token(&thief.sign_up("ada@example.org").await);
        let (mut owner, mut key) = (world.browser(), Authenticator::platform());
        owner.authenticate("/login/passkey", json!({}), &mut thief.phone).await;
        let stolen = first_passkey(&mut owner).await;
        owner.register("/account/passkeys", json!({}), &mut key).await;
        let code = second_factor::App::default().set_up_in_account(&world, &mut owner).await;
        world.admin("PATCH", "/api/v2/policy", Some(json!({ "mfa": { "after_passkey": "require" } }))).await;
        let needed = thief.log_in().await;
        let body = json!({
            "grant_type": RECOVERY_GRANT, "client_id": "doppelkey", "mfa_token": needed.json()["mfa_token"],
            "recovery_code": code,
        });
        let session = session_of(&token(&thief.post("/oauth/token", &body).await));

        let mut renewed = None;
        let done = match change {
            "the passkey is removed" => {
                owner.form(&format!("/account/passkeys/pky_{stolen}/remove"), &[]).await.status
            }
            "the session is ended" => {
                owner.form(&format!("/account/sessions/{session}/end"), &[]).await.status
            }
            _ => {
                let page = owner.form("/account/security/recovery-code", &[]).await;
                renewed = Some(second_factor::shown_secret(&page.text));
                page.status
            }
        };
        assert!(done.is_success() || done.is_redirection(), "{change}: {done}");
        let void = thief.post("/oauth/token", &body).await;
        assert_eq!(
            (void.status, void.error().as_str()),
            (StatusCode::BAD_REQUEST, "invalid_grant"),
            "{change}"
        );
        assert_eq!(owner.get("/account").await.status, StatusCode::OK, "whoever changed it stays");
        if let Some(code) = renewed {
            let mut again = world.browser();
            again.authenticate("/login/passkey", json!({}), &mut key).await;
            let taken = again.form("/mfa/recovery-code", &[("code", &code)]).await;
            assert_eq!(taken.status, StatusCode::OK, "the owner's code is still the owner's");
        }
    }
}

/// The id of the session that an access token belongs to.
fn session_of(token: &str) -> String {
    let claims = token.split('.').nth(1).expect("three parts");
    let claims = URL_SAFE_NO_PAD.decode(claims).expect("base64url");
    let claims: Value = serde_json::from_slice(&claims).expect("JSON");
    claims["sid"].as_str().expect("a session").to_string()
}

#[tokio::test]
async fn a_token_lives_as_long_as_it_says_whatever_was_asked_with_it() {
    let world = World::new().await;
    let mut native = Native::of(&world);
    let answer = native.sign_up("ada@example.org").await;
    let token = token(&answer);
    let hours = answer.json()["expires_in"].as_i64().expect("seconds") / 3600;
    let begun = native.me(&token, "POST", METHODS, Some(json!({ "type": "passkey" }))).await;
    assert_eq!(begun.status, StatusCode::ACCEPTED, "{}", begun.text);
    world.pass_minutes(60 * hours - 1);
    assert_eq!(native.me(&token, "GET", METHODS, None).await.status, StatusCode::OK);
    world.pass_minutes(1);
    assert_eq!(native.me(&token, "GET", METHODS, None).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_password_and_a_code_are_no_passkey_to_the_token_endpoint() {
    let world = World::with_policy("[mfa]\npolicy = \"always\"").await;
    let (email, password) = ("ada@example.org", "correct horse battery");
    let (mut browser, mut app) = (world.browser(), second_factor::App::default());
    browser.sign_up_with_password(email, password).await;
    app.scan(&browser.get("/mfa/setup").await.text);
    browser.form("/mfa/setup", &[("code", &app.code(&world))]).await;
    let mut native = Native::of(&world);
    for way in ["password", "mailbox"] {
        world.pass_minutes(1);
        let mut browser = world.browser();
        if way == "password" {
            assert_eq!(browser.log_in_with_password(email, password).await, "/mfa/otp");
        } else {
            browser.form("/recover", &[("email", email)]).await;
            let code = world.latest_code().await;
            assert_eq!(browser.form("/recover/code", &[("code", &code)]).await.location(), "/mfa/otp");
        }
        let code = app.code(&world);
        let body = json!({
            "grant_type": OTP_GRANT, "client_id": "doppelkey", "mfa_token": browser.cookie("session"),
            "otp": code, "scope": ALL_SCOPES,
        });
        let refused = native.post("/oauth/token", &body).await;
        assert_eq!((refused.status, refused.error().as_str()), (StatusCode::BAD_REQUEST, "invalid_grant"));
        // The code was not looked at: it still works where it belongs.
        let next = browser.form("/mfa/otp", &[("code", &code)]).await;
        assert_eq!(next.location(), if way == "password" { "/enroll" } else { "/recover/new" });
    }
    assert!(!world.codes().await.contains(&"sepkotpft".to_string()));
}
