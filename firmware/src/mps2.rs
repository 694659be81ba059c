//! What the two QEMU images share: packets in blocks of 64 bytes over UART 0, the button on UART 1, the flash in a file
//! of the host.
//!
//! These boards exist only in an emulator, and only to prove the code of the others. The emulator's command line says
//! what to do, by semihosting: `flash=PATH` (the file; made if it is not there), `seed=N` (repeatable randomness instead
//! of the host's), `touch=auto` (a button that is pressed whenever it is asked for).
//!
//! UART 1: `1` presses the button, `0` releases it; `?` gets one line of figures: the instructions of the last request
//! in SysTick's ticks, of five instructions each, and the stack's peak in bytes. (With `-icount shift=3` an instruction
//! takes 8 ns, and SysTick counts at 25 MHz.)

use core::cell::RefCell;
use core::fmt::Write as _;
use core::mem::MaybeUninit;

use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;
use critical_section::Mutex;
use doppelkey_core::{Message, Time};
use doppelkey_ctaphid::{PACKET_SIZE, Packet};
use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash};

use crate::port::Port;
use crate::rng::Rng;
use crate::stack;
use crate::start::{Store, open_store, place_worker};
use crate::worker::{Board, Worker};

/// What the two machines differ in.
pub struct Machine {
    /// UART 0 and UART 1.
    pub uarts: [usize; 2],
}

/// Starts, and works until the emulator ends.
pub fn run(machine: &Machine, mut syst: SYST) -> ! {
    stack::paint();
    let options = Options::from_command_line();
    let uarts = machine.uarts.map(Uart::new);
    syst.set_clock_source(SystClkSource::Core);
    syst.set_reload(TICKS_PER_MS - 1);
    syst.clear_current();
    syst.enable_counter();
    syst.enable_interrupt();
    critical_section::with(|section| {
        let line = Line { uart: uarts[0], port: Port::new(), incoming: [0; PACKET_SIZE], received: 0 };
        let line = cortex_m::singleton!(: Line = line).expect("taken once");
        LINE.borrow_ref_mut(section).replace(line);
    });
    let (store, rng) = open(&options);
    let request = cortex_m::singleton!(: Message = Message::new()).expect("taken once");
    let response = cortex_m::singleton!(: Message = Message::new()).expect("taken once");
    let place = cortex_m::singleton!(: MaybeUninit<Worker<&'static mut Store<FileFlash>, Rng>> = MaybeUninit::uninit());
    let worker = place_worker(place.expect("taken once"), store, rng, request, response);
    let button = uarts[1];
    worker.run(&mut Emulated {
        button,
        pressed: options.auto_touch,
        auto: options.auto_touch,
        began: None,
        took: 0,
    })
}

/// Not inlined: what opening takes of the stack is free again afterwards.
#[inline(never)]
fn open(options: &Options) -> (&'static mut Store<FileFlash>, Rng) {
    let mut rng = match options.seed {
        Some(seed) => Rng::from_seed([seed; 32]),
        None => Rng::from_seed(host_randomness()),
    };
    let place =
        cortex_m::singleton!(: MaybeUninit<Store<FileFlash>> = MaybeUninit::uninit()).expect("taken once");
    match open_store(place, FileFlash::open(options.flash), None, &mut rng) {
        Ok(store) => (store, rng),
        Err(_) => halt("the flash cannot be opened"),
    }
}

/// What SysTick's exception does: a millisecond has passed.
pub fn tick() {
    critical_section::with(|section| {
        let mut ms = MILLISECONDS.borrow_ref_mut(section);
        *ms += 1;
        if let Some(line) = LINE.borrow_ref_mut(section).as_mut() {
            line.poll(Time::from_millis(*ms));
        }
    });
}

/// The serial line that stands for USB.
struct Line {
    uart: Uart,
    port: Port,
    incoming: Packet,
    received: usize,
}

impl Line {
    fn poll(&mut self, now: Time) {
        self.port.tick(now);
        while self.port.ready()
            && let Some(byte) = self.uart.read()
        {
            self.incoming[self.received] = byte;
            self.received += 1;
            if self.received == PACKET_SIZE {
                self.received = 0;
                let packet = self.incoming;
                self.port.receive(now, &packet);
            }
        }
        while let Some(packet) = self.port.next_packet() {
            for byte in packet {
                self.uart.write(byte);
            }
        }
    }
}

/// The emulated board, as the worker sees it.
struct Emulated {
    button: Uart,
    pressed: bool,
    auto: bool,
    began: Option<u64>,
    took: u64,
}

impl Board for Emulated {
    fn now(&self) -> Time {
        Time::from_millis(critical_section::with(|section| *MILLISECONDS.borrow_ref(section)))
    }

    fn with_port<T>(&mut self, work: impl FnOnce(&mut Port) -> T) -> T {
        let now = self.now();
        critical_section::with(|section| {
            let mut line = LINE.borrow_ref_mut(section);
            let line = line.as_mut().expect("it is there since power-up");
            let result = work(&mut line.port);
            line.poll(now);
            result
        })
    }

    fn is_pressed(&mut self) -> bool {
        if self.auto {
            // Released and pressed again: what a touch is.
            self.pressed = !self.pressed;
        }
        self.pressed
    }

    fn light(&mut self, _: bool) {}

    fn works(&mut self, now: bool) {
        match self.began.take() {
            Some(began) if !now => self.took = ticks().saturating_sub(began),
            _ => self.began = now.then(ticks),
        }
    }

    fn feed_watchdog(&mut self) {}

    fn wait(&mut self) {
        let now = self.now();
        critical_section::with(|section| {
            if let Some(line) = LINE.borrow_ref_mut(section).as_mut() {
                line.poll(now);
            }
        });
        match self.button.read() {
            Some(b'1') => self.pressed = true,
            Some(b'0') => self.pressed = false,
            Some(b'?') => {
                let (took, stack) = (self.took, stack::peak());
                // Writing to a UART cannot fail.
                let _ = writeln!(self.button, "{took} {stack}");
            }
            _ => {}
        }
    }
}

/// SysTick's ticks since power-up.
fn ticks() -> u64 {
    critical_section::with(|section| {
        let ms = *MILLISECONDS.borrow_ref(section);
        ms * u64::from(TICKS_PER_MS) + u64::from(TICKS_PER_MS - 1 - SYST::get_current())
    })
}

/// A CMSDK APB UART.
#[derive(Clone, Copy)]
struct Uart(usize);

#[expect(unsafe_code, reason = "registers of a device are memory that the language knows nothing of")]
impl Uart {
    fn new(base: usize) -> Self {
        let uart = Uart(base);
        uart.set(UART_BAUD_DIVISOR, 16);
        uart.set(UART_CONTROL, 0b11);
        uart
    }

    fn read(self) -> Option<u8> {
        (self.get(UART_STATE) & 0b10 != 0).then(|| self.get(UART_DATA) as u8)
    }

    fn write(self, byte: u8) {
        while self.get(UART_STATE) & 0b01 != 0 {}
        self.set(UART_DATA, byte.into());
    }

    fn get(self, register: usize) -> u32 {
        // SAFETY: an aligned register of the UART at this address of this machine; reading it is always allowed.
        unsafe { core::ptr::with_exposed_provenance::<u32>(self.0 + register).read_volatile() }
    }

    fn set(self, register: usize, value: u32) {
        // SAFETY: as above, for writing.
        unsafe { core::ptr::with_exposed_provenance_mut::<u32>(self.0 + register).write_volatile(value) }
    }
}

impl core::fmt::Write for Uart {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        text.bytes().for_each(|byte| self.write(byte));
        Ok(())
    }
}

