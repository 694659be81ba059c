//! authenticatorMakeCredential (CTAP §6.1).

mod wire;

use ciborium::Value;
use doppelkey_core::testing::{Does, World};
use doppelkey_core::{
    Action, Answer, Attestation, Configuration, CredentialStore as _, MemoryStore, OptionId, Status,
};
use wire::ceremony::{Get, Make, algorithms, descriptors, verifying, world};
use wire::{bytes, get, get_named, named, status};

#[test]
fn section_6_1_2_makes_a_discoverable_credential_with_self_attestation() {
    let mut world = world();
    let made = Make::new("alice").send(&mut world).unwrap();
    assert!(made.is_self_attested());
    assert_eq!(made.aaguid(), doppelkey_core::AAGUID);
    assert!(made.data.up && !made.data.uv && !made.data.be && !made.data.bs);
    assert!(made.data.extensions.is_none());
    let kept = world.authenticator().store_mut().get(made.id()).unwrap().unwrap();
    assert_eq!((kept.rp_id.as_str(), kept.user.id.as_slice()), ("example.com", &b"alice"[..]));
}

#[test]
fn section_6_1_2_step_14_asks_the_user_once_and_says_for_whom() {
    let mut world = world();
    Make::new("alice").send(&mut world).unwrap();
    let [asked] = &world.asked[..] else { panic!("asked {} times", world.asked.len()) };
    assert_eq!(asked.action, Action::CreateCredential);
    assert_eq!(asked.rp_id.as_deref(), Some("example.com"));
    assert_eq!(asked.user_name.as_deref(), Some("alice"));
    assert!(!asked.verification);
}

#[test]
fn section_6_1_2_step_14_nothing_is_kept_without_the_user_s_consent() {
    for (does, expected) in [
        (Does::Says(Answer::Deny), Status::OperationDenied),
        (Does::Says(Answer::NotVerified), Status::OperationDenied),
        (Does::Says(Answer::Sample { status: 0 }), Status::OperationDenied),
        (Does::Nothing, Status::OperationDenied),
        (Does::IsCancelled, Status::KeepaliveCancel),
    ] {
        let mut world = world();
        world.user = Box::new(move |_| does);
        assert_eq!(Make::new("alice").send(&mut world), status(expected));
        assert_eq!(world.authenticator().store_mut().len(), Ok(0));
    }
}

#[test]
fn section_6_1_2_step_3_the_platform_s_order_of_algorithms_decides() {
    let mut world = world();
    let chosen = |world: &mut World, list: &[i32]| {
        let made = Make::new("alice").with(4, algorithms(list)).send(world)?;
        Ok(get(made.public_key(), 3).and_then(Value::as_integer).map(i128::from).unwrap())
    };
    assert_eq!(chosen(&mut world, &[-8, -7]), Ok(-8));
    assert_eq!(chosen(&mut world, &[-7, -8]), Ok(-7));
    assert_eq!(chosen(&mut world, &[-65535, i32::MIN, -8]), Ok(-8));
    assert_eq!(chosen(&mut world, &[-65535]), status(Status::UnsupportedAlgorithm));
    assert_eq!(chosen(&mut world, &[]), status(Status::UnsupportedAlgorithm));
    world.authenticator().configuration_mut().algorithms =
        doppelkey_core::list(&[doppelkey_core::Algorithm::Es256]);
    assert_eq!(chosen(&mut world, &[-8]), status(Status::UnsupportedAlgorithm));
}

#[test]
fn section_6_1_2_step_3_another_type_than_public_key_is_passed_over() {
    let entry = |kind: &str, alg: i32| named([("alg", alg.into()), ("type", kind.into())]);
    let list = Value::Array(vec![entry("private-key", -7), entry("public-key", -8)]);
    let made = Make::new("alice").with(4, list).send(&mut world()).unwrap();
    assert_eq!(get(made.public_key(), 3), Some(&Value::from(-8)));
}

