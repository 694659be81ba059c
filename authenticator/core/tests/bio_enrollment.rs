//! authenticatorBioEnrollment (CTAP §6.7).

mod wire;

use ciborium::Value;
use core::time::Duration;
use doppelkey_core::testing::platform::{BE, CM, Platform, Token};
use doppelkey_core::testing::{Does, World};
use doppelkey_core::{Action, Answer, Configuration, OptionId, Status};
use wire::{bytes, get, get_named, map, raw, send, status};

const PIN: &str = "a1b2c3d4";
const PLATFORM: Platform = Platform(2);

const GOOD: u8 = 0x00;
const TOO_SHORT: u8 = 0x09;

fn world() -> World {
    let mut world = World::new(Configuration::default());
    assert!(PLATFORM.set_pin(&mut world, PIN).is_ok());
    world
}

fn token(world: &mut World) -> Token {
    PLATFORM.token(world, PIN, BE, None).unwrap()
}

fn enroll(world: &mut World, token: &Token, subcommand: u8, parameters: Option<Value>) -> Result<Value, u8> {
    let mut message = vec![1, subcommand];
    if let Some(parameters) = &parameters {
        ciborium::into_writer(parameters, &mut message).unwrap();
    }
    let mut members = vec![(1, 1.into()), (2, subcommand.into())];
    members.extend(parameters.map(|parameters| (3, parameters)));
    members.extend([(4, token.protocol()), (5, token.authenticate(&message))]);
    send(world, 0x09, &map(members))
}

/// Enrols a fingerprint with good samples; its template id.
fn enrolled(world: &mut World, token: &Token) -> Result<Value, u8> {
    let first = enroll(world, token, 1, None)?;
    let id = get(&first, 4).unwrap().clone();
    let mut remaining = get(&first, 6).unwrap().clone();
    while remaining != Value::from(0) {
        let next = enroll(world, token, 2, Some(map([(1, id.clone())])))?;
        remaining = get(&next, 6).unwrap().clone();
    }
    Ok(id)
}

fn uv(world: &mut World) -> bool {
    let info = raw(world, &[0x04]).unwrap();
    get_named(get(&info, 4).unwrap(), "uv").unwrap().as_bool().unwrap()
}

#[test]
fn section_6_7_2_the_modality_is_fingerprint() {
    let mut world = world();
    let response = send(&mut world, 0x09, &map([(6, true.into())])).unwrap();
    assert_eq!(get(&response, 1), Some(&Value::from(1)));
}

#[test]
fn section_6_7_3_the_sensor_is_told_without_a_token() {
    let mut world = world();
    let response = send(&mut world, 0x09, &map([(1, 1.into()), (2, 7.into())])).unwrap();
    assert_eq!(get(&response, 2), Some(&Value::from(1)));
    assert_eq!(get(&response, 3), Some(&Value::from(4)));
    assert_eq!(get(&response, 8), Some(&Value::from(64)));
}

#[test]
fn section_6_7_4_good_samples_make_a_fingerprint() {
    let mut world = world();
    let token = token(&mut world);
    assert!(!uv(&mut world));
    let first = enroll(&mut world, &token, 1, None).unwrap();
    let id = get(&first, 4).unwrap().clone();
    assert_eq!(get(&first, 5), Some(&Value::from(GOOD)));
    assert_eq!(get(&first, 6), Some(&Value::from(3)));
    assert_eq!(world.asked.last().unwrap().action, Action::FingerprintSample);
    for left in [2, 1, 0] {
        assert!(!uv(&mut world));
        let next = enroll(&mut world, &token, 2, Some(map([(1, id.clone())]))).unwrap();
        assert_eq!(get(&next, 4), None);
        assert_eq!(get(&next, 6), Some(&Value::from(left)));
    }
    assert!(uv(&mut world));
    assert_eq!(
        enroll(&mut world, &token, 2, Some(map([(1, id.clone())]))),
        status(Status::InvalidOption),
        "it is complete"
    );
    let all = enroll(&mut world, &token, 4, None).unwrap();
    let expected = map([(1, id), (2, "".into())]);
    assert_eq!(get(&all, 7), Some(&Value::Array(vec![expected])));
    world.replug();
    assert!(uv(&mut world));
}

