//! The start of a board, in the order that every board must keep: randomness, the store, and only then the bus.

use core::mem::MaybeUninit;

use doppelkey_core::{Authenticator, Configuration, CredentialStore, Message, StoreError, Time};
use embedded_storage::nor_flash::NorFlash;
use usb_device::bus::{UsbBus, UsbBusAllocator};
use zeroize::Zeroizing;

use crate::flash_store::FlashStore;
use crate::port::{SharedPort, UsbPort};
use crate::rng::{EntropySource, Rng};
use crate::root_key::{self, Rest};
use crate::shelf::Shelf;
use crate::worker::{Board, Led, Worker};

/// The most discoverable credentials of a board: 40 bytes of RAM each.
pub const CREDENTIALS: usize = 100;

/// A board's store: behind the sector with its root key.
pub type Store<F> = FlashStore<Rest<F>, Rng, CREDENTIALS>;

/// What a board brings.
pub struct Start<B, E, F> {
    /// Button, LED, time, watchdog.
    pub board: B,
    /// Raw random bits.
    pub entropy: E,
    /// The part of the flash that is ours for ever: one erase sector for the root key, then an even number for the store.
    pub flash: F,
    /// What the chip keeps where a probe does not read it, if it has such memory.
    pub chip_secret: Option<Zeroizing<[u8; 32]>>,
}

/// A board's static memory.
pub struct Memory<F: 'static, U: UsbBus + 'static> {
    store: MaybeUninit<Store<F>>,
    worker: MaybeUninit<Worker<&'static mut Store<F>, Rng>>,
    request: MaybeUninit<Message>,
    response: MaybeUninit<Message>,
    bus: MaybeUninit<UsbBusAllocator<U>>,
    port: MaybeUninit<UsbPort<'static, U>>,
}

impl<F, U: UsbBus> Memory<F, U> {
    /// Nothing in it.
    #[inline(always)]
    pub const fn new() -> Self {
        Memory {
            store: MaybeUninit::uninit(),
            worker: MaybeUninit::uninit(),
            request: MaybeUninit::uninit(),
            response: MaybeUninit::uninit(),
            bus: MaybeUninit::uninit(),
            port: MaybeUninit::uninit(),
        }
    }
}

impl<F, U: UsbBus> Default for Memory<F, U> {
    fn default() -> Self {
        Self::new()
    }
}

impl<B: Board, E: EntropySource, F: NorFlash + 'static> Start<B, E, F> {
    /// Starts, and works until power goes.
    ///
    /// Everything that can fail, and whatever a power cut left, comes before `bus`, which shows the device to the
    /// platform. `interrupts` is last: it switches on what calls `on_usb` and `on_tick`, and the watchdog.
    pub fn run<U: UsbBus>(
        mut self,
        memory: &'static mut Memory<F, U>,
        port: &'static SharedPort<U>,
        bus: impl FnOnce() -> UsbBusAllocator<U>,
        interrupts: impl FnOnce(&mut B),
    ) -> ! {
        let board = &mut self.board;
        let secret = self.chip_secret.as_deref();
        let (store, rng) = prepare(board, &mut self.entropy, self.flash, secret, &mut memory.store);
        let (request, response) =
            (memory.request.write(Message::new()), memory.response.write(Message::new()));
        let worker = place_worker(&mut memory.worker, store, rng, request, response);
        let bus = memory.bus.write(bus());
        port.start(memory.port.write(UsbPort::new(bus)));
        interrupts(board);
        worker.run(board)
    }
}

/// Makes the authenticator and its worker, in static memory. Not inlined, as above.
#[inline(never)]
pub(crate) fn place_worker<'a, S: CredentialStore + Shelf>(
    place: &'a mut MaybeUninit<Worker<S, Rng>>,
    store: S,
    rng: Rng,
    request: &'static mut Message,
    response: &'static mut Message,
) -> &'a mut Worker<S, Rng> {
    let authenticator = Authenticator::new(store, rng, Configuration::small());
    place.write(Worker::new(authenticator, request, response))
}

