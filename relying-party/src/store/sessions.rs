//! Sessions: a browser that has been here, signed in or not.

use super::{Database, Result};

/// A session as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredSession {
    /// `ses_…`, for pages and for the challenges that belong to it.
    pub(crate) id: String,
    pub(crate) user_id: Option<String>,
    /// JSON; see [`session`](crate::session).
    pub(crate) data: String,
    pub(crate) user_agent: String,
    pub(crate) ip: String,
    pub(crate) created_at: i64,
    pub(crate) seen_at: i64,
    pub(crate) expires_at: i64,
}

type Row = (String, Option<String>, String, String, String, i64, i64, i64);

impl From<Row> for StoredSession {
    fn from((id, user_id, data, user_agent, ip, created_at, seen_at, expires_at): Row) -> Self {
        Self { id, user_id, data, user_agent, ip, created_at, seen_at, expires_at }
    }
}

impl Database {
    /// The session of a token's digest, unless it has expired.
    pub(crate) async fn session(&self, digest: &[u8], now: i64) -> Result<Option<StoredSession>> {
        let row: Option<Row> = sqlx::query_as(
            "SELECT id, user_id, data, user_agent, ip, created_at, seen_at, expires_at FROM sessions \
             WHERE digest = $1 AND expires_at > $2",
        )
        .bind(digest)
        .bind(now)
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(StoredSession::from))
    }

    /// A user's sessions, the latest first.
    pub(crate) async fn sessions(&self, user_id: &str, now: i64) -> Result<Vec<StoredSession>> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, user_id, data, user_agent, ip, created_at, seen_at, expires_at FROM sessions \
             WHERE user_id = $1 AND expires_at > $2 ORDER BY seen_at DESC, id",
        )
        .bind(user_id)
        .bind(now)
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(StoredSession::from).collect())
    }

    /// Writes a session under its token's digest.
    pub(crate) async fn insert_session(&self, digest: &[u8], session: &StoredSession) -> Result<()> {
        sqlx::query(
            "INSERT INTO sessions (digest, id, user_id, data, user_agent, ip, created_at, seen_at, expires_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(digest)
        .bind(&session.id)
        .bind(session.user_id.as_deref())
        .bind(&session.data)
        .bind(&session.user_agent)
        .bind(&session.ip)
        .bind(session.created_at)
        .bind(session.seen_at)
        .bind(session.expires_at)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Updates what changes in a session: its data and its times.
    pub(crate) async fn update_session(&self, session: &StoredSession) -> Result<()> {
        sqlx::query("UPDATE sessions SET data = $2, seen_at = $3, expires_at = $4 WHERE id = $1")
            .bind(&session.id)
            .bind(&session.data)
            .bind(session.seen_at)
            .bind(session.expires_at)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Ends a session; false if there is none of that id.
    pub(crate) async fn end_session(&self, id: &str) -> Result<bool> {
        let done = sqlx::query("DELETE FROM sessions WHERE id = $1").bind(id).execute(&self.pool).await?;
        Ok(done.rows_affected() == 1)
    }

    /// Ends one session of a user; false if the user has none of that id.
    pub(crate) async fn end_session_of(&self, user_id: &str, id: &str) -> Result<bool> {
        let done = sqlx::query("DELETE FROM sessions WHERE user_id = $1 AND id = $2")
            .bind(user_id)
            .bind(id)
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Ends every session of a user but one.
    pub(crate) async fn end_other_sessions(&self, user_id: &str, kept: &str) -> Result<u64> {
        let done = sqlx::query("DELETE FROM sessions WHERE user_id = $1 AND id <> $2")
            .bind(user_id)
            .bind(kept)
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected())
    }
}
