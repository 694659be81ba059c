//! authenticatorCredentialManagement (CTAP §6.8).

mod kept;
mod wire;

use std::time::Duration;

use ciborium::Value;
use doppelkey_core::testing::World;
use doppelkey_core::testing::platform::{BOTH, CM, LBW, PCMR, Platform, Token};
use doppelkey_core::{Configuration, CredentialProtection, CredentialStore as _, OptionId, Status};
use kept::credential;
use sha2::{Digest as _, Sha256};
use wire::{bytes, get, get_named, map, named, send, status};

const PIN: &str = "a1b2c3d4";
const PLATFORM: Platform = Platform(2);

/// Three credentials at two relying parties, oldest first: 1 and 2 at a.example, 3 at b.example.
fn world() -> World {
    let mut world = World::new(Configuration::default());
    assert!(PLATFORM.set_pin(&mut world, PIN).is_ok());
    for (rp_id, user_id, number) in
        [("a.example", b"first", 1), ("a.example", b"other", 2), ("b.example", b"third", 3)]
    {
        world.authenticator().store_mut().put(&credential(rp_id, user_id, number), None).unwrap();
    }
    world
}

fn manage(world: &mut World, token: &Token, subcommand: u8, parameters: Option<Value>) -> Result<Value, u8> {
    let mut message = vec![subcommand];
    if let Some(parameters) = &parameters {
        ciborium::into_writer(parameters, &mut message).unwrap();
    }
    let mut members = vec![(1, subcommand.into())];
    members.extend(parameters.map(|parameters| (2, parameters)));
    members.extend([(3, token.protocol()), (4, token.authenticate(&message))]);
    send(world, 0x0A, &map(members))
}

fn next(world: &mut World, subcommand: u8) -> Result<Value, u8> {
    send(world, 0x0A, &map([(1, subcommand.into())]))
}

fn rp(rp_id: &str) -> Option<Value> {
    Some(map([(1, bytes(Sha256::digest(rp_id)))]))
}

fn id(number: u8) -> Value {
    named([("id", bytes([number; 16])), ("type", "public-key".into())])
}

fn token(world: &mut World, permissions: u8, rp_id: Option<&str>) -> Token {
    PLATFORM.token(world, PIN, permissions, rp_id).unwrap()
}

#[test]
fn section_6_8_2_counts_what_is_there_and_what_fits() {
    for platform in BOTH {
        let mut world = world();
        world.authenticator().configuration_mut().limits.max_discoverable_credentials = 25;
        for permission in [CM, PCMR] {
            let token = platform.token(&mut world, PIN, permission, None).unwrap();
            let metadata = manage(&mut world, &token, 1, None).unwrap();
            assert_eq!(get(&metadata, 1), Some(&Value::from(3)));
            assert_eq!(get(&metadata, 2), Some(&Value::from(22)));
        }
    }
}

#[test]
fn section_6_8_3_enumerates_each_relying_party_once() {
    let mut world = world();
    let token = token(&mut world, CM, None);
    let first = manage(&mut world, &token, 2, None).unwrap();
    assert_eq!(get(&first, 5), Some(&Value::from(2)));
    let second = next(&mut world, 3).unwrap();
    assert_eq!(get(&second, 5), None);
    let mut found: Vec<_> = [first, second]
        .iter()
        .map(|rp| {
            let id = get_named(get(rp, 3).unwrap(), "id").unwrap().as_text().unwrap().to_owned();
            assert_eq!(get(rp, 4), Some(&bytes(Sha256::digest(&id))));
            id
        })
        .collect();
    found.sort();
    assert_eq!(found, ["a.example", "b.example"]);
    assert_eq!(next(&mut world, 3), status(Status::NotAllowed), "there is no third");
}

#[test]
fn section_6_8_4_enumerates_the_credentials_of_a_relying_party() {
    let mut world = world();
    let mut rich = credential("a.example", b"first", 1);
    rich.large_blob_key = Some([9; 32].into());
    rich.protection = CredentialProtection::Required;
    rich.third_party_payment = true;
    world.authenticator().store_mut().put(&rich, None).unwrap();
    let token = token(&mut world, CM, None);
    let newest = manage(&mut world, &token, 4, rp("a.example")).unwrap();
    assert_eq!(get(&newest, 9), Some(&Value::from(2)));
    assert_eq!(get(&newest, 7), Some(&id(2)));
    assert_eq!(get(&newest, 10), Some(&Value::from(1)));
    assert_eq!(get(&newest, 11), None);
    assert_eq!(get(&newest, 12), Some(&Value::Bool(false)));
    let oldest = next(&mut world, 5).unwrap();
    assert_eq!(get(&oldest, 9), None);
    assert_eq!(get(&oldest, 7), Some(&id(1)));
    assert_eq!(get(&oldest, 10), Some(&Value::from(3)));
    assert_eq!(get(&oldest, 11), Some(&bytes([9; 32])));
    assert_eq!(get(&oldest, 12), Some(&Value::Bool(true)));
    let user = get(&oldest, 6).unwrap();
    assert_eq!(get_named(user, "id"), Some(&bytes(b"first")));
    assert_eq!(get_named(user, "name"), Some(&Value::from("name")));
    assert_eq!(get_named(user, "displayName"), Some(&Value::from("Display Name")));
    let public_key = get(&oldest, 8).unwrap();
    assert_eq!(get(public_key, 3), Some(&Value::from(-7)));
    assert_eq!(next(&mut world, 5), status(Status::NotAllowed));
}

