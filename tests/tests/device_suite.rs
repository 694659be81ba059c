//! The referee: python-fido2's own device tests, which its authors run against real keys, run against `doppelkey run`.
//!
//! They come with the source distribution of PyPI's `fido2`, are fetched when this test runs and kept in the target
//! folder, and are not part of this repository. Left out are two files about an experimental extension.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// How many tests there are, of which none may fail and none be skipped.
const TESTS: u32 = 93;

#[test]
fn yubico_s_device_suite_passes_whole() {
    let Some(python) = end_to_end::python_with("fido2, pytest") else {
        return end_to_end::skipped("python3 with the packages of tests/clients/requirements.txt");
    };
    let Some(suite) = suite(&python) else {
        return end_to_end::skipped("PyPI, for the device tests of python-fido2");
    };
    let authenticator = Authenticator::start();
    let output = Command::new(&python)
        .args(["-m", "pytest", "-p", "device_suite", "-p", "no:cacheprovider", "-ra", "-q", "tests/device"])
        .args(["--ignore=tests/device/test_preview_sign.py"])
        .args(["--ignore=tests/device/test_sign_extension_v4.py"])
        .args(["--controller", &authenticator.control, "--pico-port", "1", "--ep-rp-id", "example.com"])
        .env("DEVICE_SUITE_USBIP", &authenticator.usbip)
        .env("DEVICE_SUITE_CONTROL", &authenticator.control)
        .env("PYTHONPATH", end_to_end::root().join("tests/clients"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(suite)
        .output()
        .expect("python runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let summary = text.lines().last().unwrap_or_default();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(summary.starts_with(&format!("{TESTS} passed in")), "not all of them ran and passed: {text}");
}

/// The folder of the source distribution; fetches it unless it is there. `None` without a network.
fn suite(python: &Path) -> Option<PathBuf> {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("device-suite");
    let unpacked = kept.join("fido2-2.2.1");
    if unpacked.join("tests/device").is_dir() {
        return Some(unpacked);
    }
    let fetched = Command::new(python)
        .args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"])
        .args(["--no-binary", ":all:", "--require-hashes", "--requirement", "device-suite.txt", "--dest"])
        .arg(&kept)
        .current_dir(end_to_end::root().join("tests/clients"))
        .output()
        .expect("python runs");
    if !fetched.status.success() {
        return None;
    }
    let unpacking = Command::new(python)
        .args(["-m", "tarfile", "-e", "fido2-2.2.1.tar.gz", "."])
        .current_dir(&kept)
        .status()
        .expect("python runs");
    assert!(unpacking.success(), "the source distribution does not unpack");
    Some(unpacked)
}

/// `doppelkey run` with a controlled user, until it is dropped.
struct Authenticator {
    process: Child,
    usbip: String,
    control: String,
}

impl Authenticator {
    fn start() -> Self {
        let mut process = Command::new(end_to_end::doppelkey())
            .args(["run", "--json", "--ephemeral", "--usbip", "127.0.0.1:0", "--user", "control"])
            .args(["--sensor", "on", "--persona"])
            .arg(end_to_end::root().join("tests/clients/device-suite.toml"))
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("standard output is a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("it says when it is ready");
        let ready: serde_json::Value = serde_json::from_str(&line).expect("in JSON");
        let text = |member: &str| ready[member].as_str().expect("the ready line has it").to_owned();
        let control = format!("{}/t/{}", text("control"), text("token"));
        Authenticator { process, usbip: text("usbip"), control }
    }
}

impl Drop for Authenticator {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
