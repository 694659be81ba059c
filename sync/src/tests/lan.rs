//! Two devices on one network, without a mailbox.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use super::*;
use crate::lan::{Lan, LanEvent};

struct OnTheLan {
    device: Device,
    lan: Arc<Lan>,
}

impl OnTheLan {
    fn new(mut device: Device) -> Self {
        let lan = Arc::new(Lan::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), || {}).unwrap());
        device.set_peers(lan.clone());
        OnTheLan { device, lan }
    }

    fn listen_to_peers(&mut self, now_ms: u64) {
        for event in self.lan.events() {
            match event {
                LanEvent::Met(peer) => drop(self.device.handle(now_ms, Event::PeerSeen { peer }).unwrap()),
                LanEvent::Said(peer, bytes) => {
                    self.device.handle(now_ms, Event::Peer { peer, bytes }).unwrap();
                }
                LanEvent::Left(_) => {}
            }
        }
    }
}

/// A circle of two whose mailbox is gone.
fn pair(seed: u64) -> (OnTheLan, OnTheLan, RecordId, u64) {
    let mut world = World::of(seed, 2);
    let mut fresh = Vec::new();
    for device in 0..2 {
        let journal = world.devices[device].journal().clone();
        let replica = Replica::open(journal.iter().map(Vec::as_slice), world.rng.fork()).unwrap();
        fresh.push(Driver::new(replica, Vec::new(), journal, Vec::new()));
    }
    let record = RecordId([8; 16]);
    fresh[1].handle(world.now_ms, Event::Local(vec![put_op(record)])).unwrap();
    let two = OnTheLan::new(fresh.pop().unwrap());
    (OnTheLan::new(fresh.pop().unwrap()), two, record, world.now_ms)
}

/// Whether this comes true while both listen.
fn comes_true(
    one: &mut OnTheLan,
    two: &mut OnTheLan,
    now_ms: u64,
    mut holds: impl FnMut(&OnTheLan, &OnTheLan) -> bool,
) -> bool {
    for _ in 0..1_000 {
        one.listen_to_peers(now_ms);
        two.listen_to_peers(now_ms);
        if holds(one, two) {
            return true;
        }
        sleep(Duration::from_millis(10));
    }
    false
}

#[test]
fn two_devices_at_a_known_address_converge_without_a_mailbox() {
    let (mut one, mut two, record, now_ms) = pair(60);
    one.lan.connect(two.lan.address()).unwrap();
    let same = |one: &OnTheLan, two: &OnTheLan| {
        one.device.replica().record(record).is_some()
            && one.device.replica().state() == two.device.replica().state()
    };
    assert!(comes_true(&mut one, &mut two, now_ms, same));
    // The acknowledgement makes the backup flag true on the other one.
    assert!(!two.device.replica().is_backed_up(record));
    let later = now_ms + 2 * crate::ACKNOWLEDGE_AFTER_MS;
    one.device.handle(later, Event::Tick).unwrap();
    let peer = one.lan.peers()[0];
    one.device.handle(later, Event::PeerSeen { peer }).unwrap();
    let backed = |_: &OnTheLan, two: &OnTheLan| two.device.replica().is_backed_up(record);
    assert!(comes_true(&mut one, &mut two, later, backed));
}

#[test]
fn two_devices_find_each_other_by_multicast() {
    let (mut one, mut two, record, now_ms) = pair(61);
    // A port of this test's own, so that other tests on this machine are not heard.
    let port = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let group = SocketAddrV4::new(*crate::lan::GROUP.ip(), port);
    let circle = one.device.replica().circle();
    for (number, device) in [(1, &one), (2, &two)] {
        if let Err(error) = device.lan.discover(group, circle, [number; 16]) {
            std::println!("no multicast on this machine: {error}");
            return;
        }
    }
    let has = |one: &OnTheLan, _: &OnTheLan| one.device.replica().record(record).is_some();
    assert!(comes_true(&mut one, &mut two, now_ms, has));
}

#[test]
fn a_stranger_on_the_network_is_told_nothing() {
    use std::io::{Read as _, Write as _};
    let (mut one, mut two, _, now_ms) = pair(62);
    let mut stranger = std::net::TcpStream::connect(two.lan.address()).unwrap();
    stranger.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    for message in [&b"\x47hello"[..], &[0; 40], &[]] {
        stranger.write_all(&(message.len() as u32).to_be_bytes()).unwrap();
        stranger.write_all(message).unwrap();
    }
    comes_true(&mut one, &mut two, now_ms, |_, two| !two.lan.peers().is_empty());
    sleep(Duration::from_millis(100));
    two.listen_to_peers(now_ms);
    assert!(stranger.read(&mut [0; 10]).is_err(), "nothing comes back");
    // Four gigabytes are not awaited.
    stranger.write_all(&[0xff; 4]).unwrap();
    assert!(comes_true(&mut one, &mut two, now_ms, |_, two| two.lan.peers().is_empty()));
}

