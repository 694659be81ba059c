//! CTAPHID as a state machine of 64-byte packets, and a `usb_device` class around it.
//!
//! [`Ctaphid`] is told packets and the time, and says what to do next; it never waits, reads a clock or touches a
//! bus. [`HidClass`] is the USB side: descriptors, two interrupt endpoints, HID's class requests. Boards and the
//! host put the two together in the same way. Neither knows what a command means.
//!
//! Section numbers are those of CTAP 2.3, §11.2 "USB Human Interface Device".
//!
//! ```
//! use core::time::Duration;
//! use doppelkey_ctaphid::{Capabilities, Ctaphid, Event};
//!
//! let mut hid = Ctaphid::new(Capabilities::CBOR, [1, 0, 0]);
//! // CTAPHID_INIT on the broadcast channel, with a nonce: a channel is allocated.
//! let mut init = [0; 64];
//! init[..7].copy_from_slice(&[0xff, 0xff, 0xff, 0xff, 0x86, 0, 8]);
//! assert_eq!(hid.receive(Duration::ZERO, &init), None);
//! let answer = hid.next_packet().unwrap();
//! // authenticatorGetInfo on that channel: a request for whoever knows what it means.
//! let mut request = [0; 64];
//! request[..4].copy_from_slice(&answer[15..19]);
//! request[4..8].copy_from_slice(&[0x90, 0, 1, 0x04]);
//! let Some(Event::Cbor(transaction)) = hid.receive(Duration::ZERO, &request) else { panic!() };
//! assert_eq!(hid.request(transaction), Some(&[0x04][..]));
//! hid.respond(transaction, &[0x01]);
//! assert_eq!(&hid.next_packet().unwrap()[4..8], &[0x90, 0, 1, 0x01]);
//! ```
#![no_std]

mod hid_class;
mod machine;
mod packet;
#[cfg(test)]
mod tests;

pub use hid_class::{HidClass, REPORT_DESCRIPTOR};
pub use machine::{Capabilities, Ctaphid, Event, KEEPALIVE_INTERVAL, TRANSACTION_TIMEOUT, Transaction};
pub use packet::{
    BROADCAST, ErrorCode, MESSAGE_MAX, PACKET_SIZE, Packet, allocated_channel, command, refusal,
};
