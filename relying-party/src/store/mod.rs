//! Everything that is kept, in one database: SQLite for one machine, PostgreSQL for many processes.
//!
//! One SQL text serves both: columns are `TEXT`, `BIGINT` (numbers, milliseconds, 0 or 1) and bytes. What must happen
//! once happens in one statement (`DELETE … RETURNING`, `UPDATE … WHERE`), because that is atomic on both; what must
//! happen together is [`Changes`]. Tokens and codes are stored as digests; nothing in here can be used to sign in.

mod challenges;
mod codes;
mod credentials;
mod events;
mod limits;
mod mail;
mod migrations;
mod postgres;
mod second_factors;
mod sessions;
mod sql;
mod sqlite;
mod users;
mod webhooks;

use std::fmt;
use std::path::Path;

use postgres::Postgres;
use sql::{FromRow, Row, Statement, Written, sql};
use sqlite::Sqlite;

pub(crate) use challenges::{Challenge, Claim, Question, SPENT_ID_LENGTH};
pub(crate) use codes::CodeCheck;
pub(crate) use credentials::{Passkey, PasskeyUse};
pub(crate) use events::{LAST, StoredEvent};
pub(crate) use mail::{Mailed, WaitingMail};
pub(crate) use second_factors::{SealedApp, Totp};
pub(crate) use sessions::StoredSession;
pub(crate) use users::{Identifier, User};
pub(crate) use webhooks::Progress;

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
    /// The database's server lets nobody in, or is not there.
    Server {
        /// Where it was looked for.
        server: String,
        /// What happened.
        why: String,
        /// What the operator can do about it.
        hint: &'static str,
    },
    /// Something unique exists already (an address, a credential id).
    Taken,
    /// The database failed, or is not there.
    Database(Box<dyn std::error::Error + Send + Sync>),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(why) => write!(f, "{why}"),
            Self::Newer { found, known } => {
                write!(f, "the database has version {found}, this program knows versions up to {known}")
            }
            Self::Server { server, why, .. } => write!(f, "no connection to PostgreSQL {server}: {why}"),
            Self::Taken => write!(f, "it exists already"),
            Self::Database(why) => write!(f, "database: {why}"),
        }
    }
}

impl StoreError {
    /// The same for somebody else whom it concerns, in words alone.
    fn told_once_more(&self) -> Self {
        match self {
            Self::Url(why) => Self::Url(why.clone()),
            Self::Newer { found, known } => Self::Newer { found: *found, known: *known },
            Self::Server { server, why, hint } => {
                Self::Server { server: server.clone(), why: why.clone(), hint }
            }
            Self::Taken => Self::Taken,
            Self::Database(why) => Self::Database(why.to_string().into()),
        }
    }

    /// What the operator of a running service does next, for the log. The words are the database's own: SQLite's and
    /// PostgreSQL's codes have been left behind where this is asked.
    pub(crate) fn hint(&self) -> &'static str {
        let words = self.to_string();
        if words.contains("is full") || words.contains("No space left") {
            "make room on the database's disk; what was answered is kept, and it goes on by itself"
        } else if words.contains("readonly") || words.contains("read-only") {
            "let this user write the database's file and its directory; what was answered is kept"
        } else {
            "look at the database, its disk and its log; what was answered is kept"
        }
    }
}

impl std::error::Error for StoreError {}

/// A result of the store.
pub(crate) type Result<T> = std::result::Result<T, StoreError>;

/// The database, cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Database(Engine);

#[derive(Clone, Debug)]
enum Engine {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

/// Changes that happen together, or not at all.
#[derive(Clone, Debug, Default)]
#[must_use = "nothing has changed yet"]
pub(crate) struct Changes(Vec<Statement>);

impl Changes {
    fn and(mut self, statement: Statement) -> Self {
        self.0.push(statement);
        self
    }

    /// Writes a setting, on condition that it still is what was read.
    pub(crate) fn replace_setting(self, key: &str, before: Option<&str>, value: &str) -> Self {
        let statement = match before {
            None => sql("INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING"),
            Some(_) => sql("INSERT INTO settings (name, value) VALUES ($1, $2) \
                 ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE settings.value = $3"),
        };
        let statement = statement.bind(key).bind(value);
        let statement = if before.is_some() { statement.bind(before) } else { statement };
        self.and(statement.or_nothing())
    }

    /// These, and then others.
    pub(crate) fn then(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }
}

impl Database {
    /// Opens `memory`, `sqlite:PATH` or `postgres://…`, creating and upgrading its tables.
    pub(crate) async fn open(url: &str) -> Result<Self> {
        let engine = match url {
            "memory" => Engine::Sqlite(Sqlite::open(None)?),
            _ if url.starts_with("sqlite:") && url.len() > 7 => {
                Engine::Sqlite(Sqlite::open(Some(Path::new(sqlite_path(url))))?)
            }
            _ if url.starts_with("postgres://") || url.starts_with("postgresql://") => {
                Engine::Postgres(Postgres::open(url).await?)
            }
            _ => {
                return Err(StoreError::Url(format!(
                    "{url} is not a database: memory, sqlite:PATH or postgres://…"
                )));
            }
        };
        Ok(Self(engine))
    }

