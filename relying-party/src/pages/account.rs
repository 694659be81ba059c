//! The account: passkeys, security, sessions.

use maud::{Markup, html};
use serde_json::json;

use super::{icons, identifiers, parts, wide};
use crate::app::App;
use crate::metadata::Entry;
use crate::policy::Policy;
use crate::secret;
use crate::store::{Passkey, User};

/// The frame of the account's pages.
pub(crate) fn frame(app: &App, user: &User, here: &str, content: &Markup) -> Markup {
    let tabs = [("/account", "Passkeys"), ("/account/security", "Security")];
    let content = html! {
        header.top {
            (parts::brand(app))
            form method="post" action="/logout" { button.link type="submit" { "Log out" } }
        }
        p.muted { "Logged in as " strong { (user.name()) } }
        nav.tabs aria-label="Account" {
            @for (path, name) in tabs {
                a href=(path) aria-current=[(path == here).then_some("page")] { (name) }
            }
        }
        (content)
    };
    wide(app, "Your account", &content)
}

/// The page of the passkeys. Where policy has turned them off, those that there are can be looked at and removed.
pub(crate) fn passkeys(
    app: &App,
    user: &User,
    passkeys: &[Passkey],
    policy: &Policy,
    notice: Option<&str>,
) -> Markup {
    let most = policy.passkey.max_per_user;
    let content = html! {
        h1 { "Passkeys" }
        (parts::notice(notice))
        (parts::error(None))
        (identifiers::needed(policy, user))
        @if !policy.passkey.enabled {
            p.lead { "Logging in with passkeys is turned off here." }
            ul.cards { @for passkey in passkeys { li { (one(app, passkey)) } } }
        } @else if passkeys.is_empty() {
            section.hero-box {
                div.hero { (icons::passkey()) }
                h2 { "Log in faster and safer" }
                p { "Create a passkey, and your fingerprint, face or screen lock is all you need next time." }
                (add_button("Create a passkey"))
            }
        } @else {
            p.lead { "Log in with your fingerprint, face or screen lock instead of a password." }
            ul.cards { @for passkey in passkeys { li { (one(app, passkey)) } } }
            div.row {
                @if passkeys.len() < most as usize { (add_button("Add a passkey")) }
                span.muted { (passkeys.len()) " of at most " (most) }
            }
        }
        (signal_data(app, user, passkeys))
    };
    frame(app, user, "/account", &content)
}

fn add_button(label: &str) -> Markup {
    parts::ceremony(
        "create",
        "/account/passkeys/options",
        "/account/passkeys",
        &html! { (icons::passkey()) span { (label) } },
    )
}

fn one(app: &App, passkey: &Passkey) -> Markup {
    let title = title(app, passkey);
    let (icon, tag) = tag(passkey);
    let of_the_model = model(app, passkey).and_then(|model| model.icon.as_deref());
    html! {
        div.passkey-icon {
            @match of_the_model {
                Some(url) => { img src=(url) alt="" width="28" height="28"; }
                None => { (icon) }
            }
        }
        div.passkey-text {
            h2 { (title) " " span.tag { (tag) } }
            p.muted {
                "Created " (parts::day(passkey.created_at)) " with " (parts::browser(&passkey.user_agent)) ". "
                @match passkey.last_used_at {
                    Some(ms) => { "Last used " (parts::day(ms)) "." }
                    None => { "Not used yet." }
                }
            }
            details {
                summary { "Manage" span.sr-only { " " (title) } }
                form.row method="post" action={ "/account/passkeys/" (passkey.id) "/rename" } {
                    div.field {
                        label for={ "name-" (passkey.id) } { "Name" }
                        input id={ "name-" (passkey.id) } name="name" type="text" value=(title) maxlength="64" required
                            autocomplete="off";
                    }
                    button.secondary type="submit" { "Rename" }
                }
                form method="post" action={ "/account/passkeys/" (passkey.id) "/remove" } {
                    button.danger type="submit" { "Remove this passkey" }
                    p.hint { "It stays in your password manager until you delete it there too." }
                }
            }
        }
    }
}

/// What to call a passkey: the user's name for it, else its provider, else its model, else what it is.
pub(crate) fn title(app: &App, passkey: &Passkey) -> String {
    let provider = || app.providers.name_of(&passkey.aaguid).map(String::from);
    let model = || model(app, passkey).map(|model| model.description.clone()).filter(|name| !name.is_empty());
    let kind = || if is_security_key(passkey) { "Security key" } else { "Passkey" }.to_string();
    passkey.name.clone().or_else(provider).or_else(model).unwrap_or_else(kind)
}

/// What FIDO says about its model, if the operator has loaded that. For people's eyes: a passkey that attests nothing can
/// claim any model.
fn model<'a>(app: &'a App, passkey: &Passkey) -> Option<&'a Entry> {
    app.metadata.as_ref()?.entry_for(&passkey.aaguid)
}

fn is_security_key(passkey: &Passkey) -> bool {
    !passkey.backup_eligible
        && (passkey.attachment.as_deref() == Some("cross-platform")
            || passkey.transports.iter().any(|t| t == "usb"))
}

fn tag(passkey: &Passkey) -> (Markup, &'static str) {
    if passkey.backup_state {
        (icons::cloud(), "Synced")
    } else if passkey.backup_eligible {
        (icons::passkey(), "Not backed up")
    } else if is_security_key(passkey) {
        (icons::security_key(), "On a security key")
    } else {
        (icons::computer(), "On one device")
    }
}

/// What the script tells the passkeys' providers (Signal API): which passkeys exist, and the user's name.
fn signal_data(app: &App, user: &User, passkeys: &[Passkey]) -> Markup {
    let ids: Vec<String> = passkeys.iter().map(|passkey| secret::text(&passkey.credential_id)).collect();
    let data = json!({
        "rpId": app.config.rp_id,
        "userId": secret::text(&user.handle),
        "allAcceptedCredentialIds": ids,
        "name": user.name(),
        "displayName": user.name(),
    });
    html! { div hidden data-signal=(data) {} }
}
