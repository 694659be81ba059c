//! Sessions: a browser that has been here, signed in or not.

use super::sql::{FromRow, Row, sql};
use super::{Changes, Database, Result};

/// A session as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredSession {
    /// The digest of its token: the key it is stored under.
    pub(crate) digest: Vec<u8>,
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

impl FromRow for StoredSession {
    fn from_row(row: &mut Row) -> Result<Self> {
        Ok(Self {
            digest: row.next()?,
            id: row.next()?,
            user_id: row.next()?,
            data: row.next()?,
            user_agent: row.next()?,
            ip: row.next()?,
            created_at: row.next()?,
            seen_at: row.next()?,
            expires_at: row.next()?,
        })
    }
}

impl Changes {
    /// Writes a session that is new.
    pub(crate) fn insert_session(self, session: &StoredSession) -> Self {
        let statement = sql(
            "INSERT INTO sessions (digest, id, user_id, data, user_agent, ip, created_at, seen_at, expires_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        );
        self.and(
            statement
                .bind(&session.digest)
                .bind(&session.id)
                .bind(session.user_id.as_deref())
                .bind(&session.data)
                .bind(&session.user_agent)
                .bind(&session.ip)
                .bind(session.created_at)
                .bind(session.seen_at)
                .bind(session.expires_at),
        )
    }

    /// On condition that the session of a token's digest has not ended.
    pub(crate) fn if_session(self, digest: &[u8]) -> Self {
        // Writing to the row makes whoever ends it wait, on PostgreSQL as well.
        let row = sql("UPDATE sessions SET seen_at = seen_at WHERE digest = $1");
        self.and(row.bind(digest).or_nothing())
    }

    /// Updates what changes in a session, its times and, if it has new ones, its data, on condition that it has not ended.
    pub(crate) fn update_session(self, session: &StoredSession, data: Option<&str>) -> Self {
        let statement = sql(
            "UPDATE sessions SET data = COALESCE($2, data), seen_at = $3, expires_at = $4 WHERE digest = $1",
        );
        self.and(
            statement
                .bind(&session.digest)
                .bind(data)
                .bind(session.seen_at)
                .bind(session.expires_at)
                .or_nothing(),
        )
    }

    /// Ends the session of a token's digest, if it has not ended already.
    pub(crate) fn end_session(self, digest: &[u8]) -> Self {
        self.and(sql("DELETE FROM sessions WHERE digest = $1").bind(digest))
    }

    /// Ends one session of a user, on condition that there is one of that id. What was proved before and is no session yet
    /// is void: whoever had that one may begin the next with it.
    pub(crate) fn end_session_of(self, user_id: &str, id: &str) -> Self {
        let session = sql("DELETE FROM sessions WHERE user_id = $1 AND id = $2");
        self.void_proofs(user_id).and(session.bind(user_id).bind(id).or_nothing())
    }

    /// Ends every session of a user but the one of this id.
    pub(crate) fn end_other_sessions(self, user_id: &str, kept: &str) -> Self {
        self.and(sql("DELETE FROM sessions WHERE user_id = $1 AND id <> $2").bind(user_id).bind(kept))
    }
}

impl Database {
    /// The session of a token's digest, unless it has expired.
    pub(crate) async fn session(&self, digest: &[u8], now: i64) -> Result<Option<StoredSession>> {
        let query = sql(
            "SELECT digest, id, user_id, data, user_agent, ip, created_at, seen_at, expires_at FROM sessions \
             WHERE digest = $1 AND expires_at > $2",
        );
        self.one(query.bind(digest).bind(now)).await
    }

    /// A user's sessions, the latest first.
    pub(crate) async fn sessions(&self, user_id: &str, now: i64) -> Result<Vec<StoredSession>> {
        let query = sql(
            "SELECT digest, id, user_id, data, user_agent, ip, created_at, seen_at, expires_at FROM sessions \
             WHERE user_id = $1 AND expires_at > $2 ORDER BY seen_at DESC, id",
        );
        self.all(query.bind(user_id).bind(now)).await
    }
}
