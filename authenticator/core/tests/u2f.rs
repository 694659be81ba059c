//! U2F raw messages (CTAP §7; U2F raw message formats).

mod wire;

use std::sync::Arc;

use doppelkey_core::testing::platform::{GA, Platform};
use doppelkey_core::testing::{Does, World};
use doppelkey_core::{
    Action, Algorithm, Answer, Attestation, AttestationRequest, Attester, Configuration, Members, PrivateKey,
    Statement, Version, list,
};
use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::{Signature, VerifyingKey};
use sha2::{Digest as _, Sha256};
use wire::{bytes, get, map, named, raw, send};
use x509_cert::der::{Decode as _, Encode as _};

const NO_ERROR: u16 = 0x9000;
const WRONG_LENGTH: u16 = 0x6700;
const CONDITIONS_NOT_SATISFIED: u16 = 0x6985;
const COMMAND_NOT_ALLOWED: u16 = 0x6986;
const WRONG_DATA: u16 = 0x6A80;
const INSTRUCTION_NOT_SUPPORTED: u16 = 0x6D00;
const CLASS_NOT_SUPPORTED: u16 = 0x6E00;
const UNKNOWN: u16 = 0x6F00;

const CHALLENGE: [u8; 32] = [0xC4; 32];

/// What U2F_REGISTER answered.
struct Registration {
    key: VerifyingKey,
    point: Vec<u8>,
    handle: Vec<u8>,
    certificate: x509_cert::Certificate,
    signature: Signature,
}

fn world() -> World {
    World::new(Configuration::default())
}

fn application() -> [u8; 32] {
    Sha256::digest("example.com").into()
}

/// An APDU in extended length encoding, as platforms send it.
fn apdu(instruction: u8, parameter: u8, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap().to_be_bytes();
    [&[0, instruction, parameter, 0, 0, length[0], length[1]], data, &[0, 0]].concat()
}

fn register(world: &mut World) -> Registration {
    let request = [&CHALLENGE[..], &application()].concat();
    let (data, word) = world.msg(&apdu(1, 0, &request));
    assert_eq!(word, NO_ERROR);
    assert_eq!(data[0], 0x05);
    let (point, rest) = data[1..].split_at(65);
    let (handle, rest) = rest[1..].split_at(usize::from(rest[0]));
    let mut reader = x509_cert::der::SliceReader::new(rest).unwrap();
    let certificate = x509_cert::Certificate::decode(&mut reader).unwrap();
    let signature = &rest[certificate.to_der().unwrap().len()..];
    Registration {
        key: VerifyingKey::from_sec1_bytes(point).unwrap(),
        point: point.to_vec(),
        handle: handle.to_vec(),
        certificate,
        signature: Signature::from_der(signature).unwrap(),
    }
}

fn authenticate(world: &mut World, parameter: u8, application: &[u8], handle: &[u8]) -> (Vec<u8>, u16) {
    let length = [u8::try_from(handle.len()).unwrap()];
    let request = [&CHALLENGE[..], application, &length, handle].concat();
    world.msg(&apdu(2, parameter, &request))
}

/// The presence byte and the counter, if the signature is right.
fn asserted(key: &VerifyingKey, data: &[u8]) -> (u8, u32) {
    let signed = [&application()[..], &data[..5], &CHALLENGE].concat();
    key.verify(&signed, &Signature::from_der(&data[5..]).unwrap()).unwrap();
    (data[0], u32::from_be_bytes(data[1..5].try_into().unwrap()))
}

#[test]
fn u2f_6_1_says_its_version() {
    let mut world = world();
    for request in [&[0, 3, 0, 0][..], &[0, 3, 0, 0, 0], &[0, 3, 0, 0, 0, 0, 0], &apdu(3, 0, &[])] {
        assert_eq!(world.msg(request), (b"U2F_V2".to_vec(), NO_ERROR));
    }
    assert_eq!(world.msg(&apdu(3, 0, &[1])), (vec![], WRONG_LENGTH));
}

#[test]
fn u2f_4_registers_after_a_touch() {
    let mut world = world();
    let registration = register(&mut world);
    assert_eq!(world.asked.len(), 1);
    assert_eq!(world.asked[0].action, Action::U2f);
    let signed = [&[0][..], &application(), &CHALLENGE, &registration.handle, &registration.point].concat();
    registration.key.verify(&signed, &registration.signature).unwrap();
}

