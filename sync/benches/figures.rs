//! The figures of `README.md`, each with its floor measured in the same run:
//! `cargo bench -p doppelkey-sync --features simulator,relay`.
//!
//! With `-- device-years 10000` it runs the shipped scenarios over new seeds until so many device-years have passed, and
//! prints what must be nothing. With `-- simulator` it runs that part alone, for a profiler.
#![expect(clippy::disallowed_methods, reason = "a benchmark is what reads the clock")]

use std::time::{Duration, Instant};

use doppelkey_sync::relay::{Database, Quota, Relay, RelayClient, RelayUrl};
use doppelkey_sync::simulator::{Outcome, Scenario, failures, run};
use doppelkey_sync::{
    AccountId, CircleId, DeviceKeys, Effect, Event, Mailbox, Name, Op, Order, RecordId, Replica, Seeded,
    Suite,
};
use p256::ecdsa::signature::{Signer as _, Verifier as _};
use p256::ecdsa::{Signature, SigningKey};

const NOW: u64 = 1_767_225_600_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["device-years", years] => return device_years(years.parse().expect("a number of years")),
        ["simulator"] => return simulator(),
        _ => {}
    }
    let (sign, verify) = floors();
    replica(sign, verify);
    newcomer();
    simulator();
    relay();
}

fn row(what: &str, value: String, against: String) {
    println!("{what:<52} {value:>14}   {against}");
}

