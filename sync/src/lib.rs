//! Replication of passkeys across one user's devices.
#![no_std]