#[test]
fn u2f_4_3_the_certificate_is_one_and_links_nothing() {
    let mut world = world();
    let registrations = [register(&mut world), register(&mut world)];
    for registration in &registrations {
        let certificate = &registration.certificate;
        let tbs = certificate.tbs_certificate();
        assert_eq!(tbs.subject_public_key_info().subject_public_key.raw_bytes(), registration.point);
        let signature = Signature::from_der(certificate.signature().raw_bytes()).unwrap();
        registration.key.verify(&tbs.to_der().unwrap(), &signature).unwrap();
        assert_eq!(tbs.subject().to_string(), "CN=Doppelkey U2F");
    }
    assert_ne!(registrations[0].point, registrations[1].point);
    assert_ne!(registrations[0].handle, registrations[1].handle);
}

#[test]
fn u2f_5_authenticates_with_a_touch_and_a_counter_that_grows() {
    let mut world = world();
    let registration = register(&mut world);
    let mut last = 0;
    for _ in 0..3 {
        let (data, word) = authenticate(&mut world, 0x03, &application(), &registration.handle);
        assert_eq!(word, NO_ERROR);
        let (presence, counter) = asserted(&registration.key, &data);
        assert_eq!(presence, 1);
        assert!(counter > last);
        last = counter;
        world.replug();
    }
    assert_eq!(world.asked.len(), 4);
}

#[test]
fn u2f_5_1_without_enforcing_presence_nobody_is_asked() {
    let mut world = world();
    let registration = register(&mut world);
    let (data, word) = authenticate(&mut world, 0x08, &application(), &registration.handle);
    assert_eq!(word, NO_ERROR);
    assert_eq!(asserted(&registration.key, &data).0, 0);
    assert_eq!(world.asked.len(), 1);
}

#[test]
fn u2f_5_1_check_only_tells_its_own_handles() {
    let mut world = world();
    let registration = register(&mut world);
    let mut check = |application: &[u8], handle: &[u8]| authenticate(&mut world, 0x07, application, handle);
    assert_eq!(check(&application(), &registration.handle), (vec![], CONDITIONS_NOT_SATISFIED));
    assert_eq!(check(&[0; 32], &registration.handle), (vec![], WRONG_DATA));
    assert_eq!(check(&application(), &registration.handle[1..]), (vec![], WRONG_DATA));
    assert_eq!(check(&application(), &[]), (vec![], WRONG_DATA));
    let mut tampered = registration.handle.clone();
    *tampered.last_mut().unwrap() ^= 1;
    assert_eq!(check(&application(), &tampered), (vec![], WRONG_DATA));
}

#[test]
fn u2f_5_1_a_foreign_handle_asks_nobody() {
    let mut world = world();
    let registration = register(&mut world);
    for parameter in [0x03, 0x08] {
        let answer = authenticate(&mut world, parameter, &[0; 32], &registration.handle);
        assert_eq!(answer, (vec![], WRONG_DATA));
    }
    let unknown = authenticate(&mut world, 0x00, &application(), &registration.handle);
    assert_eq!(unknown, (vec![], WRONG_DATA));
    assert_eq!(world.asked.len(), 1);
}

#[test]
fn u2f_without_a_touch_conditions_are_not_satisfied() {
    let mut world = world();
    let registration = register(&mut world);
    for does in [Does::Says(Answer::Deny), Does::Nothing, Does::IsCancelled] {
        world.user = Box::new(move |_| does);
        let request = [&CHALLENGE[..], &application()].concat();
        assert_eq!(world.msg(&apdu(1, 0, &request)), (vec![], CONDITIONS_NOT_SATISFIED));
        let answer = authenticate(&mut world, 0x03, &application(), &registration.handle);
        assert_eq!(answer, (vec![], CONDITIONS_NOT_SATISFIED));
    }
}

#[test]
fn u2f_3_what_is_malformed_is_told_apart() {
    let mut world = world();
    assert_eq!(world.msg(&[]), (vec![], WRONG_LENGTH));
    assert_eq!(world.msg(&[0, 1, 0]), (vec![], WRONG_LENGTH));
    assert_eq!(world.msg(&apdu(1, 0, &[0; 63])), (vec![], WRONG_LENGTH));
    assert_eq!(world.msg(&apdu(1, 0, &[0; 65])), (vec![], WRONG_LENGTH));
    assert_eq!(world.msg(&apdu(2, 3, &[0; 64])), (vec![], WRONG_LENGTH));
    assert_eq!(world.msg(&apdu(2, 3, &[9; 70])), (vec![], WRONG_LENGTH));
    assert_eq!(world.msg(&apdu(9, 0, &[])), (vec![], INSTRUCTION_NOT_SUPPORTED));
    assert_eq!(world.msg(&[1, 3, 0, 0]), (vec![], CLASS_NOT_SUPPORTED));
    assert!(world.asked.is_empty());
}

