//! The memory store gives what every store gives.

mod kept;

use doppelkey_core::testing::{PowerCut, Subject, conformance};
use doppelkey_core::{Credential, CredentialStore as _, MemoryStore};

struct Memory;

impl Subject for Memory {
    type Store = MemoryStore;

    fn fresh(&mut self) -> MemoryStore {
        MemoryStore::new()
    }

    fn cut_power(&mut self, _: &mut MemoryStore, _: PowerCut) {}

    fn restart(&mut self, store: MemoryStore, _: Option<PowerCut>) -> MemoryStore {
        store
    }
}

#[test]
fn the_memory_store_passes_the_conformance_suite() {
    conformance(&mut Memory);
}

#[test]
fn a_credential_that_is_set_keeps_its_place_and_has_the_counter_it_says() {
    let credential =
        |number, sign_count| Credential { sign_count, ..kept::credential("a.test", b"mona", number) };
    let rp_id_hash = credential(1, None).rp_id_hash;
    let mut store = MemoryStore::new();
    assert!(!store.set(&credential(1, Some(5))));
    for id in [1, 2] {
        store.put(&credential(id, Some(5)), None).unwrap();
    }
    assert_eq!(store.next_sign_count(Some(&[1; 16])), Ok(6));
    let revision = store.revision().unwrap();
    assert!(store.set(&credential(1, Some(3))));
    assert_ne!(store.revision().unwrap(), revision);
    assert_eq!(store.last_sign_count(&[1; 16]), Ok(Some(3)));
    assert_eq!(store.next_sign_count(Some(&[1; 16])), Ok(4));
    assert_eq!(store.newest_before(&rp_id_hash, u64::MAX).unwrap().unwrap().id.as_slice(), [2; 16]);
    assert!(store.set(&credential(1, None)));
    assert_eq!((store.last_sign_count(&[1; 16]), store.len()), (Ok(None), Ok(2)));
}
