//! What visitors are told, by key and in words: what went wrong, and what they have left out.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::world::{Answer, Authenticator, Browser, ORIGIN, Twist, World};

const EMAIL: &str = "ada@example.org";
const PASSWORD: &str = "correct horse battery";

/// The status of a page, and the key beside its error.
fn told(page: &Answer) -> (StatusCode, &str) {
    let key = page.text.split("data-error-code=\"").nth(1).and_then(|rest| rest.split('"').next());
    (page.status, key.unwrap_or_default())
}

const REFUSED: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;

#[tokio::test]
async fn an_empty_password_is_asked_for_and_is_no_try_to_log_in() {
    let world = World::with_policy("[limits]\nbrute_force_threshold = 1\nfailed_logins_per_ip_day = 1").await;
    world.browser().sign_up_with_password(EMAIL, PASSWORD).await;
    let before = world.codes().await;
    let mut browser = world.browser();
    for email in [EMAIL, "nobody@example.org", EMAIL] {
        browser.form("/login", &[("identifier", email)]).await;
        let page = browser.form("/login/password", &[("password", "")]).await;
        assert_eq!(told(&page), (REFUSED, "no-password"), "{email}");
        assert!(page.text.contains("Enter your password."), "{}", page.text);
    }
    assert_eq!(world.codes().await, before, "nothing has failed");
    assert_eq!(browser.form("/login/password", &[("password", PASSWORD)]).await.location(), "/enroll");
    world.pass_minutes(6);
    let page = browser.form("/step-up/password", &[("password", "")]).await;
    assert_eq!(told(&page), (REFUSED, "no-password"), "who confirms");
    assert!(page.text.contains("Enter your password."), "{}", page.text);
    assert_eq!(browser.form("/step-up/password", &[("password", PASSWORD)]).await.location(), "/account");
}

#[tokio::test]
async fn an_empty_new_password_is_asked_for_wherever_one_is_set() {
    let world = World::new().await;
    let mut browser = world.browser();
    browser.form("/signup", &[("email", EMAIL)]).await;
    let at_sign_up = browser.form("/signup/password", &[("password", "")]).await;
    assert_eq!(told(&at_sign_up), (REFUSED, "no-password"));
    assert!(at_sign_up.text.contains("Enter a password."), "{}", at_sign_up.text);
    browser.form("/signup/password", &[("password", PASSWORD)]).await;
    let in_account = browser.form("/account/security/password", &[("password", "")]).await;
    assert_eq!(told(&in_account), (REFUSED, "no-password"));
    browser = world.browser();
    browser.form("/reset-password", &[("email", EMAIL)]).await;
    let outbox = world.outbox().await;
    let token = outbox.split("/reset-password/new?token=").nth(1).and_then(|rest| rest.split('"').next());
    let form = [("token", token.expect("a link")), ("password", "")];
    let reset = browser.form("/reset-password/new", &form).await;
    assert_eq!(told(&reset), (REFUSED, "no-password"));
    browser.form("/recover", &[("email", EMAIL)]).await;
    browser.form("/recover/code", &[("code", &world.latest_code().await)]).await;
    let recovered = browser.form("/recover/password", &[("password", "")]).await;
    assert_eq!(told(&recovered), (REFUSED, "no-password"));
}

/// A policy by which people log in with these.
fn identifiers(kinds: &[&str]) -> String {
    let mut policy = String::new();
    for kind in ["email", "phone", "username"] {
        let is_on = kinds.contains(&kind);
        let signup = if is_on { "required" } else { "off" };
        policy += &format!("[attributes.{kind}]\nidentifier = {is_on}\nsignup = \"{signup}\"\n");
    }
    policy
}

