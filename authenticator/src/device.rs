//! A device: CTAPHID, the core and a user, run on a computer.
