//! What a ceremony costs through the doors, against what it must cost: `cargo bench -p doppelkey --bench doors`.
//!
//! A floor is measured in the same run with the same sizes and threads: packets that go back and forth through a
//! socket without meaning, one after the other; the signature alone; an `fdatasync` of as many bytes alone. A figure
//! is the median of many; the ratio to its floor is what counts, since machines differ.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use doppelkey::device::{Clock, Connection, Device, Packet, SharedStore};
use doppelkey::usbip::client::UsbIpConnection;
use doppelkey::user_interface::Auto;
use doppelkey::vault::{Custody, Vault};
use doppelkey::{packets, usbip};
use doppelkey_core::{
    Algorithm, Authenticator, Configuration, Credential, CredentialStore as _, OptionId, PrivateKey, User,
};
use rand_core::UnwrapErr;
use sha2::{Digest as _, Sha256};

fn main() {
    // `cargo test --benches` only wants to know that it runs.
    let quick = std::env::args().any(|argument| argument == "--test");
    let rounds = if quick { 3 } else { 2_000 };
    println!("median of {rounds}; ratio to the floor of the same run\n");
    transport(rounds);
    ceremonies(rounds, &[10, if quick { 100 } else { 100_000 }]);
}

/// CTAPHID alone.
fn transport(rounds: usize) {
    let server = serve_ephemeral();
    let mut usb = attach(&server);
    let channel = open(&mut usb);
    // What USB/IP carries for a report each way: 48 + 64 + 48 bytes there, 48 + 48 + 64 back.
    let mut echo = Echo::start(160, 160);
    let floor = median(rounds, || echo.round_trip());
    report("floor: 160 bytes to and fro over TCP", floor, None);
    let init = packet(&[0xff; 4], &[0x86, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]);
    report("INIT over USB/IP", median(rounds, || exchange(&mut usb, &init)), Some((floor, 1.5)));
    let ping = packet(&channel, &[0x81, 0, 57]);
    report("PING 57 B over USB/IP", median(rounds, || exchange(&mut usb, &ping)), Some((floor, 1.5)));
    drop(usb);

    let device = ephemeral();
    let any = "127.0.0.1:0".parse().expect("an address");
    let server = packets::Server::bind(&any, device.clone()).expect("a free port");
    let packets::Address::Tcp(address) = *server.address() else { unreachable!("it was asked for TCP") };
    let mut raw = Raw(connect(address));
    let channel = open(&mut raw);
    let mut echo = Echo::start(64, 64);
    let floor = median(rounds, || echo.round_trip());
    report("floor: 64 bytes to and fro over TCP", floor, None);
    let ping = packet(&channel, &[0x81, 0, 57]);
    report("PING 57 B over packets", median(rounds, || exchange(&mut raw, &ping)), Some((floor, 1.5)));
    let mut local = device.connect();
    let channel = open(&mut local);
    let ping = packet(&channel, &[0x81, 0, 57]);
    report("PING 57 B in process", median(rounds, || exchange(&mut local, &ping)), None);
    println!();
}

/// getAssertion and makeCredential over USB/IP, from vaults of these sizes.
fn ceremonies(rounds: usize, sizes: &[u32]) {
    let folder = tempfile::tempdir().expect("a folder");
    let signing = sign_floor(rounds);
    report("floor: an ES256 signature", signing, None);
    for size in sizes {
        let vault = vault_of(&folder.path().join(format!("vault-{size}")), *size);
        let server = usbip::Server::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        server.plug(device(vault)).expect("a place is free");
        let mut usb = attach(&server);
        let channel = open(&mut usb);

        let request = get_assertion();
        let length = message(&mut usb, &channel, &request).len();
        let floor = signing + wire_floor(rounds, request.len(), length);
        let time = median(rounds, || drop(message(&mut usb, &channel, &request)));
        report(&format!("getAssertion, {size} credentials"), time, Some((floor, 1.25)));

        let length = message(&mut usb, &channel, &make_credential(0)).len();
        let request_length = make_credential(0).len();
        let sync = sync_floor(rounds.min(500), folder.path());
        let floor = signing + wire_floor(rounds, request_length, length) + sync;
        let mut number = 0;
        let time = median(rounds.min(500), || {
            number += 1;
            drop(message(&mut usb, &channel, &make_credential(number)));
        });
        report(
            &format!("makeCredential, {size} credentials, of its floor {} fdatasync", shown(sync)),
            time,
            Some((floor, 1.25)),
        );
        if *size == sizes[0] {
            let time = after_a_pause(rounds.min(60), || {
                number += 1;
                drop(message(&mut usb, &channel, &make_credential(number)));
            });
            let floor = idle_floor(rounds.min(60), request_length, length, folder.path());
            report("makeCredential after a pause, as a user makes them", time, Some((floor, 1.25)));
        }
    }
}