#[test]
fn section_7_2_3_what_u2f_registered_serves_in_ctap2() {
    let mut world = world();
    let registration = register(&mut world);
    let descriptor = named([("id", bytes(&registration.handle)), ("type", "public-key".into())]);
    let request =
        map([(1, "example.com".into()), (2, bytes([5; 32])), (3, ciborium::Value::Array(vec![descriptor]))]);
    let response = send(&mut world, 0x02, &request).unwrap();
    let data = get(&response, 2).unwrap().as_bytes().unwrap();
    let signature = Signature::from_der(get(&response, 3).unwrap().as_bytes().unwrap()).unwrap();
    registration.key.verify(&[&data[..], &[5; 32]].concat(), &signature).unwrap();
}

#[test]
fn section_7_2_4_always_uv_takes_u2f_away() {
    let mut world = world();
    let registration = register(&mut world);
    assert!(send(&mut world, 0x0D, &map([(1, 2.into())])).is_ok());
    let request = [&CHALLENGE[..], &application()].concat();
    assert_eq!(world.msg(&apdu(1, 0, &request)), (vec![], COMMAND_NOT_ALLOWED));
    let answer = authenticate(&mut world, 0x03, &application(), &registration.handle);
    assert_eq!(answer, (vec![], COMMAND_NOT_ALLOWED));
}

#[test]
fn section_6_6_a_reset_makes_every_handle_foreign() {
    let mut world = world();
    let registration = register(&mut world);
    assert!(raw(&mut world, &[0x07]).is_ok());
    let answer = authenticate(&mut world, 0x07, &application(), &registration.handle);
    assert_eq!(answer, (vec![], WRONG_DATA));
}

/// A vendor's batch key; its certificate is anything at all, and missing where it is empty.
#[derive(Debug)]
struct Batch(Vec<u8>);

impl Attester for Batch {
    fn format(&self) -> &str {
        "fido-u2f"
    }

    fn attest(&self, request: &AttestationRequest<'_>) -> Option<Statement> {
        let key = PrivateKey::from_bytes(Algorithm::Es256, &[7; 32])?;
        let cose: ciborium::Value = ciborium::from_reader(request.public_key).ok()?;
        let coordinate = |key| get(&cose, key).and_then(|value| value.as_bytes()).cloned();
        let point = [vec![4], coordinate(-2)?, coordinate(-3)?].concat();
        let message =
            [&[0][..], request.rp_id_hash, request.client_data_hash, request.credential_id, &point].concat();
        let sig = Some(key.sign(&message)?.to_vec());
        let x5c = Vec::from_iter(Some(self.0.clone()).filter(|certificate| !certificate.is_empty()));
        Some(Statement::Members(Members { sig, x5c, ..Members::default() }))
    }
}

#[test]
fn u2f_4_3_a_vendor_s_attestation_takes_the_place_of_our_own() {
    let mut configuration = Configuration::default();
    configuration.attestation.insert(0, Attestation::By(Arc::new(Batch(b"certificate".to_vec())))).unwrap();
    let mut world = World::new(configuration);
    let request = apdu(1, 0, &[&CHALLENGE[..], &application()].concat());
    let (data, word) = world.msg(&request);
    assert_eq!(word, NO_ERROR);
    let (point, rest) = data[1..].split_at(65);
    let (handle, rest) = rest[1..].split_at(usize::from(rest[0]));
    let (certificate, signature) = rest.split_at(11);
    assert_eq!(certificate, b"certificate");
    let batch = p256::SecretKey::from_slice(&[7; 32]).unwrap().public_key();
    let signed = [&[0][..], &application(), &CHALLENGE, handle, point].concat();
    VerifyingKey::from(batch).verify(&signed, &Signature::from_der(signature).unwrap()).unwrap();
    let without = Attestation::By(Arc::new(Batch(vec![])));
    world.authenticator().configuration_mut().attestation[0] = without;
    assert_eq!(world.msg(&request), (vec![], UNKNOWN), "U2F cannot do without a certificate");
}

#[test]
fn section_6_4_a_device_that_does_not_speak_u2f_does_not() {
    let versions = list(&[Version::Fido2_1]);
    let mut world = World::new(Configuration { versions, ..Configuration::default() });
    for instruction in 1..=3 {
        assert_eq!(world.msg(&apdu(instruction, 0, &[])), (vec![], INSTRUCTION_NOT_SUPPORTED));
    }
    assert!(Platform(2).set_pin(&mut world, "1234").is_ok());
    assert!(Platform(2).token(&mut world, "1234", GA, Some("example.com")).is_ok());
}
