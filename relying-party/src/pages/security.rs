//! The account's security page, and what else opens an account that was recovered.

use std::sync::Arc;

use maud::{Markup, html};

use super::new_password::{self, Personal};
use super::{account, card, identifiers, parts};
use crate::app::App;
use crate::destination;
use crate::failure::{Told, words_for};
use crate::flows::Others;
use crate::policy::{MfaPolicy, Policy};
use crate::store::{StoredSession, Totp, User};

/// What the page shows.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) policy: Arc<Policy>,
    pub(crate) has_password: bool,
    pub(crate) totp: Option<Totp>,
    pub(crate) recovery_code_made_at: Option<i64>,
    pub(crate) sessions: Vec<StoredSession>,
    pub(crate) this_session: String,
}

/// The page.
pub(crate) fn overview(
    app: &App,
    user: &User,
    facts: &Facts,
    notice: Option<&str>,
    error: Option<&Told>,
) -> Markup {
    let content = html! {
        h1 { "Security" }
        (parts::notice(notice))
        (parts::error(error))
        (identifiers::needed(&facts.policy, user))
        (names(user))
        @if facts.policy.password.enabled { (password(user, facts, error.is_some())) }
        (second_step(facts))
        (sessions(facts))
        (deletion())
    };
    account::frame(app, user, "/account/security", &content)
}

fn names(user: &User) -> Markup {
    html! {
        section {
            h2 { "What you log in with" }
            dl.facts {
                @for identifier in &user.identifiers {
                    dt { (words_for(&identifier.kind)) }
                    dd { (identifier.value) @if identifier.verified { " " span.tag.good { "Verified" } } }
                }
            }
            p { a.button.secondary href="/account/identifiers" { "Change" span.sr-only { " what you log in with" } } }
        }
    }
}

fn password(user: &User, facts: &Facts, open: bool) -> Markup {
    html! {
        section {
            h2 { "Password " @if facts.has_password { span.tag.good { "Set" } } @else { span.tag { "Not set" } } }
            @if facts.policy.passkey.enabled {
                p.muted { "A passkey is faster and safer. A password is another way in." }
            }
            details open[open] {
                summary { @if facts.has_password { "Change the password" } @else { "Set a password" } }
                form method="post" action="/account/security/password" {
                    (new_password::field(&facts.policy, &Personal::all(&user.identifiers)))
                    button.primary type="submit" { "Save" }
                }
            }
            @if facts.has_password {
                form method="post" action="/account/security/password/remove" {
                    button.danger type="submit" { "Remove the password" }
                }
            }
        }
    }
}

fn second_step(facts: &Facts) -> Markup {
    html! {
        section {
            h2 { "Authenticator app "
                @if facts.totp.is_some() { span.tag.good { "Set up" } } @else { span.tag { "Not set up" } } }
            p.muted {
                @if facts.policy.mfa.policy == MfaPolicy::Always { "A one-time code is asked for when you log in." }
                @else { "This service does not ask for one-time codes at present." }
            }
            @if let Some(totp) = &facts.totp {
                p { "Since " (parts::day(totp.created_at)) "." }
                form method="post" action="/account/security/otp/remove" {
                    button.danger type="submit" { "Remove the authenticator app" }
                }
            } @else {
                p { a.button.secondary href="/account/security/otp" { "Set up an authenticator app" } }
            }
        }
        section {
            h2 { "Recovery code" }
            @if let Some(made_at) = facts.recovery_code_made_at {
                p.muted { "Made " (parts::day(made_at)) ". Once you make a new one, the old one no longer works." }
            } @else {
                p.muted { "With it you can log in if you lose your authenticator app." }
            }
            form method="post" action="/account/security/recovery-code" {
                button.secondary type="submit" {
                    @if facts.recovery_code_made_at.is_some() { "Make a new recovery code" }
                    @else { "Make a recovery code" }
                }
            }
        }
    }
}

fn sessions(facts: &Facts) -> Markup {
    html! {
        section {
            h2 { "Where you are logged in" }
            ul.cards {
                @for session in &facts.sessions {
                    li {
                        div.passkey-text {
                            h3 { (parts::browser(&session.user_agent))
                                @if session.id == facts.this_session { " " span.tag.good { "This browser" } } }
                            p.muted { "From " (session.ip) ", since " (parts::day(session.created_at)) "." }
                        }
                        @if session.id != facts.this_session {
                            form method="post" action={ "/account/sessions/" (session.id) "/end" } {
                                button.link type="submit" { "Log out"
                                    span.sr-only { " " (parts::browser(&session.user_agent)) } }
                            }
                        }
                    }
                }
            }
            @if facts.sessions.len() > 1 {
                form method="post" action="/account/sessions/end-others" {
                    button.secondary type="submit" { "Log out everywhere else" }
                }
            }
        }
    }
}

fn deletion() -> Markup {
    html! {
        section {
            details {
                summary { "Delete the account" }
                p { "Your passkeys, password and everything else we keep of you are removed at once." }
                form method="post" action="/account/delete" {
                    button.danger type="submit" { "Delete my account" }
                }
            }
        }
    }
}

/// After a recovery or a reset: is all that opens the account still its owner's? The old password is ticked, because whoever
/// recovers has got in without it.
pub(crate) fn lost(app: &App, others: &Others) -> Markup {
    let content = html! {
        (parts::brand(app))
        h1 { "What else opens your account" }
        p.lead { "Whoever has one of these could log in. Tick what you have lost, and what is not yours: it is removed, \
            and everybody else is logged out." }
        (parts::error(None))
        form method="post" action=(destination::LOST) {
            @if let Some(since) = others.password {
                label.check {
                    input type="checkbox" name="lost" value="password" checked;
                    span { "The old password, set " (parts::day(since)) }
                }
            }
            @for passkey in &others.passkeys {
                label.check {
                    input type="checkbox" name="lost" value=(passkey.id);
                    span { (account::title(app, passkey)) ", created " (parts::day(passkey.created_at)) " with "
                        (parts::browser(&passkey.user_agent)) }
                }
            }
            @if let Some(since) = others.app {
                label.check {
                    input type="checkbox" name="lost" value="app";
                    span { "Authenticator app, set up " (parts::day(since)) }
                }
            }
            @if let Some(since) = others.recovery_code {
                label.check {
                    input type="checkbox" name="lost" value="recovery-code";
                    span { "Recovery code, made " (parts::day(since)) }
                }
            }
            button.primary type="submit" { "Continue" }
        }
    };
    card(app, "What else opens your account", &content)
}
