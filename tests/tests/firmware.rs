//! The firmware, without hardware: emulated boards and the host, driven by one client, must say the same.

use std::path::{Path, PathBuf};
use std::process::Command;

const IMAGES: [(&str, &str); 3] = [
    ("mps2_an386", "thumbv7em-none-eabihf"),
    ("mps2_an505", "thumbv8m.main-none-eabihf"),
    ("pico", "thumbv6m-none-eabi"),
];

#[test]
fn emulated_boards_say_what_the_host_says() {
    if !end_to_end::has_program("qemu-system-arm") {
        return end_to_end::skipped("qemu-system-arm");
    }
    let Some(folder) = images() else {
        return end_to_end::skipped(
            "the Rust targets thumbv6m-none-eabi, thumbv7em-none-eabihf and thumbv8m.main-none-eabihf",
        );
    };
    let modules = std::env::var_os("DOPPELKEY_NODE_MODULES").map(PathBuf::from);
    if !modules.is_some_and(|modules| modules.join("rp2040js").is_dir()) {
        end_to_end::skipped("rp2040js of tests/clients/package.json (set DOPPELKEY_NODE_MODULES)");
    }
    end_to_end::pytest_with("test_firmware.py", &[("DOPPELKEY_FIRMWARE", &folder)]);
}

/// Builds the images and the host's build, and puts them into one folder; `None` where a target is missing.
fn images() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("firmware");
    std::fs::create_dir_all(&folder).expect("the target folder can be written");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it lies in the target folder");
    for (image, triple) in IMAGES {
        let installed =
            Command::new("rustc").args(["--print", "target-libdir", "--target", triple]).output().ok()?;
        let library = PathBuf::from(String::from_utf8_lossy(&installed.stdout).trim());
        if !installed.status.success() || !library.is_dir() {
            return None;
        }
        let board = format!("board-{}", image.replace('_', "-"));
        let bin = ["--bin", image, "--features", &board, "--target", triple, "--profile", "firmware"];
        build(target, &bin);
        let built = target.join(triple).join("firmware").join(image);
        std::fs::copy(built, folder.join(image)).expect("it was built");
    }
    build(target, &["--example", "host"]);
    std::fs::copy(target.join("debug/examples/host"), folder.join("host")).expect("it was built");
    Some(folder)
}

fn build(target: &Path, arguments: &[&str]) {
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--package", "doppelkey-firmware", "--target-dir"])
        .arg(target)
        .args(arguments)
        .current_dir(end_to_end::root())
        .status();
    assert!(status.expect("cargo runs").success(), "cargo build {arguments:?}");
}
