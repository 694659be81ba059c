//! authenticatorConfig (CTAP §6.11).

mod wire;

use ciborium::Value;
use doppelkey_core::testing::World;
use doppelkey_core::testing::platform::{ACFG, CM, PCMR, Platform, Token};
use doppelkey_core::{Configuration, OptionId, Status};
use wire::{get, get_named, map, raw, send, status};

const PIN: &str = "a1b2c3d4";
const PLATFORM: Platform = Platform(2);

fn world() -> World {
    World::new(Configuration::default())
}

fn world_with_pin() -> World {
    let mut world = world();
    assert!(PLATFORM.set_pin(&mut world, PIN).is_ok());
    world
}

fn configure(
    world: &mut World,
    token: &Token,
    subcommand: u8,
    parameters: Option<Value>,
) -> Result<Value, u8> {
    let mut message = [&[0xFF; 32][..], &[0x0D, subcommand]].concat();
    if let Some(parameters) = &parameters {
        ciborium::into_writer(parameters, &mut message).unwrap();
    }
    let mut members = vec![(1, subcommand.into())];
    members.extend(parameters.map(|parameters| (2, parameters)));
    members.extend([(3, token.protocol()), (4, token.authenticate(&message))]);
    send(world, 0x0D, &map(members))
}

/// With a new token.
fn configure_with_pin(
    world: &mut World,
    pin: &str,
    subcommand: u8,
    parameters: Option<Value>,
) -> Result<Value, u8> {
    let token = PLATFORM.token(world, pin, ACFG, None)?;
    configure(world, &token, subcommand, parameters)
}

fn info(world: &mut World, key: i32) -> Option<Value> {
    get(&raw(world, &[0x04]).unwrap(), key).cloned()
}

fn option(world: &mut World, name: &str) -> bool {
    get_named(&info(world, 0x04).unwrap(), name).unwrap().as_bool().unwrap()
}

#[test]
fn section_6_11_1_enterprise_attestation_is_enabled_and_a_reset_disables_it() {
    let mut world = world_with_pin();
    assert!(!option(&mut world, "ep"));
    for _ in 0..2 {
        assert_eq!(configure_with_pin(&mut world, PIN, 1, None), Ok(Value::Null));
        assert!(option(&mut world, "ep"));
    }
    world.replug();
    assert!(option(&mut world, "ep"));
    assert!(send(&mut world, 0x07, &map([])).is_ok());
    assert!(!option(&mut world, "ep"));
}

#[test]
fn section_6_11_2_always_uv_is_toggled_and_takes_u2f_back() {
    let mut world = world_with_pin();
    let versions = |world: &mut World| info(world, 0x01).unwrap().into_array().unwrap();
    assert!(versions(&mut world).contains(&"U2F_V2".into()));
    assert!(configure_with_pin(&mut world, PIN, 2, None).is_ok());
    assert!(option(&mut world, "alwaysUv"));
    assert!(!option(&mut world, "makeCredUvNotRqd"));
    assert!(!versions(&mut world).contains(&"U2F_V2".into()));
    assert!(configure_with_pin(&mut world, PIN, 2, None).is_ok());
    assert!(!option(&mut world, "alwaysUv"));
    assert!(option(&mut world, "makeCredUvNotRqd"));
}

#[test]
fn section_6_11_without_a_pin_always_uv_can_be_switched_off_and_nothing_else() {
    let mut world = world();
    let plain = |world: &mut World, subcommand: u8| send(world, 0x0D, &map([(1, subcommand.into())]));
    assert!(plain(&mut world, 2).is_ok());
    assert!(option(&mut world, "alwaysUv"));
    assert_eq!(plain(&mut world, 1), status(Status::PuatRequired));
    assert!(plain(&mut world, 2).is_ok());
    assert!(!option(&mut world, "alwaysUv"));
    assert!(plain(&mut world, 1).is_ok());
}

