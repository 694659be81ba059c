//! A real relay on loopback, over real sockets: on SQLite, and on PostgreSQL where there is one.

use std::boxed::Box;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;
use std::thread;

mod postgres;

use postgres::Postgres;

mod escrow;
mod group;
mod pages;
mod silence;

use super::*;
use crate::{
    Driver, Event as SyncEvent, Folder, Mailbox, Op, RecordId, Replica, Report, Seeded, Suite, conformance,
};

const CIRCLE: CircleId = CircleId([7; 16]);
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Serves until the process ends.
fn serve(database: &str, quota: Quota) -> String {
    serve_keeping(database, quota, None)
}

fn serve_keeping(database: &str, quota: Quota, keeper: Option<Keeper>) -> String {
    serve_as(database, move |database| Relay::keeping(database, quota, keeper))
}

fn serve_as(database: &str, relay: impl FnOnce(Database) -> Relay + Send + 'static) -> String {
    let (send, receive) = mpsc::channel();
    let database = database.to_string();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let relay = relay(Database::open(&database).await.unwrap());
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            send.send(listener.local_addr().unwrap()).unwrap();
            axum::serve(listener, relay.router()).await.unwrap();
        });
    });
    let address: SocketAddr = receive.recv().unwrap();
    format!("http://{address}")
}

fn client(base: &str) -> RelayClient {
    let client = RelayClient::new(RelayUrl::new(base, TOKEN), CIRCLE);
    client.open().unwrap();
    client
}

/// Passes on how many names there are, until the connection ends.
fn hear(relay: &RelayClient, send: &mpsc::Sender<u64>) -> std::io::Result<()> {
    relay.watch(&mut Silence::default(), |heard| match heard {
        Heard::Head(head) => send.send(head).is_ok(),
        Heard::Sign => true,
    })
}

#[test]
fn a_relay_on_sqlite_conforms_and_remembers() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", directory.path().join("relay.db").display());
    let base = serve(&url, Quota::default());
    conformance(|| Box::new(client(&base)));
    let again = serve(&url, Quota::default());
    assert_eq!(client(&again).list(0).unwrap().head, 5, "another process finds what the first one kept");
}

#[test]
fn two_relays_on_one_postgresql_are_one_relay() {
    let Some(postgres) = Postgres::start(false) else { return };
    let (one, two) = (serve(&postgres.url, Quota::default()), serve(&postgres.url, Quota::default()));
    let mut turn = false;
    conformance(|| {
        turn = !turn;
        Box::new(client(if turn { &one } else { &two }))
    });
    // Who waits at one hears of what came in through the other.
    let (send, receive) = mpsc::channel();
    let watcher = client(&one);
    thread::spawn(move || hear(&watcher, &send));
    assert_eq!(receive.recv_timeout(Duration::from_secs(20)), Ok(5));
    client(&two).put(Name::of(b"sixth"), b"sixth").unwrap();
    assert_eq!(receive.recv_timeout(Duration::from_secs(20)), Ok(6));
}

#[test]
fn a_stranger_and_a_device_that_was_shut_out_get_nothing() {
    let base = serve("memory", Quota::default());
    let member = client(&base);
    let other = "fedcba9876543210fedcba9876543210";
    let mut stranger = RelayClient::new(RelayUrl::new(&base, other), CIRCLE);
    let denied = |result: std::io::Result<crate::Listing>| {
        result.is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
    };
    assert!(denied(stranger.list(0)));
    assert!(stranger.open().is_err(), "a circle is not opened twice");
    assert!(stranger.put(Name::of(b"x"), b"x").is_err());
    member.let_in("ab12", other).unwrap();
    assert!(stranger.list(0).is_ok());
    member.shut_out("ab12").unwrap();
    let ended = stranger.list(0).unwrap_err();
    assert!(
        ended.get_ref().is_some_and(|why| why.is::<TokenEnded>()),
        "it hears that a member did that: {ended}"
    );
    assert!(denied(Err(ended)));
    let mut elsewhere = RelayClient::new(RelayUrl::new(&base, TOKEN), CircleId([8; 16]));
    assert!(denied(elsewhere.list(0)), "a token opens one circle");
}

