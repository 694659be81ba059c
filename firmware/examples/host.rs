//! The firmware's worker on this computer: what the emulated boards are compared with.
//!
//! `host ADDRESS FLASH SEED`, where SEED is a character, or `rosc` for the ring oscillator of the emulated RP2040: connects to a TCP address, as the emulator's serial line does, carries 64-byte packets
//! over it, and keeps the flash in a file. The button is pressed whenever it is asked for.

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use doppelkey_core::{Authenticator, Configuration, Message};
use doppelkey_ctaphid::{PACKET_SIZE, Packet};
use doppelkey_firmware::port::Port;
use doppelkey_firmware::rng::{EntropySource, Rng};
use doppelkey_firmware::start::open_store;
use doppelkey_firmware::worker::{Board, Worker};
use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, address, flash, seed] = &arguments[..] else { return Err("host ADDRESS FLASH SEED".into()) };
    let line = TcpStream::connect(address)?;
    line.set_nodelay(true)?;
    line.set_read_timeout(Some(Duration::from_millis(5)))?;
    // Each as the board it is compared with.
    let mut rng = if seed == "rosc" {
        Rng::from_source(&mut Xorshift(0x2545_F491)).map_err(|_| "the source failed its tests")?
    } else {
        Rng::from_seed([seed.as_bytes()[0]; 32])
    };
    let place = Box::leak(Box::new(MaybeUninit::uninit()));
    let store = open_store(place, FileFlash::open(flash)?, None, &mut rng);
    let store = store.map_err(|error| format!("the flash cannot be opened: {error:?}"))?;
    let authenticator = Authenticator::new(store, rng, Configuration::small());
    let [request, response] = [(); 2].map(|()| Box::leak(Box::new(Message::new())));
    #[expect(clippy::disallowed_methods, reason = "the clock of this board")]
    let start = Instant::now();
    let mut board =
        Host { line, start, port: Port::new(), incoming: Vec::new(), pressed: false, ended: false };
    let mut worker = Worker::new(authenticator, request, response);
    while !board.ended {
        worker.step(&mut board);
        board.wait();
    }
    Ok(())
}

struct Host {
    line: TcpStream,
    start: Instant,
    port: Port,
    incoming: Vec<u8>,
    pressed: bool,
    ended: bool,
}

impl Host {
    fn send(&mut self) {
        while let Some(packet) = self.port.next_packet() {
            self.ended |= self.line.write_all(&packet).is_err();
        }
    }
}

impl Board for Host {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn with_port<T>(&mut self, work: impl FnOnce(&mut Port) -> T) -> T {
        let result = work(&mut self.port);
        self.send();
        result
    }

    fn is_pressed(&mut self) -> bool {
        self.pressed = !self.pressed;
        self.pressed
    }

    fn light(&mut self, _: bool) {}

    fn feed_watchdog(&mut self) {}

    fn wait(&mut self) {
        let mut buffer = [0; PACKET_SIZE];
        match self.line.read(&mut buffer) {
            Ok(0) => self.ended = true,
            Ok(length) => self.incoming.extend_from_slice(&buffer[..length]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => self.ended = true,
        }
        let now = self.now();
        while self.port.ready() && self.incoming.len() >= PACKET_SIZE {
            let rest = self.incoming.split_off(PACKET_SIZE);
            let packet: Packet = std::mem::replace(&mut self.incoming, rest)
                .try_into()
                .expect("it was split at the packet's size");
            self.port.receive(now, &packet);
        }
        self.port.tick(now);
        self.send();
    }
}

/// The ring oscillator of the emulated RP2040 (tests/clients/rp2040.mjs).
struct Xorshift(u32);

impl EntropySource for Xorshift {
    fn sample(&mut self) -> u8 {
        (0..8).fold(0, |byte, _| {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 17;
            self.0 ^= self.0 << 5;
            (byte << 1) | (self.0 & 1) as u8
        })
    }
}

/// A file that behaves as NOR flash.
struct FileFlash(File);

impl FileFlash {
    fn open(path: &str) -> std::io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        if file.metadata()?.len() == 0 {
            file.write_all_at(&[0xFF; SIZE], 0)?;
        }
        Ok(FileFlash(file))
    }
}

impl ErrorType for FileFlash {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for FileFlash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        self.0.read_exact_at(bytes, offset.into()).map_err(|_| NorFlashErrorKind::Other)
    }

    fn capacity(&self) -> usize {
        SIZE
    }
}

impl NorFlash for FileFlash {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 4096;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        let erased = vec![0xFF; (to - from) as usize];
        self.0.write_all_at(&erased, from.into()).map_err(|_| NorFlashErrorKind::Other)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        self.0.write_all_at(bytes, offset.into()).map_err(|_| NorFlashErrorKind::Other)
    }
}

/// A sector for the root key, and two banks of 64 kB.
const SIZE: usize = 132 * 1024;
