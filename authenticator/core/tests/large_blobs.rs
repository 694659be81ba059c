//! authenticatorLargeBlobs (CTAP §6.10).

mod wire;

use ciborium::Value;
use doppelkey_core::testing::World;
use doppelkey_core::testing::platform::{CM, LBW, Platform, Token};
use doppelkey_core::{Configuration, OptionId, Status};
use sha2::{Digest as _, Sha256};
use wire::{bytes, get, map, send, status};

const PIN: &str = "a1b2c3d4";

fn world() -> World {
    World::new(Configuration::default())
}

fn number(number: usize) -> Value {
    Value::from(number as u64)
}

fn read(world: &mut World, offset: usize, count: usize) -> Result<Vec<u8>, u8> {
    let response = send(world, 0x0C, &map([(1, number(count)), (3, number(offset))]))?;
    Ok(get(&response, 1).unwrap().as_bytes().unwrap().clone())
}

fn write(
    world: &mut World,
    token: Option<&Token>,
    offset: usize,
    fragment: &[u8],
    length: Option<usize>,
) -> Result<Value, u8> {
    let mut members = vec![(2, bytes(fragment)), (3, number(offset))];
    members.extend(length.map(|length| (4, number(length))));
    if let Some(token) = token {
        let offset = u32::try_from(offset).unwrap().to_le_bytes();
        let message = [&[0xFF; 32][..], &[0x0C, 0x00], &offset, &Sha256::digest(fragment)].concat();
        members.extend([(5, token.authenticate(&message)), (6, token.protocol())]);
    }
    send(world, 0x0C, &map(members))
}

/// A serialized array with this content and its checksum.
fn array(content: &[u8]) -> Vec<u8> {
    [content, &Sha256::digest(content)[..16]].concat()
}

#[test]
fn section_6_10_3_a_new_device_has_an_empty_array() {
    let mut world = world();
    assert_eq!(read(&mut world, 0, 1024), Ok(array(&[0x80])));
    assert_eq!(read(&mut world, 0, 0), Ok(vec![]), "nothing was asked for");
    assert_eq!(read(&mut world, 1, 3), Ok(array(&[0x80])[1..4].to_vec()));
    assert_eq!(read(&mut world, 17, 10), Ok(vec![]), "at the end there is nothing more");
    assert_eq!(read(&mut world, 18, 10), status(Status::InvalidParameter));
}

#[test]
fn section_6_10_2_what_is_written_in_fragments_is_read_in_fragments() {
    let mut world = world();
    let whole = array(&(0..2000).map(|n| n as u8).collect::<Vec<_>>());
    for (number, fragment) in whole.chunks(900).enumerate() {
        let length = (number == 0).then_some(whole.len());
        assert_eq!(write(&mut world, None, number * 900, fragment, length), Ok(Value::Null));
        if number < 2 {
            assert_eq!(read(&mut world, 0, 17), Ok(array(&[0x80])), "half an array is none");
        }
    }
    world.replug();
    let parts: Vec<_> = (0..3).map(|part| read(&mut world, part * 900, 900).unwrap()).collect();
    assert_eq!(parts.concat(), whole);
}

#[test]
fn section_6_10_2_a_wrong_checksum_is_an_integrity_failure_and_changes_nothing() {
    let mut world = world();
    let mut whole = array(b"content");
    *whole.last_mut().unwrap() ^= 1;
    let length = whole.len();
    assert_eq!(write(&mut world, None, 0, &whole, Some(length)), status(Status::IntegrityFailure));
    assert_eq!(read(&mut world, 0, 1024), Ok(array(&[0x80])));
}

#[test]
fn section_6_10_2_fragments_come_one_after_the_other() {
    let mut world = world();
    let whole = array(&[7; 200]);
    assert_eq!(write(&mut world, None, 10, &whole[10..], None), status(Status::InvalidSeq), "none was begun");
    assert!(write(&mut world, None, 0, &whole[..100], Some(whole.len())).is_ok());
    assert_eq!(write(&mut world, None, 101, &whole[101..], None), status(Status::InvalidSeq));
    assert!(write(&mut world, None, 100, &whole[100..], None).is_ok(), "the right one still may come");
    assert_eq!(write(&mut world, None, 216, &[0], None), status(Status::InvalidSeq), "it is complete");
    assert_eq!(read(&mut world, 0, 1024), Ok(whole));
}

#[test]
fn section_6_10_2_a_fragment_at_the_start_begins_anew() {
    let mut world = world();
    let (first, second) = (array(&[1; 50]), array(&[2; 60]));
    assert!(write(&mut world, None, 0, &first[..40], Some(first.len())).is_ok());
    assert!(write(&mut world, None, 0, &second[..40], Some(second.len())).is_ok());
    assert!(write(&mut world, None, 40, &second[40..], None).is_ok());
    assert_eq!(read(&mut world, 0, 1024), Ok(second));
}

