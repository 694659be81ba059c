//! The pages of the second factor.

use maud::{Markup, html};
use qrcode::{Color, QrCode};

use super::{card, icons, parts};
use crate::app::App;
use crate::failure::Told;
use crate::totp;

/// Screen `mfa-otp-challenge`.
pub(crate) fn otp(app: &App, remember_days: u32, error: Option<&Told>) -> Markup {
    let content = html! {
        (parts::brand(app))
        div.hero { (icons::shield()) }
        h1 { "Verify your identity" }
        p.lead { "Open your authenticator app and enter the code it shows." }
        (parts::error(error))
        form method="post" action="/mfa/otp" {
            (parts::code_field("Enter your one-time code"))
            @if remember_days > 0 {
                label.check { input type="checkbox" name="remember" value="on";
                    "Remember this device for " (remember_days) " days" }
            }
            button.primary type="submit" { "Continue" }
        }
        p.switch { a href="/mfa/recovery-code" { "Try another method" } }
    };
    card(app, "Verify your identity", &content)
}

/// Screen `mfa-recovery-code-challenge`.
pub(crate) fn recovery_challenge(app: &App, error: Option<&Told>) -> Markup {
    let content = html! {
        (parts::brand(app))
        h1 { "Enter your recovery code" }
        p.lead { "It has 24 letters and digits. You saved it when you set the second step up." }
        (parts::error(error))
        form method="post" action="/mfa/recovery-code" {
            div.field {
                label for="code" { "Recovery code" }
                input #code name="code" type="text" autocomplete="off" autocapitalize="characters" spellcheck="false"
                    required maxlength="40";
            }
            button.primary type="submit" { "Continue" }
        }
        p.switch { a href="/mfa/otp" { "Use your authenticator app instead" } }
    };
    card(app, "Recovery code", &content)
}

/// Screen `mfa-otp-enrollment-qr`.
pub(crate) fn setup(app: &App, user: &str, shared: &[u8], action: &str, error: Option<&Told>) -> Markup {
    let text = totp::base32(shared);
    let groups: Vec<&str> =
        text.as_bytes().chunks(4).filter_map(|part| std::str::from_utf8(part).ok()).collect();
    let content = html! {
        (parts::brand(app))
        h1 { "Secure your account" }
        p.lead { "Scan this with an authenticator app, then enter the code that the app shows." }
        (parts::error(error))
        (qr(&totp::uri(&app.config.name, user, shared)))
        details {
            summary { "Trouble scanning?" }
            p { "Enter this key in the app:" }
            p.secret { (groups.join(" ")) }
        }
        form method="post" action=(action) {
            (parts::code_field("Enter your one-time code"))
            button.primary type="submit" { "Continue" }
        }
    };
    card(app, "Secure your account", &content)
}

/// A QR code as one path.
fn qr(text: &str) -> Markup {
    let Ok(code) = QrCode::new(text) else { return html! {} };
    let width = code.width();
    let mut path = String::new();
    for (index, color) in code.to_colors().into_iter().enumerate() {
        if color == Color::Dark {
            let (x, y) = (index % width, index / width);
            path.push_str(&format!("M{x} {y}h1v1h-1z"));
        }
    }
    html! {
        svg.qr viewBox={ "0 0 " (width) " " (width) } role="img" aria-label="QR code for your authenticator app"
            shape-rendering="crispEdges" { path d=(path) fill="#000" {} }
    }
}

/// Screen `mfa-recovery-code-enrollment`.
pub(crate) fn recovery_code(
    app: &App,
    code: &str,
    action: &str,
    notice: Option<&str>,
    error: Option<&Told>,
) -> Markup {
    let groups: Vec<&str> =
        code.as_bytes().chunks(4).filter_map(|part| std::str::from_utf8(part).ok()).collect();
    let content = html! {
        (parts::brand(app))
        h1 { "Almost there!" }
        p.lead { "Save this recovery code. You need it to log in if you lose your authenticator app." }
        (parts::notice(notice))
        (parts::error(error))
        div.short { p.secret { (groups.join(" ")) } }
        form method="post" action=(action) {
            label.check { input type="checkbox" name="recorded" value="on" required;
                "I have safely recorded this code" }
            button.primary type="submit" { "Continue" }
        }
    };
    card(app, "Recovery code", &content)
}
