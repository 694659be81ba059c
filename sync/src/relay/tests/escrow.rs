//! Guesses at a PIN, counted by real relays.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Barrier};

use super::*;
use crate::RecoveryKey;
use crate::escrow::{Answer, Deposit, EscrowPin, Guess};

/// A clock that goes when told to.
type Clock = Arc<AtomicU64>;

fn keeper(key: u8, first_wait: Duration, clock: &Clock) -> Option<Keeper> {
    let clock = clock.clone();
    Some(Keeper::new([key; 32], first_wait, Arc::new(move || clock.load(Ordering::Relaxed))))
}

/// Stretched so little that a test can guess often.
fn pin(text: &str) -> EscrowPin {
    EscrowPin::stretched(CIRCLE, text.as_bytes(), (64, 1, 1))
}

fn lock(guesses: u8, seed: u64) -> (RecoveryKey, Deposit) {
    let mut rng = Seeded::new(seed);
    let key = RecoveryKey::generate(&mut rng);
    let mut deposits = Deposit::lock(&key, CIRCLE, &pin("314159"), (1, 1), guesses, &mut rng).unwrap();
    (key, deposits.remove(0))
}

/// Without a token: whoever guesses has lost every device.
fn stranger(base: &str) -> RelayClient {
    RelayClient::new(RelayUrl::new(base, ""), CIRCLE)
}

/// Guesses; the key if the PIN was right, and how many are left.
fn guess(base: &str, text: &str, seed: u64) -> Result<(Option<RecoveryKey>, u8), EscrowError> {
    let guess = Guess::new(CIRCLE, pin(text), &mut Seeded::new(seed));
    let answer: Answer = stranger(base).guess(&guess.question())?;
    let opened = guess.open(core::slice::from_ref(&answer));
    if let Some(opened) = &opened {
        match stranger(base).prove(&opened.proofs[0]) {
            Ok(()) => {}
            Err(error) => assert_eq!(answer.left, 0, "{error}"),
        }
    }
    Ok((opened.map(|opened| opened.key), answer.left))
}

#[test]
fn wrong_pins_are_counted_across_restarts_the_right_one_begins_anew_and_the_last_wrong_one_destroys() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("relay.db");
    let url = format!("sqlite:{}", path.display());
    let clock = Clock::default();
    let again = || serve_keeping(&url, Quota::default(), keeper(1, Duration::ZERO, &clock));
    let base = again();
    let member = client(&base);
    assert!(matches!(member.escrow(), Err(EscrowError::Nothing)));
    assert!(matches!(guess(&base, "314159", 1), Err(EscrowError::Nothing)));
    let (key, deposit) = lock(3, 1);
    member.deposit(&deposit).unwrap();
    assert_eq!(guess(&base, "000000", 2).unwrap(), (None, 2));
    let base = again();
    assert_eq!(guess(&base, "111111", 3).unwrap(), (None, 1), "another process goes on counting");
    assert_eq!(guess(&base, "314159", 4).unwrap(), (Some(key.clone()), 0), "the last guess may be right");
    assert!(matches!(guess(&base, "314159", 5), Err(EscrowError::Destroyed)), "and was the last");
    client(&base).deposit(&deposit).unwrap();
    assert_eq!(guess(&base, "000000", 6).unwrap(), (None, 2));
    assert_eq!(guess(&base, "314159", 7).unwrap(), (Some(key), 1));
    assert_eq!(client(&base).escrow().unwrap().left, 3, "the right one began the count anew");
    for (number, left) in [2, 1, 0].into_iter().enumerate() {
        assert_eq!(guess(&base, "999999", 8 + number as u64).unwrap(), (None, left));
    }
    let base = again();
    assert!(matches!(guess(&base, "314159", 11), Err(EscrowError::Destroyed)));
    assert_eq!(client(&base).escrow().unwrap().left, 0);
    client(&base).end_escrow().unwrap();
    assert!(matches!(client(&base).escrow(), Err(EscrowError::Nothing)));
    let text = ureq::get(&format!("{base}/metrics")).call().unwrap().into_body().read_to_string().unwrap();
    assert!(text.contains("doppelkey_relay_refused_total 1\n"), "{text}");
}