#[test]
fn strangers_on_the_network_take_neither_places_nor_memory() {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    let (mut one, two, record, now_ms) = pair(61);
    let address = one.lan.address();
    // Silent ones, and more of them than there are places.
    let silent: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(address).unwrap()).collect();
    // One that sends more than a greeting is long.
    let mut talker = TcpStream::connect(address).unwrap();
    let _ = talker.write_all(&[&(100_000_u32).to_be_bytes()[..], &[7; 100_000]].concat());
    assert!(matches!(talker.read(&mut [0; 1]), Ok(0) | Err(_)), "it is shown out");
    // One that sends what may be greetings, on and on, while nobody has time to look.
    let mut flood = TcpStream::connect(address).unwrap();
    flood.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let noise = [&(10_000_u32).to_be_bytes()[..], &[7; 10_000]].concat();
    let sent = (0..20_000).take_while(|_| flood.write_all(&noise).is_ok()).count();
    assert!(sent < 5_000, "it has to wait: 200 MB were taken");
    // A member comes in all the same.
    let mut two = two;
    two.lan.connect(address).unwrap();
    assert!(comes_true(&mut one, &mut two, now_ms, |one, _| one.device.replica().record(record).is_some()));
    drop(silent);
}

#[test]
fn a_stranger_has_its_time_and_no_more() {
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let lan = Lan::listen_to_strangers_for(Duration::from_millis(300), at, || {}).unwrap();
    let soon = |holds: &dyn Fn() -> bool| {
        (0..500).any(|_| {
            sleep(Duration::from_millis(10));
            holds()
        })
    };
    // Also one that comes after all before it have gone.
    for _ in 0..2 {
        let _stranger = std::net::TcpStream::connect(lan.address()).unwrap();
        assert!(soon(&|| !lan.peers().is_empty()));
        assert!(soon(&|| lan.peers().is_empty()));
    }
    // Who was spoken to stays.
    let _member = std::net::TcpStream::connect(lan.address()).unwrap();
    assert!(soon(&|| !lan.peers().is_empty()));
    lan.send(lan.peers()[0], b"hello");
    sleep(Duration::from_millis(500));
    assert_eq!(lan.peers().len(), 1);
}

#[test]
#[cfg(target_os = "linux")]
fn strangers_that_come_and_go_leave_no_threads() {
    use std::io::Write as _;
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let before = threads();
    let lan = Lan::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), || {}).unwrap();
    // Nobody asks for events, so what they say finds no room before long.
    for says in [&[][..], &[0; 4]] {
        for _ in 0..300 {
            let _ = std::net::TcpStream::connect(lan.address()).unwrap().write_all(says);
        }
    }
    // The tests beside this one have some, too, and begin and end meanwhile: fewer by far than there were strangers.
    let few = (0..500).any(|_| {
        sleep(Duration::from_millis(10));
        threads() < before + 100
    });
    assert!(few, "{before} threads before, and now {}", threads());
}

/// Says in a child process that it is one.
#[cfg(unix)]
const CHILD: &str = "DOPPELKEY_TEST_WITHOUT_FILES";

#[test]
#[cfg(unix)]
fn a_device_that_had_no_files_left_lets_others_in_again_once_it_has() {
    const NAME: &str = "tests::lan::a_device_that_had_no_files_left_lets_others_in_again_once_it_has";
    if std::env::var_os(CHILD).is_some() {
        return run_out_of_files();
    }
    let mut child = std::process::Command::new("sh");
    child.args(["-c", r#"ulimit -n 64 && exec "$0" --exact "$1""#]);
    child.arg(std::env::current_exe().unwrap()).arg(NAME).env(CHILD, "1");
    let output = child.output().unwrap();
    let said = std::string::String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{output:?}");
}

#[cfg(unix)]
fn run_out_of_files() {
    use std::fs::File;
    use std::iter::from_fn;
    use std::net::TcpStream;

    let lan = Lan::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), || {}).unwrap();
    let mut taken: Vec<File> = from_fn(|| File::open("/dev/null").ok()).collect();
    // After some of them there is none for the next connection, or for its other end.
    let mut callers = Vec::new();
    for _ in 0..4 {
        taken.truncate(taken.len().saturating_sub(2));
        callers.extend(TcpStream::connect(lan.address()));
        sleep(Duration::from_millis(20));
        taken.extend(from_fn(|| File::open("/dev/null").ok()));
    }
    drop((taken, callers));
    sleep(Duration::from_millis(200));
    let _member = TcpStream::connect(lan.address()).expect("it listens");
    let is_in = (0..200).any(|_| {
        sleep(Duration::from_millis(10));
        !lan.peers().is_empty()
    });
    assert!(is_in);
}
