//! authenticatorGetAssertion and authenticatorGetNextAssertion (CTAP §6.2, §6.3).

mod wire;

use std::time::Duration;

use ciborium::Value;
use doppelkey_core::testing::{APPROVES, Does, SeededRng, World};
use doppelkey_core::{
    Action, Answer, Authenticator, Configuration, CredentialStore as _, Input, MemoryStore, Message,
    OptionId, Output, Status,
};
use wire::ceremony::{Get, Make, descriptors, next, verifying, world};
use wire::{bytes, get, get_named, named, raw, status};

#[test]
fn section_6_2_2_signs_in_with_a_discoverable_credential() {
    let mut world = world();
    let made = Make::new("alice").send(&mut world).unwrap();
    world.asked.clear();
    let got = Get::new().send(&mut world).unwrap();
    assert!(got.verifies(&made));
    assert_eq!(got.id(), made.id());
    assert_eq!(got.user_id(), Some(&b"alice"[..]));
    assert_eq!(got.user_name(), None);
    assert!(got.data.up && !got.data.uv);
    assert_eq!(get(&got.response, 5), None);
    let [asked] = &world.asked[..] else { panic!("asked {} times", world.asked.len()) };
    assert_eq!((asked.action, asked.accounts), (Action::UseCredential, 1));
    assert_eq!((asked.rp_id.as_deref(), asked.user_name.as_deref()), (Some("example.com"), Some("alice")));
}

#[test]
fn section_6_2_2_step_7_an_allow_list_of_any_length_is_looked_through() {
    let mut world = world();
    let first = Make::new("alice").send(&mut world).unwrap();
    let second = Make::not_discoverable("bob").send(&mut world).unwrap();
    let strangers: Vec<[u8; 64]> = (0..60).map(|number| [number; 64]).collect();
    for made in [&first, &second] {
        let ids = strangers.iter().map(|id| &id[..]).chain([made.id()]);
        let got = Get::allowing(ids).send(&mut world).unwrap();
        assert_eq!(got.id(), made.id());
        assert!(got.verifies(made));
        assert_eq!(get(&got.response, 5), None);
    }
    let ids = strangers.iter().map(|id| &id[..]);
    assert_eq!(Get::allowing(ids).send(&mut world), status(Status::NoCredentials));
}

#[test]
fn section_6_2_2_step_7_a_list_longer_than_advertised_is_refused() {
    let mut configuration = Configuration::default();
    configuration.limits.max_credential_count_in_list = 2;
    let mut world = World::new(configuration);
    let id: &[u8] = &[1; 32];
    assert_eq!(Get::allowing([id; 3]).send(&mut world), status(Status::LimitExceeded));
    assert_eq!(Get::allowing([id; 2]).send(&mut world), status(Status::NoCredentials));
}

#[test]
fn section_6_2_2_step_7_no_credential_is_told_without_a_touch() {
    let mut world = world();
    assert_eq!(Get::new().send(&mut world), status(Status::NoCredentials));
    assert!(world.asked.is_empty());
}

#[test]
fn section_6_2_2_step_7_entries_of_another_type_are_passed_over() {
    let mut world = world();
    let made = Make::new("alice").send(&mut world).unwrap();
    let list = Value::Array(vec![named([("id", bytes(made.id())), ("type", "private-key".into())])]);
    assert_eq!(Get::new().with(3, list).send(&mut world), status(Status::NoCredentials));
    let empty = Value::Array(Vec::new());
    assert!(Get::new().with(3, empty).send(&mut world).is_ok(), "an empty list is none");
}

#[test]
fn section_6_2_2_step_7_a_damaged_or_foreign_id_is_no_credential() {
    let mut world = world();
    let made = Make::not_discoverable("alice").send(&mut world).unwrap();
    for index in 0..made.id().len() {
        let mut id = made.id().to_vec();
        id[index] ^= 1;
        assert_eq!(Get::allowing([&id[..]]).send(&mut world), status(Status::NoCredentials), "byte {index}");
    }
    for length in 0..made.id().len() {
        assert_eq!(Get::allowing([&made.id()[..length]]).send(&mut world), status(Status::NoCredentials));
    }
    let foreign = Get::allowing([made.id()]).with(1, "example.org".into());
    assert_eq!(foreign.send(&mut world), status(Status::NoCredentials));
    // Another device, or the same one after a reset, has another wrapping key.
    let mut other = World::with_rng(Configuration::default(), SeededRng::new(7));
    assert_eq!(Get::allowing([made.id()]).send(&mut other), status(Status::NoCredentials));
}

