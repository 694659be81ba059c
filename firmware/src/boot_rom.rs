//! Raspberry Pi's chips: flash through the boot ROM's functions, and BOOTSEL as a button.
//!
//! While the flash is written, and while BOOTSEL is looked at, the flash is not there: what runs then lies in RAM or in
//! ROM, in a critical section. Both chips have the same functions under the same names; where they differ is in the
//! boards' files.

use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};

/// The boot ROM's functions that write the flash, found while the flash is still there.
pub struct Functions {
    /// `connect_internal_flash`.
    pub connect: unsafe extern "C" fn(),
    /// `flash_exit_xip`.
    pub exit_xip: unsafe extern "C" fn(),
    /// `flash_range_erase`.
    pub erase: unsafe extern "C" fn(u32, usize, u32, u8),
    /// `flash_range_program`.
    pub program: unsafe extern "C" fn(u32, *const u8, usize),
    /// `flash_flush_cache`.
    pub flush: unsafe extern "C" fn(),
    /// A copy in RAM of the code that makes the flash readable again, fast; it returns to its caller.
    pub enter_xip: [u32; 64],
}

/// A part of the flash, at its fixed place.
pub struct BootFlash {
    /// Finds the functions.
    pub find: fn() -> Functions,
    /// Where the part starts, from the start of the flash.
    pub start: u32,
    /// Its size in bytes.
    pub size: usize,
}

impl BootFlash {
    fn within(&self, offset: u32, length: usize) -> Result<(), NorFlashErrorKind> {
        let end = (offset as usize).checked_add(length);
        if end.is_some_and(|end| end <= self.size) { Ok(()) } else { Err(NorFlashErrorKind::OutOfBounds) }
    }
}

impl ErrorType for BootFlash {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for BootFlash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.within(offset, bytes.len())?;
        let start = core::ptr::with_exposed_provenance::<u8>(XIP + (self.start + offset) as usize);
        for (position, byte) in bytes.iter_mut().enumerate() {
            #[expect(unsafe_code, reason = "the flash is memory that the language knows nothing of")]
            // SAFETY: within our part of the flash, which can always be read.
            let value = unsafe { start.add(position).read_volatile() };
            *byte = value;
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.size
    }
}

impl NorFlash for BootFlash {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = SECTOR as usize;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        self.within(from, to.saturating_sub(from) as usize)?;
        if !from.is_multiple_of(SECTOR) || !to.is_multiple_of(SECTOR) {
            return Err(NorFlashErrorKind::NotAligned);
        }
        // One sector at a time, with interrupts between: the platform must not wait long.
        for sector in (from..to).step_by(SECTOR as usize) {
            let functions = (self.find)();
            let address = self.start + sector;
            #[expect(unsafe_code, reason = "see change")]
            // SAFETY: nothing else runs, and the sector is ours.
            critical_section::with(|_| unsafe {
                functions.change(address, core::ptr::null(), SECTOR as usize)
            });
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        self.within(offset, bytes.len())?;
        let (mut offset, mut bytes) = (offset, bytes);
        while !bytes.is_empty() {
            // The flash takes whole pages; what is 0xFF stays as it is.
            let within = offset as usize % PAGE;
            let (now, later) = bytes.split_at(bytes.len().min(PAGE - within));
            let mut page = [0xFF; PAGE];
            page[within..within + now.len()].copy_from_slice(now);
            let functions = (self.find)();
            let address = self.start + offset - within as u32;
            #[expect(unsafe_code, reason = "see change")]
            // SAFETY: nothing else runs; the page is ours, and its bytes lie on the stack.
            critical_section::with(|_| unsafe { functions.change(address, page.as_ptr(), PAGE) });
            offset += now.len() as u32;
            bytes = later;
        }
        Ok(())
    }
}

#[expect(
    unsafe_code,
    reason = "the flash is not there while it is written: what runs then lies in RAM or in ROM"
)]
impl Functions {
    /// Programs `length` bytes; without bytes, erases as many.
    ///
    /// # Safety
    /// Within a critical section, with bytes that do not lie in the flash.
    #[unsafe(link_section = ".data.without_flash")]
    #[inline(never)]
    unsafe fn change(&self, address: u32, bytes: *const u8, length: usize) {
        // SAFETY: the caller's; and what is called last returns to whoever called it with a return address.
        unsafe {
            let enter_xip: unsafe extern "C" fn() = core::mem::transmute(self.enter_xip.as_ptr().addr() | 1);
            (self.connect)();
            (self.exit_xip)();
            if bytes.is_null() {
                (self.erase)(address, length, SECTOR, SECTOR_ERASE);
            } else {
                (self.program)(address, bytes, length);
            }
            (self.flush)();
            enter_xip();
        }
    }
}

/// BOOTSEL: the chip select of the flash, which the button pulls down.
pub struct Bootsel {
    /// The pin's control register.
    pub control: *mut u32,
    /// The bits of it that switch the pin's output off.
    pub output_off: u32,
    /// The register with the pin's level.
    pub levels: *const u32,
    /// The bit of it.
    pub level: u32,
}

impl Bootsel {
    /// Whether the button is down. The flash is not there for some microseconds.
    pub fn is_down(&self) -> bool {
        let Bootsel { control, output_off, levels, level } = *self;
        critical_section::with(|_| look(control, output_off, levels, level))
    }
}

#[expect(unsafe_code, reason = "the code must lie in RAM, and the pin belongs to the flash")]
#[unsafe(link_section = ".data.bootsel")]
#[inline(never)]
fn look(control: *mut u32, output_off: u32, levels: *const u32, level: u32) -> bool {
    // SAFETY: registers of the chip select's pin; nothing else runs, and the override is taken back.
    unsafe {
        let before = control.read_volatile();
        control.write_volatile(before | output_off);
        // The pin needs some time to follow its pull-up.
        for _ in 0..500 {
            cortex_m::asm::nop();
        }
        let levels = levels.read_volatile();
        control.write_volatile(before);
        levels & level == 0
    }
}

const XIP: usize = 0x1000_0000;
const SECTOR: u32 = 4096;
/// The flash chip's own command.
const SECTOR_ERASE: u8 = 0x20;
const PAGE: usize = 256;
