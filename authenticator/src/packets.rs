//! A door for raw 64-byte CTAPHID packets over TCP or a Unix socket.
//!
//! Each packet is 64 bytes, one after the other, in both directions; there is nothing else on the wire. Every
//! connection has its own channels, as a program has that opens a `/dev/hidraw`.
//!
//! A connection begins with a packet on the broadcast channel (CTAPHID_INIT), or ends: nothing that a browser lets a
//! web page send to a port begins with four bytes 0xFF, so no page can write packets here, be it without reading any.

pub mod client;

use std::fmt;
use std::io::{self, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use doppelkey_ctaphid::PACKET_SIZE;

use crate::device::{Device, Port};
use crate::listener::{Acceptor, Listener, Stream};

/// Where the packets door listens: `127.0.0.1:0` or `unix:PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A Unix socket. The file is made, replaced if nobody listens on it, and removed at the end.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some("") => Err("expected a path after unix:".into()),
            Some(path) => Ok(Address::Unix(path.into())),
            None => match text.parse() {
                Ok(address) => Ok(Address::Tcp(address)),
                Err(_) => Err("expected an address and port (127.0.0.1:0) or unix:PATH".into()),
            },
        }
    }
}

/// A listening packets door. Closes when dropped.
pub struct Server {
    address: Address,
    _acceptor: Acceptor,
}

impl Server {
    /// Listens, and serves this device to any number of connections.
    pub fn bind(address: &Address, device: Device) -> io::Result<Self> {
        let listener = match address {
            Address::Tcp(address) => Listener::tcp(*address)?,
            Address::Unix(path) => Listener::unix(path)?,
        };
        let address = listener.tcp_address()?.map_or_else(|| address.clone(), Address::Tcp);
        let acceptor = Acceptor::start("packets", listener, move |stream| {
            if let Err(error) = serve(stream, &device) {
                log::debug!("packets: a connection ended: {error}");
            }
        })?;
        Ok(Server { address, _acceptor: acceptor })
    }

    /// Where it listens, with the port it was given.
    pub fn address(&self) -> &Address {
        &self.address
    }
}

/// One connection: this thread brings packets in and carries what they cause out; another carries out the rest,
/// keepalives and answers that users give.
fn serve(stream: &Stream, device: &Device) -> io::Result<()> {
    let port = Port::new(device, ROOM);
    let output = Mutex::new(stream);
    std::thread::scope(|scope| {
        let writer = std::thread::Builder::new().name("doppelkey-packets-out".into());
        writer.spawn_scoped(scope, || {
            while port.wait() {
                if flush(&port, &output).is_err() {
                    break;
                }
            }
            // Also if the device has no power any more.
            stream.shutdown();
        })?;
        let served = receive(stream, &port, &output);
        port.close();
        served
    })
}

fn receive(stream: &Stream, port: &Port, output: &Mutex<&Stream>) -> io::Result<()> {
    let mut input = BufReader::with_capacity(64 * PACKET_SIZE, stream);
    let mut packet = [0; PACKET_SIZE];
    let mut has_begun = false;
    loop {
        match input.read_exact(&mut packet) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        }
        if !has_begun && packet[..4] != BROADCAST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it began with no CTAPHID_INIT"));
        }
        has_begun = true;
        while !port.send(&packet) {
            flush(port, output)?;
        }
        flush(port, output)?;
    }
}

/// Sends all packets there are, as many at a time as a response has.
fn flush(port: &Port, output: &Mutex<&Stream>) -> io::Result<()> {
    let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(first) = port.take() else { return Ok(()) };
    let mut bytes = Vec::from(first);
    while bytes.len() < 256 * PACKET_SIZE
        && let Some(packet) = port.take()
    {
        bytes.extend_from_slice(&packet);
    }
    output.write_all(&bytes)
}

/// The channel on which others are asked for.
const BROADCAST: [u8; 4] = [0xFF; 4];