#[test]
fn a_guest_is_let_in_for_a_while_and_is_not_remembered() {
    let mut urls = std::vec!["memory".to_string()];
    let postgres = Postgres::start(false);
    urls.extend(postgres.as_ref().map(|postgres| postgres.url.clone()));
    for url in urls {
        let base = serve(&url, Quota { tokens: 2, ..Quota::default() });
        let member = client(&base);
        let other = "fedcba9876543210fedcba9876543210";
        // Of whole seconds, the first may be nearly over.
        member.let_in_for("ab12", other, Duration::from_secs(3)).unwrap();
        let mut guest = RelayClient::new(RelayUrl::new(&base, other), CIRCLE);
        guest.list(0).unwrap();
        let end = loop {
            match guest.list(0) {
                Ok(_) => thread::sleep(Duration::from_millis(50)),
                Err(end) => break end,
            }
        };
        assert_eq!(end.kind(), std::io::ErrorKind::PermissionDenied);
        assert!(end.get_ref().is_none_or(|why| !why.is::<TokenEnded>()), "nobody shut it out: {end}");
        // It takes no room any more, and a device that is let in under the label is there to stay.
        member.let_in_for("ab12", other, Duration::from_secs(1)).unwrap();
        member.shut_out("ab12").unwrap();
        member.let_in("ab12", other).unwrap();
        thread::sleep(Duration::from_millis(2500));
        guest.list(0).unwrap();
    }
}

#[test]
fn what_a_guest_let_in_ends_with_the_guest() {
    let mut urls = std::vec!["memory".to_string()];
    let postgres = Postgres::start(false);
    urls.extend(postgres.as_ref().map(|postgres| postgres.url.clone()));
    for url in urls {
        let base = serve(&url, Quota::default());
        let member = client(&base);
        let [invitation, thief, newcomer] = ["1", "2", "3"].map(|digit| digit.repeat(32));
        let with = |token: &str| RelayClient::new(RelayUrl::new(&base, token), CIRCLE);
        member.let_in_for("ab12", &invitation, Duration::from_secs(600)).unwrap();
        let guest = with(&invitation);
        // Whoever photographed it makes a token of its own; whom it is for does, too.
        let [one, other] = [1, 2].map(|seed| in_circle(&mut Seeded::new(seed)));
        let [dead, beef] = [&one, &other].map(|replica| replica.log().to_string());
        guest.let_self_in(&one, &thief).unwrap();
        guest.let_self_in(&other, &newcomer).unwrap();
        with(&thief).list(0).unwrap();
        assert!(guest.let_in("founder", &thief).is_err(), "no guest takes a member's place");
        assert!(guest.let_self_in(&other, &thief).is_err(), "nor another guest's");
        let another = in_circle(&mut Seeded::new(3));
        assert!(with(&thief).let_self_in(&another, &invitation).is_err(), "and its guests have no guests");
        for guest in [&guest, &with(&thief)] {
            assert!(guest.shut_out("founder").is_err() && guest.let_stay(&dead).is_err());
            assert!(matches!(guest.end_escrow(), Err(EscrowError::Relay(_))));
            assert!(matches!(guest.escrow(), Err(EscrowError::Relay(_))));
        }
        member.let_stay(&beef).unwrap();
        member.shut_out("ab12").unwrap();
        assert!(with(&invitation).list(0).is_err() && with(&thief).list(0).is_err());
        with(&newcomer).list(0).unwrap();
        with(&newcomer).let_in("4567", &thief).expect("it is a member");
    }
}

/// A device of the circle with keys of its own, as far as a relay can tell.
fn in_circle(rng: &mut Seeded) -> Replica<Seeded> {
    let mut replica = Replica::found(Suite::P256, b"", 1, rng.fork()).0;
    replica.circle = CIRCLE;
    replica
}

