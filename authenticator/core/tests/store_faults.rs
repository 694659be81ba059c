//! A store that fails: what cannot be written buys nothing, and what cannot be read is not "nothing" (CTAP §6.5.2).

use std::cell::Cell;
use std::rc::Rc;

use doppelkey_core::testing::platform::{ACFG, BOTH, CM, Platform};
use doppelkey_core::testing::wire::{map, raw, send, status};
use doppelkey_core::testing::{Does, World};
use doppelkey_core::{
    Answer, Configuration, Credential, CredentialStore, MemoryStore, OptionId, Slot, Status, StoreError,
};

const PIN: &str = "a1b2c3d4";

/// A store in memory, one of whose slots cannot be written while `refuses` says so.
struct Stubborn {
    inner: MemoryStore,
    refuses: Rc<Cell<Option<Slot>>>,
}

impl CredentialStore for Stubborn {
    fn get(&mut self, id: &[u8]) -> Result<Option<Credential>, StoreError> {
        self.inner.get(id)
    }

    fn newest_before(&mut self, rp: &[u8; 32], before: u64) -> Result<Option<Credential>, StoreError> {
        self.inner.newest_before(rp, before)
    }

    fn next_rp(&mut self, after: Option<&[u8; 32]>) -> Result<Option<Credential>, StoreError> {
        self.inner.next_rp(after)
    }

    fn put(&mut self, credential: &Credential, replaces: Option<&[u8]>) -> Result<(), StoreError> {
        self.inner.put(credential, replaces)
    }

    fn remove(&mut self, id: &[u8]) -> Result<bool, StoreError> {
        self.inner.remove(id)
    }

    fn next_sign_count(&mut self, id: Option<&[u8]>) -> Result<u32, StoreError> {
        self.inner.next_sign_count(id)
    }

    fn len(&mut self) -> Result<u32, StoreError> {
        self.inner.len()
    }

    fn remaining(&mut self) -> Result<u32, StoreError> {
        self.inner.remaining()
    }

    fn revision(&mut self) -> Result<u64, StoreError> {
        self.inner.revision()
    }

    fn read(&mut self, slot: Slot, buffer: &mut [u8]) -> Result<Option<usize>, StoreError> {
        self.inner.read(slot, buffer)
    }

    fn write(&mut self, slot: Slot, bytes: &[u8]) -> Result<(), StoreError> {
        if self.refuses.get() == Some(slot) {
            return Err(StoreError::Fault);
        }
        self.inner.write(slot, bytes)
    }

    fn reset(&mut self) -> Result<(), StoreError> {
        self.inner.reset()
    }
}

fn world(configuration: Configuration) -> (World<Stubborn>, Rc<Cell<Option<Slot>>>) {
    let refuses = Rc::new(Cell::new(None));
    let store = Stubborn { inner: MemoryStore::new(), refuses: refuses.clone() };
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
fn section_6_5_3_1_a_verification_that_cannot_be_counted_is_none() {
    let mut configuration = Configuration::default();
    configuration.set_option(OptionId::BioEnroll, false);
    let (mut world, refuses) = world(configuration);
    refuses.set(Some(Slot::Pin));
    assert_eq!(Platform(2).uv_token(&mut world, CM, None), status(Status::Other));
    world.user = Box::new(|_| Does::Says(Answer::NotVerified));
    assert_eq!(Platform(2).uv_token(&mut world, CM, None), status(Status::Other));
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
    let mut configuration = Configuration::default();
    configuration.fingerprint_samples = 1;
    let (mut world, refuses) = world(configuration);
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
