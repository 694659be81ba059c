//! What somebody does who wants in: attacks on the seams between the network, mail and accounts.

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doppelkey_relying_party::Config;
use serde_json::json;

use crate::randomness::{SAMPLES, assert_every_bit_is_free};
use crate::second_factor::{self, bytes_of, shown_secret};
use crate::world::{Authenticator, Browser, World};

const EMAIL: &str = "mike@example.org";
const PASSWORD: &str = "correct horse battery";

async fn guess(mut browser: Browser, password: &str) -> StatusCode {
    browser.form("/login", &[("identifier", EMAIL)]).await;
    browser.form("/login/password", &[("password", password)]).await.status
}

/// A subscriber has at least 2^64 addresses of IPv6: a limit for each would be none.
#[tokio::test]
async fn who_has_a_network_of_addresses_guesses_no_more_than_who_has_one() {
    let world = World::behind_a_proxy().await;
    world.browser().sign_up_with_password(EMAIL, PASSWORD).await;
    let at = |address: String| world.browser().with_header("x-forwarded-for", address);
    for host in 1..=10 {
        let refused = guess(at(format!("2001:db8:1:2:{host:x}::{host:x}")), "wrong horse").await;
        assert_eq!(refused, StatusCode::UNPROCESSABLE_ENTITY, "guess {host}");
    }
    assert_eq!(guess(at("2001:db8:1:2::ffff".into()), PASSWORD).await, StatusCode::TOO_MANY_REQUESTS);
    for elsewhere in ["2001:db8:1:3::1", "192.0.2.1"] {
        assert_eq!(guess(at(elsewhere.into()), PASSWORD).await, StatusCode::SEE_OTHER, "{elsewhere}");
    }
    // One address of IPv4 is one, in whatever form a proxy writes it.
    for guesses in 0..10 {
        let address = ["::ffff:198.51.100.7", "198.51.100.7"][guesses % 2];
        guess(at(address.into()), "wrong horse").await;
    }
    assert_eq!(guess(at("198.51.100.7".into()), PASSWORD).await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(guess(at("198.51.100.8".into()), PASSWORD).await, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_forged_forwarded_address_buys_no_more_guesses() {
    for (world, is_behind_a_proxy) in [(World::behind_a_proxy().await, true), (World::new().await, false)] {
        world.browser().sign_up_with_password(EMAIL, PASSWORD).await;
        // The proxy adds the right one behind what it was given; without one, nobody is believed.
        let forged = |number: u32| {
            let added = if is_behind_a_proxy { ", 203.0.113.9" } else { "" };
            world.browser().with_header("x-forwarded-for", format!("198.51.100.{number}{added}"))
        };
        for number in 1..=10 {
            assert_eq!(guess(forged(number), "wrong horse").await, StatusCode::UNPROCESSABLE_ENTITY);
        }
        let eleventh = guess(forged(11), PASSWORD).await;
        assert_eq!(eleventh, StatusCode::TOO_MANY_REQUESTS, "behind a proxy: {is_behind_a_proxy}");
    }
}

/// U+212A, the sign of the kelvin, is a K in every normal form and a k in lower case: what is typed with it finds the
/// account, and a mail to what was typed might go to somebody else.
#[tokio::test]
async fn a_look_alike_that_comes_to_the_same_address_is_mailed_to_its_owner_alone() {
    let world = World::new().await;
    world.browser().sign_up_with_password(EMAIL, PASSWORD).await;
    for path in ["/reset-password", "/recover"] {
        world.browser().form(path, &[("email", "mi\u{212a}e@example.org")]).await;
        let outbox = world.outbox().await;
        assert!(outbox.contains(EMAIL), "{path} finds the account: {outbox}");
        assert!(!outbox.contains('\u{212a}'), "{path} mails what was typed");
    }
    let second = world.browser().form("/signup", &[("email", "mi\u{212a}e@example.org")]).await;
    assert_ne!(second.status, StatusCode::SEE_OTHER, "a second account of the same address");
}

#[tokio::test]
async fn a_forged_host_leads_no_link_in_a_mail_astray() {
    let world = World::new().await;
    world.browser().sign_up_with_password(EMAIL, PASSWORD).await;
    // Where the outbox is a page, a false name gets nothing at all.
    let mut by_another_name = world.browser().with_header("host", "evil.example");
    let refused = by_another_name.form("/reset-password", &[("email", EMAIL)]).await;
    assert!(refused.status.is_client_error(), "{}", refused.text);
    let forged = world.browser().with_header("x-forwarded-host", "evil.example");
    let forged = forged.with_header("forwarded", "host=evil.example;proto=http");
    for path in ["/reset-password", "/recover"] {
        forged.clone().form(path, &[("email", EMAIL)]).await;
    }
    for _ in 0..10 {
        guess(forged.clone(), "wrong horse").await;
    }
    let outbox = world.outbox().await;
    for link in ["/reset-password/new?token=", "/unblock?token="] {
        assert!(outbox.contains(&format!("{}{link}", crate::world::ORIGIN)), "{link} is mailed: {outbox}");
    }
    assert!(!outbox.contains("evil.example"), "{outbox}");
}

/// What a link, a cookie, a page or the operator's file holds, and what opens an account or the service.
#[tokio::test]
async fn no_token_that_is_mailed_or_kept_in_a_cookie_can_be_guessed() {
    let world = World::with_policy("[mfa]\npolicy = \"always\"").await;
    let (mut phone, mut app) = (Authenticator::platform(), second_factor::App::default());
    let mut owner = world.browser();
    owner.sign_up_with_passkey_and_app(EMAIL, &mut phone, &world, &mut app).await;
    let base64url = |text: &str| URL_SAFE_NO_PAD.decode(text).expect("it is base64url");
    let (mut devices, mut links, mut recovery_codes) = (Vec::new(), Vec::new(), Vec::new());
    let mut operators = Vec::new();
    for _ in 0..SAMPLES {
        // A code of the app's works once, and mails to one address are so many an hour.
        world.pass_minutes(31);
        let mut browser = world.browser();
        browser.authenticate("/login/passkey", json!({}), &mut phone).await;
        let fields = [("code", &*app.code(&world)), ("remember", "on")];
        assert_eq!(browser.form("/mfa/otp", &fields).await.location(), "/account");
        devices.push(base64url(&browser.cookie("device").expect("it is remembered")));
        let page = browser.form("/account/security/recovery-code", &[]).await.text;
        recovery_codes.push(bytes_of(&shown_secret(&page)));
        browser.form("/reset-password", &[("email", EMAIL)]).await;
        links.push(base64url(&mailed(&world.outbox().await, "/reset-password/new?token=")));
        operators.push(base64url(&Config::localhost(8080).admin_token));
    }
    assert_every_bit_is_free("remembered devices", 256, &devices);
    assert_every_bit_is_free("links in mails", 256, &links);
    assert_every_bit_is_free("recovery codes", 120, &recovery_codes);
    assert_every_bit_is_free("the operator's token", 256, &operators);
    // The secret of an app is one session's until it is set up.
    let mut secrets = Vec::new();
    let mut owner = world.browser();
    assert_eq!(
        world.admin("PATCH", "/api/v2/policy", Some(json!({ "mfa": { "policy": "never" } }))).await.status,
        StatusCode::OK
    );
    owner.sign_up("ada@example.org", &mut phone).await;
    for _ in 0..SAMPLES {
        owner.form("/logout", &[]).await;
        let options = json!({ "identifier": "ada@example.org" });
        assert_eq!(owner.authenticate("/login/passkey", options, &mut phone).await.status, StatusCode::OK);
        secrets.push(bytes_of(&shown_secret(&owner.get("/account/security/otp").await.text)));
    }
    assert_every_bit_is_free("secrets of apps", 160, &secrets);
}

/// The token of the latest link of this kind.
pub(crate) fn mailed(outbox: &str, link: &str) -> String {
    let token = outbox.split(link).nth(1).and_then(|rest| rest.split(['"', '<', '&', ' ']).next());
    token.unwrap_or_else(|| panic!("there is a mail with {link}: {outbox}")).to_string()
}
