//! What people call themselves: normal forms of e-mail addresses, phone numbers and user names.
//!
//! An identifier is compared in its normal form only: Unicode NFC, trimmed, lower case.

use unicode_normalization::UnicodeNormalization as _;

use crate::failure::Failure;
use crate::policy::{Ask, Attribute, Attributes};
use crate::store::{Identifier, User};

/// The kinds of identifiers, in the order of the forms.
pub(crate) const KINDS: [&str; 3] = ["email", "phone", "username"];

/// The policy of one kind.
pub(crate) fn attribute(attributes: &Attributes, kind: &str) -> Attribute {
    match kind {
        "email" => attributes.email,
        "phone" => attributes.phone,
        _ => attributes.username,
    }
}

/// The kinds that every account must have, and this one has not.
pub(crate) fn missing(attributes: &Attributes, user: &User) -> Vec<&'static str> {
    let is_known = |kind: &str| user.identifiers.iter().any(|known| known.kind == kind);
    let is_missing = |kind: &&str| attribute(attributes, kind).profile_required && !is_known(kind);
    KINDS.into_iter().filter(is_missing).collect()
}

/// The normal form of an identifier that is to be registered.
///
/// # Errors
/// [`Failure::Field`] with Auth0's key for what is wrong.
pub(crate) fn normal(attributes: &Attributes, kind: &str, text: &str) -> Result<Identifier, Failure> {
    let text: String = text.trim().nfc().collect();
    if text.is_empty() {
        return Err(left_empty(kind));
    }
    let value = match kind {
        "email" => {
            email(&text).ok_or(Failure::Field("invalid-email-format", "Enter a valid e-mail address.".into()))
        }
        "phone" => phone(&text).ok_or(Failure::Field(
            "invalid-phone-format",
            "Enter the phone number with its country code, like +49 30 1234567.".into(),
        )),
        _ => username(attributes, &text),
    }?;
    Ok(Identifier { kind: kind.to_string(), value, verified: false })
}

/// What a visitor means who types one identifier at sign-in: the kind is guessed from its form.
///
/// # Errors
/// [`Failure::Field`] with Auth0's key for what is missing or wrong, of those that the policy has people log in with.
pub(crate) fn typed(attributes: &Attributes, text: &str) -> Result<Identifier, Failure> {
    let (missing, wrong) = keys(attributes);
    if text.trim().is_empty() {
        return Err(Failure::Field(missing, format!("Enter {}.", choice(attributes, with_article))));
    }
    let found = of_its_form(text, |kind| attribute(attributes, kind).identifier);
    found.ok_or_else(|| Failure::Field(wrong, "Enter what you signed up with.".into()))
}

/// What an operator means who types one identifier, of whatever kind.
pub(crate) fn meant(text: &str) -> Option<Identifier> {
    of_its_form(text, |_| true)
}

fn of_its_form(text: &str, allowed: impl Fn(&str) -> bool) -> Option<Identifier> {
    let text: String = text.trim().nfc().collect();
    if text.is_empty() || text.len() > 320 {
        return None;
    }
    let found = if let Some(value) = email(&text).filter(|_| allowed("email")) {
        ("email", value)
    } else if let Some(value) = phone(&text).filter(|_| allowed("phone")) {
        ("phone", value)
    } else if allowed("username") {
        ("username", text.to_lowercase())
    } else {
        return None;
    };
    Some(Identifier { kind: found.0.into(), value: found.1, verified: false })
}

/// The keys for an identifier that is missing, and one that is wrong, where people log in with these kinds.
fn keys(attributes: &Attributes) -> (&'static str, &'static str) {
    match KINDS.map(|kind| attribute(attributes, kind).identifier) {
        [true, false, false] => ("no-email", "invalid-email-format"),
        [false, true, false] => ("no-phone", "invalid-phone-format"),
        [false, false, true] => ("no-username", "invalid-username"),
        [true, true, false] => ("no-email-phone", "invalid-email-phone"),
        [true, false, true] => ("no-email-username", "invalid-email-username"),
        [false, true, true] => ("no-phone-username", "invalid-phone-username"),
        _ => ("no-email-phone-username", "invalid-email-phone-username"),
    }
}

/// The kinds that people log in with, each in a word, as a choice: `e-mail address, phone number or user name`.
pub(crate) fn choice(attributes: &Attributes, word: fn(&str) -> &'static str) -> String {
    let kinds = KINDS.into_iter().filter(|kind| attribute(attributes, kind).identifier);
    let words: Vec<&str> = kinds.map(word).collect();
    match words.split_last() {
        Some((last, [])) => (*last).to_string(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => "identifier".into(),
    }
}

/// The identifiers of a sign-up form, checked against the policy.
///
/// # Errors
/// [`Failure::Field`] for the first field that is wrong or missing.
pub(crate) fn of_sign_up(
    attributes: &Attributes,
    given: [Option<&str>; 3],
) -> Result<Vec<Identifier>, Failure> {
    let mut identifiers = Vec::new();
    for (kind, text) in KINDS.into_iter().zip(given) {
        let text = text.map(str::trim).filter(|text| !text.is_empty());
        match (attribute(attributes, kind).signup, text) {
            (Ask::Off, _) | (Ask::Optional, None) => {}
            (Ask::Required, None) => return Err(left_empty(kind)),
            (_, Some(text)) => identifiers.push(normal(attributes, kind, text)?),
        }
    }
    if identifiers.is_empty() {
        return Err(Failure::Field("no-identifier", "Enter at least one of these.".into()));
    }
    Ok(identifiers)
}

/// A field for an identifier that was left empty.
fn left_empty(kind: &str) -> Failure {
    let key = match kind {
        "email" => "no-email",
        "phone" => "no-phone",
        _ => "no-username",
    };
    Failure::Field(key, format!("Enter {}.", with_article(kind)))
}

/// One of a kind, as people call it.
pub(crate) fn with_article(kind: &str) -> &'static str {
    match kind {
        "email" => "an e-mail address",
        "phone" => "a phone number",
        _ => "a user name",
    }
}

