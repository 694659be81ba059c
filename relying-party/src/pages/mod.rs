//! The pages, as functions from facts to markup. They ask no database and decide nothing.

pub(crate) mod account;
pub(crate) mod admin;
pub(crate) mod developer;
pub(crate) mod enroll;
pub(crate) mod icons;
pub(crate) mod identifiers;
pub(crate) mod login;
pub(crate) mod mfa;
pub(crate) mod new_password;
pub(crate) mod parts;
pub(crate) mod recover;
pub(crate) mod security;
pub(crate) mod signup;
pub(crate) mod users;

use std::fmt::Write as _;

use maud::{DOCTYPE, Markup, html};

use crate::app::App;
use crate::failure::Told;

/// A page of one column: a card in the middle of the window.
pub(crate) fn card(app: &App, title: &str, content: &Markup) -> Markup {
    shell(app, title, "card", content)
}

/// A page as wide as a text: account, tables.
pub(crate) fn wide(app: &App, title: &str, content: &Markup) -> Markup {
    shell(app, title, "wide", content)
}

fn shell(app: &App, title: &str, class: &str, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · " (app.config.name) }
                link rel="icon" href="/assets/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/assets/app.css";
                script src="/assets/app.js" defer {}
            }
            body {
                main class=(class) { (content) }
                @if app.config.dev {
                    footer {
                        nav aria-label="For developers" {
                            span { "Development: " }
                            a href="/outbox" { "outbox" } " "
                            a href="/playground" { "playground" } " "
                            a href="/inspect" { "inspector" }
                        }
                    }
                }
            }
        }
    }
}

/// A page that says what went wrong and what to do next.
pub(crate) fn status(app: &App, told: &Told) -> Markup {
    let content = html! {
        (parts::brand(app))
        h1 { (told.message) }
        @if !told.hint.is_empty() { p.lead { (told.hint) } }
        p.actions { a.button.primary href="/" { "Go to the start" } }
    };
    card(app, "Sorry", &content)
}

/// What a user can confirm with.
#[derive(Debug)]
pub(crate) struct Ways {
    pub(crate) passkey: bool,
    pub(crate) password: bool,
    /// None of these, but a code by mail, with which the account is recovered.
    pub(crate) code: bool,
}

/// Confirming that it is still the user.
pub(crate) fn step_up(app: &App, name: &str, then: &str, ways: &Ways, error: Option<&Told>) -> Markup {
    let content = html! {
        (parts::brand(app))
        div.hero { (icons::shield()) }
        h1 { "Is it you?" }
        p.lead { "Confirm before changing the account of " strong { (name) } "." }
        (parts::error(error))
        @if ways.passkey {
            (parts::ceremony("get", "/step-up/options", &format!("/step-up?then={}", url_encoded(then)),
                &html! { (icons::passkey()) span { "Confirm with a passkey" } }))
        }
        @if ways.passkey && ways.password { (parts::or()) }
        @if ways.password {
            form method="post" action="/step-up/password" {
                input type="hidden" name="then" value=(then);
                input type="hidden" name="username" value=(name) autocomplete="username";
                div.field {
                    label for="password" { "Password" }
                    input #password name="password" type="password" autocomplete="current-password" required
                        maxlength="256";
                }
                button.secondary type="submit" { "Confirm with the password" }
            }
        }
        @if !ways.passkey && !ways.password {
            p.lead { "This service does not accept any of your ways to log in at present." }
            @if ways.code { p.actions { a.button.primary href="/recover" { "Get a code by mail" } } }
        }
        p.switch { a href=(then) { "Go back" } }
    };
    card(app, "Confirm", &content)
}

/// Lifting a block.
pub(crate) fn unblock(app: &App, token: &str) -> Markup {
    let content = html! {
        (parts::brand(app))
        h1 { "Was it you?" }
        p.lead { "Somebody failed to log in to your account many times. If it was you, lift the block." }
        form method="post" action="/unblock" {
            input type="hidden" name="token" value=(token);
            button.primary type="submit" { "Lift the block" }
        }
    };
    card(app, "Lift the block", &content)
}

/// Text as part of a query.
pub(crate) fn url_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
