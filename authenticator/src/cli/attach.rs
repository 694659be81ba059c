//! `doppelkey attach` and `doppelkey detach`: a running authenticator, plugged into this Linux.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use clap::Args;

use super::{Failure, this_program};

/// Plug a running authenticator into this Linux as a USB security key
///
/// Needs root and the kernel module vhci-hcd (it is loaded if need be), and no `usbip` tool. The devices stay until
/// the authenticator ends, or `doppelkey detach`.
#[derive(Args)]
pub(super) struct Arguments {
    /// Where the authenticator offers its devices over USB/IP
    #[arg(value_name = "ADDR", default_value_t = USUAL)]
    address: SocketAddr,
    /// Only the device with this bus id
    #[arg(long, value_name = "ID")]
    busid: Option<String>,
    /// Stay until a signal, and plug a device in again whenever it has gone: the authenticator was restarted, say
    #[arg(long)]
    keep: bool,
}

/// Where the authenticator offers its devices unless it is told otherwise.
const USUAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 3240);

/// The command that plugs in what is offered at this address, to be said after `sudo`.
pub(super) fn attach_command(address: impl Display) -> String {
    let (program, address) = (this_program::for_root(), address.to_string());
    if address == USUAL.to_string() {
        format!("{program} attach")
    } else {
        format!("{program} attach {address}")
    }
}

#[cfg(not(target_os = "linux"))]
impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        let _ = (self.address, self.busid, self.keep);
        Err(only_linux())
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn only_linux() -> Failure {
    Failure::new(
        "only Linux has a virtual host controller that doppelkey can use itself",
        "on Windows attach with usbip-win2; everywhere, `doppelkey bridge` serves browsers",
    )
}

