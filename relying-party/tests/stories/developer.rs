//! Development mode: the conformance binding, which the playground uses too.

use axum::http::StatusCode;
use doppelkey_relying_party::{Config, app};
use serde_json::json;

use crate::world::{Authenticator, Browser, ORIGIN, Twist, World};

#[tokio::test]
async fn the_conformance_binding_registers_and_authenticates() {
    let world = World::new().await;
    let mut browser = world.browser();
    let mut key = Authenticator::security_key();
    let wanted = json!({
        "username": "johndoe@example.com", "displayName": "John Doe", "attestation": "direct",
        "authenticatorSelection": { "userVerification": "discouraged" }, "extensions": { "prf": {} },
    });
    let options = browser.json("/attestation/options", &wanted).await.json();
    assert_eq!((options["status"].as_str(), options["errorMessage"].as_str()), (Some("ok"), Some("")));
    assert_eq!(options["attestation"], "direct");
    assert_eq!(options["user"]["displayName"], "John Doe");
    assert_eq!(options["extensions"], json!({ "prf": {} }));
    let done = browser.json("/attestation/result", &key.create(&options, ORIGIN, Twist::None)).await.json();
    assert_eq!(done["status"], "ok");
    assert_eq!(done["transcript"].as_array().map(Vec::len), Some(29));

    let wanted = json!({ "username": "johndoe@example.com", "userVerification": "required" });
    let options = browser.json("/assertion/options", &wanted).await.json();
    let refused = browser.json("/assertion/result", &key.get(&options, ORIGIN, Twist::None)).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert_eq!(refused.json()["status"], "failed");
    let options =
        browser.json("/assertion/options", &json!({ "username": "johndoe@example.com" })).await.json();
    let done = browser.json("/assertion/result", &key.get(&options, ORIGIN, Twist::None)).await.json();
    assert_eq!(done["status"], "ok");
    let unknown = browser.json("/assertion/options", &json!({ "username": "nobody" })).await;
    assert_eq!(unknown.json()["status"], "failed");
}

#[tokio::test]
async fn pages_for_developers_are_not_there_in_real_use() {
    let router = app(Config { dev: false, ..Config::localhost(8080) }).await.expect("it starts");
    let mut browser = Browser::of(router);
    for path in ["/outbox", "/playground", "/inspect", "/inspect/x"] {
        assert_eq!(browser.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    for path in ["/attestation/options", "/assertion/result"] {
        assert_eq!(
            browser.json(path, &json!({ "username": "x" })).await.status,
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
    assert!(!browser.get("/login").await.text.contains("outbox"));
}

#[tokio::test]
async fn options_with_a_user_that_is_no_object_are_no_fault_of_ours() {
    let world = World::new().await;
    for user in [json!(1), json!("ada"), json!([]), json!(null)] {
        let wanted = json!({ "username": "ada", "displayName": "Ada", "user": user });
        let answer = world.browser().json("/attestation/options", &wanted).await;
        assert!(!answer.status.is_server_error(), "{user}: {}", answer.text);
    }
}
