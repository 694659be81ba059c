//! The same CTAP2 requests, byte for byte, to every authenticator that can be called in process; what it took, and
//! what came back. One program a peer (`src/bin`): memory and start-up are its own.

mod cbor;
mod measure;
mod probe;

pub use cbor::{Options, get_assertion, make_credential};
pub use measure::{Times, times};
use serde_json::json;

/// An authenticator that takes a CTAP2 request as its bytes (command, CBOR) and answers in bytes (status, CBOR).
pub trait Peer {
    /// The answer to a CTAP2 request.
    fn ctap2(&mut self, request: &[u8]) -> Vec<u8>;

    /// The answer to a U2F raw message, where that can be asked.
    fn u2f(&mut self, _apdu: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

/// A peer's whole program, which says in JSON what it finds. `ready` answers one getInfo and ends; `probe` asks what it
/// supports, of a fresh one; without an argument it is measured, so many `ROUNDS`.
pub fn run(mut peer: impl Peer) {
    let info = peer.ctap2(&[0x04]);
    println!("ready");
    let options = Options::of(&info);
    let found = match std::env::args().nth(1).as_deref() {
        Some("ready") => return,
        Some("probe") => json!({"info": cbor::info(&info), "supports": probe::probe(&mut peer, &options)}),
        _ => {
            let rounds = std::env::var("ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1000);
            let at_rest_kib = measure::memory_kib();
            let (make, get) = measure::ceremonies(&mut peer, &options, rounds);
            let memory_kib = measure::memory_kib();
            json!({
                "make": make, "get": get, "memory_at_rest_kib": at_rest_kib, "memory_kib": memory_kib,
            })
        }
    };
    println!("{found}");
}
