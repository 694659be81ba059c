//! A USB/IP client in user space: attaches, enumerates as Linux does, exchanges reports.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::device::{Connection, Packet};

/// What a server says of one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// The bus id to attach by.
    pub busid: String,
    /// idVendor.
    pub vendor: u16,
    /// idProduct.
    pub product: u16,
}

/// The devices a server offers (OP_REQ_DEVLIST).
pub fn devices(address: SocketAddr) -> io::Result<Vec<DeviceInfo>> {
    let _ = address;
    Err(io::ErrorKind::Unsupported.into())
}

/// An attached device: imported, enumerated and configured.
pub struct UsbIpConnection {}

impl UsbIpConnection {
    /// Attaches the device at this bus id and enumerates it as Linux does.
    pub fn attach(address: SocketAddr, busid: &str) -> io::Result<Self> {
        let _ = (address, busid);
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl Connection for UsbIpConnection {
    fn send(&mut self, _: &Packet) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn receive(&mut self, _: Option<Duration>) -> io::Result<Option<Packet>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
