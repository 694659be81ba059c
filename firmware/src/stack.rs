//! How deep the stack went: painted at power-up, looked at later.

/// Paints the stack from its lower end to a little below where it is now.
#[expect(unsafe_code, reason = "the unused part of the stack is memory that nothing else names")]
pub fn paint() {
    let (mut place, end) = (lowest(), here() - MARGIN);
    while place < end {
        // SAFETY: below the stack pointer and above the static data, where nothing is yet.
        unsafe { core::ptr::with_exposed_provenance_mut::<u32>(place).write_volatile(PAINT) };
        place += 4;
    }
}

/// The most bytes of stack that were in use since.
#[expect(unsafe_code, reason = "see paint")]
pub fn peak() -> usize {
    let mut place = lowest();
    // SAFETY: the same memory; what is in use is only read.
    while place < top()
        && unsafe { core::ptr::with_exposed_provenance::<u32>(place).read_volatile() } == PAINT
    {
        place += 4;
    }
    top() - place
}

#[expect(unsafe_code, reason = "symbols of the linker script, of which only the address is taken")]
fn lowest() -> usize {
    unsafe extern "C" {
        static __sheap: u32;
    }
    (&raw const __sheap).addr().next_multiple_of(4).max(top() - PAINTED)
}

#[expect(unsafe_code, reason = "as above")]
fn top() -> usize {
    unsafe extern "C" {
        static _stack_start: u32;
    }
    (&raw const _stack_start).addr()
}

#[inline(never)]
fn here() -> usize {
    let here = 0_u32;
    (&raw const here).addr()
}

const PAINT: u32 = 0x5AC3_3CA5;
/// What is painted at most: more than any board has to spare.
const PAINTED: usize = 128 * 1024;
const MARGIN: usize = 256;