#[test]
fn section_6_1_2_step_3_a_malformed_entry_is_an_error_wherever_it_stands() {
    let good = named([("alg", (-7).into()), ("type", "public-key".into())]);
    for (bad, expected) in [
        (named([("alg", (-7).into())]), Status::MissingParameter),
        (named([("type", "public-key".into())]), Status::MissingParameter),
        (named([("alg", "ES256".into()), ("type", "public-key".into())]), Status::CborUnexpectedType),
        (named([("alg", (-7).into()), ("type", 1.into())]), Status::CborUnexpectedType),
        (Value::from(1), Status::CborUnexpectedType),
    ] {
        let make = Make::new("alice").with(4, Value::Array(vec![good.clone(), bad]));
        assert_eq!(make.send(&mut world()), status(expected));
    }
}

#[test]
fn section_6_1_1_every_required_parameter_is_required() {
    for key in 1..=4 {
        let mut make = Make::new("alice");
        make.0.remove(&key);
        assert_eq!(make.send(&mut world()), status(Status::MissingParameter), "{key}");
    }
    assert_eq!(Make::new("a").with(2, named([])).send(&mut world()), status(Status::MissingParameter));
    assert_eq!(Make::new("a").with(3, named([])).send(&mut world()), status(Status::MissingParameter));
}

#[test]
fn section_6_1_1_every_parameter_has_its_type() {
    for key in 1..=10 {
        let make = Make::new("alice").with(key, Value::Null);
        assert_eq!(make.send(&mut world()), status(Status::CborUnexpectedType), "{key}");
    }
    for (key, value) in [
        (2, named([("id", 1.into())])),
        (2, named([("id", "example.com".into()), ("name", 1.into())])),
        (3, named([("id", "text".into())])),
        (3, named([("id", bytes([1])), ("name", 1.into())])),
        (3, named([("id", bytes([1])), ("displayName", 1.into())])),
        (5, Value::Array(vec![Value::from(1)])),
        (7, named([("rk", 1.into())])),
    ] {
        let make = Make::new("alice").with(key, value);
        assert_eq!(make.send(&mut world()), status(Status::CborUnexpectedType), "{key}");
    }
}

#[test]
fn section_6_1_1_a_malformed_entry_of_the_exclude_list_is_an_error_wherever_it_stands() {
    let good = named([("id", bytes([1; 16])), ("type", "public-key".into())]);
    for (bad, expected) in [
        (Value::from(1), Status::CborUnexpectedType),
        (named([("id", bytes([1; 16]))]), Status::MissingParameter),
        (named([("id", bytes([1; 16])), ("type", 1.into())]), Status::CborUnexpectedType),
        (named([("type", "public-key".into())]), Status::MissingParameter),
        (named([("id", "text".into()), ("type", "public-key".into())]), Status::CborUnexpectedType),
    ] {
        let make = Make::new("alice").with(5, Value::Array(vec![good.clone(), bad]));
        assert_eq!(make.send(&mut world()), status(expected));
    }
}

#[test]
fn section_6_1_2_step_12_an_entry_of_another_type_excludes_nothing() {
    let mut world = world();
    let made = Make::new("alice").send(&mut world).unwrap();
    let list = Value::Array(vec![named([("id", bytes(made.id())), ("type", "private-key".into())])]);
    assert!(Make::new("bob").with(5, list).send(&mut world).is_ok());
}

#[test]
fn section_6_1_2_step_19_a_preference_that_is_no_list_of_formats_is_none() {
    for preference in [Value::Null, Value::from("none"), Value::Array(vec![1.into(), "packed".into()])] {
        let made = Make::new("alice").with(11, preference).send(&mut world()).unwrap();
        assert!(made.is_self_attested());
    }
}

