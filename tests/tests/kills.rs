//! SIGKILL at random moments, some dozens of times; `--bin soak -- kills` goes on. `SEED` sets another seed.

use end_to_end::soak::{Kills, Story, power_cuts, relay_kills, relying_party_kills, sweep, vault_kills};

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
