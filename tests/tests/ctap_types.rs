//! ctap-types, the types that Trussed's authenticators speak CTAP2 with, as a second opinion about every message.
//!
//! Within its limits (seven extensions, ES256 and EdDSA, at most ten ids in a list, no bio enrolment) it reads what is
//! sent and what is answered, and what it writes of them again is the same bytes.

use ciborium::Value;
use ctap_types::ctap2;
use doppelkey_core::testing::World;
use doppelkey_core::testing::platform::{ACFG, CM, GA, LBW, MC, Platform, Token};
use doppelkey_core::testing::wire::{bytes, encode, get, map, named};
use doppelkey_core::{Algorithm, Configuration, Extension, OptionId, list};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

const PIN: &str = "a1b2c3d4";
const RP_ID: &str = "example.com";
const PLATFORM: Platform = Platform(2);
const HASH: [u8; 32] = [0xCD; 32];

/// Doppelkey without what ctap-types does not know.
fn world() -> World {
    let mut configuration = Configuration::default();
    configuration.extensions.retain(|one| !matches!(one, Extension::Uvm | Extension::PinComplexityPolicy));
    configuration.algorithms = list(&[Algorithm::Es256, Algorithm::EdDsa]);
    configuration.set_option(OptionId::PerCredMgmtRo, false);
    let mut world = World::new(configuration);
    assert!(PLATFORM.set_pin(&mut world, PIN).is_ok());
    world
}

fn token(world: &mut World, permissions: u8) -> Token {
    PLATFORM.token(world, PIN, permissions, Some(RP_ID)).expect("the PIN is right")
}

/// The same bytes, read and written by ctap-types.
#[track_caller]
fn same<'a, T: Deserialize<'a> + Serialize>(cbor: &'a [u8]) -> T {
    let read: T = cbor_smol::cbor_deserialize(cbor)
        .unwrap_or_else(|error| panic!("ctap-types does not read {cbor:02x?}: {error:?}"));
    let mut buffer = vec![0; cbor.len() + 64];
    let written = cbor_smol::cbor_serialize(&read, &mut buffer).expect("there is room");
    assert_eq!(written, cbor, "ctap-types writes it in another way");
    read
}

/// Sends a request that ctap-types has read and written; the response's body, which it has not.
#[track_caller]
fn send(world: &mut World, command: u8, parameters: &Value) -> Vec<u8> {
    let request = encode(command, parameters);
    ctap2::Request::deserialize(&request).expect("ctap-types knows the command");
    let (status, body) = world.cbor(&request);
    assert_eq!(status, 0, "{parameters:?}");
    body
}

fn make(world: &mut World, algorithm: i32) -> Vec<u8> {
    let token = token(world, MC);
    let extensions = named([
        ("credBlob", bytes([7; 32])),
        ("credProtect", 2.into()),
        ("hmac-secret", true.into()),
        ("largeBlobKey", true.into()),
        ("minPinLength", true.into()),
    ]);
    let algorithms = vec![named([("alg", algorithm.into()), ("type", "public-key".into())])];
    let parameters = map([
        (1, bytes(HASH)),
        (2, named([("id", RP_ID.into()), ("name", "Example".into())])),
        (3, named([("id", bytes(b"user")), ("name", "alice".into()), ("displayName", "Alice".into())])),
        (4, Value::Array(algorithms)),
        (5, Value::Array(vec![named([("id", bytes([9; 40])), ("type", "public-key".into())])])),
        (6, extensions),
        (7, named([("rk", true.into())])),
        (8, token.authenticate(&HASH)),
        (9, token.protocol()),
    ]);
    let request = encode(0x01, &parameters);
    let read: ctap2::make_credential::Request<'_> = same(&request[1..]);
    assert_eq!(read.rp.id.as_str(), RP_ID);
    send(world, 0x01, &parameters)
}

#[test]
fn reads_and_writes_make_credential() {
    for algorithm in [-7, -8] {
        let body = make(&mut world(), algorithm);
        let response: ctap2::make_credential::Response = same(&body);
        assert_eq!(response.auth_data[..32], Sha256::digest(RP_ID)[..]);
        assert!(response.large_blob_key.is_some());
    }
}