    /// Makes changes together: false if a condition among them was not met, and then nothing has changed.
    ///
    /// # Errors
    /// [`StoreError::Taken`] if something unique exists already; nothing has changed then, either.
    pub(crate) async fn make(&self, changes: Changes) -> Result<bool> {
        if changes.0.is_empty() {
            return Ok(true);
        }
        match &self.0 {
            Engine::Sqlite(sqlite) => Ok(sqlite.write(changes.0).await?.is_some()),
            Engine::Postgres(postgres) => postgres.make(changes.0).await,
        }
    }

    /// Every row of a query.
    async fn all<T: FromRow>(&self, query: Statement) -> Result<Vec<T>> {
        let rows = match &self.0 {
            Engine::Sqlite(sqlite) => sqlite.rows(&query)?,
            Engine::Postgres(postgres) => postgres.rows(query).await?,
        };
        read(rows)
    }

    /// The rows of several queries, each what it would have been alone.
    async fn each<const N: usize>(&self, queries: [Statement; N]) -> Result<[Vec<Row>; N]> {
        match &self.0 {
            Engine::Sqlite(sqlite) => sqlite.rows_of(&queries),
            Engine::Postgres(postgres) => {
                let mut all = [const { Vec::new() }; N];
                for (rows, query) in all.iter_mut().zip(queries) {
                    *rows = postgres.rows(query).await?;
                }
                Ok(all)
            }
        }
    }

    /// The first row of a query.
    async fn one<T: FromRow>(&self, query: Statement) -> Result<Option<T>> {
        Ok(self.all(query).await?.into_iter().next())
    }

    /// Does one statement: how many rows it changed.
    async fn write(&self, statement: Statement) -> Result<u64> {
        Ok(self.written(statement).await?.changed)
    }

    /// Does one statement: the first row that it returns.
    async fn take<T: FromRow>(&self, statement: Statement) -> Result<Option<T>> {
        let mut rows = self.written(statement).await?.rows.into_iter();
        rows.next().map(|mut row| T::from_row(&mut row)).transpose()
    }

    async fn written(&self, statement: Statement) -> Result<Written> {
        Ok(self.write_all(vec![statement]).await?.and_then(|mut all| all.pop()).unwrap_or_default())
    }

    async fn write_all(&self, batch: Vec<Statement>) -> Result<Option<Vec<Written>>> {
        match &self.0 {
            Engine::Sqlite(sqlite) => sqlite.write(batch).await,
            Engine::Postgres(postgres) => postgres.write(batch).await,
        }
    }

    /// One setting, by its key.
    pub(crate) async fn setting(&self, key: &str) -> Result<Option<String>> {
        let row = self.one(sql("SELECT value FROM settings WHERE name = $1").bind(key)).await?;
        Ok(row.map(|(value,)| value))
    }

    /// Writes a setting, if it still is what was read: false if somebody else has written it meanwhile.
    pub(crate) async fn replace_setting(&self, key: &str, before: Option<&str>, value: &str) -> Result<bool> {
        self.make(Changes::default().replace_setting(key, before, value)).await
    }

    /// A setting that every process must agree on: the first to ask writes it.
    pub(crate) async fn agree_on(&self, key: &str, proposal: &str) -> Result<String> {
        let statement =
            sql("INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING");
        self.write(statement.bind(key).bind(proposal)).await?;
        Ok(self.setting(key).await?.unwrap_or_else(|| proposal.to_string()))
    }

    /// Writes the database anew, so that its file holds nothing any more that has been replaced: false if it still does,
    /// because somebody else reads from before. PostgreSQL's files are not this program's: what its tables held goes with the
    /// next vacuum.
    pub(crate) async fn forget_what_was_there(&self) -> Result<bool> {
        match &self.0 {
            Engine::Sqlite(sqlite) => sqlite.write_anew(),
            Engine::Postgres(_) => Ok(true),
        }
    }

    /// Removes what has expired. Nothing depends on it: every read compares with the clock.
    pub(crate) async fn sweep(&self, now: i64, events_before: i64) -> Result<()> {
        for statement in [
            "DELETE FROM challenges WHERE expires_at < $1",
            "DELETE FROM sessions WHERE expires_at < $1",
            "DELETE FROM codes WHERE expires_at < $1",
            "DELETE FROM remembered_devices WHERE expires_at < $1",
        ] {
            self.write(sql(statement).bind(now)).await?;
        }
        // Marks count nothing. They are kept for a day more: the next block is longer than the last.
        let limits = sql("DELETE FROM limits WHERE (count > 0 AND expires_at < $1) OR expires_at < $2");
        self.write(limits.bind(now).bind(now - 86_400_000)).await?;
        self.write(sql("DELETE FROM events WHERE date < $1").bind(events_before)).await?;
        self.forget_spent_challenges(now).await
    }
}

fn read<T: FromRow>(rows: Vec<Row>) -> Result<Vec<T>> {
    rows.into_iter().map(|mut row| T::from_row(&mut row)).collect()
}

fn read_one<T: FromRow>(rows: Vec<Row>) -> Result<Option<T>> {
    rows.into_iter().next().map(|mut row| T::from_row(&mut row)).transpose()
}

fn sqlite_path(url: &str) -> &str {
    let path = url.trim_start_matches("sqlite:");
    path.strip_prefix("//").unwrap_or(path)
}
