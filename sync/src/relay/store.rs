//! Where a relay keeps things: SQLite or PostgreSQL, one SQL text for both.
//!
//! Every table begins with the circle, so that a distributed database can divide them by it. Whoever puts into a
//! circle first takes its row of `circles`: that orders the puts of a circle and of no other.

use std::collections::BTreeMap;
use std::fmt;
use std::format;
use std::string::{String, ToString as _};
use std::sync::Arc;
use std::time::Duration;
use std::vec::Vec;

use sqlx::any::AnyPoolOptions;
use sqlx::{AnyConnection, AnyPool, Connection as _, Executor as _};

use super::ITEM_HEADER;
use super::group::Writer;
use super::watch::Standing;
use crate::id::{CircleId, Name};

/// Why a relay did not do what was asked.
#[derive(Debug)]
#[non_exhaustive]
pub enum RelayError {
    /// There is no token, or it is none of this circle's.
    Unauthorized,
    /// The token was one of this circle's, and a member ended it.
    Ended,
    /// An invitation's token does not do for this.
    Guest,
    /// The relay opens no more circles.
    NoMoreCircles,
    /// There is no such thing.
    NotFound,
    /// The bytes do not have the name they came with.
    NotItsName,
    /// A request that no client of ours makes.
    Malformed,
    /// The circle has used up its quota.
    Full,
    /// This relay keeps no escrows.
    NotOffered,
    /// The last guess was used up: what was in escrow is destroyed.
    Destroyed,
    /// The next guess may come after so many milliseconds.
    TooSoon(u64),
    /// The URL names no database this program can use: the operator's fault.
    Url(String),
    /// The database failed, or is not there. Puts that were committed together share it.
    Database(Arc<sqlx::Error>),
}

impl fmt::Display for RelayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unauthorized => f.write_str("the token is none of this circle's"),
            Self::Ended => f.write_str("a member of the circle has ended this token"),
            Self::Guest => f.write_str("an invitation's token does not do for this"),
            Self::NoMoreCircles => f.write_str("this relay opens no more circles"),
            Self::NotFound => f.write_str("there is no such thing"),
            Self::NotItsName => f.write_str("the bytes do not have this name"),
            Self::Malformed => f.write_str("malformed"),
            Self::Full => f.write_str("the circle has used up its quota"),
            Self::NotOffered => f.write_str("this relay keeps no escrows"),
            Self::Destroyed => f.write_str("too many wrong guesses: what was in escrow is destroyed"),
            Self::TooSoon(wait_ms) => write!(f, "the next guess is in {} s", wait_ms.div_ceil(1000)),
            Self::Url(url) => write!(f, "{url} is not a database: memory, sqlite:PATH or postgres://…"),
            // What a database says may name hosts and tables: that is for the operator's log.
            Self::Database(_) => f.write_str("the database is not there"),
        }
    }
}

impl std::error::Error for RelayError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // The database's own words, without what was around them.
            Self::Database(error) => match &**error {
                sqlx::Error::Database(words) => Some(words.as_error()),
                other => Some(other),
            },
            _ => None,
        }
    }
}

impl RelayError {
    /// What the operator does next. The words that it looks for are SQLite's, PostgreSQL's and the kernel's.
    pub fn hint(&self) -> &'static str {
        let words = std::error::Error::source(self).map_or_else(|| self.to_string(), |why| why.to_string());
        if words.contains("is full") || words.contains("No space left") {
            "make room on the database's disk; every entry that was taken is kept, and it goes on by itself"
        } else if words.contains("readonly") || words.contains("read-only") {
            "let this user write the database's file and its directory; every entry that was taken is kept"
        } else if words.contains("unable to open database file") {
            "name a file in a directory that this user may write with --db sqlite:PATH"
        } else {
            "look at the database, its disk and its log; every entry that was taken is kept"
        }
    }
}

impl From<sqlx::Error> for RelayError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(Arc::new(error))
    }
}

/// The database: a pool of connections and who writes entries, cheap to clone.
#[derive(Clone, Debug)]
pub struct Database {
    pub(super) pool: AnyPool,
    pub(super) writer: Writer,
}

/// Connections that were idle for longer are asked whether they are there still, before they are used.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

const PRAGMAS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 10000; \
                       PRAGMA secure_delete = ON;";

