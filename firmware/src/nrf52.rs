//! What the boards with Nordic's nRF52833 and nRF52840 share: everything but the pins, and where our part of the flash is.
//!
//! The erase of a page takes 85 ms, in which the chip executes nothing.
//!
//! **What wakes the thread**: USB's events, and a timer every five milliseconds. Not SysTick: on these chips it stands
//! still while the core sleeps (nRF52840 Product Specification, "CPU and support module configuration").

use core::cell::RefCell;

use critical_section::Mutex;
use doppelkey_core::Time;
use embedded_hal::digital::{InputPin, OutputPin, PinState};
use hal::clocks::{Clocks, ExternalOscillator, Internal, LfOscStopped};
use hal::gpio::{Input, Output, Pin, PullUp, PushPull};
use hal::nvmc::Nvmc;
use hal::usbd::{UsbPeripheral, Usbd};
use hal::wdt::{Parts, Watchdog, WatchdogHandle, count, handles::HdlN};
use hal::{Rng, pac};
#[cfg(feature = "board-nrf52833-dk")]
pub use nrf52833_hal as hal;
#[cfg(not(feature = "board-nrf52833-dk"))]
pub use nrf52840_hal as hal;
use usb_device::bus::UsbBusAllocator;

use crate::clock::Clock;
use crate::port::{Port, SharedPort};
use crate::rng::EntropySource;
use crate::start::{self, Memory, Start};
use crate::worker::Board;

type Bus = Usbd<UsbPeripheral<'static>>;

static PORT: SharedPort<Bus> = SharedPort::new();

/// Of the chip, what a board does not use itself.
pub struct Chip {
    /// Says whether the bus gives power.
    pub power: pac::POWER,
    /// Switched to the crystal, which USB needs.
    pub clock: pac::CLOCK,
    /// Counts microseconds.
    pub timer: pac::TIMER0,
    /// Five seconds.
    pub watchdog: pac::WDT,
    /// Randomness.
    pub rng: pac::RNG,
    /// Writes the flash.
    pub flash: pac::NVMC,
    /// USB.
    pub usb: pac::USBD,
    /// Ticks every five milliseconds.
    pub ticks: pac::TIMER1,
}

/// What a board has connected. Both are low when down, and lit.
pub struct Pins {
    /// The button.
    pub button: Pin<Input<PullUp>>,
    /// The LED.
    pub led: Pin<Output<PushPull>>,
}

/// Starts, and works until power goes. `our_flash` is the address of our part of the flash: a page for the root key, and
/// two banks of 64 kB. No section of the program may lie there.
pub fn run(chip: Chip, pins: Pins, our_flash: usize) -> ! {
    wait_for_bus(&chip.power);
    let clocks = Clocks::new(chip.clock).enable_ext_hfosc();
    let clocks = cortex_m::singleton!(: Clocks<ExternalOscillator, Internal, LfOscStopped> = clocks);
    let clocks = clocks.expect("taken once");
    start_counting(&chip.timer);
    let start = Start {
        board: Nrf { pins, watchdog: start_watchdog(chip.watchdog) },
        entropy: Hardware(Rng::new(chip.rng)),
        flash: Nvmc::new(chip.flash, memory_at(our_flash)),
        chip_secret: None,
    };
    let usb = chip.usb;
    let bus = || UsbBusAllocator::new(Usbd::new(UsbPeripheral::new(usb, clocks)));
    let memory = cortex_m::singleton!(: Memory<Nvmc<pac::NVMC>, Bus> = Memory::new()).expect("taken once");
    let ticks = chip.ticks;
    start.run(memory, &PORT, bus, |_| {
        start_ticking(&ticks);
        listen(usb_registers());
        start::unmask(pac::Interrupt::TIMER1);
        start::unmask(pac::Interrupt::USBD);
    })
}

/// Until the bus gives power, and the regulator has made of it what the transceiver needs. Before that the controller would
/// never be ready, for which the driver waits with interrupts off, and the watchdog would end a board that is powered by
/// something else, again and again.
fn wait_for_bus(power: &pac::POWER) {
    while power.usbregstatus.read().outputrdy().is_not_ready() {}
}

/// What the interrupt of USB does.
pub fn usb() {
    // Of this event the driver reads only what it stands for, and leaves it standing.
    usb_registers().events_epdata.reset();
    start::on_usb(&PORT, now(), pac::Interrupt::USBD);
}

