//! A subcommand of `doppelkey` that serves until it is told to end.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

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
        command.args(arguments).arg("--json").stdout(Stdio::piped());
        let mut child = command.spawn().expect("doppelkey runs");
        let mut line = String::new();
        let output = child.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut line).expect("its output is text");
        let ready =
            serde_json::from_str(&line).unwrap_or_else(|_| panic!("{arguments:?} ended before it was ready"));
        Server { child, ready }
    }

    /// The text under this key of the ready line.
    ///
    /// # Panics
    /// If it is not there.
    pub fn text(&self, key: &str) -> &str {
        self.ready[key].as_str().unwrap_or_else(|| panic!("the ready line has no {key}: {}", self.ready))
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
