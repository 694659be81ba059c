//! `doppelkey verify` on every case, and other people's verifiers on the same cases.
//!
//! A verdict of another verifier that differs from ours must have its line in `clients/oracle-differences.tsv`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

#[test]
fn doppelkey_verify_gives_every_case_its_verdict_and_step() {
    let output = Command::new(end_to_end::doppelkey()).arg("verify").stdin(cases_file()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let verdicts: Vec<Value> = lines(&output.stdout);
    let cases = cases();
    assert_eq!(verdicts.len(), cases.len());
    for (case, verdict) in cases.iter().zip(&verdicts) {
        assert_eq!(verdict["id"], case["id"]);
        for member in ["verdict", "step"] {
            assert_eq!(verdict[member], case["expect"][member], "{}: {verdict}", case["id"]);
        }
    }
}

#[test]
fn python_fido2_differs_only_where_we_know_why() {
    match end_to_end::python_with("fido2") {
        Some(python) => compare("fido2", Command::new(python).arg("oracle_fido2.py")),
        None => end_to_end::skipped(
            "python3 with the packages of tests/clients/requirements.txt (set DOPPELKEY_PYTHON)",
        ),
    }
}

#[test]
fn py_webauthn_differs_only_where_we_know_why() {
    match end_to_end::python_with("webauthn") {
        Some(python) => compare("webauthn", Command::new(python).arg("oracle_webauthn.py")),
        None => end_to_end::skipped(
            "python3 with the packages of tests/clients/requirements.txt (set DOPPELKEY_PYTHON)",
        ),
    }
}

#[test]
fn simplewebauthn_differs_only_where_we_know_why() {
    let modules = std::env::var_os("DOPPELKEY_NODE_MODULES").map(PathBuf::from);
    let found = modules.filter(|modules| modules.join("@simplewebauthn/server").is_dir());
    if found.is_none() || !end_to_end::has_program("node") {
        return end_to_end::skipped(
            "node with the packages of tests/clients/package.json (set DOPPELKEY_NODE_MODULES)",
        );
    }
    compare("simplewebauthn", Command::new("node").arg("oracle_simplewebauthn.mjs"));
}

#[test]
fn every_line_of_the_differences_is_about_cases_there_are() {
    let ids: Vec<_> = cases().iter().map(|case| text(&case["id"])).collect();
    for line in differences() {
        assert!(ids.iter().any(|id| line.covers(id)), "no case is like {}", line.pattern);
        assert!(
            ["*", "fido2", "webauthn", "simplewebauthn"].contains(&line.oracle.as_str()),
            "{}",
            line.oracle
        );
    }
}

/// Runs an oracle on all cases; the differences must be those that are known.
fn compare(oracle: &str, command: &mut Command) {
    let output = command
        .current_dir(end_to_end::root().join("tests/clients"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(cases_file())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let expected: BTreeMap<String, String> =
        cases().iter().map(|case| (text(&case["id"]), text(&case["expect"]["verdict"]))).collect();
    let verdicts: Vec<Value> = lines(&output.stdout);
    assert!(verdicts.len() > 300, "{oracle} has an opinion on {} cases only: {errors}", verdicts.len());
    let known: Vec<_> =
        differences().into_iter().filter(|line| line.oracle == "*" || line.oracle == oracle).collect();
    let mut used = BTreeSet::new();
    for verdict in &verdicts {
        let (id, found) = (text(&verdict["id"]), text(&verdict["verdict"]));
        if expected[&id] == found {
            continue;
        }
        let line = known.iter().position(|line| line.verdict == found && line.covers(&id));
        used.insert(
            line.unwrap_or_else(|| {
                panic!("{oracle} says {found} to {id}, and we do not: {}", verdict["why"])
            }),
        );
    }
    for (at, line) in known.iter().enumerate().filter(|(_, line)| line.oracle == oracle) {
        assert!(used.contains(&at), "{oracle} agrees with us by now about {}", line.pattern);
    }
}

struct Difference {
    oracle: String,
    verdict: String,
    pattern: String,
}

impl Difference {
    /// Whether the pattern, in which `*` stands for any text, is that of the whole id.
    fn covers(&self, id: &str) -> bool {
        let pieces: Vec<_> = self.pattern.split('*').collect();
        let [first, between @ .., last] = &pieces[..] else { return id == self.pattern };
        let Some(mut rest) = id.strip_prefix(first) else { return false };
        for piece in between {
            match rest.split_once(piece) {
                Some((_, after)) => rest = after,
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

fn differences() -> Vec<Difference> {
    let table = fs::read_to_string(end_to_end::root().join("tests/clients/oracle-differences.tsv")).unwrap();
    let lines = table.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let [oracle, verdict, pattern, why] = line.split('\t').collect::<Vec<_>>()[..] else {
                panic!("four columns, separated by tabs: {line}")
            };
            assert!(!why.is_empty(), "{line}");
            Difference { oracle: oracle.into(), verdict: verdict.into(), pattern: pattern.into() }
        })
        .collect()
}

fn cases_file() -> File {
    File::open(end_to_end::root().join("tests/vectors/webauthn-cases.jsonl")).unwrap()
}

fn cases() -> Vec<Value> {
    lines(&fs::read(end_to_end::root().join("tests/vectors/webauthn-cases.jsonl")).unwrap())
}

fn lines(bytes: &[u8]) -> Vec<Value> {
    bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().into()
}
