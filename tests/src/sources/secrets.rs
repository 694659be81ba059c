//! Types that hold secrets and lines that compare them, as text: what a reviewer would search for by hand.
//!
//! No parser of Rust: it knows how `rustfmt` lays code out, and errs on the side of finding too much.

use std::path::{Path, PathBuf};

/// A struct or enum with a secret in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretType {
    /// Its name.
    pub name: String,
    /// Whether the compiler writes its `==`, which ends at the first byte that differs.
    pub derives_eq: bool,
    /// Whether the compiler writes its `Debug`, which prints everything.
    pub derives_debug: bool,
    /// Its own `==`, if it has one.
    pub eq: Option<String>,
    /// Names of fields whose bytes stay in memory when it is dropped.
    pub left_behind: Vec<String>,
}

/// The types of this file that hold secrets: some of it is zeroized when dropped, or a field of bytes or text is called a
/// secret. Those inside of functions and of test modules are passed over.
pub fn secret_types(text: &str) -> Vec<SecretType> {
    let mut attributes = String::new();
    let mut types = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("#[") || (!attributes.is_empty() && line.starts_with([' ', ')'])) {
            attributes.push_str(line);
            continue;
        }
        if line.starts_with("//") {
            continue;
        }
        let attributes = std::mem::take(&mut attributes);
        let Some(name) = defined(line) else { continue };
        let mut body = vec![line.trim()];
        if line.ends_with(['{', '(']) {
            body.extend(lines.by_ref().take_while(|line| !line.starts_with(['}', ')'])).map(str::trim));
        }
        types.extend(secret_type(text, name, &attributes, &body));
    }
    types
}

/// The name of the type that this line begins to define.
fn defined(line: &str) -> Option<&str> {
    let item = line.strip_prefix("pub(crate) ").or_else(|| line.strip_prefix("pub(super) "));
    let item = item.or_else(|| line.strip_prefix("pub ")).unwrap_or(line);
    let rest = item.strip_prefix("struct ").or_else(|| item.strip_prefix("enum "))?;
    rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()
}

fn secret_type(text: &str, name: &str, attributes: &str, body: &[&str]) -> Option<SecretType> {
    let own_drop = text.split_once(&format!("impl Drop for {name} {{"));
    let own_drop = own_drop.and_then(|(_, rest)| rest.split("\n}").next());
    let all_zeroized =
        attributes.contains("ZeroizeOnDrop") || own_drop.is_some_and(|drop| drop.contains(".zeroize()"));
    let fields = body.iter().filter(|line| !line.starts_with("//"));
    let named: Vec<_> = fields.clone().filter_map(|line| field(line)).collect();
    let is_secret = |(name, kind): &&(&str, &str)| is_called_a_secret(name) && is_raw(kind);
    let secret = all_zeroized
        || fields.clone().any(|line| line.contains("Zeroizing<"))
        || named.iter().any(|field| is_secret(&field));
    secret.then(|| SecretType {
        name: name.to_owned(),
        derives_eq: derives(attributes, "PartialEq"),
        derives_debug: derives(attributes, "Debug"),
        eq: own_eq(text, name),
        left_behind: named
            .iter()
            .filter(|field| !all_zeroized && is_secret(field))
            .map(|(name, _)| (*name).to_owned())
            .collect(),
    })
}

/// A field's name and type.
fn field<'a>(line: &&'a str) -> Option<(&'a str, &'a str)> {
    let (name, kind) = line.split_once(": ")?;
    let name = name.rsplit(' ').next()?;
    name.chars().all(|c| c.is_alphanumeric() || c == '_').then_some((name, kind.trim_end_matches(',')))
}

fn is_called_a_secret(name: &str) -> bool {
    const WORDS: [&str; 7] = ["secret", "token", "password", "passphrase", "pin", "seed", "psk"];
    name.split('_').next_back().is_some_and(|last| WORDS.contains(&last))
}

/// Bytes or text that nobody takes care of.
fn is_raw(kind: &str) -> bool {
    let inner = kind.strip_prefix("Option<").map_or(kind, |inner| inner.trim_end_matches('>'));
    inner == "String" || inner.starts_with("Vec<u8") || inner.starts_with("[u8;")
}

