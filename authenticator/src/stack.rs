//! What calls leave behind on a thread's stack.

/// Overwrites what the calls before this one may have left of secrets below it: a value that is moved, a key out of a store
/// for example, leaves its bytes where it was, and nobody zeroizes those. Takes a microsecond.
#[inline(never)]
pub(crate) fn scrub() {
    // So much and more is there: a thread has 2 MiB, a program's first one more.
    let mut room = [0_u8; 64 * 1024];
    // Written for somebody to read, or nothing would be.
    std::hint::black_box(&mut room);
}
