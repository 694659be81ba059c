//! Bad input, in bounds: the corpus of `end_to_end::fuzz` and mutants of it, from a seed. `tests/fuzz` goes on without.
//!
//! `FUZZ_SEED` sets another seed, `FUZZ_MUTANTS` their number; with `FUZZ_CORPUS=FOLDER` the corpus is written there
//! for cargo-fuzz. A failure prints the seed and the story that makes it.

use end_to_end::fuzz::{Mutator, commands, corpus, packets, requests, verification};

#[test]
fn no_story_of_commands_takes_the_device_down() {
    let successes: u32 = corpus::commands().iter().map(|story| commands(story)).sum();
    assert!(successes > 40, "only {successes} requests of the corpus are right: the rest is not reached");
    tell("commands", &corpus::commands(), 1500, |story| {
        commands(story);
    });
}

#[test]
fn no_story_of_packets_takes_ctaphid_down() {
    tell("packets", &corpus::packets(), 20_000, packets);
}

#[test]
fn no_response_takes_the_verifier_down() {
    let corpus = corpus::responses();
    assert!(corpus.iter().all(|story| verification(story)), "the corpus is right");
    tell("verification", &corpus, 3000, |story| {
        verification(story);
    });
}

#[test]
fn no_story_of_requests_is_the_relying_partys_fault() {
    let successes: u32 = corpus::requests().iter().map(|story| requests(story)).sum();
    assert!(successes > 20, "only {successes} requests of the corpus are right: the rest is not reached");
    tell("requests", &corpus::requests(), 600, |story| {
        requests(story);
    });
}

fn tell(name: &str, corpus: &[Vec<u8>], mutants: u64, harness: fn(&[u8])) {
    write(name, corpus);
    for story in corpus {
        harness(story);
    }
    let number = |variable| std::env::var(variable).ok().and_then(|number| number.parse().ok());
    let seed = number("FUZZ_SEED").unwrap_or(2026);
    let mut mutator = Mutator::new(seed);
    for count in 0..number("FUZZ_MUTANTS").unwrap_or(mutants) {
        let story = mutator.mutant(corpus);
        let result = std::panic::catch_unwind(|| harness(&story));
        assert!(result.is_ok(), "mutant {count} of {name} with FUZZ_SEED={seed}: {}", hexadecimal(&story));
    }
}

fn write(name: &str, corpus: &[Vec<u8>]) {
    let Some(folder) = std::env::var_os("FUZZ_CORPUS") else { return };
    let folder = std::path::Path::new(&folder).join(name);
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    for (number, story) in corpus.iter().enumerate() {
        std::fs::write(folder.join(format!("{number:02}")), story).expect("the folder takes files");
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