/// A signature, the packets and an `fdatasync`, one after the other, after a pause like that of what is measured.
fn idle_floor(rounds: usize, request: usize, response: usize, folder: &Path) -> Duration {
    let key = PrivateKey::generate(Algorithm::Es256, &mut UnwrapErr(getrandom::SysRng));
    let mut file = File::create(folder.join("idle-floor")).expect("it can be written");
    let mut echo = Echo::start(160, 160);
    let trips = trips(request, response);
    after_a_pause(rounds, || {
        std::hint::black_box(key.sign(&[7; 69]));
        (0..trips).for_each(|_| echo.round_trip());
        file.write_all(&[7; 512]).expect("it can be written");
        file.sync_data().expect("it can be synced");
    })
}

/// As [`median`], with time between for a device to prepare the next: two of its timer's beats, and some.
fn after_a_pause(rounds: usize, mut work: impl FnMut()) -> Duration {
    let mut times: Vec<_> = (0..rounds)
        .map(|_| {
            std::thread::sleep(Duration::from_millis(200));
            timed(&mut work)
        })
        .collect();
    times.sort_unstable();
    times[rounds / 2]
}

/// The packets of a request and its response, one after the other, without meaning.
fn wire_floor(rounds: usize, request: usize, response: usize) -> Duration {
    let trips = trips(request, response);
    let mut echo = Echo::start(160, 160);
    median(rounds, || (0..trips).for_each(|_| echo.round_trip()))
}

/// How many round trips of packets a request and its response are.
fn trips(request: usize, response: usize) -> usize {
    let packets = |length: usize| 1 + length.saturating_sub(57).div_ceil(59);
    // The last packet of the request and the first of the response are one.
    packets(request) + packets(response) - 1
}

fn sign_floor(rounds: usize) -> Duration {
    let mut rng = UnwrapErr(getrandom::SysRng);
    let key = PrivateKey::generate(Algorithm::Es256, &mut rng);
    median(rounds, || {
        std::hint::black_box(key.sign(&[7; 69]));
    })
}

fn sync_floor(rounds: usize, folder: &Path) -> Duration {
    let mut file = File::create(folder.join("floor")).expect("it can be written");
    median(rounds, || {
        file.write_all(&[7; 512]).expect("it can be written");
        file.sync_data().expect("it can be synced");
    })
}

/// The other end of a socket, which sends so many bytes whenever it has got so many.
struct Echo {
    stream: TcpStream,
    there: Vec<u8>,
    back: Vec<u8>,
}

impl Echo {
    fn start(there: usize, back: usize) -> Self {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let stream = connect(listener.local_addr().expect("it listens"));
        let (mut other, _) = listener.accept().expect("a connection");
        other.set_nodelay(true).expect("a socket");
        std::thread::spawn(move || {
            let (mut read, written) = (vec![0; there], vec![0; back]);
            while other.read_exact(&mut read).is_ok() && other.write_all(&written).is_ok() {}
        });
        Echo { stream, there: vec![0; there], back: vec![0; back] }
    }

    fn round_trip(&mut self) {
        self.stream.write_all(&self.there).expect("it is there");
        self.stream.read_exact(&mut self.back).expect("it answers");
    }
}

/// Raw packets over TCP.
struct Raw(TcpStream);

impl Connection for Raw {
    fn send(&mut self, packet: &Packet) -> std::io::Result<()> {
        self.0.write_all(packet)
    }

