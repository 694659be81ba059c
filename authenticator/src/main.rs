//! The program `doppelkey`: composition only.

use std::alloc::System;
use std::process::ExitCode;

use zeroizing_alloc::ZeroAlloc;

/// Memory that is given back is wiped. Secrets of ours wipe themselves; but PINs, passwords and keys also pass through
/// buffers of the libraries for HTTP, JSON and TLS, which nobody else reaches.
#[global_allocator]
static MEMORY: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    doppelkey::cli::main()
}
