//! Firmware images, built for the tests that run them.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use doppelkey_ctaphid::{BROADCAST, PACKET_SIZE, command};

/// A built image: its name, its `--bin`, its features, its target.
pub type Image = (&'static str, &'static str, &'static str, &'static str);

const M0: &str = "thumbv6m-none-eabi";
const M4: &str = "thumbv7em-none-eabihf";
const M33: &str = "thumbv8m.main-none-eabihf";

/// The one that is flashed onto a Raspberry Pi Pico.
pub const PICO: Image = ("pico", "pico", "board-pico", M0);

/// What runs in emulators here.
pub const EMULATED: [Image; 4] = [
    ("mps2_an386", "mps2_an386", "board-mps2-an386", M4),
    // Another build, as different as it can be.
    ("mps2_an386_next", "mps2_an386", "board-mps2-an386,full,compact-curves", M4),
    ("mps2_an505", "mps2_an505", "board-mps2-an505", M33),
    PICO,
];

/// What there is no emulator for here.
pub const OTHERS: [Image; 4] = [
    ("pico2", "pico2", "board-pico2", M33),
    ("nrf52833_dk", "nrf52833_dk", "board-nrf52833-dk", M4),
    ("nrf52840_dongle", "nrf52840_dongle", "board-nrf52840-dongle", M4),
    ("stm32f405", "stm32f405", "board-stm32f405", M4),
];

/// What is built to see how small it is.
pub const COMPACT: [Image; 2] = [
    ("pico_compact_curves", "pico", "board-pico,compact-curves", M0),
    ("nrf52840_dongle_compact_curves", "nrf52840_dongle", "board-nrf52840-dongle,compact-curves", M4),
];

/// Builds the images, and the worker for this computer, into one folder; `None`, and it was said, where a tool is missing.
pub fn ready(images: &[Image]) -> Option<PathBuf> {
    for target in [M0, M4, M33] {
        let installed = Command::new("rustc").args(["--print", "target-libdir", "--target", target]).output();
        let installed = installed.expect("rustc runs");
        let library = PathBuf::from(String::from_utf8_lossy(&installed.stdout).trim());
        if !installed.status.success() || !library.is_dir() {
            crate::skipped(&format!("the Rust target {target}"));
            return None;
        }
    }
    // One test at a time: they share the folders.
    static BUILDING: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _building = BUILDING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    // target/<profile>/deps/<a test>
    let here = std::env::current_exe().expect("a running program has a path");
    let target = here.ancestors().nth(3).expect("target/<profile>/deps");
    let folder = target.join("tmp/firmware");
    std::fs::create_dir_all(&folder).expect("the target folder can be written");
    for (name, bin, features, triple) in images {
        build(target, &["--bin", bin, "--features", features, "--target", triple, "--profile", "firmware"]);
        let built = target.join(triple).join("firmware").join(bin);
        replace(&built, &folder.join(name));
    }
    build(target, &["--example", "host"]);
    replace(&target.join("debug/examples/host"), &folder.join("host"));
    Some(folder)
}

/// A new file in place of the old one: a program that runs cannot be written.
fn replace(built: &Path, place: &Path) {
    if std::fs::read(built).ok() != std::fs::read(place).ok() {
        let _ = std::fs::remove_file(place);
        std::fs::copy(built, place).expect("it was built");
    }
}

fn build(target: &Path, arguments: &[&str]) {
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--package", "doppelkey-firmware", "--target-dir"])
        .arg(target)
        .args(arguments)
        .current_dir(crate::root())
        .status();
    assert!(status.expect("cargo runs").success(), "cargo build {arguments:?}");
}

/// A board under power, emulated, with CTAPHID over its serial line. Its flash is a file, and survives it; its button is
/// pressed whenever it is asked for.
pub struct Board {
    emulator: Child,
    line: TcpStream,
    channel: [u8; 4],
}

