//! Bad input, in bounds: the corpus of every target and mutants of it, from a seed. `tests/fuzz` goes on without bounds.
//!
//! `FUZZ_SEED` sets another seed, `FUZZ_MUTANTS` their number. A failure prints the seed and the story that makes it.

use std::sync::atomic::{AtomicU64, Ordering};

use end_to_end::fuzz::{
    Mutator, TARGETS, Target, answers, bridge, commands, control, corpus, find, policies, replicas, requests,
    vault, verification,
};

#[test]
fn the_authenticator_survives_every_story() {
    let successes: u32 = corpus::commands().iter().map(|story| commands(story)).sum();
    assert!(successes > 40, "only {successes} requests of the corpus are right: the rest is not reached");
    let successes: u32 = corpus::control().iter().map(|story| control(story)).sum();
    assert!(successes > 25, "only {successes} requests of the corpus are right: the rest is not reached");
    let successes: u32 = corpus::bridge().iter().map(|story| bridge(story)).sum();
    assert!(successes >= 4, "only {successes} ceremonies of the corpus are right: the rest is not reached");
    assert_eq!(vault(&corpus::vault()[0]), Some(3), "the vault of the corpus opens");
    assert!(corpus::answers().iter().all(|story| answers(story)), "a right authenticator is believed");
    tell(&[
        "packets",
        "commands",
        "usbip",
        "control",
        "bridge",
        "vault",
        "credential",
        "exchange",
        "answers",
    ]);
}

#[test]
fn the_relying_party_survives_every_story() {
    let successes: u32 = corpus::requests().iter().map(|story| requests(story)).sum();
    assert!(successes > 20, "only {successes} requests of the corpus are right: the rest is not reached");
    assert!(corpus::responses().iter().all(|story| verification(story)), "the corpus is right");
    let refused: Vec<_> = corpus::policies().into_iter().filter(|story| !policies(story)).collect();
    assert_eq!(refused.len(), 1, "all is right but the BLOB, which nobody here signs: {refused:02x?}");
    assert_eq!(refused[0][0], 3);
    tell(&[
        "requests",
        "verification",
        "client_data",
        "authenticator_data",
        "attestation_object",
        "cose_key",
        "certificate",
        "policies",
    ]);
}

#[test]
fn replicas_survive_every_story_and_agree() {
    assert!(corpus::replicas().iter().all(|story| replicas(story) > 2), "something is said");
    tell(&["entries", "letters", "replicas"]);
}

#[test]
fn every_target_is_told_and_has_a_program_for_cargo_fuzz() {
    let here = include_str!("fuzz.rs");
    let manifest = include_str!("../fuzz/Cargo.toml");
    for Target { name, corpus, .. } in TARGETS {
        assert!(here.contains(&format!("\"{name}\"")), "{name} is not told");
        assert!(manifest.contains(&format!("name = \"{name}\"\n")), "{name} is missing in tests/fuzz");
        assert!(!corpus().is_empty(), "{name} has nothing to begin with");
    }
}

fn tell(names: &[&str]) {
    // Servers and devices catch panics of their threads, and go on: they are counted where they happen.
    static PANICS: AtomicU64 = AtomicU64::new(0);
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::SeqCst);
        hook(panic);
    }));
    for name in names {
        let target = find(name);
        let corpus = (target.corpus)();
        let number = |variable| std::env::var(variable).ok().and_then(|number| number.parse().ok());
        let seed = number("FUZZ_SEED").unwrap_or(2026);
        let mut mutator = Mutator::new(seed);
        let mutants = number("FUZZ_MUTANTS").unwrap_or(target.mutants);
        let stories = (0..mutants).map(|_| mutator.mutant(&corpus)).collect::<Vec<_>>();
        for (count, story) in corpus.iter().chain(&stories).enumerate() {
            let before = PANICS.load(Ordering::SeqCst);
            let result = std::panic::catch_unwind(|| (target.harness)(story));
            assert!(
                result.is_ok() && PANICS.load(Ordering::SeqCst) == before,
                "story {count} of {name} with FUZZ_SEED={seed}: {}",
                hexadecimal(story)
            );
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