#[test]
fn section_6_1_3_the_response_has_what_it_must_and_nothing_else() {
    for (algorithm, members) in [(-7, vec![1, 3, -1, -2, -3]), (-8, vec![1, 3, -1, -2])] {
        let made = Make::new("alice").with(4, algorithms(&[algorithm])).send(&mut world()).unwrap();
        let keys = |map: &Value| -> Vec<i128> {
            let members = map.as_map().unwrap().iter();
            members.map(|(key, _)| key.as_integer().unwrap().into()).collect()
        };
        assert_eq!(keys(&made.response), [1, 2, 3], "no unsigned extension outputs, no epAtt");
        assert_eq!(made.format(), "packed");
        assert_eq!(keys(made.public_key()), members, "and no other coefficient");
        for coordinate in members.iter().filter(|key| **key <= -2) {
            let bytes = get(made.public_key(), i32::try_from(*coordinate).unwrap()).unwrap();
            assert_eq!(bytes.as_bytes().map(Vec::len), Some(32));
        }
        assert_eq!(made.data.raw[32] & 0xC0, 0x40, "attested credential data and no extensions");
        assert!(made.id().len() >= 16);
        assert!(made.is_self_attested());
    }
}

#[test]
fn section_8_unknown_parameters_and_options_are_ignored() {
    let make = Make::new("alice").with(0x40, Value::Null).option("future", true);
    assert!(make.extension("future", Value::Null).send(&mut world()).is_ok());
}

#[test]
fn section_6_1_1_handles_and_hashes_have_their_sizes() {
    let user = |size: usize| named([("id", bytes(vec![1; size]))]);
    assert!(Make::new("a").with(3, user(64)).send(&mut world()).is_ok());
    assert_eq!(Make::new("a").with(3, user(65)).send(&mut world()), status(Status::InvalidLength));
    assert_eq!(Make::new("a").with(1, bytes([1; 31])).send(&mut world()), status(Status::InvalidLength));
    let long = "a".repeat(254);
    assert_eq!(Make::new("a").rp(&long).send(&mut world()), status(Status::LimitExceeded));
    assert_eq!(Make::new("a").rp("").send(&mut world()), status(Status::InvalidParameter));
}

#[test]
fn section_6_1_2_long_names_are_cut_and_not_refused() {
    let name = "é".repeat(100);
    let user = named([("id", bytes("a")), ("name", name.as_str().into()), ("displayName", "".into())]);
    let mut world = world();
    let made = Make::new("a").with(3, user).send(&mut world).unwrap();
    let kept = world.authenticator().store_mut().get(made.id()).unwrap().unwrap();
    assert_eq!(kept.user.name.unwrap().as_str(), "é".repeat(32));
}

#[test]
fn section_6_1_2_step_5_options_mean_what_they_say() {
    assert_eq!(Make::new("a").option("up", false).send(&mut world()), status(Status::InvalidOption));
    assert!(Make::new("a").option("up", true).send(&mut world()).is_ok());
    // No fingerprint is enrolled.
    assert_eq!(Make::new("a").option("uv", true).send(&mut world()), status(Status::InvalidOption));
    assert!(Make::new("a").option("uv", false).send(&mut world()).is_ok());
    let mut world = world();
    world.authenticator().configuration_mut().set_option(OptionId::Rk, false);
    assert_eq!(Make::new("a").send(&mut world), status(Status::UnsupportedOption));
    let not = Make::not_discoverable("a").option("rk", false);
    assert_eq!(not.send(&mut world), status(Status::UnsupportedOption));
    assert!(Make::not_discoverable("a").send(&mut world).is_ok());
}

#[test]
fn section_6_1_2_step_12_a_credential_of_the_exclude_list_is_told_after_a_touch() {
    for make in [Make::new("alice"), Make::not_discoverable("alice")] {
        let mut world = world();
        let made = make.send(&mut world).unwrap();
        let other: &[u8] = &[9; 300];
        let again = Make::new("bob").with(5, descriptors([other, made.id()]));
        world.asked.clear();
        assert_eq!(again.send(&mut world), status(Status::CredentialExcluded));
        assert_eq!(world.asked[0].action, Action::Excluded);
        for does in [Does::Says(Answer::Deny), Does::Nothing] {
            world.user = Box::new(move |_| does);
            assert_eq!(again.send(&mut world), status(Status::CredentialExcluded));
        }
        world.user = Box::new(|_| Does::IsCancelled);
        assert_eq!(again.send(&mut world), status(Status::KeepaliveCancel));
    }
}

