//! Algorithms: each makes credentials that sign, discoverable and not, within a message.

mod wire;

use ciborium::Value;
use doppelkey_core::testing::{SeededRng, World};
use doppelkey_core::{Algorithm, Configuration, Credential, CredentialStore as _, PrivateKey};
use wire::ceremony::{Get, Make, algorithms, verifies};
use wire::get;

/// Label and size of each part of a public key.
type Parts = &'static [(i32, usize)];

/// COSE number, kty, and the parts of the public key.
const EXPECTED: [(i32, i32, Parts); 10] = [
    (-7, 2, &[(-2, 32), (-3, 32)]),
    (-8, 1, &[(-2, 32)]),
    (-35, 2, &[(-2, 48), (-3, 48)]),
    (-36, 2, &[(-2, 66), (-3, 66)]),
    (-47, 2, &[(-2, 32), (-3, 32)]),
    (-257, 3, &[(-1, 256), (-2, 3)]),
    (-37, 3, &[(-1, 256), (-2, 3)]),
    (-48, 7, &[(-1, 1312)]),
    (-49, 7, &[(-1, 1952)]),
    (-50, 7, &[(-1, 2592)]),
];

#[test]
fn every_algorithm_registers_and_signs_in() {
    let mut world = World::new(Configuration::default());
    for (number, kty, parts) in EXPECTED {
        for make in [Make::new("alice"), Make::not_discoverable("alice")] {
            let made = make.with(4, algorithms(&[number])).send(&mut world).unwrap();
            assert_eq!(get(made.public_key(), 1), Some(&Value::from(kty)), "{number}");
            for (label, size) in parts {
                let part = get(made.public_key(), *label).and_then(Value::as_bytes).unwrap();
                assert_eq!(part.len(), *size, "{number}");
            }
            assert!(made.is_self_attested(), "{number}");
            assert!(made.id().len() <= 255, "{number}");
            let got = Get::allowing([made.id()]).send(&mut world).unwrap();
            assert!(got.verifies(&made), "{number}");
        }
    }
}

#[test]
fn the_default_configuration_offers_every_algorithm_of_the_build() {
    let numbers: Vec<i32> = Algorithm::ALL.iter().map(|algorithm| algorithm.cose()).collect();
    assert_eq!(numbers, EXPECTED.map(|(number, ..)| number));
    assert_eq!(Configuration::default().algorithms, Algorithm::ALL);
    assert_eq!(Configuration::small().algorithms, [Algorithm::Es256, Algorithm::EdDsa]);
}

#[test]
fn keys_survive_being_kept_and_sign_the_same() {
    let mut rng = SeededRng::new(3);
    for algorithm in Algorithm::ALL {
        let key = PrivateKey::generate(*algorithm, &mut rng);
        assert_eq!(key.as_bytes().len(), algorithm.private_key_size());
        let again = PrivateKey::from_bytes(*algorithm, key.as_bytes()).unwrap();
        assert_eq!(key, again);
        assert_eq!(key.sign(b"message"), again.sign(b"message"));
        assert_eq!(key.public_key(), again.public_key());
        let public: Value = ciborium::from_reader(&key.public_key().unwrap()[..]).unwrap();
        assert!(verifies(&public, b"message", &key.sign(b"message").unwrap()));
        assert!(!verifies(&public, b"another", &key.sign(b"message").unwrap()));
        let bytes = key.as_bytes();
        for wrong in [&bytes[1..], &[bytes, &[0]].concat(), &[]] {
            assert_eq!(PrivateKey::from_bytes(*algorithm, wrong), None);
        }
    }
}

#[test]
fn what_is_no_key_is_refused_or_signs_nothing() {
    for (algorithm, size) in [(Algorithm::Es256, 32), (Algorithm::Es384, 48), (Algorithm::Es512, 66)] {
        for bytes in [vec![0; size], vec![0xFF; size]] {
            assert_eq!(PrivateKey::from_bytes(algorithm, &bytes), None);
        }
    }
    assert_eq!(PrivateKey::from_bytes(Algorithm::Rs256, &[0; 256]), None);
    // Of the right form, and no primes.
    let key = PrivateKey::from_bytes(Algorithm::Rs256, &[0xFF; 256]).unwrap();
    let _ = (key.sign(b"message"), key.public_key());
}

#[test]
fn a_credential_with_the_longest_key_is_kept() {
    let mut world = World::new(Configuration::default());
    let made = Make::new("alice").with(4, algorithms(&[-257])).send(&mut world).unwrap();
    let kept = world.authenticator().store_mut().get(made.id()).unwrap().unwrap();
    assert_eq!(Credential::decode(&kept.encode()), Some(kept));
}
