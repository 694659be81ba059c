//! authenticatorClientPIN (CTAP §6.5).

mod wire;

use core::time::Duration;

use ciborium::Value;
use doppelkey_core::testing::platform::{ACFG, BE, BOTH, CM, GA, LBW, MC, PCMR, Platform, Token};
use doppelkey_core::testing::{Does, World};
use doppelkey_core::{Action, Answer, Configuration, OptionId, Status, pin_status, remove_pin};
use wire::ceremony::{CLIENT_DATA_HASH, Make};
use wire::{bytes, get, map, send, status};

const PIN: &str = "a1b2c3d4";

fn world() -> World {
    World::new(Configuration::default())
}

fn world_with_pin() -> World {
    let mut world = world();
    assert!(Platform(2).set_pin(&mut world, PIN).is_ok());
    world
}

/// A device whose built-in verification needs no enrolment.
fn world_with_uv() -> World {
    let mut configuration = Configuration::default();
    configuration.set_option(OptionId::BioEnroll, false);
    World::new(configuration)
}

/// Whether the token opens credential management: getCredsMetadata fails for want of permission or not at all.
fn manages(world: &mut World, token: &Token) -> Result<Value, u8> {
    let parameters = map([(1, 1.into()), (3, token.protocol()), (4, token.authenticate(&[1]))]);
    send(world, 0x0A, &parameters)
}

#[test]
fn section_6_5_5_2_without_a_pin_there_are_no_retries_to_tell() {
    assert_eq!(BOTH[0].pin_retries(&mut world()), status(Status::PinNotSet));
}

#[test]
fn section_6_5_5_5_a_pin_is_set_once() {
    for platform in BOTH {
        let mut world = world();
        assert!(platform.set_pin(&mut world, PIN).is_ok());
        assert_eq!(platform.pin_retries(&mut world), Ok((8, false)));
        assert_eq!(platform.set_pin(&mut world, "another"), status(Status::PinAuthInvalid));
        assert!(platform.pin_token(&mut world, PIN).is_ok());
    }
}

#[test]
fn section_6_5_5_5_a_pin_that_was_tampered_with_is_refused() {
    for platform in BOTH {
        let mut world = world();
        let secret = platform.agree(&mut world);
        let mut new_pin = secret.encrypt(&[b'1'; 64]);
        let parameter = secret.authenticate(&new_pin);
        new_pin[0] ^= 1;
        let members = [(4, parameter), (5, bytes(new_pin))];
        assert_eq!(platform.client_pin(&mut world, 3, &secret, members), status(Status::PinAuthInvalid));
        assert_eq!(platform.pin_retries(&mut world), status(Status::PinNotSet));
    }
}

#[test]
fn section_6_5_5_5_a_pin_that_is_not_padded_to_64_bytes_is_an_invalid_parameter() {
    for platform in BOTH {
        let mut world = world();
        let secret = platform.agree(&mut world);
        let new_pin = secret.encrypt(&[b'1'; 48]);
        let members = [(4, secret.authenticate(&new_pin)), (5, bytes(new_pin))];
        assert_eq!(platform.client_pin(&mut world, 3, &secret, members), status(Status::InvalidParameter));
    }
}

#[test]
fn section_6_5_5_5_pins_too_short_or_too_long_break_the_policy() {
    let mut world = world();
    for pin in ["", "123", "äöü", &"1".repeat(64)] {
        assert_eq!(BOTH[1].set_pin(&mut world, pin), status(Status::PinPolicyViolation), "{pin:?}");
    }
    assert!(BOTH[1].set_pin(&mut world, &"1".repeat(63)).is_ok());
}

#[test]
fn section_6_5_5_6_changing_a_pin_takes_the_old_one() {
    for platform in BOTH {
        let mut world = world_with_pin();
        assert_eq!(platform.change_pin(&mut world, "wrong pin", "12345"), status(Status::PinInvalid));
        assert_eq!(platform.pin_retries(&mut world), Ok((7, false)));
        assert!(platform.change_pin(&mut world, PIN, "12345").is_ok());
        assert_eq!(platform.pin_retries(&mut world), Ok((8, false)));
        assert_eq!(platform.pin_token(&mut world, PIN), status(Status::PinInvalid));
        assert!(platform.pin_token(&mut world, "12345").is_ok());
    }
}

