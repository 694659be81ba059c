//! A running authenticator answers the commands of `doppelkey sync`: it has the vault, they have not.
//!
//! Beside the vault `PATH` lies, while it runs, the Unix socket `PATH.sync.socket`, for its user alone. Each line is a
//! [`Request`] in JSON, each answer a line: `{"ok": …}` or `{"error": …, "hint": …}`.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::requests::{Asked, Refusal, Request};
use super::{Change, ReplicateError};
use crate::private_file;

/// No request is longer.
const REQUEST_MAX: u64 = 1 << 20;

/// Where the socket of this vault is.
fn socket_of(vault: &Path) -> PathBuf {
    let mut path = vault.as_os_str().to_owned();
    path.push(".sync.socket");
    path.into()
}

/// The listening socket. Gone when dropped.
pub(super) struct Listener {
    path: PathBuf,
    ended: Arc<AtomicBool>,
}

impl Listener {
    /// Listens beside a vault that this process has locked: a socket that is there already is a dead one's.
    pub(super) fn bind(vault: &Path, tell: Sender<Change>, ask: Sender<Asked>) -> io::Result<Self> {
        let path = socket_of(vault);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = private_file::listen(&path)?;
        let ended = Arc::new(AtomicBool::new(false));
        let over = ended.clone();
        thread::spawn(move || {
            for connection in listener.incoming() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let (tell, ask) = (tell.clone(), ask.clone());
                let begun = connection.and_then(|connection| {
                    thread::Builder::new().spawn(move || converse(&connection, &tell, &ask))
                });
                if let Err(error) = begun {
                    log::warn!("sync: a command could not be listened to: {error}");
                    // The reason (no files or threads left, say) may last: do not spin on it.
                    thread::sleep(Duration::from_millis(50));
                }
            }
        });
        Ok(Listener { path, ended })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // Wakes the thread, which then ends.
        drop(UnixStream::connect(&self.path));
        let _ = fs::remove_file(&self.path);
    }
}

fn converse(connection: &UnixStream, tell: &Sender<Change>, ask: &Sender<Asked>) {
    let mut lines = BufReader::new(connection);
    // A request may hold a recovery key.
    let mut line = Zeroizing::new(String::new());
    while let Ok(length) = lines.by_ref().take(REQUEST_MAX).read_line(&mut line)
        && length > 0
    {
        let answer = match serde_json::from_str::<Request>(&line) {
            Ok(request) => carry(request, tell, ask),
            Err(error) => Err(Refusal::new(error, "use the `doppelkey sync` of the version that runs")),
        };
        let answer = match answer {
            Ok(value) => json!({ "ok": value }),
            Err(Refusal { error, hint }) => json!({ "error": error, "hint": hint }),
        };
        let mut connection = connection;
        if connection.write_all(format!("{answer}\n").as_bytes()).is_err() {
            return;
        }
        line.clear();
    }
}

fn carry(request: Request, tell: &Sender<Change>, ask: &Sender<Asked>) -> Result<Value, Refusal> {
    let (answer, answered) = channel();
    let ends = || {
        Refusal::new(
            "the running authenticator takes part in no sync circle any more, or is ending",
            "end it and run it anew if it should",
        )
    };
    ask.send((request, answer)).map_err(|_| ends())?;
    tell.send(Change::Asked).map_err(|_| ends())?;
    answered.recv().map_err(|_| ends())?
}

/// A running authenticator, asked from another process.
pub struct Running {
    stream: BufReader<UnixStream>,
    path: PathBuf,
}

impl Running {
    /// The one that has this vault, if there is one and it takes part in a circle.
    pub fn of(vault: &Path) -> Option<Self> {
        let path = socket_of(vault);
        let stream = UnixStream::connect(&path).ok()?;
        Some(Running { stream: BufReader::new(stream), path })
    }

    /// Asks, and waits for the answer: as long as the mailboxes take.
    pub fn ask(&mut self, request: &Request) -> Result<Value, Refusal> {
        let path = self.path.clone();
        let failed = |error: io::Error| Refusal::from(ReplicateError::File(path.clone(), error));
        let mut line = Zeroizing::new(serde_json::to_string(request).map_err(|error| failed(error.into()))?);
        line.push('\n');
        self.stream.get_mut().write_all(line.as_bytes()).map_err(failed)?;
        let mut answer = String::new();
        self.stream.read_line(&mut answer).map_err(failed)?;
        let mut answer: Value = serde_json::from_str(&answer).map_err(|error| failed(error.into()))?;
        match answer.get_mut("ok") {
            Some(value) => Ok(value.take()),
            None => Err(serde_json::from_value(answer).map_err(|error| failed(error.into()))?),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::iter::from_fn;

    use super::*;

    /// Says in a child process that it is one.
    const CHILD: &str = "DOPPELKEY_TEST_WITHOUT_FILES";

    #[test]
    fn a_program_that_had_no_files_left_listens_to_commands_again_once_it_has() {
        const NAME: &str = "replicate::running::tests::a_program_that_had_no_files_left_listens_to_commands_again_once_it_has";
        if std::env::var_os(CHILD).is_some() {
            return run_out_of_files();
        }
        let mut child = std::process::Command::new("sh");
        child.args(["-c", r#"ulimit -n 64 && exec "$0" --exact "$1""#]);
        child.arg(std::env::current_exe().unwrap()).arg(NAME).env(CHILD, "1");
        let output = child.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{output:?}");
    }

    fn run_out_of_files() {
        let folder = tempfile::tempdir().unwrap();
        let vault = folder.path().join("vault");
        let (tell, _changes) = channel();
        let (ask, _asked) = channel();
        let _listener = Listener::bind(&vault, tell, ask).unwrap();
        let mut taken: Vec<File> = from_fn(|| File::open("/dev/null").ok()).collect();
        // One for each end of each connection: after some of them there is none for the next.
        let mut callers = Vec::new();
        for _ in 0..8 {
            taken.pop();
            callers.extend(UnixStream::connect(socket_of(&vault)));
            thread::sleep(Duration::from_millis(20));
            taken.extend(from_fn(|| File::open("/dev/null").ok()));
        }
        drop((taken, callers));
        thread::sleep(Duration::from_millis(100));
        let mut running = Running::of(&vault).expect("it listens");
        running.stream.get_mut().write_all(b"nonsense\n").unwrap();
        let mut answer = String::new();
        running.stream.read_line(&mut answer).unwrap();
        assert!(answer.contains("error"), "{answer}");
    }
}
