//! Everything that is kept, in one database: SQLite for one machine, PostgreSQL for many processes.
//!
//! One SQL text serves both: columns are `TEXT`, `BIGINT` (numbers, milliseconds, 0 or 1) and bytes. What must happen
//! once happens in one statement (`DELETE … RETURNING`, `UPDATE … WHERE`), because that is atomic on both.
//! Tokens and codes are stored as digests; nothing in here can be used to sign in.

mod challenges;
mod codes;
mod credentials;
mod events;
mod limits;
mod migrations;
mod second_factors;
mod sessions;
mod users;

use std::fmt;
use std::time::Duration;

use sqlx::any::AnyPoolOptions;
use sqlx::{AnyPool, Executor as _};

pub(crate) use challenges::Challenge;
pub(crate) use codes::{CodeCheck, Mailed};
pub(crate) use credentials::{Passkey, PasskeyUse};
pub(crate) use events::StoredEvent;
pub(crate) use second_factors::Totp;
pub(crate) use sessions::StoredSession;
pub(crate) use users::{Identifier, User};

/// Why the database did not do what was asked.
#[derive(Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// The URL names no database this program can use: the operator's fault.
    Url(String),
    /// The database was written by a newer program: it is left alone.
    Newer {
        /// The version found.
        found: i64,
        /// The newest version this program knows.
        known: i64,
    },
    /// Something unique exists already (an address, a credential id).
    Taken,
    /// The database failed, or is not there.
    Database(sqlx::Error),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(why) => write!(f, "{why}"),
            Self::Newer { found, known } => {
                write!(f, "the database has version {found}, this program knows versions up to {known}")
            }
            Self::Taken => write!(f, "it exists already"),
            Self::Database(why) => write!(f, "database: {why}"),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(inner) if inner.is_unique_violation() => Self::Taken,
            _ => Self::Database(error),
        }
    }
}

/// A result of the store.
pub(crate) type Result<T> = std::result::Result<T, StoreError>;

/// The database: a pool of connections, cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    pool: AnyPool,
}

impl Database {
    /// Opens `memory`, `sqlite:PATH` or `postgres://…`, creating and upgrading its tables.
    pub(crate) async fn open(url: &str) -> Result<Self> {
        sqlx::any::install_default_drivers();
        let (url, connections) = match url {
            // Each connection to `:memory:` is a database of its own, so there is one connection, kept for ever.
            "memory" => ("sqlite::memory:".to_string(), 1),
            _ if url.starts_with("sqlite:") && url.len() > 7 => {
                (format!("sqlite://{}?mode=rwc", sqlite_path(url)), 4)
            }
            _ if url.starts_with("postgres://") || url.starts_with("postgresql://") => (url.to_string(), 10),
            _ => {
                return Err(StoreError::Url(format!(
                    "{url} is not a database: memory, sqlite:PATH or postgres://…"
                )));
            }
        };
        let is_sqlite = url.starts_with("sqlite:");
        let pool = AnyPoolOptions::new()
            .max_connections(connections)
            .min_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .acquire_timeout(Duration::from_secs(10))
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    if is_sqlite {
                        connection.execute(SQLITE_PRAGMAS).await?;
                    }
                    Ok(())
                })
            })
            .connect(&url)
            .await?;
        migrations::run(&pool, is_sqlite).await?;
        Ok(Self { pool })
    }

    /// One setting, by its key.
    pub(crate) async fn setting(&self, key: &str) -> Result<Option<String>> {
        let row: Option<(String,)> = sqlx::query_as("SELECT value FROM settings WHERE name = $1")
            .bind(key)
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.map(|(value,)| value))
    }

    /// Writes a setting.
    pub(crate) async fn set_setting(&self, key: &str, value: &str) -> Result<()> {
        sqlx::query(
            "INSERT INTO settings (name, value) VALUES ($1, $2) \
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )
        .bind(key)
        .bind(value)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// A setting that every process must agree on: the first to ask writes it.
    pub(crate) async fn agree_on(&self, key: &str, proposal: &str) -> Result<String> {
        sqlx::query("INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING")
            .bind(key)
            .bind(proposal)
            .execute(&self.pool)
            .await?;
        Ok(self.setting(key).await?.unwrap_or_else(|| proposal.to_string()))
    }

    /// Removes what has expired. Nothing depends on it: every read compares with the clock.
    pub(crate) async fn sweep(&self, now: i64, events_before: i64) -> Result<()> {
        for statement in [
            "DELETE FROM challenges WHERE expires_at < $1",
            "DELETE FROM sessions WHERE expires_at < $1",
            "DELETE FROM codes WHERE expires_at < $1",
            "DELETE FROM remembered_devices WHERE expires_at < $1",
            "DELETE FROM limits WHERE expires_at < $1",
        ] {
            sqlx::query(statement).bind(now).execute(&self.pool).await?;
        }
        sqlx::query("DELETE FROM events WHERE date < $1").bind(events_before).execute(&self.pool).await?;
        Ok(())
    }
}

fn sqlite_path(url: &str) -> &str {
    let path = url.trim_start_matches("sqlite:");
    path.strip_prefix("//").unwrap_or(path)
}

/// WAL and `NORMAL`: a commit survives the program's death; a power cut may lose the last commits, never the database.
const SQLITE_PRAGMAS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 5000; \
                              PRAGMA foreign_keys = ON;";
