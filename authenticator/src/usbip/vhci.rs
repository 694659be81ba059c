//! Linux's virtual host controller: plugging a device into this kernel, without the `usbip` tool.
//!
//! `vhci_hcd` takes a connected stream socket of any kind through a file in sysfs, and speaks USB/IP on it from then
//! on: whoever handed it over may exit. Needs root and the module.

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::attachment;
use super::client::Imported;
use super::protocol::{self, FULL_SPEED};
use crate::device::{Device, Identity};
use crate::listener::Stream;

/// Why a device could not be plugged in or out. Displayed: what; [`hint`](VhciError::hint): what next.
#[derive(Debug)]
#[non_exhaustive]
pub enum VhciError {
    /// The module is not loaded; it could be.
    NotLoaded,
    /// This kernel has no such module.
    NotInKernel {
        /// The kernel's release.
        release: String,
    },
    /// Only root may.
    NotRoot,
    /// Every port for devices of this speed is taken.
    NoFreePort,
    /// The kernel refused otherwise.
    Io(io::Error),
}

impl VhciError {
    /// What to do next. `again` is the command that was given, for a shell.
    pub fn hint(&self, again: &str) -> String {
        match self {
            Self::NotLoaded => format!("run `sudo modprobe vhci-hcd`, then `sudo {again}`"),
            Self::NotInKernel { .. } => "use a door that needs no such module: `doppelkey bridge` for browsers, \
                                         `doppelkey run --packets ADDR` for programs, `--uhid` where /dev/uhid is"
                .into(),
            Self::NotRoot => format!("run `sudo {again}`"),
            Self::NoFreePort => "take one out first: `doppelkey detach`, as root".into(),
            Self::Io(_) => "see `dmesg` for what the kernel says".into(),
        }
    }
}

impl fmt::Display for VhciError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLoaded => f.write_str("the kernel module vhci_hcd is not loaded"),
            Self::NotInKernel { release } => write!(f, "this kernel ({release}) has no module vhci_hcd"),
            Self::NotRoot => f.write_str("plugging a device into the kernel needs root"),
            Self::NoFreePort => f.write_str("every port of the virtual host controller is taken"),
            Self::Io(error) => write!(f, "the kernel refuses: {error}"),
        }
    }
}

impl std::error::Error for VhciError {}

/// The virtual host controller of this kernel.
#[derive(Debug)]
pub struct Vhci {
    folder: PathBuf,
}

/// A port that has a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsedPort {
    /// Its number.
    pub port: u32,
    /// The bus id that this kernel has given the device (`1-1`), under `/sys/bus/usb/devices`.
    pub busid: String,
}

impl Vhci {
    /// Finds it.
    ///
    /// # Errors
    /// [`VhciError::NotLoaded`] or [`VhciError::NotInKernel`].
    pub fn find() -> Result<Self, VhciError> {
        let vhci = Self::at(Path::new("/sys/devices/platform/vhci_hcd.0"));
        if vhci.folder.join("status").exists() { Ok(vhci) } else { Err(why_not()) }
    }

    fn at(folder: &Path) -> Self {
        Vhci { folder: folder.to_owned() }
    }

    /// Hands a connection over to the kernel, which goes on with it as with a device that was plugged in. Returns
    /// its port.
    fn attach(&self, connection: BorrowedFd<'_>, device_id: u32, speed: u32) -> Result<u32, VhciError> {
        let port = self.free_port()?;
        let words = format!("{port} {} {device_id} {speed}", connection.as_raw_fd());
        self.write("attach", &words)?;
        Ok(port)
    }

    /// [`attach`](Self::attach), with what a server gave.
    pub(crate) fn attach_imported(
        &self,
        connection: BorrowedFd<'_>,
        imported: &Imported,
    ) -> Result<u32, VhciError> {
        self.attach(connection, imported.id, imported.speed)
    }

    /// Takes the device out of this port.
    ///
    /// # Errors
    /// [`VhciError::NotRoot`]; [`VhciError::Io`] if the port has no device.
    pub fn detach(&self, port: u32) -> Result<(), VhciError> {
        self.write("detach", &port.to_string())
    }

    /// The ports that have a device.
    ///
    /// # Errors
    /// [`VhciError::Io`].
    pub fn used(&self) -> Result<Vec<UsedPort>, VhciError> {
        let used = |line: PortLine| {
            (line.status != FREE).then(|| UsedPort { port: line.port, busid: line.busid.to_owned() })
        };
        Ok(self.status()?.lines().filter_map(PortLine::parse).filter_map(used).collect())
    }

    fn free_port(&self) -> Result<u32, VhciError> {
        let status = self.status()?;
        // Ports of the other hub ("ss") take devices of super speed only.
        let is_free = |line: &PortLine<'_>| line.hub == "hs" && line.status == FREE;
        status
            .lines()
            .filter_map(PortLine::parse)
            .find(is_free)
            .map(|line| line.port)
            .ok_or(VhciError::NoFreePort)
    }

    fn status(&self) -> Result<String, VhciError> {
        fs::read_to_string(self.folder.join("status")).map_err(refused)
    }

