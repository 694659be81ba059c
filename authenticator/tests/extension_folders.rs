//! Where `doppelkey bridge` puts its extensions, and that it needs no home for it.

#![cfg(unix)]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// A bridge of somebody without a home, as services are; its temporary files are in this folder.
fn bridge(temporary: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_doppelkey"));
    command.args(["bridge", "--json"]).args(arguments);
    command.env_remove("HOME").env_remove("XDG_DATA_HOME").env("TMPDIR", temporary);
    command
}

/// One that is ready, and what it said. Ends when dropped, by a signal that it can catch.
struct Running {
    process: Child,
    ready: Value,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{command:?}: {error}: {line}"));
        Running { process, ready }
    }

    /// The folder of both extensions.
    fn extensions(&self) -> PathBuf {
        let chromium = Path::new(self.ready["chromium"].as_str().unwrap());
        assert!(chromium.is_absolute());
        assert_eq!(chromium.with_file_name("firefox"), Path::new(self.ready["firefox"].as_str().unwrap()));
        chromium.parent().unwrap().to_owned()
    }

    /// Whether an extension that is loaded from there finds this one.
    fn is_found(&self) -> bool {
        ["chromium", "firefox"].iter().all(|browser| {
            let config = std::fs::read_to_string(self.extensions().join(browser).join("config.json"));
            config.is_ok_and(|config| config.contains(self.ready["token"].as_str().unwrap()))
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
    }
}

#[test]
fn two_bridges_with_two_vaults_have_extensions_of_their_own_beside_them() {
    let folder = tempfile::tempdir().unwrap();
    let custody = format!("file:{}", folder.path().join("key").display());
    let with = |vault: &str| {
        let mut command = bridge(folder.path(), &["--custody", &custody, "--vault", vault]);
        // A relative path is one of the folder that it was said in.
        command.current_dir(folder.path());
        Running::start(command)
    };
    let (usual, other) = (with("vault"), with("./work"));
    assert_eq!(usual.extensions(), folder.path().join("browser"));
    assert_eq!(other.extensions(), folder.path().join("work.browser"));
    assert!(usual.is_found() && other.is_found());
}

#[test]
fn a_bridge_that_keeps_nothing_has_extensions_of_its_own_which_go_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let bridges = [(); 2].map(|()| Running::start(bridge(folder.path(), &["--ephemeral"])));
    for bridge in &bridges {
        assert_eq!(bridge.extensions().parent(), Some(folder.path()));
        assert!(bridge.is_found());
    }
    drop(bridges);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_bridge_without_a_place_says_what_to_name() {
    let folder = tempfile::tempdir().unwrap();
    let air = folder.path().join("air").display().to_string();
    let phone = ["--phone", "--air", &air];
    for (arguments, hint) in [
        (vec![], "hint: set HOME, or remember none: --forget-phones"),
        (vec!["--forget-phones"], "hint: name a folder that you may write to with --extensions DIR"),
    ] {
        let mut command = bridge(folder.path(), &phone);
        // Nobody can make anything there.
        let output = command.args(arguments).env("HOME", "/dev/null").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(hint), "{said}");
    }
}
