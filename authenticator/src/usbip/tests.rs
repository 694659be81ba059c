use std::io::Read as _;
use std::net::TcpStream;
use std::sync::mpsc::channel;

use doppelkey_core::Answer;
use doppelkey_ctaphid::command;

use super::client::{UsbIpConnection, devices, import};
use super::protocol::{ECONNRESET, EPIPE, HEADER_LENGTH, Submit};
use super::*;
use crate::device::tests::{APPROVED, ASK, ECHO, device, packet, pings, receive, timeless_device};
use crate::device::{Connection, Observation};
use crate::user_interface::{Auto, External};

fn serve() -> Server {
    let server = Server::bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    assert_eq!(server.plug(device(Auto)).as_deref(), Ok("1-1"));
    server
}

fn attach(server: &Server) -> UsbIpConnection {
    UsbIpConnection::attach(server.address(), "1-1").expect("it is free")
}

fn open(connection: &mut impl Connection) -> [u8; 4] {
    connection.send(&packet(&[b"\xff\xff\xff\xff\x86\x00\x08nonce123"])).expect("it takes a packet");
    receive(connection)[15..19].try_into().expect("four bytes")
}

fn echoes(connection: &mut impl Connection, channel: [u8; 4]) {
    connection.send(&packet(&[&channel, &[0x90, 0, 2, ECHO, 9]])).expect("it takes a packet");
    // On a busy machine keepalives may come first.
    let answer =
        std::iter::repeat_with(|| receive(connection)).find(|packet| packet[4] != command::KEEPALIVE | 0x80);
    assert_eq!(answer.expect("it answers")[4..9], [0x90, 0, 2, ECHO, 9]);
}

/// A connection on which a test says every byte itself.
struct Raw {
    stream: TcpStream,
    device: u32,
}

impl Raw {
    fn import(server: &Server) -> Self {
        let (stream, imported) = import(server.address(), "1-1").expect("it is free");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
        let mut raw = Raw { stream, device: imported.id };
        // SET_CONFIGURATION
        assert_eq!(raw.control([0, 9, 1, 0, 0, 0, 0, 0], &[]).0, 0);
        raw
    }

    fn submit(
        &mut self,
        sequence: u32,
        is_in: bool,
        endpoint: u8,
        length: usize,
        setup: [u8; 8],
        data: &[u8],
    ) {
        let submit = Submit { sequence, is_in, endpoint, length, setup };
        let bytes = [&protocol::submit(self.device, &submit)[..], data].concat();
        self.stream.write_all(&bytes).expect("it takes a command");
    }

    fn control(&mut self, setup: [u8; 8], data: &[u8]) -> (i32, Vec<u8>) {
        let is_in = setup[0] & 0x80 != 0;
        let length = usize::from(u16::from_le_bytes([setup[6], setup[7]]));
        self.submit(7, is_in, 0, length, setup, data);
        let (command, sequence, status, data) = self.answer(is_in);
        assert_eq!((command, sequence), (3, 7));
        (status, data)
    }

    fn answer(&mut self, is_in: bool) -> (u32, u32, i32, Vec<u8>) {
        let header: [u8; HEADER_LENGTH] = protocol::read(&self.stream).expect("it answers");
        let word = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().expect("four bytes"));
        let mut data = vec![0; if is_in { word(24) as usize } else { 0 }];
        self.stream.read_exact(&mut data).expect("data follows");
        (word(0), word(4), word(20).cast_signed(), data)
    }

    /// Sends bytes that no host would send; the server must end this connection.
    fn ends_after(mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("it takes bytes");
        assert!(matches!(self.stream.read(&mut [0; 1]), Ok(0) | Err(_)));
    }
}

#[test]
fn devices_are_listed_and_each_has_its_place() {
    let server = serve();
    assert_eq!(server.plug(device(Auto)).as_deref(), Ok("1-2"));
    let listed = devices(server.address()).expect("it answers");
    assert_eq!(listed.iter().map(|device| &*device.busid).collect::<Vec<_>>(), ["1-1", "1-2"]);
    assert_eq!((listed[0].vendor, listed[0].product), (0x1209, 0x0001));
    assert!(server.unplug("1-1"));
    assert!(!server.unplug("1-1"));
    assert!(!server.unplug("1-02"));
    assert_eq!(server.busids(), ["1-2"]);
    assert_eq!(server.plug(device(Auto)).as_deref(), Ok("1-1"));
}

#[test]
fn an_attached_device_is_enumerated_and_answers() {
    let server = serve();
    let mut connection = attach(&server);
    let channel = open(&mut connection);
    echoes(&mut connection, channel);
    assert_eq!(connection.receive(Some(Duration::ZERO)).expect("it is there"), None);
}