/// Packets that wait in the device for a connection; those of a response stay behind them.
const ROOM: usize = 8;

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    use crate::device::tests::{ECHO, device};
    use crate::user_interface::Auto;

    const INIT: [u8; 15] = *b"\xff\xff\xff\xff\x86\x00\x08nonce123";

    fn packet(parts: &[&[u8]]) -> [u8; 64] {
        let mut packet = [0; 64];
        let bytes = parts.concat();
        packet[..bytes.len()].copy_from_slice(&bytes);
        packet
    }

    fn bind() -> (Server, TcpStream) {
        let any = "127.0.0.1:0".parse().expect("an address");
        let server = Server::bind(&any, device(Auto)).expect("a free port");
        let Address::Tcp(address) = *server.address() else { panic!("it listens on TCP") };
        (server, TcpStream::connect(address).expect("it listens"))
    }

    #[test]
    fn a_connection_that_does_not_begin_with_init_ends_whatever_comes_behind() {
        let (_server, mut client) = bind();
        let post = packet(&[b"POST / HTTP/1.1\r\nContent-Length: 128\r\n\r\n"]);
        let echo = packet(&[&[0, 0, 0, 1, ECHO | 0x80, 0, 1]]);
        // It may end while this is written.
        let _ = client.write_all(&[post, packet(&[&INIT]), echo].concat());
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer);
        assert!(answer.is_empty(), "nothing is answered: {answer:02x?}");
    }

    fn open(client: &mut (impl io::Read + io::Write)) -> [u8; 4] {
        client.write_all(&packet(&[&INIT])).expect("it takes a packet");
        read(client)[15..19].try_into().expect("four bytes")
    }

    fn read(client: &mut impl io::Read) -> [u8; 64] {
        let mut answer = [0; 64];
        client.read_exact(&mut answer).expect("it answers");
        answer
    }

    #[test]
    fn packets_come_and_go_whatever_segments_they_are_in() {
        let (_server, mut client) = bind();
        client.set_nodelay(true).expect("a socket");
        let channel = open(&mut client);
        let request = packet(&[&channel, &[0x90, 0, 2, ECHO, 9]]);
        for byte in request {
            client.write_all(&[byte]).expect("it takes a byte");
        }
        assert_eq!(read(&mut client)[4..9], [0x90, 0, 2, ECHO, 9]);
        let two = [request, request].concat();
        client.write_all(&two).expect("it takes two");
        for _ in 0..2 {
            assert_eq!(read(&mut client)[4..9], [0x90, 0, 2, ECHO, 9]);
        }
    }

    #[test]
    fn the_largest_message_passes_in_both_directions() {
        let (_server, mut client) = bind();
        let channel = open(&mut client);
        let mut sent = packet(&[&channel, &[0x81, 0x1d, 0xb9]]).to_vec();
        for sequence in 0..128 {
            sent.extend(packet(&[&channel, &[sequence], &[sequence; 59]]));
        }
        client.write_all(&sent).expect("it takes a message");
        let mut echoed = vec![0; sent.len()];
        client.read_exact(&mut echoed).expect("it echoes");
        assert_eq!(echoed, sent);
    }

    #[test]
    fn a_client_that_never_reads_holds_up_nobody() {
        let (server, mut deaf) = bind();
        deaf.set_write_timeout(Some(std::time::Duration::from_millis(200))).expect("a socket");
        let flood = packet(&[&INIT]).repeat(64);
        while deaf.write_all(&flood).is_ok() {}
        let Address::Tcp(address) = *server.address() else { panic!("it listens on TCP") };
        let mut other = TcpStream::connect(address).expect("it listens");
        open(&mut other);
    }

    #[test]
    fn a_closed_door_ends_its_connections() {
        let (server, mut client) = bind();
        open(&mut client);
        drop(server);
        assert!(matches!(client.read(&mut [0; 1]), Ok(0) | Err(_)));
    }

    #[cfg(unix)]
    #[test]
    fn a_unix_socket_is_private_replaced_when_stale_and_removed_at_the_end() {
        use std::os::unix::fs::PermissionsExt as _;
        use std::os::unix::net::{UnixListener, UnixStream};

        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("door");
        drop(UnixListener::bind(&path).expect("a stale socket"));
        let address = format!("unix:{}", path.display()).parse().expect("an address");
        let server = Server::bind(&address, device(Auto)).expect("it replaces the stale one");
        assert_eq!(path.metadata().expect("it is there").permissions().mode() & 0o077, 0);
        open(&mut UnixStream::connect(&path).expect("it listens"));
        let second = Server::bind(&address, device(Auto));
        assert_eq!(second.err().map(|error| error.kind()), Some(io::ErrorKind::AddrInUse));
        drop(server);
        assert!(!path.exists());
    }

    /// A temporary folder that was cleaned up while the program ran; and a path that another has taken since is left.
    #[cfg(unix)]
    #[test]
    fn a_door_whose_path_was_removed_still_closes() {
        use std::sync::mpsc;
        use std::time::Duration;

        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("door");
        let address = format!("unix:{}", path.display()).parse().expect("an address");
        for taken in [false, true] {
            let server = Server::bind(&address, device(Auto)).expect("it listens");
            std::fs::remove_file(&path).expect("it is there");
            let other = taken.then(|| Server::bind(&address, device(Auto)).expect("the path is free"));
            let (done, closed) = mpsc::channel();
            std::thread::spawn(move || {
                drop(server);
                let _ = done.send(());
            });
            assert_eq!(closed.recv_timeout(Duration::from_secs(30)), Ok(()), "it closes");
            assert_eq!(path.exists(), taken, "what is there is another's");
            drop(other);
            assert!(!path.exists());
        }
    }
}