#[test]
fn section_6_10_2_lengths_are_checked_before_anything_is_taken() {
    let mut world = world();
    let whole = array(&[7; 10]);
    assert_eq!(write(&mut world, None, 0, &whole, None), status(Status::InvalidParameter));
    assert_eq!(write(&mut world, None, 0, &whole[..16], Some(16)), status(Status::InvalidParameter));
    assert_eq!(write(&mut world, None, 0, &whole, Some(4097)), status(Status::LargeBlobStorageFull));
    assert_eq!(write(&mut world, None, 0, &whole, Some(25)), status(Status::InvalidParameter));
    assert!(write(&mut world, None, 0, &whole[..9], Some(26)).is_ok());
    assert_eq!(write(&mut world, None, 9, &whole[9..], Some(26)), status(Status::InvalidParameter));
}

#[test]
fn section_6_10_2_the_largest_array_fits() {
    let mut world = world();
    let whole = array(&vec![7; 4096 - 16]);
    assert!(write(&mut world, None, 0, &whole, Some(4096)).is_ok());
    assert_eq!(read(&mut world, 0, 4096), Ok(whole));
}

#[test]
fn section_6_10_2_a_fragment_is_at_most_64_bytes_less_than_a_message() {
    let mut world = world();
    world.authenticator().configuration_mut().limits.max_message_size = 1024;
    assert_eq!(read(&mut world, 0, 961), status(Status::InvalidLength));
    assert!(read(&mut world, 0, 960).is_ok());
    assert_eq!(write(&mut world, None, 0, &[0; 961], Some(1000)), status(Status::InvalidLength));
    assert!(write(&mut world, None, 0, &[0; 960], Some(1000)).is_ok());
}

#[test]
fn section_6_10_2_parameters_that_do_not_go_together_are_invalid() {
    let mut world = world();
    let invalid = status(Status::InvalidParameter);
    assert_eq!(send(&mut world, 0x0C, &map([(1, 1.into())])), invalid, "no offset");
    assert_eq!(send(&mut world, 0x0C, &map([(3, 0.into())])), invalid, "neither get nor set");
    let both = map([(1, 1.into()), (2, bytes([0])), (3, 0.into())]);
    assert_eq!(send(&mut world, 0x0C, &both), invalid);
    for member in [(4, Value::from(17)), (5, bytes([0; 16])), (6, Value::from(1))] {
        let read_with = map([(1, 1.into()), (3, 0.into()), member]);
        assert_eq!(send(&mut world, 0x0C, &read_with), invalid);
    }
}

#[test]
fn section_6_10_2_with_a_pin_writing_takes_a_token_and_reading_does_not() {
    let mut world = world();
    for platform in [Platform(1), Platform(2)] {
        let _ = platform.set_pin(&mut world, PIN);
        let whole = array(&[platform.0; 30]);
        let length = Some(whole.len());
        assert_eq!(write(&mut world, None, 0, &whole, length), status(Status::PuatRequired));
        let wrong = platform.token(&mut world, PIN, CM, None).unwrap();
        assert_eq!(write(&mut world, Some(&wrong), 0, &whole, length), status(Status::PinAuthInvalid));
        let token = platform.token(&mut world, PIN, LBW, None).unwrap();
        assert!(write(&mut world, Some(&token), 0, &whole[..20], length).is_ok());
        let other = map([(2, bytes(&whole[20..])), (3, 20.into()), (5, token.authenticate(b"another"))]);
        assert_eq!(send(&mut world, 0x0C, &other), status(Status::MissingParameter));
        assert!(write(&mut world, Some(&token), 20, &whole[20..], None).is_ok());
        assert_eq!(read(&mut world, 0, 1024), Ok(whole));
    }
}

#[test]
fn section_6_6_a_reset_empties_the_array() {
    let mut world = world();
    let whole = array(&[7; 30]);
    assert!(write(&mut world, None, 0, &whole[..20], Some(whole.len())).is_ok());
    assert!(write(&mut world, None, 0, &whole, Some(whole.len())).is_ok());
    assert!(send(&mut world, 0x07, &map([])).is_ok());
    assert_eq!(read(&mut world, 0, 1024), Ok(array(&[0x80])));
}

#[test]
fn section_6_10_without_the_option_there_is_no_such_command() {
    let mut world = world();
    world.authenticator().configuration_mut().set_option(OptionId::LargeBlobs, false);
    assert_eq!(read(&mut world, 0, 17), status(Status::InvalidCommand));
}
