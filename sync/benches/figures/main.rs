//! The figures of `README.md`, each with its floor measured in the same run:
//! `cargo bench -p doppelkey-sync --features simulator,relay`. PostgreSQL's are measured where it is installed.
//!
//! `-- replica`, `-- newcomer`, `-- simulator`, `-- relay`, `-- fleet`, `-- watchers` or `-- idle` runs one part alone, for a profiler or a machine
//! that is not quiet. Device-years are another program's: `doppelkey simulate sync/scenarios/*.toml --years 10000`.
#![expect(clippy::disallowed_methods, reason = "a benchmark is what reads the clock")]

mod fleet;
mod idle;
#[path = "../../src/relay/tests/postgres.rs"]
mod postgres;
mod relay;
mod watchers;

use std::time::{Duration, Instant};

use doppelkey_sync::simulator::{Scenario, run};
use doppelkey_sync::{AccountId, DeviceKeys, Effect, Event, Op, Order, RecordId, Replica, Seeded, Suite};
use p256::ecdsa::signature::{Signer as _, Verifier as _};
use p256::ecdsa::{Signature, SigningKey};

const NOW: u64 = 1_767_225_600_000;

fn main() {
    let mut arguments = std::env::args().skip(1);
    if let (Some("serve"), Some(what)) = (arguments.next().as_deref(), arguments.next()) {
        return watchers::serve(&what);
    }
    let parts: [(&str, fn()); 7] = [
        ("replica", replica),
        ("newcomer", newcomer),
        ("simulator", simulator),
        ("relay", relay::relay),
        ("fleet", fleet::fleet),
        ("watchers", watchers::watchers),
        ("idle", idle::idle),
    ];
    let only: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    for (_, part) in parts.iter().filter(|(name, _)| only.is_empty() || only.iter().any(|only| only == name))
    {
        part();
    }
}

fn row(what: &str, value: String, against: String) {
    println!("{what:<56} {value:>16}   {against}");
}

/// Time that this thread has spent on a processor: a machine that does other things, too, is no slower by it. Off Linux
/// the clock on the wall.
fn cpu(since: Instant) -> Duration {
    // Linux brings the number up to date when a thread gives way.
    std::thread::yield_now();
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = stat.and_then(|stat| stat.split_whitespace().next()?.parse().ok());
    nanoseconds.map_or_else(|| since.elapsed(), Duration::from_nanos)
}

/// The processor time of some work.
fn processor_time<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let since = Instant::now();
    let before = cpu(since);
    let result = work();
    (result, cpu(since).saturating_sub(before))
}

fn mean(times: u32, mut work: impl FnMut(u32)) -> Duration {
    processor_time(|| (0..times).for_each(&mut work)).1 / times
}

fn floors() -> (Duration, Duration) {
    let key = SigningKey::from_slice(&[7; 32]).expect("7s are a scalar");
    let message = [1; 300];
    let mut last: Signature = key.sign(&message);
    let sign = mean(300, |_| last = key.sign(&message));
    let verify = mean(300, |_| key.verifying_key().verify(&message, &last).expect("it was just signed"));
    row("floor: one ECDSA P-256 signature", format!("{sign:.1?}"), String::new());
    row("floor: one ECDSA P-256 verification", format!("{verify:.1?}"), String::new());
    (sign, verify)
}

fn put(number: u32) -> Op {
    let mut id = [1; 16];
    id[..4].copy_from_slice(&number.to_be_bytes());
    let account = AccountId(id[..8].try_into().expect("8 of 16"));
    Op::Put { record: RecordId(id), account, core: vec![7; 170], registers: vec![], shadows: vec![] }
}

fn puts(effects: &[Effect]) -> Vec<Vec<u8>> {
    let bytes = |effect: &Effect| match effect {
        Effect::Put { bytes, .. } => Some(bytes.clone()),
        _ => None,
    };
    effects.iter().filter_map(bytes).collect()
}

/// Two devices that meet, again and again, until both have a snapshot or `times` are over.
fn meet(devices: &mut [Replica<Seeded>; 2], times: u64) {
    for round in 1..=times {
        let now = NOW + 20_000_000 + 10_000 * round;
        let mut waiting: Vec<(usize, Event)> =
            (0..2).flat_map(|to| [(to, Event::Tick), (to, Event::PeerSeen { peer: 0 })]).collect();
        while let Some((to, event)) = waiting.pop() {
            let sent = devices[to].handle(now, event).into_iter().filter_map(|effect| match effect {
                Effect::Send { bytes, .. } => Some((1 - to, Event::Peer { peer: 0, bytes })),
                _ => None,
            });
            waiting.extend(sent.collect::<Vec<_>>());
        }
    }
}

/// Two members, the second up to date, and what the first says goes into a mailbox, if there is one.
fn pair(order: Option<Order>) -> (Replica<Seeded>, Replica<Seeded>) {
    let (mut one, _) = Replica::found(Suite::P256, b"one", NOW, Seeded::new(1));
    // One entry an event is what is measured here.
    one.compact_after(usize::MAX);
    if let Some(order) = order {
        one.add_mailbox(0, order);
    }
    let keys = DeviceKeys::generate(Suite::P256, &mut Seeded::new(2));
    let log = keys.public().log();
    one.handle(NOW, Event::Admit { keys: keys.public().clone(), recovery: false, name: b"two".to_vec() });
    let welcome = one.welcome(log, b"").expect("it was just admitted");
    let (mut two, _) = Replica::join(keys, &welcome, b"", Seeded::new(3)).expect("the welcome is readable");
    let entries: Vec<Vec<u8>> = one.entries().map(|(_, bytes)| bytes.to_vec()).collect();
    entries.into_iter().for_each(|bytes| drop(two.handle(NOW, Event::Received(bytes))));
    (one, two)
}