impl Board {
    /// The Cortex-M4's image, on this flash.
    ///
    /// # Panics
    /// If it does not start: an emulator that is missing, or a flash that it cannot open.
    pub fn power_up(folder: &Path, flash: &Path, seed: u8) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has a port");
        let address = listener.local_addr().expect("it is bound");
        let arguments =
            format!("enable=on,target=native,arg=flash={},arg=seed={seed},arg=touch=auto", flash.display());
        let emulator = Command::new("qemu-system-arm")
            .args([
                "-M",
                "mps2-an386",
                "-display",
                "none",
                "-monitor",
                "none",
                "-icount",
                "shift=3,sleep=off",
            ])
            .args([
                "-serial",
                &format!("tcp:{address}"),
                "-serial",
                "null",
                "-semihosting-config",
                &arguments,
            ])
            .arg("-kernel")
            .arg(folder.join("mps2_an386"))
            .spawn()
            .expect("qemu-system-arm starts");
        let (line, _) = listener.accept().expect("the emulator connects");
        line.set_read_timeout(Some(Duration::from_secs(120))).expect("a socket has time-outs");
        line.set_nodelay(true).expect("a TCP socket can");
        let mut board = Board { emulator, line, channel: BROADCAST.to_be_bytes() };
        let answer = board.call(command::INIT, b"a nonce.").expect("INIT is answered");
        board.channel.copy_from_slice(&answer[8..12]);
        board
    }

    /// Sends a CTAP request, and waits for the answer.
    ///
    /// # Errors
    /// Those of the line: the board lost power, or hangs.
    pub fn cbor(&mut self, request: &[u8]) -> io::Result<Vec<u8>> {
        self.call(command::CBOR, request)
    }

    fn call(&mut self, command: u8, message: &[u8]) -> io::Result<Vec<u8>> {
        let (first, rest) = message.split_at(message.len().min(57));
        let length = u16::try_from(message.len()).map_err(io::Error::other)?.to_be_bytes();
        self.send(&[&[command | 0x80][..], &length, first].concat())?;
        for (number, piece) in (0_u8..).zip(rest.chunks(59)) {
            self.send(&[&[number], piece].concat())?;
        }
        let mut packet = self.receive()?;
        while packet[4] == command::KEEPALIVE | 0x80 {
            packet = self.receive()?;
        }
        let length = usize::from(u16::from_be_bytes([packet[5], packet[6]]));
        let mut answer = packet[7..].to_vec();
        while answer.len() < length {
            answer.extend_from_slice(&self.receive()?[5..]);
        }
        answer.truncate(length);
        Ok(answer)
    }

    fn send(&mut self, after_channel: &[u8]) -> io::Result<()> {
        let mut packet = [&self.channel, after_channel].concat();
        packet.resize(PACKET_SIZE, 0);
        self.line.write_all(&packet)
    }

    fn receive(&mut self) -> io::Result<[u8; PACKET_SIZE]> {
        let mut packet = [0; PACKET_SIZE];
        self.line.read_exact(&mut packet)?;
        Ok(packet)
    }
}

/// A board whose serial line programs use one after the other. Dropped, it is pulled out: its power is cut, and whoever
/// calls finds nobody.
pub struct SharedBoard {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl SharedBoard {
    /// Offers the line of this board at an address; its port may be 0.
    ///
    /// # Panics
    /// If nobody may listen there.
    pub fn offer(board: Board, at: SocketAddr) -> Self {
        let listener = TcpListener::bind(at).expect("the loopback has this port");
        let address = listener.local_addr().expect("it is bound");
        let ended = Arc::new(AtomicBool::new(false));
        let over = ended.clone();
        let thread = std::thread::spawn(move || {
            for program in listener.incoming().map_while(Result::ok) {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                // It ends when either of them goes.
                let _ = carry(&program, &board.line, &over);
            }
        });
        SharedBoard { address, ended, thread: Some(thread) }
    }

    /// Where programs connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for SharedBoard {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // Wakes the thread.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Carries bytes both ways until an end is reached.
fn carry(mut program: &TcpStream, mut line: &TcpStream, over: &AtomicBool) -> io::Result<()> {
    let turn = Some(Duration::from_millis(2));
    program.set_nodelay(true)?;
    program.set_read_timeout(turn)?;
    line.set_read_timeout(turn)?;
    let mut bytes = [0; 64 * PACKET_SIZE];
    let mut step = |mut from: &TcpStream, to: &mut dyn io::Write| match from.read(&mut bytes) {
        Ok(0) => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
        Ok(length) => to.write_all(&bytes[..length]),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Ok(()),
        Err(error) => Err(error),
    };
    while !over.load(Ordering::Relaxed) {
        step(program, &mut line)?;
        step(line, &mut program)?;
    }
    Ok(())
}

impl Drop for Board {
    /// Cuts its power.
    fn drop(&mut self) {
        let _ = self.emulator.kill();
        let _ = self.emulator.wait();
    }
}
