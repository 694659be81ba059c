//! Security keys that are plugged into this computer, from the platform's side: Linux's `/dev/hidraw`.
//!
//! Any program may have the same key open at the same time: each has a CTAPHID channel of its own. A packet is read 64
//! bytes at a time, and written after a report number, 0.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::device::{Connection, Packet};

/// A rule for udev that lets whoever sits at this computer use security keys, for
/// `/etc/udev/rules.d/70-doppelkey-keys.rules` (after udev's own 60-fido-id.rules). Desktops have one like it.
pub const UDEV_RULE: &str =
    r#"SUBSYSTEM=="hidraw", KERNEL=="hidraw*", ENV{ID_FIDO_TOKEN}=="1", TAG+="uaccess""#;

/// The security keys that are plugged in, by path, in the order of their names: devices with the usage page of the FIDO
/// alliance, 0xF1D0. Only on Linux.
///
/// # Errors
/// [`Unsupported`](io::ErrorKind::Unsupported) where there is no hidraw.
pub fn keys() -> io::Result<Vec<PathBuf>> {
    let folder = match std::fs::read_dir("/sys/class/hidraw") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let none = "this system has no hidraw, through which programs use security keys";
            return Err(io::Error::new(io::ErrorKind::Unsupported, none));
        }
        folder => folder?,
    };
    // What is unplugged meanwhile is none.
    let is_key = |entry: &std::fs::DirEntry| {
        let descriptor = std::fs::read(entry.path().join("device/report_descriptor"));
        descriptor.is_ok_and(|descriptor| is_fido(&descriptor))
    };
    let named = |entry: std::fs::DirEntry| Path::new("/dev").join(entry.file_name());
    let mut keys: Vec<PathBuf> = folder.flatten().filter(is_key).map(named).collect();
    keys.sort();
    Ok(keys)
}

/// Whether a report descriptor has the usage page of the FIDO alliance (HID 1.11 §6.2.2: items of a prefix and 0, 1, 2 or
/// 4 bytes, and long items, which nobody uses).
fn is_fido(mut descriptor: &[u8]) -> bool {
    const USAGE_PAGE: u8 = 0x04;
    const FIDO: u32 = 0xf1d0;
    while let Some((&prefix, rest)) = descriptor.split_first() {
        let length = match prefix {
            0xfe => 2 + rest.first().map_or(0, |length| usize::from(*length)),
            _ => [0, 1, 2, 4][usize::from(prefix & 3)],
        };
        let Some((data, after)) = rest.split_at_checked(length) else { return false };
        let number = data.iter().rev().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
        if prefix & !3 == USAGE_PAGE && number == FIDO {
            return true;
        }
        descriptor = after;
    }
    false
}

/// A plugged-in key, open. Only on Linux.
#[derive(Debug)]
pub struct Hidraw {
    #[cfg(target_os = "linux")]
    file: std::fs::File,
}

#[cfg(not(target_os = "linux"))]
impl Hidraw {
    /// Opens it. Not on this system.
    ///
    /// # Errors
    /// [`Unsupported`](io::ErrorKind::Unsupported).
    pub fn open(_: &Path) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(not(target_os = "linux"))]
impl Connection for Hidraw {
    fn send(&mut self, _: &Packet) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn receive(&mut self, _: Option<Duration>) -> io::Result<Option<Packet>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(target_os = "linux")]
impl Hidraw {
    /// Opens it, for reports in both directions.
    ///
    /// # Errors
    /// The system's: [`PermissionDenied`](io::ErrorKind::PermissionDenied) where [`UDEV_RULE`] helps.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = std::fs::OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Hidraw { file })
    }
}

#[cfg(target_os = "linux")]
impl Connection for Hidraw {
    fn send(&mut self, packet: &Packet) -> io::Result<()> {
        use std::io::Write as _;
        // One write is one report.
        let mut report = [0; 1 + doppelkey_ctaphid::PACKET_SIZE];
        report[1..].copy_from_slice(packet);
        self.file.write_all(&report)
    }

    fn receive(&mut self, timeout: Option<Duration>) -> io::Result<Option<Packet>> {
        use std::io::Read as _;

        use rustix::event::{PollFd, PollFlags, Timespec, poll};

        let timeout = timeout.map(Timespec::try_from).transpose().map_err(io::Error::other)?;
        let mut ready = [PollFd::new(&self.file, PollFlags::IN)];
        match poll(&mut ready, timeout.as_ref()) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(None),
            polled => polled?,
        };
        let mut packet = [0; doppelkey_ctaphid::PACKET_SIZE];
        match (&self.file).read(&mut packet)? {
            doppelkey_ctaphid::PACKET_SIZE => Ok(Some(packet)),
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "a report that is no CTAPHID packet")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_fido;

    #[test]
    fn a_key_is_known_by_its_usage_page_wherever_that_is() {
        let ours = doppelkey_ctaphid::REPORT_DESCRIPTOR;
        assert!(is_fido(&ours));
        let after_a_mouse = [&[0x05, 0x01, 0x09, 0x02, 0xa1, 0x01, 0xc0, 0xfe, 1, 0, 9][..], &ours].concat();
        assert!(is_fido(&after_a_mouse));
    }

    #[test]
    fn others_and_rubbish_are_none() {
        // A keyboard's beginning; the page as a usage; the page cut short.
        for other in [&[0x05, 0x01, 0x09, 0x06][..], &[0x0a, 0xd0, 0xf1], &[0x06, 0xd0], &[0xfe], &[]] {
            assert!(!is_fido(other), "{other:02x?}");
        }
    }
}
