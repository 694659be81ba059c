//! A PostgreSQL of one's own on loopback, for tests and benchmarks.

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::string::{String, ToString as _};
use std::time::Duration;
use std::vec::Vec;
use std::{env, format, fs, thread};

/// Runs until it is dropped.
pub(crate) struct Postgres {
    server: Child,
    /// How to reach it.
    pub(crate) url: String,
    _directory: tempfile::TempDir,
}

impl Postgres {
    /// `None` if PostgreSQL is not installed. A commit is on the disk only if it is to be `durable`, as everywhere but in
    /// a test.
    pub(crate) fn start(durable: bool) -> Option<Self> {
        let programs = programs()?;
        let directory = tempfile::tempdir().ok()?;
        let data = directory.path().join("data");
        // PostgreSQL refuses to run as root.
        let root = Command::new("id").arg("-u").output().ok()?.stdout == b"0\n";
        let run = |program: &str| {
            let mut command = Command::new(if root { "setpriv" } else { program });
            if root {
                command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program);
            }
            command.stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        if root {
            Command::new("chown").arg("postgres:postgres").arg(directory.path()).status().ok()?;
        }
        let initdb = programs.join("initdb").display().to_string();
        let made =
            run(&initdb).arg("-D").arg(&data).args(["-U", "relay", "-A", "trust", "-N"]).status().ok()?;
        if !made.success() {
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?.port();
        let postgres = programs.join("postgres").display().to_string();
        let server = run(&postgres)
            .arg("-D")
            .arg(&data)
            .args(["-p", &port.to_string(), "-h", "127.0.0.1"])
            .args(if durable { &[][..] } else { &["-F"] })
            .arg("-k")
            .arg(directory.path())
            .spawn()
            .ok()?;
        let url = format!("postgres://relay@127.0.0.1:{port}/postgres");
        let started = Postgres { server, url, _directory: directory };
        for _ in 0..200 {
            let answers = TcpStream::connect(("127.0.0.1", port)).is_ok();
            if answers {
                thread::sleep(Duration::from_millis(300));
                return Some(started);
            }
            thread::sleep(Duration::from_millis(50));
        }
        None
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg("-INT").arg(self.server.id().to_string()).status();
        let _ = self.server.wait();
    }
}

/// Where `initdb` and `postgres` are: Debian keeps them off the PATH.
fn programs() -> Option<PathBuf> {
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let debian = debian.map(|version| version.path().join("bin"));
    let places =
        env::var_os("PATH").map(|path| env::split_paths(&path).collect::<Vec<_>>()).unwrap_or_default();
    debian.chain(places).find(|place| place.join("initdb").exists() && place.join("postgres").exists())
}