/// What there is not yet is made when a database is opened: one of an earlier program gets what is new.
const SCHEMA: [&str; 7] = [
    "CREATE TABLE IF NOT EXISTS circles (circle TEXT PRIMARY KEY, head BIGINT NOT NULL, size BIGINT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS tokens (circle TEXT NOT NULL, label TEXT NOT NULL, token TEXT NOT NULL, \
     PRIMARY KEY (circle, label))",
    "CREATE TABLE IF NOT EXISTS entries (circle TEXT NOT NULL, name TEXT NOT NULL, number BIGINT NOT NULL, \
     content BYTES NOT NULL, PRIMARY KEY (circle, name))",
    // Devices ask for what is beyond a number. Without it each of them reads its whole circle, to be told that there is no news.
    "CREATE INDEX IF NOT EXISTS entries_in_order ON entries (circle, number)",
    super::tokens::ENDED_TABLE,
    super::tokens::GUESTS_TABLE,
    super::escrow::TABLE,
];

/// How long the next entries of a circle are, and then these entries.
pub(super) const LENGTHS: &str = "SELECT number, CAST(length(content) AS BIGINT) FROM entries \
                                  WHERE circle = $1 AND number > $2 AND number <= $3 ORDER BY number LIMIT 256";
pub(super) const CONTENTS: &str = "SELECT name, content FROM entries \
                                   WHERE circle = $1 AND number > $2 AND number <= $3 ORDER BY number";

