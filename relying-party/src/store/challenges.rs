//! Challenges: each serves one ceremony, once.

use super::sql::sql;
use super::{Changes, Database, Result};

/// A ceremony that has been started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Challenge {
    pub(crate) challenge: Vec<u8>,
    /// Which ceremony it is for; see [`ceremony`](crate::ceremony).
    pub(crate) kind: String,
    /// The session that asked for it.
    pub(crate) session_id: String,
    /// The user it is for, if one is known.
    pub(crate) user_id: Option<String>,
    /// JSON: what was asked for.
    pub(crate) data: String,
    pub(crate) expires_at: i64,
}

impl Changes {
    /// Keeps a challenge until it is taken or expires.
    pub(crate) fn put_challenge(self, challenge: &Challenge) -> Self {
        let statement =
            sql("INSERT INTO challenges (challenge, kind, session_id, user_id, data, expires_at) \
             VALUES ($1, $2, $3, $4, $5, $6)");
        self.and(
            statement
                .bind(&challenge.challenge)
                .bind(&challenge.kind)
                .bind(&challenge.session_id)
                .bind(challenge.user_id.as_deref())
                .bind(&challenge.data)
                .bind(challenge.expires_at),
        )
    }
}

impl Database {
    /// Takes a challenge: whoever asks first gets it, nobody else ever does.
    ///
    /// `None` if it never was, has been taken, has expired, or is another session's.
    pub(crate) async fn take_challenge(
        &self,
        challenge: &[u8],
        session_id: &str,
        now: i64,
    ) -> Result<Option<Challenge>> {
        let statement = sql("DELETE FROM challenges WHERE challenge = $1 AND session_id = $2 \
             RETURNING kind, user_id, data, expires_at");
        let row = self.take(statement.bind(challenge).bind(session_id)).await?;
        let taken = row.map(|(kind, user_id, data, expires_at)| Challenge {
            challenge: challenge.to_vec(),
            kind,
            session_id: session_id.to_string(),
            user_id,
            data,
            expires_at,
        });
        Ok(taken.filter(|taken| taken.expires_at > now))
    }
}
