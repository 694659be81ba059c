//! What the end-to-end tests share: the built program, and the real clients that judge it.
//!
//! A test that needs a tool this machine lacks says `skipped: needs X` on standard output and passes; CI installs
//! every tool, and fails when that line is printed.

pub mod browser;
pub mod extension;
pub mod firmware;
pub mod fuzz;
pub mod guest;
pub mod memory;
pub mod randomness;
pub mod relying_party;
mod server;
pub mod soak;
pub mod sources;
pub mod starved;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

pub use server::{Server, exchange};

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The program `doppelkey`, built with the profile of this test.
///
/// # Panics
/// If it does not build.
pub fn doppelkey() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        // target/<profile>/deps/<a test>, or target/<profile>/<a program>: the program lies beside the latter.
        let here = std::env::current_exe().expect("a running program has a path");
        let folder = here.parent().expect("a file lies in a folder");
        let profile =
            if folder.ends_with("deps") { folder.parent().expect("target/<profile>") } else { folder };
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--package", "doppelkey", "--bin", "doppelkey"]);
        if profile.ends_with("release") {
            build.arg("--release");
        }
        build.arg("--target-dir").arg(profile.parent().expect("target/<profile>")).current_dir(root());
        assert!(build.status().expect("cargo runs").success(), "doppelkey does not build");
        profile.join("doppelkey")
    })
}

/// The Python that has the packages of `tests/clients/requirements.txt`: `$DOPPELKEY_PYTHON`, or else `python3`
/// if it has them.
pub fn python_with(module: &str) -> Option<PathBuf> {
    let python = std::env::var_os("DOPPELKEY_PYTHON").map_or_else(|| PathBuf::from("python3"), PathBuf::from);
    let found = Command::new(&python).args(["-c", &format!("import {module}")]).output().ok()?;
    found.status.success().then_some(python)
}

/// Whether a program of this name can be found on the `PATH`.
pub fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

/// Says that this test did not run, and why.
pub fn skipped(needs: &str) {
    // Not `println!`: the test runner would keep it to itself.
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "skipped: needs {needs}");
}

/// Runs one file of pytest's in `tests/clients` against the built program; its output is the failure's message.
///
/// # Panics
/// If a test in it fails, or none runs.
pub fn pytest(file: &str) {
    pytest_with(file, &[]);
}

/// As [`pytest`], with these variables.
///
/// # Panics
/// If a test in it fails, or none runs.
pub fn pytest_with(file: &str, variables: &[(&str, &Path)]) {
    let Some(python) = python_with("fido2, pytest") else {
        return skipped("python3 with the packages of tests/clients/requirements.txt (set DOPPELKEY_PYTHON)");
    };
    let output = Command::new(python)
        .args(["-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", file])
        .env("DOPPELKEY", doppelkey())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .envs(variables.iter().copied())
        .current_dir(root().join("tests/clients"))
        .output()
        .expect("python runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains(" passed"), "no test ran: {text}");
}