#[test]
fn a_second_host_is_refused_until_the_first_has_gone() {
    let server = serve();
    let mut first = attach(&server);
    let refused = UsbIpConnection::attach(server.address(), "1-1").err().map(|error| error.kind());
    assert_eq!(refused, Some(io::ErrorKind::ResourceBusy));
    let channel = open(&mut first);
    echoes(&mut first, channel);
    drop(first);
    attach(&server);
}

/// The first one's request takes the engine longer than any import waits for a host that is still there.
#[cfg(target_os = "linux")]
#[test]
fn a_host_that_went_while_its_request_is_worked_on_is_waited_for() {
    let server = Server::bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let device = device(Auto);
    let ((begun, begins), (go_on, goes_on)) = (channel(), channel::<()>());
    let goes_on = Mutex::new(goes_on);
    device.observe(move |observation| {
        if matches!(observation, Observation::Request { .. }) && begun.send(()).is_ok() {
            let _ = goes_on.lock().expect("nobody panics with it").recv();
        }
    });
    server.plug(device).expect("a place is free");
    let mut first = attach(&server);
    let channel = open(&mut first);
    first.send(&packet(&[&channel, &[0x90, 0, 2, ECHO, 9]])).expect("it takes a packet");
    begins.recv_timeout(Duration::from_secs(20)).expect("it is worked on");
    drop((begins, first));
    std::thread::scope(|scope| {
        let next = scope.spawn(|| attach(&server));
        std::thread::sleep(3 * LETTING_GO);
        drop(go_on);
        let mut next = next.join().expect("it is let in");
        let channel = open(&mut next);
        echoes(&mut next, channel);
    });
}

#[test]
fn a_bus_id_that_is_not_here_is_refused_and_the_connection_goes_on() {
    let server = serve();
    for busid in ["1-2", "1-0", "1-256", "1-01", "2-1", "", "1-1 "] {
        let refused = UsbIpConnection::attach(server.address(), busid).err().map(|error| error.kind());
        assert_eq!(refused, Some(io::ErrorKind::NotFound), "{busid:?}");
    }
}

#[test]
fn each_import_is_a_fresh_plug_in() {
    let server = serve();
    let mut first = attach(&server);
    let channel = open(&mut first);
    drop(first);
    let mut second = attach(&server);
    second.send(&packet(&[&channel, &[0x81, 0, 0]])).expect("it takes a packet");
    assert_eq!(receive(&mut second)[4..8], [command::ERROR | 0x80, 0, 1, 0x0b]);
}

#[test]
fn an_unplugged_device_is_gone_for_its_host() {
    let server = serve();
    let mut connection = attach(&server);
    assert!(server.unplug("1-1"));
    assert!(connection.receive(Some(Duration::from_secs(20))).is_err());
}

#[test]
fn keepalives_and_late_answers_come_by_themselves() {
    let server = Server::bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let user = External::default();
    server.plug(device(user.clone())).expect("a place is free");
    let mut connection = attach(&server);
    let channel = open(&mut connection);
    connection.send(&packet(&[&channel, &[0x90, 0, 1, ASK]])).expect("it takes a packet");
    for _ in 0..3 {
        assert_eq!(receive(&mut connection)[4..8], [0xbb, 0, 1, 2]);
    }
    assert!(user.answer(Answer::Approve { verified: true, account: None }));
    loop {
        let answer = receive(&mut connection);
        if answer[4] != command::KEEPALIVE | 0x80 {
            break assert_eq!(answer[4..8], [0x90, 0, 1, APPROVED]);
        }
    }
    // Nothing is fetched while a prompt is open; the thread for it must not spin, and what waits is not lost.
    connection.send(&packet(&[&channel, &[0x90, 0, 1, ASK]])).expect("it takes a packet");
    assert!(user.wait_for_prompt(1, Duration::from_secs(20)).is_some());
    drop(connection);
    assert_eq!(user.wait_for_prompt(2, Duration::from_millis(1)), None);
}

#[test]
fn an_unlinked_transfer_has_no_answer_but_that_of_the_unlink() {
    let mut raw = Raw::import(serve_forever());
    raw.submit(20, true, 1, 64, [0; 8], &[]);
    let unlink = protocol::unlink(raw.device, 21, 20);
    raw.stream.write_all(&unlink).expect("it takes a command");
    assert_eq!(raw.answer(false), (4, 21, -ECONNRESET, vec![]));
    // What is not pending (any more) cannot be taken back.
    let unlink = protocol::unlink(raw.device, 22, 20);
    raw.stream.write_all(&unlink).expect("it takes a command");
    assert_eq!(raw.answer(false), (4, 22, 0, vec![]));
    assert_eq!(raw.control([0x80, 6, 0, 1, 0, 0, 18, 0], &[]).1.len(), 18);
}

