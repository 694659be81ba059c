//! CTAPHID as a state machine of 64-byte packets.
#![no_std]