#[test]
fn section_6_5_5_5_the_longest_pin_is_the_model_s() {
    for platform in BOTH {
        let mut world = World::new(Configuration { max_pin_length: 20, ..Configuration::default() });
        assert_eq!(platform.set_pin(&mut world, &"1".repeat(21)), status(Status::PinPolicyViolation));
        assert!(platform.set_pin(&mut world, &"1".repeat(20)).is_ok());
        assert_eq!(
            platform.change_pin(&mut world, &"1".repeat(20), "123"),
            status(Status::PinPolicyViolation)
        );
        assert!(platform.change_pin(&mut world, &"1".repeat(20), "12345").is_ok());
    }
}

#[test]
fn section_6_5_5_5_a_pin_of_64_bytes_has_no_room_for_its_end() {
    for platform in BOTH {
        let mut world = world();
        let secret = platform.agree(&mut world);
        for length in [64, 80, 128] {
            let new_pin = secret.encrypt(&vec![b'1'; length]);
            let members = [(4, secret.authenticate(&new_pin)), (5, bytes(new_pin))];
            let refused = platform.client_pin(&mut world, 3, &secret, members);
            assert_eq!(refused, status(Status::PinPolicyViolation), "{length}");
        }
    }
}

#[test]
fn section_6_5_5_4_key_agreement_is_a_p_256_key_and_nothing_else() {
    for platform in BOTH {
        let response = send(&mut world(), 0x06, &map([(1, platform.0.into()), (2, 2.into())])).unwrap();
        let key = get(&response, 1).unwrap().as_map().unwrap();
        let members: Vec<i128> = key.iter().map(|(key, _)| key.as_integer().unwrap().into()).collect();
        assert_eq!(members, [1, 3, -1, -2, -3]);
        let number = |index: usize| i128::from(key[index].1.as_integer().unwrap());
        assert_eq!((number(0), number(1), number(2)), (2, -25, 1), "EC2, ECDH-ES + HKDF-256, P-256");
        assert!(key[3..].iter().all(|(_, coordinate)| coordinate.as_bytes().map(Vec::len) == Some(32)));
    }
}

#[test]
fn section_6_5_5_7_a_forced_change_refuses_tokens_until_it_is_made_by_both_protocols() {
    for platform in BOTH {
        let mut world = world_with_pin();
        let token = platform.token(&mut world, PIN, ACFG, None).unwrap();
        let parameters = map([(3, true.into())]);
        let mut message = [&[0xFF; 32][..], &[0x0D, 3]].concat();
        ciborium::into_writer(&parameters, &mut message).unwrap();
        let members =
            [(1, 3.into()), (2, parameters), (3, token.protocol()), (4, token.authenticate(&message))];
        assert!(send(&mut world, 0x0D, &map(members)).is_ok());
        let forced = |world: &mut World| get(&wire::raw(world, &[0x04]).unwrap(), 0x0C).cloned();
        assert_eq!(forced(&mut world), Some(Value::Bool(true)));
        assert_eq!(platform.pin_token(&mut world, PIN), status(Status::PinInvalid));
        assert_eq!(platform.token(&mut world, PIN, CM, None), status(Status::PinPolicyViolation));
        assert!(platform.change_pin(&mut world, PIN, "another pin").is_ok());
        assert_eq!(forced(&mut world), Some(Value::Bool(false)));
        assert!(platform.pin_token(&mut world, "another pin").is_ok());
        assert!(platform.token(&mut world, "another pin", CM, None).is_ok());
    }
}

