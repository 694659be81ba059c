//! Input that is wrong, too long, or from elsewhere.

use axum::http::StatusCode;
use serde_json::json;

use crate::world::{Authenticator, ORIGIN, World};

const JSON_PATHS: [&str; 6] = [
    "/signup/passkey/options",
    "/signup/passkey",
    "/login/passkey/options",
    "/login/passkey",
    "/step-up/options",
    "/recover/passkey",
];

#[tokio::test]
async fn a_post_from_another_site_is_refused() {
    let world = World::new().await;
    let mut browser = world.browser();
    browser.sign_up("ada@example.org", &mut Authenticator::platform()).await;
    let cases: [&[(&str, &str)]; 4] = [
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[("sec-fetch-site", "cross-site"), ("origin", ORIGIN)],
        &[("sec-fetch-site", "same-site")],
    ];
    for headers in cases {
        let answer = browser.send("POST", "/logout", headers, None).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{headers:?}");
    }
    assert_eq!(browser.get("/account").await.status, StatusCode::OK, "still signed in");
    assert_eq!(world.codes().await.iter().filter(|code| *code == "fapi").count(), cases.len());
    // A program that is no browser says neither.
    assert_eq!(browser.send("POST", "/logout", &[], None).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn malformed_bodies_are_told_as_such_and_logged_once() {
    let world = World::new().await;
    let json = [("content-type", "application/json")];
    for path in JSON_PATHS {
        let mut browser = world.browser();
        for body in ["", "{", "[1", "\u{0}", "{\"a\":1}}", &"[".repeat(10_000)] {
            let before = world.events().await.len();
            let answer = browser.send("POST", path, &json, Some(body.to_string())).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path} {body}");
            assert_eq!(answer.error(), "invalid_request");
            assert_eq!(world.events().await.len(), (before + 1).min(100), "{path}");
            if before > 90 {
                return;
            }
        }
    }
}

#[tokio::test]
async fn wrong_content_types_and_long_bodies_are_refused() {
    let world = World::new().await;
    let mut browser = world.browser();
    for path in JSON_PATHS {
        let text = browser.send("POST", path, &[("content-type", "text/plain")], Some("{}".into())).await;
        assert_eq!(text.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{path}");
        let long = format!("{{\"a\": \"{}\"}}", "x".repeat(70_000));
        let long = browser.send("POST", path, &[("content-type", "application/json")], Some(long)).await;
        assert_eq!(long.status, StatusCode::PAYLOAD_TOO_LARGE, "{path}");
    }
    let form =
        browser.send("POST", "/login", &[("content-type", "application/json")], Some("{}".into())).await;
    assert_eq!(form.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let long = "x".repeat(70_000);
    assert_eq!(browser.form("/login", &[("identifier", &long)]).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(browser.form("/login", &[]).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn unknown_members_of_a_wish_are_refused() {
    let world = World::new().await;
    let answer = world.browser().json("/login/passkey/options", &json!({ "colour": "red" })).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn odd_credentials_are_refused_and_never_break_anything() {
    let world = World::new().await;
    let mut browser = world.browser();
    let deep = (0..100).fold(json!(1), |inner, _| json!({ "a": inner }));
    let odd = [
        json!(null),
        json!([]),
        json!("x"),
        json!({}),
        json!({ "response": null }),
        json!({ "id": 1, "rawId": [], "type": {}, "response": { "clientDataJSON": 5 } }),
        json!({ "rawId": "AAAA", "response": { "clientDataJSON": "e30" } }),
        json!({ "rawId": "AAAA", "response": { "clientDataJSON": "!!" } }),
        deep,
    ];
    for credential in odd {
        for path in ["/login/passkey", "/signup/passkey"] {
            let answer = browser.json(path, &credential).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path} {credential}");
        }
    }
}

#[tokio::test]
async fn unknown_paths_methods_and_cookies_do_no_harm() {
    let world = World::new().await;
    let mut browser = world.browser();
    assert_eq!(browser.get("/nowhere").await.status, StatusCode::NOT_FOUND);
    assert_eq!(browser.send("DELETE", "/login", &[], None).await.status, StatusCode::METHOD_NOT_ALLOWED);
    let long = format!("session={}", "x".repeat(5000));
    for cookie in ["session=", "session=../../etc", &long] {
        let answer = browser.send("GET", "/account", &[("cookie", cookie)], None).await;
        assert_eq!(answer.location(), "/login", "{cookie}");
    }
}

#[tokio::test]
async fn every_page_is_protected_by_its_headers() {
    let world = World::new().await;
    for path in ["/login", "/signup", "/recover", "/reset-password", "/nowhere"] {
        let page = world.browser().get(path).await;
        let policy = page.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(page.headers["cache-control"], "no-store");
        assert_eq!(page.headers["x-content-type-options"], "nosniff");
        assert!(
            page.headers["permissions-policy"].to_str().unwrap().contains("publickey-credentials-get=(self)")
        );
        assert!(!page.text.contains("style=\"") && !page.text.contains("onclick"), "{path}");
    }
}

/// A small generator (xorshift): the same seed tells the same story.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).expect("below sides")
    }
}

#[tokio::test]
async fn no_request_however_mangled_is_our_fault() {
    let world = World::new().await;
    let mut browser = world.browser();
    let mut phone = Authenticator::platform();
    browser.sign_up("ada@example.org", &mut phone).await;
    let paths = [
        "/signup",
        "/signup/code",
        "/signup/passkey",
        "/signup/passkey/options",
        "/signup/password",
        "/login",
        "/login/password",
        "/login/passkey",
        "/login/passkey/options",
        "/enroll",
        "/enroll/skip",
        "/recover",
        "/recover/code",
        "/recover/new",
        "/reset-password",
        "/reset-password/new?token=%ff",
        "/mfa/otp",
        "/mfa/setup",
        "/account",
        "/account/lost",
        "/account/passkeys/%00/rename",
        "/account/security",
        "/step-up?then=%0d%0a",
        "/unblock",
        "/admin",
        "/admin/policy",
        "/api/v2/policy",
        "/api/v2/logs?take=-1",
        "/outbox",
        "/inspect/%27",
        "/attestation/options",
        "/attestation/result",
        "/assertion/options",
        "/assertion/result",
        "/.well-known/webauthn",
    ];
    let seed = 0x5eed_0001_u64;
    let mut dice = Dice(seed);
    // The same bytes in every run, so that the seed brings back what it found.
    let known = Authenticator::with_passkey(vec![7; 32], &[8; 16], &[9; 32]);
    for round in 0..1500 {
        let path = paths[dice.roll(paths.len())];
        let method = ["GET", "POST", "POST", "PUT", "PATCH"][dice.roll(5)];
        let options = json!({ "rp": { "id": "localhost" }, "rpId": "localhost", "user": { "id": "AAAA" }, "challenge": "AAAA" });
        let credential = known.clone().get(&options, ORIGIN, crate::world::Twist::None);
        let seeds = [
            credential.to_string(),
            json!({ "email": "x@example.org", "mediation": "conditional" }).to_string(),
            json!({ "username": "x", "authenticatorSelection": 7, "pubKeyCredParams": {} }).to_string(),
            "email=x%40example.org&password=x&code=123456&identifier=ada&token=x&name=y&lost=z&box=passkey.formats".into(),
        ];
        let mut body = seeds[dice.roll(seeds.len())].clone().into_bytes();
        for _ in 0..dice.roll(6) {
            let at = dice.roll(body.len().max(1)).min(body.len().saturating_sub(1));
            match dice.roll(4) {
                0 => body.truncate(at),
                1 if !body.is_empty() => body[at] = b"\"{}[],:0&=%x"[dice.roll(12)],
                2 => body.insert(at, b"\\\"%{["[dice.roll(5)]),
                _ => body.extend_from_within(at..),
            }
            if body.is_empty() {
                break;
            }
        }
        let content_type =
            ["application/json", "application/x-www-form-urlencoded", "text/plain", ""][dice.roll(4)];
        let body = String::from_utf8_lossy(&body).into_owned();
        let mut visitor = if dice.roll(2) == 0 { browser.clone() } else { world.browser() };
        let answer = visitor.send(method, path, &[("content-type", content_type)], Some(body.clone())).await;
        assert!(
            !answer.status.is_server_error(),
            "seed {seed:#x}, round {round}: {method} {path} {content_type} gives {}: {body}",
            answer.status
        );
    }
}

#[tokio::test]
async fn a_nul_character_is_refused_wherever_it_stands() {
    let world = World::with_policy("[attributes.username]\nidentifier = true\nsignup = \"optional\"").await;
    let mut browser = world.browser();
    let mut phone = Authenticator::platform();
    let options =
        browser.json("/signup/passkey/options", &json!({ "email": "ada@example.org" })).await.json();
    let mut credential = phone.create(&options["publicKey"], crate::world::ORIGIN, crate::world::Twist::None);
    let honest = credential.clone();
    credential["authenticatorAttachment"] = json!("\0");
    let refused = browser.json("/signup/passkey", &credential).await;
    assert_eq!((refused.status, refused.error().as_str()), (StatusCode::BAD_REQUEST, "invalid_request"));
    assert_eq!(world.codes().await, ["fapi"]);
    assert_eq!(
        browser.json("/signup/passkey", &honest).await.status,
        StatusCode::OK,
        "the challenge is not spent"
    );
    for path in ["/account/passkeys/%00/rename", "/login"] {
        let refused = browser.form(path, &[("name", "a key"), ("identifier", "a\0b")]).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{path}: {}", refused.text);
    }
    let refused = world.admin("GET", "/api/v2/logs?from=%00", None).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.text);
}

#[tokio::test]
async fn a_code_sent_as_a_number_is_not_in_the_log() {
    let world = World::new().await;
    let otp = "http://auth0.com/oauth/grant-type/mfa-otp";
    let body = json!({ "grant_type": otp, "client_id": "doppelkey", "mfa_token": "x", "otp": 471_193 });
    let refused = world.browser().json("/oauth/token", &body).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    let events = world.events().await;
    assert_eq!(events.len(), 1, "{events:?}");
    let text = events[0].1.to_string();
    assert!(!text.contains("471193") && text.contains("column"), "{text}");
}
