//! When mailboxes are looked into, with a clock that the test sets.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;

use doppelkey_core::{Algorithm, Credential, CredentialStore as _, PrivateKey, User};
use doppelkey_sync::Suite;
use doppelkey_sync::escrow::{Deposit, EscrowPin};
use doppelkey_sync::relay::{Database, Keeper, Quota, Relay};
use doppelkey_sync::{DeviceKeys, Invitation, LogId, RecoveryKey};

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

/// What is between a device and its relay. Once it holds, puts come no further until it lets go.
struct Between {
    address: std::net::SocketAddr,
    holds: Arc<AtomicBool>,
    /// For each put that is held, whether the device has given it up.
    held: mpsc::Receiver<Arc<AtomicBool>>,
}

impl Between {
    fn new(relay: &Place) -> Self {
        let relay = relay.to_string().trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let holds = Arc::new(AtomicBool::new(false));
        let (tell, held) = mpsc::channel();
        let holding = holds.clone();
        thread::spawn(move || {
            for device in listener.incoming().map_while(Result::ok) {
                let Ok(relay) = TcpStream::connect(&relay) else { return };
                let (mut back, mut to_device) = (relay.try_clone().unwrap(), device.try_clone().unwrap());
                thread::spawn(move || std::io::copy(&mut back, &mut to_device));
                let (tell, holding) = (tell.clone(), holding.clone());
                thread::spawn(move || Self::carry(device, relay, &tell, &holding));
            }
        });
        Between { address, holds, held }
    }

