//! The READMEs claim nothing that no test shows: each test that they name exists.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use end_to_end::root;
use end_to_end::sources::tests_of;

/// What is in the title of a section whose names of tests are claims.
const CLAIMS: [&str; 4] = ["Threat", "Invariants", "hold", "Decisions"];

#[test]
fn every_test_that_a_readme_names_exists() {
    let mut tests: BTreeMap<PathBuf, BTreeSet<String>> = BTreeMap::new();
    for file in files_below(root()) {
        if file.extension().is_some_and(|end| end == "rs" || end == "py") {
            let text = std::fs::read_to_string(&file).expect("it is text");
            tests.entry(part_of(&file)).or_default().extend(tests_of(&file.to_string_lossy(), &text));
        }
    }
    let mut models = 0;
    for readme in files_below(root()).into_iter().filter(|file| file.ends_with("README.md")) {
        let text = std::fs::read_to_string(&readme).expect("it is text");
        let part = part_of(&readme);
        let speaks_of =
            |other: &Path| other == part || part.as_os_str().is_empty() || is_shared(&part, other);
        let tests: BTreeSet<String> =
            tests.iter().filter(|(other, _)| speaks_of(other)).flat_map(|(_, tests)| tests.clone()).collect();
        for section in text.split("\n## ") {
            let title = section.lines().next().unwrap_or_default();
            let claims = CLAIMS.iter().any(|word| title.contains(word));
            // Elsewhere other things have names of several words, too, but none of six.
            let words = if claims { 3 } else { 6 };
            let named: Vec<_> =
                section.split('`').skip(1).step_by(2).filter(|name| is_sentence(name, words)).collect();
            for test in &named {
                let at = readme.display();
                assert!(
                    is_one_of(&tests, test),
                    "{at}, {title}: there is no test {test} of what it speaks of"
                );
            }
            if title == "Threat model" {
                models += 1;
                assert!(named.len() > 8, "{} names {} tests only", readme.display(), named.len());
            }
        }
    }
    assert_eq!(models, 3, "the threat models of the program, the relying party and sync");
}

/// The part of the product that a file belongs to: `authenticator`, `sync`; none for what is at the root.
fn part_of(file: &Path) -> PathBuf {
    let below = file.strip_prefix(root()).expect("it is one of ours");
    let folder = below.parent().and_then(|folder| folder.components().next());
    folder.map(|folder| PathBuf::from(folder.as_os_str())).unwrap_or_default()
}

/// Another part's test shows nothing of this one: a firmware's store says nothing of a vault. But the judgement of the
/// whole is everybody's, and the program's half of sync is in `authenticator/src/replicate`.
fn is_shared(part: &Path, other: &Path) -> bool {
    let both = [part, other].map(|part| part.to_string_lossy());
    other == Path::new("tests") || both == ["sync", "authenticator"] || both == ["authenticator", "sync"]
}

#[test]
fn every_link_of_a_page_leads_to_a_file_and_a_heading_that_are_there() {
    let mut links = 0;
    let pages = files_below(&root().join(".github")).into_iter().chain(files_below(root()));
    for page in pages.filter(|file| file.extension().is_some_and(|end| end == "md")) {
        let text = std::fs::read_to_string(&page).expect("it is text");
        let folder = page.parent().expect("a file is in a folder");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
            if link.contains("://") {
                continue;
            }
            links += 1;
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { page.clone() } else { folder.join(path) };
            assert!(target.exists(), "{}: there is no {path}", page.display());
            if !heading.is_empty() {
                let there = std::fs::read_to_string(&target).expect("a heading is in a page");
                let found = there.lines().any(|line| line.starts_with('#') && anchor(line) == heading);
                assert!(found, "{}: {path} has no heading {heading}", page.display());
            }
        }
    }
    assert!(links > 40, "only {links} links");
}

#[test]
fn the_test_that_the_readme_shows_is_one_of_the_recipes() {
    let page = text("tests/README.md");
    let (_, shown) = page.split_once("```python\n").expect("it shows one");
    let (shown, _) = shown.split_once("```").expect("which ends");
    let recipe = text("tests/recipes/test_playwright.py");
    for line in shown.lines().filter(|line| line.trim() != "…") {
        assert!(recipe.lines().any(|known| known == line), "the recipe has no line {line}");
    }
}

/// `DEPENDENCIES.md` speaks of the versions that are built, and says what its table must say.
#[test]
fn the_page_of_dependencies_names_the_versions_of_the_lock_file() {
    let lock: toml::Table = toml::from_str(&text("Cargo.lock")).expect("it is TOML");
    let locked: Vec<(String, String)> = lock["package"]
        .as_array()
        .expect("it lists packages")
        .iter()
        .map(|package| {
            ["name", "version"].map(|key| package[key].as_str().unwrap_or_default().to_owned()).into()
        })
        .collect();
    let page = text(".github/DEPENDENCIES.md");
    let mut named = 0;
    for row in page.lines().filter(|line| line.starts_with("| `")) {
        let cell = row.split('|').nth(1).unwrap_or_default();
        // Names without a version share the next one: "`p256` 0.14, `ecdsa` 0.17"; "`p384`, `p521`, `k256` 0.14".
        let mut waiting = Vec::new();
        for (at, part) in cell.split('`').enumerate() {
            if at % 2 == 1 {
                waiting.push(part);
                continue;
            }
            let version = part.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
            let Some(version) = version.map(|word| word.trim_end_matches(',')) else { continue };
            let version = version.trim_end_matches("-pre");
            for name in waiting.drain(..) {
                let fits = |known: &str| known == version || known.starts_with(&format!("{version}."));
                let found = locked.iter().any(|(known, locked)| known == name && fits(locked));
                assert!(
                    found,
                    "{name} {version} is not in Cargo.lock: read its notes anew and mend the page"
                );
                named += 1;
            }
        }
    }
    assert!(named > 20, "only {named} crates with versions");
    let declared: toml::Table = toml::from_str(&text("Cargo.toml")).expect("it is TOML");
    let rust = declared["workspace"]["package"]["rust-version"].as_str().expect("it is declared");
    for page in [page, text("README.md")] {
        assert!(page.contains(rust), "a page names another Rust than {rust}");
    }
}

fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A test's name is a sentence, of so many words at least. Its beginning or its end may be left out: `…`.
fn is_sentence(name: &str, words: usize) -> bool {
    let of_words = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    name.trim_matches('…').bytes().all(of_words) && name.split('_').count() >= words
}

fn is_one_of(tests: &BTreeSet<String>, name: &str) -> bool {
    match (name.strip_prefix('…'), name.strip_suffix('…')) {
        (Some(end), _) => tests.iter().any(|test| test.ends_with(end)),
        (_, Some(beginning)) => tests.iter().any(|test| test.starts_with(beginning)),
        _ => tests.contains(name),
    }
}

/// What a heading is called in a link to it.
fn anchor(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
    words.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
}

/// The files under a folder, without what is built or hidden.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("it lists") {
        let path = entry.expect("it lists").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') || name == "target" || name == "node_modules" {
            continue;
        }
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files
}
