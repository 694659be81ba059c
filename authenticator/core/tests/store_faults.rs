//! A store that fails: what cannot be written buys nothing, and what cannot be read is not "nothing" (CTAP §6.5.2).

mod wire;

use std::cell::Cell;
use std::rc::Rc;

use ciborium::Value;
use doppelkey_core::testing::platform::{ACFG, BOTH, CM, GA, MC, Platform};
use doppelkey_core::testing::wire::{map, raw, send, status};
use doppelkey_core::testing::{Does, World};
use doppelkey_core::{
    Answer, Configuration, Credential, CredentialStore, MemoryStore, OptionId, Slot, Status, StoreError,
};
use sha2::{Digest as _, Sha256};
use wire::ceremony::{CLIENT_DATA_HASH, Get, Make};

const PIN: &str = "a1b2c3d4";

/// A store in memory, one of whose slots cannot be written while `refuses` says so, or whose n-th call fails.
struct Stubborn {
    inner: MemoryStore,
    refuses: Rc<Cell<Option<Slot>>>,
    /// How many more calls until one fails; 0 for none.
    countdown: Rc<Cell<u32>>,
    error: StoreError,
}

impl Stubborn {
    fn step(&self) -> Result<(), StoreError> {
        let left = self.countdown.get();
        self.countdown.set(left.saturating_sub(1));
        if left == 1 { Err(self.error) } else { Ok(()) }
    }
}

impl CredentialStore for Stubborn {
    fn get(&mut self, id: &[u8]) -> Result<Option<Credential>, StoreError> {
        self.step()?;
        self.inner.get(id)
    }

    fn newest_before(&mut self, rp: &[u8; 32], before: u64) -> Result<Option<Credential>, StoreError> {
        self.step()?;
        self.inner.newest_before(rp, before)
    }

    fn next_rp(&mut self, after: Option<&[u8; 32]>) -> Result<Option<Credential>, StoreError> {
        self.step()?;
        self.inner.next_rp(after)
    }

    fn put(&mut self, credential: &Credential, replaces: Option<&[u8]>) -> Result<(), StoreError> {
        self.step()?;
        self.inner.put(credential, replaces)
    }

    fn remove(&mut self, id: &[u8]) -> Result<bool, StoreError> {
        self.step()?;
        self.inner.remove(id)
    }

    fn next_sign_count(&mut self, id: Option<&[u8]>) -> Result<u32, StoreError> {
        self.step()?;
        self.inner.next_sign_count(id)
    }

    fn len(&mut self) -> Result<u32, StoreError> {
        self.step()?;
        self.inner.len()
    }

    fn remaining(&mut self) -> Result<u32, StoreError> {
        self.step()?;
        self.inner.remaining()
    }

    fn revision(&mut self) -> Result<u64, StoreError> {
        self.step()?;
        self.inner.revision()
    }

    fn read(&mut self, slot: Slot, buffer: &mut [u8]) -> Result<Option<usize>, StoreError> {
        self.step()?;
        self.inner.read(slot, buffer)
    }

    fn write(&mut self, slot: Slot, bytes: &[u8]) -> Result<(), StoreError> {
        self.step()?;
        if self.refuses.get() == Some(slot) {
            return Err(StoreError::Fault);
        }
        self.inner.write(slot, bytes)
    }

    fn reset(&mut self) -> Result<(), StoreError> {
        self.step()?;
        self.inner.reset()
    }
}

fn world(configuration: Configuration) -> (World<Stubborn>, Rc<Cell<Option<Slot>>>) {
    let refuses = Rc::new(Cell::new(None));
    let store = Stubborn {
        inner: MemoryStore::new(),
        refuses: refuses.clone(),
        countdown: Rc::default(),
        error: StoreError::Fault,
    };
    (World::with_store(configuration, store), refuses)
}

#[test]
fn section_6_5_5_7_a_retry_that_cannot_be_spent_buys_no_guess() {
    for platform in BOTH {
        let (mut world, refuses) = world(Configuration::default());
        assert!(platform.set_pin(&mut world, PIN).is_ok());
        refuses.set(Some(Slot::Pin));
        for pin in [PIN, "wrong"] {
            assert_eq!(platform.pin_token(&mut world, pin), status(Status::Other), "right and wrong alike");
            assert_eq!(platform.change_pin(&mut world, pin, "12345"), status(Status::Other));
        }
        refuses.set(None);
        assert_eq!(platform.pin_retries(&mut world), Ok((8, false)));
        assert!(platform.pin_token(&mut world, PIN).is_ok());
    }
}

