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
