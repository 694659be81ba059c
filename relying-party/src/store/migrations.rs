//! The tables, as a list of steps; a database says how many of them it has been through.

use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior};
use sqlx::postgres::PgPool;
use sqlx::{AssertSqlSafe, Executor as _};

use super::{Result, StoreError};

/// Brings a SQLite database to the newest version; a newer one is refused before anything is written.
pub(super) fn run_on_sqlite(connection: &mut Connection) -> Result<()> {
    // Immediate: two processes that start together take turns.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(VERSION_TABLE)?;
    let found = transaction.query_row(VERSION, [], |row| row.get(0)).optional()?.unwrap_or(0);
    let steps = steps_after(found)?;
    for step in steps {
        transaction.execute_batch(&step.replace("BYTES", "BLOB").replace("CLUSTERED", "WITHOUT ROWID"))?;
    }
    if !steps.is_empty() {
        transaction.execute_batch(&format!("{NO_VERSION}; {}", new_version()))?;
    }
    Ok(transaction.commit()?)
}

/// Brings a PostgreSQL database to the newest version; a newer one is refused before anything is written.
pub(super) async fn run_on_postgres(pool: &PgPool) -> Result<()> {
    let mut transaction = pool.begin().await?;
    // Two processes that start together take turns; the number is this program's own.
    transaction.execute("SELECT pg_advisory_xact_lock(7140329)").await?;
    transaction.execute(VERSION_TABLE).await?;
    let found: Option<(i64,)> = sqlx::query_as(VERSION).fetch_optional(&mut *transaction).await?;
    let steps = steps_after(found.map_or(0, |(version,)| version))?;
    for step in steps {
        transaction.execute(AssertSqlSafe(step.replace("BYTES", "BYTEA").replace("CLUSTERED", ""))).await?;
    }
    if !steps.is_empty() {
        transaction.execute(NO_VERSION).await?;
        transaction.execute(AssertSqlSafe(new_version())).await?;
    }
    Ok(transaction.commit().await?)
}

/// What a database of a version has yet to go through.
fn steps_after(found: i64) -> Result<&'static [&'static str]> {
    let newer = StoreError::Newer { found, known: known() };
    usize::try_from(found).ok().and_then(|done| STEPS.get(done..)).ok_or(newer)
}

fn known() -> i64 {
    i64::try_from(STEPS.len()).expect("a handful of steps")
}

fn new_version() -> String {
    format!("INSERT INTO schema_version (version) VALUES ({})", known())
}

const VERSION_TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)";
const VERSION: &str = "SELECT version FROM schema_version";
const NO_VERSION: &str = "DELETE FROM schema_version";

/// Every step, oldest first. A step that has been released is never edited; the next one amends it.
///
/// `BYTES` is the engine's type of byte strings. The rows of a `CLUSTERED` table are kept in the index of its key, where
/// the engine can: one place less to write to.
const STEPS: &[&str] = &[
    "
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);

CREATE TABLE users (
    id TEXT PRIMARY KEY,
    handle BYTES NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    last_login_at BIGINT,
    blocked BIGINT NOT NULL
);

CREATE TABLE identifiers (
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    verified BIGINT NOT NULL,
    PRIMARY KEY (kind, value)
);
CREATE INDEX identifiers_of_user ON identifiers (user_id);

CREATE TABLE credentials (
    credential_id BYTES PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    public_key BYTES NOT NULL,
    sign_count BIGINT NOT NULL,
    backup_eligible BIGINT NOT NULL,
    backup_state BIGINT NOT NULL,
    user_verified BIGINT NOT NULL,
    aaguid TEXT NOT NULL,
    transports TEXT NOT NULL,
    attachment TEXT,
    name TEXT,
    user_agent TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    last_used_at BIGINT
);
CREATE INDEX credentials_of_user ON credentials (user_id);

CREATE TABLE passwords (
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    set_at BIGINT NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (user_id, set_at)
);