#[test]
fn section_6_5_5_7_wrong_pins_are_counted_by_both_protocols() {
    for platform in BOTH {
        let mut world = world_with_pin();
        assert_eq!(platform.pin_retries(&mut world), Ok((8, false)));
        for _ in 0..2 {
            assert_eq!(platform.pin_token(&mut world, "wrong"), status(Status::PinInvalid));
        }
        assert_eq!(platform.pin_retries(&mut world), Ok((6, false)));
        assert!(platform.pin_token(&mut world, PIN).is_ok());
        assert_eq!(platform.pin_retries(&mut world), Ok((8, false)));
        for expected in [Status::PinInvalid, Status::PinInvalid, Status::PinAuthBlocked] {
            assert_eq!(platform.pin_token(&mut world, "wrong"), status(expected));
        }
        while platform.pin_retries(&mut world).unwrap().0 > 0 {
            world.replug();
            assert!(platform.pin_token(&mut world, "wrong").is_err());
        }
        assert_eq!(platform.pin_token(&mut world, PIN), status(Status::PinBlocked));
    }
}

#[test]
fn section_6_5_5_7_3_the_persistent_token_and_retries_come_from_built_in_verification_too() {
    for platform in BOTH {
        let mut world = world_with_uv();
        let token = platform.uv_token(&mut world, PCMR, None).unwrap();
        assert!(manages(&mut world, &token).is_ok());
        assert!((1..=25).contains(&platform.uv_retries(&mut world).unwrap()));
    }
}

#[test]
fn section_6_5_5_6_a_new_pin_that_breaks_the_policy_leaves_the_old_one() {
    let mut world = world_with_pin();
    assert_eq!(BOTH[1].change_pin(&mut world, PIN, "123"), status(Status::PinPolicyViolation));
    assert!(BOTH[1].pin_token(&mut world, PIN).is_ok());
}

#[test]
fn section_6_5_5_6_without_a_pin_there_is_none_to_change() {
    assert_eq!(BOTH[1].change_pin(&mut world(), PIN, "12345"), status(Status::PinNotSet));
}

#[test]
fn section_6_5_5_7_three_wrong_pins_ask_for_a_power_cycle() {
    let mut world = world_with_pin();
    let platform = BOTH[1];
    assert_eq!(platform.pin_token(&mut world, "wrong"), status(Status::PinInvalid));
    assert_eq!(platform.pin_token(&mut world, "wrong"), status(Status::PinInvalid));
    assert_eq!(platform.pin_token(&mut world, "wrong"), status(Status::PinAuthBlocked));
    assert_eq!(platform.pin_retries(&mut world), Ok((5, true)));
    // Now not even the right one is looked at, and none costs a retry.
    assert_eq!(platform.pin_token(&mut world, PIN), status(Status::PinAuthBlocked));
    assert_eq!(platform.change_pin(&mut world, PIN, "12345"), status(Status::PinAuthBlocked));
    assert_eq!(platform.pin_retries(&mut world), Ok((5, true)));
    world.replug();
    assert_eq!(platform.pin_retries(&mut world), Ok((5, false)));
    assert!(platform.pin_token(&mut world, PIN).is_ok());
    assert_eq!(platform.pin_retries(&mut world), Ok((8, false)));
}

#[test]
fn section_6_5_5_7_a_right_pin_in_between_forgives_the_wrong_ones() {
    let mut world = world_with_pin();
    for _ in 0..5 {
        assert_eq!(BOTH[0].pin_token(&mut world, "wrong"), status(Status::PinInvalid));
        assert_eq!(BOTH[0].pin_token(&mut world, "wrong"), status(Status::PinInvalid));
        assert!(BOTH[0].pin_token(&mut world, PIN).is_ok());
    }
}

#[test]
fn section_6_5_5_7_eight_wrong_pins_block_until_a_reset() {
    let mut world = world_with_pin();
    for attempt in 1..=8 {
        let expected = match attempt {
            8 => Status::PinBlocked,
            _ if attempt % 3 == 0 => Status::PinAuthBlocked,
            _ => Status::PinInvalid,
        };
        assert_eq!(BOTH[1].pin_token(&mut world, "wrong"), status(expected), "attempt {attempt}");
        if attempt % 3 == 0 {
            world.replug();
        }
    }
    assert_eq!(BOTH[1].pin_retries(&mut world), Ok((0, false)));
    world.replug();
    assert_eq!(BOTH[1].pin_token(&mut world, PIN), status(Status::PinBlocked));
    assert!(send(&mut world, 0x07, &map([])).is_ok());
    assert!(BOTH[1].set_pin(&mut world, PIN).is_ok());
    assert!(BOTH[1].pin_token(&mut world, PIN).is_ok());
}

