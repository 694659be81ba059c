//! A store that fails: whatever call it is, the command says so, and nothing is half done.

mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use ciborium::Value;
use doppelkey_core::testing::World;
use doppelkey_core::testing::platform::{CM, GA, MC, Platform};
use doppelkey_core::{Configuration, Credential, CredentialStore, MemoryStore, Slot, Status, StoreError};
use sha2::{Digest as _, Sha256};
use wire::ceremony::{CLIENT_DATA_HASH, Get, Make};
use wire::{map, raw, send};

/// A memory store whose n-th call from now on fails.
struct Failing {
    store: MemoryStore,
    /// 0: none fails.
    countdown: Arc<AtomicU32>,
    error: StoreError,
}

impl Failing {
    fn step(&self) -> Result<(), StoreError> {
        let left = self.countdown.load(Relaxed);
        self.countdown.store(left.saturating_sub(1), Relaxed);
        if left == 1 { Err(self.error) } else { Ok(()) }
    }
}

impl CredentialStore for Failing {
    fn get(&mut self, id: &[u8]) -> Result<Option<Credential>, StoreError> {
        self.step()?;
        self.store.get(id)
    }

    fn newest_before(
        &mut self,
        rp_id_hash: &[u8; 32],
        before: u64,
    ) -> Result<Option<Credential>, StoreError> {
        self.step()?;
        self.store.newest_before(rp_id_hash, before)
    }

    fn next_rp(&mut self, after: Option<&[u8; 32]>) -> Result<Option<Credential>, StoreError> {
        self.step()?;
        self.store.next_rp(after)
    }

    fn put(&mut self, credential: &Credential, replaces: Option<&[u8]>) -> Result<(), StoreError> {
        self.step()?;
        self.store.put(credential, replaces)
    }

    fn remove(&mut self, id: &[u8]) -> Result<bool, StoreError> {
        self.step()?;
        self.store.remove(id)
    }

    fn next_sign_count(&mut self, id: Option<&[u8]>) -> Result<u32, StoreError> {
        self.step()?;
        self.store.next_sign_count(id)
    }

    fn len(&mut self) -> Result<u32, StoreError> {
        self.step()?;
        self.store.len()
    }

    fn remaining(&mut self) -> Result<u32, StoreError> {
        self.step()?;
        self.store.remaining()
    }

    fn revision(&mut self) -> Result<u64, StoreError> {
        self.step()?;
        self.store.revision()
    }

    fn read(&mut self, slot: Slot, buffer: &mut [u8]) -> Result<Option<usize>, StoreError> {
        self.step()?;
        self.store.read(slot, buffer)
    }

    fn write(&mut self, slot: Slot, bytes: &[u8]) -> Result<(), StoreError> {
        self.step()?;
        self.store.write(slot, bytes)
    }

    fn reset(&mut self) -> Result<(), StoreError> {
        self.step()?;
        self.store.reset()
    }
}

const PIN: &str = "123456";

/// A device with a PIN and two accounts.
fn device(error: StoreError) -> (World<Failing>, Arc<AtomicU32>) {
    let countdown = Arc::new(AtomicU32::new(0));
    let store = Failing { store: MemoryStore::new(), countdown: countdown.clone(), error };
    let mut world = World::with_store(Configuration::default(), store);
    Platform(2).set_pin(&mut world, PIN).unwrap();
    for user in ["alice", "bob"] {
        registers(&mut world, user).unwrap();
    }
    (world, countdown)
}

fn registers(world: &mut World<Failing>, user: &str) -> Result<(), u8> {
    let token = Platform(2).token(world, PIN, MC, Some("example.com"))?;
    let make = Make::new(user).with(8, token.authenticate(&CLIENT_DATA_HASH)).with(9, token.protocol());
    make.send(world).map(|made| assert!(made.is_self_attested()))
}

fn signs_in(world: &mut World<Failing>) -> Result<(), u8> {
    let token = Platform(2).token(world, PIN, GA, Some("example.com"))?;
    let get = Get::new().with(6, token.authenticate(&CLIENT_DATA_HASH)).with(7, token.protocol());
    get.send(world)?;
    wire::ceremony::next(world).map(|_| ())
}

fn enumerates(world: &mut World<Failing>) -> Result<(), u8> {
    let token = Platform(2).token(world, PIN, CM, None)?;
    let request = [(1, Value::from(2)), (3, token.protocol()), (4, token.authenticate(&[2]))];
    send(world, 0x0A, &map(request)).map(|_| ())
}

/// What a platform may want; each works on a healthy device, again and again.
type Wish = (&'static str, fn(&mut World<Failing>) -> Result<(), u8>);
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
                countdown.store(calls, Relaxed);
                let outcome = wish(&mut world);
                if countdown.swap(0, Relaxed) > 0 {
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
    let before = world.authenticator().store_mut().store.clone();
    for calls in 1.. {
        countdown.store(calls, Relaxed);
        let outcome = registers(&mut world, "alice");
        if countdown.swap(0, Relaxed) > 0 {
            break;
        }
        assert!(outcome.is_err());
        let now = &mut world.authenticator().store_mut().store;
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
        let countdown = Arc::new(AtomicU32::new(0));
        let store = Failing { store: MemoryStore::new(), countdown: countdown.clone(), error };
        let mut world = World::with_store(Configuration::default(), store);
        for calls in 1..20 {
            countdown.store(calls, Relaxed);
            let _ = Make::not_discoverable("alice").send(&mut world);
            countdown.store(0, Relaxed);
        }
        let made = Make::not_discoverable("alice").send(&mut world).unwrap();
        assert!(Get::allowing([made.id()]).send(&mut world).unwrap().verifies(&made));
    }
}
