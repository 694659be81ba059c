//! The offers of a passkey.

use maud::{Markup, html};

use super::{card, icons, parts, signup};
use crate::app::App;
use crate::session::Prompt;

/// Screens `passkey-enrollment` (after a password) and `passkey-enrollment-local` (after another device's passkey).
pub(crate) fn offer(app: &App, name: &str, prompt: Prompt) -> Markup {
    let is_local = prompt == Prompt::Local;
    let (path, options) =
        if is_local { ("/enroll/local", "/enroll/local/options") } else { ("/enroll", "/enroll/options") };
    let label = if is_local {
        html! { (icons::passkey()) span { "Create a new passkey" } }
    } else {
        signup::create_label()
    };
    let content = html! {
        (parts::brand(app))
        div.hero { (icons::passkey()) }
        h1 {
            @if is_local { "Log in faster on this device" }
            @else { "Create a passkey for " (app.config.name) " on this device?" }
        }
        p.lead { (name) }
        (parts::error(None))
        @if is_local { (local_benefits()) } @else { (signup::benefits()) }
        @if !is_local { div hidden data-upgrade data-options=(options) data-finish=(path) {} }
        (parts::ceremony("create", options, path, &label))
        form method="post" action="/enroll/skip" {
            label.check { input type="checkbox" name="never" value="on"; "Don’t show me this again" }
            button.plain type="submit" {
                @if is_local { "Continue without a new passkey" } @else { "Continue without a passkey" }
            }
        }
    };
    card(app, "Create a passkey", &content)
}

fn local_benefits() -> Markup {
    html! {
        ul.benefits {
            li { (icons::computer()) div { strong { "No need for your other device" }
                p { "You used a passkey of another device. A passkey here makes that step unnecessary." } } }
            li { (icons::shield()) div { strong { "Just as safe" }
                p { "Your fingerprint, face or screen lock protects it; it never leaves your devices." } } }
        }
    }
}