#[test]
fn section_6_5_3_1_a_retry_that_cannot_be_spent_or_given_back_buys_no_verification() {
    let mut configuration = Configuration::default();
    configuration.set_option(OptionId::BioEnroll, false);
    let (mut world, refuses) = world(configuration);
    refuses.set(Some(Slot::Pin));
    assert!(
        Platform(2).uv_token(&mut world, CM, None).is_ok(),
        "a success spends nothing, and writes nothing"
    );
    let recognised = core::mem::replace(&mut world.user, Box::new(|_| Does::Says(Answer::NotVerified)));
    assert_eq!(Platform(2).uv_token(&mut world, CM, None), status(Status::Other));
    refuses.set(None);
    assert_eq!(Platform(2).uv_token(&mut world, CM, None), status(Status::UvInvalid));
    refuses.set(Some(Slot::Pin));
    world.user = recognised;
    assert_eq!(
        Platform(2).uv_token(&mut world, CM, None),
        status(Status::Other),
        "a success gives retries back"
    );
}

#[test]
fn section_6_5_5_5_a_pin_that_cannot_be_kept_is_not_set() {
    let (mut world, refuses) = world(Configuration::default());
    refuses.set(Some(Slot::Pin));
    assert_eq!(Platform(2).set_pin(&mut world, PIN), status(Status::Other));
    refuses.set(None);
    assert_eq!(Platform(2).pin_retries(&mut world), status(Status::PinNotSet));
}

#[test]
fn section_6_11_settings_that_cannot_be_kept_are_not_in_force() {
    let (mut world, refuses) = world(Configuration::default());
    assert!(Platform(2).set_pin(&mut world, PIN).is_ok());
    let token = Platform(2).token(&mut world, PIN, ACFG, None).unwrap();
    let message = [&[0xFF; 32][..], &[0x0D, 0x02]].concat();
    let toggle = map([(1, 2.into()), (3, token.protocol()), (4, token.authenticate(&message))]);
    let before = raw(&mut world, &[0x04]).unwrap();
    refuses.set(Some(Slot::Configuration));
    assert_eq!(send(&mut world, 0x0D, &toggle), status(Status::Other));
    assert_eq!(raw(&mut world, &[0x04]).unwrap(), before);
    refuses.set(None);
    assert!(send(&mut world, 0x0D, &toggle).is_ok());
}

#[test]
fn section_6_7_4_a_fingerprint_that_cannot_be_kept_is_not_enrolled() {
    let (mut world, refuses) = world(Configuration { fingerprint_samples: 1, ..Configuration::default() });
    assert!(Platform(2).set_pin(&mut world, PIN).is_ok());
    let token = Platform(2).token(&mut world, PIN, doppelkey_core::testing::platform::BE, None).unwrap();
    let request = |subcommand: u8| {
        let parameter = token.authenticate(&[1, subcommand]);
        map([(1, 1.into()), (2, subcommand.into()), (4, token.protocol()), (5, parameter)])
    };
    refuses.set(Some(Slot::Fingerprints));
    assert_eq!(send(&mut world, 0x09, &request(1)), status(Status::Other));
    refuses.set(None);
    assert_eq!(send(&mut world, 0x09, &request(4)), status(Status::InvalidOption), "there is none");
}

#[test]
fn section_6_5_2_damaged_state_is_not_the_state_after_a_reset() {
    let damaged = [0xA1, 0x01];
    for slot in [Slot::Pin, Slot::Configuration, Slot::Fingerprints] {
        let (mut world, _) = world(Configuration::default());
        world.authenticator().store_mut().write(slot, &damaged).unwrap();
        assert_eq!(raw(&mut world, &[0x04]), status(Status::Other), "{slot:?}");
    }
    let (mut world, _) = world(Configuration::default());
    world.authenticator().store_mut().write(Slot::Pin, &damaged).unwrap();
    assert_eq!(Platform(2).set_pin(&mut world, PIN), status(Status::Other), "no new PIN over a damaged one");
    assert!(raw(&mut world, &[0x07]).is_ok(), "a reset is the way out");
    assert!(Platform(2).set_pin(&mut world, PIN).is_ok());
}

