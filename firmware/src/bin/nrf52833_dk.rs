//! Nordic nRF52833 development kit (PCA10100). Button: BUTTON 1, P0.11 (down is low). LED: LED1, P0.13 (lit is low).
//!
//! | flash | what |
//! |---|---|
//! | 0x0000_0000 to 0x0005_EFFF | this program |
//! | 0x0005_F000 to 0x0005_FFFF | the root key, made at the first start. Never moves |
//! | 0x0006_0000 to 0x0007_FFFF | the store: two banks of 64 kB. Never moves |
//!
//! The erase of a page takes 85 ms, in which the chip executes nothing.
#![no_std]
#![no_main]

use cortex_m_rt::{entry, exception};
use doppelkey_core::Time;
use doppelkey_firmware::port::{Port, SharedPort};
use doppelkey_firmware::rng::EntropySource;
use doppelkey_firmware::start::{self, Memory, Start};
use doppelkey_firmware::worker::Board;
use embedded_hal::digital::{InputPin, OutputPin, PinState};
use nrf52833_hal::clocks::{Clocks, ExternalOscillator, Internal, LfOscStopped};
use nrf52833_hal::gpio::{Input, Level, Output, Pin, PullUp, PushPull, p0};
use nrf52833_hal::nvmc::Nvmc;
use nrf52833_hal::pac::{self, interrupt};
use nrf52833_hal::usbd::{UsbPeripheral, Usbd};
use nrf52833_hal::wdt::{Watchdog, WatchdogHandle, count, handles::HdlN};
use panic_halt as _;
use usb_device::bus::UsbBusAllocator;

type Bus = Usbd<UsbPeripheral<'static>>;

static PORT: SharedPort<Bus> = SharedPort::new();

#[entry]
fn main() -> ! {
    let peripherals = pac::Peripherals::take().expect("taken once");
    let core = pac::CorePeripherals::take().expect("taken once");
    let clocks = Clocks::new(peripherals.CLOCK).enable_ext_hfosc();
    let clocks = cortex_m::singleton!(: Clocks<ExternalOscillator, Internal, LfOscStopped> = clocks);
    let clocks = clocks.expect("taken once");
    start_counting(&peripherals.TIMER0);
    let port_0 = p0::Parts::new(peripherals.P0);
    let watchdog = Watchdog::try_new(peripherals.WDT).ok().map(|mut watchdog| {
        watchdog.set_lfosc_ticks(5 * 32_768);
        watchdog.activate::<count::One>().handles.0.degrade()
    });
    let start = Start {
        board: Kit {
            button: port_0.p0_11.into_pullup_input().degrade(),
            led: port_0.p0_13.into_push_pull_output(Level::High).degrade(),
            watchdog,
        },
        entropy: Hardware(nrf52833_hal::Rng::new(peripherals.RNG)),
        flash: Nvmc::new(peripherals.NVMC, our_flash()),
        chip_secret: None,
    };
    let bus = || UsbBusAllocator::new(Usbd::new(UsbPeripheral::new(peripherals.USBD, clocks)));
    let memory = cortex_m::singleton!(: Memory<Nvmc<pac::NVMC>, Bus> = Memory::new()).expect("taken once");
    start.run(memory, &PORT, bus, |_| {
        start::tick(core.SYST, 64_000_000);
        start::unmask(pac::Interrupt::USBD);
    })
}

#[interrupt]
fn USBD() {
    PORT.poll(now());
}

#[exception]
fn SysTick() {
    PORT.poll(now());
}

/// A timer of 32 bits that counts microseconds: for 71 minutes, after which only a keepalive may come late once.
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
    critical_section::with(|_| {
        timer.tasks_capture[0].write(|w| w.tasks_capture().set_bit());
        Time::from_micros(timer.cc[0].read().bits().into())
    })
}

struct Kit {
    button: Pin<Input<PullUp>>,
    led: Pin<Output<PushPull>>,
    watchdog: Option<WatchdogHandle<HdlN>>,
}

impl Board for Kit {
    fn now(&self) -> Time {
        now()
    }

    fn with_port<T>(&mut self, work: impl FnOnce(&mut Port) -> T) -> T {
        PORT.with(work)
    }

    fn is_pressed(&mut self) -> bool {
        let Ok(down) = self.button.is_low();
        down
    }

    fn light(&mut self, lit: bool) {
        let Ok(()) = self.led.set_state(PinState::from(!lit));
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
struct Hardware(nrf52833_hal::Rng);

impl EntropySource for Hardware {
    fn sample(&mut self) -> u8 {
        self.0.random_u8()
    }
}

#[expect(unsafe_code, reason = "our part of the flash is memory that the language knows nothing of")]
fn our_flash() -> &'static mut [u8] {
    // SAFETY: no section of this program lies there, and this is called once.
    unsafe { core::slice::from_raw_parts_mut(core::ptr::with_exposed_provenance_mut(0x5_F000), 132 * 1024) }
}
