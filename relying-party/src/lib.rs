//! A WebAuthn relying party: accounts, ceremonies, verification, policy, events and pages.
//!
//! * [`app`] is the whole service as an [`axum::Router`]; [`serve`] runs it on a listener.
//! * [`Config`] is what an operator decides at the start, [`Policy`](policy::Policy) what can change while it runs.
//! * [`metadata`] is what is known about models of authenticators.
//! * [`verify`] is the verifier alone: pure, and told step by step.
//!
//! It shares no code with the authenticator of this workspace, so that each tests the other.

// Whoever prints to a standard error that nobody reads any more panics.
#![deny(clippy::print_stderr)]

/// Tells the operator, on standard error. If nobody reads that any more, the service goes on.
macro_rules! tell {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}

mod api;
mod app;
mod ceremony;
mod codes;
mod config;
mod conformance;
mod cursor;
mod destination;
mod developer;
mod edge;
mod enrollment;
mod events;
mod failure;
mod flows;
mod identifiers;
mod key;
mod limits;
mod lock;
mod mail;
pub mod metadata;
mod operator;
mod pages;
mod passwords;
pub mod policy;
mod sealed;
mod second_factor;
mod secret;
mod serve;
mod session;
mod store;
mod totp;
pub mod verify;
mod webhooks;
mod well_known;

pub use app::{StartError, app};
pub use config::{Clock, Config, Mail, MetadataFiles, Random};
pub use key::{Key, is_sealed};
pub use serve::serve;
pub use store::StoreError;
pub use webhooks::Webhooks;
