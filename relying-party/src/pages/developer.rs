//! Pages for developers.

use maud::{Markup, html};
use serde_json::Value;

use super::{admin, parts, wide};
use crate::app::App;
use crate::events::{description, iso};
use crate::store::{Mailed, StoredEvent};

/// The mails that went out, the latest first; links in them can be followed.
pub(crate) fn outbox(app: &App, mails: &[Mailed]) -> Markup {
    let content = html! {
        header.top { (parts::brand(app)) }
        h1 { "Outbox" }
        @if mails.is_empty() { p.lead { "No mail has been sent yet." } }
        @for mail in mails {
            section {
                h2 { (mail.subject) }
                p.muted { "To " (mail.recipient) ", " time datetime=(iso(mail.sent_at)) { (iso(mail.sent_at)) } }
                pre {
                    @for (index, line) in mail.body.lines().enumerate() {
                        @if index > 0 { "\n" }
                        @if line.starts_with("http") { a href=(line) { (line) } } @else { (line) }
                    }
                }
            }
        }
    };
    wide(app, "Outbox", &content)
}

/// The latest events.
pub(crate) fn events(app: &App, events: &[StoredEvent]) -> Markup {
    let content = html! {
        header.top { (parts::brand(app)) }
        h1 { "Inspector" }
        p.lead { "What happened lately. Behind a ceremony is every step of its verification." }
        (admin::table(events))
    };
    wide(app, "Inspector", &content)
}

/// One event with its transcript.
pub(crate) fn event(app: &App, event: &StoredEvent) -> Markup {
    let transcript = event.transcript.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
    let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
    let pretty = serde_json::to_string_pretty(&data).unwrap_or_default();
    let content = html! {
        header.top { (parts::brand(app)) }
        p { a href="/inspect" { "All events" } }
        h1 { (description(&event.r#type)) " " span.tag { (event.r#type) } }
        p.muted { time datetime=(iso(event.date)) { (iso(event.date)) } }
        @if let Some(lines) = transcript.as_ref().and_then(Value::as_array) {
            section {
                h2 { "The verification, step by step (WebAuthn Level 3)" }
                (steps(lines))
            }
        }
        section {
            h2 { "The event" }
            pre tabindex="0" { (pretty) }
        }
    };
    wide(app, "Inspector", &content)
}

fn steps(lines: &[Value]) -> Markup {
    let text = |line: &Value, member: &str| line[member].as_str().unwrap_or_default().to_string();
    html! {
        div.scroll tabindex="0" role="region" aria-label="Steps" {
            table {
                thead { tr { th scope="col" { "Step" } th scope="col" { "Verdict" } th scope="col" { "Found" } } }
                tbody {
                    @for line in lines {
                        @let verdict = text(line, "verdict");
                        tr {
                            td { code { "§" (text(line, "step")) } }
                            td {
                                @match verdict.as_str() {
                                    "pass" => span.tag.good { "pass" },
                                    "fail" => span.tag.bad { "fail" },
                                    other => span.tag { (other) },
                                }
                            }
                            td { (text(line, "found")) }
                        }
                    }
                }
            }
        }
    }
}
