//! The conformance tool's published check list, item by item: each has a test of ours that exists, or a reason.

use std::collections::BTreeMap;

use end_to_end::sources::tests_of;

/// How many checks on an authenticator the list has.
const CHECKS: usize = 324;

#[test]
fn every_published_check_has_a_test_of_ours_or_a_reason() {
    let root = end_to_end::root();
    let table = std::fs::read_to_string(root.join("tests/published-checks.tsv")).expect("the table is there");
    let mut lines = table.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(lines.next(), Some("check\tfile\ttest\twhat"));
    let mut files = BTreeMap::new();
    let mut count = 0;
    for (line, number) in lines.zip(1..) {
        let Ok([check, file, test, what]) = <[&str; 4]>::try_from(Vec::from_iter(line.split('\t'))) else {
            panic!("not four columns: {line}");
        };
        assert_eq!(check, format!("CHK-{number:03}"), "in order, and none left out");
        assert!(what.len() > 10, "{check} does not say what");
        count += 1;
        if (file, test) == ("-", "-") {
            continue;
        }
        let tests = files.entry(file).or_insert_with(|| {
            let text = std::fs::read_to_string(root.join(file));
            tests_of(file, &text.unwrap_or_else(|error| panic!("{check}: {file}: {error}")))
        });
        assert!(tests.iter().any(|one| one == test), "{check}: {file} has no test {test}");
    }
    assert_eq!(count, CHECKS);
}
