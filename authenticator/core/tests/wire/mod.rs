//! Requests and responses in CBOR.
#![allow(unused_imports, reason = "each test file uses some of it")]

pub(crate) mod ceremony;

pub(crate) use doppelkey_core::testing::wire::*;
