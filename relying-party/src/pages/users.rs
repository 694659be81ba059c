//! The operator's pages of users.

use maud::{Markup, html};

use super::{admin, parts};
use crate::app::App;
use crate::failure::{Told, words_for};
use crate::store::User;

/// What an operator is shown of a user.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) user: &'a User,
    pub(crate) passkeys: usize,
    pub(crate) password_set_at: Option<i64>,
    /// When the authenticator app was set up.
    pub(crate) app_made_at: Option<i64>,
}

/// Asks whom to look for.
pub(crate) fn search(app: &App, typed: &str, error: Option<&Told>) -> Markup {
    let content = html! {
        h1 { "Users" }
        (parts::error(error))
        form method="post" action="/admin/users" role="search" {
            (parts::field(parts::Field {
                id: "user", name: "user", label: "E-mail address, phone number, user name or id", kind: "text",
                value: typed, autocomplete: "off", optional: false,
                hint: "The whole of it. Events have the id, for example usr_…",
            }))
            button.primary type="submit" { "Find the user" }
        }
    };
    admin::frame(app, "/admin/users", &content)
}

/// One user, and the button that blocks them or lifts that.
pub(crate) fn one(app: &App, facts: &Facts<'_>, notice: Option<&str>) -> Markup {
    let user = facts.user;
    let content = html! {
        h1 {
            (user.name()) " "
            @if user.blocked { span.tag.bad { "Blocked" } } @else { span.tag.good { "Not blocked" } }
        }
        (parts::notice(notice))
        (list(facts))
        p { a href={ "/admin?q=user_id:" (user.id) "#events" } { "Events of this user" } }
        section {
            form method="post" action={ "/admin/users/" (user.id) } {
                @if user.blocked {
                    input type="hidden" name="blocked" value="false";
                    button.secondary type="submit" { "Lift the block" }
                    p.hint { "They can log in again. What the block has ended stays ended." }
                } @else {
                    input type="hidden" name="blocked" value="true";
                    button.danger type="submit" { "Block this user" }
                    p.hint { "They are logged out everywhere, and codes and links that were mailed to them are void." }
                }
            }
        }
        p.switch { a href="/admin/users" { "Find another user" } }
    };
    admin::frame(app, "/admin/users", &content)
}

fn list(facts: &Facts<'_>) -> Markup {
    let user = facts.user;
    html! {
        dl.facts {
            @for identifier in &user.identifiers {
                dt { (words_for(&identifier.kind)) }
                dd {
                    (identifier.value)
                    @if identifier.kind != "username" {
                        " "
                        @if identifier.verified { span.tag.good { "verified" } } @else { span.tag { "not verified" } }
                    }
                }
            }
            dt { "Id" } dd { code { (user.id) } }
            dt { "Signed up" } dd { (parts::moment(user.created_at)) " UTC" }
            dt { "Passkeys" } dd { (facts.passkeys) }
            dt { "Password" } dd { (since(facts.password_set_at)) }
            dt { "Authenticator app" } dd { (since(facts.app_made_at)) }
        }
    }
}

fn since(ms: Option<i64>) -> Markup {
    html! { @match ms { Some(ms) => { "since " (parts::day(ms)) } None => { "none" } } }
}