    fn carry(
        mut device: TcpStream,
        mut relay: TcpStream,
        tell: &mpsc::Sender<Arc<AtomicBool>>,
        holds: &AtomicBool,
    ) {
        device.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let (mut bytes, mut held) = ([0; 4096], Vec::new());
        let mut gave_up: Option<Arc<AtomicBool>> = None;
        loop {
            match device.read(&mut bytes) {
                Ok(0) => break,
                Ok(count) => held.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
            if !holds.load(Ordering::Relaxed) {
                gave_up = None;
            } else if held.starts_with(b"PUT ") {
                gave_up.get_or_insert_with(|| {
                    let gave_up = Arc::new(AtomicBool::new(false));
                    let _ = tell.send(gave_up.clone());
                    gave_up
                });
                continue;
            }
            if relay.write_all(&std::mem::take(&mut held)).is_err() {
                break;
            }
        }
        if let Some(gave_up) = gave_up {
            gave_up.store(true, Ordering::Relaxed);
        }
        let _ = relay.shutdown(std::net::Shutdown::Both);
    }

    /// The first device of a circle, which knows the relay by this way only.
    fn device(&self, path: &Path) -> (Replication, SharedStore) {
        let place = format!("http://{}", self.address).parse().unwrap();
        let mut vault = Vault::open(path, Some(Custody::File(path.with_extension("key")))).unwrap();
        let replication =
            Replication::found(&mut vault, path, (Suite::P256, "a"), &[place], clock()()).unwrap();
        (replication, SharedStore::new(vault))
    }

    /// Waits until a put is held.
    fn holds_one(&self) -> Arc<AtomicBool> {
        self.held.recv_timeout(Duration::from_secs(20)).unwrap()
    }
}

fn clock() -> WallClock {
    Arc::new(|| 1_767_225_600_000)
}

fn passkey(id: u8) -> Credential {
    Credential {
        id: heapless::Vec::from_slice(&[id; 32]).unwrap(),
        rp_id: heapless::String::try_from("example.org").unwrap(),
        user: User { id: heapless::Vec::from_slice(&[id; 8]).unwrap(), name: None, display_name: None },
        backup_eligible: true,
        backup_state: true,
        ..Credential::new([9; 32], PrivateKey::from_bytes(Algorithm::Es256, &[7; 32]).unwrap())
    }
}

#[test]
fn a_relay_that_takes_a_put_and_never_answers_holds_up_no_sign_in() {
    let (_runtime, relay) = relay();
    let between = Between::new(&relay);
    let folder = tempfile::tempdir().unwrap();
    let (mut replication, mut store) = between.device(&folder.path().join("vault"));
    let mut serving = Serving::new(&mut replication, store.clone(), clock(), mpsc::channel().0);
    store.put(&passkey(1), None).unwrap();
    between.holds.store(true, Ordering::Relaxed);
    thread::scope(|scope| {
        let round = scope.spawn(move || serving.try_round(true));
        let gave_up = between.holds_one();
        assert!(store.get(&[1; 32]).unwrap().is_some());
        assert!(!gave_up.load(Ordering::Relaxed) && !round.is_finished(), "the relay was still waited for");
        between.holds.store(false, Ordering::Relaxed);
    });
}

#[test]
fn what_is_deleted_or_reset_while_a_device_leaves_stays_away() {
    for resets in [false, true] {
        let (_runtime, relay) = relay();
        let between = Between::new(&relay);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vault");
        let (mut replication, mut store) = between.device(&path);
        let mut serving = Serving::new(&mut replication, store.clone(), clock(), mpsc::channel().0);
        [1, 2].iter().for_each(|id| store.put(&passkey(*id), None).unwrap());
        between.holds.store(true, Ordering::Relaxed);
        thread::scope(|scope| {
            let left = scope.spawn(move || serving.answer(&Request::Leave).unwrap());
            let gave_up = between.holds_one();
            if resets {
                store.reset().unwrap();
            } else {
                assert!(store.remove(&[1; 32]).unwrap());
            }
            assert!(!gave_up.load(Ordering::Relaxed), "the relay was still waited for");
            between.holds.store(false, Ordering::Relaxed);
            assert_eq!(left.join().unwrap()["untold"], serde_json::json!([]));
        });
        assert!(!Replication::is_set_up(&path) && store.get(&[1; 32]).unwrap().is_none());
        let kept = store.get(&[2; 32]).unwrap();
        assert_eq!(kept.map(|kept| kept.backup_state), if resets { None } else { Some(false) });
    }
}

#[test]
fn a_newcomer_whose_inviter_went_away_after_admitting_it_stays_at_the_relay() {
    comes_late(false);
}

#[test]
fn a_newcomer_that_comes_after_its_inviter_has_waited_in_vain_stays_at_the_relay() {
    comes_late(true);
}

/// A newcomer that settles in at the relay only after it was admitted, and after its inviter's round.
fn comes_late(is_given_up: bool) {
    let (_runtime, place) = relay();
    let folder = tempfile::tempdir().unwrap();
    let open = |name: &str| {
        let path = folder.path().join(name);
        (Vault::open(&path, Some(Custody::File(path.with_extension("key")))).unwrap(), path)
    };
    let ((mut vault, path), now_ms) = (open("a"), 1_767_225_600_000);
    let founded = (Suite::P256, "a");
    let mut replication = Replication::found(&mut vault, &path, founded, &[place], now_ms).unwrap();
    let mut ask = |request: Request, letters: &[Vec<u8>], replication: &mut Replication| {
        let answer = replication.answer(&request, &mut vault, letters, now_ms).unwrap();
        replication.round(&mut vault, now_ms).unwrap();
        answer
    };
    let invited = ask(Request::Invite { wait_s: 600 }, &[], &mut replication);
    let text = invited["invitation"].as_str().unwrap().to_owned();
    let invitation = Invitation::parse(&text).unwrap();
    let keys = DeviceKeys::generate(Suite::P256, &mut random());
    let log = keys.public().log();
    let letter = hex(&invitation.ask(&keys, b"b", &mut random()));
    ask(Request::Admit { invitation: text, letter }, &[], &mut replication);
    // The terminal is closed here, or has waited for a minute. Then the newcomer comes by the invitation.
    if is_given_up {
        let (label, admitted) = (invited["label"].as_str().unwrap().to_owned(), Some(log.to_string()));
        ask(Request::EndInvitation { label, admitted }, &[], &mut replication);
    }
    let welcome = replication.welcome(log, &invitation.secret).unwrap();
    let (mut other, path) = open("b");
    let places = Place::parse_list(&invitation.mailbox).unwrap();
    let joined = Replication::join(&mut other, &path, &invitation, keys, &welcome, places, now_ms);
    let mut joined = joined.unwrap();
    let round = |replication: &mut Replication, vault: &mut Vault| {
        let reports = replication.round(vault, now_ms + 5_000).unwrap();
        let reports = reports.into_iter().chain(replication.round(vault, now_ms + 10_000).unwrap());
        assert!(!reports.into_iter().any(|report| matches!(report, Report::Unreachable(..))));
    };
    round(&mut joined, &mut other);
    round(&mut replication, &mut vault);
    // The relay does the same when the invitation's time is over.
    let relay = replication.places()[0].relay(replication.replica().circle()).unwrap();
    relay.shut_out(invited["label"].as_str().unwrap()).unwrap();
    round(&mut joined, &mut other);
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
fn a_service_that_has_heard_nobody_sleeps() {
    let (runtime, place) = relay();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault");
    let mut vault = Vault::open(&path, Some(Custody::File(path.with_extension("key")))).unwrap();
    let now_ms = Arc::new(AtomicU64::new(1_767_225_600_000));
    let founded = (Suite::P256, "a");
    drop(Replication::found(&mut vault, &path, founded, &[place], now_ms.load(Ordering::Relaxed)).unwrap());
    drop(runtime);
    let mut replication = Replication::load(&mut vault, &path).unwrap();
    let clock = now_ms.clone();
    let clock: WallClock = Arc::new(move || clock.load(Ordering::Relaxed));
    let mut serving = Serving::new(&mut replication, SharedStore::new(vault), clock, mpsc::channel().0);
    serving.try_round(true);
    now_ms.fetch_add(2_000, Ordering::Relaxed);
    assert!(serving.wait() > Duration::ZERO);
    serving.try_round(false);
    now_ms.fetch_add(2_000, Ordering::Relaxed);
    assert!(serving.wait() > Duration::ZERO);
}

#[test]
fn a_relay_added_after_the_recovery_key_is_no_backup() {
    let ((first_runtime, first), (_second_runtime, second)) = (relay(), relay());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault");
    let mut vault = Vault::open(&path, Some(Custody::File(path.with_extension("key")))).unwrap();
    let now_ms = 1_767_225_600_000;
    let mut replication =
        Replication::found(&mut vault, &path, (Suite::P256, "a"), &[first], now_ms).unwrap();
    let mut ask = |request: Request| replication.answer(&request, &mut vault, &[], now_ms).unwrap();
    let key = Secret::new(RecoveryKey::generate(&mut random()).to_text());
    let admitted = ask(Request::AdmitRecovery { key, name: "paper".into() });
    ask(Request::ConfirmRecovery { device: admitted["device"].as_str().unwrap().into() });
    vault.put(&Credential { backup_state: false, ..passkey(1) }, None).unwrap();
    let is_backed_up = |replication: &mut Replication, vault: &mut Vault| {
        for _ in 0..3 {
            replication.round(vault, now_ms).unwrap();
        }
        vault.get(&[1; 32]).unwrap().unwrap().backup_state
    };
    assert!(is_backed_up(&mut replication, &mut vault), "the key opens this relay");
    let place = second.to_string();
    replication.answer(&Request::AddMailbox { place }, &mut vault, &[], now_ms).unwrap();
    assert!(is_backed_up(&mut replication, &mut vault));
    drop((replication, first_runtime));
    let mut replication = Replication::load(&mut vault, &path).unwrap();
    assert!(!is_backed_up(&mut replication, &mut vault), "what the other one has the key does not open");
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