#[test]
fn an_invitation_lets_nobody_in_under_the_name_of_a_device_whose_keys_it_has_not() {
    let base = serve("memory", Quota::default());
    let member = client(&base);
    let [invitation, at_another_relay, token, thiefs] = ["1", "2", "3", "4"].map(|digit| digit.repeat(32));
    let with = |token: &str| RelayClient::new(RelayUrl::new(&base, token), CIRCLE);
    member.let_in_for("ab12", &invitation, Duration::from_secs(600)).unwrap();
    let [newcomer, thief] = [1, 2].map(|seed| in_circle(&mut Seeded::new(seed)));
    let name = newcomer.log().to_string();
    let [by, elsewhere, let_in] = [&invitation, &at_another_relay, &token].map(|token| claim::digest(token));
    let own = claim::claim(&newcomer, &by, &let_in);
    let mut changed = own.clone();
    changed[36] ^= 1;
    let claims = [
        ("nothing", Vec::new()),
        ("half a claim", own[..50].to_vec()),
        ("the thief's keys", claim::claim(&thief, &by, &let_in)),
        ("another incarnation", changed),
        ("a claim for another token", claim::claim(&newcomer, &by, &claim::digest(&thiefs))),
        ("what was claimed at another relay", claim::claim(&newcomer, &elsewhere, &let_in)),
    ];
    for (what, claim) in claims {
        let put = ureq::put(&format!("{base}/c/{CIRCLE}/tokens/{name}"));
        let put = put.header("Authorization", &format!("Bearer {invitation}"));
        let refused = put.send(&[let_in.as_bytes(), &claim].concat()[..]).unwrap_err();
        assert!(matches!(refused, ureq::Error::StatusCode(400)), "{what}: {refused}");
    }
    with(&invitation).let_self_in(&newcomer, &token).unwrap();
    member.let_stay(&name).unwrap();
    with(&token).is_let_in(&name).expect("it is a member");
}

#[test]
fn a_relay_opens_no_more_circles_than_its_operator_allows() {
    let base = serve("memory", Quota { circles: 2, ..Quota::default() });
    let open = |circle: u8| RelayClient::new(RelayUrl::new(&base, TOKEN), CircleId([circle; 16])).open();
    open(1).unwrap();
    open(2).unwrap();
    let refused = open(3).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::QuotaExceeded);
    assert!(refused.to_string().contains("opens no more circles"), "{refused}");
    open(1).expect("those that are open go on");
}

#[test]
fn a_device_that_is_shut_out_while_it_waits_for_news_hears_nothing_more() {
    let base = serve("memory", Quota::default());
    let mut member = client(&base);
    let token = "fedcba9876543210fedcba9876543210";
    member.let_in("ab12", token).unwrap();
    let other = RelayClient::new(RelayUrl::new(&base, token), CIRCLE);
    let (send, receive) = mpsc::channel();
    let waiting = thread::spawn(move || hear(&other, &send));
    assert_eq!(receive.recv_timeout(Duration::from_secs(20)), Ok(0));
    member.put(Name::of(b"first"), b"first").unwrap();
    assert_eq!(receive.recv_timeout(Duration::from_secs(20)), Ok(1));
    let metrics = ureq::get(&format!("{base}/metrics")).call().unwrap().into_body().read_to_string().unwrap();
    assert!(metrics.contains("doppelkey_relay_watchers 1\n"), "{metrics}");
    member.shut_out("ab12").unwrap();
    waiting.join().unwrap().expect("the relay ends the stream");
    member.put(Name::of(b"second"), b"second").unwrap();
    assert!(receive.recv().is_err(), "nothing came after the end of the token");
}

#[test]
fn bytes_under_a_name_that_is_not_theirs_are_refused_and_a_full_circle_says_so() {
    let base = serve("memory", Quota { entries: 2, ..Quota::default() });
    let mut member = client(&base);
    assert!(member.put(Name([1; 16]), b"other bytes").is_err());
    for number in 0..2_u8 {
        member.put(Name::of(&[number]), &[number]).unwrap();
    }
    let full = member.put(Name::of(&[9]), &[9]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::QuotaExceeded);
    member.put(Name::of(&[1]), &[1]).expect("what is there already is no more");
    assert_eq!(member.list(0).unwrap().head, 2);
    let text = ureq::get(&format!("{base}/metrics")).call().unwrap().into_body().read_to_string().unwrap();
    assert!(
        text.contains("doppelkey_relay_puts_total 2\n") && text.contains("doppelkey_relay_refused_total 2\n")
    );
    assert_eq!(ureq::get(&format!("{base}/health")).call().unwrap().status(), 200);
}