    fn write(&self, file: &str, words: &str) -> Result<(), VhciError> {
        fs::write(self.folder.join(file), words).map_err(refused)
    }
}

/// A line of the controller's `status`:
/// `hub port sta spd dev      sockfd local_busid`.
struct PortLine<'a> {
    hub: &'a str,
    port: u32,
    status: u32,
    busid: &'a str,
}

impl<'a> PortLine<'a> {
    /// `None` for the heading.
    fn parse(line: &'a str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let (hub, port, status) = (words.next()?, words.next()?, words.next()?);
        let busid = words.next_back()?;
        Some(PortLine { hub, port: port.parse().ok()?, status: status.parse().ok()?, busid })
    }
}

/// A device of this process in this process's kernel, over a socket pair: no port, nobody else can reach it.
///
/// Taken out when dropped.
pub struct SelfAttachment {
    stream: Stream,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl SelfAttachment {
    /// Plugs the device in, freshly.
    ///
    /// # Errors
    /// [`VhciError::NotRoot`], [`VhciError::NoFreePort`], or the system's. The device is replugged all the same.
    pub fn new(vhci: &Vhci, device: &Device, identity: Identity) -> Result<Self, VhciError> {
        let (ours, kernels) = UnixStream::pair().map_err(VhciError::Io)?;
        let (ours, served) = (Stream::Unix(ours.try_clone().map_err(VhciError::Io)?), Stream::Unix(ours));
        let device_id = protocol::device_id(1);
        device.replug();
        let device = device.clone();
        let thread = std::thread::Builder::new().name("doppelkey-vhci".into());
        let thread = thread.spawn(move || {
            if let Err(error) = attachment::serve(&served, device_id, &identity, &device) {
                log::warn!("vhci: the kernel's connection was ended: {error}");
            }
        });
        let attachment = SelfAttachment { stream: ours, thread: Some(thread.map_err(VhciError::Io)?) };
        vhci.attach(std::os::fd::AsFd::as_fd(&kernels), device_id, FULL_SPEED)?;
        Ok(attachment)
    }
}

impl Drop for SelfAttachment {
    fn drop(&mut self) {
        self.stream.shutdown();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn refused(error: io::Error) -> VhciError {
    match error.kind() {
        io::ErrorKind::PermissionDenied => VhciError::NotRoot,
        io::ErrorKind::NotFound => VhciError::NotLoaded,
        _ => VhciError::Io(error),
    }
}

/// The controller is not there: could it be?
fn why_not() -> VhciError {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned();
    let modules = Path::new("/lib/modules").join(&release);
    let has_module = ["modules.dep", "modules.builtin"]
        .into_iter()
        .any(|list| fs::read_to_string(modules.join(list)).is_ok_and(|list| list.contains("/vhci-hcd.ko")));
    if has_module { VhciError::NotLoaded } else { VhciError::NotInKernel { release } }
}

/// `VDEV_ST_NULL`.
const FREE: u32 = 4;

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    const STATUS: &str = "hub port sta spd dev      sockfd local_busid\n\
                          hs  0000 006 002 00010001 000003 1-1\n\
                          hs  0001 004 000 00000000 000000 0-0\n\
                          ss  0008 004 000 00000000 000000 0-0\n";

    fn controller(status: &str) -> (tempfile::TempDir, Vhci) {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("status"), status).expect("a file");
        let vhci = Vhci::at(folder.path());
        (folder, vhci)
    }

    #[test]
    fn a_connection_goes_to_the_first_free_port_of_its_speed() {
        let (folder, vhci) = controller(STATUS);
        let (socket, _other) = UnixStream::pair().expect("sockets");
        assert_eq!(vhci.attach(socket.as_fd(), 0x10001, 2).expect("a port is free"), 1);
        let written = fs::read_to_string(folder.path().join("attach")).expect("it was written");
        assert_eq!(written, format!("1 {} 65537 2", socket.as_raw_fd()));
    }

    #[test]
    fn used_ports_are_known_and_can_be_freed() {
        let (folder, vhci) = controller(STATUS);
        assert_eq!(vhci.used().expect("it can be read"), [UsedPort { port: 0, busid: "1-1".into() }]);
        vhci.detach(0).expect("it can be written");
        assert_eq!(fs::read_to_string(folder.path().join("detach")).expect("it was written"), "0");
    }

    #[test]
    fn what_is_missing_is_said() {
        let (_folder, full) = controller(&STATUS.replace(" 004 ", " 006 "));
        let (socket, _other) = UnixStream::pair().expect("sockets");
        assert!(matches!(full.attach(socket.as_fd(), 1, 2), Err(VhciError::NoFreePort)));
        let gone = Vhci::at(Path::new("/nowhere"));
        assert!(matches!(gone.used(), Err(VhciError::NotLoaded)));
        assert_eq!(
            VhciError::NotRoot.hint("/usr/bin/doppelkey attach"),
            "run `sudo /usr/bin/doppelkey attach`"
        );
    }
}
