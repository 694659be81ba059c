//! PostgreSQL: a pool of connections; every process that shares the database has its own.

use futures_util::TryStreamExt as _;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgPool, PgPoolOptions, PgRow};
use sqlx::query::Query;
use sqlx::{
    AssertSqlSafe, Column as _, Connection as _, Either, Executor, Postgres as Driver, Row as _,
    TypeInfo as _,
};
use std::str::FromStr as _;
use std::time::Duration;

use super::sql::{Row, Statement, Value, Written, joined};
use super::{Result, StoreError, migrations};

/// A server's database.
#[derive(Clone, Debug)]
pub(super) struct Postgres {
    pool: PgPool,
}

impl Postgres {
    /// Connects, creating the tables and bringing them up to date.
    ///
    /// # Errors
    /// [`StoreError::Server`] if there is no connection, at once and with the server's name; the pool would try for ten
    /// seconds and not say why.
    pub(super) async fn open(url: &str) -> Result<Self> {
        // The URL is not repeated: it may hold a password.
        let options = PgConnectOptions::from_str(url)
            .map_err(|_| StoreError::Url("this URL of a PostgreSQL database cannot be read".into()))?;
        let first = tokio::time::timeout(PATIENCE, PgConnection::connect_with(&options)).await;
        first
            .unwrap_or(Err(sqlx::Error::PoolTimedOut))
            .map_err(|error| no_connection(&options, &error))?
            .close()
            .await?;
        let pool = PgPoolOptions::new()
            .max_connections(10)
            .min_connections(1)
            .acquire_timeout(PATIENCE)
            .connect_with(options)
            .await?;
        migrations::run_on_postgres(&pool).await?;
        Ok(Self { pool })
    }

    /// The rows of a query.
    pub(super) async fn rows(&self, query: Statement) -> Result<Vec<Row>> {
        let rows = bound(&query).fetch_all(&self.pool).await?;
        rows.iter().map(read).collect()
    }

    /// Does all statements or none: false if one of them is a condition that was not met.
    pub(super) async fn make(&self, batch: Vec<Statement>) -> Result<bool> {
        let Some((text, values)) = joined(&batch).filter(|_| batch.len() > 1) else {
            return Ok(self.write(batch).await?.is_some());
        };
        // One journey there and back instead of one for each, and two more for the transaction. The text is made of this
        // program's own.
        let query = values.into_iter().fold(sqlx::query(AssertSqlSafe(text)), bind);
        match query.execute(&self.pool).await {
            Ok(_) => Ok(true),
            Err(sqlx::Error::Database(told)) if told.code().as_deref() == Some(DIVISION_BY_ZERO) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Does all statements or none: `None` if one of them is a condition that was not met.
    pub(super) async fn write(&self, batch: Vec<Statement>) -> Result<Option<Vec<Written>>> {
        if let [alone] = batch.as_slice() {
            let written = execute(&self.pool, alone).await?;
            return Ok(alone.is_met(&written).then(|| vec![written]));
        }
        let mut transaction = self.pool.begin().await?;
        let mut all = Vec::with_capacity(batch.len());
        for statement in &batch {
            let written = execute(&mut *transaction, statement).await?;
            if !statement.is_met(&written) {
                transaction.rollback().await?;
                return Ok(None);
            }
            all.push(written);
        }
        transaction.commit().await?;
        Ok(Some(all))
    }
}

/// Why the first connection failed, and where to.
fn no_connection(options: &PgConnectOptions, error: &sqlx::Error) -> StoreError {
    let (why, hint) = match error {
        sqlx::Error::Database(told) => (
            told.message().to_string(),
            "are user, password and database of --db right, and may they connect from here (pg_hba.conf)?",
        ),
        sqlx::Error::Tls(told) => (
            format!("no TLS: {told}"),
            "is its certificate for this name, of the authority in sslrootcert=…? Does the server speak TLS?",
        ),
        sqlx::Error::Io(told) => (
            told.to_string(),
            "is PostgreSQL running there, are host and port of --db right, does a firewall stand between?",
        ),
        sqlx::Error::PoolTimedOut => (
            format!("no answer in {} seconds", PATIENCE.as_secs()),
            "are host and port of --db right, does a firewall stand between?",
        ),
        other => (other.to_string(), "are the settings in the URL of --db right?"),
    };
    let server = match options.get_socket() {
        Some(folder) => format!("in {}, port {}", folder.display(), options.get_port()),
        None => format!("at {}:{}", options.get_host(), options.get_port()),
    };
    StoreError::Server { server, why, hint }
}

/// How long to wait for a connection.
const PATIENCE: Duration = Duration::from_secs(10);

async fn execute<'c>(
    executor: impl Executor<'c, Database = Driver>,
    statement: &Statement,
) -> Result<Written> {
    let mut written = Written::default();
    let mut heard = executor.fetch_many(bound(statement));
    while let Some(heard) = heard.try_next().await? {
        match heard {
            Either::Left(done) => written.changed += done.rows_affected(),
            Either::Right(row) => written.rows.push(read(&row)?),
        }
    }
    Ok(written)
}

fn bound(statement: &Statement) -> Query<'static, Driver, PgArguments> {
    statement.values.iter().cloned().fold(sqlx::query(statement.on_postgres), bind)
}

fn bind<'q>(query: Query<'q, Driver, PgArguments>, value: Value) -> Query<'q, Driver, PgArguments> {
    match value {
        Value::Text(text) => query.bind(text),
        Value::Number(number) => query.bind(number),
        Value::Bytes(bytes) => query.bind(bytes),
    }
}

/// What a joined statement fails with whose condition is not met (SQLSTATE).
const DIVISION_BY_ZERO: &str = "22012";

fn read(row: &PgRow) -> Result<Row> {
    let columns = row.columns().iter().enumerate();
    let values = columns.map(|(index, column)| match column.type_info().name() {
        "INT8" => row.try_get(index).map(Value::Number),
        "BYTEA" => row.try_get(index).map(Value::Bytes),
        _ => row.try_get(index).map(Value::Text),
    });
    Ok(Row::new(values.collect::<sqlx::Result<_>>()?))
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(inner) if inner.is_unique_violation() => Self::Taken,
            // The server's own words; the driver's begin with a second "database".
            sqlx::Error::Database(inner) => Self::Database(inner.message().to_string().into()),
            sqlx::Error::PoolTimedOut => Self::Database(
                format!("no connection to PostgreSQL for {} seconds", PATIENCE.as_secs()).into(),
            ),
            _ => Self::Database(error.into()),
        }
    }
}
