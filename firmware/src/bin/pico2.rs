//! Raspberry Pi Pico 2 (RP2350, its Cortex-M33). Button: BOOTSEL. LED: the one on the board, GPIO 25.
//!
//! | flash | what |
//! |---|---|
//! | 0x1000_0000 to 0x100F_FFFF | this program |
//! | 0x101E_0000 to 0x101F_FFFF | the store: two banks of 64 kB. Never moves: an update keeps it |
//!
//! The chip has a true random number generator. Its one-time memory and secure boot are not used yet; see the folder's
//! README.
#![no_std]
#![no_main]

use core::mem::MaybeUninit;

use cortex_m_rt::{entry, exception};
use doppelkey_core::{Authenticator, Configuration, Message, Time};
use doppelkey_firmware::flash_store::FlashStore;
use doppelkey_firmware::port::{Port, SharedPort, UsbPort};
use doppelkey_firmware::rng::{EntropySource, Rng};
use doppelkey_firmware::worker::{self, Board, Worker};
use embedded_hal::digital::{OutputPin, PinState};
use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};
use panic_halt as _;
use rp235x_hal::block::ImageDef;
use rp235x_hal::clocks::init_clocks_and_plls;
use rp235x_hal::fugit::ExtU32 as _;
use rp235x_hal::gpio::bank0::Gpio25;
use rp235x_hal::gpio::{FunctionSioOutput, Pin, Pins, PullDown};
use rp235x_hal::pac::{self, interrupt};
use rp235x_hal::rom_data;
use rp235x_hal::{Sio, Timer, Watchdog, usb::UsbBus};
use usb_device::bus::UsbBusAllocator;
use zeroize::Zeroizing;

#[expect(unsafe_code, reason = "the boot ROM looks for it at this place")]
#[unsafe(link_section = ".start_block")]
#[used]
static IMAGE: ImageDef = ImageDef::secure_exe();

static PORT: SharedPort<UsbBus> = SharedPort::new();

