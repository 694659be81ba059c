//! The memory store gives what every store gives.

use doppelkey_core::MemoryStore;
use doppelkey_core::testing::{PowerCut, Subject, conformance};

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