#[test]
fn section_6_11_4_the_minimum_pin_length_rises_and_never_falls() {
    let mut world = world_with_pin();
    let minimum = |length: i32| Some(map([(1, length.into())]));
    assert!(configure_with_pin(&mut world, PIN, 3, minimum(8)).is_ok());
    assert_eq!(info(&mut world, 0x0D), Some(Value::from(8)));
    assert_eq!(info(&mut world, 0x0C), Some(Value::Bool(false)), "the PIN has eight");
    for length in [7, 64, 300] {
        let refused = configure_with_pin(&mut world, PIN, 3, minimum(length));
        assert_eq!(refused, status(Status::PinPolicyViolation), "{length}");
    }
    assert_eq!(PLATFORM.change_pin(&mut world, PIN, "1234567"), status(Status::PinPolicyViolation));
    world.replug();
    assert_eq!(info(&mut world, 0x0D), Some(Value::from(8)));
}

#[test]
fn section_6_11_4_a_pin_that_became_too_short_must_be_changed() {
    let mut world = world_with_pin();
    let persistent = PLATFORM.token(&mut world, PIN, PCMR, None).unwrap();
    assert!(configure_with_pin(&mut world, PIN, 3, Some(map([(1, 9.into())]))).is_ok());
    assert_eq!(info(&mut world, 0x0C), Some(Value::Bool(true)));
    assert_eq!(PLATFORM.pin_token(&mut world, PIN), status(Status::PinInvalid));
    assert_eq!(PLATFORM.token(&mut world, PIN, CM, None), status(Status::PinPolicyViolation));
    let metadata = map([(1, 1.into()), (3, persistent.protocol()), (4, persistent.authenticate(&[1]))]);
    assert_eq!(send(&mut world, 0x0A, &metadata), status(Status::PinAuthInvalid), "its token has ended");
    assert_eq!(PLATFORM.pin_retries(&mut world), Ok((8, false)), "it was right all the same");
    assert!(PLATFORM.change_pin(&mut world, PIN, "123456789").is_ok());
    assert_eq!(info(&mut world, 0x0C), Some(Value::Bool(false)));
    assert!(PLATFORM.token(&mut world, "123456789", CM, None).is_ok());
}

#[test]
fn section_6_11_4_a_change_can_be_forced_and_must_be_one() {
    let mut world = world_with_pin();
    let force = Some(map([(3, true.into())]));
    assert!(configure_with_pin(&mut world, PIN, 3, force).is_ok());
    assert_eq!(PLATFORM.pin_token(&mut world, PIN), status(Status::PinInvalid));
    assert_eq!(PLATFORM.change_pin(&mut world, PIN, PIN), status(Status::PinPolicyViolation));
    assert!(PLATFORM.change_pin(&mut world, PIN, "another pin").is_ok());
    assert!(PLATFORM.pin_token(&mut world, "another pin").is_ok());
}

#[test]
fn section_6_11_4_no_pin_cannot_be_forced_to_change() {
    let mut world = world();
    let request = map([(1, 3.into()), (2, map([(3, true.into())]))]);
    assert_eq!(send(&mut world, 0x0D, &request), status(Status::PinNotSet));
}

#[test]
fn section_6_11_4_complexity_is_imposed_on_the_next_pin() {
    let mut world = world_with_pin();
    assert_eq!(info(&mut world, 0x1B), Some(Value::Bool(false)));
    let policy = Some(map([(4, true.into())]));
    assert!(configure_with_pin(&mut world, PIN, 3, policy).is_ok());
    assert_eq!(info(&mut world, 0x1B), Some(Value::Bool(true)));
    assert_eq!(PLATFORM.pin_token(&mut world, PIN), status(Status::PinInvalid));
    assert_eq!(PLATFORM.change_pin(&mut world, PIN, "12345678"), status(Status::PinPolicyViolation));
    assert!(PLATFORM.change_pin(&mut world, PIN, "8 bananas").is_ok());
    assert!(PLATFORM.pin_token(&mut world, "8 bananas").is_ok());
}

#[test]
fn section_6_11_4_as_many_rp_ids_as_advertised_and_not_one_more() {
    let mut world = world_with_pin();
    assert_eq!(info(&mut world, 0x10), Some(Value::from(8)));
    let rp_ids = |count: usize| {
        let rp_ids = (0..count).map(|number| format!("{number}.example").into());
        Some(map([(2, Value::Array(rp_ids.collect()))]))
    };
    assert!(configure_with_pin(&mut world, PIN, 3, rp_ids(8)).is_ok());
    assert_eq!(configure_with_pin(&mut world, PIN, 3, rp_ids(9)), status(Status::KeyStoreFull));
}

