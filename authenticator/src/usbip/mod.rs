//! A USB/IP server.
