//! A subcommand of `doppelkey` that serves until it is told to end.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

/// A running server of ours. Told to end when dropped.
pub struct Server {
    child: Child,
    /// What its ready line said.
    pub ready: Value,
}

impl Server {
    /// Starts `doppelkey` with these arguments and `--json`, and waits until it is ready.
    ///
    /// # Panics
    /// If it ends before.
    pub fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(crate::doppelkey());
        command.args(arguments);
        Self::start_by(command)
    }

    /// As [`start`](Self::start), with what it says on standard error in a file.
    ///
    /// # Panics
    /// If it ends before it is ready, or there is no room for the file.
    pub fn start_with_errors(arguments: &[&str], errors: &Path) -> Self {
        let mut command = Command::new(crate::doppelkey());
        command.args(arguments).stderr(File::create(errors).expect("there is room"));
        Self::start_by(command)
    }

    /// As [`start`](Self::start), with a command that leads to such a program, and lacks `--json` only.
    ///
    /// # Panics
    /// If it ends before it is ready.
    pub fn start_by(mut command: Command) -> Self {
        let mut child = command.arg("--json").stdout(Stdio::piped()).spawn().expect("doppelkey runs");
        let mut line = String::new();
        let output = child.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut line).expect("its output is text");
        let ready =
            serde_json::from_str(&line).unwrap_or_else(|_| panic!("{command:?} ended before it was ready"));
        Server { child, ready }
    }

    /// The text under this key of the ready line.
    ///
    /// # Panics
    /// If it is not there.
    pub fn text(&self, key: &str) -> &str {
        self.ready[key].as_str().unwrap_or_else(|| panic!("the ready line has no {key}: {}", self.ready))
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Tells it to end (SIGTERM), and gives its exit status.
    ///
    /// # Panics
    /// If it cannot be told.
    pub fn stop(mut self) -> Option<i32> {
        self.terminate();
        self.child.wait().expect("it ends").code()
    }

    fn terminate(&self) {
        let told = Command::new("kill").arg(self.child.id().to_string()).status();
        assert!(told.is_ok_and(|status| status.success()), "kill runs");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// What comes back within a moment of a connection that may stay open.
///
/// # Panics
/// If nobody listens there.
pub fn exchange(address: &str, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_millis(250))).expect("it is no zero");
    let _ = stream.write_all(request);
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        answer.extend_from_slice(&buffer[..length]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}
