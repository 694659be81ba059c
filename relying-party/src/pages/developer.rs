//! Pages for developers.

use maud::{Markup, html};
use serde_json::Value;

use super::{admin, parts, wide};
use crate::app::App;
use crate::events::{description, transcript_of};
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
                p.muted { "To " (mail.recipient) ", " (parts::moment(mail.sent_at)) " UTC" }
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

/// Any options, raw answers, and a note that only a passkey opens.
pub(crate) fn playground(app: &App) -> Markup {
    let content = html! {
        header.top { (parts::brand(app)) }
        h1 { "Playground" }
        p.lead { "Edit the options, run the ceremony, and see the raw answer and every step of its verification." }
        (parts::error(None))
        section {
            h2 { "Create" }
            (options_field("create-options", CREATE_OPTIONS))
            button #create .primary type="button" { "Create a passkey" }
        }
        section {
            h2 { "Get" }
            (options_field("get-options", GET_OPTIONS))
            button #get .primary type="button" { "Use a passkey" }
        }
        section {
            h2 { "A note that only your passkey opens (PRF)" }
            p.muted { "The passkey gives a secret that never leaves this page; the note is sealed with it, in this browser." }
            div.field { label for="note" { "Note" } textarea #note maxlength="2000" {} }
            div.row {
                button #seal .secondary type="button" { "Seal the note" }
                button #unseal .secondary type="button" { "Open the note" }
            }
        }
        section {
            h2 { "A note that is kept with your passkey (large blob)" }
            p.muted { "It is stored with the passkey itself, so that it is wherever the passkey is." }
            div.field { label for="blob" { "Note" } textarea #blob maxlength="500" {} }
            div.row {
                button #write .secondary type="button" { "Write the note" }
                button #read .secondary type="button" { "Read the note" }
            }
        }
        section {
            h2 { "Answer" }
            pre #answer tabindex="0" aria-live="polite" { "Nothing yet." }
        }
        script src="/assets/playground.js" defer {}
    };
    wide(app, "Playground", &content)
}

fn options_field(id: &str, text: &str) -> Markup {
    html! {
        div.field {
            label for=(id) { "Options (JSON); the rest comes from the policy" }
            textarea id=(id) spellcheck="false" rows="12" { (text) }
        }
    }
}

const CREATE_OPTIONS: &str = r#"{
  "username": "ada",
  "displayName": "Ada",
  "attestation": "none",
  "hints": [],
  "authenticatorSelection": { "residentKey": "required", "userVerification": "preferred" },
  "extensions": { "credProps": true, "prf": {}, "largeBlob": { "support": "preferred" } }
}"#;

const GET_OPTIONS: &str = r#"{
  "username": "ada",
  "userVerification": "preferred",
  "extensions": { "largeBlob": { "read": true } }
}"#;

/// The latest events.
pub(crate) fn events(app: &App, events: &[StoredEvent]) -> Markup {
    let content = html! {
        header.top { (parts::brand(app)) }
        h1 { "Inspector" }
        p.lead { "What happened lately. Open a ceremony to see every step of its verification." }
        (admin::table(events))
    };
    wide(app, "Inspector", &content)
}

/// One event with its transcript.
pub(crate) fn event(app: &App, event: &StoredEvent) -> Markup {
    let transcript = transcript_of(event);
    let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
    let pretty = serde_json::to_string_pretty(&data).unwrap_or_default();
    let content = html! {
        header.top { (parts::brand(app)) }
        p { a href="/inspect" { "All events" } }
        h1 { (description(&event.r#type)) " " span.tag { (event.r#type) } }
        p.muted { (parts::moment(event.date)) " UTC" }
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
