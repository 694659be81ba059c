//! All other stories once more, on a PostgreSQL cluster of their own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Starts a cluster that nobody else uses, tells every story on it, stops it.
#[test]
fn every_story_holds_on_postgresql() {
    if std::env::var_os("DOPPELKEY_TEST_DATABASE").is_some() {
        return; // this is one of the stories that the test below tells
    }
    let Some(programs) = programs() else {
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), "skipped: needs PostgreSQL (apt-get install postgresql-15)");
        return;
    };
    let cluster = Cluster::start(&programs);
    let stories = std::env::current_exe().expect("a running test has a path");
    let output = Command::new(stories)
        .args(["--skip", "postgresql::", "--test-threads", "4"])
        .env("DOPPELKEY_TEST_DATABASE", &cluster.url)
        .output()
        .expect("the stories run");
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The folder of `initdb` and `postgres`, the newest version installed.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut found: Vec<PathBuf> = versions.flatten().map(|version| version.path().join("bin")).collect();
    found.retain(|folder| folder.join("initdb").is_file());
    found.sort();
    found.pop()
}

struct Cluster {
    folder: PathBuf,
    url: String,
    programs: PathBuf,
}

impl Cluster {
    fn start(programs: &Path) -> Self {
        let folder = std::env::temp_dir().join(format!("doppelkey-postgres-{}", std::process::id()));
        let data = folder.join("data");
        run(as_postgres("mkdir").arg(&folder));
        run(as_postgres(programs.join("initdb"))
            .args(["--auth=trust", "--no-sync", "--username=stories", "-D"])
            .arg(&data));
        let settings = format!(
            "-c listen_addresses='' -c unix_socket_directories={} -c fsync=off -c max_connections=400",
            folder.display()
        );
        run(as_postgres(programs.join("pg_ctl"))
            .args(["start", "--wait", "--silent", "-o", &settings, "-D"])
            .arg(&data)
            .arg("-l")
            .arg(folder.join("log")));
        let url = format!("postgres://stories@localhost/postgres?host={}", folder.display());
        Self { folder, url, programs: programs.to_path_buf() }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let mut stop = as_postgres(self.programs.join("pg_ctl"));
        let _ =
            stop.args(["stop", "--mode=immediate", "--silent", "-D"]).arg(self.folder.join("data")).status();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// PostgreSQL refuses to run as root; Debian's package makes a user for it.
fn as_postgres(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let uid = Command::new("id").arg("-u").output().expect("id is everywhere").stdout;
    if uid.trim_ascii() == b"0" {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(program).current_dir("/");
        return command;
    }
    Command::new(program)
}

fn run(command: &mut Command) {
    let done = command.stdout(Stdio::null()).status().expect("the program runs");
    assert!(done.success(), "{command:?}");
}