#[test]
fn section_6_1_2_step_12_another_rp_s_credential_excludes_nothing() {
    for make in [Make::new("alice"), Make::not_discoverable("alice")] {
        let mut world = world();
        let made = make.send(&mut world).unwrap();
        let mut request = Make::new("alice").with(5, descriptors([made.id()])).rp("example.org");
        request.0.insert(1, bytes([1; 32]));
        let (code, _) = world.cbor(&wire::encode(0x01, &wire::map(request.0.clone())));
        assert_eq!(code, 0);
    }
}

#[test]
fn section_6_1_2_step_17_a_second_credential_for_an_account_replaces_the_first() {
    let mut world = world();
    let first = Make::new("alice").send(&mut world).unwrap();
    let second = Make::new("alice").send(&mut world).unwrap();
    Make::new("bob").send(&mut world).unwrap();
    let store = world.authenticator().store_mut();
    assert_eq!(store.len(), Ok(2));
    assert_eq!(store.get(first.id()), Ok(None));
    assert!(store.get(second.id()).unwrap().is_some());
}

#[test]
fn section_6_1_2_step_17_a_full_store_says_so_but_still_replaces() {
    let mut world = World::with_store(Configuration::default(), MemoryStore::with_capacity(1));
    Make::new("alice").send(&mut world).unwrap();
    assert_eq!(Make::new("bob").send(&mut world), status(Status::KeyStoreFull));
    assert!(Make::new("alice").send(&mut world).is_ok());
    assert!(Make::not_discoverable("bob").send(&mut world).is_ok());
}

#[test]
fn section_6_1_2_a_credential_that_is_not_discoverable_takes_no_room() {
    let mut world = world();
    let made = Make::not_discoverable("alice").send(&mut world).unwrap();
    assert!(made.is_self_attested());
    assert_eq!(world.authenticator().store_mut().len(), Ok(0));
    let got = Get::allowing([made.id()]).send(&mut world).unwrap();
    assert!(got.verifies(&made));
    assert_eq!(Get::new().send(&mut world), status(Status::NoCredentials));
}

#[test]
fn section_6_1_2_a_model_may_keep_all_credentials_without_offering_all() {
    let mut world = World::new(Configuration {
        keep_all_credentials: true,
        backup_eligible: true,
        ..Configuration::default()
    });
    let made = Make::not_discoverable("alice").send(&mut world).unwrap();
    assert!(made.data.be);
    assert_eq!(world.authenticator().store_mut().len(), Ok(1));
    assert_eq!(Get::new().send(&mut world), status(Status::NoCredentials));
    let got = Get::allowing([made.id()]).send(&mut world).unwrap();
    assert!(got.verifies(&made) && got.user_id().is_none());
    let discoverable = Make::new("alice").send(&mut world).unwrap();
    assert_eq!(world.authenticator().store_mut().len(), Ok(2));
    Make::new("alice").send(&mut world).unwrap();
    assert_eq!(world.authenticator().store_mut().get(discoverable.id()), Ok(None));
    assert_eq!(world.authenticator().store_mut().len(), Ok(2));
}

#[test]
fn section_6_1_2_be_and_bs_are_the_configuration_s_and_stay_with_the_credential() {
    let mut configuration = Configuration::default();
    (configuration.backup_eligible, configuration.backup_state) = (true, true);
    let mut world = World::new(configuration);
    let made = Make::new("alice").send(&mut world).unwrap();
    assert!(made.data.be && made.data.bs);
    world.authenticator().configuration_mut().backup_eligible = false;
    let got = Get::allowing([made.id()]).send(&mut world).unwrap();
    assert!(got.data.be && got.data.bs);
    assert_eq!(got.data.sign_count, 0, "copies cannot share a counter");
}

