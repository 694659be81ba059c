//! A door through Linux's /dev/uhid.

use std::io;

use crate::device::Device;

/// A HID device of this kernel, made through `/dev/uhid`. Gone when dropped.
pub struct Uhid {}

impl Uhid {
    /// Makes the device. Needs write access to `/dev/uhid`.
    pub fn create(device: Device) -> io::Result<Self> {
        let _ = device;
        Err(io::ErrorKind::Unsupported.into())
    }
}
