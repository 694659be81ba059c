//! SQLite: one task at a time writes for all who wait; reads happen where they are asked for.
//!
//! A commit writes a page for each place that was touched, most of which sign-ins share, so everything that waits is
//! committed at once. Nobody is answered before the commit. Of what belongs together all or nothing happens, whatever the
//! others do.
//!
//! There is no thread for it: handing a batch to one, and waking up for its answer, costs more than the commit.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, Connection, ErrorCode, ToSql, ffi, types};
use tokio::sync::oneshot;

use super::sql::{Row, Statement, Value, Written};
use super::{Result, StoreError, migrations};
use crate::lock::lock;

/// A database file, or memory.
#[derive(Clone, Debug)]
pub(super) struct Sqlite(Arc<Connections>);

#[derive(Debug)]
struct Connections {
    writer: Mutex<Connection>,
    waiting: Mutex<Waiting>,
    /// None for a database in memory, which belongs to the one connection that writes.
    readers: Vec<Mutex<Connection>>,
}

/// What waits for the next commit.
#[derive(Debug, Default)]
struct Waiting {
    jobs: Vec<Job>,
    /// A task commits what waits, until nothing does.
    is_seen_to: bool,
}

/// Statements that belong together, and who wants to know.
#[derive(Debug)]
struct Job {
    batch: Vec<Statement>,
    reply: oneshot::Sender<Result<Option<Vec<Written>>>>,
}

impl Sqlite {
    /// Opens a file, creating it and bringing its tables up to date; or memory, for `None`.
    ///
    /// Another program that opens or leaves the same file in this moment may have it locked in ways for which SQLite does
    /// not wait: then this waits a little itself, as long as it would.
    pub(super) fn open(path: Option<&Path>) -> Result<Self> {
        for _ in 0..LOCKED_TRIES {
            match Self::open_now(path) {
                Err(error) if is_locked(&error) => std::thread::sleep(LOCKED_PAUSE),
                opened => return opened,
            }
        }
        Self::open_now(path)
    }

    fn open_now(path: Option<&Path>) -> Result<Self> {
        let mut writer = match path {
            Some(path) => Connection::open(path)?,
            None => Connection::open_in_memory()?,
        };
        prepare(&writer)?;
        migrations::run_on_sqlite(&mut writer)?;
        let mut readers = Vec::new();
        if let Some(path) = path {
            for _ in 0..READERS {
                let reader = Connection::open(path)?;
                prepare(&reader)?;
                reader.execute_batch(READS_ONLY)?;
                readers.push(Mutex::new(reader));
            }
        }
        Ok(Self(Arc::new(Connections { writer: Mutex::new(writer), waiting: Mutex::default(), readers })))
    }

    /// The rows of a query.
    ///
    /// A few microseconds of the calling thread, for the pages that matter are in memory; handing a query to another
    /// thread and waiting for it costs more.
    pub(super) fn rows(&self, query: &Statement) -> Result<Vec<Row>> {
        self.read(|connection| Ok(execute(connection, query)?.rows))
    }

    /// The rows of several queries, read at one moment: beginning and ending that costs as much as a query.
    pub(super) fn rows_of<const N: usize>(&self, queries: &[Statement; N]) -> Result<[Vec<Row>; N]> {
        self.read(|connection| {
            connection.prepare_cached("BEGIN")?.execute([])?;
            let mut all = [const { Vec::new() }; N];
            let read = all.iter_mut().zip(queries).try_for_each(|(rows, query)| {
                *rows = execute(connection, query)?.rows;
                Ok(())
            });
            connection.prepare_cached("COMMIT")?.execute([])?;
            read.map(|()| all)
        })
    }

    /// Reads with a connection that nobody uses, if there is one: best the one that writes, for what others have written
    /// makes a reader read it from the file again. A database in memory has no other.
    fn read<T>(&self, work: impl FnOnce(&Connection) -> T) -> T {
        let Connections { writer, readers, .. } = &*self.0;
        let idle = writer.try_lock().ok();
        let Some(writer) = idle.or_else(|| readers.is_empty().then(|| lock(writer))) else {
            let idle = readers.iter().find_map(|reader| reader.try_lock().ok());
            return work(&idle.unwrap_or_else(|| lock(&readers[0])));
        };
        work(&writer)
    }

