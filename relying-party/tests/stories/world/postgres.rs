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

fn create_schema(url: &str, schema: &str) {
    let done = std::process::Command::new("psql")
        .args(["--quiet", "--no-psqlrc", "--command", &format!("CREATE SCHEMA {schema}"), url])
        .status()
        .expect("psql is installed where PostgreSQL is");
    assert!(done.success(), "the schema {schema} could not be created");
}
