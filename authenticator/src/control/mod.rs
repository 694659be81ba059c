//! The HTTP control port.
