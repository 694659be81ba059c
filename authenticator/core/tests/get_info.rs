//! authenticatorGetInfo (CTAP §6.4), and what holds for every command.

mod wire;

use ciborium::Value;
use doppelkey_core::testing::World;
use doppelkey_core::{Configuration, Status, Version};
use wire::{get, get_named, raw, status};

#[test]
fn section_6_4_says_what_the_configuration_says() {
    let mut world = World::new(Configuration::default());
    let info = raw(&mut world, &[0x04]).unwrap();
    let versions = get(&info, 0x01).unwrap().as_array().unwrap();
    assert_eq!(versions.len(), 4);
    assert!(versions.contains(&Value::from(Version::Fido2_3.name())));
    assert!(!versions.contains(&Value::from("FIDO_2_2")), "2.2 has no version string");
    assert_eq!(get(&info, 0x03), Some(&Value::Bytes(doppelkey_core::AAGUID.to_vec())));
    assert_eq!(get_named(get(&info, 0x04).unwrap(), "rk"), Some(&Value::Bool(true)));
    assert_eq!(get(&info, 0x05), Some(&Value::from(7609)));
    assert!(world.asked.is_empty());
}

#[test]
fn section_8_an_unknown_command_is_refused() {
    let mut world = World::new(Configuration::default());
    for command in [0x00, 0x03, 0x05, 0x0E, 0x3F, 0x42, 0xBF, 0xFF] {
        assert_eq!(raw(&mut world, &[command]), status(Status::InvalidCommand), "{command:#04x}");
    }
    assert_eq!(raw(&mut world, &[]), status(Status::InvalidLength));
}

#[test]
fn section_8_a_request_that_is_not_canonical_cbor_is_refused() {
    let mut world = World::new(Configuration::default());
    for request in [&[0x01, 0xA1][..], &[0x01, 0xBF, 0xFF], &[0x02, 0xA0, 0x00], &[0x06, 0xA2, 2, 0, 1, 0]] {
        assert_eq!(raw(&mut world, request), status(Status::InvalidCbor), "{request:02x?}");
    }
    assert_eq!(raw(&mut world, &[0x01, 0x80]), status(Status::CborUnexpectedType));
}

#[test]
fn section_6_4_a_request_longer_than_advertised_is_refused() {
    let mut configuration = Configuration::default();
    configuration.limits.max_message_size = 1024;
    let mut world = World::new(configuration);
    assert_eq!(raw(&mut world, &[0x04; 1025]), status(Status::RequestTooLarge));
}