CREATE TABLE totp (
    user_id TEXT PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    secret BYTES NOT NULL,
    confirmed BIGINT NOT NULL,
    last_step BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE recovery_codes (
    user_id TEXT PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    digest BYTES NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE remembered_devices (
    digest BYTES PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    expires_at BIGINT NOT NULL
);

CREATE TABLE put_off (
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    prompt TEXT NOT NULL,
    until BIGINT NOT NULL,
    PRIMARY KEY (user_id, prompt)
);

CREATE TABLE sessions (
    digest BYTES PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    user_id TEXT REFERENCES users (id) ON DELETE CASCADE,
    data TEXT NOT NULL,
    user_agent TEXT NOT NULL,
    ip TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX sessions_of_user ON sessions (user_id);

CREATE TABLE challenges (
    challenge BYTES PRIMARY KEY,
    kind TEXT NOT NULL,
    session_id TEXT NOT NULL,
    user_id TEXT,
    data TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);

CREATE TABLE codes (
    id TEXT PRIMARY KEY,
    purpose TEXT NOT NULL,
    target TEXT NOT NULL,
    digest BYTES NOT NULL,
    tries BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);

CREATE TABLE limits (
    name TEXT PRIMARY KEY,
    count BIGINT NOT NULL,
    level BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);

CREATE TABLE events (
    id TEXT PRIMARY KEY,
    date BIGINT NOT NULL,
    type TEXT NOT NULL,
    user_id TEXT,
    data TEXT NOT NULL,
    transcript TEXT
);
CREATE INDEX events_by_type ON events (type, id);

CREATE TABLE outbox (
    id TEXT PRIMARY KEY,
    sent_at BIGINT NOT NULL,
    recipient TEXT NOT NULL,
    subject TEXT NOT NULL,
    body TEXT NOT NULL
);
",
    "
ALTER TABLE users DROP COLUMN last_login_at;
DROP INDEX events_by_type;
",
    // A session is found by its token's digest or by its user: an index on the id as well had to be written, too.
    "
DROP INDEX sessions_of_user;
ALTER TABLE sessions RENAME TO sessions_of_version_2;
CREATE TABLE sessions (
    digest BYTES PRIMARY KEY,
    id TEXT NOT NULL,
    user_id TEXT REFERENCES users (id) ON DELETE CASCADE,
    data TEXT NOT NULL,
    user_agent TEXT NOT NULL,
    ip TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
) CLUSTERED;
INSERT INTO sessions SELECT digest, id, user_id, data, user_agent, ip, created_at, seen_at, expires_at
    FROM sessions_of_version_2;
DROP TABLE sessions_of_version_2;
CREATE INDEX sessions_of_user ON sessions (user_id);

CREATE TABLE waiting_mail (
    id TEXT PRIMARY KEY,
    tries BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    sealed BYTES NOT NULL
);
",
    // Challenges that have been taken and were kept nowhere, by their first 24 bytes, which begin with when they expire.
    "
CREATE TABLE spent_challenges (id BYTES PRIMARY KEY) CLUSTERED;
",
    // How far each webhook has got: `id` is a digest of its URL, which may hold a secret.
    "
CREATE TABLE webhooks (
    id TEXT PRIMARY KEY,
    term BIGINT NOT NULL,
    holder TEXT NOT NULL,
    lease_until BIGINT NOT NULL,
    checkpoint TEXT NOT NULL,
    head TEXT NOT NULL,
    sent BIGINT NOT NULL
);
",
    // Proofs of before are void once the generation has been raised. Authenticator apps that were never confirmed are
    // kept by the session that sets them up.
    "
ALTER TABLE users ADD COLUMN generation BIGINT NOT NULL DEFAULT 0;
DELETE FROM totp WHERE confirmed = 0;
",
    // Secrets may be sealed under a key that is not in here. A program that knows nothing of that must not start.
    "
ALTER TABLE totp ADD COLUMN sealed BIGINT NOT NULL DEFAULT 0;
",
    // Policy may shorten for how long devices are remembered. Those of before are taken to be as old as it says by default.
    "
ALTER TABLE remembered_devices ADD COLUMN remembered_at BIGINT NOT NULL DEFAULT 0;
UPDATE remembered_devices SET remembered_at = expires_at - 2592000000;
",
];