impl Database {
    /// Opens `memory`, `sqlite:PATH` or `postgres://…`, makes what it lacks of the schema and starts a task that writes entries.
    pub async fn open(url: &str) -> Result<Self, RelayError> {
        sqlx::any::install_default_drivers();
        let (url, connections) = match url {
            // Each connection to `:memory:` is a database of its own. SQLite has one writer in any case.
            "memory" => ("sqlite::memory:".to_string(), 1),
            _ if url.starts_with("sqlite:") && url.len() > 7 => {
                let path = url.trim_start_matches("sqlite:").trim_start_matches("//");
                (format!("sqlite://{path}?mode=rwc"), 1)
            }
            _ if url.starts_with("postgres://") || url.starts_with("postgresql://") => (url.to_string(), 10),
            _ => return Err(RelayError::Url(url.to_string())),
        };
        let sqlite = url.starts_with("sqlite:");
        let is_file = sqlite && url != "sqlite::memory:";
        if sqlite {
            // A pool tries again for as long as it waits for a connection. What a file refuses once it refuses again.
            AnyConnection::connect(&url).await?.execute(PRAGMAS).await?;
        }
        let pool = AnyPoolOptions::new()
            .max_connections(connections)
            .min_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .acquire_timeout(Duration::from_secs(10))
            .test_before_acquire(false)
            .before_acquire(move |connection, about| {
                std::boxed::Box::pin(async move {
                    // When a disk refuses, SQLite rolls back by itself. sqlx's own attempt then fails, and its connection
                    // believes for ever that a transaction is under way: it is closed. The ping waits for that attempt.
                    let is_stuck = is_file && connection.is_in_transaction();
                    if is_stuck || about.idle_for > TRUSTED_FOR {
                        connection.ping().await?;
                    }
                    Ok(!is_stuck || !connection.is_in_transaction())
                })
            })
            .after_connect(move |connection, _| {
                std::boxed::Box::pin(async move {
                    if sqlite {
                        connection.execute(PRAGMAS).await?;
                    }
                    Ok(())
                })
            })
            .connect(&url)
            .await?;
        for statement in SCHEMA {
            let statement = statement.replace("BYTES", if sqlite { "BLOB" } else { "BYTEA" });
            let made = sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&pool).await;
            // Two relays that start at once race for the catalogue in PostgreSQL: one of them has made it.
            if let Err(error) = made
                && !matches!(&error, sqlx::Error::Database(inner) if inner.is_unique_violation())
            {
                return Err(error.into());
            }
        }
        let writer = Writer::start(pool.clone(), sqlite);
        super::tokens::end_guests_in_time(pool.clone(), writer.is_in_use());
        Ok(Database { pool, writer })
    }

    pub(super) async fn is_there(&self) -> Result<(), RelayError> {
        sqlx::query("SELECT 1").execute(&self.pool).await?;
        Ok(())
    }

    /// Opens a circle with its first token, both or neither. `false` if it is open and the token is one of its.
    pub(super) async fn open_circle(
        &self,
        circle: CircleId,
        token: &str,
        circles_max: u64,
    ) -> Result<bool, RelayError> {
        let mut transaction = self.pool.begin().await?;
        let made = sqlx::query(
            "INSERT INTO circles (circle, head, size) SELECT $1, 0, 0 \
             WHERE (SELECT COUNT(*) FROM circles) < $2 ON CONFLICT (circle) DO NOTHING",
        )
        .bind(circle.to_string())
        .bind(i64::try_from(circles_max).unwrap_or(i64::MAX))
        .execute(&mut *transaction)
        .await?;
        if made.rows_affected() == 1 {
            // A circle without a token would be nobody's for ever.
            sqlx::query("INSERT INTO tokens (circle, label, token) VALUES ($1, 'founder', $2)")
                .bind(circle.to_string())
                .bind(token)
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
            return Ok(true);
        }
        transaction.rollback().await?;
        if self.knows(circle, token).await? {
            return Ok(false);
        }
        let found: Option<(i64,)> = sqlx::query_as("SELECT CAST(1 AS BIGINT) FROM circles WHERE circle = $1")
            .bind(circle.to_string())
            .fetch_optional(&self.pool)
            .await?;
        Err(if found.is_some() { RelayError::Unauthorized } else { RelayError::NoMoreCircles })
    }

    pub(super) async fn head(&self, circle: CircleId) -> Result<u64, RelayError> {
        let head: Option<(i64,)> = sqlx::query_as("SELECT head FROM circles WHERE circle = $1")
            .bind(circle.to_string())
            .fetch_optional(&self.pool)
            .await?;
        Ok(head.map_or(0, |(head,)| head.unsigned_abs()))
    }

    /// How these circles stand.
    pub(super) async fn standings(
        &self,
        circles: &[CircleId],
    ) -> Result<Vec<(CircleId, Standing)>, RelayError> {
        let places: Vec<String> = (1..=circles.len()).map(|place| format!("${place}")).collect();
        let sql = format!(
            "SELECT circles.circle, head, token FROM circles JOIN tokens ON tokens.circle = circles.circle \
             WHERE circles.circle IN ({})",
            places.join(", ")
        );
        let mut query = sqlx::query_as(sqlx::AssertSqlSafe(sql));
        for circle in circles {
            query = query.bind(circle.to_string());
        }
        let rows: Vec<(String, i64, String)> = query.fetch_all(&self.pool).await?;
        let mut standings: BTreeMap<CircleId, Standing> =
            circles.iter().map(|circle| (*circle, Standing::default())).collect();
        for (circle, head, token) in rows {
            if let Some(standing) = CircleId::parse(&circle).and_then(|circle| standings.get_mut(&circle)) {
                standing.head = head.unsigned_abs();
                standing.tokens.insert(token);
            }
        }
        Ok(standings.into_iter().collect())
    }

    /// Entries beyond a number, in order, of so many bytes in a page at most, or one that is longer; and how many there are in
    /// all.
    pub(super) async fn list(
        &self,
        circle: CircleId,
        since: u64,
        (most, names_max): (usize, usize),
    ) -> Result<(Vec<(Name, Vec<u8>)>, u64), RelayError> {
        let head = self.head(circle).await?;
        let mut items: Vec<(Name, Vec<u8>)> = Vec::new();
        let (mut room, mut since) = (most, i64::try_from(since).unwrap_or(i64::MAX));
        loop {
            // The lengths first: what does not go into the page is not read.
            let lengths: Vec<(i64, i64)> = sqlx::query_as(LENGTHS)
                .bind(circle.to_string())
                .bind(since)
                .bind(i64::try_from(head).unwrap_or(i64::MAX))
                .fetch_all(&self.pool)
                .await?;
            let mut fit = 0;
            for (_, length) in &lengths {
                let size = ITEM_HEADER + usize::try_from(*length).unwrap_or(usize::MAX);
                if size > room && !(items.is_empty() && fit == 0) {
                    break;
                }
                (fit, room) = (fit + 1, room.saturating_sub(size));
            }
            let Some((last, _)) = lengths[..fit].last() else { return Ok((items, head)) };
            let rows: Vec<(String, Vec<u8>)> = sqlx::query_as(CONTENTS)
                .bind(circle.to_string())
                .bind(since)
                .bind(*last)
                .fetch_all(&self.pool)
                .await?;
            since = *last;
            items.extend(rows.into_iter().filter_map(|(name, content)| Some((Name::parse(&name)?, content))));
            if fit < 256 || items.len() + 256 > names_max {
                return Ok((items, head));
            }
        }
    }

    pub(super) async fn get(&self, circle: CircleId, name: Name) -> Result<Option<Vec<u8>>, RelayError> {
        let row: Option<(Vec<u8>,)> =
            sqlx::query_as("SELECT content FROM entries WHERE circle = $1 AND name = $2")
                .bind(circle.to_string())
                .bind(name.to_string())
                .fetch_optional(&self.pool)
                .await?;
        Ok(row.map(|(content,)| content))
    }
}