#[test]
fn reads_and_writes_get_assertion() {
    let mut world = world();
    make(&mut world, -7);
    let token = token(&mut world, GA);
    let parameters = map([
        (1, RP_ID.into()),
        (2, bytes(HASH)),
        (4, named([("credBlob", true.into()), ("largeBlobKey", true.into())])),
        (5, named([("up", true.into())])),
        (6, token.authenticate(&HASH)),
        (7, token.protocol()),
    ]);
    let request = encode(0x02, &parameters);
    let read: ctap2::get_assertion::Request<'_> = same(&request[1..]);
    assert_eq!(read.rp_id, RP_ID);
    let body = send(&mut world, 0x02, &parameters);
    let response: ctap2::get_assertion::Response = same(&body);
    assert_eq!(response.auth_data[..32], Sha256::digest(RP_ID)[..]);
}

#[test]
fn reads_get_info() {
    let mut world = world();
    let (status, body) = world.cbor(&[0x04]);
    assert_eq!(status, 0);
    let info: ctap2::get_info::Response =
        cbor_smol::cbor_deserialize(&body).expect("every member has the type it expects");
    assert_eq!(info.versions.len(), 4);
    assert_eq!(info.extensions.map(|extensions| extensions.len()), Some(7));
    assert_eq!(info.max_msg_size, Some(7609));
    assert_eq!(info.min_pin_length, Some(4));
    assert_eq!(info.options.and_then(|options| options.client_pin), Some(true));
}

#[test]
fn reads_and_writes_client_pin() {
    let mut world = world();
    for (subcommand, key) in [(1, 3), (2, 1), (7, 5)] {
        let body = send(&mut world, 0x06, &map([(1, 2.into()), (2, subcommand.into())]));
        let _: ctap2::client_pin::Response = same(&body);
        let value: Value = ciborium::from_reader(&body[..]).expect("it is CBOR");
        assert!(get(&value, key).is_some());
    }
    let secret = PLATFORM.agree(&mut world);
    let hash = secret.encrypt(&Sha256::digest(PIN)[..16]);
    let parameters = map([
        (1, 2.into()),
        (2, 9.into()),
        (3, secret.platform_key.clone()),
        (6, bytes(hash)),
        (9, 3.into()),
        (10, RP_ID.into()),
    ]);
    let _: ctap2::client_pin::Request<'_> = same(&encode(0x06, &parameters)[1..]);
    let body = send(&mut world, 0x06, &parameters);
    let response: ctap2::client_pin::Response = same(&body);
    assert_eq!(response.pin_token.map(|token| token.len()), Some(48));
}

#[test]
fn reads_and_writes_credential_management() {
    let mut world = world();
    make(&mut world, -7);
    let token = PLATFORM.token(&mut world, PIN, CM, None).expect("the PIN is right");
    let rp = map([(1, bytes(Sha256::digest(RP_ID)))]);
    let mut authenticated = vec![4];
    ciborium::into_writer(&rp, &mut authenticated).expect("memory takes everything");
    let requests = [
        map([(1, 1.into()), (3, token.protocol()), (4, token.authenticate(&[1]))]),
        map([(1, 2.into()), (3, token.protocol()), (4, token.authenticate(&[2]))]),
        map([(1, 4.into()), (2, rp), (3, token.protocol()), (4, token.authenticate(&authenticated))]),
    ];
    for parameters in requests {
        let _: ctap2::credential_management::Request<'_> = same(&encode(0x0A, &parameters)[1..]);
        let body = send(&mut world, 0x0A, &parameters);
        let _: ctap2::credential_management::Response = same(&body);
    }
}

#[test]
fn reads_and_writes_large_blobs_and_config() {
    let mut world = world();
    let read = map([(1, 960.into()), (3, 0.into())]);
    let _: ctap2::large_blobs::Request<'_> = same(&encode(0x0C, &read)[1..]);
    let body = send(&mut world, 0x0C, &read);
    let response: ctap2::large_blobs::Response = same(&body);
    let array = response.config.expect("it was asked for").to_vec();
    let writing = token(&mut world, LBW);
    let message = [&[0xFF; 32][..], &[0x0C, 0, 0, 0, 0, 0], &Sha256::digest(&array)].concat();
    let write = map([
        (2, bytes(&array)),
        (3, 0.into()),
        (4, 17.into()),
        (5, writing.authenticate(&message)),
        (6, writing.protocol()),
    ]);
    let _: ctap2::large_blobs::Request<'_> = same(&encode(0x0C, &write)[1..]);
    assert!(send(&mut world, 0x0C, &write).is_empty());
    let configuring = token(&mut world, ACFG);
    let message = [&[0xFF; 32][..], &[0x0D, 0x02]].concat();
    let toggle = map([(1, 2.into()), (3, configuring.protocol()), (4, configuring.authenticate(&message))]);
    let _: ctap2::config::Request<'_> = same(&encode(0x0D, &toggle)[1..]);
    assert!(send(&mut world, 0x0D, &toggle).is_empty());
}