#[entry]
fn main() -> ! {
    let mut peripherals = pac::Peripherals::take().expect("taken once");
    let mut core = cortex_m::Peripherals::take().expect("taken once");
    let mut watchdog = Watchdog::new(peripherals.WATCHDOG);
    let clocks = init_clocks_and_plls(
        12_000_000,
        peripherals.XOSC,
        peripherals.CLOCKS,
        peripherals.PLL_SYS,
        peripherals.PLL_USB,
        &mut peripherals.RESETS,
        &mut watchdog,
    );
    let Ok(clocks) = clocks else { panic!("the crystal does not start") };
    let _timer = Timer::new_timer0(peripherals.TIMER0, &mut peripherals.RESETS, &clocks);
    let sio = Sio::new(peripherals.SIO);
    let pins =
        Pins::new(peripherals.IO_BANK0, peripherals.PADS_BANK0, sio.gpio_bank0, &mut peripherals.RESETS);
    let mut board = Pico { led: pins.gpio25.reconfigure(), watchdog };

    // Whatever a power cut left is put in order before the platform can see the device.
    let mut entropy = Trng::new(peripherals.TRNG, &mut peripherals.RESETS);
    let place = cortex_m::singleton!(: MaybeUninit<FlashStore<Flash, Rng, 100>> = MaybeUninit::uninit());
    let place = place.expect("taken once");
    let (store, rng) = worker::prepare(&mut board, &mut entropy, Flash, root_key(), place);
    let authenticator = Authenticator::new(store, rng, Configuration::small());
    let request = cortex_m::singleton!(: Message = Message::new()).expect("taken once");
    let response = cortex_m::singleton!(: Message = Message::new()).expect("taken once");
    let mut worker = Worker::new(authenticator, request, response);

    let bus =
        UsbBus::new(peripherals.USB, peripherals.USB_DPRAM, clocks.usb_clock, true, &mut peripherals.RESETS);
    let bus =
        cortex_m::singleton!(: UsbBusAllocator<UsbBus> = UsbBusAllocator::new(bus)).expect("taken once");
    let port = cortex_m::singleton!(: UsbPort<'static, UsbBus> = UsbPort::new(bus)).expect("taken once");
    PORT.start(port);
    core.SYST.set_reload(150_000 * 5);
    core.SYST.clear_current();
    core.SYST.set_clock_source(cortex_m::peripheral::syst::SystClkSource::Core);
    core.SYST.enable_interrupt();
    core.SYST.enable_counter();
    #[expect(unsafe_code, reason = "no critical section depends on this interrupt being off")]
    // SAFETY: the handler below is ready.
    unsafe {
        cortex_m::peripheral::NVIC::unmask(pac::Interrupt::USBCTRL_IRQ);
    }
    board.watchdog.start(5.secs());
    worker.run(&mut board)
}

#[interrupt]
fn USBCTRL_IRQ() {
    PORT.poll(now());
}

#[exception]
fn SysTick() {
    PORT.poll(now());
}

/// The time since power-up. The timer counts microseconds, whoever holds it.
fn now() -> Time {
    #[expect(unsafe_code, reason = "the timer's counter is read by the thread and by interrupts")]
    // SAFETY: registers that are only read.
    let timer = unsafe { &*pac::TIMER0::ptr() };
    loop {
        let high = timer.timerawh().read().bits();
        let low = timer.timerawl().read().bits();
        if timer.timerawh().read().bits() == high {
            return Time::from_micros((u64::from(high) << 32) | u64::from(low));
        }
    }
}

struct Pico {
    led: Pin<Gpio25, FunctionSioOutput, PullDown>,
    watchdog: Watchdog,
}

impl Board for Pico {
    fn now(&self) -> Time {
        now()
    }

    fn with_port<T>(&mut self, work: impl FnOnce(&mut Port) -> T) -> T {
        PORT.with(work)
    }

    fn is_pressed(&mut self) -> bool {
        critical_section::with(|_| bootsel_is_down())
    }

    fn light(&mut self, lit: bool) {
        let Ok(()) = self.led.set_state(PinState::from(lit));
    }

    fn feed_watchdog(&mut self) {
        self.watchdog.feed();
    }

    fn wait(&mut self) {
        cortex_m::asm::wfi();
    }
}

/// The true random number generator: 192 bits at a time, which have passed the block's own tests.
struct Trng {
    block: pac::TRNG,
    bits: [u8; 24],
    used: usize,
}

impl Trng {
    fn new(block: pac::TRNG, resets: &mut pac::RESETS) -> Self {
        resets.reset().modify(|_, w| w.trng().clear_bit());
        while resets.reset_done().read().trng().bit_is_clear() {}
        #[expect(unsafe_code, reason = "fields without a name for their values")]
        // SAFETY: any value is allowed.
        unsafe {
            block.sample_cnt1().write(|w| w.bits(1000));
            block.rnd_source_enable().write(|w| w.bits(1));
        }
        Trng { block, bits: [0; 24], used: 24 }
    }

    /// The next 192 bits; zeros, which no health test passes, if there are none within some milliseconds.
    fn refill(&mut self) {
        self.bits = [0; 24];
        for _ in 0..1_000_000 {
            if self.block.rng_isr().read().ehr_valid().bit_is_set() {
                let words = [
                    self.block.ehr_data0().read().bits(),
                    self.block.ehr_data1().read().bits(),
                    self.block.ehr_data2().read().bits(),
                    self.block.ehr_data3().read().bits(),
                    self.block.ehr_data4().read().bits(),
                    self.block.ehr_data5().read().bits(),
                ];
                for (bytes, word) in self.bits.chunks_exact_mut(4).zip(words) {
                    bytes.copy_from_slice(&word.to_le_bytes());
                }
                break;
            }
        }
        self.used = 0;
    }
}

impl EntropySource for Trng {
    fn sample(&mut self) -> u8 {
        if self.used == self.bits.len() {
            self.refill();
        }
        self.used += 1;
        self.bits[self.used - 1]
    }
}

/// BOOTSEL is the chip select of the flash: for some microseconds the flash is not there, so this runs from RAM, in a
/// critical section.
#[expect(unsafe_code, reason = "the code must lie in RAM, and the pin belongs to the flash")]
#[unsafe(link_section = ".data.bootsel")]
#[inline(never)]
fn bootsel_is_down() -> bool {
    // SAFETY: registers of the chip select's pin; nothing else runs, and the override is taken back.
    let (pins, sio) = unsafe { (&*pac::IO_QSPI::ptr(), &*pac::SIO::ptr()) };
    pins.gpio_qspiss().gpio_ctrl().modify(|_, w| w.oeover().disable());
    // The pin needs some time to follow its pull-up.
    for _ in 0..500 {
        cortex_m::asm::nop();
    }
    let down = sio.gpio_hi_in().read().bits() & 0b10 == 0;
    pins.gpio_qspiss().gpio_ctrl().modify(|_, w| w.oeover().normal());
    down
}

/// The store's part of the flash, at its fixed place.
struct Flash;

const STORE: u32 = 0x1E_0000;
const STORE_SIZE: usize = 128 * 1024;
const PAGE: usize = 256;
const BOOT_RAM: usize = 0x400E_0000;

impl ErrorType for Flash {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Flash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        if offset as usize + bytes.len() > STORE_SIZE {
            return Err(NorFlashErrorKind::OutOfBounds);
        }
        let start = core::ptr::with_exposed_provenance::<u8>((0x1000_0000 + STORE + offset) as usize);
        for (position, byte) in bytes.iter_mut().enumerate() {
            #[expect(unsafe_code, reason = "the flash is memory that the language knows nothing of")]
            // SAFETY: within the store's part of the flash, which can always be read.
            let value = unsafe { start.add(position).read_volatile() };
            *byte = value;
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        STORE_SIZE
    }
}

impl NorFlash for Flash {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 4096;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        if to as usize > STORE_SIZE || from % 4096 != 0 || to % 4096 != 0 {
            return Err(NorFlashErrorKind::OutOfBounds);
        }
        // One sector at a time, with interrupts between: the platform must not wait long.
        for sector in (from..to).step_by(4096) {
            Rom::erase_sector(STORE + sector);
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        if offset as usize + bytes.len() > STORE_SIZE {
            return Err(NorFlashErrorKind::OutOfBounds);
        }
        let (mut offset, mut bytes) = (offset, bytes);
        while !bytes.is_empty() {
            // The flash takes whole pages; what is 0xFF stays as it is.
            let within = offset as usize % PAGE;
            let (now, later) = bytes.split_at(bytes.len().min(PAGE - within));
            let mut page = [0xFF; PAGE];
            page[within..within + now.len()].copy_from_slice(now);
            Rom::program_page(STORE + offset - within as u32, &page);
            offset += now.len() as u32;
            bytes = later;
        }
        Ok(())
    }
}

/// The boot ROM's functions that write the flash, found while the flash is still there.
struct Rom {
    connect: unsafe extern "C" fn(),
    exit_xip: unsafe extern "C" fn(),
    erase: unsafe extern "C" fn(u32, usize, u32, u8),
    program: unsafe extern "C" fn(u32, *const u8, usize),
    flush: unsafe extern "C" fn(),
    /// A copy in RAM of what the boot ROM found to make the flash readable, fast.
    boot2: [u32; 64],
}

#[expect(
    unsafe_code,
    reason = "the flash is not there while it is written: what runs then lies in RAM or in ROM"
)]
impl Rom {
    fn find() -> Self {
        let mut boot2 = [0; 64];
        let left = core::ptr::with_exposed_provenance::<u32>(BOOT_RAM);
        for (number, word) in boot2.iter_mut().enumerate() {
            // SAFETY: 256 bytes of the boot RAM, where the ROM has left it.
            *word = unsafe { left.add(number).read_volatile() };
        }
        Rom {
            connect: rom_data::connect_internal_flash::ptr(),
            exit_xip: rom_data::flash_exit_xip::ptr(),
            erase: rom_data::flash_range_erase::ptr(),
            program: rom_data::flash_range_program::ptr(),
            flush: rom_data::flash_flush_cache::ptr(),
            boot2,
        }
    }