#[test]
fn section_6_1_2_step_19_the_platform_s_preference_of_formats_decides() {
    let preference = |formats: &[&str]| Value::Array(formats.iter().map(|format| (*format).into()).collect());
    let format = |formats: &[&str]| {
        let made = Make::new("a").with(11, preference(formats)).send(&mut world()).unwrap();
        (made.format().to_owned(), get_named(made.statement(), "sig").is_some())
    };
    assert_eq!(format(&["none"]), ("none".into(), false));
    assert_eq!(format(&["tpm", "packed", "none"]), ("packed".into(), true));
    assert_eq!(format(&["tpm"]), ("packed".into(), true));
    assert_eq!(format(&[]), ("packed".into(), true));
    let mut world = world();
    world.authenticator().configuration_mut().attestation = heapless::Vec::from_array([Attestation::None]);
    assert_eq!(Make::new("a").send(&mut world).unwrap().format(), "none");
}

#[test]
fn section_6_1_2_step_9_enterprise_attestation_must_be_enabled() {
    let make = |kind: u64| Make::new("a").with(10, kind.into());
    assert_eq!(make(1).send(&mut world()), status(Status::InvalidParameter));
    let mut world = World::new(Configuration { enterprise_attestation: true, ..Configuration::default() });
    assert_eq!(make(3).send(&mut world), status(Status::InvalidOption));
    assert!(make(2).send(&mut world).unwrap().is_self_attested());
    world.authenticator().configuration_mut().set_option(OptionId::Ep, false);
    assert_eq!(make(2).send(&mut world), status(Status::InvalidParameter));
}

#[test]
fn section_6_1_2_step_1_an_empty_pin_uv_auth_param_asks_for_a_touch_only() {
    let mut world = world();
    let make = Make::new("a").with(8, bytes([]));
    assert_eq!(make.send(&mut world), status(Status::PinNotSet));
    assert_eq!(world.asked[0].action, Action::Select);
    for does in [Does::Says(Answer::Deny), Does::Nothing] {
        world.user = Box::new(move |_| does);
        assert_eq!(make.send(&mut world), status(Status::OperationDenied));
    }
}

#[test]
fn section_6_1_2_step_2_a_pin_uv_auth_param_needs_its_protocol() {
    let make = || Make::new("a").with(8, bytes([1; 32]));
    assert_eq!(make().send(&mut world()), status(Status::MissingParameter));
    assert_eq!(make().with(9, 3.into()).send(&mut world()), status(Status::InvalidParameter));
    assert_eq!(make().with(9, 2.into()).send(&mut world()), status(Status::PinAuthInvalid));
}

#[test]
fn section_6_1_2_step_6_always_uv_without_any_way_to_verify_says_to_set_a_pin() {
    let mut world = World::new(Configuration { always_uv: true, ..Configuration::default() });
    assert_eq!(Make::new("a").send(&mut world), status(Status::PuatRequired));
    world.authenticator().configuration_mut().set_option(OptionId::ClientPin, false);
    assert_eq!(Make::new("a").send(&mut world), status(Status::OperationDenied));
}

#[test]
#[cfg_attr(not(feature = "built-in-verification"), ignore = "needs the feature built-in-verification")]
fn section_6_1_2_step_11_built_in_verification_takes_one_touch() {
    let mut world = verifying();
    let made = Make::new("a").option("uv", true).send(&mut world).unwrap();
    assert!(made.data.uv && made.data.up);
    assert_eq!(world.asked.len(), 1);
    assert!(world.asked[0].verification);
    // A protected authenticator makes nothing discoverable without; and there is no PIN to come with.
    assert_eq!(Make::new("a").send(&mut world), status(Status::OperationDenied));
    assert!(!Make::not_discoverable("a").send(&mut world).unwrap().data.uv);
}

