//! Stories of responses: a right case, and other bytes in some of its members.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doppelkey_relying_party::verify::cases;
use serde_json::Value;

use super::steps;

/// The members of a response that hold bytes; a step's kind modulo their number chooses one.
pub(super) const MEMBERS: [&str; 5] =
    ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"];

/// The cases that are right.
pub(super) static RIGHT: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let lines = include_str!("../../vectors/webauthn-cases.jsonl").lines();
    let cases = lines.map(|line| serde_json::from_str::<Value>(line).expect("the file holds cases"));
    cases.filter(|case| case["expect"]["verdict"] == "accept").collect()
});

/// Judges one case: the first byte says which, each step which member to replace by what.
///
/// Whether it was accepted.
///
/// # Panics
/// If a verdict is missing, or its transcript is not whole.
pub fn verification(story: &[u8]) -> bool {
    let Some((which, rest)) = story.split_first() else { return false };
    let mut case = RIGHT[usize::from(*which) % RIGHT.len()].clone();
    for (kind, payload) in steps(rest).take(MEMBERS.len()) {
        let member = MEMBERS[usize::from(kind) % MEMBERS.len()];
        case["credential"]["response"][member] = URL_SAFE_NO_PAD.encode(payload).into();
    }
    let verdict = cases::verdict(&case.to_string());
    assert!(verdict.is_case(), "a case stays a case whatever the response is");
    let told: Value = serde_json::from_str(&verdict.to_json(true)).expect("a verdict is JSON");
    let lines = told["transcript"].as_array().expect("a transcript was asked for");
    assert_eq!(lines.len(), if case["ceremony"] == "registration" { 29 } else { 25 });
    let failed = lines.iter().filter(|line| line["verdict"] == "fail").count();
    assert_eq!(failed, usize::from(!verdict.is_accepted()), "one step refuses, or none");
    verdict.is_accepted()
}