/// A server that lives as long as the process: for tests that only need its address once.
fn serve_forever() -> &'static Server {
    Box::leak(Box::new(serve()))
}

#[test]
fn control_transfers_end_as_usb_says() {
    let mut raw = Raw::import(serve_forever());
    // The device descriptor, whole, cut short, and asked for more than there is.
    for (asked, given) in [(18, 18), (8, 8), (64, 18), (255, 18), (0, 0)] {
        let (status, data) = raw.control([0x80, 6, 0, 1, 0, 0, asked, 0], &[]);
        assert_eq!((status, data.len()), (0, given));
    }
    // A string of exactly one packet or more, to its end.
    let (status, name) = raw.control([0x80, 6, 2, 3, 9, 4, 255, 0], &[]);
    assert_eq!((status, name.len()), (0, usize::from(name[0])));
    assert!(String::from_utf8_lossy(&name).replace('\0', "").contains("Doppelkey"));
    // What there is not: a qualifier, a string, a report to get, a configuration.
    for setup in [
        [0x80, 6, 0, 6, 0, 0, 10, 0],
        [0x80, 6, 9, 3, 9, 4, 255, 0],
        [0xa1, 1, 0, 1, 0, 0, 64, 0],
        [0x00, 9, 5, 0, 0, 0, 0, 0],
        [0xc0, 0xff, 0, 0, 0, 0, 8, 0],
        [0x40, 0xff, 0, 0, 0, 0, 0, 0],
    ] {
        assert_eq!(raw.control(setup, &[]).0, -EPIPE, "{setup:02x?}");
    }
    // SET_REPORT, with data of every awkward length, even more than the device can hold.
    for length in [1_u8, 63, 64, 65, 128, 129, 255] {
        let (status, _) = raw.control([0x21, 9, 0, 2, 0, 0, length, 0], &vec![0; length.into()]);
        assert_eq!(status, -EPIPE, "{length}");
    }
    // It still works.
    assert_eq!(raw.control([0x81, 6, 0, 0x22, 0, 0, 34, 0], &[]).1, doppelkey_ctaphid::REPORT_DESCRIPTOR);
    assert_eq!(raw.control([0x80, 8, 0, 0, 0, 0, 1, 0], &[]), (0, vec![1]));
}

#[test]
fn interrupt_transfers_of_odd_shapes_are_answered() {
    let mut raw = Raw::import(serve_forever());
    // No such endpoint.
    raw.submit(30, true, 5, 64, [0; 8], &[]);
    assert_eq!(raw.answer(true), (3, 30, -EPIPE, vec![]));
    // Reports that are too short or empty are dropped; two in one transfer are two.
    raw.submit(31, false, 1, 3, [0; 8], &[1, 2, 3]);
    assert_eq!(raw.answer(false), (3, 31, 0, vec![]));
    raw.submit(32, false, 1, 0, [0; 8], &[]);
    assert_eq!(raw.answer(false), (3, 32, 0, vec![]));
    let init = packet(&[b"\xff\xff\xff\xff\x86\x00\x08nonce123"]);
    raw.submit(33, false, 1, 128, [0; 8], &[init, init].concat());
    assert_eq!(raw.answer(false), (3, 33, 0, vec![]));
    for sequence in [34, 35] {
        raw.submit(sequence, true, 1, 64, [0; 8], &[]);
        let (command, answered, status, data) = raw.answer(true);
        assert_eq!((command, answered, status, data.len()), (3, sequence, 0, 64));
    }
    // A halted endpoint, until it is cleared.
    assert_eq!(raw.control([2, 3, 0, 0, 0x01, 0, 0, 0], &[]).0, 0);
    raw.submit(36, false, 1, 64, [0; 8], &init);
    assert_eq!(raw.answer(false), (3, 36, -EPIPE, vec![]));
    assert_eq!(raw.control([2, 1, 0, 0, 0x01, 0, 0, 0], &[]).0, 0);
    raw.submit(37, false, 1, 64, [0; 8], &init);
    assert_eq!(raw.answer(false), (3, 37, 0, vec![]));
}