#[tokio::test]
async fn who_logs_in_without_a_name_is_told_what_to_enter() {
    for (kinds, missing, wrong, words) in [
        (&["email"][..], "no-email", "invalid-email-format", "Enter an e-mail address."),
        (&["phone"], "no-phone", "invalid-phone-format", "Enter a phone number."),
        (&["username"], "no-username", "invalid-username", "Enter a user name."),
        (
            &["email", "phone"],
            "no-email-phone",
            "invalid-email-phone",
            "Enter an e-mail address or a phone number.",
        ),
        (
            &["email", "username"],
            "no-email-username",
            "invalid-email-username",
            "Enter an e-mail address or a user name.",
        ),
        (
            &["phone", "username"],
            "no-phone-username",
            "invalid-phone-username",
            "Enter a phone number or a user name.",
        ),
        (
            &["email", "phone", "username"],
            "no-email-phone-username",
            "invalid-email-phone-username",
            "Enter an e-mail address, a phone number or a user name.",
        ),
    ] {
        let world = World::with_policy(&identifiers(kinds)).await;
        let mut browser = world.browser();
        for empty in ["", " \t"] {
            let page = browser.form("/login", &[("identifier", empty)]).await;
            assert_eq!(told(&page), (REFUSED, missing));
            assert!(page.text.contains(words), "{}", page.text);
        }
        let too_long = "x".repeat(400);
        let page = browser.form("/login", &[("identifier", &too_long)]).await;
        assert_eq!(told(&page), (REFUSED, wrong));
        assert_eq!(world.codes().await, [""; 0], "nobody has tried to log in");
    }
}

#[tokio::test]
async fn who_leaves_a_field_empty_is_told_which() {
    let world = World::with_policy(&identifiers(&["email", "phone", "username"])).await;
    let mut browser = world.browser();
    let fields = [("email", EMAIL), ("phone", "+4930123456"), ("username", "ada")];
    for (index, (kind, words)) in [
        ("email", "Enter an e-mail address."),
        ("phone", "Enter a phone number."),
        ("username", "Enter a user name."),
    ]
    .into_iter()
    .enumerate()
    {
        let mut given = fields;
        given[index].1 = "";
        let page = browser.form("/signup", &given).await;
        assert_eq!(told(&page), (REFUSED, format!("no-{kind}").as_str()));
        assert!(page.text.contains(words), "{}", page.text);
    }
    for path in ["/recover", "/reset-password"] {
        let page = browser.form(path, &[("email", " ")]).await;
        assert_eq!(told(&page), (REFUSED, "no-email"), "{path}");
        let page = browser.form(path, &[("email", "ada")]).await;
        assert_eq!(told(&page), (REFUSED, "invalid-email-format"), "{path}");
    }
}

#[tokio::test]
async fn a_wrong_code_of_an_app_has_a_key_too() {
    let world = World::with_policy("[mfa]\npolicy = \"always\"").await;
    let mut browser = world.browser();
    browser.form("/signup", &[("email", EMAIL)]).await;
    let next = browser.form("/signup/password", &[("password", PASSWORD)]).await;
    assert_eq!(next.location(), "/mfa/setup");
    let page = browser.form("/mfa/setup", &[("code", "000000")]).await;
    assert_eq!(told(&page), (REFUSED, "invalid-code"));
}

/// The options of a login, and an answer to them that is right.
async fn answer_of(browser: &mut Browser, phone: &mut Authenticator) -> Value {
    let options = browser.json("/login/passkey/options", &json!({})).await.json();
    phone.get(&options["publicKey"], ORIGIN, Twist::None)
}

/// An answer as a passkey's might look that has lost something on its way.
fn mangled(answer: &Value, way: usize) -> Value {
    let mut answer = answer.clone();
    match way {
        0 => answer["type"] = json!("password"),
        1 => answer["id"] = json!("AAAA"),
        2 => answer["response"]["signature"] = Value::Null,
        3 => answer["response"]["authenticatorData"] = json!("no base64url!"),
        4 => answer["response"]["userHandle"] = json!(7),
        5 => answer["response"]["clientDataJSON"] = json!("e30"),
        _ => answer["response"] = json!([]),
    }
    answer
}