#[test]
fn section_6_7_4_a_bad_sample_says_why_and_brings_it_no_further() {
    let mut world = world();
    let token = token(&mut world);
    world.user = Box::new(|_| Does::Says(Answer::Sample { status: TOO_SHORT }));
    let first = enroll(&mut world, &token, 1, None).unwrap();
    assert_eq!(get(&first, 5), Some(&Value::from(TOO_SHORT)));
    assert_eq!(get(&first, 6), Some(&Value::from(4)));
    world.user = Box::new(|_| Does::Says(Answer::Sample { status: GOOD }));
    let id = get(&first, 4).unwrap().clone();
    let next = enroll(&mut world, &token, 2, Some(map([(1, id)]))).unwrap();
    assert_eq!(get(&next, 5), Some(&Value::from(GOOD)));
    assert_eq!(get(&next, 6), Some(&Value::from(3)));
}

#[test]
fn section_6_7_4_no_finger_within_the_time_the_platform_gives_is_a_feedback() {
    let mut world = world();
    let token = token(&mut world);
    world.user = Box::new(|_| Does::Nothing);
    let before = world.now;
    let first = enroll(&mut world, &token, 1, Some(map([(3, 5000.into())]))).unwrap();
    assert_eq!(world.now - before, Duration::from_secs(5));
    assert_eq!(get(&first, 5), Some(&Value::from(0x0D)), "NO_USER_ACTIVITY");
    assert_eq!(get(&first, 6), Some(&Value::from(4)));
}

#[test]
fn section_6_7_4_the_platform_may_cancel_a_sample_and_the_user_may_refuse() {
    let mut world = world();
    let token = token(&mut world);
    world.user = Box::new(|_| Does::IsCancelled);
    assert_eq!(enroll(&mut world, &token, 1, None), status(Status::KeepaliveCancel));
    world.user = Box::new(|_| Does::Says(Answer::Deny));
    assert_eq!(enroll(&mut world, &token, 1, None), status(Status::OperationDenied));
}

#[test]
fn section_6_7_5_an_enrolment_that_is_cancelled_leaves_no_trace() {
    let mut world = world();
    let token = token(&mut world);
    let first = enroll(&mut world, &token, 1, None).unwrap();
    let id = get(&first, 4).unwrap().clone();
    assert!(send(&mut world, 0x09, &map([(1, 1.into()), (2, 3.into())])).is_ok(), "it takes no token");
    let next = Some(map([(1, id)]));
    assert_eq!(enroll(&mut world, &token, 2, next), status(Status::InvalidOption));
    assert_eq!(enroll(&mut world, &token, 4, None), status(Status::InvalidOption), "there is none");
}

#[test]
fn section_6_7_4_another_enrolment_ends_the_one_under_way() {
    let mut world = world();
    let token = token(&mut world);
    let first = enroll(&mut world, &token, 1, None).unwrap();
    assert!(enroll(&mut world, &token, 1, None).is_ok());
    let next = Some(map([(1, get(&first, 4).unwrap().clone())]));
    assert_eq!(enroll(&mut world, &token, 2, next), status(Status::InvalidOption));
}

#[test]
fn section_6_7_4_as_many_fingerprints_as_fit() {
    let mut world = world();
    let token = token(&mut world);
    for _ in 0..5 {
        assert!(enrolled(&mut world, &token).is_ok());
    }
    assert_eq!(enroll(&mut world, &token, 1, None), status(Status::FingerprintDatabaseFull));
    let all = enroll(&mut world, &token, 4, None).unwrap();
    assert_eq!(get(&all, 7).unwrap().as_array().unwrap().len(), 5);
}

