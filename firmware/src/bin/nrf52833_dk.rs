//! Nordic nRF52833 development kit (PCA10100). Button: BUTTON 1, P0.11 (down is low). LED: LED1, P0.13 (lit is low).
//!
//! | flash | what |
//! |---|---|
//! | 0x0000_0000 to 0x0005_EFFF | this program |
//! | 0x0005_F000 to 0x0005_FFFF | the root key, made at the first start. Never moves |
//! | 0x0006_0000 to 0x0007_FFFF | the store: two banks of 64 kB. Never moves |
#![no_std]
#![no_main]

use cortex_m_rt::entry;
use doppelkey_firmware::nrf52::hal::gpio::{Level, p0};
use doppelkey_firmware::nrf52::hal::pac::{self, interrupt};
use doppelkey_firmware::nrf52::{self, Chip, Pins};
use panic_halt as _;

#[entry]
fn main() -> ! {
    let peripherals = pac::Peripherals::take().expect("taken once");
    let port_0 = p0::Parts::new(peripherals.P0);
    let pins = Pins {
        button: port_0.p0_11.into_pullup_input().degrade(),
        led: port_0.p0_13.into_push_pull_output(Level::High).degrade(),
    };
    let chip = Chip {
        power: peripherals.POWER,
        clock: peripherals.CLOCK,
        timer: peripherals.TIMER0,
        watchdog: peripherals.WDT,
        rng: peripherals.RNG,
        flash: peripherals.NVMC,
        usb: peripherals.USBD,
        ticks: peripherals.TIMER1,
    };
    nrf52::run(chip, pins, 0x5_F000)
}

#[interrupt]
fn USBD() {
    nrf52::usb();
}

#[interrupt]
fn TIMER1() {
    nrf52::tick();
}