#[test]
fn section_6_11_5_a_long_touch_for_reset_is_enabled() {
    let mut world = world_with_pin();
    assert_eq!(info(&mut world, 0x18), Some(Value::Bool(false)));
    assert!(configure_with_pin(&mut world, PIN, 4, None).is_ok());
    assert_eq!(info(&mut world, 0x18), Some(Value::Bool(true)));
    assert!(send(&mut world, 0x07, &map([])).is_ok());
    assert_eq!(world.asked.last().unwrap().action, doppelkey_core::Action::Reset { long: true });
    assert_eq!(info(&mut world, 0x18), Some(Value::Bool(false)));
}

#[test]
fn section_6_11_6_vendor_commands_are_those_advertised() {
    let mut world = world_with_pin();
    let command = |id: i32| Some(map([(1, id.into())]));
    assert_eq!(configure_with_pin(&mut world, PIN, 0xFF, command(7)), status(Status::InvalidParameter));
    let configuration = world.authenticator().configuration_mut();
    configuration.vendor_prototype_config_commands.push(7).unwrap();
    assert!(configure_with_pin(&mut world, PIN, 0xFF, command(7)).is_ok());
    assert_eq!(configure_with_pin(&mut world, PIN, 0xFF, command(8)), status(Status::InvalidParameter));
    assert_eq!(info(&mut world, 0x15), Some(Value::Array(vec![7.into()])));
}

#[test]
fn section_6_11_with_a_pin_a_token_for_it_is_needed() {
    let mut world = world_with_pin();
    for subcommand in 1..=4 {
        let plain = map([(1, subcommand.into())]);
        assert_eq!(send(&mut world, 0x0D, &plain), status(Status::PuatRequired));
        let wrong = PLATFORM.token(&mut world, PIN, CM, None).unwrap();
        assert_eq!(configure(&mut world, &wrong, subcommand, None), status(Status::PinAuthInvalid));
    }
    let token = PLATFORM.token(&mut world, PIN, ACFG, None).unwrap();
    let members = map([(1, 1.into()), (4, token.authenticate(b"whatever"))]);
    assert_eq!(send(&mut world, 0x0D, &members), status(Status::MissingParameter));
    let members = map([(1, 1.into()), (3, 2.into()), (4, token.authenticate(b"whatever"))]);
    assert_eq!(send(&mut world, 0x0D, &members), status(Status::PinAuthInvalid));
}

#[test]
fn section_6_11_subcommands_that_are_not_offered_are_invalid_parameters() {
    let mut world = world_with_pin();
    assert_eq!(send(&mut world, 0x0D, &map([])), status(Status::MissingParameter));
    for subcommand in [0, 5, 0x80, 0xFE] {
        assert_eq!(configure_with_pin(&mut world, PIN, subcommand, None), status(Status::InvalidParameter));
    }
    let configuration = world.authenticator().configuration_mut();
    for option in [OptionId::Ep, OptionId::AlwaysUv, OptionId::SetMinPinLength] {
        configuration.set_option(option, false);
    }
    configuration.long_touch_for_reset = None;
    for subcommand in 1..=4 {
        assert_eq!(configure_with_pin(&mut world, PIN, subcommand, None), status(Status::InvalidParameter));
    }
}

#[test]
fn section_6_11_4_without_parameters_nothing_changes() {
    let mut world = world_with_pin();
    let before = raw(&mut world, &[0x04]).unwrap();
    assert!(configure_with_pin(&mut world, PIN, 3, None).is_ok());
    assert_eq!(raw(&mut world, &[0x04]).unwrap(), before);
}

#[test]
fn section_6_11_without_the_option_there_is_no_such_command() {
    let mut world = world();
    world.authenticator().configuration_mut().set_option(OptionId::AuthnrCfg, false);
    assert_eq!(send(&mut world, 0x0D, &map([(1, 1.into())])), status(Status::InvalidCommand));
    assert_eq!(info(&mut world, 0x1F), None);
}
