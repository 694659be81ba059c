//! The pages of recovering an account and of resetting a password.

use maud::{Markup, html};

use super::new_password::{self, Personal};
use super::signup::create_label;
use super::{card, icons, parts};
use crate::app::App;
use crate::failure::Told;
use crate::policy::Policy;
use crate::store::User;

fn email_field(kept: &str) -> Markup {
    parts::field(parts::Field {
        id: "email",
        name: "email",
        label: "E-mail address",
        kind: "email",
        value: kept,
        autocomplete: "email",
        optional: false,
        hint: "",
    })
}

/// Where to send the code.
pub(crate) fn address(app: &App, policy: &Policy, kept: &str, error: Option<&Told>) -> Markup {
    let content = html! {
        (parts::brand(app))
        h1 { "Can’t log in?" }
        p.lead { "We will send a code to your e-mail address. With it you can "
            @if policy.passkey.enabled { "create a new passkey." } @else { "set a new password." } }
        (parts::error(error))
        form method="post" action="/recover" {
            (email_field(kept))
            button.primary type="submit" { "Send the code" }
        }
        p.switch { a href="/login" { "Go back" } }
    };
    card(app, "Recover your account", &content)
}

/// The code.
pub(crate) fn code(app: &App, email: &str, error: Option<&Told>) -> Markup {
    let content = html! {
        (parts::brand(app))
        h1 { "Check your mail" }
        p.lead { "If there is an account for " strong { (email) } ", a code is on its way." }
        (parts::error(error))
        form method="post" action="/recover/code" {
            (parts::code_field("Enter the 6-digit code"))
            button.primary type="submit" { "Continue" }
        }
        p.switch { a href="/recover" { "Use another address or get a new code" } }
    };
    card(app, "Check your mail", &content)
}

/// A new passkey, or a password.
pub(crate) fn new_method(app: &App, policy: &Policy, name: &str) -> Markup {
    let passkey = policy.passkey.enabled;
    let content = html! {
        (parts::brand(app))
        @if passkey { div.hero { (icons::passkey()) } }
        h1 { "Welcome back" }
        p.lead {
            @if passkey { "Create a passkey" } @else { "Set a new password" }
            " for " strong { (name) } ", so that you can log in on this device."
        }
        (parts::error(None))
        @if passkey {
            (parts::ceremony("create", "/recover/passkey/options", "/recover/passkey", &create_label()))
            @if policy.password.enabled {
                p.actions { a.button.plain href="/recover/password" { "Set a new password instead" } }
            }
        } @else {
            p.actions { a.button.primary href="/recover/password" { "Set a new password" } }
        }
        p.hint.center { "Everybody else who is logged in to this account will be logged out." }
    };
    card(app, if passkey { "Create a passkey" } else { "Set a new password" }, &content)
}

/// A new password.
pub(crate) fn password(app: &App, policy: &Policy, user: &User, error: Option<&Told>) -> Markup {
    let personal = Personal::all(&user.identifiers);
    new_password(app, policy, (user.name(), &personal), "/recover/password", None, error)
}

/// Screen `reset-password-request`.
pub(crate) fn reset_request(app: &App, kept: &str, error: Option<&Told>) -> Markup {
    let content = html! {
        (parts::brand(app))
        h1 { "Forgot your password?" }
        p.lead { "Enter your e-mail address, and we will send you a link to set a new one." }
        (parts::error(error))
        form method="post" action="/reset-password" {
            (email_field(kept))
            button.primary type="submit" { "Continue" }
        }
        p.switch { a href="/login" { "Back to " (app.config.name) } }
    };
    card(app, "Forgot your password?", &content)
}

/// Screen `reset-password-email`.
pub(crate) fn reset_sent(app: &App, email: &str) -> Markup {
    let content = html! {
        (parts::brand(app))
        h1 { "Check your mail" }
        p.lead { "If there is an account for " strong { (email) } ", a link is on its way." }
        form method="post" action="/reset-password" {
            input type="hidden" name="email" value=(email);
            button.secondary type="submit" { "Resend the mail" }
        }
        p.switch { a href="/login" { "Back to " (app.config.name) } }
    };
    card(app, "Check your mail", &content)
}

/// Screen `reset-password`.
pub(crate) fn reset(app: &App, policy: &Policy, user: &User, token: &str, error: Option<&Told>) -> Markup {
    let shown = (user.name(), &Personal::shown(user));
    new_password(app, policy, shown, "/reset-password/new", Some(token), error)
}

/// Screen `reset-password-error`.
pub(crate) fn reset_error(app: &App) -> Markup {
    dead_link(app, "Ask for a new one.", ("/reset-password", "Get a new link"))
}

/// The link that lifts a block was used, or has expired: so has the block, or another one is in the latest mail.
pub(crate) fn unblock_error(app: &App) -> Markup {
    dead_link(app, "Try to log in; if you are blocked again, a new mail tells you.", ("/login", "Log in"))
}

fn dead_link(app: &App, next: &str, (path, label): (&str, &str)) -> Markup {
    let content = html! {
        (parts::brand(app))
        h1 { "This link does not work any more" }
        p.lead { "It was used already, or has expired. " (next) }
        p.actions { a.button.primary href=(path) { (label) } }
    };
    card(app, "Link expired", &content)
}

fn new_password(
    app: &App,
    policy: &Policy,
    (name, personal): (&str, &Personal<'_>),
    action: &str,
    token: Option<&str>,
    error: Option<&Told>,
) -> Markup {
    let content = html! {
        (parts::brand(app))
        h1 { "Set a new password" }
        p.lead { "for " strong { (name) } }
        (parts::error(error))
        form method="post" action=(action) {
            input type="hidden" name="username" value=(name) autocomplete="username";
            @if let Some(token) = token { input type="hidden" name="token" value=(token); }
            (new_password::field(policy, personal))
            button.primary type="submit" { "Set the password" }
        }
    };
    card(app, "Set a new password", &content)
}
