//! Every route there is, read from the source, against a table of requests that are wrong.

use std::path::Path;

use axum::http::StatusCode;

use crate::source_routes::{self, Route};
use crate::world::{ADMIN, Authenticator, World};

/// The routes there are, each as a path that can be asked for.
fn routes() -> Vec<Route> {
    let mut found = source_routes::under(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(found.len() > 70, "{} routes", found.len());
    for route in &mut found {
        route.path = route.path.replace("{id}", "x").replace("{kind}", "email");
    }
    found
}

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// Bodies that are nobody's.
fn bodies() -> Vec<(&'static str, String)> {
    let long = "x".repeat(70_000);
    vec![
        ("", String::new()),
        ("", "{}".into()),
        ("text/plain", "{}".into()),
        ("multipart/form-data; boundary=x", "--x--".into()),
        (JSON, String::new()),
        (JSON, "{".into()),
        (JSON, "null".into()),
        (JSON, "[[]]".into()),
        (JSON, "{\"a\": {\"b\": \u{1}}}".into()),
        (JSON, "{\"unheard\": \"of\", \"id\": 7, \"response\": []}".into()),
        (JSON, "[".repeat(2000)),
        (JSON, format!("\"{long}\"")),
        (FORM, "%".into()),
        (FORM, "a=%ff&=&&==&email[]=x".into()),
        (
            FORM,
            "email=a&email=b&password=&password=&code=&code=&value=&value=&identifier=&identifier=".into(),
        ),
        (FORM, long),
    ]
}

/// Reads the log on from where it was read last.
struct Reader<'a> {
    world: &'a World,
    from: String,
}

impl Reader<'_> {
    /// How many events there are that have not been counted yet.
    async fn count(&mut self) -> usize {
        let path = format!("/api/v2/logs?take=100&from={}", self.from);
        let events = self.world.admin("GET", &path, None).await.json();
        let events = events.as_array().expect("a list");
        if let Some(last) = events.last() {
            self.from = last["log_id"].as_str().expect("an id").into();
        }
        events.len()
    }
}

#[tokio::test]
async fn every_route_takes_a_wrong_body_with_the_right_status_and_one_event() {
    let world = World::new().await;
    let mut signed_in = world.browser();
    signed_in.sign_up("ada@example.org", &mut Authenticator::platform()).await;
    let bearer = format!("Bearer {ADMIN}");
    let mut log = Reader { world: &world, from: String::new() };
    log.count().await;
    let mut refused = 0;
    for Route { path, methods } in routes() {
        for method in methods.iter().filter(|method| **method != "GET") {
            for (content_type, body) in bodies() {
                for mut browser in [world.browser(), signed_in.clone()] {
                    let mut headers = vec![("authorization", bearer.as_str())];
                    headers.extend((!content_type.is_empty()).then_some(("content-type", content_type)));
                    let what = format!("{method} {path} {content_type} {body:.40}");
                    let answer = browser.send(method, &path, &headers, Some(body.clone())).await;
                    let (status, events) = (answer.status, log.count().await);
                    assert!(!status.is_server_error(), "{what}: {status}");
                    let is_malformed = [StatusCode::PAYLOAD_TOO_LARGE, StatusCode::UNSUPPORTED_MEDIA_TYPE]
                        .contains(&status)
                        || answer.text.contains("The request is malformed");
                    let is_told = if is_malformed { events == 1 } else { events <= 1 };
                    assert!(is_told, "{what}: {status}, {events} events");
                    refused += usize::from(is_malformed);
                }
            }
        }
    }
    assert!(refused > 500, "only {refused} were refused as malformed");
}

#[tokio::test]
async fn every_route_bounds_its_address_headers_and_cookies() {
    let world = World::new().await;
    let long = "x".repeat(9000);
    let cookies = format!("session={long}; session=%00; device={long}");
    let odd: [(&str, &[(&str, &str)]); 5] = [
        ("?a=%ff%zz&then=%0d%0a&token=%00", &[]),
        ("?then=a&then=b&token=a&token=b&q=a&q=b&take=a&from=b", &[]),
        ("", &[("cookie", &cookies)]),
        ("", &[("user-agent", &long), ("authorization", &long), ("last-event-id", &long)]),
        ("", &[("x-forwarded-for", "1.2.3.4, \u{a0}"), ("content-length", "18446744073709551615")]),
    ];
    for Route { path, methods } in routes() {
        if path.ends_with("/stream") {
            continue; // it has no end, and is asked elsewhere
        }
        for (query, headers) in odd {
            for method in &methods {
                let answer = world.browser().send(method, &format!("{path}{query}"), headers, None).await;
                assert!(!answer.status.is_server_error(), "{method} {path}{query}: {}", answer.status);
                let is_plain = answer
                    .headers
                    .get("content-type")
                    .is_some_and(|value| value.as_bytes().starts_with(b"text/plain"));
                assert!(!is_plain, "{method} {path}{query}: a refusal that is not ours: {}", answer.text);
            }
        }
        for method in ["PUT", "TRACE", "BREW"] {
            let status = world.browser().send(method, &path, &[], None).await.status;
            assert!(
                [StatusCode::METHOD_NOT_ALLOWED, StatusCode::NOT_FOUND].contains(&status),
                "{method} {path}: {status}"
            );
        }
        let in_segment = path.replace("/x", "/%ff%2f..%00");
        if in_segment != path {
            let status = world.browser().get(&in_segment).await.status;
            assert!(!status.is_server_error(), "{in_segment}: {status}");
        }
    }
}