    /// Writes every page anew, and the log into the file: false if somebody reads what was there before, and keeps it there.
    pub(super) fn write_anew(&self) -> Result<bool> {
        let writer = lock(&self.0.writer);
        writer.execute_batch("VACUUM")?;
        let is_busy: i64 = writer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        Ok(is_busy == 0)
    }

    /// Does all statements or none: `None` if one of them is a condition that was not met.
    pub(super) async fn write(&self, batch: Vec<Statement>) -> Result<Option<Vec<Written>>> {
        let (reply, answer) = oneshot::channel();
        let is_seen_to = {
            let mut waiting = lock(&self.0.waiting);
            waiting.jobs.push(Job { batch, reply });
            std::mem::replace(&mut waiting.is_seen_to, true)
        };
        if !is_seen_to {
            // A task of its own: whoever is first may be given up, and the others' changes are not to end with it.
            tokio::spawn(write_what_waits(Arc::clone(&self.0)));
        }
        answer.await.map_err(|_| StoreError::Database("whoever wrote for all has failed".into()))?
    }
}

/// Commits what waits until nothing does.
async fn write_what_waits(connections: Arc<Connections>) {
    let mut is_crowded = false;
    loop {
        if is_crowded {
            tokio::time::sleep(PAUSE).await;
        } else {
            // Whatever else is ready now comes to it meanwhile.
            tokio::task::yield_now().await;
        }
        let group = {
            let mut waiting = lock(&connections.waiting);
            waiting.is_seen_to = !waiting.jobs.is_empty();
            std::mem::take(&mut waiting.jobs)
        };
        if group.is_empty() {
            return;
        }
        is_crowded = group.len() > 1;
        let writer = lock(&connections.writer);
        if catch_unwind(AssertUnwindSafe(|| write_and_answer(&writer, group))).is_err() {
            // Whoever waited has been told so; others can write.
            let _ = writer.execute_batch("ROLLBACK");
        }
    }
}

/// For how long changes wait for others, where there are others: of a sign-in it is nothing that a user would see, and in it
/// come as many more as share a commit's cost. Who is alone does not wait.
const PAUSE: Duration = Duration::from_millis(2);

/// How often a file that is locked is opened anew, and how long after: five seconds in all, as a statement waits.
const LOCKED_TRIES: u32 = 100;
const LOCKED_PAUSE: Duration = Duration::from_millis(50);

fn is_locked(error: &StoreError) -> bool {
    let StoreError::Database(error) = error else { return false };
    let error = error.downcast_ref::<rusqlite::Error>().and_then(rusqlite::Error::sqlite_error_code);
    error == Some(ErrorCode::DatabaseBusy)
}

/// WAL and `NORMAL`: a commit survives the program's death. A power cut may lose the last commits, never the database,
/// and no commit with something in it that [must last](Statement::must_last): the log is synced then.
///
/// A page that is written a hundred times between two checkpoints is copied into the file once: hence few of them.
fn prepare(connection: &Connection) -> Result<()> {
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON; PRAGMA cache_size = -16000; \
         PRAGMA wal_autocheckpoint = 8000; PRAGMA mmap_size = 268435456;",
    )?;
    connection.set_prepared_statement_cache_capacity(128);
    Ok(())
}

fn write_and_answer(connection: &Connection, group: Vec<Job>) {
    // Whoever is gone has given up waiting: nobody is left to be told.
    match write_group(connection, &group) {
        Ok(answers) => {
            for (job, answer) in group.into_iter().zip(answers) {
                let _ = job.reply.send(answer);
            }
        }
        Err(error) => {
            let _ = connection.execute_batch("ROLLBACK");
            for job in group {
                let _ = job.reply.send(Err(error.told_once_more()));
            }
        }
    }
}

/// What became of each batch of a group.
type Answers = Vec<Result<Option<Vec<Written>>>>;

/// One transaction for all. An error is the transaction's: nothing has happened.
fn write_group(connection: &Connection, group: &[Job]) -> Result<Answers> {
    let lasts = group.iter().flat_map(|job| &job.batch).any(Statement::must_last);
    if lasts {
        // In front of the transaction: within one, SQLite does not listen to it.
        connection.execute_batch("PRAGMA synchronous = FULL")?;
    }
    let answers = match write_all_of(connection, group)? {
        Some(answers) => answers,
        None => write_some_of(connection, group)?,
    };
    connection.prepare_cached("COMMIT")?.execute([])?;
    if lasts {
        connection.execute_batch("PRAGMA synchronous = NORMAL")?;
    }
    Ok(answers)
}