fn mean(times: u32, mut work: impl FnMut(u32)) -> Duration {
    let start = Instant::now();
    (0..times).for_each(&mut work);
    start.elapsed() / times
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

/// Two members, the second up to date.
fn pair() -> (Replica<Seeded>, Replica<Seeded>) {
    let (mut one, _) = Replica::found(Suite::P256, b"one", NOW, Seeded::new(1));
    // One entry an event is what is measured here.
    one.compact_after(usize::MAX);
    one.add_mailbox(0, Order::Shared);
    let keys = DeviceKeys::generate(Suite::P256, &mut Seeded::new(2));
    let log = keys.public().log();
    one.handle(NOW, Event::Admit { keys: keys.public().clone(), recovery: false, name: b"two".to_vec() });
    let welcome = one.welcome(log, b"").expect("it was just admitted");
    let (mut two, _) = Replica::join(keys, &welcome, b"", Seeded::new(3)).expect("the welcome is readable");
    let entries: Vec<Vec<u8>> = one.entries().map(|(_, bytes)| bytes.to_vec()).collect();
    entries.into_iter().for_each(|bytes| drop(two.handle(NOW, Event::Received(bytes))));
    (one, two)
}

fn replica(sign: Duration, verify: Duration) {
    for batch in [1, 16, 256] {
        let (mut one, mut two) = pair();
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
    let (mut one, two) = pair();
    let start = Instant::now();
    let effects = one.handle(NOW + 5, Event::Revoke { log: two.log(), why: 1 });
    let bytes: usize = puts(&effects).iter().map(Vec::len).sum();
    row("revoke one of two devices", format!("{:.1?}", start.elapsed()), format!("{bytes} B in all"));
}

fn newcomer() {
    let (mut one, _) = pair();
    for batch in 0..40 {
        one.handle(NOW + 9, Event::Local((0..250).map(|number| put(1000 + batch * 250 + number)).collect()));
    }
    let keys = DeviceKeys::generate(Suite::P256, &mut Seeded::new(5));
    let log = keys.public().log();
    one.handle(
        NOW + 10,
        Event::Admit { keys: keys.public().clone(), recovery: false, name: b"new".to_vec() },
    );
    let welcome = one.welcome(log, b"").expect("it was just admitted");
    let entries: Vec<Vec<u8>> = one.entries().map(|(_, bytes)| bytes.to_vec()).collect();
    let bytes: usize = entries.iter().map(Vec::len).sum();
    let start = Instant::now();
    let (mut new, _) = Replica::join(keys, &welcome, b"", Seeded::new(6)).expect("the welcome is readable");
    entries.into_iter().for_each(|bytes| drop(new.handle(NOW + 11, Event::Received(bytes))));
    assert_eq!(new.state().records.len(), 10_000);
    let time = start.elapsed();
    row("10,000 credentials to a new device", format!("{time:.1?}"), format!("{:.2} MB", bytes as f64 / 1e6));
}

fn simulator() {
    let text = "name='bench'\ndays=90\nseeds=1\n[devices]\na={up=0.9}\nb={up=0.4}\nc={up=0.15}\n";
    let scenario = Scenario::parse(text).expect("it is one");
    let (start, mut events, mut ms) = (Instant::now(), 0, Vec::new());
    for seed in 0..10 {
        let (outcome, _) = run(&scenario, "oplog", seed, false);
        events += outcome.events;
        ms.extend(outcome.convergence_ms);
    }
    let time = start.elapsed().as_secs_f64();
    row(
        "simulator, oplog fabric, one core",
        format!("{:.0} events/s", events as f64 / time),
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

/// Every scenario of the folder, seed after seed, on the product.
fn device_years(years: u64) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
    let mut scenarios: Vec<Scenario> = std::fs::read_dir(folder)
        .expect("the scenarios are there")
        .filter_map(|file| std::fs::read_to_string(file.ok()?.path()).ok())
        .map(|text| Scenario::parse(&text).expect("they are scenarios"))
        .collect();
    scenarios.sort_by(|one, other| one.name.cmp(&other.name));
    let (start, mut sum, mut failed) = (Instant::now(), Outcome::default(), Vec::new());
    // The shipped tests and reports use the first seeds.
    for seed in 1000.. {
        for scenario in &scenarios {
            let (mut outcome, _) = run(scenario, "oplog", seed, false);
            if !failures(scenario, &outcome).is_empty() {
                failed.push(format!("{} {seed}: {:?}", scenario.name, failures(scenario, &outcome)));
            }
            outcome.convergence_ms.clear();
            outcome.claim_ms.clear();
            sum.add(&outcome);
        }
        if seed % 20 == 0 || sum.device_days / 365 >= years {
            println!(
                "{} device-years in {:.0?}: {} passkeys, {} events, {} crashes; lies {}, lost although BS = 1 {}, back \
                 again {}, false alarms {}, broken expectations {}",
                sum.device_days / 365,
                start.elapsed(),
                sum.created,
                sum.events,
                sum.crashes,
                sum.lies,
                sum.lost_with_bs,
                sum.resurrected,
                sum.false_alarms,
                failed.len()
            );
            failed.iter().for_each(|failure| println!("{failure}"));
            failed.clear();
        }
        if sum.device_days / 365 >= years {
            return;
        }
    }
}

fn relay() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite:{}", folder.path().join("relay.db").display());
    let mut databases = vec![("SQLite", url)];
    databases.extend(std::env::var("DOPPELKEY_BENCH_POSTGRES").ok().map(|url| ("PostgreSQL", url)));
    for (name, url) in databases {
        let (send, receive) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("threads");
            runtime.block_on(async {
                let relay = Relay::new(Database::open(&url).await.expect("a database"), Quota::default());
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
                send.send(listener.local_addr().expect("an address")).expect("the benchmark waits");
                axum::serve(listener, relay.router()).await.expect("it serves");
            });
        });
        let base = format!("http://{}", receive.recv().expect("it listens"));
        let start = Instant::now();
        let clients: Vec<_> = (0..4_u8)
            .map(|number| {
                let url = RelayUrl::new(&base, "0123456789abcdef");
                std::thread::spawn(move || {
                    let mut client = RelayClient::new(url, CircleId([number; 16]));
                    client.open().expect("a circle");
                    for entry in 0..250_u32 {
                        let mut bytes = vec![number; 391];
                        bytes[..4].copy_from_slice(&entry.to_be_bytes());
                        client.put(Name::of(&bytes), &bytes).expect("a put");
                    }
                })
            })
            .collect();
        clients.into_iter().for_each(|client| client.join().expect("it puts"));
        let rate = 1000.0 / start.elapsed().as_secs_f64();
        row(&format!("relay on {name}, durable puts, 4 clients"), format!("{rate:.0} /s"), String::new());
    }
}
