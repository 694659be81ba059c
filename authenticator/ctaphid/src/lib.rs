//! CTAPHID as a state machine of 64-byte packets, and a `usb_device` class around it.
//!
//! [`Ctaphid`] is told packets and the time, and says what to do next; it never waits, reads a clock or touches a
//! bus. [`HidClass`] is the USB side: descriptors, the two interrupt endpoints, HID's class requests. Boards and
//! the host put the two together in the same way. Neither knows what a command means.
//!
//! Section numbers are those of CTAP 2.3, §11.2 "USB Human Interface Device".
#![no_std]

/// One report: what an interrupt endpoint carries at a time.
pub type Packet = [u8; PACKET_SIZE];

/// The size in bytes of a report.
pub const PACKET_SIZE: usize = 64;
