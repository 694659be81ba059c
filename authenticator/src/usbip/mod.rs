//! A USB/IP server, and a client in user space.
//!
//! Protocol: the Linux kernel's `Documentation/usb/usbip_protocol.rst`, version 1.1.1.

pub mod client;

use std::io;
use std::net::SocketAddr;

use crate::device::Device;

/// A listening USB/IP server. Closes, with every connection, when dropped.
pub struct Server {
    address: SocketAddr,
}

impl Server {
    /// Listens.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        Ok(Server { address })
    }

    /// Where it listens, with the port it was given.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Plugs a device into the next free place and returns its bus id: `1-1`, `1-2`, …
    ///
    /// Each import by a client is a fresh plug-in ([`Device::replug`]).
    pub fn plug(&self, device: Device) -> String {
        let _ = device;
        String::new()
    }

    /// Takes a device out; whoever has it attached sees it go. `false` if there is none at this bus id.
    pub fn unplug(&self, busid: &str) -> bool {
        let _ = busid;
        false
    }

    /// The bus ids of the devices that are plugged in.
    pub fn busids(&self) -> Vec<String> {
        Vec::new()
    }
}