    fn receive(&mut self, _: Option<Duration>) -> std::io::Result<Option<Packet>> {
        let mut packet = [0; 64];
        self.0.read_exact(&mut packet)?;
        Ok(Some(packet))
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_nodelay(true).expect("a socket");
    stream
}

#[expect(clippy::disallowed_methods, reason = "a benchmark composes a device as a program does")]
fn clock() -> Clock {
    let start = Instant::now();
    Arc::new(move || start.elapsed())
}

fn device(vault: Vault) -> Device {
    let store = SharedStore::new(vault);
    Device::new(clock(), Box::new(Auto), move || {
        let mut configuration = Configuration::default();
        // Built-in verification that needs no enrolment.
        configuration.options.retain(|option| !matches!(option, OptionId::BioEnroll | OptionId::UvBioEnroll));
        // What a platform keeps: its counter is 0, and an assertion writes nothing.
        configuration.backup_eligible = true;
        configuration.backup_state = true;
        Box::new(Authenticator::new(store.clone(), UnwrapErr(getrandom::SysRng), configuration))
    })
}

fn ephemeral() -> Device {
    device(Vault::ephemeral().expect("memory is enough"))
}

fn serve_ephemeral() -> usbip::Server {
    let server = usbip::Server::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
    server.plug(ephemeral()).expect("a place is free");
    server
}

fn attach(server: &usbip::Server) -> UsbIpConnection {
    UsbIpConnection::attach(server.address(), "1-1").expect("it is free")
}

/// A vault on disk with one credential of example.com and the others of relying parties of their own.
fn vault_of(path: &Path, size: u32) -> Vault {
    // Made where syncing costs nothing, if there is such a place, and copied.
    let memory = Path::new("/dev/shm");
    let nursery = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let nursery = nursery.expect("a folder");
    let custody = || Some(Custody::File(path.with_extension("key")));
    let made = nursery.path().join("vault");
    let mut vault = Vault::open(&made, custody()).expect("a new vault");
    let key = PrivateKey::generate(Algorithm::Es256, &mut UnwrapErr(getrandom::SysRng));
    for number in 0..size {
        let rp_id = if number == size / 2 { "example.com".into() } else { format!("{number}.example") };
        vault.put(&credential(&rp_id, number, key.clone()), None).expect("there is room");
    }
    drop(vault);
    std::fs::copy(&made, path).expect("there is room");
    Vault::open(path, custody()).expect("it was just made")
}

fn credential(rp_id: &str, number: u32, key: PrivateKey) -> Credential {
    Credential {
        id: [&[7; 28][..], &number.to_be_bytes()].concat().as_slice().try_into().expect("32 bytes fit"),
        rp_id: rp_id.try_into().expect("it is short"),
        user: User {
            id: number.to_be_bytes().as_slice().try_into().expect("4 bytes fit"),
            name: Some("alice".try_into().expect("it is short")),
            display_name: None,
        },
        backup_eligible: true,
        backup_state: true,
        ..Credential::new(Sha256::digest(rp_id).into(), key)
    }
}

fn packet(channel: &[u8; 4], rest: &[u8]) -> Packet {
    let mut packet = [0; 64];
    packet[..4].copy_from_slice(channel);
    packet[4..4 + rest.len()].copy_from_slice(rest);
    packet
}

fn exchange(connection: &mut impl Connection, packet: &Packet) {
    connection.send(packet).expect("it takes a packet");
    receive(connection);
}

fn receive(connection: &mut impl Connection) -> Packet {
    connection.receive(Some(Duration::from_secs(60))).expect("the device is there").expect("it answers")
}

fn open(connection: &mut impl Connection) -> [u8; 4] {
    connection.send(&packet(&[0xff; 4], &[0x86, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8])).expect("it takes a packet");
    receive(connection)[15..19].try_into().expect("four bytes")
}

/// A CTAP2 request and its response, which must be a success.
fn message(connection: &mut impl Connection, channel: &[u8; 4], request: &[u8]) -> Vec<u8> {
    let (first, rest) = request.split_at(request.len().min(57));
    let head = [&[0x90, (request.len() >> 8) as u8, request.len() as u8][..], first].concat();
    connection.send(&packet(channel, &head)).expect("it takes a packet");
    for (chunk, sequence) in rest.chunks(59).zip(0..) {
        connection.send(&packet(channel, &[&[sequence][..], chunk].concat())).expect("it takes a packet");
    }
    let first = loop {
        let packet = receive(connection);
        if packet[4] == 0x90 {
            break packet;
        }
        assert_eq!(packet[4], 0xbb, "a keepalive or the response");
    };
    let length = usize::from(u16::from_be_bytes([first[5], first[6]]));
    let mut response = first[7..].to_vec();
    while response.len() < length {
        response.extend_from_slice(&receive(connection)[5..]);
    }
    response.truncate(length);
    assert_eq!(response[0], 0, "the command succeeds");
    response
}

/// {1: "example.com", 2: clientDataHash, 5: {"up": true}}
fn get_assertion() -> Vec<u8> {
    [&b"\x02\xa2\x01\x6bexample.com\x02\x58\x20"[..], &[7; 32]].concat()
}

/// {1: clientDataHash, 2: rp, 3: user, 4: [ES256], 7: {"rk": true, "uv": true}}
fn make_credential(number: u32) -> Vec<u8> {
    let mut request = b"\x01\xa5\x01\x58\x20".to_vec();
    request.extend([7; 32]);
    request.extend(b"\x02\xa1\x62id\x6bexample.org");
    request.extend(b"\x03\xa2\x62id\x44");
    request.extend(number.to_be_bytes());
    request.extend(b"\x64name\x65alice");
    request.extend(b"\x04\x81\xa2\x63alg\x26\x64type\x6apublic-key");
    request.extend(b"\x07\xa2\x62rk\xf5\x62uv\xf5");
    request
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn timed(work: &mut impl FnMut()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn median(rounds: usize, mut work: impl FnMut()) -> Duration {
    (0..rounds / 10).for_each(|_| work());
    let mut times: Vec<_> = (0..rounds).map(|_| timed(&mut work)).collect();
    times.sort_unstable();
    times[rounds / 2]
}

fn report(what: &str, time: Duration, goal: Option<(Duration, f64)>) {
    let Some((floor, at_most)) = goal else { return println!("{what:<66} {:>9}", shown(time)) };
    let ratio = time.as_secs_f64() / floor.as_secs_f64();
    let verdict = if ratio <= at_most { "" } else { "  ABOVE" };
    println!("{what:<66} {:>9}  {ratio:.2} × {} (goal {at_most}){verdict}", shown(time), shown(floor));
}

fn shown(time: Duration) -> String {
    format!("{:.1} µs", time.as_secs_f64() * 1e6)
}