/// Does all batches of a group, as nearly always can be done; `None` if one cannot: nothing has happened then. A savepoint
/// for each keeps a copy of every page that is changed, for nothing.
fn write_all_of(connection: &Connection, group: &[Job]) -> Result<Option<Answers>> {
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    let mut answers = Vec::with_capacity(group.len());
    for job in group {
        let Ok(Some(written)) = execute_all(connection, &job.batch) else {
            if !connection.is_autocommit() {
                connection.prepare_cached("ROLLBACK")?.execute([])?;
            }
            return Ok(None);
        };
        answers.push(Ok(Some(written)));
    }
    Ok(Some(answers))
}

/// Does those batches of a group that can be done.
fn write_some_of(connection: &Connection, group: &[Job]) -> Result<Answers> {
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    group.iter().map(|job| write_batch(connection, &job.batch)).collect()
}

/// One savepoint for a batch. The outer error is the transaction's, the inner one the batch's own.
fn write_batch(connection: &Connection, batch: &[Statement]) -> Result<Result<Option<Vec<Written>>>> {
    connection.prepare_cached("SAVEPOINT batch")?.execute([])?;
    let outcome = execute_all(connection, batch);
    if connection.is_autocommit() {
        // Some errors end the transaction (a full disk's, say): what comes after would be committed by itself.
        return Err(outcome
            .err()
            .unwrap_or_else(|| StoreError::Database("the transaction has ended".into())));
    }
    if !matches!(outcome, Ok(Some(_))) {
        connection.prepare_cached("ROLLBACK TO batch")?.execute([])?;
    }
    connection.prepare_cached("RELEASE batch")?.execute([])?;
    Ok(outcome)
}

/// Does one statement after the other, up to the first that fails or is a condition that is not met.
fn execute_all(connection: &Connection, batch: &[Statement]) -> Result<Option<Vec<Written>>> {
    let mut all = Vec::with_capacity(batch.len());
    for statement in batch {
        let written = execute(connection, statement)?;
        if !statement.is_met(&written) {
            return Ok(None);
        }
        all.push(written);
    }
    Ok(Some(all))
}

fn execute(connection: &Connection, statement: &Statement) -> Result<Written> {
    let mut prepared = connection.prepare_cached(statement.text)?;
    bind(&mut prepared, &statement.values)?;
    let columns = prepared.column_count();
    let mut found = Vec::new();
    let mut rows = prepared.raw_query();
    while let Some(row) = rows.next()? {
        let values = (0..columns).map(|index| row.get_ref(index).map(read));
        found.push(Row::new(values.collect::<rusqlite::Result<_>>()?));
    }
    drop(rows);
    Ok(Written { changed: connection.changes(), rows: found })
}

/// `$1` is a name to SQLite, not a number: the same one may stand in several places, in any order.
fn bind(prepared: &mut CachedStatement<'_>, values: &[Value]) -> Result<()> {
    for index in 1..=prepared.parameter_count() {
        let name = prepared.parameter_name(index).unwrap_or_default();
        let number = name.trim_start_matches('$').parse::<usize>().unwrap_or(index);
        let value = number.checked_sub(1).and_then(|number| values.get(number));
        let value = value.ok_or_else(|| StoreError::Database("a statement lacks a value".into()))?;
        prepared.raw_bind_parameter(index, value)?;
    }
    Ok(())
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<types::ToSqlOutput<'_>> {
        Ok(types::ToSqlOutput::Borrowed(match self {
            Self::Text(Some(text)) => ValueRef::Text(text.as_bytes()),
            Self::Number(Some(number)) => ValueRef::Integer(*number),
            Self::Bytes(Some(bytes)) => ValueRef::Blob(bytes),
            Self::Text(None) | Self::Number(None) | Self::Bytes(None) => ValueRef::Null,
        }))
    }
}

