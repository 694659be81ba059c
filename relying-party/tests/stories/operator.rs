//! Policy and events, through the API and the form; and the files under `/.well-known/`.

use axum::http::StatusCode;
use serde_json::{Value, json};

use doppelkey_relying_party::policy::Policy;
use doppelkey_relying_party::{Config, app};

use crate::world::{ADMIN, Authenticator, ORIGIN, World, postgres};

#[tokio::test]
async fn the_api_needs_the_operators_token() {
    let world = World::new().await;
    for path in ["/api/v2/policy", "/api/v2/logs", "/api/v2/logs/stream", "/api/v2/logs/x", "/api/v2/users/x"]
    {
        let mut browser = world.browser();
        assert_eq!(browser.get(path).await.status, StatusCode::UNAUTHORIZED, "{path}");
        let wrong = browser.send("GET", path, &[("authorization", "Bearer wrong")], None).await;
        assert_eq!(wrong.error(), "invalid-token", "{path}");
    }
}

#[tokio::test]
async fn a_patch_changes_what_it_names_and_is_logged() {
    let world = World::new().await;
    let patch =
        json!({ "passkey": { "challenge_ui": "button" }, "related_origins": ["https://example.com"] });
    let policy = world.admin("PATCH", "/api/v2/policy", Some(patch.clone())).await.json();
    assert_eq!(policy["passkey"]["challenge_ui"], "button");
    assert_eq!(policy["passkey"]["max_per_user"], 20);
    assert_eq!(world.admin("GET", "/api/v2/policy", None).await.json(), policy);
    let (code, event) = world.events().await.pop().expect("an event");
    assert_eq!((code.as_str(), &event["details"]["patch"]), ("sapi", &patch));
    assert!(!world.browser().get("/login").await.text.contains("data-conditional"));
    let related = world.browser().get("/.well-known/webauthn").await;
    assert_eq!(related.json(), json!({ "origins": ["https://example.com"] }));
    assert_eq!(related.headers["content-type"], "application/json");
}

#[tokio::test]
async fn a_patch_that_does_not_hold_changes_nothing() {
    let world = World::new().await;
    for patch in [
        json!({ "passkey": { "nonsense": true } }),
        json!({ "passkey": { "max_per_user": 0 } }),
        json!({ "passkey": { "challenge_ui": "loud" } }),
        json!({ "password": { "enabled": false }, "code": { "enabled": false } }),
        json!([]),
    ] {
        let refused = world.admin("PATCH", "/api/v2/policy", Some(patch.clone())).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{patch}");
    }
    assert_eq!(world.admin("GET", "/api/v2/policy", None).await.json()["passkey"]["max_per_user"], 20);
}