#[test]
fn section_6_8_4_another_command_ends_an_enumeration() {
    let mut world = world();
    let token = token(&mut world, CM, None);
    assert!(manage(&mut world, &token, 2, None).is_ok());
    assert!(wire::raw(&mut world, &[0x04]).is_ok());
    assert_eq!(next(&mut world, 3), status(Status::NotAllowed));
    assert!(manage(&mut world, &token, 4, rp("a.example")).is_ok());
    assert_eq!(next(&mut world, 3), status(Status::NotAllowed), "of the other kind");
    assert_eq!(next(&mut world, 5), status(Status::NotAllowed), "and it has ended the first");
}

#[test]
fn section_6_8_4_an_enumeration_ends_after_thirty_seconds_with_its_channel_and_by_a_u2f_message() {
    let mut world = world();
    let token = token(&mut world, CM, None);
    let begin = |world: &mut World| manage(world, &token, 4, rp("a.example")).unwrap();
    begin(&mut world);
    world.now += Duration::from_secs(30);
    assert!(next(&mut world, 5).is_ok());
    let ends: [fn(&mut World); 3] = [
        |world| world.now += Duration::from_secs(31),
        |world| world.authenticator().end_stateful_commands(),
        |world| assert_eq!(world.msg(&[0, 3, 0, 0, 0]), (b"U2F_V2".to_vec(), 0x9000)),
    ];
    for end in ends {
        begin(&mut world);
        end(&mut world);
        assert_eq!(next(&mut world, 5), status(Status::NotAllowed));
    }
}

#[test]
fn section_6_8_4_nothing_there_is_no_credentials() {
    let mut world = world();
    let token = token(&mut world, CM, None);
    assert_eq!(manage(&mut world, &token, 4, rp("c.example")), status(Status::NoCredentials));
    for number in 1..=3 {
        let parameters = Some(map([(2, id(number))]));
        assert!(manage(&mut world, &token, 6, parameters).is_ok());
    }
    assert_eq!(manage(&mut world, &token, 2, None), status(Status::NoCredentials));
}

#[test]
fn section_6_8_5_deletes_a_credential() {
    let mut world = world();
    let token = token(&mut world, CM, None);
    let parameters = map([(2, id(2))]);
    assert_eq!(manage(&mut world, &token, 6, Some(parameters.clone())), Ok(Value::Null));
    assert_eq!(manage(&mut world, &token, 6, Some(parameters)), status(Status::NoCredentials));
    let left = manage(&mut world, &token, 4, rp("a.example")).unwrap();
    assert_eq!((get(&left, 9), get(&left, 7)), (Some(&Value::from(1)), Some(&id(1))));
}

#[test]
fn section_6_8_6_updates_and_forgets_names() {
    let mut world = world();
    let token = token(&mut world, CM, None);
    let update = |world: &mut World, user: Value| {
        manage(world, &token, 7, Some(map([(2, id(3)), (3, user)])))?;
        let credential = manage(world, &token, 4, rp("b.example"))?;
        Ok(get(&credential, 6).unwrap().clone())
    };
    let user = named([("id", bytes(b"third")), ("name", "new".into()), ("displayName", "New".into())]);
    assert_eq!(update(&mut world, user.clone()), Ok(user));
    let without = named([("id", bytes(b"third"))]);
    assert_eq!(update(&mut world, without.clone()), Ok(without.clone()));
    let empty = named([("id", bytes(b"third")), ("name", "".into())]);
    assert_eq!(update(&mut world, empty), Ok(without));
    let foreign = named([("id", bytes(b"first"))]);
    assert_eq!(update(&mut world, foreign), status(Status::InvalidParameter));
}

#[test]
fn section_6_8_6_a_credential_that_is_not_there_cannot_be_updated() {
    let mut world = world();
    let token = token(&mut world, CM, None);
    let parameters = map([(2, id(9)), (3, named([("id", bytes(b"third"))]))]);
    assert_eq!(manage(&mut world, &token, 7, Some(parameters)), status(Status::NoCredentials));
}

