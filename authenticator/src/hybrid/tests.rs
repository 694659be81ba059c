//! Phone and desktop, over the air of a folder and a tunnel server of this process.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use doppelkey_core::testing::SeededRng;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::advert::Eid;
use super::noise::Responder;
use super::tunnel::{Event, Tunnel};
use super::tunnel_server::TunnelServer;
use super::*;
use crate::client::{Abort, Call as ClientCall, Client, Timeouts, ephemeral_device, system_clock};
use crate::text::hex_upper;
use crate::user_interface::{Auto, Deny, External, UserInterface};

const SOON: Duration = Duration::from_secs(20);
const ORIGIN: &str = "https://example.com";

/// Randomness with a seed.
pub(crate) fn rng(seed: u64) -> SeededRng {
    SeededRng::new(seed)
}

/// A screen whose codes are handed on, to be scanned or lost.
struct Shown(Sender<String>);

impl Screen for Shown {
    fn show(&mut self, code: &QrCode) {
        let _ = self.0.send(code.to_string());
    }
}

struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        World { folder: tempfile::tempdir().expect("a folder") }
    }

    fn room(&self) -> Room {
        Room::new(self.folder.path().join("air"))
    }

    fn links(&self) -> std::path::PathBuf {
        self.folder.path().join("links.json")
    }

    /// A phone at this port, or any if it is 0.
    fn phone(&self, user: impl UserInterface + 'static, port: u16) -> (Arc<Phone>, Calls) {
        self.phone_called("Mona's phone", user, port)
    }

    fn phone_called(&self, name: &str, user: impl UserInterface + 'static, port: u16) -> (Arc<Phone>, Calls) {
        let clock = system_clock();
        let device = ephemeral_device(Phone::configuration(), Box::new(user), clock.clone());
        let root = Zeroizing::new([7; 32]);
        let address = ([127, 0, 0, 1], port).into();
        let (phone, calls) =
            Phone::new((device, clock), self.room(), name, address, root, rng(u64::from(port) + 9))
                .expect("a phone");
        (Arc::new(phone), calls)
    }

    /// A desktop that keeps its links in a file, and the codes that it shows.
    fn client(&self, seed: u64) -> (Client, Receiver<String>) {
        let (sender, codes) = channel();
        let clock = system_clock();
        let links = Links::load(&self.links()).expect("links");
        let clocks = (clock.clone(), Arc::new(|| 1_700_000_000_000_u64) as _);
        let desktop = Desktop::new(self.room(), Shown(sender), links, clocks, rng(seed));
        (Client::with_phone(desktop, clock, rng(seed + 1)), codes)
    }
}

/// A phone that scans the first code that is shown.
fn scan_first(phone: &Arc<Phone>, codes: Receiver<String>) -> thread::JoinHandle<Result<(), Error>> {
    let phone = Arc::clone(phone);
    thread::spawn(move || {
        let text = codes.recv_timeout(SOON).expect("a code is shown");
        phone.scan(&QrCode::parse(&text).expect("a code"), &|| true)
    })
}

fn creation(user: &str) -> Value {
    json!({
        "rp": {"id": "example.com", "name": "Example"}, "challenge": "AAAAAAAAAAAAAAAAAAAAAA",
        "user": {"id": "AQ", "name": user, "displayName": user},
        "pubKeyCredParams": [{"type": "public-key", "alg": -7}],
        "authenticatorSelection": {"residentKey": "required", "userVerification": "required"},
        "extensions": {"prf": {"eval": {"first": "AAAA"}}},
    })
}

fn request() -> Value {
    json!({"rpId": "example.com", "challenge": "AAAAAAAAAAAAAAAAAAAAAA", "userVerification": "required"})
}