#[cfg(target_os = "linux")]
pub(super) use linux::failure;

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::net::TcpStream;
    use std::os::fd::AsFd as _;
    use std::process::Command;
    use std::thread;
    use std::time::Duration;

    use rustix::event::{PollFd, PollFlags, poll};

    use super::{Arguments, Failure, this_program};
    use crate::cli::print;
    use crate::cli::signals::Signals;
    use crate::usbip::client;
    use crate::usbip::vhci::{Vhci, VhciError};

    impl Arguments {
        pub(in crate::cli) fn run(self) -> Result<(), Failure> {
            if !self.keep {
                return self.attach_all().map(drop);
            }
            // All of it on a thread of its own: wherever it waits, a signal ends it. What is plugged in stays so.
            let signals = Signals::new()?;
            let (tell, outcome) = tokio::sync::oneshot::channel();
            let keeping = thread::Builder::new().name("doppelkey-attach".into());
            let keeping = keeping.spawn(move || {
                // Nobody is told any more once a signal has come.
                let _ = tell
                    .send(self.attach_all().and_then(|(vhci, connections)| self.keep(&vhci, connections)));
            });
            keeping.map_err(|error| {
                Failure::new(format_args!("cannot start a thread: {error}"), "check the limit on threads")
            })?;
            let outcome = signals.wait_or(outcome);
            outcome.map_or(Ok(()), |outcome| outcome.unwrap_or_else(|_| Err(Failure::bug())))
        }

        /// Attaches every device that is meant.
        fn attach_all(&self) -> Result<(Vhci, Vec<(TcpStream, String)>), Failure> {
            let busids = match &self.busid {
                Some(busid) => vec![busid.clone()],
                None => {
                    let devices = client::devices(self.address).map_err(|error| self.no_server(&error))?;
                    devices.into_iter().map(|device| device.busid).collect()
                }
            };
            let vhci = find_or_load().map_err(|error| failure(&error))?;
            let mut connections = Vec::new();
            for busid in busids {
                connections.push((self.attach(&vhci, &busid)?, busid));
            }
            if connections.is_empty() {
                return Err(Failure::new(
                    format_args!("{} offers no device", self.address),
                    "start one with `doppelkey run`",
                ));
            }
            Ok((vhci, connections))
        }

        /// Attaches one device; the kernel has the connection, and so have we.
        fn attach(&self, vhci: &Vhci, busid: &str) -> Result<TcpStream, Failure> {
            let (connection, imported) =
                client::import(self.address, busid).map_err(|error| self.not_imported(busid, &error))?;
            let port =
                vhci.attach_imported(connection.as_fd(), &imported).map_err(|error| failure(&error))?;
            print(&format!("attached {busid} of {} at port {port}\n", self.address));
            Ok(connection)
        }

        /// Waits until a device goes, and attaches it again as soon as it is offered.
        fn keep(&self, vhci: &Vhci, mut connections: Vec<(TcpStream, String)>) -> Result<(), Failure> {
            loop {
                let gone = first_gone(&connections).map_err(|error| {
                    Failure::new(
                        format_args!("cannot watch the connections: {error}"),
                        "run `doppelkey attach` without --keep",
                    )
                })?;
                let (_, busid) = connections.swap_remove(gone);
                log::info!("{busid} has gone; it is attached again when it comes back");
                let connection = loop {
                    // Nobody tells when a port is listened on again.
                    thread::sleep(RETRY);
                    match self.attach(vhci, &busid) {
                        Ok(connection) => break connection,
                        Err(error) => log::debug!("{error}"),
                    }
                };
                connections.push((connection, busid));
            }
        }

        fn no_server(&self, error: &io::Error) -> Failure {
            Failure::new(
                format_args!("no authenticator answers at {}: {error}", self.address),
                "start one with `doppelkey run` in another terminal, or say where it is: `doppelkey attach ADDR`",
            )
        }

        fn not_imported(&self, busid: &str, error: &io::Error) -> Failure {
            let hint = match error.kind() {
                io::ErrorKind::ResourceBusy => {
                    let program = this_program::for_root();
                    format!("detach it there first; on this machine: `sudo {program} detach`")
                }
                io::ErrorKind::NotFound => "leave --busid out to attach every device there is".into(),
                _ => return self.no_server(error),
            };
            Failure::new(format_args!("cannot attach {busid} of {}: {error}", self.address), hint)
        }
    }

    /// Waits for the other side of any of these to close.
    fn first_gone(connections: &[(TcpStream, String)]) -> io::Result<usize> {
        loop {
            let mut watched = Vec::new();
            for (stream, _) in connections {
                watched.push(PollFd::new(stream, PollFlags::RDHUP));
            }
            match poll(&mut watched, None) {
                Err(rustix::io::Errno::INTR) => continue,
                polled => polled?,
            };
            if let Some(gone) = watched.iter().position(|fd| !fd.revents().is_empty()) {
                return Ok(gone);
            }
        }
    }

    /// The controller; its module is loaded if that is all there is to do.
    pub(in crate::cli) fn find_or_load() -> Result<Vhci, VhciError> {
        match Vhci::find() {
            Err(VhciError::NotLoaded) if rustix::process::geteuid().is_root() => {
                // Whether it worked shows in the next line.
                let _ = Command::new("modprobe").arg("vhci-hcd").status();
                Vhci::find()
            }
            Ok(_) if !rustix::process::geteuid().is_root() => Err(VhciError::NotRoot),
            found => found,
        }
    }

    pub(in crate::cli) fn failure(error: &VhciError) -> Failure {
        let hint = match error {
            VhciError::NoFreePort => {
                format!("take one out first: `sudo {} detach`", this_program::for_root())
            }
            _ => error.hint(&this_program::again()),
        };
        Failure::new(error, hint)
    }

    const RETRY: Duration = Duration::from_millis(500);

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_connection_that_closes_is_noticed() {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
            let address = listener.local_addr().expect("it listens");
            let mut connections = Vec::new();
            let mut others = Vec::new();
            for _ in 0..2 {
                connections.push((TcpStream::connect(address).expect("it listens"), "1-1".to_owned()));
                others.push(listener.accept().expect("a connection").0);
            }
            drop(others.remove(1));
            assert_eq!(first_gone(&connections).expect("it can be watched"), 1);
        }
    }
}
