//! Time and memory.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::cbor::{self, Options};
use crate::{Peer, get_assertion, make_credential};

/// What many times of one thing were, in microseconds.
#[derive(Debug, Serialize)]
pub struct Times {
    median_us: f64,
    p99_us: f64,
}

/// Does it so many times, after a tenth of that to warm up.
pub fn times(rounds: usize, mut work: impl FnMut()) -> Times {
    (0..rounds / 10).for_each(|_| work());
    let mut times: Vec<Duration> = (0..rounds)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    let at = |part: usize| times[(rounds * part / 100).min(rounds - 1)].as_secs_f64() * 1e6;
    Times { median_us: at(50), p99_us: at(99) }
}

/// makeCredential of one account after the other (of twenty: a small key has no room for more), then getAssertion with
/// the last of them.
///
/// # Panics
/// If one is refused: a figure of failures would be none.
pub(crate) fn ceremonies(peer: &mut impl Peer, options: &Options, rounds: usize) -> (Times, Times) {
    let requests: Vec<_> = (0..ACCOUNTS).map(|user| make_credential(user, options)).collect();
    let mut number = 0;
    let mut last = Vec::new();
    let make = times(rounds, || {
        last = peer.ctap2(&requests[number % requests.len()]);
        assert_eq!(last[0], 0, "makeCredential {number} answers {:#04x}", last[0]);
        number += 1;
    });
    let request = get_assertion(Some(&cbor::credential_id(&last)), options);
    let get = times(rounds, || {
        let answer = peer.ctap2(&request);
        assert_eq!(answer[0], 0, "getAssertion answers {:#04x}", answer[0]);
    });
    (make, get)
}

const ACCOUNTS: u32 = 20;

/// This process's resident memory. Linux.
pub(crate) fn memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or_default()
}