/// A device with a PIN and two accounts.
fn device(error: StoreError) -> (World<Stubborn>, Rc<Cell<u32>>) {
    let countdown = Rc::new(Cell::new(0));
    let store =
        Stubborn { inner: MemoryStore::new(), refuses: Rc::default(), countdown: countdown.clone(), error };
    let mut world = World::with_store(Configuration::default(), store);
    Platform(2).set_pin(&mut world, PIN).unwrap();
    for user in ["alice", "bob"] {
        registers(&mut world, user).unwrap();
    }
    (world, countdown)
}

fn registers(world: &mut World<Stubborn>, user: &str) -> Result<(), u8> {
    let token = Platform(2).token(world, PIN, MC, Some("example.com"))?;
    let make = Make::new(user).with(8, token.authenticate(&CLIENT_DATA_HASH)).with(9, token.protocol());
    make.send(world).map(|made| assert!(made.is_self_attested()))
}

fn signs_in(world: &mut World<Stubborn>) -> Result<(), u8> {
    let token = Platform(2).token(world, PIN, GA, Some("example.com"))?;
    let get = Get::new().with(6, token.authenticate(&CLIENT_DATA_HASH)).with(7, token.protocol());
    get.send(world)?;
    wire::ceremony::next(world).map(|_| ())
}

fn enumerates(world: &mut World<Stubborn>) -> Result<(), u8> {
    let token = Platform(2).token(world, PIN, CM, None)?;
    let request = [(1, Value::from(2)), (3, token.protocol()), (4, token.authenticate(&[2]))];
    send(world, 0x0A, &map(request)).map(|_| ())
}

/// What a platform may want; each works on a healthy device, again and again.
type Wish = (&'static str, fn(&mut World<Stubborn>) -> Result<(), u8>);
const WISHES: [Wish; 7] = [
    ("register", |world| registers(world, "carol")),
    ("replace", |world| registers(world, "alice")),
    ("register undiscoverably", |world| Make::not_discoverable("dave").send(world).map(|_| ())),
    ("sign in", signs_in),
    ("enumerate", enumerates),
    ("getInfo", |world| raw(world, &[0x04]).map(|_| ())),
    ("reset", |world| raw(world, &[0x07]).map(|_| ())),
];

#[test]
fn whatever_call_fails_the_command_fails_and_the_device_goes_on() {
    for error in [StoreError::Fault, StoreError::Full] {
        for (name, wish) in WISHES {
            let mut calls = 0;
            loop {
                calls += 1;
                let (mut world, countdown) = device(error);
                countdown.set(calls);
                let outcome = wish(&mut world);
                if countdown.replace(0) > 0 {
                    assert_eq!(outcome, Ok(()), "{name} on a healthy store");
                    break;
                }
                let status = outcome.expect_err(name);
                assert!(
                    status == Status::Other as u8 || status == Status::KeyStoreFull as u8,
                    "{name}: call {calls} failed, and the status is {status:#04x}"
                );
                assert_eq!(wish(&mut world), Ok(()), "{name} again, after call {calls} failed");
            }
            assert!(calls > 1, "{name} uses the store");
        }
    }
}

#[test]
fn a_credential_whose_put_failed_is_not_there_and_the_replaced_one_is() {
    let (mut world, countdown) = device(StoreError::Full);
    let before = world.authenticator().store_mut().inner.clone();
    for calls in 1.. {
        countdown.set(calls);
        let outcome = registers(&mut world, "alice");
        if countdown.replace(0) > 0 {
            break;
        }
        assert!(outcome.is_err());
        let now = &mut world.authenticator().store_mut().inner;
        let hash = Sha256::digest("example.com").into();
        let mut old = before.clone();
        let mut order = u64::MAX;
        while let Some(credential) = old.newest_before(&hash, order).unwrap() {
            order = credential.order;
            assert_eq!(now.get(&credential.id), Ok(Some(credential)));
        }
        assert_eq!(now.len(), old.len());
    }
}

#[test]
fn a_fresh_device_whose_first_write_fails_is_as_new() {
    for error in [StoreError::Fault, StoreError::Full] {
        let countdown = Rc::new(Cell::new(0));
        let store = Stubborn {
            inner: MemoryStore::new(),
            refuses: Rc::default(),
            countdown: countdown.clone(),
            error,
        };
        let mut world = World::with_store(Configuration::default(), store);
        for calls in 1..20 {
            countdown.set(calls);
            let _ = Make::not_discoverable("alice").send(&mut world);
            countdown.set(0);
        }
        let made = Make::not_discoverable("alice").send(&mut world).unwrap();
        assert!(Get::allowing([made.id()]).send(&mut world).unwrap().verifies(&made));
    }
}