/// What is not seen, or has a line seen in another order: with it, two addresses that differ would look the same.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
                | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
                | '\u{ffa0}' | '\u{e0000}'..='\u{e0fff}'
        )
}

fn email(text: &str) -> Option<String> {
    let (local, domain) = text.rsplit_once('@')?;
    let is_plain = |part: &str| !part.is_empty() && !part.chars().any(|c| c.is_whitespace() || is_unseen(c));
    let is_domain = domain.contains('.') || domain == "localhost";
    let has_labels = domain.split('.').all(|label| !label.is_empty());
    let fits = local.len() <= 64 && text.len() <= 254 && !local.contains('@');
    let safe = !text.contains(['<', '>', '"', ',', ';', ':', '\\', '(', ')']);
    (is_plain(local) && is_plain(domain) && is_domain && has_labels && fits && safe)
        .then(|| text.to_lowercase())
}

/// E.164: a plus and 7 to 15 digits.
fn phone(text: &str) -> Option<String> {
    let rest = text.strip_prefix('+')?;
    let digits: String = rest.chars().filter(|c| !matches!(c, ' ' | '-' | '(' | ')' | '.' | '/')).collect();
    let fits = (7..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    (fits && !digits.starts_with('0')).then(|| format!("+{digits}"))
}

fn username(attributes: &Attributes, text: &str) -> Result<String, Failure> {
    let length = u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
    if length < attributes.username_min {
        let message = format!("A user name has at least {} characters.", attributes.username_min);
        return Err(Failure::Field("invalid-username-min-length", message));
    }
    if length > attributes.username_max {
        let message = format!("A user name has at most {} characters.", attributes.username_max);
        return Err(Failure::Field("invalid-username-max-length", message));
    }
    if email(text).is_some() || text.contains('@') {
        return Err(Failure::Field(
            "invalid-username-email-not-allowed",
            "A user name is not an e-mail address.".into(),
        ));
    }
    let is_allowed = |c: char| {
        c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '+' | '!' | '#' | '$' | '\'' | '^' | '`' | '~')
    };
    if phone(text).is_some() || !text.chars().all(is_allowed) {
        return Err(Failure::Field(
            "invalid-username-invalid-characters",
            "A user name has letters, digits and _ - . only, and is not a phone number.".into(),
        ));
    }
    Ok(text.to_lowercase())
}

/// An identifier for a screen that a stranger may see: `a•••@example.org`, `+49•••67`.
pub(crate) fn masked(identifier: &Identifier) -> String {
    match identifier.value.split_once('@') {
        Some((local, domain)) => {
            format!("{}•••@{domain}", local.chars().next().map(String::from).unwrap_or_default())
        }
        None if identifier.kind == "phone" && identifier.value.len() > 5 => {
            format!("{}•••{}", &identifier.value[..3], &identifier.value[identifier.value.len() - 2..])
        }
        None => identifier.value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_compared_without_case_and_spaces() {
        let attributes = Attributes::default();
        let found = normal(&attributes, "email", "  Ada@Example.ORG ").expect("an address");
        assert_eq!(found.value, "ada@example.org");
        // e + combining acute is the same name as é.
        let composed = normal(&attributes, "email", "andr\u{e9}@example.org").expect("an address");
        let decomposed = normal(&attributes, "email", "andre\u{301}@example.org").expect("an address");
        assert_eq!(composed, decomposed);
    }

    #[test]
    fn an_address_with_something_unseen_in_it_is_none() {
        let attributes = Attributes::default();
        for unseen in ['\u{200b}', '\u{202e}', '\u{ad}', '\u{feff}', '\u{e0061}', '\u{3164}'] {
            let text = format!("ada{unseen}@example.org");
            assert!(normal(&attributes, "email", &text).is_err(), "{}", text.escape_unicode());
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let attributes = Attributes::default();
        for text in
            ["", "ada", "@example.org", "ada@", "a b@example.org", "ada@example", "a@b@c.org", "ada@x..org"]
        {
            assert!(normal(&attributes, "email", text).is_err(), "{text}");
        }
    }

    #[test]
    fn phone_numbers_are_e164() {
        let attributes = Attributes::default();
        assert_eq!(
            normal(&attributes, "phone", "+49 (30) 123-4567").expect("a number").value,
            "+49301234567"
        );
        for text in ["030 1234567", "+0301234567", "+12", "+1234567890123456"] {
            assert!(normal(&attributes, "phone", text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_user_name_never_looks_like_another_kind() {
        let attributes = Attributes::default();
        assert_eq!(normal(&attributes, "username", "Ada_L").expect("a name").value, "ada_l");
        for text in ["ada@example.org", "+4930123456", "ada lovelace", "abcdefghijklmnop", ""] {
            assert!(normal(&attributes, "username", text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_on_screens_are_masked() {
        let mask = |kind: &str, value: &str| {
            masked(&Identifier { kind: kind.into(), value: value.into(), verified: false })
        };
        assert_eq!(mask("email", "ada@example.org"), "a•••@example.org");
        assert_eq!(mask("phone", "+49301234567"), "+49•••67");
    }
}
