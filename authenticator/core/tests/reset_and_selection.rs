//! authenticatorReset (CTAP §6.6) and authenticatorSelection (CTAP §6.9).

mod kept;
mod wire;

use core::time::Duration;

use ciborium::Value;
use doppelkey_core::testing::platform::{CM, Platform};
use doppelkey_core::testing::{Does, World};
use doppelkey_core::{
    Action, Answer, Configuration, CredentialStore as _, Input, Message, Output, Status, Transport, list,
};
use kept::credential;
use wire::ceremony::{Get, Make};
use wire::{map, raw, send, status};

const REFUSALS: [(Does, Status); 3] = [
    (Does::Says(Answer::Deny), Status::OperationDenied),
    (Does::Nothing, Status::UserActionTimeout),
    (Does::IsCancelled, Status::KeepaliveCancel),
];

fn world() -> World {
    let mut world = World::new(Configuration::default());
    assert!(Platform(2).set_pin(&mut world, "1234").is_ok());
    world.authenticator().store_mut().put(&credential("example.com", b"user", 1), None).unwrap();
    world
}

#[test]
#[cfg_attr(not(feature = "full"), ignore = "needs the feature full")]
fn section_6_6_a_reset_forgets_credentials_pin_and_tokens() {
    let mut world = world();
    let token = Platform(2).token(&mut world, "1234", CM, None).unwrap();
    assert_eq!(raw(&mut world, &[0x07]), Ok(Value::Null));
    assert_eq!(world.asked.last().unwrap().action, Action::Reset { long: false });
    assert_eq!(world.authenticator().store_mut().len(), Ok(0));
    assert_eq!(Platform(2).pin_retries(&mut world), status(Status::PinNotSet));
    let metadata = map([(1, 1.into()), (3, token.protocol()), (4, token.authenticate(&[1]))]);
    assert_eq!(send(&mut world, 0x0A, &metadata), status(Status::PinAuthInvalid));
}

#[test]
fn section_6_6_what_signed_in_before_a_reset_does_not_afterwards() {
    for make in [Make::new("alice"), Make::not_discoverable("alice")] {
        let mut world = World::new(Configuration::default());
        let made = make.send(&mut world).unwrap();
        let get = Get::allowing([made.id()]);
        assert!(get.send(&mut world).unwrap().verifies(&made));
        assert!(raw(&mut world, &[0x07]).is_ok());
        assert_eq!(get.send(&mut world), status(Status::NoCredentials));
    }
}

#[test]
fn section_6_6_a_reset_comes_within_ten_seconds_of_power_up() {
    let mut world = world();
    world.now = Duration::from_millis(10_001);
    assert_eq!(raw(&mut world, &[0x07]), status(Status::NotAllowed));
    assert!(world.asked.is_empty(), "nobody is asked in vain");
    world.replug();
    world.now = Duration::from_secs(10);
    assert!(raw(&mut world, &[0x07]).is_ok());
}

#[test]
fn section_6_6_without_consent_nothing_is_forgotten() {
    let mut world = world();
    for (does, expected) in REFUSALS {
        world.replug();
        world.user = Box::new(move |_| does);
        assert_eq!(raw(&mut world, &[0x07]), status(expected));
        assert_eq!(world.authenticator().store_mut().len(), Ok(1));
        assert_eq!(Platform(2).pin_retries(&mut world), Ok((8, false)));
    }
}

#[test]
fn section_6_6_a_transport_may_be_none_for_resets() {
    let mut world = world();
    world.authenticator().configuration_mut().transports_for_reset = list(&[Transport::Nfc]);
    assert_eq!(raw(&mut world, &[0x07]), status(Status::OperationDenied));
    world.authenticator().configuration_mut().transports_for_reset.clear();
    assert!(raw(&mut world, &[0x07]).is_ok(), "without a list every transport is one");
}

#[test]
fn section_6_9_a_touch_selects_and_nothing_else_does() {
    let mut world = world();
    assert_eq!(raw(&mut world, &[0x0B]), Ok(Value::Null));
    assert_eq!(world.asked.last().unwrap().action, Action::Select);
    for (does, expected) in REFUSALS {
        world.user = Box::new(move |_| does);
        assert_eq!(raw(&mut world, &[0x0B]), status(expected));
    }
}

#[test]
fn nothing_is_answered_that_was_not_asked() {
    let mut world = world();
    let now = world.now;
    let mut response = Message::new();
    for input in [Input::Tick, Input::Cancel, Input::Answer(Answer::Deny)] {
        assert_eq!(world.authenticator().handle(now, input, &mut response), Output::Idle);
        assert!(response.is_empty());
    }
}

#[test]
fn a_request_waits_until_its_time_is_over_and_not_longer() {
    let mut world = world();
    let (now, authenticator) = (world.now, world.authenticator());
    let mut response = Message::new();
    let asking = authenticator.handle(now, Input::Cbor(&[0x0B]), &mut response);
    let Output::AskUser { until } = asking else { panic!("{asking:?}") };
    assert_eq!(until, now + Duration::from_secs(30));
    let early = until - Duration::from_millis(1);
    assert_eq!(authenticator.handle(early, Input::Tick, &mut response), asking);
    assert!(authenticator.prompt().is_some());
    assert_eq!(authenticator.handle(until, Input::Tick, &mut response), Output::Respond);
    assert_eq!(response[..], [Status::UserActionTimeout as u8]);
    assert!(authenticator.prompt().is_none());
}

#[test]
fn another_request_takes_the_place_of_one_that_waits() {
    let mut world = world();
    let (now, authenticator) = (world.now, world.authenticator());
    let mut response = Message::new();
    assert!(matches!(authenticator.handle(now, Input::Cbor(&[0x07]), &mut response), Output::AskUser { .. }));
    assert_eq!(authenticator.handle(now, Input::Cbor(&[0x04]), &mut response), Output::Respond);
    let late = Input::Answer(Answer::Approve { verified: true, account: None });
    assert_eq!(authenticator.handle(now, late, &mut response), Output::Idle);
    assert_eq!(authenticator.store_mut().len(), Ok(1), "nothing was reset");
}
