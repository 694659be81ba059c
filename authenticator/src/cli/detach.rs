//! `doppelkey detach`.

use clap::Args;

use super::Failure;

/// Take authenticators out of this Linux again
#[derive(Args)]
pub(super) struct Arguments {
    /// Only the device at this port of the virtual host controller; without it, every one of Doppelkey's
    #[arg(long, value_name = "N")]
    port: Option<u32>,
}

#[cfg(not(target_os = "linux"))]
impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        let _ = self.port;
        Err(super::attach::only_linux())
    }
}

#[cfg(target_os = "linux")]
impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        use super::attach::failure;
        use crate::usbip::vhci::{Vhci, VhciError};

        let vhci = Vhci::find().map_err(|error| failure(&error))?;
        if !rustix::process::geteuid().is_root() {
            return Err(failure(&VhciError::NotRoot));
        }
        let is_meant = |used: &crate::usbip::vhci::UsedPort| match self.port {
            Some(port) => used.port == port,
            None => is_ours(&used.busid),
        };
        let used = vhci.used().map_err(|error| failure(&error))?;
        let meant: Vec<_> = used.into_iter().filter(is_meant).collect();
        if meant.is_empty() {
            return Err(Failure::new(
                "there is no such device in the virtual host controller",
                "see /sys/devices/platform/vhci_hcd.0/status for what is there",
            ));
        }
        for used in meant {
            vhci.detach(used.port).map_err(|error| failure(&error))?;
            super::print(&format!("detached {} from port {}\n", used.busid, used.port));
        }
        Ok(())
    }
}

/// Whether the device that this kernel calls so is one of Doppelkey's, whatever model it plays.
#[cfg(target_os = "linux")]
fn is_ours(busid: &str) -> bool {
    let device = std::path::Path::new("/sys/bus/usb/devices").join(busid);
    let reads = |file: &str, value: &str| {
        std::fs::read_to_string(device.join(file)).is_ok_and(|read| read.trim() == value)
    };
    let ours = crate::device::Identity::default();
    reads("manufacturer", &ours.manufacturer) && reads("product", &ours.name)
}
