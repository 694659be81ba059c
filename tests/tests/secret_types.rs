//! Every type that holds a secret: how it is compared and printed, and what of it stays in memory. Read from the sources, so
//! that a new one is judged, too.

use std::collections::BTreeSet;
use std::path::Path;

use end_to_end::root;
use end_to_end::sources::secrets::{comparisons, secret_types, shipped};

const FOLDERS: [&str; 6] = [
    "authenticator/core/src",
    "authenticator/ctaphid/src",
    "authenticator/src",
    "sync/src",
    "relying-party/src",
    "firmware/src",
];

#[test]
fn no_secret_is_compared_up_to_the_first_byte_that_differs() {
    let (mut types, mut own, mut wrong) = (0, 0, Vec::new());
    each_file(|file, text| {
        for found in secret_types(text) {
            types += 1;
            let (name, at) = (&found.name, file.display());
            if found.derives_eq {
                wrong.push(format!("{at}: {name} derives PartialEq; write it with subtle, or leave it out"));
            }
            if let Some(eq) = &found.eq {
                own += 1;
                if !eq.contains("ct_eq") {
                    wrong.push(format!("{at}: {name} is not compared in constant time"));
                }
            }
        }
        for line in comparisons(text) {
            let known = |(known, code, _): &(&str, &str, &str)| file.ends_with(known) && line.contains(code);
            if !COMPARED_OPENLY.iter().any(known) {
                wrong.push(format!("{}: a secret is compared openly: {line}", file.display()));
            }
        }
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(types > 40, "only {types} types with secrets were found");
    assert!(own > 5, "only {own} types compare themselves");
}

#[test]
fn no_secret_is_printed_by_a_derived_debug_or_left_in_memory_without_a_reason() {
    let (mut wrong, mut used) = (Vec::new(), BTreeSet::new());
    each_file(|file, text| {
        for found in secret_types(text) {
            let (name, at) = (&found.name, file.display());
            let reason = |list: &[(&str, &'static str, &str)]| {
                let fits = |(known, kind, _): &&(&str, &str, &str)| file.ends_with(known) && kind == name;
                list.iter().find(fits).map(|(_, kind, _)| *kind)
            };
            if found.derives_debug {
                match reason(&PRINTED_SAFELY) {
                    Some(kind) => _ = used.insert(kind),
                    None => wrong.push(format!("{at}: {name} derives Debug")),
                }
            }
            if !found.left_behind.is_empty() {
                match reason(&LEFT_BEHIND) {
                    Some(kind) => _ = used.insert(kind),
                    None => wrong.push(format!("{at}: {name}: {:?} is not zeroized", found.left_behind)),
                }
            }
        }
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let reasons = PRINTED_SAFELY.iter().chain(&LEFT_BEHIND).map(|(_, kind, _)| *kind);
    let unused: Vec<_> = reasons.filter(|kind| !used.contains(kind)).collect();
    assert!(unused.is_empty(), "these need no reason any more: {unused:?}");
}

fn each_file(mut judge: impl FnMut(&Path, &str)) {
    for folder in FOLDERS {
        for file in shipped(&root().join(folder)) {
            let text = std::fs::read_to_string(&file).expect("sources are text");
            judge(&file, &text);
        }
    }
}

/// File, a part of the line, why that is right.
const COMPARED_OPENLY: [(&str, &str, &str); 5] = [
    ("cli/sync/recovery/pin.rs", "*pin == *ask(", "both were typed by the same user a moment ago"),
    ("sync/src/crypto.rs", "key == self.encryption_seed", "the simulator's suite, which is no cryptography"),
    ("sync/src/crypto.rs", "expected[..TAG] == *tag", "the same"),
    ("flash_store/mod.rs", "entry.id_prefix == tag", "a part of a credential ID, which is public"),
    ("firmware/src/rp2350.rs", "*secret != [0; 32]", "with nothing: whether one was burnt"),
];

/// File, type, why its secret is not zeroized.
const LEFT_BEHIND: [(&str, &str, &str); 5] = [
    ("cli/bridge.rs", "Ready", "it is printed for whoever started the program"),
    ("cli/run.rs", "Ready", "the same"),
    ("relay/group.rs", "Entry", "the digest of a token"),
    ("relay/watch.rs", "Waiting", "the same"),
    ("relying-party/src/config.rs", "Config", "lives as long as the program; its Debug tells nothing"),
];

/// File, type, why its derived Debug tells nothing.
const PRINTED_SAFELY: [(&str, &str, &str); 1] =
    [("pin/record.rs", "PinRecord", "its secret members print themselves, and say nothing")];