/// Seeds the randomness and opens the store, in static memory. If that fails, the LED says so until power goes.
///
/// Not inlined: what it takes of the stack is free again afterwards.
#[inline(never)]
fn prepare<'a, F: NorFlash>(
    board: &mut impl Board,
    entropy: &mut impl EntropySource,
    flash: F,
    chip_secret: Option<&[u8; 32]>,
    place: &'a mut MaybeUninit<Store<F>>,
) -> (&'a mut Store<F>, Rng) {
    let Ok(mut rng) = Rng::from_source(entropy) else { fail(board) };
    match open_store(place, flash, chip_secret, &mut rng) {
        Ok(store) => (store, rng),
        Err(_) => fail(board),
    }
}

/// Opens the store of a board behind its root key, in static memory; at the first start makes both.
///
/// # Errors
/// What [`root_key::open`] and [`FlashStore::open`] say.
pub fn open_store<'a, F: NorFlash>(
    place: &'a mut MaybeUninit<Store<F>>,
    flash: F,
    chip_secret: Option<&[u8; 32]>,
    rng: &mut Rng,
) -> Result<&'a mut Store<F>, StoreError> {
    let (root, rest) = root_key::open(flash, chip_secret, rng)?;
    FlashStore::open_in(place, rest, root, rng.fork())
}

/// Says by the LED that this board must not be used, until power goes.
fn fail(board: &mut impl Board) -> ! {
    loop {
        board.feed_watchdog();
        let now = board.now();
        board.light(Led::Error.is_lit(now));
    }
}

/// A time in microseconds. As [`Time::from_micros`], without a division of 64 bits, which takes a kilobyte of flash.
pub fn from_micros(micros: u64) -> Time {
    // 1,000,000 is 64 times 15,625: a long division in digits of 16 bits.
    let (mut seconds, mut rest) = (0, 0);
    for digit in [48, 32, 16, 0] {
        let part = rest << 16 | u32::from((micros >> 6 >> digit) as u16);
        seconds = seconds << 16 | u64::from(part / 15_625);
        rest = part % 15_625;
    }
    Time::new(seconds, (rest << 6 | micros as u32 & 63) * 1000)
}

/// Makes SysTick's exception come every five milliseconds, which keepalives and timeouts need.
#[cfg(feature = "cortex-m")]
pub fn tick(mut syst: cortex_m::peripheral::SYST, core_hz: u32) {
    syst.set_reload(core_hz / 200 - 1);
    syst.clear_current();
    syst.set_clock_source(cortex_m::peripheral::syst::SystClkSource::Core);
    syst.enable_interrupt();
    syst.enable_counter();
}

/// What the handler of the USB controller's interrupt does.
#[cfg(feature = "cortex-m")]
pub fn on_usb<U: UsbBus>(
    port: &SharedPort<U>,
    now: Time,
    interrupt: impl cortex_m::interrupt::InterruptNumber,
) {
    if !port.interrupt(now) {
        cortex_m::peripheral::NVIC::mask(interrupt);
    }
}

/// What the handler of the tick does, every five milliseconds. It is given the USB controller's interrupt.
#[cfg(feature = "cortex-m")]
pub fn on_tick<U: UsbBus>(
    port: &SharedPort<U>,
    now: Time,
    interrupt: impl cortex_m::interrupt::InterruptNumber,
) {
    port.tick(now);
    unmask(interrupt);
}

/// Switches an interrupt on whose handler only polls the port.
#[cfg(feature = "cortex-m")]
#[expect(unsafe_code, reason = "no critical section depends on this interrupt being off")]
pub fn unmask(interrupt: impl cortex_m::interrupt::InterruptNumber) {
    // SAFETY: handlers are functions of the image, ready since its start.
    unsafe { cortex_m::peripheral::NVIC::unmask(interrupt) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn microseconds_are_divided_as_the_library_does() {
        let edges = [0, 1, 63, 64, 999_999, 1_000_000, 1_000_001, u64::from(u32::MAX), 1 << 32, u64::MAX];
        let odd = (0..1000).map(|number: u64| number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (number % 64));
        for micros in edges.into_iter().chain(odd) {
            assert_eq!(from_micros(micros), Time::from_micros(micros));
        }
    }
}
