//! Programs that are refused room, permission or the right time, from outside: a small disk of their own, another
//! user's rights, a clock that is set.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::{NamedTempFile, TempDir};

/// A disk of a few hundred KiB (tmpfs), unmounted when dropped.
pub struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// Mounts one of so many KiB; `None` where that is not allowed (it needs root).
    pub fn mount(kib: u32) -> Option<Self> {
        let folder = tempfile::tempdir().expect("there is a place for temporary files");
        let options = format!("size={kib}k,mode=700");
        run("mount", &["-t", "tmpfs", "-o", &options, "doppelkey-test"], folder.path())
            .then_some(SmallDisk { folder })
    }

    /// A path on it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Takes all the room there is.
    ///
    /// # Panics
    /// If it cannot be taken.
    pub fn fill(&self) {
        let mut file = std::fs::File::create(self.path(FILLER)).expect("a file can be made");
        while file.write(&[7; 4096]).is_ok_and(|written| written > 0) {}
    }

    /// Gives it back.
    ///
    /// # Panics
    /// If it was not taken.
    pub fn make_room(&self) {
        std::fs::remove_file(self.path(FILLER)).expect("it was filled");
    }

    /// Whether it could be made read-only, or writable again. It cannot while a file on it is open for writing.
    pub fn remount(&self, mode: &str) -> bool {
        run("mount", &["-o", &format!("remount,{mode}")], self.folder.path())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a program that a failed test left behind must not keep it.
        run("umount", &["--lazy"], self.folder.path());
    }
}

const FILLER: &str = "filler";

fn run(program: &str, arguments: &[&str], last: &Path) -> bool {
    let output = Command::new(program).args(arguments).arg(last).output();
    output.is_ok_and(|output| output.status.success())
}

/// A subcommand of `doppelkey` whose standard error is kept. Killed when dropped.
pub struct Program {
    child: Child,
    errors: NamedTempFile,
    /// What its ready line said.
    pub ready: Value,
}

impl Program {
    /// Starts it and waits until it is ready; what it said if it ends before.
    ///
    /// # Errors
    /// With its standard error.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(mut command: Command) -> Result<Self, String> {
        let errors = NamedTempFile::new().expect("there is a place for temporary files");
        command.stderr(errors.reopen().expect("it is ours")).stdout(Stdio::piped()).stdin(Stdio::null());
        let mut child = command.spawn().expect("doppelkey runs");
        let mut line = String::new();
        let output = child.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut line).expect("its output is text");
        let mut program = Program { child, errors, ready: Value::Null };
        match serde_json::from_str(&line) {
            Ok(ready) => {
                program.ready = ready;
                Ok(program)
            }
            Err(_) => {
                let status = program.child.wait().expect("it ends");
                Err(format!("{status}\n{}", program.said()))
            }
        }
    }

    /// The text under this key of the ready line.
    ///
    /// # Panics
    /// If it is not there.
    pub fn text(&self, key: &str) -> &str {
        self.ready[key].as_str().unwrap_or_else(|| panic!("the ready line has no {key}: {}", self.ready))
    }

    /// What it has said on standard error.
    ///
    /// # Panics
    /// If that is no text.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.errors.path()).expect("it is text")
    }

    /// Waits, ten seconds at most, until it has said an error with all of these words in it, and a hint.
    ///
    /// # Panics
    /// If it does not.
    pub fn says(&self, words: &[&str]) {
        for _ in 0..200 {
            let said = self.said();
            if is_plain(&said) && words.iter().all(|word| said.contains(word)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("no error with a hint and {words:?}: {}", self.said());
    }

    /// Tells it to end (SIGTERM), waits until it has, and gives what it said.
    ///
    /// # Panics
    /// If it cannot be told.
    pub fn stop(mut self) -> String {
        assert!(run("kill", &[], Path::new(&self.child.id().to_string())), "kill runs");
        self.child.wait().expect("it ends");
        self.said()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether it says what is wrong, and what to do.
pub fn is_plain(said: &str) -> bool {
    said.contains("error: ") && said.contains("hint: ")
}

/// `doppelkey` with these arguments and `--json`.
pub fn doppelkey(arguments: &[&str]) -> Command {
    let mut command = Command::new(crate::doppelkey());
    command.args(arguments).arg("--json");
    command
}

/// This program with these arguments and `--json`, as somebody who is not root and whom root's rights do not help; as
/// whoever runs the test, where that is not root.
pub fn as_nobody(program: &Path, arguments: &[&str]) -> Command {
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.args(arguments).arg("--json");
    command
}

/// Whether this process is root's.
pub fn is_root() -> bool {
    // Whose a process is, says the owner of its folder.
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

/// A wall clock that a test sets while a program reads it (libfaketime). The monotonic one runs on.
pub struct SetClock {
    file: NamedTempFile,
}

impl SetClock {
    /// The right time, to begin with; `None` without libfaketime.
    pub fn new() -> Option<Self> {
        Path::new(LIBFAKETIME).exists().then(|| {
            let clock =
                SetClock { file: NamedTempFile::new().expect("there is a place for temporary files") };
            clock.set("+0");
            clock
        })
    }

    /// Sets it so far before or after the right time: `-3h`, `+2d`.
    ///
    /// # Panics
    /// If it cannot be set.
    pub fn set(&self, offset: &str) {
        std::fs::write(self.file.path(), offset).expect("there is room");
    }

    /// Gives it to a program.
    pub fn tell(&self, command: &mut Command) {
        command.env("LD_PRELOAD", LIBFAKETIME).env("FAKETIME_TIMESTAMP_FILE", self.file.path());
        command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }
}

const LIBFAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
