//! authenticatorGetInfo (CTAP §6.4), and what holds for every command.

mod kept;
mod wire;

use ciborium::Value;
use doppelkey_core::testing::World;
use doppelkey_core::testing::platform::{PCMR, Platform};
use doppelkey_core::{Configuration, CredentialStore as _, Status, Version};
use kept::credential;
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

#[test]
fn section_6_4_tells_what_is_set_up_at_this_moment() {
    let mut world = World::new(Configuration::default());
    let option = |world: &mut World, name: &str| {
        let info = raw(world, &[0x04]).unwrap();
        get_named(get(&info, 0x04).unwrap(), name).unwrap().as_bool().unwrap()
    };
    assert!(!option(&mut world, "clientPin"));
    assert!(!option(&mut world, "uv"));
    assert!(!option(&mut world, "ep"));
    assert!(!option(&mut world, "alwaysUv"));
    assert!(option(&mut world, "makeCredUvNotRqd"));
    assert!(Platform(2).set_pin(&mut world, "1234").is_ok());
    assert!(option(&mut world, "clientPin"));
    assert!(!option(&mut world, "uv"));
}

#[test]
fn section_6_4_has_every_member_that_applies() {
    let mut world = World::new(Configuration::default());
    assert!(Platform(2).set_pin(&mut world, "1234").is_ok());
    assert!(Platform(2).token(&mut world, "1234", PCMR, None).is_ok());
    let info = raw(&mut world, &[0x04]).unwrap();
    // Not here: 0x07 for there is no limit, 0x13, 0x15 and 0x1C for there is nothing to tell.
    for key in (0x01..=0x1F).filter(|key| ![0x07, 0x13, 0x15, 0x1C].contains(key)) {
        assert!(get(&info, key).is_some(), "{key:#04x}");
    }
    assert_eq!(get(&info, 0x0C), Some(&Value::Bool(false)));
    assert_eq!(get(&info, 0x0D), Some(&Value::from(4)));
    assert_eq!(get(&info, 0x17), Some(&Value::from(0)));
    assert_eq!(get(&info, 0x18), Some(&Value::Bool(false)));
    assert_eq!(get(&info, 0x1D), Some(&Value::from(63)));
    assert_eq!(get(&info, 0x1F), Some(&Value::Array([1, 2, 3, 4].map(Value::from).to_vec())));
}

#[test]
fn section_6_4_identifier_and_store_state_are_told_to_whoever_has_the_persistent_token() {
    let mut world = World::new(Configuration::default());
    let platform = Platform(2);
    assert!(platform.set_pin(&mut world, "1234").is_ok());
    let info = raw(&mut world, &[0x04]).unwrap();
    assert_eq!((get(&info, 0x19), get(&info, 0x1E)), (None, None), "nobody could decrypt them");
    let token = platform.token(&mut world, "1234", PCMR, None).unwrap();
    let told = |world: &mut World| {
        let info = raw(world, &[0x04]).unwrap();
        let encrypted = |key| get(&info, key).unwrap().as_bytes().unwrap().clone();
        let (identifier, state) = (encrypted(0x19), encrypted(0x1E));
        assert_eq!((identifier.len(), state.len()), (32, 32));
        (
            decrypt(&token.bytes, b"encIdentifier", &identifier),
            decrypt(&token.bytes, b"encCredStoreState", &state),
            identifier,
        )
    };
    let (identifier, state, encrypted) = told(&mut world);
    let again = told(&mut world);
    assert_eq!((again.0, again.1), (identifier, state));
    assert_ne!(again.2, encrypted, "a new initialisation vector each time");
    world.replug();
    let after_power = told(&mut world);
    assert_eq!((after_power.0, after_power.1), (identifier, state));
    let credential = credential("example.com", b"user", 1);
    world.authenticator().store_mut().put(&credential, None).unwrap();
    let changed = told(&mut world);
    assert_eq!(changed.0, identifier);
    assert_ne!(changed.1, state, "another credential is another state");
}

/// As a platform decrypts it (§6.4, encIdentifier).
fn decrypt(token: &[u8], info: &[u8], encrypted: &[u8]) -> [u8; 16] {
    use aes::cipher::{BlockModeDecrypt as _, KeyIvInit as _, block_padding::NoPadding};
    let mut key = [0; 16];
    hkdf::Hkdf::<sha2::Sha256>::new(Some(&[0; 32]), token).expand(info, &mut key).unwrap();
    let mut block: [u8; 16] = encrypted[16..].try_into().unwrap();
    let iv: [u8; 16] = encrypted[..16].try_into().unwrap();
    cbc::Decryptor::<aes::Aes128>::new(&key.into(), &iv.into())
        .decrypt_padded::<NoPadding>(&mut block)
        .unwrap();
    block
}

#[test]
fn section_6_4_an_older_key_does_not_know_newer_members() {
    let info = |versions: &[Version]| {
        let versions = doppelkey_core::list(versions);
        raw(&mut World::new(Configuration { versions, ..Configuration::default() }), &[0x04]).unwrap()
    };
    let oldest = info(&[Version::U2fV2, Version::Fido2_0]);
    assert!((0x0F..=0x1F).all(|key| get(&oldest, key).is_none()));
    let older = info(&[Version::Fido2_1]);
    assert!(get(&older, 0x14).is_some());
    assert!((0x16..=0x1F).all(|key| get(&older, key).is_none()));
}

#[test]
fn section_6_4_tells_what_a_model_has_beyond_the_usual() {
    let mut configuration = Configuration::default();
    configuration.limits.max_credential_count_in_list = 8;
    configuration.certifications.push(("FIDO".try_into().unwrap(), 2)).unwrap();
    configuration.vendor_prototype_config_commands.push(0x1234).unwrap();
    configuration.pin_complexity_url = Some("https://example.com/pin".try_into().unwrap());
    let info = raw(&mut World::new(configuration), &[0x04]).unwrap();
    assert_eq!(get(&info, 0x07), Some(&Value::from(8)));
    assert_eq!(get_named(get(&info, 0x13).unwrap(), "FIDO"), Some(&Value::from(2)));
    assert_eq!(get(&info, 0x15), Some(&Value::Array(vec![0x1234.into()])));
    assert_eq!(get(&info, 0x1C), Some(&Value::Bytes(b"https://example.com/pin".to_vec())));
    assert_eq!(get(&info, 0x1F), Some(&Value::Array([1, 2, 3, 4, 0xFF].map(Value::from).to_vec())));
}