#[test]
fn commands_may_come_in_any_segments() {
    let server = serve();
    let mut raw = Raw::import(&server);
    raw.stream.set_nodelay(true).expect("a socket");
    let submit = Submit { sequence: 40, is_in: false, endpoint: 1, length: 64, setup: [0; 8] };
    let mut bytes = protocol::submit(raw.device, &submit).to_vec();
    bytes.extend(packet(&[b"\xff\xff\xff\xff\x86\x00\x08nonce123"]));
    let submit = Submit { sequence: 41, is_in: true, endpoint: 1, length: 64, setup: [0; 8] };
    bytes.extend(protocol::submit(raw.device, &submit));
    for byte in bytes {
        raw.stream.write_all(&[byte]).expect("it takes a byte");
    }
    assert_eq!(raw.answer(false), (3, 40, 0, vec![]));
    assert_eq!(raw.answer(true).3.len(), 64);
}

#[test]
fn whoever_does_not_speak_usbip_is_let_go_and_nobody_else() {
    let server = serve();
    let command = |at: usize, word: u32| {
        let submit = Submit { sequence: 50, is_in: true, endpoint: 0, length: 18, setup: [0; 8] };
        let mut bytes = protocol::submit(protocol::device_id(1), &submit);
        bytes[at..at + 4].copy_from_slice(&word.to_be_bytes());
        bytes
    };
    // An unknown command, a foreign device, a direction, an endpoint and lengths that there are not.
    for hostile in [
        command(0, 0),
        command(0, 5),
        command(8, 7),
        command(12, 2),
        command(16, 16),
        command(16, u32::MAX),
        command(24, 65_536),
        command(24, u32::MAX),
    ] {
        Raw::import(&server).ends_after(&hostile);
    }
    for operation in
        [&b"\x01\x10\x80\x05\0\0\0\0"[..], b"\x01\x11\x12\x34\0\0\0\0", b"GET / HTTP/1.1\r\n\r\n"]
    {
        let mut stream = TcpStream::connect(server.address()).expect("it listens");
        stream.write_all(operation).expect("it takes bytes");
        assert!(matches!(stream.read(&mut [0; 1]), Ok(0) | Err(_)));
    }
    // More pending transfers than any host has.
    let mut raw = Raw::import(&server);
    for sequence in 0..100 {
        let submit = Submit { sequence, is_in: true, endpoint: 1, length: 64, setup: [0; 8] };
        if raw.stream.write_all(&protocol::submit(raw.device, &submit)).is_err() {
            break;
        }
    }
    assert!(matches!(raw.stream.read(&mut [0; 1]), Ok(0) | Err(_)));
    drop(raw);
    // A header that never ends, and a connection that is cut inside one.
    let mut half = Raw::import(&server);
    half.stream.write_all(&command(0, 1)[..20]).expect("it takes bytes");
    drop(half);
    let mut connection = attach(&server);
    let channel = open(&mut connection);
    echoes(&mut connection, channel);
}

#[test]
fn a_late_goodbye_does_not_free_the_next_device() {
    let server = serve();
    let claim = || {
        let stream = TcpStream::connect(server.address()).and_then(Stream::tcp).expect("it listens");
        let mut busid = [0; BUSID_LENGTH];
        busid[..3].copy_from_slice(b"1-1");
        server.places.claim(&stream, &busid).expect("a socket")
    };
    let first = claim();
    assert!(first.is_ok());
    // Power off and on, while the engine still works for the first.
    assert!(server.unplug("1-1"));
    assert_eq!(server.plug(device(Auto)).as_deref(), Ok("1-1"));
    let second = claim();
    assert!(second.is_ok());
    drop(first);
    assert_eq!(claim().err(), Some(OpStatus::Busy), "the second still has it");
    drop(second);
    assert!(claim().is_ok());
}

#[test]
fn a_thousand_attachments_leave_nothing_behind() {
    let server = serve();
    let threads = || std::fs::read_dir("/proc/self/task").map(Iterator::count);
    let mut connection = attach(&server);
    open(&mut connection);
    drop(connection);
    for _ in 0..1000 {
        let mut connection = attach(&server);
        let channel = open(&mut connection);
        echoes(&mut connection, channel);
    }
    // Other tests of this process have threads too, but not hundreds.
    if let Ok(threads) = threads() {
        assert!(threads < 200, "{threads} threads");
    }
    // Dropping the server waits for its connections: none is left that would keep it.
    drop(server);
}

#[test]
fn ten_thousand_pings_of_mixed_sizes_come_back_unchanged() {
    let server = Server::bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    server.plug(timeless_device()).expect("a place is free");
    let mut connection = attach(&server);
    let channel = open(&mut connection);
    pings(&mut connection, channel, 10_000);
}
