//! authenticatorReset (CTAP §6.6) and authenticatorSelection (CTAP §6.9).

mod kept;
mod wire;

use core::time::Duration;

use ciborium::Value;
use doppelkey_core::testing::platform::{CM, Platform};
use doppelkey_core::testing::{Does, World};
use doppelkey_core::{Action, Answer, Configuration, CredentialStore as _, Status, Transport, list};
use kept::credential;
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
