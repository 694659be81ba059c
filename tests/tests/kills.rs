//! SIGKILL at random moments, some dozens of times; `--bin soak -- kills` goes on. `SEED` sets another seed.

use end_to_end::soak::{Kills, relay_kills, relying_party_kills, vault_kills};

fn survives(kills: fn(u64, u64) -> Kills) {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(2026);
    let told = kills(34, seed);
    assert!(told.kills == 34 && told.answers > 8, "too little happened: {told:?}");
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
