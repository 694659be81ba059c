//! The field for a new password with its rules. `assets/password.js` ticks off, while it is typed, those that a browser
//! can judge as the server does; of the others the page says when they are checked.

use maud::{Markup, html};

use crate::passwords;
use crate::policy::{Policy, Strength};
use crate::store::{Identifier, User};

/// What a page may know of the personal data that a password must not contain.
#[derive(Debug)]
pub(crate) struct Personal<'a> {
    parts: Vec<&'a str>,
    /// There is no more of it, so that the page knows when the rule is met.
    is_all: bool,
}

impl<'a> Personal<'a> {
    /// All of it: whoever looks at the page has typed it, or is logged in.
    pub(crate) fn all(identifiers: &'a [Identifier]) -> Self {
        Self { parts: passwords::personal_parts(identifiers).collect(), is_all: true }
    }

    /// Nothing but the name that the page shows: whoever looks at it has followed a link.
    pub(crate) fn shown(user: &'a User) -> Self {
        let (first, others) = user.identifiers.split_at(user.identifiers.len().min(1));
        Self { parts: passwords::personal_parts(first).collect(), is_all: others.is_empty() }
    }
}

/// The field.
pub(crate) fn field(policy: &Policy, personal: &Personal<'_>) -> Markup {
    let rules = &policy.password;
    let parts = serde_json::to_string(&personal.parts).unwrap_or_default();
    html! {
        div.field {
            label for="password" { "Password" }
            input #password name="password" type="password" autocomplete="new-password" required maxlength="256"
                minlength=(rules.min_length) aria-describedby="rules";
            ul #rules .rules data-min=(rules.min_length) {
                li data-rule="length" { "At least " (rules.min_length) " characters" span.sr-only {} }
                @if rules.personal_data {
                    li data-rule="personal" data-parts=(parts) data-is-all[personal.is_all] {
                        "Without your name or address" @if !personal.is_all { (later()) } span.sr-only {}
                    }
                }
                @if rules.strength > Strength::None {
                    li { "Hard to guess: some words that have nothing to do with each other are good" (later()) }
                }
                @if rules.dictionary { li { "Not a word, a name or a common password" (later()) } }
            }
            p #rules-said .sr-only role="status" {}
            script src="/assets/password.js" defer {}
        }
    }
}

/// What is said of a rule that takes the server's lists: asked for each key, it would tell others what passwords it
/// knows, and have much to do.
fn later() -> Markup {
    html! { " (checked when you continue)" }
}