#[test]
fn a_phone_that_scans_the_code_signs_up_and_is_called_the_next_time() {
    let world = World::new();
    let (phone, calls) = world.phone(Auto, 0);
    let (mut client, codes) = world.client(1);
    let scanning = scan_first(&phone, codes);
    let made = client.create(ORIGIN, &creation("mona")).expect("a passkey");
    assert_eq!(made["response"]["transports"], json!(["hybrid", "internal"]));
    assert_eq!(made["authenticatorAttachment"], "cross-platform");
    assert_eq!(made["clientExtensionResults"]["prf"]["enabled"], true);
    scanning.join().unwrap().expect("served to the end");

    // Another run of the desktop: no code is shown, the phone is called.
    drop(client);
    let (mut client, codes) = world.client(3);
    let answering = thread::spawn(move || {
        let call = calls.next(SOON).expect("a call");
        assert_eq!(call.operation(), Operation::Get);
        phone.answer(&call, &|| true)
    });
    let used = client.get(ORIGIN, &request()).expect("an assertion");
    assert_eq!((&used["id"], &used["authenticatorAttachment"]), (&made["id"], &json!("cross-platform")));
    answering.join().unwrap().expect("served to the end");
    assert!(codes.try_recv().is_err(), "no code was shown");
}

#[test]
fn what_the_links_file_says_only_this_user_reads() {
    let world = World::new();
    let (phone, _calls) = world.phone(Auto, 0);
    let (mut client, codes) = world.client(1);
    let scanning = scan_first(&phone, codes);
    client.create(ORIGIN, &creation("mona")).expect("a passkey");
    scanning.join().unwrap().unwrap();
    drop(client);
    assert_eq!(Links::load(&world.links()).unwrap().names(), ["Mona's phone"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(world.links()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    std::fs::write(world.links(), "{}").unwrap();
    assert_eq!(Links::load(&world.links()).err().unwrap().kind(), std::io::ErrorKind::InvalidData);
}

#[test]
fn a_linked_phone_that_is_off_or_forgets_gives_way_to_a_code() {
    let world = World::new();
    let (phone, calls) = world.phone(Auto, 0);
    let (mut client, codes) = world.client(1);
    let scanning = scan_first(&phone, codes);
    let made = client.create(ORIGIN, &creation("mona")).expect("a passkey");
    scanning.join().unwrap().unwrap();
    drop((phone, calls, client));

    // Nothing listens at its tunnel server: a code is shown, and another phone has no such passkey.
    let (other, _calls) = world.phone(Auto, 0);
    let (mut client, codes) = world.client(3);
    let scanning = scan_first(&other, codes);
    let refused = client.get(ORIGIN, &request());
    assert!(matches!(refused, Err(crate::client::Error::NoCredential)), "{refused:?}");
    scanning.join().unwrap().unwrap();
    assert!(made["id"].is_string());
}

#[test]
fn a_phone_whose_user_says_no_says_so() {
    let world = World::new();
    let (phone, _calls) = world.phone(Deny, 0);
    let (mut client, codes) = world.client(1);
    let scanning = scan_first(&phone, codes);
    assert!(matches!(client.create(ORIGIN, &creation("mona")), Err(crate::client::Error::Refused)));
    scanning.join().unwrap().unwrap();
}

#[test]
fn a_page_that_takes_its_call_back_takes_the_prompt_off_the_phone() {
    let world = World::new();
    let user = External::default();
    let (phone, _calls) = world.phone(user.clone(), 0);
    let (mut client, codes) = world.client(1);
    let scanning = scan_first(&phone, codes);
    let abort = Abort::new();
    let call = ClientCall::by(ORIGIN).abort(&abort);
    let asking = thread::spawn(move || client.create(call, &creation("mona")));
    assert!(user.wait_for_prompt(0, SOON).is_some(), "the phone asks");
    abort.abort();
    assert!(matches!(asking.join().unwrap(), Err(crate::client::Error::Aborted)));
    scanning.join().unwrap().unwrap();
    assert!(user.prompt().is_none(), "it asks no more");
}

#[test]
fn a_code_that_nobody_scans_ends_with_the_ceremonys_timeout() {
    let world = World::new();
    let (client, codes) = world.client(1);
    let least = Duration::from_millis(300);
    let mut client = client.with_timeouts(Timeouts { least, usual: least, most: least });
    assert!(matches!(client.get(ORIGIN, &request()), Err(crate::client::Error::TimedOut)));
    assert!(codes.try_recv().is_ok(), "it was shown");
    assert_eq!(std::fs::read_dir(world.room().folder()).unwrap().count(), 0, "nobody listens any more");
}

/// The desktop's ceremony, which may take so long and whose code is given to `scanned`, ends so.
fn ends(most: Duration, scanned: impl FnOnce(QrCode, Room) + Send + 'static) -> crate::client::Error {
    let world = World::new();
    let (client, codes) = world.client(1);
    let mut client = client.with_timeouts(Timeouts { least: most, usual: most, most });
    let room = world.room();
    let scanning = thread::spawn(move || {
        scanned(QrCode::parse(&codes.recv_timeout(SOON).expect("a code is shown")).expect("a code"), room);
    });
    let ended = client.get(ORIGIN, &request()).expect_err("nobody authentic came");
    scanning.join().expect("as expected");
    ended
}

/// Opens a tunnel for a code, and says where.
fn advertised(code: &QrCode, room: &Room, server: &TunnelServer) -> (Tunnel, Eid) {
    let domain = server.address().port();
    let (tunnel, routing_id) = Tunnel::open(domain, &code.tunnel_id()).expect("a tunnel");
    let eid = Eid { nonce: [1; 10], routing_id, domain };
    room.advertise(&eid.seal(&code.eid_key())).expect("said");
    (tunnel, eid)
}

fn message(tunnel: &Tunnel) -> Vec<u8> {
    match tunnel.next(SOON) {
        Some(Event::Message(message)) => message,
        _ => panic!("the desktop says something"),
    }
}

#[test]
fn a_tunnel_that_answers_itself_is_no_phone() {
    let ended = ends(SOON, |code, room| {
        let server = TunnelServer::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let (tunnel, _) = advertised(&code, &room, &server);
        let theirs = message(&tunnel);
        // It has neither the code nor the advertisement's plaintext, and guesses.
        let psk = Zeroizing::new([0; 32]);
        assert!(Responder::Code(&code.identity).answer(&psk, &theirs, &mut rng(5)).is_err());
        tunnel.send(theirs);
        assert!(matches!(tunnel.next(SOON), Some(Event::Closed)));
    });
    assert!(ended.to_string().contains("not the one that it should be"), "{ended}");
}

#[test]
fn a_tunnel_whose_upgrade_fails_gives_its_place_up() {
    let server = TunnelServer::bind(([127, 0, 0, 1], 0).into()).expect("a port");
    // One more than there are places. The connection never becomes a WebSocket's: a body is on its way, and does not come.
    for number in 0..=256 {
        let mut stream = TcpStream::connect(server.address()).expect("it listens");
        let id = hex_upper(&[7; 16]);
        write!(
            stream,
            "GET /cable/new/{id} HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
             Sec-WebSocket-Protocol: fido.cable\r\nContent-Length: 2\r\n\r\nx"
        )
        .expect("it reads");
        let mut status = String::new();
        BufReader::new(stream).read_line(&mut status).expect("it answers");
        assert!(status.starts_with("HTTP/1.1 101 "), "{number}: {status}");
    }
}

#[test]
fn a_tunnel_that_changes_what_is_said_is_noticed() {
    let ended = ends(SOON, |code, room| {
        let server = TunnelServer::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let (tunnel, eid) = advertised(&code, &room, &server);
        let theirs = message(&tunnel);
        let psk = code.psk(&eid.to_bytes());
        let (mut session, answer) =
            Responder::Code(&code.identity).answer(&psk, &theirs, &mut rng(5)).expect("authentic");
        tunnel.send(answer);
        let mut greeting = session.seal(&super::message::greeting(&[0xa0])).unwrap();
        greeting[0] ^= 1;
        tunnel.send(greeting);
        message(&tunnel);
        assert!(matches!(tunnel.next(SOON), Some(Event::Closed)), "goodbye, and gone");
    });
    assert!(ended.to_string().contains("not the one that it should be"), "{ended}");
}

#[test]
fn an_advertisement_that_is_said_again_or_leads_nowhere_is_passed_over() {
    let ended = ends(Duration::from_secs(2), |code, room| {
        let nowhere = Eid { nonce: [1; 10], routing_id: [2; 3], domain: 256 };
        let assigned = Eid { domain: 0, ..nowhere };
        let (other, _) = QrCode::generate(Operation::Get, None, &mut rng(8));
        for _ in 0..3 {
            room.advertise(&nowhere.seal(&code.eid_key())).unwrap();
            room.advertise(&assigned.seal(&code.eid_key())).unwrap();
            room.advertise(&nowhere.seal(&other.eid_key())).unwrap();
        }
    });
    assert!(matches!(ended, crate::client::Error::TimedOut), "{ended}");
}

#[test]
fn a_phone_does_not_answer_a_desktop_that_has_not_shown_the_code() {
    let world = World::new();
    let (phone, _calls) = world.phone(Auto, 0);
    let (code, _) = QrCode::generate(Operation::Get, None, &mut rng(1));
    let (port, listener) = (phone.address().port(), world.room().listen().unwrap());
    let key = code.eid_key();
    let tunnel_id = code.tunnel_id();
    let scanning = thread::spawn(move || phone.scan(&code, &|| true));
    let advert = listener.hear(SOON).unwrap().expect("it advertises");
    // Knows all but the identity's private half.
    let eid = Eid::open(&advert, &key).expect("for this code");
    let tunnel = Tunnel::join(port, &eid.routing_id, &tunnel_id).expect("it waits");
    tunnel.send(vec![4; 81]);
    assert!(matches!(scanning.join().unwrap(), Err(Error::NotAuthentic)));
    let again = Tunnel::join(port, &eid.routing_id, &tunnel_id);
    assert!(matches!(again, Err(Error::Tunnel(_))), "a tunnel is joined once");
}

#[test]
fn a_phone_gives_up_when_its_user_does_and_calls_that_make_no_sense_are_none() {
    let world = World::new();
    let (phone, calls) = world.phone(Auto, 0);
    let (code, _) = QrCode::generate(Operation::Get, None, &mut rng(1));
    let asked = AtomicBool::new(false);
    let once = || !asked.swap(true, Ordering::Relaxed);
    assert!(matches!(phone.scan(&code, &once), Err(Error::GivenUp)));
    let port = phone.address().port();
    assert!(matches!(Tunnel::contact(port, b"nobody", &[0xa0]), Err(Error::Unlinked)));
    let contact_id: [u8; 16] = *super::secrets::derive(&[7; 32], &[], super::secrets::Purpose::ContactId);
    let _tunnel = Tunnel::contact(port, &contact_id, &[0xa0]).expect("it is known");
    assert!(calls.next(Duration::from_millis(500)).is_err());
}

/// What this process has logged since the first test that looked.
struct Logged(Mutex<Vec<String>>);

static LOGGED: Logged = Logged(Mutex::new(Vec::new()));

impl log::Log for Logged {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        self.0.lock().expect("nobody panics with it").push(record.args().to_string());
    }

    fn flush(&self) {}
}

/// Where another program than ours keeps the log, too.
#[test]
fn a_linked_phones_name_steers_no_log() {
    log::set_logger(&LOGGED).expect("no other test has one");
    log::set_max_level(log::LevelFilter::Debug);
    let name = "Mona\u{1b}]0;yours\u{7}\u{202e}\nerror: lost";
    let least = Duration::from_millis(300);
    let timeouts = || Timeouts { least, usual: least, most: least };
    let (world, _stranger) = loop {
        let world = World::new();
        let (phone, calls) = world.phone_called(name, Auto, 0);
        let (mut client, codes) = world.client(1);
        let scanning = scan_first(&phone, codes);
        client.create(ORIGIN, &creation("mona")).expect("a passkey");
        scanning.join().unwrap().unwrap();
        // Off, and then at another port's tunnel server, which knows nothing of a link.
        let port = phone.address().port();
        drop((phone, calls, client));
        let (client, _codes) = world.client(3);
        assert!(client.with_timeouts(timeouts()).get(ORIGIN, &request()).is_err());
        match TunnelServer::bind(([127, 0, 0, 1], port).into()) {
            Ok(stranger) => break (world, stranger),
            // Another program was given it meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
            Err(error) => panic!("{error}"),
        }
    };
    let (client, _codes) = world.client(5);
    assert!(client.with_timeouts(timeouts()).get(ORIGIN, &request()).is_err());
    let logged = LOGGED.0.lock().unwrap().clone();
    for about in ["cannot be called", "can be called no more"] {
        let line =
            logged.iter().find(|line| line.contains(about) && line.contains("Mona�]0;yours���error: lost"));
        assert!(line.is_some(), "{about}: {logged:?}");
    }
    let steers = |line: &&String| line.contains('\u{1b}') || line.contains('\u{202e}');
    assert_eq!(logged.iter().find(steers), None);
}
