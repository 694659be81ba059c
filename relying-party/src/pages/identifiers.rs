//! The pages on which a user changes what the account is called.

use maud::{Markup, html};

use super::{account, card, parts, signup};
use crate::app::App;
use crate::failure::Told;
use crate::identifiers::{self, KINDS};
use crate::policy::Policy;
use crate::store::{Identifier, User};

/// Every name that the policy knows, each with a form.
pub(crate) fn overview(app: &App, policy: &Policy, user: &User, error: Option<&Told>) -> Markup {
    let content = html! {
        h1 { "What you log in with" }
        (parts::error(error))
        @for kind in KINDS {
            @let attribute = identifiers::attribute(&policy.attributes, kind);
            @if attribute.is_on() { (one(kind, user, !attribute.profile_required)) }
        }
    };
    account::frame(app, user, "/account/security", &content)
}

/// What every account must have and this one has not, for the account's other pages.
pub(crate) fn needed(policy: &Policy, user: &User) -> Markup {
    let missing = identifiers::missing(&policy.attributes, user);
    let missing: Vec<_> = missing.into_iter().map(identifiers::with_article).collect();
    html! {
        @if !missing.is_empty() {
            section {
                h2 { "Something is missing" }
                p { "Your account needs " (missing.join(" and ")) "." }
                p { a.button.secondary href="/account/identifiers" { "Add" span.sr-only { " what is missing" } } }
            }
        }
    }
}

fn one(kind: &str, user: &User, is_optional: bool) -> Markup {
    let known = user.identifiers.iter().find(|identifier| identifier.kind == kind);
    let value = known.map_or("", |identifier| identifier.value.as_str());
    let mut field = signup::field_of(kind, value, is_optional);
    if kind == "email" {
        field.hint = "We send a code to a new address; until you enter it, the old one stays";
    }
    html! {
        section {
            form method="post" action={ "/account/identifiers/" (kind) } {
                (parts::field(parts::Field { name: "value", ..field }))
                button.secondary type="submit" { "Save" span.sr-only { " the " (field.label) } }
            }
        }
    }
}

/// The code that went to the new address.
pub(crate) fn code(app: &App, new: &Identifier, error: Option<&Told>) -> Markup {
    let content = html! {
        (parts::brand(app))
        h1 { "Is this address yours?" }
        p.lead { "We have sent a code to " strong { (new.value) } "." }
        (parts::error(error))
        form method="post" action="/account/identifiers/code" {
            (parts::code_field("Enter the 6-digit code"))
            button.primary type="submit" { "Continue" }
        }
        p.switch { a href="/account/identifiers" { "Use another one" } }
    };
    card(app, "Verify your address", &content)
}