#[test]
fn section_6_5_5_7_a_wrong_pin_renews_the_key_agreement() {
    let mut world = world_with_pin();
    let key = |world: &mut World| send(world, 0x06, &map([(1, 2.into()), (2, 2.into())])).unwrap();
    let before = key(&mut world);
    assert!(BOTH[1].pin_token(&mut world, PIN).is_ok());
    assert_eq!(key(&mut world), before);
    assert!(BOTH[1].pin_token(&mut world, "wrong").is_err());
    assert_ne!(key(&mut world), before);
}

#[test]
fn section_6_5_5_7_a_hash_that_cannot_be_decrypted_costs_a_retry() {
    let mut world = world_with_pin();
    let secret = BOTH[1].agree(&mut world);
    let members = [(6, bytes([0; 7]))];
    assert_eq!(BOTH[1].client_pin(&mut world, 5, &secret, members), status(Status::PinInvalid));
    assert_eq!(BOTH[1].pin_retries(&mut world), Ok((7, false)));
}

#[test]
fn section_6_5_5_7_the_superseded_command_takes_no_permissions() {
    let mut world = world_with_pin();
    let secret = BOTH[1].agree(&mut world);
    let hash = bytes(secret.encrypt(&[0; 16]));
    for member in [(9, Value::from(MC)), (10, Value::from("example.com"))] {
        let members = [(6, hash.clone()), member];
        assert_eq!(BOTH[1].client_pin(&mut world, 5, &secret, members), status(Status::InvalidParameter));
    }
    assert_eq!(BOTH[1].pin_retries(&mut world), Ok((8, false)));
}

#[test]
fn section_6_5_5_7_permissions_are_asked_for_as_they_may_be() {
    let mut world = world_with_pin();
    let platform = BOTH[1];
    assert_eq!(platform.token(&mut world, PIN, 0, None), status(Status::InvalidParameter));
    for permission in [MC, GA, MC | CM] {
        assert_eq!(platform.token(&mut world, PIN, permission, None), status(Status::MissingParameter));
    }
    assert_eq!(platform.token(&mut world, PIN, PCMR | CM, None), status(Status::UnauthorizedPermission));
    // A bit that means nothing is ignored.
    assert!(platform.token(&mut world, PIN, CM | 0x80, None).is_ok());
}

#[test]
fn section_6_5_5_7_no_permission_for_what_is_not_offered() {
    let cases = [
        (OptionId::CredMgmt, CM),
        (OptionId::BioEnroll, BE),
        (OptionId::LargeBlobs, LBW),
        (OptionId::AuthnrCfg, ACFG),
        (OptionId::PerCredMgmtRo, PCMR),
    ];
    for (option, permission) in cases {
        let mut world = world_with_pin();
        assert!(BOTH[1].token(&mut world, PIN, permission, None).is_ok(), "{option:?}");
        world.authenticator().configuration_mut().set_option(option, false);
        assert_eq!(
            BOTH[1].token(&mut world, PIN, permission, None),
            status(Status::UnauthorizedPermission),
            "{option:?}"
        );
    }
}

#[test]
fn section_6_4_a_pin_can_be_no_good_for_credentials() {
    let mut world = world_with_pin();
    world.authenticator().configuration_mut().set_option(OptionId::NoMcGaPermissionsWithClientPin, true);
    let rp = Some("example.com");
    assert_eq!(BOTH[1].token(&mut world, PIN, MC, rp), status(Status::UnauthorizedPermission));
    assert!(BOTH[1].token(&mut world, PIN, CM, None).is_ok());
    // The superseded command names no permissions, and gets none (§6.5.5.7.1 step 14).
    let token = BOTH[1].pin_token(&mut world, PIN).unwrap();
    let make = Make::new("alice").with(8, token.authenticate(&CLIENT_DATA_HASH)).with(9, token.protocol());
    assert_eq!(make.send(&mut world), status(Status::PinAuthInvalid));
}

