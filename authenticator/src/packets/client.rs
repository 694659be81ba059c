//! The other side of the packets door.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

#[cfg(unix)]
use std::os::unix::net::UnixStream;

use doppelkey_ctaphid::PACKET_SIZE;

use super::Address;
use crate::device::{Connection, Packet};
use crate::listener::Stream;

/// Connects to a packets door.
///
/// # Errors
/// The connection's; [`TimedOut`](io::ErrorKind::TimedOut) if a TCP port does not answer within three seconds.
pub fn connect(address: &Address) -> io::Result<PacketsConnection> {
    let stream = match address {
        Address::Tcp(address) => Stream::tcp(TcpStream::connect_timeout(address, CONNECT_TIMEOUT)?)?,
        #[cfg(unix)]
        Address::Unix(path) => Stream::Unix(UnixStream::connect(path)?),
        #[cfg(not(unix))]
        Address::Unix(_) => return Err(io::ErrorKind::Unsupported.into()),
    };
    Ok(PacketsConnection { stream, packet: [0; PACKET_SIZE], filled: 0 })
}

/// A connection to a packets door.
pub struct PacketsConnection {
    stream: Stream,
    /// As much of the next packet as has come.
    packet: Packet,
    filled: usize,
}

impl Connection for PacketsConnection {
    fn send(&mut self, packet: &Packet) -> io::Result<()> {
        (&self.stream).write_all(packet)
    }

    /// The timeout counts from the last byte that came, so that a packet in many pieces is given more.
    fn receive(&mut self, timeout: Option<Duration>) -> io::Result<Option<Packet>> {
        // Zero would mean no timeout.
        self.stream.set_read_timeout(timeout.map(|timeout| timeout.max(Duration::from_millis(1))))?;
        while self.filled < PACKET_SIZE {
            match (&self.stream).read(&mut self.packet[self.filled..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
        self.filled = 0;
        Ok(Some(self.packet))
    }
}

impl Drop for PacketsConnection {
    fn drop(&mut self) {
        self.stream.shutdown();
    }
}

/// As at the other doors: a host that is gone answers nothing at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
