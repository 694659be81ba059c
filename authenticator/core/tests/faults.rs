//! Faults: each does what its name says, and nothing else.

mod wire;

use ciborium::Value;
use doppelkey_core::testing::World;
use doppelkey_core::{Configuration, Fault, Status};
use sha2::{Digest as _, Sha256};
use wire::ceremony::{CLIENT_DATA_HASH, Data, Get, Make, RP_ID, verifies};
use wire::{encode, get, get_named, map, status};

fn faulty(fault: Fault) -> World {
    let mut world = World::new(Configuration::default());
    set(&mut world, fault, true);
    world
}

fn set(world: &mut World, fault: Fault, set: bool) {
    world.authenticator().configuration().faults.set(fault, set);
}

#[test]
fn every_fault_has_a_name_of_its_own_and_none_is_set_at_first() {
    assert!(Fault::ALL.len() >= 25);
    let faults = Configuration::default().faults;
    for fault in Fault::ALL {
        assert!(!faults.is_set(*fault));
        assert_eq!(Fault::from_name(fault.name()), Some(*fault));
        faults.set(*fault, true);
        assert_eq!(Fault::ALL.iter().filter(|fault| faults.is_set(**fault)).count(), 1);
        faults.set(*fault, false);
    }
}

#[test]
fn a_fault_is_shared_by_clones_and_survives_a_replug() {
    let configuration = Configuration::default();
    let faults = configuration.faults.clone();
    let mut world = World::new(configuration);
    faults.set(Fault::SignatureWrong, true);
    world.replug();
    assert!(!Make::new("alice").send(&mut world).unwrap().is_self_attested());
    faults.clear();
    assert!(Make::new("alice").send(&mut world).unwrap().is_self_attested());
}

#[test]
fn signature_wrong_spoils_assertions_and_self_attestation() {
    let mut world = faulty(Fault::SignatureWrong);
    let made = Make::new("alice").with(4, wire::ceremony::algorithms(&[-8])).send(&mut world).unwrap();
    assert!(!made.is_self_attested());
    assert!(!Get::new().send(&mut world).unwrap().verifies(&made));
}

#[test]
fn rp_id_hash_wrong_is_signed_all_the_same() {
    let mut world = faulty(Fault::RpIdHashWrong);
    let (_, body) = world.cbor(&encode(0x01, &map(Make::new("alice").0)));
    let response: Value = ciborium::from_reader(&body[..]).unwrap();
    let data = get(&response, 2).and_then(Value::as_bytes).unwrap();
    assert_ne!(data[..32], Sha256::digest(RP_ID)[..]);
    set(&mut world, Fault::RpIdHashWrong, false);
    let signature = get_named(get(&response, 3).unwrap(), "sig").and_then(Value::as_bytes).unwrap();
    let mut honest = data.clone();
    honest[..32].copy_from_slice(&Sha256::digest(RP_ID));
    let key = Data::parse(&honest).attested.unwrap().public_key;
    assert!(verifies(&key, &[data, &CLIENT_DATA_HASH[..]].concat(), signature));
}

#[test]
fn lies_about_up_and_uv_are_signed() {
    let mut world = faulty(Fault::UserPresentLie);
    let made = Make::new("alice").send(&mut world).unwrap();
    assert!(!made.data.up && made.is_self_attested());
    let got = Get::allowing([made.id()]).option("up", false).send(&mut world).unwrap();
    assert!(got.data.up && got.verifies(&made));
    set(&mut world, Fault::UserPresentLie, false);
    set(&mut world, Fault::UserVerifiedLie, true);
    assert!(Get::new().send(&mut world).unwrap().data.uv);
}

#[test]
fn bs_without_be_and_be_changed() {
    let mut world = faulty(Fault::BackupStateWithoutEligibility);
    let made = Make::new("alice").send(&mut world).unwrap();
    assert!(made.data.bs && !made.data.be);
    set(&mut world, Fault::BackupStateWithoutEligibility, false);
    set(&mut world, Fault::BackupEligibilityChanged, true);
    assert!(!Make::new("bob").send(&mut world).unwrap().data.be);
    assert!(Get::new().send(&mut world).unwrap().data.be);
}