#[test]
fn section_6_5_2_1_a_token_works_under_its_own_protocol_and_until_the_next_one() {
    let mut world = world_with_pin();
    let first = BOTH[1].token(&mut world, PIN, CM, None).unwrap();
    assert!(manages(&mut world, &first).is_ok());
    let second = BOTH[0].token(&mut world, PIN, CM, None).unwrap();
    assert!(manages(&mut world, &second).is_ok());
    assert_eq!(manages(&mut world, &first), status(Status::PinAuthInvalid));
}

#[test]
fn section_6_5_2_1_a_token_that_is_not_used_within_30_seconds_ends() {
    let mut world = world_with_pin();
    let token = BOTH[1].token(&mut world, PIN, CM, None).unwrap();
    world.now += Duration::from_secs(30);
    assert_eq!(manages(&mut world, &token), status(Status::PinAuthInvalid));
}

#[test]
fn section_6_5_2_1_a_token_in_use_ends_after_ten_minutes() {
    let mut world = world_with_pin();
    let token = BOTH[1].token(&mut world, PIN, CM, None).unwrap();
    world.now += Duration::from_secs(29);
    assert!(manages(&mut world, &token).is_ok());
    world.now += Duration::from_secs(570);
    assert!(manages(&mut world, &token).is_ok());
    world.now += Duration::from_secs(1);
    assert_eq!(manages(&mut world, &token), status(Status::PinAuthInvalid));
}

#[test]
fn section_6_5_2_1_a_token_ends_with_power() {
    let mut world = world_with_pin();
    let token = BOTH[1].token(&mut world, PIN, CM, None).unwrap();
    world.replug();
    assert_eq!(manages(&mut world, &token), status(Status::PinAuthInvalid));
}

#[test]
fn section_6_5_2_1_the_persistent_token_survives_power_and_ends_with_the_pin() {
    let mut world = world_with_pin();
    let token = BOTH[1].token(&mut world, PIN, PCMR, None).unwrap();
    assert_eq!(BOTH[1].token(&mut world, PIN, PCMR, None), Ok(token.clone()), "there is one");
    world.replug();
    assert!(manages(&mut world, &token).is_ok());
    assert!(BOTH[1].change_pin(&mut world, PIN, "12345").is_ok());
    assert_eq!(manages(&mut world, &token), status(Status::PinAuthInvalid));
    assert_ne!(BOTH[1].token(&mut world, "12345", PCMR, None), Ok(token));
}

#[test]
fn section_6_5_5_7_3_a_token_comes_from_built_in_verification() {
    for platform in BOTH {
        let mut world = world_with_uv();
        let token = platform.uv_token(&mut world, CM, None).unwrap();
        assert_eq!(world.asked.len(), 1);
        assert_eq!(world.asked[0].action, Action::Verify);
        assert!(world.asked[0].verification);
        assert!(manages(&mut world, &token).is_ok());
    }
}

#[test]
fn section_6_5_5_7_3_failed_verifications_block_it_and_a_pin_unblocks_it() {
    let mut world = world_with_uv();
    assert!(BOTH[1].set_pin(&mut world, PIN).is_ok());
    world.user = Box::new(|_| Does::Says(Answer::NotVerified));
    for left in (1..5).rev() {
        assert_eq!(BOTH[1].uv_token(&mut world, CM, None), status(Status::UvInvalid));
        assert_eq!(BOTH[1].uv_retries(&mut world), Ok(left));
    }
    assert_eq!(BOTH[1].uv_token(&mut world, CM, None), status(Status::UvBlocked));
    world.replug();
    let asked = world.asked.len();
    assert_eq!(BOTH[1].uv_token(&mut world, CM, None), status(Status::UvBlocked));
    assert_eq!(world.asked.len(), asked, "nobody is asked in vain");
    assert!(BOTH[1].pin_token(&mut world, PIN).is_ok());
    assert_eq!(BOTH[1].uv_retries(&mut world), Ok(5));
}

