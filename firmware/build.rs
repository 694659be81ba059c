//! Puts the linker scripts of the chosen board where the linker finds them.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=memory");
    let Some(board) = BOARDS.iter().find(|board| {
        let feature = format!("CARGO_FEATURE_BOARD_{}", board.to_uppercase().replace('-', "_"));
        env::var_os(feature).is_some()
    }) else {
        return;
    };
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let script = fs::read(format!("memory/{board}.x")).expect("every board has a memory map");
    fs::write(out.join("memory.x"), script).expect("OUT_DIR can be written");
    println!("cargo:rustc-link-search={}", out.display());
    println!("cargo:rustc-link-arg-bins=--nmagic");
    println!("cargo:rustc-link-arg-bins=-Tlink.x");
}

const BOARDS: &[&str] =
    &["pico", "pico2", "nrf52833-dk", "nrf52840-dongle", "stm32f405", "mps2-an386", "mps2-an505"];