#[test]
fn section_6_2_2_step_9_nothing_is_signed_without_the_user_s_consent() {
    for (does, expected) in [
        (Does::Says(Answer::Deny), Status::OperationDenied),
        (Does::Nothing, Status::OperationDenied),
        (Does::IsCancelled, Status::KeepaliveCancel),
    ] {
        let mut world = world();
        Make::new("alice").send(&mut world).unwrap();
        world.user = Box::new(move |_| does);
        assert_eq!(Get::new().send(&mut world), status(expected));
    }
}

#[test]
fn section_6_2_2_step_9_without_up_nobody_is_asked_and_the_bit_is_clear() {
    let mut world = world();
    let made = Make::new("alice").send(&mut world).unwrap();
    world.asked.clear();
    let got = Get::allowing([made.id()]).option("up", false).send(&mut world).unwrap();
    assert!(world.asked.is_empty());
    assert!(!got.data.up && got.verifies(&made));
}

#[test]
fn section_6_2_2_step_4_options_mean_what_they_say() {
    let mut world = world();
    Make::new("alice").send(&mut world).unwrap();
    assert_eq!(Get::new().option("rk", true).send(&mut world), status(Status::UnsupportedOption));
    assert_eq!(Get::new().option("uv", true).send(&mut world), status(Status::InvalidOption));
    assert!(Get::new().option("uv", false).option("up", true).send(&mut world).is_ok());
    assert_eq!(
        Get::new().with(5, named([("up", 1.into())])).send(&mut world),
        status(Status::CborUnexpectedType)
    );
}

#[test]
fn section_6_2_1_parameters_are_required_and_have_their_types() {
    for key in 1..=2 {
        let mut request = Get::new();
        request.0.remove(&key);
        assert_eq!(request.send(&mut world()), status(Status::MissingParameter), "{key}");
    }
    for key in 1..=7 {
        let request = Get::new().with(key, Value::Null);
        assert_eq!(request.send(&mut world()), status(Status::CborUnexpectedType), "{key}");
    }
}

#[test]
fn section_6_2_1_a_malformed_entry_of_the_allow_list_is_an_error_wherever_it_stands() {
    let good = named([("id", bytes([1; 16])), ("type", "public-key".into())]);
    for (bad, expected) in [
        (Value::from(1), Status::CborUnexpectedType),
        (named([("id", bytes([1; 16]))]), Status::MissingParameter),
        (named([("id", bytes([1; 16])), ("type", 1.into())]), Status::CborUnexpectedType),
        (named([("type", "public-key".into())]), Status::MissingParameter),
        (named([("id", "text".into()), ("type", "public-key".into())]), Status::CborUnexpectedType),
    ] {
        let request = Get::new().with(3, Value::Array(vec![good.clone(), bad]));
        assert_eq!(request.send(&mut world()), status(expected));
    }
}

#[test]
fn section_6_2_2_step_7_an_entry_of_another_type_does_not_hide_the_next() {
    let mut world = world();
    let made = Make::new("alice").send(&mut world).unwrap();
    let entry = |kind: &str| named([("id", bytes(made.id())), ("type", kind.into())]);
    let list = Value::Array(vec![entry("private-key"), entry("public-key")]);
    assert!(Get::new().with(3, list).send(&mut world).unwrap().verifies(&made));
}

#[test]
fn section_6_2_3_the_response_has_what_it_must_and_nothing_else() {
    let mut world = world();
    let made = Make::not_discoverable("alice").send(&mut world).unwrap();
    let got = Get::allowing([made.id()]).option("future", true).send(&mut world).unwrap();
    let keys: Vec<i128> =
        got.response.as_map().unwrap().iter().map(|(key, _)| key.as_integer().unwrap().into()).collect();
    assert_eq!(keys, [1, 2, 3], "no user, no number, no unsigned extension outputs");
    let credential = get(&got.response, 1).unwrap();
    assert_eq!(get_named(credential, "type"), Some(&Value::from("public-key")));
    assert_eq!(got.id(), made.id());
    assert_eq!(got.data.raw.len(), 37);
    assert_eq!(got.data.raw[32], 0x01, "the user was present, and no more is said");
    assert!(got.verifies(&made));
}

