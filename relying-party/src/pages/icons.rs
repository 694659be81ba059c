//! Icons, drawn for this project; all are decoration beside words, so none has a text of its own.

use maud::{Markup, PreEscaped, html};

fn icon(paths: &'static str) -> Markup {
    html! {
        svg.icon viewBox="0 0 24 24" width="24" height="24" aria-hidden="true" focusable="false" {
            (PreEscaped(paths))
        }
    }
}

/// A person and a key: the passkey. Stands before the word.
pub(crate) fn passkey() -> Markup {
    icon(
        r#"<circle cx="9" cy="7" r="4"/><path d="M2 20c0-4 3-7 7-7 1.3 0 2.5.3 3.5.9"/><circle cx="17.5" cy="13" r="3"/><path d="M17.5 16v6M17.5 19h2.5"/>"#,
    )
}

/// An open lock without digits: nothing to remember.
pub(crate) fn no_password() -> Markup {
    icon(
        r#"<rect x="4" y="10" width="16" height="11" rx="2"/><path d="M8 10V7a4 4 0 0 1 7.8-1.3"/><path d="M9 15.5h6"/>"#,
    )
}

/// Two devices.
pub(crate) fn devices() -> Markup {
    icon(
        r#"<rect x="2" y="4" width="14" height="10" rx="1.5"/><path d="M1 18h13"/><rect x="16" y="9" width="7" height="12" rx="1.5"/><path d="M19 18h1"/>"#,
    )
}

/// A shield with a check mark.
pub(crate) fn shield() -> Markup {
    icon(
        r#"<path d="M12 2.5 4 5.5V11c0 5 3.3 8.7 8 10.5 4.7-1.8 8-5.5 8-10.5V5.5z"/><path d="m8.5 12 2.5 2.5 4.5-5"/>"#,
    )
}

/// A stick for a USB port.
pub(crate) fn security_key() -> Markup {
    icon(
        r#"<rect x="3" y="8" width="14" height="8" rx="2"/><path d="M17 10h4v4h-4"/><circle cx="8" cy="12" r="1.5"/>"#,
    )
}

/// A cloud: synced.
pub(crate) fn cloud() -> Markup {
    icon(r#"<path d="M7 19a4.5 4.5 0 0 1-.5-9A6 6 0 0 1 18 9.5 4.8 4.8 0 0 1 17.5 19z"/>"#)
}

/// A computer.
pub(crate) fn computer() -> Markup {
    icon(r#"<rect x="3" y="4" width="18" height="12" rx="2"/><path d="M8 20h8M12 16v4"/>"#)
}
