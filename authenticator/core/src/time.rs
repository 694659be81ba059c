//! Time, as the core is told it.

/// Time since power-up, monotonic. The core never reads a clock: every call that can depend on time is told it.
///
/// "Power-up" is what the specification means by it: a fresh plug-in of the device. A host that replugs a device
/// starts again at zero with a new [`Authenticator`](crate::Authenticator).
pub type Time = core::time::Duration;
