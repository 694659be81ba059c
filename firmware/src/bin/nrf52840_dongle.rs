//! Nordic nRF52840 dongle (PCA10059). Button: SW1, P1.06 (down is low). LED: LD1, P0.06 (lit is low).
//!
//! | flash | what |
//! |---|---|
//! | 0x0000_1000 to 0x000B_EFFF | this program; below is the master boot record |
//! | 0x000B_F000 to 0x000B_FFFF | the root key, made at the first start. Never moves |
//! | 0x000C_0000 to 0x000D_FFFF | the store: two banks of 64 kB. Never moves |
//! | 0x000E_0000 to 0x000F_FFFF | the boot loader |
#![no_std]
#![no_main]

use cortex_m_rt::entry;
use doppelkey_firmware::nrf52::hal::gpio::{Level, p0, p1};
use doppelkey_firmware::nrf52::hal::pac::{self, interrupt};
use doppelkey_firmware::nrf52::{self, Chip, Pins};
use panic_halt as _;

#[entry]
fn main() -> ! {
    let peripherals = pac::Peripherals::take().expect("taken once");
    let port_0 = p0::Parts::new(peripherals.P0);
    let port_1 = p1::Parts::new(peripherals.P1);
    let pins = Pins {
        button: port_1.p1_06.into_pullup_input().degrade(),
        led: port_0.p0_06.into_push_pull_output(Level::High).degrade(),
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
    nrf52::run(chip, pins, 0xB_F000)
}

#[interrupt]
fn USBD() {
    nrf52::usb();
}

#[interrupt]
fn TIMER1() {
    nrf52::tick();
}
