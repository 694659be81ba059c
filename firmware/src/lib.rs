//! The Doppelkey authenticator on microcontrollers.
#![no_std]
