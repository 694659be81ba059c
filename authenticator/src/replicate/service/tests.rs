//! When mailboxes are looked into, with a clock that the test sets.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use doppelkey_sync::Suite;
use doppelkey_sync::escrow::{Deposit, EscrowPin};
use doppelkey_sync::relay::{Database, Keeper, Quota, Relay};
use doppelkey_sync::{LogId, RecoveryKey};

use super::*;
use crate::replicate::{PIN_MEMBER, Secret, random};
use crate::text::hex;
use crate::vault::{Custody, Vault};

/// A relay, until its runtime is dropped: then its connections end.
fn relay() -> (tokio::runtime::Runtime, Place) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (relay, listener) = runtime.block_on(async {
        let database = Database::open("memory").await.unwrap();
        let keeper = Keeper::new([1; 32], Duration::ZERO, Arc::new(|| 0));
        (
            Relay::keeping(database, Quota::default(), Some(keeper)),
            tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap(),
        )
    });
    let place = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    runtime.spawn(async move { axum::serve(listener, relay.router()).await });
    (runtime, place)
}

#[test]
fn a_relay_is_asked_seldom_while_it_is_heard_and_at_once_when_it_is_not_any_more() {
    let (runtime, place) = relay();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault");
    let mut vault = Vault::open(&path, Some(Custody::File(path.with_extension("key")))).unwrap();
    let now_ms = Arc::new(AtomicU64::new(1_767_225_600_000));
    let founded = (Suite::P256, "a");
    let mut replication =
        Replication::found(&mut vault, &path, founded, &[place], now_ms.load(Ordering::Relaxed)).unwrap();
    let (tell, changes) = mpsc::channel();
    let clock = now_ms.clone();
    let clock: WallClock = Arc::new(move || clock.load(Ordering::Relaxed));
    let mut serving = Serving::new(&mut replication, SharedStore::new(vault), clock, tell);
    serving.watch();
    assert_eq!(changes.recv_timeout(Duration::from_secs(20)), Ok(Change::News));
    serving.try_round(true);
    let day_ms = 24 * 60 * 60 * 1000;
    let look_in_ms = |serving: &Serving<'_>| serving.look_in_ms(0, now_ms.load(Ordering::Relaxed));
    assert_eq!(look_in_ms(&serving), day_ms, "it tells of news, and of its life");
    now_ms.fetch_add(day_ms / 2, Ordering::Relaxed);
    assert_eq!(look_in_ms(&serving), day_ms / 2);
    // The computer slept: nothing that was heard is believed.
    serving.watch_anew();
    assert_eq!(changes.recv_timeout(Duration::from_secs(20)), Ok(Change::News), "it listens anew");
    serving.try_round(true);
    assert_eq!(look_in_ms(&serving), day_ms);
    drop(runtime);
    while serving.every_ms(0) == day_ms {
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(look_in_ms(&serving), 0, "the relay is gone: it is looked for");
    serving.try_round(false);
    assert_eq!(look_in_ms(&serving), RELAY_EVERY.as_millis() as u64);
}

#[test]
fn a_pin_set_that_is_cut_short_leaves_the_old_pin_good() {
    let (_runtime, place) = relay();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault");
    let mut vault = Vault::open(&path, Some(Custody::File(path.with_extension("key")))).unwrap();
    let now_ms = 1_767_225_600_000;
    let founded = (Suite::P256, "a");
    let mut replication = Replication::found(&mut vault, &path, founded, &[place], now_ms).unwrap();
    let circle = replication.replica().circle();
    let mut set = |whole: bool, live: &dyn Fn(&Replication) -> Vec<LogId>| {
        let key = RecoveryKey::generate(&mut random());
        let mut ask = |request: Request| replication.answer(&request, &mut vault, &[], now_ms).unwrap();
        let key_text = Secret::new(key.to_text());
        let admitted = ask(Request::AdmitRecovery { key: key_text, name: PIN_MEMBER.into() });
        let newest = admitted["device"].as_str().unwrap().to_owned();
        if whole {
            let pin = EscrowPin::new(circle, b"271828");
            let deposits = Deposit::lock(&key, circle, &pin, (1, 1), 3, &mut random()).unwrap();
            let deposits = deposits.iter().map(|deposit| Secret::new(hex(&deposit.encode()))).collect();
            ask(Request::Deposit { deposits });
            ask(Request::RetirePins { newest: newest.clone() });
        }
        (LogId::parse(&newest).unwrap(), live(&replication))
    };
    let live = |replication: &Replication| -> Vec<LogId> {
        let members = replication.replica().members().all.iter();
        members.filter(|(_, member)| member.is_live() && member.recovery).map(|(log, _)| *log).collect()
    };
    let (first, _) = set(true, &live);
    let (_, after) = set(false, &live);
    assert!(after.contains(&first), "what is in escrow is the first one's, and its member is one");
    let (third, after) = set(true, &live);
    assert_eq!(after, [third], "one that is set in full ends all before it");
}
