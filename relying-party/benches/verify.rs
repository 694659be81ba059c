//! How long a sign-in's verification takes, beside its floor: the one signature verification in it.
//!
//! `cargo bench -p doppelkey-relying-party --bench verify`, with `--features aws-lc-rs` for the faster arithmetic.

use std::hint::black_box;
use std::time::{Duration, Instant};

use doppelkey_relying_party::verify::cases;
use p256::ecdsa::signature::Verifier as _;

const CASES: &str = include_str!("../../tests/vectors/webauthn-cases.jsonl");

fn main() {
    println!("floor: p256 in Rust        {:>9}", told(floor()));
    for id in [
        "authentication/w3c/none.ES256",
        "authentication/w3c/packed.EdDSA",
        "authentication/w3c/packed.RS256",
        "authentication/w3c/packed.ES384",
        "registration/w3c/none.ES256",
        "registration/w3c/packed.ES256",
    ] {
        let line =
            CASES.lines().find(|line| line.contains(&format!("\"{id}\""))).expect("a case of this name");
        let time = time(|| assert!(black_box(cases::verdict(line)).is_accepted()));
        println!("{id:<36} {:>9}", told(time));
    }
}

/// One ECDSA verification, of the vector none.ES256.
fn floor() -> Duration {
    let key = p256::ecdsa::SigningKey::from_slice(&[7; 32]).expect("a scalar");
    let signature: p256::ecdsa::Signature = p256::ecdsa::signature::Signer::sign(&key, b"message");
    let key = *key.verifying_key();
    time(|| assert!(black_box(&key).verify(b"message", &signature).is_ok()))
}

/// The median of batches of half a second in all.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn time(mut work: impl FnMut()) -> Duration {
    let mut times = Vec::new();
    let end = Instant::now() + Duration::from_millis(500);
    while Instant::now() < end {
        let start = Instant::now();
        for _ in 0..20 {
            work();
        }
        times.push(start.elapsed() / 20);
    }
    times.sort();
    times[times.len() / 2]
}

fn told(time: Duration) -> String {
    format!("{:.1} µs", time.as_secs_f64() * 1e6)
}
