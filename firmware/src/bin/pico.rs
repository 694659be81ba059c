//! Raspberry Pi Pico (RP2040). Button: BOOTSEL. LED: the one on the board, GPIO 25.
//!
//! | flash | what |
//! |---|---|
//! | 0x1000_0000 to 0x100F_FFFF | this program |
//! | 0x101D_F000 to 0x101D_FFFF | the root key, made at the first start. Never moves |
//! | 0x101E_0000 to 0x101F_FFFF | the store: two banks of 64 kB. Never moves: an update keeps it |
//!
//! The chip has no true random number generator and no memory that a probe cannot read; see the folder's README.
#![no_std]
#![no_main]

use cortex_m_rt::{entry, exception};
use doppelkey_core::Time;
use doppelkey_firmware::boot_rom::{BootFlash, Bootsel, Functions};
use doppelkey_firmware::port::{Port, SharedPort};
use doppelkey_firmware::rng::EntropySource;
use doppelkey_firmware::start::{self, Memory, Start};
use doppelkey_firmware::worker::Board;
use embedded_hal::digital::{OutputPin, PinState};
use panic_halt as _;
use rp2040_hal::clocks::init_clocks_and_plls;
use rp2040_hal::fugit::ExtU32 as _;
use rp2040_hal::gpio::bank0::Gpio25;
use rp2040_hal::gpio::{FunctionSioOutput, Pin, Pins, PullDown};
use rp2040_hal::pac::{self, interrupt};
use rp2040_hal::rom_data;
use rp2040_hal::rosc::{Enabled, RingOscillator};
use rp2040_hal::{Sio, Timer, Watchdog, usb::UsbBus};
use usb_device::bus::UsbBusAllocator;

#[expect(unsafe_code, reason = "the boot ROM looks for it at this place")]
#[unsafe(link_section = ".boot2")]
#[used]
static BOOT2: [u8; 256] = rp2040_boot2::BOOT_LOADER_W25Q080;

static PORT: SharedPort<UsbBus> = SharedPort::new();

#[entry]
fn main() -> ! {
    let mut peripherals = pac::Peripherals::take().expect("taken once");
    let core = pac::CorePeripherals::take().expect("taken once");
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
    let _timer = Timer::new(peripherals.TIMER, &mut peripherals.RESETS, &clocks);
    let sio = Sio::new(peripherals.SIO);
    let pins =
        Pins::new(peripherals.IO_BANK0, peripherals.PADS_BANK0, sio.gpio_bank0, &mut peripherals.RESETS);
    let bus = || {
        let (registers, memory) = (peripherals.USBCTRL_REGS, peripherals.USBCTRL_DPRAM);
        UsbBusAllocator::new(UsbBus::new(registers, memory, clocks.usb_clock, true, &mut peripherals.RESETS))
    };
    let start = Start {
        board: Pico { led: pins.gpio25.reconfigure(), button: bootsel(), watchdog },
        entropy: Rosc(RingOscillator::new(peripherals.ROSC).initialize()),
        flash: BootFlash { find: rom_functions, start: 0x1D_F000, size: 132 * 1024 },
        chip_secret: None,
    };
    let memory = cortex_m::singleton!(: Memory<BootFlash, UsbBus> = Memory::new()).expect("taken once");
    start.run(memory, &PORT, bus, |board| {
        start::tick(core.SYST, 125_000_000);
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
    let timer = unsafe { &*pac::TIMER::ptr() };
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

/// The ring oscillator's random bit. Known to be weak, and to depend on the chip's temperature: hence eight samples far
/// apart for a byte that is counted as one bit, and the health tests.
struct Rosc(RingOscillator<Enabled>);

impl EntropySource for Rosc {
    fn sample(&mut self) -> u8 {
        (0..8).fold(0, |byte, _| {
            cortex_m::asm::delay(40);
            (byte << 1) | u8::from(self.0.get_random_bit())
        })
    }
}

fn bootsel() -> Bootsel {
    #[expect(unsafe_code, reason = "the pin belongs to the flash, and the HAL gives it to nobody")]
    // SAFETY: only addresses are taken here.
    let (pins, sio) = unsafe { (&*pac::IO_QSPI::ptr(), &*pac::SIO::ptr()) };
    Bootsel {
        control: pins.gpio_qspiss().gpio_ctrl().as_ptr(),
        // OEOVER: 2.
        output_off: 2 << 12,
        levels: sio.gpio_hi_in().as_ptr(),
        level: 1 << 1,
    }
}

fn rom_functions() -> Functions {
    // The second stage of the boot loader makes the flash readable.
    let mut enter_xip = [0; 64];
    for (word, bytes) in enter_xip.iter_mut().zip(BOOT2.chunks_exact(4)) {
        *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
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