/// Text that is no UTF-8 was not written by this program; it is read as far as it can be.
fn read(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Text(None),
        ValueRef::Integer(number) => Value::Number(Some(number)),
        ValueRef::Real(number) => Value::Text(Some(number.to_string())),
        ValueRef::Text(bytes) => Value::Text(Some(String::from_utf8_lossy(bytes).into_owned())),
        ValueRef::Blob(bytes) => Value::Bytes(Some(bytes.to_vec())),
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let code = error.sqlite_error();
        let is_taken = code.is_some_and(|code| {
            code.code == ErrorCode::ConstraintViolation
                && [ffi::SQLITE_CONSTRAINT_UNIQUE, ffi::SQLITE_CONSTRAINT_PRIMARYKEY]
                    .contains(&code.extended_code)
        });
        if is_taken { Self::Taken } else { Self::Database(error.into()) }
    }
}

/// How many may read at a time; more wait for the first.
const READERS: usize = 4;

/// A reader's cache and map are void after every commit of the writer's, and cost more to take down than they save: it
/// reads when the writer is busy, a few pages at a time.
const READS_ONLY: &str = "PRAGMA query_only = ON; PRAGMA mmap_size = 0; PRAGMA cache_size = 64;";

#[cfg(test)]
mod tests {
    use super::super::sql::sql;
    use super::*;

    fn count(sqlite: &Sqlite, query: &'static str) -> i64 {
        sqlite.rows(&sql(query)).unwrap().remove(0).next().unwrap()
    }

    fn setting(name: &str) -> Statement {
        sql("INSERT INTO settings (name, value) VALUES ($1, $1)").bind(name)
    }