#[test]
fn section_6_5_5_7_3_the_user_may_refuse_leave_or_be_cancelled() {
    let mut world = world_with_uv();
    let cases = [
        (Does::Says(Answer::Deny), Status::OperationDenied),
        (Does::Nothing, Status::UserActionTimeout),
        (Does::IsCancelled, Status::KeepaliveCancel),
    ];
    for (does, expected) in cases {
        world.user = Box::new(move |_| does);
        assert_eq!(BOTH[1].uv_token(&mut world, CM, None), status(expected));
    }
    assert_eq!(BOTH[1].uv_retries(&mut world), Ok(5), "none of it is a failed verification");
}

#[test]
fn section_6_5_5_7_3_a_sensor_without_fingerprints_verifies_nobody() {
    assert_eq!(BOTH[1].uv_token(&mut world_with_pin(), CM, None), status(Status::NotAllowed));
}

#[test]
fn section_6_5_5_parameters_that_are_missing_are_told_from_invalid_ones() {
    let mut world = world_with_pin();
    assert_eq!(send(&mut world, 0x06, &map([])), status(Status::MissingParameter));
    assert_eq!(send(&mut world, 0x06, &map([(2, 2.into())])), status(Status::MissingParameter));
    for protocol in [0, 3] {
        let parameters = map([(1, protocol.into()), (2, 2.into())]);
        assert_eq!(send(&mut world, 0x06, &parameters), status(Status::InvalidParameter));
    }
    for subcommand in [3, 4, 5, 6, 9] {
        let parameters = map([(1, 2.into()), (2, subcommand.into())]);
        assert_eq!(send(&mut world, 0x06, &parameters), status(Status::MissingParameter), "{subcommand}");
    }
    for subcommand in [0, 8, 10, 255] {
        let parameters = map([(1, 2.into()), (2, subcommand.into())]);
        assert_eq!(send(&mut world, 0x06, &parameters), status(Status::InvalidSubcommand), "{subcommand}");
    }
}

#[test]
fn section_6_5_6_a_platform_key_that_is_not_on_the_curve_is_an_invalid_parameter() {
    let mut world = world_with_pin();
    let mut secret = Platform(2).agree(&mut world);
    secret.platform_key = map([
        (1, 2.into()),
        (3, Value::from(-25)),
        (-1, 1.into()),
        (-2, bytes([1; 32])),
        (-3, bytes([2; 32])),
    ]);
    let members = [(6, bytes([0; 32]))];
    assert_eq!(Platform(2).client_pin(&mut world, 5, &secret, members), status(Status::InvalidParameter));
    assert_eq!(Platform(2).pin_retries(&mut world), Ok((8, false)));
    assert!(get(&secret.platform_key, -2).is_some());
}

#[test]
fn section_6_5_5_what_is_not_offered_has_no_subcommands() {
    let cases: [(OptionId, &[u8]); 3] = [
        (OptionId::ClientPin, &[1, 3, 4, 5, 9]),
        (OptionId::Uv, &[6, 7]),
        (OptionId::PinUvAuthToken, &[6, 9]),
    ];
    for (option, subcommands) in cases {
        let mut world = world();
        world.authenticator().configuration_mut().set_option(option, false);
        for subcommand in subcommands {
            let parameters = map([(1, 2.into()), (2, (*subcommand).into())]);
            assert_eq!(send(&mut world, 0x06, &parameters), status(Status::InvalidSubcommand), "{option:?}");
        }
    }
}

#[test]
fn the_host_sees_the_state_of_the_pin_and_can_take_it_away() {
    let mut world = world_with_pin();
    assert!(BOTH[1].pin_token(&mut world, "wrong").is_err());
    let status = pin_status(world.authenticator().store_mut()).unwrap();
    assert_eq!((status.is_set, status.wrong_pins, status.failed_verifications), (true, 1, 0));
    remove_pin(world.authenticator().store_mut()).unwrap();
    let status = pin_status(world.authenticator().store_mut()).unwrap();
    assert_eq!((status.is_set, status.wrong_pins, status.failed_verifications), (false, 0, 0));
    assert!(BOTH[1].set_pin(&mut world, "another pin").is_ok());
}
