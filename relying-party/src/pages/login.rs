//! The pages of logging in.

use maud::{Markup, html};

use super::{card, icons, parts};
use crate::app::App;
use crate::destination;
use crate::failure::{Told, words_for};
use crate::identifiers;
use crate::policy::Policy;

/// Screen `login-id`: who are you, or simply a passkey.
pub(crate) fn identifier(
    app: &App,
    policy: &Policy,
    kept: &str,
    error: Option<&Told>,
    notice: Option<&str>,
) -> Markup {
    let autofill = policy.offers_autofill();
    let content = html! {
        (parts::brand(app))
        h1 { "Welcome back" }
        p.lead { "Log in to continue to " (app.config.name) }
        (parts::error(error))
        (parts::notice(notice))
        form method="post" action="/login" data-conditional[autofill]
            data-options=[autofill.then_some("/login/passkey/options")]
            data-finish=[autofill.then_some("/login/passkey")] {
            div.field {
                label for="identifier" { (label_of(policy)) }
                input #identifier name="identifier" type="text" value=(kept) required maxlength="320"
                    autocomplete=(if autofill { "username webauthn" } else { "username" })
                    autocapitalize="none" spellcheck="false" autofocus;
            }
            p.aside { a href=(destination::way_back(policy)) { "Can’t log in to your account?" } }
            button.primary type="submit" { "Continue" }
        }
        p.switch { "Don’t have an account? " a href="/signup" { "Sign up" } }
        @if policy.offers_button() {
            (parts::or())
            (passkey_button("/login/passkey/options", "Continue with a passkey"))
        }
    };
    card(app, "Log in", &content)
}

fn passkey_button(options: &str, label: &str) -> Markup {
    html! {
        button.secondary type="button" data-ceremony="get" data-options=(options) data-finish="/login/passkey" {
            (icons::passkey()) span { (label) }
        }
    }
}

/// What the identifier field asks for.
fn label_of(policy: &Policy) -> String {
    let text = identifiers::choice(&policy.attributes, words_for);
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// Screen `login-password`. It looks the same whether or not the account exists and has a passkey.
pub(crate) fn password(app: &App, policy: &Policy, name: &str, error: Option<&Told>) -> Markup {
    let content = html! {
        (parts::brand(app))
        h1 { @if policy.password.enabled { "Enter your password" } @else { "Log in" } }
        p.lead { "Log in to continue to " (app.config.name) }
        (parts::error(error))
        (parts::fixed(name, "/login"))
        @if policy.password.enabled {
            form method="post" action="/login/password" {
                input type="hidden" name="username" value=(name) autocomplete="username";
                div.field {
                    label for="password" { "Password" }
                    input #password name="password" type="password" autocomplete="current-password" required
                        maxlength="256" autofocus;
                }
                p.aside { a href="/reset-password" { "Forgot password?" } }
                button.primary type="submit" { "Continue" }
            }
        }
        @if policy.passkey.enabled || policy.code.enabled { (parts::or()) }
        @if policy.passkey.enabled {
            button.secondary type="button" data-ceremony="get" data-targeted
                data-options="/login/passkey/options" data-finish="/login/passkey" {
                (icons::passkey()) span { "Use a passkey instead" }
            }
        }
        @if policy.code.enabled {
            p.actions { a.button.plain href="/recover" { "Get a code by e-mail" } }
        }
        p.switch { "Don’t have an account? " a href="/signup" { "Sign up" } }
    };
    card(app, "Log in", &content)
}
