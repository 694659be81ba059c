//! The operator's page.

use maud::{Markup, html};
use serde_json::Value;

use super::{card, parts, wide};
use crate::app::App;
use crate::failure::Told;
use crate::store::StoredEvent;

/// Asks for the token.
pub(crate) fn token(app: &App, error: Option<&Told>) -> Markup {
    let content = html! {
        (parts::brand(app))
        h1 { "Operators only" }
        p.lead { "Enter the token that was printed when the service started." }
        (parts::error(error))
        form method="post" action="/admin/token" {
            div.field {
                label for="token" { "Token" }
                input #token name="token" type="password" autocomplete="off" required;
            }
            button.primary type="submit" { "Continue" }
        }
    };
    card(app, "Operators", &content)
}

/// The frame of the operator's pages.
pub(crate) fn frame(app: &App, here: &str, content: &Markup) -> Markup {
    let tabs = [("/admin", "Policy and events"), ("/admin/users", "Users")];
    let content = html! {
        header.top { (parts::brand(app)) }
        nav.tabs aria-label="Operators" {
            @for (path, name) in tabs {
                a href=(path) aria-current=[(path == here).then_some("page")] { (name) }
            }
        }
        (content)
    };
    wide(app, "Operators", &content)
}

/// The policy and the latest events.
pub(crate) fn overview(
    app: &App,
    (policy, warnings): (&Value, &[String]),
    events: &[StoredEvent],
    q: &str,
    notice: Option<&str>,
    error: Option<&Told>,
) -> Markup {
    let content = html! {
        h1 { "Policy" }
        (parts::notice(notice))
        (parts::error(error))
        @for warning in warnings { p.error { "Warning: " (warning) "." } }
        form method="post" action="/admin/policy" {
            input type="hidden" name="shown" value=(policy);
            @for (name, value) in policy.as_object().into_iter().flatten() {
                @if value.is_object() { (section(name, name, value)) } @else { (option(name, name, value)) }
            }
            button.primary type="submit" { "Put into force" }
        }
        section #events {
            h1 { "Events" }
            form.row method="get" action="/admin" role="search" {
                div.field {
                    label for="q" { "Search, for example type:s or user_id:usr_…" }
                    input #q name="q" type="search" value=(q);
                }
                button.secondary type="submit" { "Search" }
            }
            (table(events))
        }
    };
    frame(app, "/admin", &content)
}

fn section(path: &str, title: &str, value: &Value) -> Markup {
    html! {
        details {
            summary { (words(title)) }
            @for (name, value) in value.as_object().into_iter().flatten() {
                @let path = format!("{path}.{name}");
                @if value.is_object() {
                    h2 { (words(name)) }
                    @for (inner, value) in value.as_object().into_iter().flatten() {
                        (option(&format!("{path}.{inner}"), &format!("{name} {inner}"), value))
                    }
                } @else { (option(&path, name, value)) }
            }
        }
    }
}

fn words(name: &str) -> String {
    let text: Vec<&str> = name
        .split(['_', ' '])
        .map(|word| UNUSUAL.iter().find(|(plain, _)| *plain == word).map_or(word, |(_, shown)| shown))
        .collect();
    let text = text.join(" ");
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// Words of the policy that people write otherwise.
const UNUSUAL: [(&str, &str); 11] = [
    ("api", "API"),
    ("email", "e-mail"),
    ("identifier", "can be logged in with"),
    ("ip", "IP address"),
    ("mfa", "MFA"),
    ("ms", "(milliseconds)"),
    ("profile", "on the profile is"),
    ("s", "(seconds)"),
    ("signup", "at sign-up"),
    ("ui", "UI"),
    ("verify", "must be verified by a code"),
];

fn option(path: &str, name: &str, value: &Value) -> Markup {
    html! {
        @match value {
            // No code can go to a user name.
            Value::Bool(_) if path == "attributes.username.verify" => {}
            Value::Bool(on) => {
                input type="hidden" name="box" value=(path);
                label.check { input type="checkbox" name=(path) value="on" checked[*on]; (words(name)) }
            }
            Value::String(chosen) => {
                div.field {
                    label for=(path) { (words(name)) }
                    @let choices = choices(path);
                    @if choices.is_empty() { input id=(path) name=(path) type="text" value=(chosen); }
                    @else {
                        select id=(path) name=(path) {
                            @for choice in choices { option value=(choice) selected[choice == chosen] { (choice) } }
                        }
                    }
                }
            }
            Value::Number(number) => {
                div.field {
                    label for=(path) { (words(name)) }
                    input id=(path) name=(path) type="text" inputmode="numeric" value=(number);
                }
            }
            Value::Array(items) => {
                @let text: Vec<String> = items.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), String::from)).collect();
                div.field {
                    label for=(path) { (words(name)) }
                    input id=(path) name=(path) type="text" value=(text.join(", "));
                }
            }
            _ => {}
        }
    }
}

/// What an option with words can be.
fn choices(path: &str) -> &'static [&'static str] {
    match path.rsplit('.').next().unwrap_or_default() {
        "challenge_ui" => &["both", "autofill", "button"],
        "user_verification" => &["required", "preferred", "discouraged"],
        "attestation" => &["none", "indirect", "direct", "enterprise"],
        "metadata" => &["reports", "required"],
        "counter" => &["refuse", "flag"],
        "signup" => &["required", "optional", "off"],
        "policy" => &["never", "always"],
        "strength" => &["none", "low", "fair", "good", "excellent"],
        "after_passkey" => &["require", "skip", "skip-if-uv"],
        _ => &[],
    }
}

/// Events as a table.
pub(crate) fn table(events: &[StoredEvent]) -> Markup {
    html! {
        @if events.is_empty() { p.muted { "Nothing yet." } }
        @else {
            div.scroll tabindex="0" role="region" aria-label="Events" {
                table.events {
                    thead { tr { th scope="col" { "When (UTC)" } th scope="col" { "Type" } th scope="col" { "What" }
                        th scope="col" { "User" } } }
                    tbody {
                        @for event in events {
                            tr {
                                td { (parts::moment(event.date)) }
                                td { code { (event.r#type) } }
                                td { a href={ "/inspect/" (event.id) } { (crate::events::description(&event.r#type)) } }
                                td { (user_of(event)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn user_of(event: &StoredEvent) -> Markup {
    html! {
        @match &event.user_id {
            Some(id) => { a href={ "/admin/users/" (id) } { code { (id) } } }
            None => { "–" }
        }
    }
}