fn derives(attributes: &str, what: &str) -> bool {
    let lists = attributes.split("derive(").skip(1).filter_map(|rest| rest.split(')').next());
    lists.flat_map(|list| list.split(',')).any(|derived| derived.trim() == what)
}

fn own_eq(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("impl PartialEq for {name} {{"))?;
    Some(rest.split("\n}").next().unwrap_or(rest).to_owned())
}

/// Lines of this file that compare something that is called a secret with `==` or `!=`, outside of its tests.
pub fn comparisons(text: &str) -> Vec<&str> {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    let lines =
        code.lines().map(str::trim).filter(|line| !line.starts_with("//") && !line.contains("assert"));
    lines.filter(|line| compares_a_secret(line)).collect()
}

fn compares_a_secret(line: &str) -> bool {
    let pieces: Vec<&str> = line.split(" == ").flat_map(|piece| piece.split(" != ")).collect();
    let sides = pieces.windows(2).flat_map(|pair| {
        let left =
            pair[0].trim_end_matches(|c: char| !is_of_a_name(c)).rsplit(|c: char| !is_of_a_name(c)).next();
        let right: &str = pair[1].trim_start_matches(['&', '*']);
        // Of `self.token.as_str()` the token counts, and of `token.len()` the length.
        let path = right.split(|c: char| !is_of_a_name(c) && c != '.').next().unwrap_or_default();
        // `secret::text(…)` is a function of a module.
        let path = if right[path.len()..].starts_with("::") { "" } else { path };
        let last = path.split('.').rfind(|name| !["as_str", "as_bytes", "as_slice"].contains(name));
        [left.map(str::to_owned), last.map(str::to_owned)]
    });
    sides.flatten().any(|name| is_called_a_secret(&name) || name.ends_with("mac") || name == "tag")
}

fn is_of_a_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The files of Rust in this folder that are part of what is shipped: no tests, benchmarks, examples, and nothing built.
pub fn shipped(folder: &Path) -> Vec<PathBuf> {
    const NOT: [&str; 6] = ["tests", "testing", "target", "benches", "examples", "simulator"];
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder can be listed") {
        let path = entry.expect("the folder can be listed").path();
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        if NOT.contains(&name) || name.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            files.extend(shipped(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPES: &str = "/// A.\n#[derive(Clone, PartialEq, Eq, ZeroizeOnDrop)]\npub struct Key([u8; 32]);\n\n\
        #[derive(Debug)]\nstruct Login {\n    user: String,\n    /// Secret.\n    pub password: String,\n}\n\n\
        struct Kept {\n    token: Zeroizing<String>,\n}\n\n\
        impl PartialEq for Kept {\n    fn eq() {\n        ct_eq\n    }\n}\n\n\
        #[derive(PartialEq)]\npub(crate) struct Limits {\n    pub min_pin_length: u8,\n    token_known: bool,\n}\n";

    #[test]
    fn a_type_with_a_secret_is_found_with_how_it_is_compared_and_printed() {
        let types = secret_types(TYPES);
        let names: Vec<_> = types.iter().map(|found| found.name.as_str()).collect();
        assert_eq!(names, ["Key", "Login", "Kept"]);
        assert!(types[0].derives_eq && !types[0].derives_debug && types[0].left_behind.is_empty());
        assert!(types[1].derives_debug && types[1].left_behind == ["password"]);
        assert!(types[2].eq.as_ref().is_some_and(|eq| eq.contains("ct_eq")) && !types[2].derives_eq);
    }

    #[test]
    fn a_comparison_of_a_secret_is_found_on_either_side_and_one_of_its_length_is_none() {
        let found = comparisons(
            "if self.token == shown {\nif shown != &self.token.as_str() {\nif token.len() == 3 {\nx == y\n// token == x\n\
             if *pin == *ask()? {\n#[cfg(test)]\nmod tests {\n    token == b\n",
        );
        assert_eq!(
            found,
            ["if self.token == shown {", "if shown != &self.token.as_str() {", "if *pin == *ask()? {"]
        );
    }
}
