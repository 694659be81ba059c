//! Another device as the authenticator: the hybrid transport (CTAP 2.3 §11.5), phone and desktop, without a radio.
//!
//! A desktop shows a QR code; a phone scans it, opens a tunnel at a server of its choice, and says over the air, to
//! whoever is near and has seen the code, where. Both shake hands through the tunnel, whose server learns nothing, and
//! speak CTAP2. Along the way the phone may hand out a link, with which the desktop calls it the next time without a
//! QR code.
//!
//! Every byte of it is the specification's, but for two places of the world outside:
//!
//! * The air is a folder ([`Room`]): who is in the same one hears the same advertisements.
//! * The tunnel server is on this computer, and speaks `ws:`. An advertisement names it by a number, which stands for a
//!   domain ([`tunnel_domain`]); here that domain is always at the loopback port of the same number.

mod advert;
mod desktop;
mod digits;
mod error;
mod links;
mod message;
mod noise;
mod phone;
mod picture;
mod qr;
mod room;
mod secrets;
mod secured;
mod tunnel;
mod tunnel_server;

pub use advert::tunnel_domain;
pub(crate) use desktop::Connected;
pub use desktop::{Desktop, Screen};
pub use error::Error;
pub use links::Links;
pub use phone::{Call, Calls, Phone};
pub use qr::{Operation, QrCode};
pub use room::Room;

#[cfg(test)]
pub(crate) mod tests;
