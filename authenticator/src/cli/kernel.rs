//! The doors into this computer's own kernel: `run --attach` and `run --uhid`.

use std::io;

use clap::Args;

use super::Failure;
use crate::control::Fleet;
use crate::device::Identity;
use crate::uhid::{UDEV_RULE, Uhid};

/// How the devices come into this computer's own kernel.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct KernelOptions {
    /// Plug the devices into this Linux as USB security keys, over no network (root, and the module vhci-hcd)
    #[arg(long)]
    attach: bool,
    /// Make the devices HID devices of this Linux, without USB (write access to /dev/uhid)
    #[arg(long)]
    uhid: bool,
}

/// What is open; closed when dropped.
pub(super) struct KernelDoors {
    _uhid: Vec<Uhid>,
    #[cfg(target_os = "linux")]
    _vhci: Vec<crate::usbip::vhci::SelfAttachment>,
}

impl KernelOptions {
    pub(super) fn open(self, fleet: &Fleet) -> Result<KernelDoors, Failure> {
        let mut uhid = Vec::new();
        for member in fleet.members().iter().filter(|_| self.uhid) {
            uhid.push(Uhid::create(member.device(), &Identity::default()).map_err(|error| no_uhid(&error))?);
        }
        #[cfg(not(target_os = "linux"))]
        self.attach()?;
        Ok(KernelDoors {
            _uhid: uhid,
            #[cfg(target_os = "linux")]
            _vhci: self.attach(fleet)?,
        })
    }

    #[cfg(target_os = "linux")]
    fn attach(self, fleet: &Fleet) -> Result<Vec<crate::usbip::vhci::SelfAttachment>, Failure> {
        use crate::usbip::vhci::{SelfAttachment, Vhci};
        if !self.attach {
            return Ok(Vec::new());
        }
        let failed = |error| super::attach::failure(&error);
        let vhci = Vhci::find().map_err(failed)?;
        let mut attached = Vec::new();
        for member in fleet.members() {
            attached.push(SelfAttachment::new(&vhci, member.device(), Identity::default()).map_err(failed)?);
        }
        Ok(attached)
    }

    #[cfg(not(target_os = "linux"))]
    fn attach(self) -> Result<(), Failure> {
        if self.attach { Err(super::attach::only_linux()) } else { Ok(()) }
    }
}

fn no_uhid(error: &io::Error) -> Failure {
    let hint = match error.kind() {
        io::ErrorKind::NotFound => {
            "run `sudo modprobe uhid`; a kernel without that module has no such door".into()
        }
        io::ErrorKind::PermissionDenied => format!(
            "put this line into /etc/udev/rules.d/60-doppelkey.rules and run `sudo udevadm control --reload && sudo \
             udevadm trigger /dev/uhid`, or run as root: {UDEV_RULE}"
        ),
        io::ErrorKind::Unsupported => "only Linux has it; use `doppelkey bridge` for browsers".into(),
        _ => "see `dmesg` for what the kernel says".into(),
    };
    Failure::new(format_args!("cannot make a HID device through /dev/uhid: {error}"), hint)
}