#[tokio::test]
async fn what_is_no_passkeys_answer_is_told_so_whoever_it_names() {
    let world = World::with_policy("[limits]\nfailed_logins_per_ip_day = 1").await;
    let mut phone = Authenticator::platform();
    world.browser().sign_up(EMAIL, &mut phone).await;
    let mut strangers = Authenticator::platform();
    World::new().await.browser().sign_up(EMAIL, &mut strangers).await;
    let mut browser = world.browser();
    for way in 0..7 {
        let mut answers = Vec::new();
        for authenticator in [&mut phone, &mut strangers] {
            let answer = mangled(&answer_of(&mut browser, authenticator).await, way);
            let refused = browser.json("/login/passkey", &answer).await;
            assert_eq!(
                (refused.status, refused.error().as_str()),
                (StatusCode::BAD_REQUEST, "invalid-passkey")
            );
            let (_, event) = world.events().await.pop().expect("an event");
            assert_eq!((&event["type"], &event["details"]["key"]), (&json!("f"), &json!("invalid-passkey")));
            answers.push(refused.text);
        }
        assert_eq!(answers[0], answers[1], "way {way} tells whether there is such a passkey");
        assert!(!answers[0].contains("signalUnknownCredential"), "{}", answers[0]);
    }
    // It has used its challenge up, as every answer does, and is no guess that is counted.
    let honest = answer_of(&mut browser, &mut phone).await;
    browser.json("/login/passkey", &mangled(&honest, 2)).await;
    let late = browser.json("/login/passkey", &honest).await;
    assert_eq!(late.error(), "transaction-not-found");
    let done = browser.authenticate("/login/passkey", json!({}), &mut phone).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    // What does not verify is something else.
    let mut browser = world.browser();
    let options = browser.json("/login/passkey/options", &json!({})).await.json();
    let forged = phone.get(&options["publicKey"], ORIGIN, Twist::BadSignature);
    let refused = browser.json("/login/passkey", &forged).await;
    assert_eq!(
        (refused.status, refused.error().as_str()),
        (StatusCode::UNAUTHORIZED, "passkey-authentication-failed")
    );
}

#[tokio::test]
async fn who_sends_no_passkey_is_asked_to_choose_one() {
    let world = World::new().await;
    let mut browser = world.browser();
    browser.sign_up(EMAIL, &mut Authenticator::platform()).await;
    for path in ["/login/passkey", "/step-up"] {
        for nothing in [Value::Null, json!({}), json!([])] {
            let refused = browser.json(path, &nothing).await;
            assert_eq!(
                (refused.status, refused.error().as_str()),
                (StatusCode::BAD_REQUEST, "no-passkey"),
                "{path}"
            );
        }
    }
}

#[tokio::test]
async fn an_app_that_sends_no_passkeys_answer_is_told_so_in_oauths_words() {
    let world = World::new().await;
    let mut app = world.browser();
    let begun = app.json("/passkey/challenge", &json!({ "client_id": "doppelkey" })).await.json();
    let grant = "urn:okta:params:oauth:grant-type:webauthn";
    for answer in [json!({}), json!({ "id": "AAAA", "rawId": "AAAA", "type": "public-key", "response": {} })]
    {
        let body = json!({
            "grant_type": grant, "client_id": "doppelkey", "auth_session": begun["auth_session"],
            "authn_response": answer,
        });
        let refused = app.json("/oauth/token", &body).await;
        assert_eq!((refused.status, refused.error().as_str()), (StatusCode::BAD_REQUEST, "invalid_request"));
    }
}

/// Everything in backticks in a part of the README, if it looks like a key.
fn keys_of(part: &str) -> Vec<&str> {
    let is_key = |text: &&str| {
        text.contains('-')
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
            && !text.ends_with('-')
    };
    part.split('`').skip(1).step_by(2).filter(is_key).filter(|text| *text != "data-error-code").collect()
}

/// All of the source.
fn source(folder: &std::path::Path) -> String {
    let entries = std::fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path());
    let text = |path: std::path::PathBuf| match path.is_dir() {
        true => source(&path),
        false => std::fs::read_to_string(path).unwrap_or_default(),
    };
    entries.map(text).collect()
}

#[test]
fn the_keys_that_the_readme_lists_are_those_that_there_are() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).expect("a README");
    let part =
        readme.split("\n## What went wrong: keys\n").nth(1).and_then(|rest| rest.split("\n## ").next());
    let (here, elsewhere) = part.and_then(|part| part.split_once("cannot occur here")).expect("both lists");
    let source = source(&root.join("src"));
    let is_told = |key: &str| source.contains(&format!("\"{key}\""));
    let (here, elsewhere) = (keys_of(here), keys_of(elsewhere));
    assert!(here.len() > 40, "{here:?}");
    for key in here {
        assert!(is_told(key), "the README lists {key}, which nobody is ever told");
    }
    assert_eq!(elsewhere.iter().filter(|key| is_told(key)).collect::<Vec<_>>(), [&"password-too-common"]);
    assert_eq!(elsewhere.len(), 4, "{elsewhere:?}");
}
