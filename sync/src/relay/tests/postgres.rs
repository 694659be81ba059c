//! A PostgreSQL of one's own at a socket in its folder, for tests and benchmarks.

use std::os::unix::net::UnixStream;
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
    /// `None`, and it was said, if PostgreSQL is not installed. A commit is on the disk only if it is to be `durable`, as
    /// everywhere but in a test.
    ///
    /// # Panics
    /// If it is installed and does not start: a test that took that for a reason to be silent would tell nothing.
    pub(crate) fn start(durable: bool) -> Option<Self> {
        let Some(programs) = programs() else {
            // Not `println!`: the test runner would keep it to itself.
            use std::io::Write as _;
            let _ = std::writeln!(std::io::stdout(), "skipped: needs PostgreSQL (initdb, postgres)");
            return None;
        };
        let directory = tempfile::tempdir().expect("there is a place for temporary files");
        let data = directory.path().join("data");
        // PostgreSQL refuses to run as root.
        let root = Command::new("id").arg("-u").output().expect("id runs").stdout == b"0\n";
        let run = |program: &str| {
            let mut command = Command::new(if root { "setpriv" } else { program });
            if root {
                command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program);
            }
            command.stdout(Stdio::null());
            command
        };
        if root {
            let owned = Command::new("chown").arg("postgres:postgres").arg(directory.path()).status();
            assert!(owned.is_ok_and(|owned| owned.success()), "PostgreSQL's user, postgres, gets the folder");
        }
        let initdb = programs.join("initdb").display().to_string();
        let made = run(&initdb).arg("-D").arg(&data).args(["-U", "relay", "-A", "trust", "-N"]).output();
        let made = made.expect("initdb runs");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let postgres = programs.join("postgres").display().to_string();
        let server = run(&postgres)
            .arg("-D")
            .arg(&data)
            // No port, which another could take first.
            .args(["-c", "listen_addresses="])
            .args(if durable { &[][..] } else { &["-F"] })
            .arg("-k")
            .arg(directory.path())
            .stderr(Stdio::null())
            .spawn()
            .expect("postgres runs");
        let url = format!("postgres://relay@localhost/postgres?host={}", directory.path().display());
        let socket = directory.path().join(".s.PGSQL.5432");
        let started = Postgres { server, url, _directory: directory };
        for _ in 0..200 {
            if UnixStream::connect(&socket).is_ok() {
                thread::sleep(Duration::from_millis(300));
                return Some(started);
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("PostgreSQL does not answer within ten seconds")
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
