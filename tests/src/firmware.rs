//! Firmware images, built for the tests that run them.

use std::path::{Path, PathBuf};
use std::process::Command;

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
    ("mps2_an386_next", "mps2_an386", "board-mps2-an386,full", M4),
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
