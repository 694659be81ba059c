//! makeCredential and getAssertion with a pinUvAuthToken (CTAP §6.1.2 step 11, §6.2.2 step 6, §6.5.2).

mod wire;

use std::time::Duration;

use doppelkey_core::testing::platform::{BOTH, CM, GA, MC, Platform, Token};
use doppelkey_core::testing::{Does, World};
use doppelkey_core::{Answer, Configuration, CredentialStore as _, OptionId, Status};
use wire::ceremony::{CLIENT_DATA_HASH, Get, Make, descriptors, next, verifying};
use wire::{bytes, get, status};

const PIN: &str = "123456";

fn world() -> World {
    let mut world = World::new(Configuration::default());
    Platform(2).set_pin(&mut world, PIN).unwrap();
    world
}

fn make(user: &str, token: &Token) -> Make {
    Make::new(user).with(8, token.authenticate(&CLIENT_DATA_HASH)).with(9, token.protocol())
}

fn get_with(token: &Token) -> Get {
    Get::new().with(6, token.authenticate(&CLIENT_DATA_HASH)).with(7, token.protocol())
}

#[test]
fn section_6_1_2_step_11_a_token_verifies_the_user_by_both_protocols() {
    for platform in BOTH {
        let mut world = world();
        let token = platform.token(&mut world, PIN, MC, Some("example.com")).unwrap();
        let made = make("alice", &token).send(&mut world).unwrap();
        assert!(made.data.uv && made.data.up && made.is_self_attested());
        assert_eq!(world.asked.len(), 1, "a PIN is no presence");
        assert!(!world.asked[0].verification);
        let token = platform.token(&mut world, PIN, GA, Some("example.com")).unwrap();
        let got = get_with(&token).send(&mut world).unwrap();
        assert!(got.data.uv && got.verifies(&made));
    }
}

#[test]
fn section_6_1_2_step_7_a_protected_authenticator_wants_a_token_for_what_is_discoverable() {
    let mut world = world();
    assert_eq!(Make::new("alice").send(&mut world), status(Status::PuatRequired));
    assert!(!Make::not_discoverable("alice").send(&mut world).unwrap().data.uv);
    world.authenticator().configuration_mut().set_option(OptionId::MakeCredUvNotRqd, false);
    assert_eq!(Make::not_discoverable("alice").send(&mut world), status(Status::PuatRequired));
    assert!(world.asked.len() == 1);
}

#[test]
fn section_6_1_2_step_11_a_token_must_have_the_permission() {
    let mut world = world();
    for permissions in [GA, CM] {
        let token = Platform(2).token(&mut world, PIN, permissions, Some("example.com")).unwrap();
        assert_eq!(make("alice", &token).send(&mut world), status(Status::PinAuthInvalid));
    }
    let token = Platform(2).token(&mut world, PIN, MC, Some("example.com")).unwrap();
    assert_eq!(get_with(&token).send(&mut world), status(Status::PinAuthInvalid));
}

#[test]
fn section_6_1_2_step_11_a_token_is_for_one_rp() {
    let mut world = world();
    let token = Platform(2).token(&mut world, PIN, MC | GA, Some("example.org")).unwrap();
    assert_eq!(make("alice", &token).send(&mut world), status(Status::PinAuthInvalid));
    assert_eq!(get_with(&token).send(&mut world), status(Status::PinAuthInvalid));
    // One without an RP becomes the first one's.
    let token = Platform(2).pin_token(&mut world, PIN).unwrap();
    let elsewhere = || make("alice", &token).rp("example.org");
    assert!(get_with(&token).option("up", false).send(&mut world) == status(Status::NoCredentials));
    assert_eq!(elsewhere().send(&mut world), status(Status::PinAuthInvalid));
    assert!(make("alice", &token).send(&mut world).is_ok());
}

#[test]
fn section_6_1_2_step_11_what_was_not_made_with_the_token_is_refused() {
    let mut world = world();
    let token = Platform(2).token(&mut world, PIN, MC | GA, Some("example.com")).unwrap();
    let good = token.authenticate(&CLIENT_DATA_HASH).into_bytes().unwrap();
    for index in [0, 15, 16, 31] {
        let mut wrong = good.clone();
        wrong[index] ^= 1;
        let make = make("alice", &token).with(8, bytes(&wrong));
        assert_eq!(make.send(&mut world), status(Status::PinAuthInvalid));
        assert_eq!(get_with(&token).with(6, bytes(&wrong)).send(&mut world), status(Status::PinAuthInvalid));
    }
    let of_another_hash = make("alice", &token).with(1, bytes([0; 32]));
    assert_eq!(of_another_hash.send(&mut world), status(Status::PinAuthInvalid));
    assert_eq!(make("alice", &token).with(9, 1.into()).send(&mut world), status(Status::PinAuthInvalid));
    assert!(world.asked.is_empty());
    assert_eq!(world.authenticator().store_mut().len(), Ok(0));
}

