//! Mutants: right responses, each with one thing wrong, and the proof that exactly one step sees it.
//!
//! The responses are made here with the private keys that the W3C vectors publish. They and the vectors
//! themselves are kept as cases in `tests/vectors/webauthn-cases.jsonl`, for other verifiers and for
//! `doppelkey verify`; after a change here, write the file anew with `DOPPELKEY_WRITE_VECTORS=1 cargo test -p doppelkey-relying-party mutants`.

pub(crate) mod attestation;
mod authentication;
mod client_data;
pub(crate) mod der;
pub(crate) mod lenient;
mod registration;
pub(crate) mod revocation;
mod robustness;
mod w3c;
pub(crate) mod workshop;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::{Value, json};

use super::cases;
use super::transcript::Ceremony;

/// A case and what must become of it.
struct Mutant {
    name: String,
    /// The number of the step that refuses; `None` for a response that is right, however odd.
    step: Option<u8>,
    case: Value,
}

fn right(name: &str, case: Value) -> Mutant {
    Mutant { name: name.into(), step: None, case }
}

fn wrong(name: &str, step: u8, case: Value) -> Mutant {
    Mutant { name: name.into(), step: Some(step), case }
}

impl Mutant {
    fn ceremony(&self) -> Ceremony {
        match self.case["ceremony"].as_str() {
            Some("registration") => Ceremony::Registration,
            _ => Ceremony::Authentication,
        }
    }

    fn expected_step(&self) -> Option<String> {
        let section = if self.ceremony() == Ceremony::Registration { 1 } else { 2 };
        self.step.map(|number| format!("7.{section}-{number}"))
    }

    /// One line of the file of cases.
    fn to_line(&self) -> String {
        let mut case = self.case.clone();
        let section =
            if self.ceremony() == Ceremony::Registration { "registration" } else { "authentication" };
        case["id"] = format!("{section}/{}", self.name).into();
        case["expect"] = match self.expected_step() {
            Some(step) => json!({ "verdict": "reject", "step": step }),
            None => json!({ "verdict": "accept" }),
        };
        case.to_string()
    }
}

fn mutants() -> Vec<Mutant> {
    let all = [w3c::vectors(), registration::mutants(), attestation::mutants(), authentication::mutants()];
    all.into_iter().flatten().collect()
}

#[test]
fn mutants_are_refused_by_the_step_they_break_and_right_responses_by_none() {
    for mutant in mutants() {
        let verdict = cases::verdict(&mutant.to_line());
        let told = verdict.to_json(false);
        assert!(verdict.is_case(), "{}: {told}", mutant.name);
        assert_eq!(
            verdict.step().map(|step| step.to_string()),
            mutant.expected_step(),
            "{}: {told}",
            mutant.name
        );
    }
}

/// A verifier that is blind to the step goes on with what a careless one would have read ([`lenient`]), and then nothing
/// else may refuse. From some mutants not even that one reads anything: a member is missing, or it is no text, JSON or
/// CBOR at all. Such a step has others that show it.
#[test]
fn mutants_of_every_step_are_refused_by_that_step_only() {
    let mut proven = BTreeSet::new();
    let mut unreadable = BTreeMap::<String, Vec<String>>::new();
    for mutant in mutants() {
        let Some(number) = mutant.step else { continue };
        let verdict = cases::verdict_overlooking(&mutant.to_line(), number);
        match verdict.step() {
            None => drop(proven.insert((mutant.ceremony(), number))),
            Some(step) => {
                assert_eq!(Some(step.to_string()), mutant.expected_step(), "{}: also refused", mutant.name);
                unreadable.entry(step.to_string()).or_default().push(mutant.name);
            }
        }
    }
    let numbers = |ceremony| -> Vec<u8> {
        proven.iter().filter(|(of, _)| *of == ceremony).map(|(_, number)| *number).collect()
    };
    // The rest can refuse nothing: they are the client's or the caller's (1, 2, 27, 28; 1, 2, 24), take a hash
    // (12; 20), or only note what was found (4, 18, 19, 21, 24, 29; 4, 23, 25).
    assert_eq!(
        numbers(Ceremony::Registration),
        [3, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16, 17, 20, 22, 23, 25, 26]
    );
    assert_eq!(
        numbers(Ceremony::Authentication),
        [3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 21, 22]
    );
    let expected = UNREADABLE.map(|(step, names)| {
        (step.to_string(), names.split_whitespace().map(String::from).collect::<Vec<_>>())
    });
    assert_eq!(unreadable, BTreeMap::from(expected), "from these nothing can be read, and from no others");
}

/// Steps, and the mutants of each from which not even a careless verifier reads anything.
const UNREADABLE: [(&str, &str); 6] = [
    (
        "7.1-3",
        "envelope-null envelope-response-missing envelope-client-data-missing envelope-client-data-array \
         envelope-object-missing envelope-object-not-base64url",
    ),
    (
        "7.1-6",
        "client-data-utf16 client-data-empty client-data-truncated client-data-nested-too-deeply type-missing \
         challenge-missing origin-missing",
    ),
    (
        "7.1-13",
        "object-truncated object-empty object-array object-without-fmt object-without-statement \
         object-without-data object-fmt-number object-data-text object-nested-too-deeply object-huge-length \
         data-empty data-too-short data-without-credential data-promises-a-credential data-truncated \
         data-id-length-beyond data-id-length-short data-key-number data-key-duplicate-label",
    ),
    (
        "7.2-3",
        "envelope-null envelope-client-data-missing envelope-data-missing envelope-signature-missing \
         envelope-user-handle-number",
    ),
    (
        "7.2-9",
        "client-data-utf16 client-data-empty client-data-truncated client-data-nested-too-deeply type-missing \
         challenge-missing origin-missing",
    ),
    ("7.2-7", "data-empty data-too-short"),
];

#[test]
fn mutants_in_the_file_are_those_made_here() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/webauthn-cases.jsonl");
    let all = mutants();
    let names: BTreeSet<_> = all.iter().map(|mutant| (mutant.ceremony(), &mutant.name)).collect();
    assert_eq!(names.len(), all.len(), "two mutants have one name");
    let made: String = all.iter().map(|mutant| mutant.to_line() + "\n").collect();
    if std::env::var_os("DOPPELKEY_WRITE_VECTORS").is_some() {
        fs::write(path, &made).unwrap();
    }
    let kept = fs::read_to_string(path).unwrap();
    assert!(kept == made, "write {path} anew with DOPPELKEY_WRITE_VECTORS=1");
}