    #[test]
    fn a_file_that_another_program_has_locked_is_opened_once_it_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("accounts.db");
        // Of a database that is not in WAL yet, SQLite asks for the lock once.
        let other = Connection::open(&path).unwrap();
        other.execute_batch("CREATE TABLE t (a); BEGIN IMMEDIATE; INSERT INTO t VALUES (1)").unwrap();
        let opening = std::thread::spawn(move || Sqlite::open(Some(&path)));
        std::thread::sleep(Duration::from_millis(300));
        other.execute_batch("COMMIT").unwrap();
        assert_eq!(count(&opening.join().unwrap().unwrap(), "SELECT COUNT(*) FROM t"), 1);
    }

    #[tokio::test]
    async fn what_was_replaced_is_not_called_forgotten_while_somebody_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("accounts.db");
        let sqlite = Sqlite::open(Some(&path)).unwrap();
        sqlite.write(vec![setting("a word that is to go")]).await.unwrap();
        assert!(sqlite.write_anew().unwrap(), "nobody reads");
        let reader = Connection::open(&path).unwrap();
        reader.execute_batch("BEGIN; SELECT COUNT(*) FROM settings").unwrap();
        sqlite.write(vec![sql("DELETE FROM settings")]).await.unwrap();
        assert!(!sqlite.write_anew().unwrap());
        let is_there = || {
            let file = std::fs::read(&path).unwrap();
            file.windows(20).any(|bytes| bytes == b"a word that is to go")
        };
        assert!(is_there());
        reader.execute_batch("COMMIT").unwrap();
        assert!(sqlite.write_anew().unwrap() && !is_there());
    }

    #[tokio::test]
    async fn of_a_batch_whose_condition_is_not_met_nothing_happens() {
        let sqlite = Sqlite::open(None).unwrap();
        let unmet = sql("UPDATE settings SET value = 'x' WHERE name = $1").bind("nobody").or_nothing();
        assert!(sqlite.write(vec![setting("a"), unmet]).await.unwrap().is_none());
        assert_eq!(count(&sqlite, "SELECT COUNT(*) FROM settings"), 0);
    }

    #[tokio::test]
    async fn a_batch_that_fails_leaves_the_others_of_its_group_alone() {
        let sqlite = Sqlite::open(None).unwrap();
        let batches = (0..100).map(|number| {
            let name = format!("{}", number / 2);
            let sqlite = sqlite.clone();
            tokio::spawn(
                async move { sqlite.write(vec![setting(&format!("of {number}")), setting(&name)]).await },
            )
        });
        let mut taken = 0;
        for batch in batches.collect::<Vec<_>>() {
            match batch.await.unwrap() {
                Ok(written) => assert_eq!(written.unwrap().len(), 2),
                Err(StoreError::Taken) => taken += 1,
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(taken, 50, "of each two with one name, one");
        assert_eq!(count(&sqlite, "SELECT COUNT(*) FROM settings"), 100);
    }

    #[tokio::test]
    async fn an_error_that_ends_the_transaction_lets_none_of_its_group_happen() {
        let sqlite = Sqlite::open(None).unwrap();
        let pages = |most: i64| {
            let writer = lock(&sqlite.0.writer);
            writer
                .query_row(&format!("PRAGMA max_page_count = {most}"), [], |row| row.get::<_, i64>(0))
                .unwrap()
        };
        let full = pages(1);
        pages(full + 4);
        let too_much = sql("INSERT INTO settings (name, value) VALUES ('a', $1)").bind("x".repeat(100_000));
        let groups = [vec![too_much], vec![setting("b"), setting("c")], vec![setting("d")]];
        let writes = groups.map(|batch| {
            let sqlite = sqlite.clone();
            tokio::spawn(async move { sqlite.write(batch).await })
        });
        for write in writes {
            let error = write.await.unwrap().expect_err("all are told");
            assert!(error.to_string().contains("full"), "{error}");
        }
        assert_eq!(count(&sqlite, "SELECT COUNT(*) FROM settings"), 0, "and nothing has happened");
        pages(1_000_000);
        sqlite.write(vec![setting("e")]).await.unwrap();
    }

    #[tokio::test]
    async fn what_many_write_at_a_time_is_committed_together() {
        let folder = tempfile::tempdir().unwrap();
        let sqlite = Sqlite::open(Some(&folder.path().join("accounts.db"))).unwrap();
        let frames = || -> i64 {
            let writer = lock(&sqlite.0.writer);
            writer.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(1)).unwrap()
        };
        let before = frames();
        let crowd = (0..64).map(|number| {
            let sqlite = sqlite.clone();
            tokio::spawn(async move {
                for round in 0..8 {
                    sqlite.write(vec![setting(&format!("{number} {round}"))]).await.unwrap();
                }
            })
        });
        for one in crowd.collect::<Vec<_>>() {
            one.await.unwrap();
        }
        assert_eq!(count(&sqlite, "SELECT COUNT(*) FROM settings"), 512);
        // Each commit writes the index and the table at least.
        assert!(frames() - before < 512, "{} frames", frames() - before);
    }

    #[tokio::test]
    async fn who_is_first_and_gives_up_takes_nobody_along() {
        let sqlite = Sqlite::open(None).unwrap();
        let first = tokio::spawn({
            let sqlite = sqlite.clone();
            async move { sqlite.write(vec![setting("first")]).await }
        });
        let second = tokio::spawn({
            let sqlite = sqlite.clone();
            async move { sqlite.write(vec![setting("second")]).await }
        });
        tokio::task::yield_now().await;
        first.abort();
        assert!(second.await.unwrap().unwrap().is_some());
        sqlite.write(vec![setting("third")]).await.unwrap();
        assert_eq!(count(&sqlite, "SELECT COUNT(*) FROM settings"), 3, "what was begun is done");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn who_writes_is_answered_however_many_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("accounts.db");
        for sqlite in [Sqlite::open(None).unwrap(), Sqlite::open(Some(&path)).unwrap()] {
            let crowd = (0..8).map(|number| {
                let sqlite = sqlite.clone();
                tokio::spawn(async move {
                    for round in 0..100 {
                        sqlite.write(vec![setting(&format!("{number} {round}"))]).await.unwrap();
                        for _ in 0..4 {
                            count(&sqlite, "SELECT COUNT(*) FROM settings");
                        }
                    }
                })
            });
            for one in crowd.collect::<Vec<_>>() {
                tokio::time::timeout(Duration::from_secs(60), one)
                    .await
                    .expect("nobody waits for ever")
                    .unwrap();
            }
            assert_eq!(count(&sqlite, "SELECT COUNT(*) FROM settings"), 800);
        }
    }

    #[tokio::test]
    async fn what_has_been_answered_can_be_read_and_is_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("accounts.db");
        let sqlite = Sqlite::open(Some(&path)).unwrap();
        for number in 0..50 {
            sqlite.write(vec![setting(&number.to_string())]).await.unwrap();
            assert_eq!(count(&sqlite, "SELECT COUNT(*) FROM settings"), number + 1);
        }
        let other = Sqlite::open(Some(&path)).unwrap();
        assert_eq!(count(&other, "SELECT COUNT(*) FROM settings"), 50);
    }
}