#[test]
fn counters_stick_go_back_and_jump() {
    let mut world = World::new(Configuration::default());
    let made = Make::new("alice").send(&mut world).unwrap();
    let mut count = || Get::allowing([made.id()]).send(&mut world).map(|got| got.data.sign_count).unwrap();
    let honest = [count(), count(), count()];
    assert!(honest[0] < honest[1] && honest[1] < honest[2]);
    let counts = |world: &mut World, fault| {
        set(world, fault, true);
        let counts =
            [0; 3].map(|_| Get::allowing([made.id()]).send(world).map(|got| got.data.sign_count).unwrap());
        set(world, fault, false);
        counts
    };
    let stuck = counts(&mut world, Fault::CounterStuck);
    assert_eq!(stuck, [honest[2]; 3]);
    let back = counts(&mut world, Fault::CounterBackwards);
    assert!(back[0] > back[1] && back[1] > back[2], "{back:?}");
    let jumps = counts(&mut world, Fault::CounterJumps);
    assert!(jumps[1] - jumps[0] == 1_000_000 && jumps[2] - jumps[1] == 1_000_000);
}

#[test]
fn user_handles_are_missing_or_foreign() {
    let mut world = faulty(Fault::UserHandleMissing);
    let made = Make::new("alice").send(&mut world).unwrap();
    let got = Get::new().send(&mut world).unwrap();
    assert!(got.user_id().is_none() && got.verifies(&made));
    set(&mut world, Fault::UserHandleForeign, true);
    assert_ne!(Get::new().send(&mut world).unwrap().user_id(), Some(&b"alice"[..]));
}

#[test]
fn credential_ids_have_impossible_lengths() {
    for (fault, size) in
        [(Fault::CredentialIdEmpty, 0), (Fault::CredentialId1023, 1023), (Fault::CredentialId1024, 1024)]
    {
        let mut world = faulty(fault);
        let made = Make::new("alice").send(&mut world).unwrap();
        assert_eq!(made.id().len(), size);
        assert!(made.is_self_attested());
        assert_eq!(Get::new().send(&mut world).unwrap().id().len(), size);
    }
}

#[test]
fn cbor_is_malformed_truncated_not_canonical_or_trailed() {
    let request = encode(0x01, &map(Make::new("alice").0));
    let (_, honest) = World::new(Configuration::default()).cbor(&request);
    let body = |fault| {
        let (code, body) = faulty(fault).cbor(&request);
        assert_eq!(code, 0);
        body
    };
    assert_eq!(body(Fault::CborMalformed), [&[0xFF], &honest[1..]].concat());
    let truncated = body(Fault::CborTruncated);
    assert!(truncated.len() < honest.len() && honest.starts_with(&truncated));
    assert_eq!(body(Fault::CborNotCanonical), [&[0xB8, honest[0] & 0x1F], &honest[1..]].concat());
    assert_eq!(body(Fault::CborTrailing), [&honest[..], &[0]].concat());
    assert!(body(Fault::ResponseEmpty).is_empty());
}

#[test]
fn an_unknown_extension_has_an_output() {
    let mut world = faulty(Fault::ExtensionUnknown);
    let made = Make::new("alice").extension("credProtect", 1.into()).send(&mut world).unwrap();
    assert!(made.data.extension("unknownExtensionOutput").is_some());
    assert!(made.data.extension("credProtect").is_some());
    assert!(Get::new().send(&mut world).unwrap().data.extension("unknownExtensionOutput").is_some());
}

#[test]
fn aaguid_and_public_key_are_somebody_else_s() {
    let made = Make::new("alice").send(&mut faulty(Fault::AaguidWrong)).unwrap();
    assert_ne!(made.aaguid(), doppelkey_core::AAGUID);
    assert!(made.is_self_attested());
    let honest = Make::new("alice").send(&mut World::new(Configuration::default())).unwrap();
    let made = Make::new("alice").send(&mut faulty(Fault::PublicKeyWrong)).unwrap();
    assert_ne!(made.public_key(), honest.public_key());
}

#[test]
fn any_command_fails_with_any_status() {
    let mut world = World::new(Configuration::default());
    let faults = world.authenticator().configuration().faults.clone();
    for command in [0x01, 0x02, 0x04, 0x0B, 0x33] {
        faults.set_status(command, 0x7E);
        assert_eq!(world.cbor(&[command]), (0x7E, Vec::new()));
        faults.set_status(command, 0);
    }
    assert_eq!(world.cbor(&[0x33]).0, Status::InvalidCommand as u8);
    assert!(world.asked.is_empty());
    faults.set_status(0x01, Status::KeyStoreFull as u8);
    assert_eq!(Make::new("alice").send(&mut world), status(Status::KeyStoreFull));
}