#[test]
fn section_6_1_2_step_14_3_a_token_serves_one_ceremony() {
    let mut world = world();
    let token = Platform(2).token(&mut world, PIN, MC | GA, Some("example.com")).unwrap();
    make("alice", &token).send(&mut world).unwrap();
    assert_eq!(make("bob", &token).send(&mut world), status(Status::PinAuthInvalid));
    assert_eq!(get_with(&token).send(&mut world), status(Status::PinAuthInvalid));
    // Without presence nothing is spent.
    let token = Platform(2).token(&mut world, PIN, GA, Some("example.com")).unwrap();
    assert!(get_with(&token).option("up", false).send(&mut world).unwrap().data.uv);
    assert!(get_with(&token).send(&mut world).unwrap().data.uv);
    assert_eq!(get_with(&token).send(&mut world), status(Status::PinAuthInvalid));
}

#[test]
fn section_6_1_2_step_13_built_in_verification_leaves_the_token_in_use_alone() {
    let mut world = verifying();
    Platform(2).set_pin(&mut world, PIN).unwrap();
    let token = Platform(2).token(&mut world, PIN, MC | GA, Some("example.com")).unwrap();
    let made = Make::new("alice").option("uv", true).send(&mut world).unwrap();
    assert!(made.data.uv);
    assert!(Get::new().option("uv", true).send(&mut world).unwrap().verifies(&made));
    assert!(get_with(&token).option("up", false).send(&mut world).unwrap().data.uv);
    assert!(make("bob", &token).send(&mut world).unwrap().data.uv);
    assert_eq!(get_with(&token).send(&mut world), status(Status::PinAuthInvalid), "a touch spends it");
}

#[test]
fn section_6_1_2_step_14_a_refused_touch_spends_nothing() {
    let mut world = world();
    let token = Platform(2).token(&mut world, PIN, MC, Some("example.com")).unwrap();
    world.user = Box::new(|_| Does::Says(Answer::Deny));
    assert_eq!(make("alice", &token).send(&mut world), status(Status::OperationDenied));
    world.user = Box::new(|_| doppelkey_core::testing::APPROVES);
    assert!(make("alice", &token).send(&mut world).is_ok());
}

#[test]
fn section_6_1_2_step_14_a_token_from_built_in_verification_brings_presence_for_a_while() {
    let mut world = verifying();
    let token = Platform(2).uv_token(&mut world, MC, Some("example.com")).unwrap();
    world.asked.clear();
    let made = make("alice", &token).send(&mut world).unwrap();
    assert!(made.data.up && made.data.uv && world.asked.is_empty());
    let token = Platform(2).uv_token(&mut world, GA, Some("example.com")).unwrap();
    world.asked.clear();
    assert!(get_with(&token).send(&mut world).unwrap().data.up);
    assert!(world.asked.is_empty());
    let token = Platform(2).uv_token(&mut world, GA | MC, Some("example.com")).unwrap();
    // Its first use keeps it; its presence does not last.
    assert!(get_with(&token).option("up", false).send(&mut world).is_ok());
    world.asked.clear();
    world.now += Duration::from_secs(31);
    assert!(get_with(&token).send(&mut world).unwrap().data.up);
    assert_eq!(world.asked.len(), 1);
}

#[test]
fn section_6_1_2_step_12_a_token_s_presence_serves_to_tell_exclusion() {
    let mut world = verifying();
    let made = Make::new("alice").option("uv", true).send(&mut world).unwrap();
    let token = Platform(2).uv_token(&mut world, MC, Some("example.com")).unwrap();
    world.asked.clear();
    let again = make("bob", &token).with(5, descriptors([made.id()]));
    assert_eq!(again.send(&mut world), status(Status::CredentialExcluded));
    assert!(world.asked.is_empty());
}

#[test]
fn section_6_1_2_step_5_with_a_token_the_option_uv_counts_for_nothing() {
    let mut world = world();
    let token = Platform(2).token(&mut world, PIN, MC, Some("example.com")).unwrap();
    let made = make("alice", &token).option("uv", true).send(&mut world).unwrap();
    assert!(made.data.uv && !world.asked[0].verification);
}

#[test]
fn section_6_1_2_step_1_an_empty_pin_uv_auth_param_tells_that_a_pin_is_set() {
    let mut world = world();
    assert_eq!(Make::new("a").with(8, bytes([])).send(&mut world), status(Status::PinInvalid));
    assert_eq!(Get::new().with(6, bytes([])).send(&mut world), status(Status::PinInvalid));
}