const UART_DATA: usize = 0x00;
const UART_STATE: usize = 0x04;
const UART_CONTROL: usize = 0x08;
const UART_BAUD_DIVISOR: usize = 0x10;

/// A file of the host that behaves as NOR flash: read whole at power-up, written through.
struct FileFlash {
    file: usize,
    cells: &'static mut [u8; FLASH_SIZE],
}

impl FileFlash {
    fn open(path: Option<&[u8]>) -> Self {
        let cells = cortex_m::singleton!(: [u8; FLASH_SIZE] = [0xFF; FLASH_SIZE]).expect("taken once");
        let Some(path) = path else { halt("say flash=PATH") };
        let file = host::open(path, host::READ_AND_WRITE).or_else(|| {
            let file = host::open(path, host::CREATE)?;
            host::write(file, cells)?;
            Some(file)
        });
        let Some(file) = file else { halt("the flash file cannot be opened") };
        if host::seek(file, 0).and_then(|()| host::read(file, cells)).is_none() {
            halt("the flash file cannot be read");
        }
        FileFlash { file, cells }
    }

    fn store(&mut self, from: usize, to: usize) -> Result<(), HostFailed> {
        host::seek(self.file, from)
            .and_then(|()| host::write(self.file, &self.cells[from..to]))
            .ok_or(HostFailed)
    }
}

/// The host refused to read or write the file.
#[derive(Debug)]
struct HostFailed;

impl NorFlashError for HostFailed {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

impl ErrorType for FileFlash {
    type Error = HostFailed;
}

impl ReadNorFlash for FileFlash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), HostFailed> {
        let from = offset as usize;
        bytes.copy_from_slice(self.cells.get(from..from + bytes.len()).ok_or(HostFailed)?);
        Ok(())
    }

    fn capacity(&self) -> usize {
        FLASH_SIZE
    }
}

