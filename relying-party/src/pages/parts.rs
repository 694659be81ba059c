//! What several pages show.

use maud::{Markup, html};

use super::icons;
use crate::app::App;
use crate::failure::Told;

/// The sign and the name of the service.
pub(crate) fn brand(app: &App) -> Markup {
    html! {
        p.brand { (icons::shield()) span { (app.config.name) } }
    }
}

/// The place where a ceremony says what went wrong; `shown` is an error to start with, with its key for scripts.
pub(crate) fn error(shown: Option<&Told>) -> Markup {
    html! {
        p #error .error role="alert" tabindex="-1" data-error-code=[shown.map(|told| told.key)]
            hidden[shown.is_none()] { @if let Some(told) = shown { (told.text()) } }
    }
}

/// A message about what has been done.
pub(crate) fn notice(shown: Option<&str>) -> Markup {
    html! {
        @if let Some(text) = shown { p.notice role="status" { (text) } }
    }
}

/// What a labelled field needs to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field<'a> {
    pub(crate) id: &'a str,
    pub(crate) name: &'a str,
    pub(crate) label: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) value: &'a str,
    pub(crate) autocomplete: &'a str,
    pub(crate) optional: bool,
    pub(crate) hint: &'a str,
}

/// A labelled field.
pub(crate) fn field(field: Field<'_>) -> Markup {
    let described = format!("{}-hint", field.id);
    html! {
        div.field {
            label for=(field.id) { (field.label) @if field.optional { " " span.muted { "(Optional)" } } }
            input id=(field.id) name=(field.name) type=(field.kind) value=(field.value)
                autocomplete=(field.autocomplete) required[!field.optional] maxlength="320"
                autocapitalize="none" spellcheck="false"
                aria-describedby=[(!field.hint.is_empty()).then_some(&described)];
            @if !field.hint.is_empty() { p.hint id=(described) { (field.hint) } }
        }
    }
}

/// A field for six digits.
pub(crate) fn code_field(label: &str) -> Markup {
    html! {
        div.field {
            label for="code" { (label) }
            input.code #code name="code" type="text" inputmode="numeric" autocomplete="one-time-code"
                pattern="[0-9 ]*" maxlength="9" required autofocus;
        }
    }
}

/// An identifier that has been typed before, and the way back to it.
pub(crate) fn fixed(value: &str, edit: &str) -> Markup {
    html! {
        p.fixed { span { (value) } a href=(edit) { "Edit" span.sr-only { " your identifier" } } }
    }
}

/// A button that starts a ceremony. Without JavaScript there is no ceremony, so the button says so.
pub(crate) fn ceremony(call: &str, options: &str, finish: &str, label: &Markup) -> Markup {
    html! {
        button.primary type="button" data-ceremony=(call) data-options=(options) data-finish=(finish) { (label) }
        noscript { p.hint { "A passkey needs JavaScript in your browser. Everything else here works without." } }
    }
}

/// "OR" between two ways.
pub(crate) fn or() -> Markup {
    html! { p.or { span { "or" } } }
}

/// A day, for people.
pub(crate) fn day(ms: i64) -> Markup {
    let iso = crate::events::iso(ms);
    let shown = jiff::Timestamp::from_millisecond(ms)
        .map_or_else(|_| iso.clone(), |time| time.strftime("%-d %b %Y").to_string());
    html! { time datetime=(iso) { (shown) } }
}

/// A moment, to the second, in UTC.
pub(crate) fn moment(ms: i64) -> Markup {
    let iso = crate::events::iso(ms);
    let shown = jiff::Timestamp::from_millisecond(ms)
        .map_or_else(|_| iso.clone(), |time| time.strftime("%-d %b %Y, %H:%M:%S").to_string());
    html! { time datetime=(iso) { (shown) } }
}

/// A browser and a system, as far as a user agent gives them away.
pub(crate) fn browser(user_agent: &str) -> String {
    let first = |table: &[(&str, &'static str)]| {
        table.iter().find(|(mark, _)| user_agent.contains(mark)).map(|(_, name)| *name)
    };
    let browser = first(&[
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
        ("doppelkey", "Doppelkey"),
        ("curl/", "curl"),
    ]);
    let system = first(&[
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Windows", "Windows"),
        ("Mac OS X", "macOS"),
        ("CrOS", "ChromeOS"),
        ("Linux", "Linux"),
    ]);
    match (browser, system) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (Some(one), None) | (None, Some(one)) => one.to_string(),
        (None, None) => "an unknown browser".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_are_told_from_their_user_agents() {
        let chrome = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/148.0 Safari/537.36";
        assert_eq!(browser(chrome), "Chrome on Linux");
        assert_eq!(
            browser("Mozilla/5.0 (Windows NT 10.0) … Chrome/148.0 Safari/537.36 Edg/148.0"),
            "Edge on Windows"
        );
        assert_eq!(browser(""), "an unknown browser");
    }
}