#[test]
fn section_6_1_2_step_6_always_uv_takes_a_token_for_everything() {
    let mut world = world();
    world.authenticator().configuration_mut().always_uv = true;
    assert_eq!(Make::not_discoverable("a").send(&mut world), status(Status::PuatRequired));
    let token = Platform(2).token(&mut world, PIN, MC, Some("example.com")).unwrap();
    assert!(make("alice", &token).send(&mut world).is_ok());
    assert_eq!(Get::new().send(&mut world), status(Status::PuatRequired));
    assert!(!Get::new().option("up", false).send(&mut world).unwrap().data.uv);
}

#[test]
fn section_6_1_2_step_11_blocked_built_in_verification_leads_to_the_pin() {
    let mut world = verifying();
    Platform(2).set_pin(&mut world, PIN).unwrap();
    world.user = Box::new(|_| Does::Says(Answer::NotVerified));
    for _ in 0..3 {
        let make = Make::new("alice").option("uv", true);
        assert_eq!(make.send(&mut world), status(Status::PuatRequired));
    }
    assert_eq!(world.asked.len(), 5);
    assert_eq!(Platform(2).uv_retries(&mut world), Ok(0));
    world.authenticator().configuration_mut().set_option(OptionId::NoMcGaPermissionsWithClientPin, true);
    assert_eq!(Make::new("alice").option("uv", true).send(&mut world), status(Status::PinBlocked));
}

#[test]
fn section_6_3_the_next_assertions_are_as_verified_as_the_first() {
    let mut world = world();
    for user in ["alice", "bob"] {
        let token = Platform(2).token(&mut world, PIN, MC, Some("example.com")).unwrap();
        make(user, &token).extension("credProtect", 3.into()).send(&mut world).unwrap();
    }
    assert_eq!(Get::new().send(&mut world), status(Status::NoCredentials));
    let token = Platform(2).token(&mut world, PIN, GA, Some("example.com")).unwrap();
    let first = get_with(&token).send(&mut world).unwrap();
    assert_eq!((first.user_name(), get(&first.response, 5)), (Some("bob"), Some(&2.into())));
    let second = next(&mut world).unwrap();
    assert!(second.data.uv);
    assert_eq!(second.user_name(), Some("alice"));
}

#[test]
fn section_6_2_2_step_12_with_a_display_a_token_s_presence_does_not_choose() {
    let mut world = verifying();
    for user in ["alice", "bob"] {
        Make::new(user).option("uv", true).send(&mut world).unwrap();
    }
    world.authenticator().configuration_mut().has_display = true;
    world.user = Box::new(|_| Does::Says(Answer::Approve { verified: true, account: Some(1) }));
    let token = Platform(2).uv_token(&mut world, GA, Some("example.com")).unwrap();
    world.asked.clear();
    let got = get_with(&token).send(&mut world).unwrap();
    assert_eq!(world.asked.iter().map(|asked| asked.accounts).collect::<Vec<_>>(), [2]);
    assert_eq!(got.user_id(), Some(&b"alice"[..]));
    assert_eq!(wire::get(&got.response, 6), Some(&true.into()));
}

#[test]
fn section_6_2_2_step_8_built_in_verification_is_presence_whatever_up_says() {
    let mut world = verifying();
    Make::new("alice").option("uv", true).send(&mut world).unwrap();
    let got = Get::new().option("uv", true).option("up", false).send(&mut world).unwrap();
    assert!(got.data.up && got.data.uv);
}

#[test]
fn section_6_1_2_step_14_a_full_store_spends_the_token_too() {
    let mut world = verifying();
    Make::new("alice").option("uv", true).send(&mut world).unwrap();
    world.authenticator().configuration_mut().limits.max_discoverable_credentials = 1;
    let token = Platform(2).uv_token(&mut world, MC | GA, Some("example.com")).unwrap();
    assert_eq!(make("bob", &token).send(&mut world), status(Status::KeyStoreFull));
    assert_eq!(get_with(&token).send(&mut world), status(Status::PinAuthInvalid));
}

#[test]
fn section_6_1_2_step_1_a_token_without_a_pin_is_enough_to_be_chosen() {
    let mut world = verifying();
    world.authenticator().configuration_mut().set_option(OptionId::ClientPin, false);
    assert_eq!(Make::new("a").with(8, bytes([])).send(&mut world), status(Status::PinNotSet));
    assert_eq!(Get::new().with(6, bytes([])).send(&mut world), status(Status::PinNotSet));
    assert_eq!(world.asked.len(), 2);
}
