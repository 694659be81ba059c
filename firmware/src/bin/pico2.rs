//! Raspberry Pi Pico 2 (RP2350, its Cortex-M33). Button: BOOTSEL. LED: the one on the board, GPIO 25.
//!
//! | flash | what |
//! |---|---|
//! | 0x1000_0000 to 0x100F_FFFF | this program |
//! | 0x101D_F000 to 0x101D_FFFF | the root key, made at the first start. Never moves |
//! | 0x101E_0000 to 0x101F_FFFF | the store: two banks of 64 kB. Never moves: an update keeps it |
//!
//! The chip has a true random number generator, and one-time memory: a secret in its page 48 becomes a part of the root
//! key. See the folder's README for what that is worth.
#![no_std]
#![no_main]

use cortex_m_rt::{entry, exception};
use doppelkey_core::Time;
use doppelkey_firmware::boot_rom::{BootFlash, Bootsel, Functions};
use doppelkey_firmware::port::{Port, SharedPort};
use doppelkey_firmware::rp2350::{Trng, one_time_secret};
use doppelkey_firmware::start::{self, Memory, Start};
use doppelkey_firmware::worker::Board;
use embedded_hal::digital::{OutputPin, PinState};
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

#[expect(unsafe_code, reason = "the boot ROM looks for it at this place")]
#[unsafe(link_section = ".start_block")]
#[used]
static IMAGE: ImageDef = ImageDef::secure_exe();

static PORT: SharedPort<UsbBus> = SharedPort::new();

#[entry]
fn main() -> ! {
    let mut peripherals = pac::Peripherals::take().expect("taken once");
    let core = cortex_m::Peripherals::take().expect("taken once");
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
    let entropy = Trng::new(peripherals.TRNG, &mut peripherals.RESETS);
    let bus = || {
        let (registers, memory) = (peripherals.USB, peripherals.USB_DPRAM);
        UsbBusAllocator::new(UsbBus::new(registers, memory, clocks.usb_clock, true, &mut peripherals.RESETS))
    };
    let start = Start {
        board: Pico { led: pins.gpio25.reconfigure(), button: bootsel(), watchdog },
        entropy,
        flash: BootFlash { find: rom_functions, start: 0x1D_F000, size: 132 * 1024 },
        chip_secret: one_time_secret(),
    };
    let memory = cortex_m::singleton!(: Memory<BootFlash, UsbBus> = Memory::new()).expect("taken once");
    start.run(memory, &PORT, bus, |board| {
        start::tick(core.SYST, 150_000_000);
        start::unmask(pac::Interrupt::USBCTRL_IRQ);
        // The watchdog waits for 8.3 seconds at most. A bank that is full takes 16 erases, for each of which the flash
        // (W25Q16JV and its like) may take 400 ms when it is old; mostly 45.
        board.watchdog.start(8.secs());
    })
}

#[interrupt]
fn USBCTRL_IRQ() {
    start::on_usb(&PORT, now(), pac::Interrupt::USBCTRL_IRQ);
}

#[exception]
fn SysTick() {
    start::on_tick(&PORT, now(), pac::Interrupt::USBCTRL_IRQ);
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
            return start::from_micros((u64::from(high) << 32) | u64::from(low));
        }
    }
}

struct Pico {
    led: Pin<Gpio25, FunctionSioOutput, PullDown>,
    button: Bootsel,
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
        self.button.is_down()
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

fn bootsel() -> Bootsel {
    #[expect(unsafe_code, reason = "the pin belongs to the flash, and the HAL gives it to nobody")]
    // SAFETY: only addresses are taken here.
    let (pins, sio) = unsafe { (&*pac::IO_QSPI::ptr(), &*pac::SIO::ptr()) };
    Bootsel {
        control: pins.gpio_qspiss().gpio_ctrl().as_ptr(),
        // OEOVER: 2.
        output_off: 2 << 14,
        levels: sio.gpio_hi_in().as_ptr(),
        // QSPI_CSN.
        level: 1 << 27,
    }
}

fn rom_functions() -> Functions {
    // The boot ROM leaves the code that makes the flash readable in the boot RAM.
    let mut enter_xip = [0; 64];
    let left = core::ptr::with_exposed_provenance::<u32>(0x400E_0000);
    for (number, word) in enter_xip.iter_mut().enumerate() {
        #[expect(unsafe_code, reason = "memory that the language knows nothing of")]
        // SAFETY: 256 bytes of the boot RAM, which can always be read.
        let value = unsafe { left.add(number).read_volatile() };
        *word = value;
    }
    Functions {
        connect: rom_data::connect_internal_flash::ptr(),
        exit_xip: rom_data::flash_exit_xip::ptr(),
        erase: rom_data::flash_range_erase::ptr(),
        program: rom_data::flash_range_program::ptr(),
        flush: rom_data::flash_flush_cache::ptr(),
        enter_xip,
    }
}