#[test]
fn section_6_8_a_token_for_one_relying_party_manages_that_one_only() {
    let mut world = world();
    let token = token(&mut world, CM, Some("a.example"));
    assert_eq!(manage(&mut world, &token, 1, None), status(Status::PinAuthInvalid));
    assert_eq!(manage(&mut world, &token, 2, None), status(Status::PinAuthInvalid));
    assert!(manage(&mut world, &token, 4, rp("a.example")).is_ok());
    assert_eq!(manage(&mut world, &token, 4, rp("b.example")), status(Status::PinAuthInvalid));
    let foreign = Some(map([(2, id(3))]));
    assert_eq!(manage(&mut world, &token, 6, foreign), status(Status::PinAuthInvalid));
    let own = Some(map([(2, id(1))]));
    assert!(manage(&mut world, &token, 6, own).is_ok());
}

#[test]
fn section_6_8_the_persistent_token_reads_and_does_not_change() {
    let mut world = world();
    let token = token(&mut world, PCMR, None);
    world.replug();
    assert!(manage(&mut world, &token, 1, None).is_ok());
    assert!(manage(&mut world, &token, 2, None).is_ok());
    assert!(manage(&mut world, &token, 4, rp("a.example")).is_ok());
    let delete = Some(map([(2, id(1))]));
    assert_eq!(manage(&mut world, &token, 6, delete), status(Status::PinAuthInvalid));
    let update = Some(map([(2, id(3)), (3, named([("id", bytes(b"third"))]))]));
    assert_eq!(manage(&mut world, &token, 7, update), status(Status::PinAuthInvalid));
}

#[test]
fn section_6_8_another_permission_is_not_enough() {
    let mut world = world();
    let token = token(&mut world, LBW, None);
    for (subcommand, parameters) in [(1, None), (2, None), (4, rp("a.example"))] {
        assert_eq!(manage(&mut world, &token, subcommand, parameters), status(Status::PinAuthInvalid));
    }
}

#[test]
fn section_6_8_what_is_missing_is_named() {
    let mut world = world();
    let token = token(&mut world, CM, None);
    assert_eq!(send(&mut world, 0x0A, &map([])), status(Status::MissingParameter));
    for subcommand in [1, 2] {
        assert_eq!(next(&mut world, subcommand), status(Status::PuatRequired));
    }
    for subcommand in [4, 6, 7] {
        assert_eq!(next(&mut world, subcommand), status(Status::MissingParameter));
    }
    let no_protocol = map([(1, 1.into()), (4, token.authenticate(&[1]))]);
    assert_eq!(send(&mut world, 0x0A, &no_protocol), status(Status::MissingParameter));
    let unknown_protocol = map([(1, 1.into()), (3, 3.into()), (4, token.authenticate(&[1]))]);
    assert_eq!(send(&mut world, 0x0A, &unknown_protocol), status(Status::InvalidParameter));
    let wrong = map([(1, 1.into()), (3, token.protocol()), (4, token.authenticate(&[2]))]);
    assert_eq!(send(&mut world, 0x0A, &wrong), status(Status::PinAuthInvalid));
    for subcommand in [0, 8, 255] {
        assert_eq!(next(&mut world, subcommand), status(Status::InvalidSubcommand));
    }
}

#[test]
fn section_6_8_the_prototype_is_there_for_those_who_offer_it() {
    let mut world = world();
    let token = token(&mut world, CM, None);
    let request = map([(1, 1.into()), (3, token.protocol()), (4, token.authenticate(&[1]))]);
    assert_eq!(send(&mut world, 0x41, &request), status(Status::InvalidCommand));
    let configuration = world.authenticator().configuration_mut();
    configuration.set_option(OptionId::CredentialMgmtPreview, true);
    configuration.set_option(OptionId::CredMgmt, false);
    assert!(send(&mut world, 0x41, &request).is_ok());
    assert_eq!(send(&mut world, 0x0A, &request), status(Status::InvalidCommand));
}

#[test]
fn section_6_8_credentials_that_are_not_discoverable_are_not_managed() {
    let mut world = world();
    for (rp_id, number) in [("a.example", 4), ("hidden.example", 5)] {
        let mut credential = credential(rp_id, b"fourth", number);
        credential.hidden = true;
        world.authenticator().store_mut().put(&credential, None).unwrap();
    }
    let token = token(&mut world, CM, None);
    assert_eq!(get(&manage(&mut world, &token, 1, None).unwrap(), 1), Some(&Value::from(3)));
    assert_eq!(get(&manage(&mut world, &token, 2, None).unwrap(), 5), Some(&Value::from(2)));
    let newest = manage(&mut world, &token, 4, rp("a.example")).unwrap();
    assert_eq!((get(&newest, 9), get(&newest, 7)), (Some(&Value::from(2)), Some(&id(2))));
    assert_eq!(manage(&mut world, &token, 4, rp("hidden.example")), status(Status::NoCredentials));
    assert_eq!(manage(&mut world, &token, 6, Some(map([(2, id(5))]))), status(Status::NoCredentials));
}
