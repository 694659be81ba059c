//! Every step in which a program changes a file, one by one: noted, and the program killed at any of them.
//!
//! The programs are the real ones. `steps.c`, which a C compiler of this machine builds, stands between them and the
//! system (`LD_PRELOAD`).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::{NamedTempFile, TempDir};

/// A folder whose files' changes are counted over all programs that are told to, one after the other.
pub struct Steps {
    folder: TempDir,
    log: NamedTempFile,
    /// The error that steps fail with.
    refusal: NamedTempFile,
    kill_at: u64,
    torn: bool,
}

/// One change of a file. Paths are relative to the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// An empty file was made.
    Create(String),
    /// These bytes were written from this offset on.
    Write(String, usize, Vec<u8>),
    /// The file was cut or stretched to this length.
    Truncate(String, usize),
    /// A file's bytes, or a folder's names, were made durable.
    Sync(String),
    /// The first name became the second.
    Rename(String, String),
    /// The file of the first name got the second, too.
    Link(String, String),
    /// A file or an empty folder was removed.
    Remove(String),
    /// A folder was made.
    MakeFolder(String),
}

impl Steps {
    /// An empty folder, in memory where that can be had: a process that is killed loses nothing of what it wrote, on
    /// whatever disk. `None` without a C compiler, and where programs are not loaded as on Linux.
    pub fn new() -> Option<Self> {
        shim()?;
        let file = || NamedTempFile::new().expect("there is a place for temporary files");
        Some(Steps { folder: memory_folder(), log: file(), refusal: file(), kill_at: 0, torn: false })
    }

    /// From now on, a program is killed instead of this step, counted from 1; in the middle of it, if it is a write and
    /// `torn`.
    pub fn kill_at(&mut self, step: u64, torn: bool) {
        (self.kill_at, self.torn) = (step, torn);
    }

    /// From now on, also in programs that run, every step fails with this error of the system (`errno`); none, with 0.
    ///
    /// # Panics
    /// If there is no room for a number.
    pub fn refuse(&self, error: i32) {
        std::fs::write(self.refusal.path(), error.to_string()).expect("there is room");
    }

    /// Where the programs are to keep their files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Has this program's steps counted from now on, behind those of the programs before it.
    ///
    /// # Panics
    /// If there is no shim, without which there is no `Steps`.
    pub fn watch(&self, command: &mut Command) {
        command.env("LD_PRELOAD", shim().expect("there are no steps without it"));
        let folder = self.folder().canonicalize().expect("it is there");
        command.env("STEPS_FOLDER", folder).env("STEPS_LOG", self.log.path());
        command.env("STEPS_REFUSE", self.refusal.path());
        let left = self.kill_at.saturating_sub(self.count());
        command.env("STEPS_KILL_AT", left.to_string());
        if self.torn {
            command.env("STEPS_TORN", "1");
        }
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.read().0.len() as u64
    }

    /// What was done, in order.
    pub fn taken(&self) -> Vec<Step> {
        self.read().0
    }

    /// What programs were killed at: a letter of `steps.c`, and a path.
    pub fn killed_at(&self) -> Vec<String> {
        self.read().1
    }

    fn read(&self) -> (Vec<Step>, Vec<String>) {
        let bytes = std::fs::read(self.log.path()).expect("it is ours");
        let (mut rest, mut steps, mut killed) = (bytes.as_slice(), Vec::new(), Vec::new());
        // A program that is killed may leave half a note, of a step that then counts as not done.
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            let head = String::from_utf8_lossy(&rest[..end]).into_owned();
            let mut words = head.splitn(4, ' ');
            let mut word = || words.next().unwrap_or_default();
            let (letter, offset, length, path) = (word(), word(), word(), word());
            let length: usize = length.parse().expect("a length");
            let Some((written, after)) = rest[end + 1..].split_at_checked(length) else { break };
            rest = after;
            let (from, to) = path.split_once('\t').unwrap_or((path, ""));
            let (from, to) = (from.to_owned(), to.to_owned());
            let offset: usize = offset.parse().unwrap_or_default();
            steps.push(match letter {
                "C" => Step::Create(from),
                "W" => Step::Write(from, offset, written.to_vec()),
                "T" => Step::Truncate(from, offset),
                "S" => Step::Sync(from),
                "R" => Step::Rename(from, to),
                "L" => Step::Link(from, to),
                "U" => Step::Remove(from),
                "D" => Step::MakeFolder(from),
                _ => {
                    killed.push(format!("{} {from}", String::from_utf8_lossy(written)));
                    continue;
                }
            });
        }
        (steps, killed)
    }
}

/// A folder for temporary files in memory, where that can be had.
pub(super) fn memory_folder() -> TempDir {
    let in_memory = tempfile::tempdir_in("/dev/shm");
    in_memory.or_else(|_| tempfile::tempdir()).expect("there is a place for temporary files")
}

/// The built `steps.c`.
fn shim() -> Option<&'static Path> {
    static SHIM: OnceLock<Option<(TempDir, PathBuf)>> = OnceLock::new();
    let built = SHIM.get_or_init(|| {
        if !cfg!(target_os = "linux") || !crate::has_program("cc") {
            return None;
        }
        let folder = tempfile::tempdir().ok()?;
        let library = folder.path().join("steps.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/soak/steps.c");
        let mut compile = Command::new("cc");
        compile
            .args(["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o"])
            .arg(&library)
            .arg(source);
        assert!(compile.status().is_ok_and(|status| status.success()), "steps.c does not compile");
        Some((folder, library))
    });
    built.as_ref().map(|(_, library)| library.as_path())
}
