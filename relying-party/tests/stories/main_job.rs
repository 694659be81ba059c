//! Signing up with a passkey, logging in with it, and what an account shows.

use crate::world::{Authenticator, World};
use axum::http::StatusCode;
use serde_json::json;

#[tokio::test]
async fn a_user_signs_up_and_logs_in_with_a_passkey() {
    let world = World::new().await;
    let mut phone = Authenticator::platform();
    let mut browser = world.browser();
    assert_eq!(browser.form("/signup", &[("email", "Ada@Example.org")]).await.location(), "/signup/passkey");
    let page = browser.get("/signup/passkey").await;
    assert!(page.text.contains("Create a passkey for Doppelkey on this device?"), "{}", page.text);
    let done = browser.register("/signup/passkey", json!({}), &mut phone).await;
    assert_eq!(done.json(), json!({ "next": "/account" }));
    let account = browser.get("/account").await;
    assert!(account.text.contains("ada@example.org") && account.text.contains("Synced"), "{}", account.text);

    assert_eq!(browser.form("/logout", &[]).await.location(), "/login");
    assert_eq!(browser.get("/account").await.location(), "/login");
    let done = browser.authenticate("/login/passkey", json!({}), &mut phone).await;
    assert_eq!(done.json(), json!({ "next": "/account" }));
    assert_eq!(browser.get("/account").await.status, StatusCode::OK);
    assert_eq!(world.codes().await, ["ss", "s", "slo", "s"]);
}

#[tokio::test]
async fn creation_options_ask_for_what_passkeys_need() {
    let world = World::new().await;
    let options =
        world.browser().json("/signup/passkey/options", &json!({ "email": "ada@example.org" })).await.json();
    let options = &options["publicKey"];
    assert_eq!(options["authenticatorSelection"]["residentKey"], "required");
    assert_eq!(options["authenticatorSelection"]["userVerification"], "preferred");
    // An attachment here would take "another device" out of the browser's dialog.
    assert!(options["authenticatorSelection"].get("authenticatorAttachment").is_none());
    assert_eq!(options["rp"], json!({ "id": "localhost", "name": "Doppelkey" }));
    assert_eq!(options["timeout"], 300_000);
    let algorithms: Vec<_> =
        options["pubKeyCredParams"].as_array().unwrap().iter().map(|p| p["alg"].clone()).collect();
    assert_eq!(algorithms, [json!(-8), json!(-7), json!(-257)]);
    // 64 random bytes, never the address.
    assert_eq!(options["user"]["id"].as_str().unwrap().len(), 86);
}

#[tokio::test]
async fn a_user_signs_up_and_logs_in_with_a_password() {
    let world = World::new().await;
    let mut browser = world.browser();
    let next = browser.sign_up_with_password("ada@example.org", "correct horse battery").await;
    assert_eq!(next, "/account");
    let account = browser.get("/account").await;
    assert!(account.text.contains("Log in faster and safer"), "{}", account.text);
    assert_eq!(browser.form("/logout", &[]).await.location(), "/login");
    assert_eq!(browser.log_in_with_password("ada@example.org", "correct horse battery").await, "/enroll");
    assert_eq!(world.codes().await, ["ss", "s", "slo", "s"]);
}