#[test]
fn section_6_7_7_fingerprints_get_names() {
    let mut world = world();
    let token = token(&mut world);
    let id = enrolled(&mut world, &token).unwrap();
    let rename = |world: &mut World, id: Value, name: &str| {
        enroll(world, &token, 5, Some(map([(1, id), (2, name.into())])))
    };
    let longest = "n".repeat(64);
    for name in ["left thumb", &longest] {
        assert!(rename(&mut world, id.clone(), name).is_ok());
        let all = enroll(&mut world, &token, 4, None).unwrap();
        let expected = map([(1, id.clone()), (2, name.into())]);
        assert_eq!(get(&all, 7), Some(&Value::Array(vec![expected])));
    }
    assert_eq!(rename(&mut world, id, &"n".repeat(65)), status(Status::InvalidLength));
    assert_eq!(rename(&mut world, bytes([0; 9]), "nobody"), status(Status::InvalidOption));
}

#[test]
fn section_6_7_8_fingerprints_are_removed() {
    let mut world = world();
    let token = token(&mut world);
    let id = enrolled(&mut world, &token).unwrap();
    let parameters = Some(map([(1, id)]));
    assert!(enroll(&mut world, &token, 6, parameters.clone()).is_ok());
    assert!(!uv(&mut world));
    assert_eq!(enroll(&mut world, &token, 6, parameters), status(Status::InvalidOption));
}

#[test]
fn section_6_5_5_7_3_an_enrolled_finger_verifies_its_user() {
    let mut world = world();
    let enrolment = token(&mut world);
    assert_eq!(PLATFORM.uv_token(&mut world, CM, None), status(Status::NotAllowed));
    assert!(enrolled(&mut world, &enrolment).is_ok());
    assert!(PLATFORM.uv_token(&mut world, CM, None).is_ok());
    assert!(send(&mut world, 0x07, &map([])).is_ok());
    assert!(!uv(&mut world), "a reset forgets it");
}

#[test]
fn section_6_7_a_token_for_it_is_needed() {
    let mut world = world();
    let wrong = PLATFORM.token(&mut world, PIN, CM, None).unwrap();
    for (subcommand, parameters) in [
        (1, None),
        (2, Some(map([(1, bytes([0; 4]))]))),
        (4, None),
        (5, Some(map([(1, bytes([0; 4])), (2, "name".into())]))),
        (6, Some(map([(1, bytes([0; 4]))]))),
    ] {
        let mut members = vec![(1, 1.into()), (2, subcommand.into())];
        members.extend(parameters.clone().map(|parameters| (3, parameters)));
        assert_eq!(send(&mut world, 0x09, &map(members)), status(Status::PuatRequired));
        assert_eq!(enroll(&mut world, &wrong, subcommand, parameters), status(Status::PinAuthInvalid));
    }
    assert!(world.asked.is_empty());
}

#[test]
fn section_6_7_what_is_missing_is_told_from_what_is_invalid() {
    let mut world = world();
    assert_eq!(send(&mut world, 0x09, &map([])), status(Status::MissingParameter));
    assert_eq!(send(&mut world, 0x09, &map([(1, 1.into())])), status(Status::MissingParameter));
    assert_eq!(
        send(&mut world, 0x09, &map([(1, 2.into()), (2, 7.into())])),
        status(Status::InvalidParameter)
    );
    for subcommand in [0, 8, 255] {
        let request = map([(1, 1.into()), (2, subcommand.into())]);
        assert_eq!(send(&mut world, 0x09, &request), status(Status::InvalidSubcommand));
    }
    for subcommand in [2, 5, 6] {
        let request = map([(1, 1.into()), (2, subcommand.into())]);
        assert_eq!(send(&mut world, 0x09, &request), status(Status::MissingParameter));
    }
}

#[test]
fn section_6_7_the_prototype_is_there_for_those_who_offer_it() {
    let mut world = world();
    let modality = map([(6, true.into())]);
    assert_eq!(send(&mut world, 0x40, &modality), status(Status::InvalidCommand));
    let configuration = world.authenticator().configuration_mut();
    configuration.set_option(OptionId::UserVerificationMgmtPreview, true);
    configuration.set_option(OptionId::BioEnroll, false);
    assert!(send(&mut world, 0x40, &modality).is_ok());
    assert_eq!(send(&mut world, 0x09, &modality), status(Status::InvalidCommand));
}