impl NorFlash for FileFlash {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 4096;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), HostFailed> {
        let (from, to) = (from as usize, to as usize);
        self.cells.get_mut(from..to).ok_or(HostFailed)?.fill(0xFF);
        self.store(from, to)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), HostFailed> {
        let from = offset as usize;
        let to = from + bytes.len();
        for (cell, byte) in self.cells.get_mut(from..to).ok_or(HostFailed)?.iter_mut().zip(bytes) {
            // What NOR does: bits are only ever cleared.
            *cell &= byte;
        }
        self.store(from, to)
    }
}

/// What the emulator's command line says.
#[derive(Default)]
struct Options {
    flash: Option<&'static [u8]>,
    seed: Option<u8>,
    auto_touch: bool,
}

impl Options {
    fn from_command_line() -> Self {
        let buffer = cortex_m::singleton!(: [u8; 512] = [0; 512]).expect("taken once");
        let line: &'static [u8] = host::command_line(buffer);
        let mut options = Options::default();
        for word in line.split(|&byte| byte == b' ') {
            if let Some(path) = word.strip_prefix(b"flash=") {
                options.flash = Some(path);
            } else if let Some(seed) = word.strip_prefix(b"seed=") {
                options.seed = seed.first().copied();
            } else if word == b"touch=auto" {
                options.auto_touch = true;
            }
        }
        options
    }
}

fn host_randomness() -> [u8; 32] {
    let mut seed = [0; 32];
    let file = host::open(b"/dev/urandom", host::READ);
    match file.and_then(|file| host::read(file, &mut seed)) {
        Some(()) => seed,
        None => halt("the host has no randomness"),
    }
}

/// Says why on the emulator's console, and ends it.
fn halt(why: &str) -> ! {
    // There is nobody to tell that telling failed.
    let _ = cortex_m_semihosting::hio::hstderr().map(|mut console| writeln!(console, "error: {why}"));
    cortex_m_semihosting::debug::exit(cortex_m_semihosting::debug::EXIT_FAILURE);
    loop {
        cortex_m::asm::wfi();
    }
}

/// Semihosting: the files and the command line of the emulator's host.
#[expect(unsafe_code, reason = "semihosting calls are told addresses")]
mod host {
    use cortex_m_semihosting::{nr, syscall};

    pub(super) const READ: usize = 1;
    pub(super) const READ_AND_WRITE: usize = 3;
    pub(super) const CREATE: usize = 7;

    pub(super) fn open(path: &[u8], mode: usize) -> Option<usize> {
        let mut name = [0_u8; 256];
        name.get_mut(..path.len())?.copy_from_slice(path);
        name.get(path.len())?;
        // SAFETY: a name that ends in a zero, and its length.
        let file = unsafe { syscall!(OPEN, name.as_ptr() as usize, mode, path.len()) };
        (file != usize::MAX).then_some(file)
    }

    pub(super) fn seek(file: usize, position: usize) -> Option<()> {
        // SAFETY: no addresses.
        (unsafe { syscall!(SEEK, file, position) } == 0).then_some(())
    }

    pub(super) fn read(file: usize, bytes: &mut [u8]) -> Option<()> {
        // SAFETY: the buffer and its length. What is returned is how much of it was not filled.
        (unsafe { syscall!(READ, file, bytes.as_mut_ptr() as usize, bytes.len()) } == 0).then_some(())
    }

    pub(super) fn write(file: usize, bytes: &[u8]) -> Option<()> {
        // SAFETY: the buffer and its length. What is returned is how much of it was not written.
        (unsafe { syscall!(WRITE, file, bytes.as_ptr() as usize, bytes.len()) } == 0).then_some(())
    }

    pub(super) fn command_line(buffer: &'static mut [u8]) -> &'static [u8] {
        let mut block = [buffer.as_mut_ptr() as usize, buffer.len()];
        // SAFETY: a block with the buffer and its length, which the call replaces by the text's.
        let failed = unsafe { cortex_m_semihosting::syscall1(nr::GET_CMDLINE, block.as_mut_ptr() as usize) };
        let length = if failed == 0 { block[1].min(buffer.len()) } else { 0 };
        &buffer[..length]
    }
}

static LINE: Mutex<RefCell<Option<&'static mut Line>>> = Mutex::new(RefCell::new(None));
static MILLISECONDS: Mutex<RefCell<u64>> = Mutex::new(RefCell::new(0));
const TICKS_PER_MS: u32 = 25_000;
/// A sector for the root key, and two banks of 64 kB.
const FLASH_SIZE: usize = 132 * 1024;