#[test]
fn section_6_2_2_step_1_an_empty_pin_uv_auth_param_asks_for_a_touch_only() {
    let mut world = world();
    assert_eq!(Get::new().with(6, bytes([])).send(&mut world), status(Status::PinNotSet));
    assert_eq!(world.asked[0].action, Action::Select);
}

#[test]
fn section_6_3_gives_the_accounts_newest_first() {
    let mut world = world();
    let made: Vec<_> = ["alice", "bob", "carol"].map(|user| Make::new(user).send(&mut world).unwrap()).into();
    let first = Get::new().send(&mut world).unwrap();
    assert_eq!(get(&first.response, 5), Some(&Value::from(3)));
    assert!(first.verifies(&made[2]));
    assert_eq!(world.asked.last().unwrap().accounts, 3);
    let second = next(&mut world).unwrap();
    assert!(second.verifies(&made[1]) && second.data.up);
    assert_eq!(get(&second.response, 5), None);
    assert!(next(&mut world).unwrap().verifies(&made[0]));
    assert_eq!(next(&mut world), status(Status::NotAllowed));
}

#[test]
fn section_6_2_2_step_11_with_a_display_the_choice_is_never_the_platform_s() {
    let mut world = World::new(Configuration { has_display: true, ..Configuration::default() });
    let made = ["alice", "bob"].map(|user| Make::new(user).send(&mut world).unwrap());
    let got = Get::new().send(&mut world).unwrap();
    assert!(got.verifies(&made[1]));
    assert_eq!((get(&got.response, 5), get(&got.response, 6)), (None, Some(&Value::Bool(true))));
    assert_eq!(next(&mut world), status(Status::NotAllowed));
}

#[test]
fn section_6_2_2_step_11_the_accounts_that_a_user_can_choose_from_have_names() {
    let mut world = world();
    for user in ["alice", "bob", "carol"] {
        Make::new(user).send(&mut world).unwrap();
    }
    let offered = |authenticator: &mut Authenticator<MemoryStore, SeededRng>| {
        let mut names = Vec::new();
        authenticator
            .offered_accounts(|user| names.push(user.name.as_deref().unwrap_or_default().to_owned()));
        names
    };
    let (now, mut response) = (world.now, Message::new());
    let request = wire::encode(0x02, &wire::map(Get::new().0));
    let authenticator = world.authenticator();
    assert!(offered(authenticator).is_empty(), "nobody is asked");
    assert!(matches!(
        authenticator.handle(now, Input::Cbor(&request), &mut response),
        Output::AskUser { .. }
    ));
    assert_eq!(offered(authenticator), ["carol", "bob", "alice"]);
    let answer = Input::Answer(Answer::Approve { verified: true, account: Some(2) });
    assert_eq!(authenticator.handle(now, answer, &mut response), Output::Respond);
    assert!(offered(authenticator).is_empty());
    assert_eq!(response[0], 0);
    let chosen: Value = ciborium::from_reader(&response[1..]).unwrap();
    assert_eq!(get_named(get(&chosen, 4).unwrap(), "id"), Some(&bytes("alice")));
}

#[test]
fn section_6_3_2_the_next_assertion_must_be_asked_for_in_time_and_at_once() {
    let mut world = world();
    for user in ["alice", "bob", "carol"] {
        Make::new(user).send(&mut world).unwrap();
    }
    assert_eq!(next(&mut world), status(Status::NotAllowed));
    Get::new().send(&mut world).unwrap();
    world.now += Duration::from_secs(30);
    assert!(next(&mut world).is_ok());
    world.now += Duration::from_secs(31);
    assert_eq!(next(&mut world), status(Status::NotAllowed));
    Get::new().send(&mut world).unwrap();
    raw(&mut world, &[0x04]).unwrap();
    assert_eq!(next(&mut world), status(Status::NotAllowed));
    Get::new().send(&mut world).unwrap();
    world.msg(&[0, 3, 0, 0, 0]);
    assert_eq!(next(&mut world), status(Status::NotAllowed));
    Get::new().send(&mut world).unwrap();
    world.authenticator().end_stateful_commands();
    assert_eq!(next(&mut world), status(Status::NotAllowed));
}

