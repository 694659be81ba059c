//! The database that the stories run on: in memory, or a PostgreSQL cluster of their own.
//!
//! `DOPPELKEY_TEST_DATABASE=postgres://…` runs every story in a fresh schema of that database; `on_postgresql`
//! starts a cluster and does so.

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