#[test]
#[cfg_attr(not(feature = "built-in-verification"), ignore = "needs the feature built-in-verification")]
fn section_6_1_2_step_11_built_in_verification_is_tried_thrice() {
    let mut world = verifying();
    let mut fingers = [false, false, true].into_iter();
    world.user = Box::new(move |_| match fingers.next() {
        Some(false) => Does::Says(Answer::NotVerified),
        _ => doppelkey_core::testing::APPROVES,
    });
    assert!(Make::new("a").option("uv", true).send(&mut world).unwrap().data.uv);
    assert_eq!(world.asked.len(), 3);
    world.user = Box::new(|_| Does::Says(Answer::Approve { verified: false, account: None }));
    world.asked.clear();
    assert_eq!(Make::new("a").option("uv", true).send(&mut world), status(Status::OperationDenied));
    assert_eq!(world.asked.len(), 3);
    assert_eq!(Make::new("a").option("uv", true).send(&mut world), status(Status::PinBlocked));
    assert_eq!(world.asked.len(), 5, "five failures in a row block it");
    assert_eq!(Make::new("a").option("uv", true).send(&mut world), status(Status::PinBlocked));
    assert_eq!(world.asked.len(), 5);
}

#[test]
#[cfg_attr(not(feature = "built-in-verification"), ignore = "needs the feature built-in-verification")]
fn section_6_1_2_step_11_a_verification_that_does_not_come_is_a_time_out() {
    let mut world = verifying();
    world.user = Box::new(|_| Does::Nothing);
    assert_eq!(Make::new("a").option("uv", true).send(&mut world), status(Status::UserActionTimeout));
}

#[test]
#[cfg_attr(not(feature = "built-in-verification"), ignore = "needs the feature built-in-verification")]
fn section_6_1_2_step_6_always_uv_verifies_whoever_did_not_ask() {
    let mut world = verifying();
    world.authenticator().configuration_mut().always_uv = true;
    assert!(Make::new("a").send(&mut world).unwrap().data.uv);
    assert!(Make::not_discoverable("a").send(&mut world).unwrap().data.uv);
}

#[test]
#[cfg_attr(not(feature = "built-in-verification"), ignore = "needs the feature built-in-verification")]
fn section_6_1_2_step_12_verification_comes_before_the_exclude_list() {
    let mut world = verifying();
    let made = Make::new("a").option("uv", true).send(&mut world).unwrap();
    let again = Make::new("b").option("uv", true).with(5, descriptors([made.id()]));
    world.asked.clear();
    assert_eq!(again.send(&mut world), status(Status::CredentialExcluded));
    assert_eq!(world.asked[0].action, Action::CreateCredential);
    world.user = Box::new(|_| Does::Says(Answer::Deny));
    assert_eq!(again.send(&mut world), status(Status::OperationDenied));
}

#[test]
fn a_key_pair_made_in_idle_time_serves_once_and_as_well() {
    let mut world = world();
    assert!(world.authenticator().prepare());
    assert!(!world.authenticator().prepare(), "one is ready");
    let other = Make::new("alice").with(4, algorithms(&[-8])).send(&mut world).unwrap();
    assert!(other.is_self_attested());
    assert!(!world.authenticator().prepare(), "EdDSA had no use for it");
    let first = Make::new("alice").send(&mut world).unwrap();
    let second = Make::not_discoverable("bob").send(&mut world).unwrap();
    assert!(world.authenticator().prepare(), "the first took it");
    let third = Make::not_discoverable("carol").send(&mut world).unwrap();
    assert_ne!(first.public_key(), second.public_key());
    assert_ne!(second.public_key(), third.public_key());
    for made in [&first, &second, &third] {
        assert!(made.is_self_attested());
        assert!(Get::allowing([made.id()]).send(&mut world).unwrap().verifies(made));
    }
}

#[test]
fn a_key_pair_made_in_idle_time_does_not_survive_a_reset() {
    let mut world = world();
    assert!(world.authenticator().prepare());
    assert!(wire::raw(&mut world, &[0x07]).is_ok());
    assert!(world.authenticator().prepare());
    world.authenticator().configuration_mut().algorithms =
        doppelkey_core::list(&[doppelkey_core::Algorithm::EdDsa]);
    Make::new("alice").with(4, algorithms(&[-8])).send(&mut world).unwrap();
}
