//! QEMU's `mps2-an505` (Cortex-M33).
#![no_std]
#![no_main]

use cortex_m_rt::{entry, exception};
use doppelkey_firmware::mps2::{self, Machine};
use panic_semihosting as _;

#[entry]
fn main() -> ! {
    let peripherals = cortex_m::Peripherals::take().expect("taken once");
    mps2::run(&Machine { uarts: [0x5020_0000, 0x5020_1000] }, peripherals.SYST)
}

#[exception]
fn SysTick() {
    mps2::tick();
}
