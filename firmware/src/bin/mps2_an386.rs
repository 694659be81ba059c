//! QEMU's `mps2-an386` (Cortex-M4F).
#![no_std]
#![no_main]

use cortex_m_rt::{entry, exception};
use doppelkey_firmware::mps2::{self, Machine};
use panic_semihosting as _;

#[entry]
fn main() -> ! {
    let peripherals = cortex_m::Peripherals::take().expect("taken once");
    mps2::run(&Machine { uarts: [0x4000_4000, 0x4000_5000] }, peripherals.SYST)
}

#[exception]
fn SysTick() {
    mps2::tick();
}