#[test]
fn section_6_2_2_step_11_an_account_that_the_user_chose_is_said_to_be() {
    let mut world = world();
    let made: Vec<_> = ["alice", "bob", "carol"].map(|user| Make::new(user).send(&mut world).unwrap()).into();
    world.user = Box::new(|_| Does::Says(Answer::Approve { verified: true, account: Some(2) }));
    let got = Get::new().send(&mut world).unwrap();
    assert!(got.verifies(&made[0]));
    assert_eq!(get(&got.response, 5), None);
    assert_eq!(get(&got.response, 6), Some(&Value::Bool(true)));
    assert_eq!(next(&mut world), status(Status::NotAllowed));
    // An account there is not is no choice.
    world.user = Box::new(|_| Does::Says(Answer::Approve { verified: true, account: Some(3) }));
    assert_eq!(get(&Get::new().send(&mut world).unwrap().response, 5), Some(&Value::from(3)));
}

#[test]
#[cfg_attr(not(feature = "built-in-verification"), ignore = "needs the feature built-in-verification")]
fn section_6_2_2_step_12_names_are_for_verified_users_who_named_no_credential() {
    let mut world = verifying();
    let made = Make::new("alice").option("uv", true).send(&mut world).unwrap();
    assert_eq!(Get::new().option("uv", true).send(&mut world).unwrap().user_name(), Some("alice"));
    Make::new("bob").option("uv", true).send(&mut world).unwrap();
    let without = Get::new().send(&mut world).unwrap();
    assert_eq!((without.user_id(), without.user_name()), (Some(&b"bob"[..]), None));
    assert_eq!(next(&mut world).unwrap().user_name(), None);
    let with = Get::new().option("uv", true).send(&mut world).unwrap();
    assert!(with.data.uv);
    assert_eq!(with.user_name(), Some("bob"));
    let user = get(&with.response, 4).unwrap();
    assert_eq!(get_named(user, "displayName"), Some(&Value::from("bob")));
    assert_eq!(next(&mut world).unwrap().user_name(), Some("alice"));
    let listed = Get::allowing([made.id()]).option("uv", true).send(&mut world).unwrap();
    assert_eq!((listed.user_id(), listed.user_name()), (Some(&b"alice"[..]), None));
}

#[test]
#[cfg_attr(not(feature = "built-in-verification"), ignore = "needs the feature built-in-verification")]
fn section_6_2_2_step_6_a_verification_that_does_not_come_is_a_time_out() {
    let mut world = verifying();
    Make::new("alice").option("uv", true).send(&mut world).unwrap();
    world.user = Box::new(|_| Does::Nothing);
    assert_eq!(Get::new().option("uv", true).send(&mut world), status(Status::UserActionTimeout));
}

#[test]
#[cfg_attr(not(feature = "built-in-verification"), ignore = "needs the feature built-in-verification")]
fn section_6_2_2_step_5_always_uv_verifies_unless_up_is_false() {
    let mut world = verifying();
    let made = Make::new("alice").option("uv", true).send(&mut world).unwrap();
    world.authenticator().configuration_mut().always_uv = true;
    assert!(Get::new().send(&mut world).unwrap().data.uv);
    let silent = Get::allowing([made.id()]).option("up", false).send(&mut world).unwrap();
    assert!(!silent.data.uv);
    world.authenticator().configuration_mut().set_option(OptionId::Uv, false);
    assert_eq!(Get::new().send(&mut world), status(Status::PuatRequired));
}

#[test]
#[cfg_attr(not(feature = "built-in-verification"), ignore = "needs the feature built-in-verification")]
fn section_6_2_2_step_6_a_failed_verification_signs_nothing() {
    let mut world = verifying();
    Make::new("alice").option("uv", true).send(&mut world).unwrap();
    world.user = Box::new(|_| Does::Says(Answer::NotVerified));
    assert_eq!(Get::new().option("uv", true).send(&mut world), status(Status::OperationDenied));
    world.user = Box::new(|_| APPROVES);
    assert!(Get::new().option("uv", true).send(&mut world).is_ok());
}

#[test]
fn section_6_1_3_counters_of_device_bound_credentials_rise() {
    let mut world = world();
    let discoverable = Make::new("alice").send(&mut world).unwrap();
    let wrapped = Make::not_discoverable("bob").send(&mut world).unwrap();
    for made in [discoverable, wrapped] {
        let mut last = made.data.sign_count;
        for _ in 0..3 {
            let got = Get::allowing([made.id()]).send(&mut world).unwrap();
            assert!(got.data.sign_count > last);
            last = got.data.sign_count;
        }
    }
}

