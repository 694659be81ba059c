//! Group commit: what waits while one transaction becomes durable goes into the next one together.
//!
//! One task of a relay writes entries. It takes whatever puts are waiting, up to [`GROUP_MAX`], and keeps them in one
//! transaction; each is answered after the commit. So a relay keeps more entries a second than its database commits.
//! Nobody waits for a group to fill: a put that comes alone is a group of one.
//!
//! Each put is judged by itself, in the order in which they came: its name may be taken, its circle's quota used up. If
//! the transaction as a whole fails, each put is tried in one of its own, so that nobody's fault is another's failure.

use std::collections::{BTreeMap, BTreeSet};
use std::format;
use std::string::{String, ToString as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::vec::Vec;

use axum::body::Bytes;
use sqlx::{Any, AnyPool, AssertSqlSafe, Transaction};
use tokio::sync::{mpsc, oneshot};

use super::Quota;
use super::store::RelayError;
use crate::id::{CircleId, Name};

/// The most puts of one transaction, and the most that wait for the next.
const GROUP_MAX: usize = 64;

/// What became of one put.
type Answer = Result<bool, RelayError>;

/// Whom to give entries to.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    queue: mpsc::Sender<Put>,
    commits: Arc<AtomicU64>,
}

/// An entry on its way.
struct Put {
    entry: Entry,
    answer: oneshot::Sender<Answer>,
}

struct Entry {
    circle: CircleId,
    name: Name,
    bytes: Bytes,
    quota: Quota,
}

impl Writer {
    /// Starts the task; it ends when the last `Writer` is dropped.
    pub(super) fn start(pool: AnyPool, sqlite: bool) -> Self {
        let (queue, waiting) = mpsc::channel(GROUP_MAX);
        let commits = Arc::new(AtomicU64::new(0));
        let database = Transactions { pool, sqlite, commits: commits.clone() };
        tokio::spawn(write(database, waiting));
        Writer { queue, commits }
    }

    /// Keeps an entry, durably, unless its name is taken; whether it is new.
    pub(super) async fn put(&self, circle: CircleId, name: Name, bytes: Bytes, quota: Quota) -> Answer {
        let (answer, answered) = oneshot::channel();
        let entry = Entry { circle, name, bytes, quota };
        let ended = || RelayError::from(sqlx::Error::WorkerCrashed);
        self.queue.send(Put { entry, answer }).await.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }

    /// How many transactions there were.
    pub(super) fn commits(&self) -> &AtomicU64 {
        &self.commits
    }
}

async fn write(database: Transactions, mut waiting: mpsc::Receiver<Put>) {
    let mut group = Vec::new();
    while waiting.recv_many(&mut group, GROUP_MAX).await > 0 {
        let (entries, callers): (Vec<Entry>, Vec<_>) =
            group.drain(..).map(|put| (put.entry, put.answer)).unzip();
        let answers = match database.keep(&entries).await {
            Ok(answers) => answers,
            // The database is there and objects, to one of them perhaps.
            Err(sqlx::Error::Database(_)) if entries.len() > 1 => database.keep_one_by_one(&entries).await,
            Err(error) => {
                let error = Arc::new(error);
                entries.iter().map(|_| Err(RelayError::Database(error.clone()))).collect()
            }
        };
        for (caller, answer) in callers.into_iter().zip(answers) {
            // Whoever has gone away meanwhile asks again, and finds it kept.
            let _ = caller.send(answer);
        }
    }
}

struct Transactions {
    pool: AnyPool,
    sqlite: bool,
    commits: Arc<AtomicU64>,
}

/// How far a circle is.
#[derive(Clone, Copy)]
struct Standing {
    head: i64,
    size: i64,
}

impl Transactions {
    async fn keep_one_by_one(&self, entries: &[Entry]) -> Vec<Answer> {
        let mut answers = Vec::new();
        for entry in entries {
            let kept = self.keep(std::slice::from_ref(entry)).await;
            answers.push(kept.map_or_else(
                |error| Err(error.into()),
                |mut one| one.pop().expect("one answer for one entry"),
            ));
        }
        answers
    }

