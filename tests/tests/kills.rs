//! SIGKILL at random moments, some dozens of times; `--bin soak -- kills` goes on. `SEED` sets another seed.

use end_to_end::soak::{
    Home, Kills, Story, power_cuts, relay_kills, relying_party_kills, sweep, vault_kills,
};
use end_to_end::starved::{Program, doppelkey};

fn survives(kills: fn(u64, u64) -> Kills) {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(2026);
    let told = kills(34, seed);
    assert!(told.kills == 34 && told.answers > 8, "too little happened: {told:?}");
    assert_eq!(told.trace.is_flat(), Ok(()), "{:?}", told.trace);
}

#[test]
fn a_killed_authenticator_keeps_every_passkey_that_it_answered() {
    survives(vault_kills);
}

#[test]
fn a_killed_relying_party_knows_every_user_that_it_signed_up() {
    survives(relying_party_kills);
}

#[test]
fn a_killed_relay_has_every_entry_that_it_took() {
    survives(relay_kills);
}

/// The try is spent before the answer, so a kill buys no guess.
#[test]
fn a_program_that_is_killed_after_each_wrong_pin_grants_no_ninth_guess() {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let home = Home::at(folder.path());
    let start = || {
        let arguments = home.arguments();
        let program = Program::start(doppelkey(&arguments.iter().map(String::as_str).collect::<Vec<_>>()));
        program.unwrap_or_else(|said| panic!("{said}"))
    };
    let guess = |pin: &str| home.client().expect("the door is open").verify_pin(pin);
    let retries = |program: &Program| {
        let request = ureq::get(format!("{}/v1/devices/1/pin", program.text("control")));
        let request = request.header("authorization", format!("Bearer {}", program.text("token")));
        let text =
            request.call().and_then(|mut answer| answer.body_mut().read_to_string()).expect("it answers");
        let status: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        status["retries"].as_u64().unwrap_or_else(|| panic!("{text}"))
    };
    let program = start();
    home.client().expect("the door is open").set_pin("right-4711").expect("a new authenticator has no PIN");
    guess("right-4711").expect("it is the right one");
    drop(program);
    for left in (0..8).rev() {
        let program = start();
        let guessed = guess(&format!("wrong-{left}"));
        assert!(guessed.is_err(), "with {left} left: {guessed:?}");
        // SIGKILL.
        drop(program);
        let program = start();
        assert_eq!(retries(&program), left, "each guess has cost one");
        drop(program);
    }
    let _program = start();
    assert!(guess("right-4711").is_err(), "the ninth is not looked at, though it is right");
}

/// Some of the steps of each story; `--bin soak -- steps 1` is killed at all of them.
#[test]
fn a_program_killed_at_a_write_a_sync_or_a_rename_keeps_what_it_promised() {
    for story in Story::ALL {
        let Some(told) = sweep(story, 2, 17) else { return end_to_end::skipped("cc, a C compiler") };
        assert!(told.steps > 30 && told.kills > 10 && told.kept > 10, "{story:?}: {told:?}");
    }
}

/// After some of the steps; `--bin soak -- power 1` has one after each.
#[test]
fn a_program_whose_power_is_cut_keeps_what_it_promised() {
    for story in Story::ALL {
        let Some(told) = power_cuts(story, 3, 13, 2026) else {
            return end_to_end::skipped("cc, a C compiler");
        };
        assert!(told.steps > 30 && told.disks > 3 && told.kept > 3, "{story:?}: {told:?}");
    }
}
