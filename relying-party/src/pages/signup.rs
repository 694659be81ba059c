//! The pages of signing up.

use maud::{Markup, html};

use super::new_password::{self, Personal};
use super::{card, icons, parts};
use crate::app::App;
use crate::failure::Told;
use crate::identifiers::{self, KINDS};
use crate::policy::{Ask, Policy};
use crate::store::Identifier;

/// Screen `signup-id`: what the account is to be called.
pub(crate) fn identifiers(app: &App, policy: &Policy, kept: [&str; 3], error: Option<&Told>) -> Markup {
    let content = html! {
        (parts::brand(app))
        h1 { "Welcome" }
        p.lead { "Sign up to continue to " (app.config.name) }
        (parts::error(error))
        form method="post" action="/signup" {
            @for (kind, value) in KINDS.into_iter().zip(kept) {
                @let attribute = identifiers::attribute(&policy.attributes, kind);
                @if attribute.signup != Ask::Off {
                    (parts::field(field_of(kind, value, attribute.signup == Ask::Optional)))
                }
            }
            button.primary type="submit" { "Continue" }
        }
        p.switch { "Already have an account? " a href="/login" { "Log in" } }
    };
    card(app, "Sign up", &content)
}

/// The field for an identifier of a kind.
pub(crate) fn field_of<'a>(kind: &'a str, value: &'a str, optional: bool) -> parts::Field<'a> {
    let (label, input, autocomplete) = match kind {
        "email" => ("E-mail address", "email", "email"),
        "phone" => ("Phone number", "tel", "tel"),
        _ => ("User name", "text", "username"),
    };
    let hint = if kind == "phone" { "With the country code, like +49 30 1234567" } else { "" };
    parts::Field { id: kind, name: kind, label, kind: input, value, autocomplete, optional, hint }
}

/// Screen `passkey-enrollment`, at sign-up.
pub(crate) fn passkey(app: &App, name: &str, may_continue_without: bool) -> Markup {
    let content = html! {
        (parts::brand(app))
        div.hero { (icons::passkey()) }
        h1 { "Create a passkey for " (app.config.name) " on this device?" }
        p.lead { (name) }
        (parts::error(None))
        (benefits())
        (parts::ceremony("create", "/signup/passkey/options", "/signup/passkey", &create_label()))
        @if may_continue_without {
            p.actions { a.button.plain href="/signup/password" { "Continue without a passkey" } }
        }
        p.switch { a href="/signup" { "Go back" } }
    };
    card(app, "Create a passkey", &content)
}

/// The words on the button; after a failed ceremony the script shows the second ones.
pub(crate) fn create_label() -> Markup {
    html! { (icons::passkey()) span data-again="Create a new passkey" { "Create a passkey" } }
}

/// Three reasons.
pub(crate) fn benefits() -> Markup {
    html! {
        ul.benefits {
            li { (icons::no_password()) div { strong { "No need to remember a password" }
                p { "With passkeys, you use your fingerprint, face or screen lock to log in." } } }
            li { (icons::devices()) div { strong { "Works on all of your devices" }
                p { "Passkeys are available across the devices that your password manager syncs." } } }
            li { (icons::shield()) div { strong { "Keep your account safer" }
                p { "Passkeys cannot be guessed, reused, or given to a look-alike site." } } }
        }
    }
}

/// Screen `signup-password`.
pub(crate) fn password(
    app: &App,
    policy: &Policy,
    name: &str,
    personal: &Personal<'_>,
    error: Option<&Told>,
) -> Markup {
    let content = html! {
        (parts::brand(app))
        h1 { "Set your password" }
        p.lead { "to continue to " (app.config.name) }
        (parts::error(error))
        (parts::fixed(name, "/signup"))
        form method="post" action="/signup/password" {
            input type="hidden" name="username" value=(name) autocomplete="username";
            (new_password::field(policy, personal))
            button.primary type="submit" { "Continue" }
        }
        p.switch { a href=(if policy.passkey.enabled { "/signup/passkey" } else { "/signup" }) { "Go back" } }
    };
    card(app, "Set your password", &content)
}

/// Screens `email-identifier-challenge` and `phone-identifier-challenge`.
pub(crate) fn code(app: &App, target: &Identifier, error: Option<&Told>, notice: Option<&str>) -> Markup {
    let title = if target.kind == "phone" { "Verify your phone number" } else { "Verify your address" };
    let content = html! {
        (parts::brand(app))
        h1 { (title) }
        p.lead { "We have sent a code to " strong { (identifiers::masked(target)) } "." }
        (parts::error(error))
        (parts::notice(notice))
        form method="post" action="/signup/code" {
            (parts::code_field("Enter the 6-digit code"))
            button.primary type="submit" { "Continue" }
        }
        form.inline method="post" action="/signup/code/resend" {
            span { "Didn’t receive a code?" } button.link type="submit" { "Resend" }
        }
        p.switch { a href="/signup" { "Go back" } }
    };
    card(app, title, &content)
}