    /// Keeps these in one transaction: one answer for each.
    async fn keep(&self, entries: &[Entry]) -> Result<Vec<Answer>, sqlx::Error> {
        // A transaction of SQLite's that begins with reading cannot go on to write once another process has written.
        let mut transaction =
            self.pool.begin_with(if self.sqlite { "BEGIN IMMEDIATE" } else { "BEGIN" }).await?;
        let mut circles = self.take(&mut transaction, entries).await?;
        let mut taken = taken(&mut transaction, entries).await?;
        let mut new = Vec::new();
        let mut answers = Vec::new();
        for entry in entries {
            let key = (entry.circle, entry.name);
            if taken.contains(&key) {
                answers.push(Ok(false));
            } else if let Some(number) = circles.get_mut(&entry.circle).and_then(|circle| circle.add(entry)) {
                taken.insert(key);
                new.push((number, entry));
                answers.push(Ok(true));
            } else {
                answers.push(Err(RelayError::Full));
            }
        }
        if new.is_empty() {
            transaction.rollback().await?;
            return Ok(answers);
        }
        insert(&mut transaction, &new).await?;
        circles.retain(|circle, _| new.iter().any(|(_, entry)| entry.circle == *circle));
        raise(&mut transaction, &circles).await?;
        transaction.commit().await?;
        self.commits.fetch_add(1, Ordering::Relaxed);
        Ok(answers)
    }

    /// Takes the rows of these entries' circles, so that numbers have no holes and come in order. Every relay takes them
    /// in one order: none waits for one that waits for it.
    async fn take(
        &self,
        transaction: &mut Transaction<'_, Any>,
        entries: &[Entry],
    ) -> Result<BTreeMap<CircleId, Standing>, sqlx::Error> {
        let circles: BTreeSet<String> = entries.iter().map(|entry| entry.circle.to_string()).collect();
        let sql = format!(
            "SELECT circle, head, size FROM circles WHERE circle IN ({}) ORDER BY circle{}",
            places(circles.len(), 1, "", ""),
            if self.sqlite { "" } else { " FOR UPDATE" }
        );
        let mut query = sqlx::query_as(AssertSqlSafe(sql));
        for circle in circles {
            query = query.bind(circle);
        }
        let rows: Vec<(String, i64, i64)> = query.fetch_all(&mut **transaction).await?;
        let standing = |(circle, head, size): (String, i64, i64)| {
            Some((CircleId::parse(&circle)?, Standing { head, size }))
        };
        Ok(rows.into_iter().filter_map(standing).collect())
    }
}

impl Standing {
    /// The number of one more entry; `None` if the quota has no room for it.
    fn add(&mut self, entry: &Entry) -> Option<i64> {
        let most = |quota: u64| i64::try_from(quota).unwrap_or(i64::MAX);
        let size = self.size + entry.bytes.len() as i64;
        if self.head >= most(entry.quota.entries) || size > most(entry.quota.bytes) {
            return None;
        }
        (self.head, self.size) = (self.head + 1, size);
        Some(self.head)
    }
}

/// Which of these names are there already.
async fn taken(
    transaction: &mut Transaction<'_, Any>,
    entries: &[Entry],
) -> Result<BTreeSet<(CircleId, Name)>, sqlx::Error> {
    let sql = format!(
        "SELECT circle, name FROM entries WHERE (circle, name) IN (VALUES {})",
        places(entries.len(), 2, "(", ")")
    );
    let mut query = sqlx::query_as(AssertSqlSafe(sql));
    for entry in entries {
        query = query.bind(entry.circle.to_string()).bind(entry.name.to_string());
    }
    let rows: Vec<(String, String)> = query.fetch_all(&mut **transaction).await?;
    Ok(rows.iter().filter_map(|(circle, name)| CircleId::parse(circle).zip(Name::parse(name))).collect())
}

async fn insert(transaction: &mut Transaction<'_, Any>, new: &[(i64, &Entry)]) -> Result<(), sqlx::Error> {
    let sql = format!(
        "INSERT INTO entries (circle, name, number, content) VALUES {}",
        places(new.len(), 4, "(", ")")
    );
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for (number, entry) in new {
        query = query.bind(entry.circle.to_string()).bind(entry.name.to_string());
        query = query.bind(*number).bind(entry.bytes.to_vec());
    }
    query.execute(&mut **transaction).await.map(drop)
}

/// Writes down how far the circles are.
async fn raise(
    transaction: &mut Transaction<'_, Any>,
    circles: &BTreeMap<CircleId, Standing>,
) -> Result<(), sqlx::Error> {
    // Every circle has its row: this never makes one.
    let sql = format!(
        "INSERT INTO circles (circle, head, size) VALUES {} \
         ON CONFLICT (circle) DO UPDATE SET head = excluded.head, size = excluded.size",
        places(circles.len(), 3, "(", ")")
    );
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for (circle, standing) in circles {
        query = query.bind(circle.to_string()).bind(standing.head).bind(standing.size);
    }
    query.execute(&mut **transaction).await.map(drop)
}

/// `($1, $2), ($3, $4)` for two rows of two.
fn places(rows: usize, of: usize, open: &str, close: &str) -> String {
    let row = |row: usize| {
        let places: Vec<String> = (1..=of).map(|place| format!("${}", row * of + place)).collect();
        format!("{open}{}{close}", places.join(", "))
    };
    (0..rows).map(row).collect::<Vec<_>>().join(", ")
}
