//! The routes of the relying party, as its sources have them: for the stories that ask all of them, and for the fuzz targets.

#![allow(unreachable_pub, reason = "one of those who use it has no outside")]

use std::path::Path;

/// A path with its methods.
#[derive(Clone, Debug)]
pub struct Route {
    /// As the source writes it, with `{id}`.
    pub path: String,
    /// `GET`, `POST`, …
    pub methods: Vec<&'static str>,
}

const METHODS: [(&str, &str); 4] =
    [("get(", "GET"), ("post(", "POST"), ("patch(", "PATCH"), ("delete(", "DELETE")];

/// The routes of every `.route("…", …)` under a folder, but for those of unit tests.
///
/// # Panics
/// If the folder cannot be read, or a route has no method.
pub fn under(folder: &Path) -> Vec<Route> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        if entry.path().is_dir() {
            found.extend(under(&entry.path()));
            continue;
        }
        let Ok(text) = std::fs::read_to_string(entry.path()) else { continue }; // a key for tests is no text
        let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        found.extend(text.split(".route(").skip(1).filter_map(route));
    }
    found
}

/// The route that begins here, behind `.route(`.
fn route(rest: &str) -> Option<Route> {
    let (path, handlers) = rest.trim_start().trim_start_matches('"').split_once('"')?;
    // up to the parenthesis that closes `.route(`
    let mut depth = 1;
    let end = handlers.find(|c| {
        depth += match c {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        depth == 0
    });
    let handlers = &handlers[..end.unwrap_or(handlers.len())];
    let methods = METHODS.into_iter().filter(|(call, _)| handlers.contains(call)).map(|(_, name)| name);
    let route = Route { path: path.to_owned(), methods: methods.collect() };
    assert!(!route.methods.is_empty(), "{path} has no method");
    Some(route)
}