#[tokio::test]
async fn the_form_changes_the_policy_too() {
    let world = World::new().await;
    let mut browser = world.browser();
    assert!(browser.get("/admin").await.text.contains("Operators only"));
    assert_eq!(
        browser.form("/admin/policy", &[("passkey.max_per_user", "5")]).await.status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(browser.form("/admin/token", &[("token", "wrong")]).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(browser.form("/admin/token", &[("token", ADMIN)]).await.location(), "/admin");
    let fields = [
        ("box", "passkey.local_enrollment_enabled"),
        ("passkey.max_per_user", "5"),
        ("passkey.hints", "security-key, hybrid"),
    ];
    assert_eq!(browser.form("/admin/policy", &fields).await.location(), "/admin");
    let policy = world.admin("GET", "/api/v2/policy", None).await.json();
    assert_eq!(policy["passkey"]["max_per_user"], 5);
    assert_eq!(policy["passkey"]["local_enrollment_enabled"], false);
    assert_eq!(policy["passkey"]["hints"], json!(["security-key", "hybrid"]));
    let wrong = browser.form("/admin/policy", &[("passkey.max_per_user", "0")]).await;
    assert!(wrong.text.contains("passkey.max_per_user is 0"), "{}", wrong.text);
}

#[tokio::test]
async fn what_sign_up_requires_the_profile_requires_too() {
    let world = World::new().await;
    let attributes = world.admin("GET", "/api/v2/policy", None).await.json()["attributes"].clone();
    assert_eq!(attributes["email"]["profile_required"], true);
    assert_eq!(attributes["phone"]["profile_required"], false);
    let patch = |phone: Value| Some(json!({ "attributes": { "phone": phone } }));
    let contradiction = patch(json!({ "signup": "required", "profile_required": false }));
    let refused = world.admin("PATCH", "/api/v2/policy", contradiction).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(refused.text.contains("attributes.phone.profile_required must be on"), "{}", refused.text);
    // Not named, or taken out of the policy (RFC 7396), it follows what sign-up asks for.
    for following in
        [json!({ "signup": "required" }), json!({ "signup": "required", "profile_required": null })]
    {
        let policy = world.admin("PATCH", "/api/v2/policy", patch(following)).await.json();
        assert_eq!(policy["attributes"]["phone"]["profile_required"], true);
        let back = patch(json!({ "signup": "off", "profile_required": false }));
        world.admin("PATCH", "/api/v2/policy", back).await;
    }
    world.admin("PATCH", "/api/v2/policy", patch(json!({ "signup": "required" }))).await;

    let mut browser = world.browser();
    browser.form("/admin/token", &[("token", ADMIN)]).await;
    assert!(browser.get("/admin").await.text.contains("Phone on the profile is required"));
    let unticked = [("box", "attributes.phone.profile_required")];
    let refused = browser.form("/admin/policy", &unticked).await;
    assert!(refused.text.contains("attributes.phone.profile_required must be on"), "{}", refused.text);
    let optional = [unticked[0], ("attributes.phone.signup", "optional")];
    assert_eq!(browser.form("/admin/policy", &optional).await.location(), "/admin");
    let (code, event) = world.events().await.pop().expect("an event");
    let patch = json!({ "attributes": { "phone": { "profile_required": false, "signup": "optional" } } });
    assert_eq!((code.as_str(), &event["details"]["patch"]), ("sapi", &patch));
}

#[tokio::test]
async fn events_are_read_page_by_page_and_searched() {
    let world = World::new().await;
    let mut phone = Authenticator::platform();
    let mut browser = world.browser();
    browser.sign_up("ada@example.org", &mut phone).await;
    browser.form("/logout", &[]).await;
    assert_eq!(world.codes().await, ["ss", "s", "slo"]);
    let first = world.admin("GET", "/api/v2/logs?take=2", None).await.json();
    let last_id = first[1]["log_id"].as_str().expect("an id").to_string();
    let rest = world.admin("GET", &format!("/api/v2/logs?take=2&from={last_id}"), None).await.json();
    assert_eq!((first.as_array().map(Vec::len), rest[0]["type"].as_str()), (Some(2), Some("slo")));
    let found = world.admin("GET", "/api/v2/logs?q=type:s", None).await.json();
    assert_eq!(found.as_array().map(Vec::len), Some(1));
    assert_eq!(found[0]["details"]["prompts"], json!([{ "performed_amr": ["phr"] }]));
    assert_eq!(found[0]["user_name"], "ada@example.org");
    assert_eq!(first[0]["details"]["authentication_methods"], json!(["passkey"]));
    assert_eq!(first[0]["details"]["webauthn"]["be"], true);
    let wrong = world.admin("GET", "/api/v2/logs?take=many", None).await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn events_hold_no_secrets() {
    let world = World::new().await;
    let mut browser = world.browser();
    browser.sign_up_with_password("ada@example.org", "correct horse battery").await;
    browser.form("/login", &[("identifier", "ada@example.org")]).await;
    browser.form("/login/password", &[("password", "wrong horse battery")]).await;
    browser.form("/recover", &[("email", "ada@example.org")]).await;
    let code = world.latest_code().await;
    let text = format!("{:?}", world.events().await);
    assert!(!text.contains("horse"), "{text}");
    // Six digits of an id or a time may be those of a code.
    assert!(text.split(|letter: char| !letter.is_ascii_alphanumeric()).all(|word| word != code), "{text}");
}

#[tokio::test]
async fn well_known_files_are_where_browsers_look() {
    let world = World::new().await;
    let endpoints = world.browser().get("/.well-known/passkey-endpoints").await;
    assert_eq!(endpoints.status, StatusCode::OK);
    assert_eq!(
        endpoints.json(),
        json!({
            "enroll": "http://localhost:8080/account", "manage": "http://localhost:8080/account",
            "prfUsageDetails": "http://localhost:8080/playground",
        })
    );
    // Pages of the service itself that the RP ID does not cover need leave, too.
    let abroad = World::at(&[ORIGIN, "http://accounts.localhost:8080", "https://example.de"]).await;
    let related = abroad.browser().get("/.well-known/webauthn").await.json();
    assert_eq!(related, json!({ "origins": ["https://example.de"] }));
    let change = world.browser().get("/.well-known/change-password").await;
    assert_eq!(
        (change.status, change.headers["location"].to_str().unwrap()),
        (StatusCode::FOUND, "/account/security")
    );
}

#[tokio::test]
async fn what_policy_has_turned_off_is_offered_on_no_page() {
    let world = World::new().await;
    let (email, mut browser, mut lost) = ("ada@example.org", world.browser(), world.browser());
    browser.sign_up_with_password(email, "correct horse battery").await;
    lost.form("/recover", &[("email", email)]).await;
    let code = world.latest_code().await;
    assert_eq!(lost.form("/recover/code", &[("code", &code)]).await.location(), "/recover/new");
    let mut offered = world.browser();
    assert_eq!(offered.log_in_with_password(email, "correct horse battery").await, "/enroll");
    let (mut other, mut phone) = (world.browser(), Authenticator::platform());
    other.sign_up("eve@example.org", &mut phone).await;
    let turn = async |passkey: bool, code: bool| {
        let patch = json!({ "passkey": { "enabled": passkey }, "code": { "enabled": code } });
        assert_eq!(world.admin("PATCH", "/api/v2/policy", Some(patch)).await.status, StatusCode::OK);
    };
    turn(false, true).await;
    // Who was about to be offered a passkey goes on.
    assert_eq!(offered.get("/enroll").await.location(), "/account");
    for path in ["/account", "/account/security", "/recover", "/recover/new", "/login"] {
        let visitor = if path.starts_with("/account") { &mut browser } else { &mut lost };
        let page = visitor.get(path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        for offer in ["reate a passkey", "a new passkey", "passkey is faster", "data-ceremony"] {
            assert!(!page.text.contains(offer), "{path} offers: {offer}");
        }
    }
    // Nor to who has a passkey; that one is still there to be removed.
    let account = other.get("/account").await;
    assert!(account.status == StatusCode::OK && account.text.contains("/remove"), "{}", account.text);
    assert!(!account.text.contains("data-ceremony"), "{}", account.text);
    assert!(lost.get("/recover/new").await.text.contains("Set a new password"));
    let endpoints = world.browser().get("/.well-known/passkey-endpoints").await.json();
    assert!(endpoints["enroll"].is_null() && endpoints["manage"].is_string(), "{endpoints}");
    turn(true, false).await;
    let login = world.browser().get("/login").await.text;
    assert!(login.contains("href=\"/reset-password\"") && !login.contains("href=\"/recover"), "{login}");
    assert_eq!(world.browser().get("/reset-password").await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_search_of_the_operators_page_finds_events_however_far_back() {
    let world = World::new().await;
    let mut browser = world.browser();
    browser.sign_up_with_password("ada@example.org", "correct horse battery").await;
    for _ in 0..510 {
        browser.json_from("https://elsewhere.example", "/login", &json!({})).await;
    }
    browser.form("/admin/token", &[("token", ADMIN)]).await;
    let found = browser.get("/admin?q=type:ss").await.text;
    assert!(found.contains("Successful sign-up"), "{found}");
    assert!(browser.get("/admin?q=type:sdu").await.text.contains("Nothing yet."));
}

#[tokio::test]
async fn who_has_to_log_in_first_comes_to_where_the_password_is_changed() {
    let world = World::new().await;
    let (email, password) = ("ada@example.org", "correct horse battery");
    world.browser().sign_up_with_password(email, password).await;
    let arrive = async || {
        let mut browser = world.browser();
        let login = browser.get("/account/security").await.location().to_string();
        assert_eq!(browser.get(&login).await.status, StatusCode::OK);
        browser
    };
    // By way of the offer of a passkey, put off or taken.
    let mut browser = arrive().await;
    assert_eq!(browser.log_in_with_password(email, password).await, "/enroll");
    assert_eq!(browser.form("/enroll/skip", &[]).await.location(), "/account/security");
    assert_eq!(browser.get("/account/security").await.status, StatusCode::OK);
    world.pass_days(31);
    let mut browser = arrive().await;
    browser.log_in_with_password(email, password).await;
    let mut phone = Authenticator::platform();
    let done = browser.register("/enroll", json!({}), &mut phone).await;
    assert_eq!(done.json(), json!({ "next": "/account/security" }));
    let done = arrive().await.authenticate("/login/passkey", json!({}), &mut phone).await;
    assert_eq!(done.json(), json!({ "next": "/account/security" }));
    // It is no way out of this service.
    let mut browser = world.browser();
    browser.get("/login?then=https://elsewhere.example/account/security").await;
    let done = browser.authenticate("/login/passkey", json!({}), &mut phone).await;
    assert_eq!(done.json(), json!({ "next": "/account" }));
}

#[tokio::test]
async fn the_latest_events_are_shown_whatever_the_databases_collation() {
    let world = World::new().await;
    world.browser().sign_up_with_password("ada@example.org", "correct horse battery").await;
    let id = world.events().await[0].1["log_id"].as_str().expect("an id").to_string();
    assert!(world.browser().get("/inspect").await.text.contains(&id));
    let mut browser = world.browser();
    browser.form("/admin/token", &[("token", ADMIN)]).await;
    assert!(browser.get("/admin").await.text.contains(&id));
}

#[tokio::test]
async fn a_policy_that_cannot_be_read_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = postgres::shared_database(folder.path());
    let world = World::start(&database, "[mfa]\npolicy = \"always\"").await;
    let (email, password) = ("ada@example.org", "correct horse battery");
    assert_eq!(world.browser().sign_up_with_password(email, password).await, "/mfa/setup");
    // A newer program has an option that this one has never heard of.
    let newer = "{\"mfa\":{\"policy\":\"always\"},\"unheard_of\":1}";
    postgres::run(&database, &format!("UPDATE settings SET value = '{newer}' WHERE name = 'policy'"));
    world.pass_minutes(1);
    assert_eq!(world.browser().log_in_with_password(email, password).await, "/mfa/setup", "as before");
    let patch = world.admin("PATCH", "/api/v2/policy", Some(json!({ "log_retention_days": 7 }))).await;
    assert_eq!((patch.status, patch.error().as_str()), (StatusCode::CONFLICT, "policy-unreadable"));
    let mut operator = world.browser();
    operator.form("/admin/token", &[("token", ADMIN)]).await;
    let form = operator.form("/admin/policy", &[("log_retention_days", "7")]).await;
    assert_eq!(form.status, StatusCode::CONFLICT, "{}", form.text);
    world.pass_minutes(1);
    assert_eq!(world.browser().log_in_with_password(email, password).await, "/mfa/setup");
    // Nor does another of this version start on it, unless it is told a policy.
    let config = |policy| Config { database: database.clone(), policy, ..Config::localhost(8080) };
    let refused = app(config(None)).await.expect_err("it knows no policy");
    assert!(refused.to_string().contains("unheard_of") && refused.hint().contains("--policy"), "{refused}");
    drop(app(config(Some(Policy::default()))).await.expect("the operator has decided"));
}

#[tokio::test]
async fn a_new_token_ends_the_sessions_of_whoever_had_the_old_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = format!("sqlite:{}", folder.path().join("accounts.db").display());
    let old = World::start(&database, "").await;
    let mut thief = old.browser();
    assert_eq!(thief.form("/admin/token", &[("token", ADMIN)]).await.location(), "/admin");
    assert!(!thief.get("/admin").await.text.contains("Operators only"));
    // The operator starts it with another token, once for real and once as it was.
    let new = World::with_token(&database, "another token, since that one leaked").await;
    let mut later = new.adopt(&thief);
    assert!(later.get("/admin").await.text.contains("Operators only"));
    let refused = later.form("/admin/policy", &[("mfa.policy", "never")]).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    let again = World::start(&database, "").await;
    assert!(!again.adopt(&thief).get("/admin").await.text.contains("Operators only"));
}

#[tokio::test]
async fn two_changes_of_policy_at_once_are_both_in_force() {
    let folder = tempfile::tempdir().expect("a folder");
    let worlds = World::processes(2, &postgres::shared_database(folder.path())).await;
    // One process has just looked at the policy when another changes it.
    let always = json!({ "mfa": { "policy": "always" } });
    assert_eq!(worlds[1].admin("GET", "/api/v2/policy", None).await.status, StatusCode::OK);
    assert_eq!(worlds[0].admin("PATCH", "/api/v2/policy", Some(always)).await.status, StatusCode::OK);
    let patch = json!({ "log_retention_days": 7 });
    let answer = worlds[1].admin("PATCH", "/api/v2/policy", Some(patch)).await.json();
    assert_eq!((&answer["mfa"]["policy"], &answer["log_retention_days"]), (&json!("always"), &json!(7)));
    // And several together, in one process and two.
    let worlds: Vec<_> = worlds.into_iter().map(std::sync::Arc::new).collect();
    let changes = [("put_off_days", 1), ("max_per_user", 2), ("timeout_ms", 100_000)].into_iter().zip(0..);
    let changes = changes.map(|((option, value), number)| {
        let world = std::sync::Arc::clone(&worlds[number % 2]);
        tokio::spawn(async move {
            let patch = json!({ "passkey": { option: value } });
            world.admin("PATCH", "/api/v2/policy", Some(patch)).await.status
        })
    });
    for change in changes.collect::<Vec<_>>() {
        assert_eq!(change.await.expect("it is answered"), StatusCode::OK);
    }
    worlds[0].pass_minutes(1);
    let policy = worlds[0].admin("GET", "/api/v2/policy", None).await.json();
    let passkey = &policy["passkey"];
    assert_eq!(
        [
            &passkey["put_off_days"],
            &passkey["max_per_user"],
            &passkey["timeout_ms"],
            &policy["mfa"]["policy"]
        ],
        [&json!(1), &json!(2), &json!(100_000), &json!("always")]
    );
}

/// Everything that the form on `/admin` would send as it is, as a browser does.
fn fields_of(page: &str) -> Vec<(String, String)> {
    let attribute = |tag: &str, name: &str| {
        let value = tag.split(&format!(" {name}=\"")).nth(1)?.split('"').next()?;
        Some(value.replace("&quot;", "\"").replace("&amp;", "&"))
    };
    let form = page.split("action=\"/admin/policy\"").nth(1).and_then(|rest| rest.split("</form>").next());
    let mut select = None;
    let mut fields = Vec::new();
    for tag in form.expect("a form").split('<').filter_map(|rest| rest.split('>').next()) {
        match tag.split(' ').next() {
            Some("select") => select = attribute(tag, "name"),
            Some("option") if tag.ends_with(" selected") => {
                fields.push((select.clone().expect("its select"), attribute(tag, "value").expect("a value")));
            }
            Some("input") if !tag.contains("checkbox") || tag.ends_with(" checked") => {
                let name = attribute(tag, "name").expect("a name");
                fields.push((name, attribute(tag, "value").unwrap_or_default()));
            }
            _ => {}
        }
    }
    fields
}

#[tokio::test]
async fn a_form_that_was_opened_before_another_change_leaves_that_change_alone() {
    let world = World::new().await;
    let mut operator = world.browser();
    operator.form("/admin/token", &[("token", ADMIN)]).await;
    let mut fields = fields_of(&operator.get("/admin").await.text);
    assert!(fields.len() > 40, "{fields:?}");
    // Meanwhile somebody turns a second factor on for everybody.
    let meanwhile = json!({
        "mfa": { "policy": "always" }, "passkey": { "hints": ["hybrid"], "local_enrollment_enabled": false },
        "log_retention_days": 7,
    });
    assert_eq!(world.admin("PATCH", "/api/v2/policy", Some(meanwhile)).await.status, StatusCode::OK);
    let most = fields.iter_mut().find(|(name, _)| name == "passkey.max_per_user").expect("a field");
    most.1 = "5".into();
    fields.retain(|(name, _)| name != "passkey.progressive_enrollment_enabled");
    let pairs: Vec<(&str, &str)> =
        fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(operator.form("/admin/policy", &pairs).await.location(), "/admin");
    let policy = world.admin("GET", "/api/v2/policy", None).await.json();
    assert_eq!(policy["mfa"]["policy"], "always");
    assert_eq!((&policy["passkey"]["hints"], &policy["log_retention_days"]), (&json!(["hybrid"]), &json!(7)));
    assert_eq!(policy["passkey"]["local_enrollment_enabled"], false);
    assert_eq!(policy["passkey"]["progressive_enrollment_enabled"], false, "its box was unticked");
    assert_eq!(policy["passkey"]["max_per_user"], 5);
    // The event names what was decided, and nothing else.
    let (code, event) = world.events().await.pop().expect("an event");
    let decided = json!({ "passkey": { "max_per_user": 5, "progressive_enrollment_enabled": false } });
    assert_eq!((code.as_str(), &event["details"]["patch"]), ("sapi", &decided));
    // Whoever sends it as it is changes nothing.
    let fields = fields_of(&operator.get("/admin").await.text);
    let pairs: Vec<(&str, &str)> =
        fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let count = world.events().await.len();
    operator.form("/admin/policy", &pairs).await;
    assert_eq!(world.events().await.len(), count);
    assert!(operator.get("/admin").await.text.contains("Nothing has changed."));
}

#[tokio::test]
async fn a_form_that_names_a_section_is_refused_and_no_fault_of_ours() {
    let world = World::new().await;
    let mut operator = world.browser();
    operator.form("/admin/token", &[("token", ADMIN)]).await;
    let before = world.admin("GET", "/api/v2/policy", None).await.json();
    for (section, option) in
        [("passkey", "passkey.enabled"), ("attributes.email", "attributes.email.verify"), ("box", "passkey")]
    {
        let refused = operator.form("/admin/policy", &[(section, "passkey"), (option, "on")]).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{section}: {}", refused.text);
        assert!(refused.text.contains("is a section, and no option"), "{}", refused.text);
    }
    // A part of a list is no option, either.
    for list in ["passkey.algorithms", "passkey/algorithms"] {
        let part = format!("{list}.0");
        let answer = operator.form("/admin/policy", &[(list, "-8, -7, -257"), (&part, "-7")]).await;
        assert_eq!(answer.location(), "/admin", "{list}");
    }
    assert_eq!(world.admin("GET", "/api/v2/policy", None).await.json(), before);
}

/// Whoever has planted a session in the operator's browser knows its token.
#[tokio::test]
async fn the_session_changes_when_the_operators_token_is_entered() {
    let world = World::new().await;
    let mut operator = world.browser();
    operator.sign_up("ada@example.org", &mut Authenticator::platform()).await;
    let planted = operator.clone();
    assert_eq!(operator.form("/admin/token", &[("token", ADMIN)]).await.location(), "/admin");
    assert_ne!(operator.cookie("session"), planted.cookie("session"));
    assert!(!operator.get("/admin").await.text.contains("Operators only"));
    assert_eq!(operator.get("/account").await.status, StatusCode::OK, "still signed in");
    for path in ["/admin", "/account"] {
        let answer = planted.clone().get(path).await;
        assert!(answer.status == StatusCode::SEE_OTHER || answer.text.contains("Operators only"), "{path}");
    }
    // Without a session before, too.
    let mut fresh = world.browser();
    fresh.get("/login").await;
    let held = fresh.clone();
    fresh.form("/admin/token", &[("token", ADMIN)]).await;
    assert_ne!(fresh.cookie("session"), held.cookie("session"));
    assert!(held.clone().get("/admin").await.text.contains("Operators only"));
}

#[tokio::test]
async fn a_policy_that_lets_nobody_in_is_refused() {
    let world = World::new().await;
    let neither = json!({ "passkey": { "enabled": false }, "password": { "enabled": false } });
    let refused = world.admin("PATCH", "/api/v2/policy", Some(neither)).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(refused.text.contains("passkey.enabled or password.enabled"), "{}", refused.text);
    let signup = world.browser().form("/signup", &[("email", "ada@example.org")]).await;
    assert_eq!(signup.location(), "/signup/passkey");
}

#[tokio::test]
async fn a_policy_that_a_start_puts_into_force_is_an_event() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = postgres::shared_database(folder.path());
    // The first one is no change, nor is the same once more.
    let file = "[mfa]\npolicy = \"always\"";
    World::start(&database, file).await;
    let world = World::start(&database, file).await;
    assert!(world.events().await.is_empty());
    let patch = json!({ "mfa": { "policy": "never" }, "passkey": { "hints": ["hybrid"] } });
    world.admin("PATCH", "/api/v2/policy", Some(patch)).await;
    let world = World::start(&database, file).await;
    let (code, event) = world.events().await.pop().expect("an event");
    let undone = json!({ "mfa": { "policy": "always" }, "passkey": { "hints": [] } });
    assert_eq!((code.as_str(), &event["details"]["patch"]), ("sapi", &undone));
    assert_eq!(event["details"]["by"], "--policy");
    let count = world.events().await.len();
    assert_eq!(
        World::start_with(&database, None).await.events().await.len(),
        count,
        "nothing was put into force"
    );
}