#[test]
fn each_guess_makes_the_next_one_wait_twice_as_long_and_one_that_comes_too_soon_is_not_counted() {
    let clock = Clock::default();
    clock.store(1_000_000, Ordering::Relaxed);
    let base = serve_keeping("memory", Quota::default(), keeper(1, Duration::from_secs(30), &clock));
    let (key, deposit) = lock(5, 2);
    client(&base).deposit(&deposit).unwrap();
    for (left, wait_s) in [(4, 30), (3, 60), (2, 120)] {
        assert_eq!(guess(&base, "000000", 1).unwrap(), (None, left));
        let refused = guess(&base, "314159", 2).unwrap_err();
        assert!(
            matches!(refused, EscrowError::TooSoon(wait) if wait == Duration::from_secs(wait_s)),
            "{refused}"
        );
        let status = client(&base).escrow().unwrap();
        let expected = EscrowStatus { allowed: 5, left, wait: Duration::from_secs(wait_s) };
        assert_eq!(status, expected);
        clock.fetch_add(wait_s * 1000, Ordering::Relaxed);
    }
    assert_eq!(guess(&base, "314159", 3).unwrap(), (Some(key), 1));
    let anew = EscrowStatus { allowed: 5, left: 5, wait: Duration::ZERO };
    assert_eq!(client(&base).escrow().unwrap(), anew);
}

#[test]
fn racing_guesses_through_two_relays_on_one_postgresql_get_none_for_free() {
    let Some(postgres) = Postgres::start(false) else { return };
    let clock = Clock::default();
    let relay = || serve_keeping(&postgres.url, Quota::default(), keeper(1, Duration::ZERO, &clock));
    let bases = [relay(), relay()];
    client(&bases[0]).deposit(&lock(10, 3).1).unwrap();
    let barrier = Arc::new(Barrier::new(24));
    let racers: Vec<_> = (0..24_usize)
        .map(|number| {
            let (base, barrier) = (bases[number % 2].clone(), barrier.clone());
            thread::spawn(move || {
                barrier.wait();
                guess(&base, &format!("{number:06}"), number as u64)
            })
        })
        .collect();
    let mut lefts = Vec::new();
    for racer in racers {
        match racer.join().unwrap() {
            Ok((key, left)) => {
                assert_eq!(key, None);
                lefts.push(left);
            }
            Err(error) => assert!(matches!(error, EscrowError::Destroyed), "{error}"),
        }
    }
    lefts.sort_unstable();
    assert_eq!(lefts, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], "ten were answered, each with a count of its own");
    for base in &bases {
        assert_eq!(client(base).escrow().unwrap().left, 0, "both relays see one count");
        assert!(matches!(guess(base, "314159", 99), Err(EscrowError::Destroyed)));
    }
}

#[test]
fn the_database_alone_gives_no_pin_away_and_another_relays_key_opens_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("relay.db");
    let url = format!("sqlite:{}", path.display());
    let clock = Clock::default();
    let base = serve_keeping(&url, Quota::default(), keeper(1, Duration::ZERO, &clock));
    let (_, deposit) = lock(10, 4);
    client(&base).deposit(&deposit).unwrap();
    let mut stolen = std::fs::read(&path).unwrap();
    stolen.extend(std::fs::read(path.with_extension("db-wal")).unwrap_or_default());
    let encoded = deposit.encode();
    let (share, sealed) = (&encoded[8..40], &encoded[72..]);
    let holds = |needle: &[u8]| stolen.windows(needle.len()).any(|window| window == needle);
    assert!(holds(CIRCLE.to_string().as_bytes()), "this is where it is");
    assert!(!holds(share) && !holds(sealed), "neither the share nor the box is there as it is");
    let thief = serve_keeping(&url, Quota::default(), keeper(2, Duration::ZERO, &clock));
    assert!(matches!(guess(&thief, "314159", 1), Err(EscrowError::NotOffered)));
}

#[test]
fn strangers_deposit_nothing_and_garbage_is_neither_kept_nor_counted() {
    let clock = Clock::default();
    let base = serve_keeping("memory", Quota::default(), keeper(1, Duration::ZERO, &clock));
    let (key, deposit) = lock(2, 5);
    client(&base).deposit(&deposit).unwrap();
    assert!(matches!(stranger(&base).deposit(&deposit), Err(EscrowError::Relay(_))));
    assert!(matches!(stranger(&base).escrow(), Err(EscrowError::Relay(_))));
    assert!(matches!(stranger(&base).end_escrow(), Err(EscrowError::Relay(_))));
    for garbage in [&[][..], &[0; 33], &[2; 32], &[4; 65], &[9; 4000]] {
        assert!(matches!(stranger(&base).guess(garbage), Err(EscrowError::Relay(_))));
    }
    for proof in [[0; 32], [7; 32]] {
        assert!(matches!(stranger(&base).prove(&proof), Err(EscrowError::Relay(_))));
    }
    let put =
        ureq::put(&format!("{base}/c/{CIRCLE}/escrow")).header("Authorization", &format!("Bearer {TOKEN}"));
    assert!(put.send(&[1_u8; 200][..]).is_err(), "what is no deposit is none");
    assert_eq!(client(&base).escrow().unwrap().left, 2);
    assert_eq!(guess(&base, "314159", 1).unwrap().0, Some(key));
    let none = serve("memory", Quota::default());
    client(&none);
    assert!(matches!(client(&none).deposit(&deposit), Err(EscrowError::NotOffered)));
}
