//! A door for raw 64-byte CTAPHID packets over TCP or a Unix socket.