#[test]
fn three_devices_converge_through_a_relay_and_news_come_at_once() {
    let base = serve("memory", Quota::default());
    let (replica, effects) = Replica::found(Suite::P256, b"one", 1, Seeded::new(1));
    let (circle, suite) = (replica.circle(), replica.suite());
    let mailbox = || -> Vec<Box<dyn Mailbox>> {
        let client = RelayClient::new(RelayUrl::new(&base, TOKEN), circle);
        client.open().unwrap();
        std::vec![Box::new(client)]
    };
    let mut devices = std::vec![Driver::new(replica, effects, Vec::new(), mailbox())];
    devices[0].sync(1).unwrap();
    for number in 2..4 {
        let keys = crate::DeviceKeys::generate(suite, &mut Seeded::new(number));
        let (public, log) = (keys.public().clone(), keys.public().log());
        let admit = SyncEvent::Admit { keys: public, recovery: false, name: b"next".to_vec() };
        devices[0].handle(number, admit).unwrap();
        let welcome = devices[0].replica_mut().welcome(log, b"psk").unwrap();
        let (replica, effects) = Replica::join(keys, &welcome, b"psk", Seeded::new(9 + number)).unwrap();
        devices.push(Driver::new(replica, effects, Vec::new(), mailbox()));
    }
    let (send, receive) = mpsc::channel();
    let watcher = RelayClient::new(RelayUrl::new(&base, TOKEN), circle);
    let head = watcher.clone().list(0).unwrap().head;
    thread::spawn(move || hear(&watcher, &send));
    assert_eq!(receive.recv_timeout(Duration::from_secs(20)), Ok(head));
    let record = RecordId([3; 16]);
    devices[0].handle(9, SyncEvent::Local(std::vec![put(record)])).unwrap();
    assert_eq!(receive.recv_timeout(Duration::from_secs(20)), Ok(head + 1));
    for device in &mut devices[1..] {
        device.sync(10).unwrap();
        assert!(device.replica().record(record).is_some());
    }
}

fn put(record: RecordId) -> Op {
    Op::Put {
        record,
        account: crate::AccountId([1; 8]),
        core: std::vec![1; 100],
        registers: Vec::new(),
        shadows: Vec::new(),
    }
}

/// A server that says what it likes to whoever connects, once a connection.
fn hostile(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let _ = connection.read(&mut [0; 4096]);
            let _ = connection.write_all(answer);
        }
    });
    format!("http://{address}")
}

#[test]
fn whatever_a_relay_answers_a_device_reports_it_and_goes_on() {
    for answer in [
        &b""[..],
        b"\xff\xfe garbage",
        b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\ncut off",
        // A page that promises an entry of 4 GB.
        b"HTTP/1.1 200 OK\r\ncontent-length: 28\r\n\r\n\0\0\0\0\0\0\0\x01nnnnnnnnnnnnnnnn\xff\xff\xff\xff",
    ] {
        let base = hostile(answer);
        let (replica, effects) = Replica::found(Suite::P256, b"one", 1, Seeded::new(1));
        let url = RelayUrl::new(&base, TOKEN);
        let mailboxes: Vec<Box<dyn Mailbox>> = std::vec![
            Box::new(RelayClient::new(url, replica.circle())),
            Box::new(Folder::open(tempfile::tempdir().unwrap().path()).unwrap()),
        ];
        let mut device = Driver::new(replica, effects, Vec::new(), mailboxes);
        let reports = device.sync(1).unwrap();
        assert!(
            reports.iter().any(|report| matches!(report, Report::Unreachable(0, _))),
            "{:?}: {reports:?}",
            String::from_utf8_lossy(answer)
        );
        let record = RecordId([1; 16]);
        device.handle(2, SyncEvent::Local(std::vec![put(record)])).unwrap();
        assert!(device.replica().record(record).is_some());
    }
}

#[test]
fn a_relay_that_drips_is_as_one_that_is_down() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let _ = connection.read(&mut [0; 4096]);
            let _ = connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n");
            // A byte now and then keeps a connection alive for ever.
            while connection.write_all(b"x").is_ok() {
                thread::sleep(Duration::from_millis(20));
            }
        }
    });
    let (replica, effects) = Replica::found(Suite::P256, b"one", 1, Seeded::new(1));
    let client = RelayClient::new(RelayUrl::new(&base, TOKEN), replica.circle());
    let client = client.with_patience(Duration::from_millis(200));
    let mut device = Driver::new(replica, effects, Vec::new(), std::vec![Box::new(client)]);
    let reports = device.sync(1).unwrap();
    assert!(reports.iter().any(|report| matches!(report, Report::Unreachable(0, _))), "{reports:?}");
}

#[test]
fn a_relay_url_keeps_its_token_to_itself() {
    let url = RelayUrl::parse("https://relay.example/#0123456789abcdef").unwrap();
    assert_eq!(RelayUrl::parse(&url.to_text()), Some(url.clone()));
    assert!(!format!("{url:?}").contains("0123456789abcdef"));
    for wrong in ["relay.example#0123456789abcdef", "https://relay.example/", "https://relay.example/#short"]
    {
        assert_eq!(RelayUrl::parse(wrong), None, "{wrong}");
    }
}
