//! The threat models claim nothing that no test shows: each test that they name exists.

use std::collections::BTreeSet;
use std::path::Path;

use end_to_end::root;
use end_to_end::sources::tests_of;

const READMES: [&str; 3] = ["authenticator/README.md", "relying-party/README.md", "sync/README.md"];

#[test]
fn every_test_that_a_threat_model_names_exists() {
    let mut tests = BTreeSet::new();
    for folder in ["authenticator", "relying-party", "sync", "firmware", "tests"] {
        read(&root().join(folder), &mut tests);
    }
    for readme in READMES {
        let text = std::fs::read_to_string(root().join(readme)).expect("there is a README");
        let (_, model) = text.split_once("## Threat model\n").unwrap_or_else(|| panic!("{readme} has none"));
        let model = model.split("\n## ").next().unwrap_or_default();
        let named: Vec<_> = model.split('`').skip(1).step_by(2).filter(|word| is_sentence(word)).collect();
        assert!(named.len() > 8, "{readme} names {} tests only", named.len());
        for test in named {
            assert!(tests.contains(test), "{readme}: there is no test {test}");
        }
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

/// A test's name is a sentence.
fn is_sentence(word: &str) -> bool {
    let of_words = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    word.bytes().all(of_words) && word.matches('_').count() >= 2
}

/// The names of the tests under a folder.
fn read(folder: &Path, tests: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("it lists") {
        let path = entry.expect("it lists").path();
        if path.is_dir() && !path.ends_with("target") {
            read(&path, tests);
        } else if path.extension().is_some_and(|end| end == "rs" || end == "py") {
            let text = std::fs::read_to_string(&path).expect("it is text");
            tests.extend(tests_of(&path.to_string_lossy(), &text));
        }
    }
}
