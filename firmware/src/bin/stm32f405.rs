//! STM32F405RG, as on Olimex's STM32-H405: button on PA0 (down is high), LED on PC12 (lit is low), crystal of 8 MHz.
//!
//! | flash | what |
//! |---|---|
//! | 0x0800_0000 to 0x0809_FFFF | this program |
//! | 0x080A_0000 to 0x080B_FFFF | the root key, made at the first start. Never moves |
//! | 0x080C_0000 to 0x080F_FFFF | the store: two banks, the chip's last two sectors of 128 kB. Never moves |
//!
//! A sector's erase takes two seconds, and four at most (the HAL programs by single bytes: PSIZE x8), in which the chip
//! executes nothing: two at the first start, and one whenever a bank is full. The watchdog waits for eight.
//!
//! **What wakes the thread**: USB, and SysTick every five milliseconds. Both go on in sleep, and so does TIM2, by which the
//! time is told; the core's cycle counter does not (RM0090, "Sleep mode").
#![no_std]
#![no_main]

use core::cell::RefCell;

use cortex_m_rt::{entry, exception};
use critical_section::Mutex;
use doppelkey_core::Time;
use doppelkey_firmware::clock::Clock;
use doppelkey_firmware::port::{Port, SharedPort};
use doppelkey_firmware::rng::EntropySource;
use doppelkey_firmware::start::{self, Memory, Start};
use doppelkey_firmware::worker::Board;
use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};
use panic_halt as _;
use stm32f4xx_hal::flash::{FlashExt as _, LockedFlash};
use stm32f4xx_hal::gpio::{Input, Output, PA0, PC12};
use stm32f4xx_hal::hal_02::blocking::rng::Read as _;
use stm32f4xx_hal::otg_fs::{USB, UsbBus, UsbBusType};
use stm32f4xx_hal::pac::{self, interrupt};
use stm32f4xx_hal::prelude::*;
use stm32f4xx_hal::rcc::{Config, Enable as _};
use stm32f4xx_hal::watchdog::IndependentWatchdog;

static PORT: SharedPort<UsbBusType> = SharedPort::new();

#[entry]
fn main() -> ! {
    let peripherals = pac::Peripherals::take().expect("taken once");
    let core = cortex_m::Peripherals::take().expect("taken once");
    let clocks = Config::hse(8.MHz()).sysclk(168.MHz()).require_pll48clk();
    let mut rcc = peripherals.RCC.freeze(clocks);
    pac::TIM2::enable(&mut rcc);
    start_counting(&peripherals.TIM2, rcc.clocks.timclk1().to_MHz());
    let port_a = peripherals.GPIOA.split(&mut rcc);
    let port_c = peripherals.GPIOC.split(&mut rcc);
    let start = Start {
        board: H405 {
            button: port_a.pa0.into_floating_input(),
            led: port_c.pc12.into_push_pull_output(),
            watchdog: IndependentWatchdog::new(peripherals.IWDG),
        },
        entropy: Hardware(peripherals.RNG.constrain(&mut rcc)),
        flash: Flash(LockedFlash::new(peripherals.FLASH)),
        chip_secret: None,
    };
    let bus = || {
        let usb = (peripherals.OTG_FS_GLOBAL, peripherals.OTG_FS_DEVICE, peripherals.OTG_FS_PWRCLK);
        let usb = USB::new(usb, (port_a.pa11, port_a.pa12), &rcc.clocks);
        UsbBus::new(usb, cortex_m::singleton!(: [u32; 320] = [0; 320]).expect("taken once"))
    };
    let memory = cortex_m::singleton!(: Memory<Flash, UsbBusType> = Memory::new()).expect("taken once");
    start.run(memory, &PORT, bus, |board| {
        start::tick(core.SYST, CORE_HZ);
        start::unmask(pac::Interrupt::OTG_FS);
        board.watchdog.start(8000.millis());
    })
}

#[interrupt]
fn OTG_FS() {
    start::on_usb(&PORT, now(), pac::Interrupt::OTG_FS);
}

#[exception]
fn SysTick() {
    start::on_tick(&PORT, now(), pac::Interrupt::OTG_FS);
}

/// A timer of 32 bits that counts microseconds, also in sleep, for which its clock is on since power-up (RCC_APB1LPENR).
fn start_counting(timer: &pac::TIM2, clock_mhz: u32) {
    timer.psc().write(|w| w.psc().set(clock_mhz as u16 - 1));
    // The prescaler counts from the next update on.
    timer.egr().write(|w| w.ug().set_bit());
    timer.cr1().write(|w| w.cen().set_bit());
}

/// The time since power-up.
fn now() -> Time {
    #[expect(unsafe_code, reason = "the timer's counter is read by the thread and by interrupts")]
    // SAFETY: a register that is only read.
    let timer = unsafe { &*pac::TIM2::ptr() };
    critical_section::with(|section| CLOCK.borrow_ref_mut(section).at(timer.cnt().read().bits()))
}

static CLOCK: Mutex<RefCell<Clock>> = Mutex::new(RefCell::new(Clock::new()));
const CORE_HZ: u32 = 168_000_000;

struct H405 {
    button: PA0<Input>,
    led: PC12<Output>,
    watchdog: IndependentWatchdog,
}

impl Board for H405 {
    fn now(&self) -> Time {
        now()
    }

    fn with_port<T>(&mut self, work: impl FnOnce(&mut Port) -> T) -> T {
        PORT.with(work)
    }

    fn is_pressed(&mut self) -> bool {
        self.button.is_high()
    }

    fn light(&mut self, lit: bool) {
        self.led.set_state((!lit).into());
    }

    fn feed_watchdog(&mut self) {
        self.watchdog.feed();
    }

    fn wait(&mut self) {
        cortex_m::asm::wfi();
    }
}

/// The chip's random number generator, with its own tests. What it refuses to give is read as zeros, which no health test
/// passes.
struct Hardware(stm32f4xx_hal::rng::Rng);

impl EntropySource for Hardware {
    fn sample(&mut self) -> u8 {
        let mut byte = [0];
        self.0.read(&mut byte).map_or(0, |()| byte[0])
    }
}

/// Our part of the flash, at its fixed place.
struct Flash(LockedFlash);

const START: u32 = 0xA_0000;
const SIZE: usize = 384 * 1024;

impl ErrorType for Flash {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Flash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        within(offset, bytes.len())?;
        ReadNorFlash::read(&mut self.0, START + offset, bytes).map_err(|_| NorFlashErrorKind::Other)
    }

    fn capacity(&self) -> usize {
        SIZE
    }
}

impl NorFlash for Flash {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 128 * 1024;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        within(from, (to - from) as usize)?;
        NorFlash::erase(&mut self.0.unlocked(), START + from, START + to)
            .map_err(|_| NorFlashErrorKind::Other)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        within(offset, bytes.len())?;
        self.0.unlocked().write(START + offset, bytes).map_err(|_| NorFlashErrorKind::Other)
    }
}

fn within(offset: u32, length: usize) -> Result<(), NorFlashErrorKind> {
    (offset as usize + length <= SIZE).then_some(()).ok_or(NorFlashErrorKind::OutOfBounds)
}
