//! Bytes of a stranger on the USB/IP port, over a real socket.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::LazyLock;
use std::time::Duration;

use doppelkey::client::{ephemeral_device, without_sensor};
use doppelkey::usbip::Server;
use doppelkey::user_interface::Auto;

/// One for all stories: what one leaves behind, the next one meets.
static SERVER: LazyLock<Server> = LazyLock::new(|| {
    let server = Server::bind("127.0.0.1:0".parse().expect("an address")).expect("a port is free");
    // Its clock stands still: no keepalive comes between.
    let clock = std::sync::Arc::new(|| Duration::from_secs(1));
    let device = ephemeral_device(without_sensor(), Box::new(Auto), clock);
    server.plug(device).expect("a place is free");
    server
});

/// Sends a story as it is, and waits for the end of the connection; then somebody else lists the devices.
///
/// # Panics
/// If the connection does not end, or the devices are not listed any more.
pub fn usbip(story: &[u8]) {
    send(story);
    let list = send(&[0x01, 0x11, 0x80, 0x05, 0, 0, 0, 0]);
    assert_eq!(list.len(), 12 + 312 + 4, "one device is listed");
}

fn send(bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(SERVER.address()).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("it is no zero");
    let mut answer = Vec::new();
    // The server ends a connection where it likes: then the rest cannot be written, and what is read ends early.
    if stream.write_all(bytes).is_ok() && stream.shutdown(Shutdown::Write).is_ok() {
        let read = stream.read_to_end(&mut answer);
        let timed_out = |error: &std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
        assert!(!read.is_err_and(|error| timed_out(&error)), "a connection that is over is not let go");
    }
    answer
}