#[test]
fn credentials_survive_a_replug_and_a_pending_request_does_not() {
    let mut world = world();
    let made = Make::new("alice").send(&mut world).unwrap();
    let wrapped = Make::not_discoverable("bob").send(&mut world).unwrap();
    world.replug();
    assert!(Get::new().send(&mut world).unwrap().verifies(&made));
    assert!(Get::allowing([wrapped.id()]).send(&mut world).unwrap().verifies(&wrapped));
    assert_eq!(next(&mut world), status(Status::NotAllowed));
    assert!(world.authenticator().prompt().is_none());
}

#[test]
fn a_hidden_credential_is_found_by_its_id_only() {
    let mut world = world();
    let made = Make::new("alice").send(&mut world).unwrap();
    let store = world.authenticator().store_mut();
    let mut credential = store.get(made.id()).unwrap().unwrap();
    credential.hidden = true;
    store.put(&credential, None).unwrap();
    assert_eq!(Get::new().send(&mut world), status(Status::NoCredentials));
    let got = Get::new().with(3, descriptors([made.id()])).send(&mut world).unwrap();
    assert!(got.verifies(&made));
}

#[test]
fn section_6_2_2_step_12_who_was_shown_is_who_signs_though_another_account_came_meanwhile() {
    let mut world = world();
    let alice = Make::new("alice").send(&mut world).unwrap();
    let kept = world.authenticator().store_mut().get(alice.id()).unwrap().unwrap();
    let (now, mut response) = (world.now, Message::new());
    let request = wire::encode(0x02, &wire::map(Get::new().0));
    let authenticator = world.authenticator();
    let accounts = |authenticator: &Authenticator<MemoryStore, SeededRng>| {
        authenticator.prompt().map(|prompt| prompt.accounts)
    };
    // From another device, or the control port: the newest of the list, each time before the answer.
    let arrives = |authenticator: &mut Authenticator<MemoryStore, SeededRng>, id: u8| {
        let mut other = kept.clone();
        other.id = [id; 16].into_iter().collect();
        other.user.id = [id].into_iter().collect();
        authenticator.store_mut().put(&other, None).unwrap();
    };
    authenticator.handle(now, Input::Cbor(&request), &mut response);
    assert_eq!(accounts(authenticator), Some(1));
    arrives(authenticator, 1);
    let approve = |account| Input::Answer(Answer::Approve { verified: true, account });
    let asked_again = authenticator.handle(now, approve(None), &mut response);
    assert!(matches!(asked_again, Output::AskUser { .. }));
    assert_eq!(accounts(authenticator), Some(2));
    // Alice was the second of two, and is the third of three.
    arrives(authenticator, 2);
    authenticator.handle(now, approve(Some(1)), &mut response);
    assert_eq!(accounts(authenticator), Some(3));
    // Of three, the first goes: who is the third now is not who was.
    authenticator.store_mut().remove(&[2; 16]).unwrap();
    authenticator.handle(now, approve(Some(1)), &mut response);
    assert_eq!(accounts(authenticator), Some(2));
    assert_eq!(authenticator.handle(now, approve(Some(1)), &mut response), Output::Respond);
    let got: Value = ciborium::from_reader(&response[1..]).unwrap();
    assert_eq!(get_named(get(&got, 1).unwrap(), "id"), Some(&bytes(alice.id())));
    // If all of them go, there is nobody to sign in.
    authenticator.handle(now, Input::Cbor(&request), &mut response);
    for id in [alice.id(), &[1; 16]] {
        authenticator.store_mut().remove(id).unwrap();
    }
    authenticator.handle(now, approve(None), &mut response);
    assert_eq!(response[0], Status::NoCredentials as u8);
}

#[test]
fn section_6_2_2_step_12_with_a_display_a_silent_request_is_not_the_user_s_choice() {
    let mut world = World::new(Configuration { has_display: true, ..Configuration::default() });
    for user in ["alice", "bob"] {
        Make::new(user).send(&mut world).unwrap();
    }
    world.asked.clear();
    let got = Get::new().option("up", false).send(&mut world).unwrap();
    assert!(world.asked.is_empty());
    assert_eq!((get(&got.response, 5), get(&got.response, 6)), (Some(&Value::from(2)), None));
}
