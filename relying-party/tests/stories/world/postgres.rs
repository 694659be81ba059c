//! The database that the stories run on: in memory, or a PostgreSQL cluster of their own.
//!
//! `DOPPELKEY_TEST_DATABASE=postgres://…` runs every story in a fresh schema of that database; `on_postgresql`
//! starts a cluster and does so.

use std::io::{BufRead as _, Write as _};
use std::sync::atomic::{AtomicU32, Ordering};

/// A database for one story.
pub fn database_for_tests() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    match std::env::var("DOPPELKEY_TEST_DATABASE") {
        Ok(url) if !url.is_empty() => {
            // A schema of its own for each story: `search_path` names it, and the first connection creates it.
            let count = COUNT.fetch_add(1, Ordering::SeqCst);
            let schema = format!("story_{}_{count}", std::process::id());
            create_schema(&url, &schema);
            let joint = if url.contains('?') { '&' } else { '?' };
            format!("{url}{joint}options=-c%20search_path%3D{schema}")
        }
        _ => "memory".into(),
    }
}

/// A database for a story whose processes share it: on SQLite a file in this folder.
pub fn shared_database(folder: &std::path::Path) -> String {
    match database_for_tests() {
        url if url == "memory" => format!("sqlite:{}", folder.join("accounts.db").display()),
        url => url,
    }
}

/// Runs SQL on a [`shared_database`]. `BYTES` is its type of byte strings, `HEX(…)` one of its literals.
pub fn run(url: &str, sql: &str) {
    if let Some(path) = url.strip_prefix("sqlite:") {
        let connection = rusqlite::Connection::open(path).expect("a file");
        connection.execute_batch(&translated(sql, "BLOB", "x'")).expect("the statements are SQLite's");
        return;
    }
    let sql = translated(sql, "BYTEA", "'\\x");
    let done = std::process::Command::new("psql")
        .args(["--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--command", &sql, url])
        .status()
        .expect("psql is installed where PostgreSQL is");
    assert!(done.success(), "the statements are not PostgreSQL's");
}

/// Does this in a transaction of somebody else's that lasts for so many seconds from now on.
pub fn hold(url: &str, sql: &str, seconds: f32) -> std::thread::JoinHandle<()> {
    let (url, sql, (begun, is_begun)) = (url.to_string(), sql.to_string(), std::sync::mpsc::channel());
    let holder = std::thread::spawn(move || {
        let sleep = std::time::Duration::from_secs_f32(seconds);
        if let Some(path) = url.strip_prefix("sqlite:") {
            let connection = rusqlite::Connection::open(path).expect("a file");
            connection.execute_batch(&format!("BEGIN IMMEDIATE; {sql}")).expect("it is SQLite's");
            begun.send(()).expect("somebody waits");
            std::thread::sleep(sleep);
            return connection.execute_batch("COMMIT").expect("it is let go");
        }
        let psql = std::process::Command::new("psql")
            .args(["--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", &url])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn();
        let mut psql = psql.expect("psql is installed where PostgreSQL is");
        let (mut input, output) =
            (psql.stdin.take().expect("it is piped"), psql.stdout.take().expect("it is piped"));
        writeln!(input, "BEGIN; {sql}; \\echo held").expect("it reads");
        let said = std::io::BufReader::new(output).lines().next().expect("it answers").expect("text");
        assert_eq!(said, "held");
        begun.send(()).expect("somebody waits");
        std::thread::sleep(sleep);
        writeln!(input, "COMMIT;").expect("it reads");
        drop(input);
        assert!(psql.wait().expect("it ends").success());
    });
    is_begun.recv().expect("it is held");
    holder
}

fn translated(sql: &str, bytes: &str, opening: &str) -> String {
    let mut parts = sql.split("HEX(");
    let first = parts.next().unwrap_or_default().replace("BYTES", bytes);
    parts.fold(first, |all, part| {
        let (digits, rest) = part.split_once(')').expect("HEX(…) is closed");
        format!("{all}{opening}{digits}'{}", rest.replace("BYTES", bytes))
    })
}

fn create_schema(url: &str, schema: &str) {
    let done = std::process::Command::new("psql")
        .args(["--quiet", "--no-psqlrc", "--command", &format!("CREATE SCHEMA {schema}"), url])
        .status()
        .expect("psql is installed where PostgreSQL is");
    assert!(done.success(), "the schema {schema} could not be created");
}