/// What the interrupt of TIMER1 does.
pub fn tick() {
    #[expect(unsafe_code, reason = "the interrupt's own register")]
    // SAFETY: nobody else uses the timer once it runs.
    let ticks = unsafe { &*pac::TIMER1::ptr() };
    ticks.events_compare[0].reset();
    start::on_tick(&PORT, now(), pac::Interrupt::USBD);
}

/// Lets USB's events interrupt: the driver switches none on.
fn listen(usb: &pac::usbd::RegisterBlock) {
    usb.intenset.write(|w| {
        w.usbreset().set_bit().usbevent().set_bit();
        w.ep0setup().set_bit().ep0datadone().set_bit().epdata().set_bit()
    });
}

fn usb_registers() -> &'static pac::usbd::RegisterBlock {
    #[expect(unsafe_code, reason = "the driver has the registers, and does not do all that is to be done")]
    // SAFETY: only of events and their interrupts, and only in interrupts of one priority, which the driver's critical
    // sections hold off.
    unsafe {
        &*pac::USBD::ptr()
    }
}

/// One that runs already, since before a reset by software, is fed as it is.
fn start_watchdog(watchdog: pac::WDT) -> Option<WatchdogHandle<HdlN>> {
    let parts: Parts<(WatchdogHandle<_>,)> = match Watchdog::try_new(watchdog) {
        Ok(mut watchdog) => {
            watchdog.set_lfosc_ticks(5 * 32_768);
            watchdog.activate::<count::One>()
        }
        Err(watchdog) => Watchdog::try_recover::<count::One>(watchdog).ok()?,
    };
    Some(parts.handles.0.degrade())
}

/// An interrupt every five milliseconds, also in sleep.
fn start_ticking(timer: &pac::TIMER1) {
    #[expect(unsafe_code, reason = "fields without names for their values")]
    // SAFETY: 2⁴ divides the 16 MHz, and the width of 16 bits, which it has at power-up, holds 5,000.
    unsafe {
        timer.prescaler.write(|w| w.prescaler().bits(4));
        timer.cc[0].write(|w| w.bits(5_000));
    }
    timer.shorts.write(|w| w.compare0_clear().set_bit());
    timer.intenset.write(|w| w.compare0().set_bit());
    timer.tasks_start.write(|w| w.tasks_start().set_bit());
}

/// A timer of 32 bits that counts microseconds, also in sleep.
fn start_counting(timer: &pac::TIMER0) {
    timer.bitmode.write(|w| w.bitmode()._32bit());
    #[expect(unsafe_code, reason = "a field without a name for its values")]
    // SAFETY: 2⁴ divides the 16 MHz.
    timer.prescaler.write(|w| unsafe { w.prescaler().bits(4) });
    timer.tasks_start.write(|w| w.tasks_start().set_bit());
}

fn now() -> Time {
    #[expect(unsafe_code, reason = "the timer's counter is read by the thread and by interrupts")]
    // SAFETY: the timer has no other user.
    let timer = unsafe { &*pac::TIMER0::ptr() };
    critical_section::with(|section| {
        timer.tasks_capture[0].write(|w| w.tasks_capture().set_bit());
        CLOCK.borrow_ref_mut(section).at(timer.cc[0].read().bits())
    })
}

static CLOCK: Mutex<RefCell<Clock>> = Mutex::new(RefCell::new(Clock::new()));

struct Nrf {
    pins: Pins,
    watchdog: Option<WatchdogHandle<HdlN>>,
}

impl Board for Nrf {
    fn now(&self) -> Time {
        now()
    }

    fn with_port<T>(&mut self, work: impl FnOnce(&mut Port) -> T) -> T {
        PORT.with(work)
    }

    fn is_pressed(&mut self) -> bool {
        let Ok(down) = self.pins.button.is_low();
        down
    }

    fn light(&mut self, lit: bool) {
        let Ok(()) = self.pins.led.set_state(PinState::from(!lit));
    }

    fn feed_watchdog(&mut self) {
        if let Some(watchdog) = &mut self.watchdog {
            watchdog.pet();
        }
    }

    fn wait(&mut self) {
        cortex_m::asm::wfi();
    }
}

/// The chip's random number generator, which corrects its own bias.
struct Hardware(Rng);

impl EntropySource for Hardware {
    fn sample(&mut self) -> u8 {
        self.0.random_u8()
    }
}

#[expect(unsafe_code, reason = "our part of the flash is memory that the language knows nothing of")]
fn memory_at(address: usize) -> &'static mut [u8] {
    // SAFETY: no section of the program lies there, and this is called once.
    unsafe { core::slice::from_raw_parts_mut(core::ptr::with_exposed_provenance_mut(address), 132 * 1024) }
}