fn replica() {
    let (sign, verify) = floors();
    for batch in [1, 16, 256] {
        let (mut one, mut two) = pair(Some(Order::Shared));
        let rounds = 256 / batch;
        let (mut sealed, mut number) = (Vec::new(), 0);
        let said = mean(rounds, |_| {
            let ops = (0..batch).map(|_| {
                number += 1;
                put(number)
            });
            let ops = ops.collect();
            sealed.extend(puts(&one.handle(NOW + 1, Event::Local(ops))));
        }) / batch;
        let bytes: usize = sealed.iter().map(Vec::len).sum::<usize>() / 256;
        let mut waiting = sealed.into_iter();
        let heard = mean(rounds, |_| {
            let next = waiting.next().expect("one entry a round");
            two.handle(NOW + 2, Event::Received(next));
        }) / batch;
        assert_eq!(two.state().records.len(), 256);
        let times = |time: Duration, floor: Duration| {
            format!("{:.2} × floor / {batch}", time.as_secs_f64() * f64::from(batch) / floor.as_secs_f64())
        };
        row(&format!("create and seal, {batch} an entry"), format!("{said:.1?}"), times(said, sign));
        row(
            &format!("open, verify and apply, {batch} an entry"),
            format!("{heard:.1?}"),
            times(heard, verify),
        );
        row(&format!("bytes a credential, {batch} an entry"), format!("{bytes} B"), String::new());
    }
    let (mut one, two) = pair(Some(Order::Shared));
    let (effects, time) = processor_time(|| one.handle(NOW + 5, Event::Revoke { log: two.log(), why: 1 }));
    let bytes: usize = puts(&effects).iter().map(Vec::len).sum();
    row("revoke one of two devices", format!("{time:.1?}"), format!("{bytes} B in all"));
}

fn newcomer() {
    let (mut one, two) = pair(None);
    for batch in 0..40 {
        one.handle(NOW + 9, Event::Local((0..250).map(|number| put(1000 + batch * 250 + number)).collect()));
    }
    let mut devices = [one, two];
    join("10,000 credentials to a new device, as 40 entries", &mut devices[0]);
    devices[0].compact_after(16);
    meet(&mut devices, 12);
    assert!(devices[0].uncovered() < 16, "{} entries are in no snapshot", devices[0].uncovered());
    join("10,000 credentials to a new device, as a snapshot", &mut devices[0]);
}

fn join(what: &str, one: &mut Replica<Seeded>) {
    let keys = DeviceKeys::generate(Suite::P256, &mut Seeded::new(100 + one.uncovered() as u64));
    let log = keys.public().log();
    let admit = Event::Admit { keys: keys.public().clone(), recovery: false, name: b"new".to_vec() };
    one.handle(NOW + 10_000_000, admit);
    let welcome = one.welcome(log, b"").expect("it was just admitted");
    let entries: Vec<Vec<u8>> = one.entries().map(|(_, bytes)| bytes.to_vec()).collect();
    let bytes: usize = welcome.len() + entries.iter().map(Vec::len).sum::<usize>();
    let (records, time) = processor_time(|| {
        let (mut new, _) =
            Replica::join(keys, &welcome, b"", Seeded::new(6)).expect("the welcome is readable");
        entries.into_iter().for_each(|bytes| drop(new.handle(NOW + 10_000_001, Event::Received(bytes))));
        new.state().records.len()
    });
    assert_eq!(records, 10_000);
    row(what, format!("{:.0} ms CPU", time.as_secs_f64() * 1000.0), format!("{:.2} MB", bytes as f64 / 1e6));
    // It leaves again: a device that never says anything holds up the next snapshot.
    one.handle(NOW + 10_000_002, Event::Revoke { log, why: 1 });
}

fn simulator() {
    let text = "name='bench'\ndays=90\nseeds=1\n[devices]\na={up=0.9}\nb={up=0.4}\nc={up=0.15}\n";
    let scenario = Scenario::parse(text).expect("it is one");
    let (mut events, mut ms) = (0, Vec::new());
    let ((), time) = processor_time(|| {
        for seed in 0..10 {
            let (outcome, _) = run(&scenario, "oplog", seed, false);
            events += outcome.events;
            ms.extend(outcome.convergence_ms);
        }
    });
    let time = time.as_secs_f64();
    row(
        "simulator, oplog fabric, one core",
        format!("{:.2} M events/s", events as f64 / time / 1e6),
        format!("{:.1e} × real time", 900.0 * 86_400.0 / time),
    );
    ms.sort_unstable();
    let at = |part: f64| ms[(ms.len() as f64 * part) as usize];
    row(
        "convergence through a relay, 80 ms round trip",
        format!("p50 {} ms", at(0.5)),
        format!("p99 {} ms", at(0.99)),
    );
}
