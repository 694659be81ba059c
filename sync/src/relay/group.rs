//! Group commit: what waits while one transaction becomes durable goes into the next one together.
//!
//! A task of a relay writes entries: one on SQLite, which has one writer in any case, [`WRITERS`] on PostgreSQL. It takes
//! whatever puts are waiting, up to [`GROUP_MAX`], and keeps them in one transaction; each is answered after the commit.
//! So a relay keeps more entries a second than its database commits. Nobody waits for a group to fill: a put that comes
//! alone is a group of one.
//!
//! Each put is judged by itself, in the order in which they came: its token may be none of the circle's, its name taken,
//! the circle's quota used up. If the transaction as a whole fails, each put is tried in one of its own, so that nobody's
//! fault is another's failure.
//!
//! A database keeps what it has thought about a statement by the statement's text. So lists have lengths that are powers
//! of two: the last one is said again, which changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::format;
use std::string::{String, ToString as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::vec::Vec;

use axum::body::Bytes;
use sqlx::{Any, AnyPool, AssertSqlSafe, Transaction};
use tokio::sync::{Mutex, mpsc, oneshot};

use super::Quota;
use super::store::RelayError;
use crate::id::{CircleId, Name};

/// The most puts of one transaction, and the most that wait for the next.
const GROUP_MAX: usize = 64;

/// How many groups are on their way to a PostgreSQL at once: one is written while the other one waits for the disk.
const WRITERS: usize = 2;

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

/// An entry, and on whose word it is to be kept.
pub(super) struct Entry {
    pub(super) circle: CircleId,
    /// The hash of the bearer token.
    pub(super) token: String,
    pub(super) name: Name,
    pub(super) bytes: Bytes,
    pub(super) quota: Quota,
}

impl Writer {
    /// Starts the tasks; they end when the last `Writer` is dropped.
    pub(super) fn start(pool: AnyPool, sqlite: bool) -> Self {
        let (queue, waiting) = mpsc::channel(GROUP_MAX);
        let commits = Arc::new(AtomicU64::new(0));
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..if sqlite { 1 } else { WRITERS } {
            let database = Transactions { pool: pool.clone(), sqlite, commits: commits.clone() };
            tokio::spawn(write(database, waiting.clone()));
        }
        Writer { queue, commits }
    }

    /// Alive as long as there is a `Writer`.
    pub(super) fn is_in_use(&self) -> Weak<AtomicU64> {
        Arc::downgrade(&self.commits)
    }

    /// Keeps an entry, durably, unless its name is taken; whether it is new.
    pub(super) async fn put(&self, entry: Entry) -> Answer {
        let (answer, answered) = oneshot::channel();
        let ended = || RelayError::from(sqlx::Error::WorkerCrashed);
        self.queue.send(Put { entry, answer }).await.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }

    /// How many transactions there were.
    pub(super) fn commits(&self) -> &AtomicU64 {
        &self.commits
    }
}

async fn write(database: Transactions, waiting: Arc<Mutex<mpsc::Receiver<Put>>>) {
    let mut group = Vec::new();
    loop {
        // Whoever holds the lock waits for puts; the others write, or wait for the lock.
        if waiting.lock().await.recv_many(&mut group, GROUP_MAX).await == 0 {
            return;
        }
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

/// How far a circle is, and which of the tokens that were asked for are its own.
struct Circle {
    head: i64,
    size: i64,
    tokens: BTreeSet<String>,
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
            if !circles.get(&entry.circle).is_some_and(|circle| circle.tokens.contains(&entry.token)) {
                answers.push(Err(RelayError::Unauthorized));
            } else if taken.contains(&key) {
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
    /// in one order: none waits for one that waits for it. Of whoever has no token of a circle nothing is taken.
    async fn take(
        &self,
        transaction: &mut Transaction<'_, Any>,
        entries: &[Entry],
    ) -> Result<BTreeMap<CircleId, Circle>, sqlx::Error> {
        let sql = format!(
            "SELECT circles.circle, head, size, token FROM circles JOIN tokens ON tokens.circle = circles.circle \
             WHERE (circles.circle, token) IN (VALUES {}) ORDER BY circles.circle{}",
            rows(entries.len(), 2),
            if self.sqlite { "" } else { " FOR UPDATE OF circles" }
        );
        let mut query = sqlx::query_as(AssertSqlSafe(sql));
        for entry in padded(entries) {
            query = query.bind(entry.circle.to_string()).bind(entry.token.as_str());
        }
        let found: Vec<(String, i64, i64, String)> = query.fetch_all(&mut **transaction).await?;
        let mut circles: BTreeMap<CircleId, Circle> = BTreeMap::new();
        for (circle, head, size, token) in found {
            let Some(circle) = CircleId::parse(&circle) else { continue };
            let circle = circles.entry(circle).or_insert(Circle { head, size, tokens: BTreeSet::new() });
            circle.tokens.insert(token);
        }
        Ok(circles)
    }
}

impl Circle {
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
    let rows = rows(entries.len(), 2);
    let sql = format!("SELECT circle, name FROM entries WHERE (circle, name) IN (VALUES {rows})");
    let mut query = sqlx::query_as(AssertSqlSafe(sql));
    for entry in padded(entries) {
        query = query.bind(entry.circle.to_string()).bind(entry.name.to_string());
    }
    let found: Vec<(String, String)> = query.fetch_all(&mut **transaction).await?;
    Ok(found.iter().filter_map(|(circle, name)| CircleId::parse(circle).zip(Name::parse(name))).collect())
}

async fn insert(transaction: &mut Transaction<'_, Any>, new: &[(i64, &Entry)]) -> Result<(), sqlx::Error> {
    let sql = format!(
        "INSERT INTO entries (circle, name, number, content) VALUES {} ON CONFLICT (circle, name) DO NOTHING",
        rows(new.len(), 4)
    );
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for (index, (number, entry)) in padded(new).enumerate() {
        // What is said again finds its name taken, whatever its bytes.
        let bytes = if index < new.len() { entry.bytes.to_vec() } else { Vec::new() };
        query = query.bind(entry.circle.to_string()).bind(entry.name.to_string()).bind(*number).bind(bytes);
    }
    query.execute(&mut **transaction).await.map(drop)
}

/// Writes down how far the circles are.
async fn raise(
    transaction: &mut Transaction<'_, Any>,
    circles: &BTreeMap<CircleId, Circle>,
) -> Result<(), sqlx::Error> {
    // Both databases call the columns of a list so.
    let sql = format!(
        "UPDATE circles SET head = raised.column2, size = raised.column3 FROM (VALUES {}) AS raised \
         WHERE circles.circle = raised.column1",
        rows(circles.len(), 3)
    );
    let circles: Vec<_> = circles.iter().collect();
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for (circle, standing) in padded(&circles) {
        query = query.bind(circle.to_string()).bind(standing.head).bind(standing.size);
    }
    query.execute(&mut **transaction).await.map(drop)
}

/// All of them, and the last one again until their number is a power of two.
fn padded<T>(all: &[T]) -> impl Iterator<Item = &T> {
    let missing = all.len().next_power_of_two() - all.len();
    all.iter().chain(all.last().into_iter().cycle().take(missing))
}

/// `($1, $2), ($3, $4)` for two rows of two; as many as [`padded`] gives.
fn rows(count: usize, of: usize) -> String {
    let row = |row: usize| {
        let places: Vec<String> = (1..=of).map(|place| format!("${}", row * of + place)).collect();
        format!("({})", places.join(", "))
    };
    (0..count.next_power_of_two()).map(row).collect::<Vec<_>>().join(", ")
}
