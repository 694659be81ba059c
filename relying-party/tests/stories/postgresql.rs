//! All other stories once more, on a PostgreSQL cluster of their own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use axum::http::StatusCode;
use doppelkey_relying_party::{Config, StartError, StoreError, app};

use crate::world::{Authenticator, World};

/// Starts a cluster that nobody else uses, tells every story on it, stops it.
#[test]
fn every_story_holds_on_postgresql() {
    if std::env::var_os("DOPPELKEY_TEST_DATABASE").is_some() {
        return; // this is one of the stories that the test below tells
    }
    let Some(programs) = programs() else { return skipped() };
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

/// A server on a port, with a certificate of the test's own authority: it is believed if the operator names that
/// authority, and not otherwise.
#[tokio::test]
async fn the_database_is_reached_over_tls_under_a_root_that_the_operator_names() {
    if std::env::var_os("DOPPELKEY_TEST_DATABASE").is_some() {
        return; // once is enough
    }
    let Some(programs) = programs() else { return skipped() };
    let cluster = Cluster::start_with_tls(&programs);
    let url = |more: &str| format!("postgres://stories@localhost:{}/postgres?{more}", cluster.port);
    let named =
        |root: &str| format!("sslmode=verify-full&sslrootcert={}", cluster.folder.join(root).display());
    let start = async |url: String| app(Config { database: url, ..Config::localhost(8080) }).await;

    let world = World::start(&url(&named("root.pem")), "").await;
    let mut browser = world.browser();
    browser.sign_up("ada@example.org", &mut Authenticator::platform()).await;
    assert_eq!(browser.get("/account").await.status, StatusCode::OK);
    let in_clear = "SELECT COUNT(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                     WHERE client_addr IS NOT NULL AND NOT ssl";
    assert_eq!(cluster.query(in_clear), "0", "every connection over the network is encrypted");

    let refused = start(url(&named("other.pem"))).await.expect_err("another authority vouches for nothing");
    assert!(
        matches!(refused, StartError::Database(StoreError::Server { .. })) && !refused.hint().is_empty(),
        "{refused}"
    );
    let refused = start(url("sslmode=disable")).await.expect_err("the server takes nothing in clear");
    assert!(matches!(refused, StartError::Database(StoreError::Server { .. })), "{refused}");
    // A name that the certificate does not hold.
    let other_name = url(&named("root.pem")).replace("localhost", "127.0.0.1");
    let refused = start(other_name).await.expect_err("the certificate is not for this name");
    assert!(matches!(refused, StartError::Database(StoreError::Server { .. })), "{refused}");
}

fn skipped() {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "skipped: needs PostgreSQL (apt-get install postgresql-15)");
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
    /// 0 for one that only a socket in the folder reaches.
    port: u16,
    programs: PathBuf,
}

impl Cluster {
    fn start(programs: &Path) -> Self {
        let (folder, data) = Self::initialised(programs, "");
        assert!(Self::starts(programs, &folder, &data, "-c listen_addresses=''"), "PostgreSQL starts");
        Self::of(programs, folder, 0)
    }

    /// Only with TLS, on a port of this machine.
    fn start_with_tls(programs: &Path) -> Self {
        let (folder, data) = Self::initialised(programs, "-tls");
        for (name, subject) in [("root", "/CN=A root"), ("other", "/CN=Another root")] {
            openssl(
                &folder,
                &format!("req -x509 -nodes -days 2 {KEY} -keyout {name}.key -out {name}.pem"),
                subject,
            );
        }
        openssl(&folder, &format!("req -nodes {KEY} -keyout server.key -out server.csr"), "/CN=localhost");
        let names = "subjectAltName = DNS:localhost\nbasicConstraints = critical, CA:FALSE\n";
        run(as_postgres("sh").args(["-c", &format!("printf '{names}' > {}/names", folder.display())]));
        let sign = "x509 -req -days 2 -in server.csr -CA root.pem -CAkey root.key -CAcreateserial -extfile names \
                    -out server.pem";
        openssl(&folder, sign, "");
        let rules = "hostssl all all 127.0.0.1/32 trust\nlocal all all trust\n";
        run(as_postgres("sh").args(["-c", &format!("printf '{rules}' > {}/pg_hba.conf", data.display())]));
        let at = folder.display();
        // Another story may take a port before PostgreSQL does.
        for _ in 0..5 {
            let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
            let port = port.expect("a free port").port();
            let settings = format!(
                "-c listen_addresses=127.0.0.1 -c port={port} -c ssl=on -c ssl_cert_file={at}/server.pem \
                 -c ssl_key_file={at}/server.key"
            );
            if Self::starts(programs, &folder, &data, &settings) {
                return Self::of(programs, folder, port);
            }
        }
        panic!(
            "PostgreSQL does not start: {}",
            std::fs::read_to_string(folder.join("log")).unwrap_or_default()
        );
    }

    /// What a query gives, asked through the socket.
    fn query(&self, sql: &str) -> String {
        let mut ask = as_postgres("psql");
        ask.args(["-tA", "-U", "stories", "-p", &self.port.to_string(), "-h"]).arg(&self.folder);
        let answer = ask.args(["-c", sql, "postgres"]).output().expect("psql runs");
        String::from_utf8_lossy(&answer.stdout).trim().to_string()
    }

    fn initialised(programs: &Path, name: &str) -> (PathBuf, PathBuf) {
        let folder = std::env::temp_dir().join(format!("doppelkey-postgres{name}-{}", std::process::id()));
        let data = folder.join("data");
        run(as_postgres("mkdir").arg(&folder));
        run(as_postgres(programs.join("initdb"))
            .args(["--auth=trust", "--no-sync", "--username=stories", "--encoding=UTF8"])
            // A collation for people, in which marks come before digits: what many servers have.
            .args(["--locale-provider=icu", "--icu-locale=en-US", "-D"])
            .arg(&data));
        (folder, data)
    }

    fn starts(programs: &Path, folder: &Path, data: &Path, settings: &str) -> bool {
        let settings = format!(
            "{settings} -c unix_socket_directories={} -c fsync=off -c max_connections=400",
            folder.display()
        );
        let mut start = as_postgres(programs.join("pg_ctl"));
        start.args(["start", "--wait", "--silent", "-o", &settings, "-D"]).arg(data);
        let started = start.arg("-l").arg(folder.join("log")).stdout(Stdio::null()).status();
        started.expect("pg_ctl runs").success()
    }

    fn of(programs: &Path, folder: PathBuf, port: u16) -> Self {
        let url = format!("postgres://stories@localhost/postgres?host={}", folder.display());
        Self { folder, url, port, programs: programs.to_path_buf() }
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

const KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1";

/// Makes keys and certificates in a folder, which PostgreSQL's user owns.
fn openssl(folder: &Path, arguments: &str, subject: &str) {
    let mut command = as_postgres("openssl");
    command.args(arguments.split_whitespace());
    if !subject.is_empty() {
        command.args(["-subj", subject]);
    }
    run(command.current_dir(folder).stderr(Stdio::null()));
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