    fn erase_sector(address: u32) {
        let rom = Rom::find();
        // SAFETY: nothing else runs; the sector is the store's.
        critical_section::with(|_| unsafe { rom.without_flash(address, core::ptr::null(), 4096) });
    }

    fn program_page(address: u32, page: &[u8; PAGE]) {
        let rom = Rom::find();
        // SAFETY: nothing else runs; the page is the store's, and its bytes lie on the stack.
        critical_section::with(|_| unsafe { rom.without_flash(address, page.as_ptr(), PAGE) });
    }

    /// Programs `length` bytes; without bytes, erases as many.
    ///
    /// # Safety
    /// Within a critical section, with bytes that do not lie in the flash.
    #[unsafe(link_section = ".data.without_flash")]
    #[inline(never)]
    unsafe fn without_flash(&self, address: u32, bytes: *const u8, length: usize) {
        // SAFETY: the caller's; and the boot loader returns to whoever called it with a return address.
        unsafe {
            let start: unsafe extern "C" fn() = core::mem::transmute(self.boot2.as_ptr().addr() | 1);
            (self.connect)();
            (self.exit_xip)();
            if bytes.is_null() {
                (self.erase)(address, length, 4096, 0x20);
            } else {
                (self.program)(address, bytes, length);
            }
            (self.flush)();
            start();
        }
    }
}

/// The one-time memory is not provisioned, so this key protects nothing from a thief.
fn root_key() -> Zeroizing<[u8; 32]> {
    Zeroizing::new(*b"this RP2350 keeps no secret yet.")
}
