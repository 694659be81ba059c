//! Challenges: each serves one ceremony, once.

use super::sql::{Statement, sql};
use super::{Changes, Database, Passkey, Result, User};

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

    /// Takes a challenge, on condition that nobody has taken it yet.
    pub(crate) fn take_challenge(self, challenge: &[u8], session_id: &str) -> Self {
        self.and(take(challenge, session_id).or_nothing())
    }
}

/// What the answer to a challenge is judged by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Question {
    /// `None` if it never was, has been taken, has expired, or is another session's.
    pub(crate) challenge: Option<Challenge>,
    /// The passkey that the answer names, if there is one.
    pub(crate) passkey: Option<Passkey>,
    /// Whose it is.
    pub(crate) owner: Option<User>,
}

impl Database {
    /// What the answer to a challenge is judged by. The challenge is not taken yet: who accepts the answer takes it
    /// together with what it leads to ([`Changes::take_challenge`]), who refuses it takes it all the same.
    pub(crate) async fn question(
        &self,
        challenge: &[u8],
        session_id: &str,
        credential_id: &[u8],
        now: i64,
    ) -> Result<Question> {
        let query = sql("SELECT kind, user_id, data, expires_at FROM challenges \
             WHERE challenge = $1 AND session_id = $2");
        let row = self.one(query.bind(challenge).bind(session_id)).await?;
        let passkey: Option<Passkey> = self.one(Passkey::of_credential(credential_id)).await?;
        // Asked for even if there is no such passkey: an answer about one that is nobody's takes as long.
        let owner: Option<User> = self.one(User::of_credential(credential_id)).await?;
        let identifiers = self.all(User::identifiers_of_credential(credential_id)).await?;
        Ok(Question {
            challenge: of_row(challenge, session_id, row, now),
            passkey,
            owner: owner.map(|owner| User { identifiers, ..owner }),
        })
    }

    /// Takes a challenge: whoever asks first gets it, nobody else ever does.
    ///
    /// `None` if it never was, has been taken, has expired, or is another session's.
    pub(crate) async fn take_challenge(
        &self,
        challenge: &[u8],
        session_id: &str,
        now: i64,
    ) -> Result<Option<Challenge>> {
        let row = self.take(take(challenge, session_id)).await?;
        Ok(of_row(challenge, session_id, row, now))
    }
}

fn take(challenge: &[u8], session_id: &str) -> Statement {
    let statement = sql("DELETE FROM challenges WHERE challenge = $1 AND session_id = $2 \
             RETURNING kind, user_id, data, expires_at");
    statement.bind(challenge).bind(session_id)
}

type Row = (String, Option<String>, String, i64);

fn of_row(challenge: &[u8], session_id: &str, row: Option<Row>, now: i64) -> Option<Challenge> {
    let (kind, user_id, data, expires_at) = row?;
    let (challenge, session_id) = (challenge.to_vec(), session_id.to_string());
    (expires_at > now).then_some(Challenge { challenge, kind, session_id, user_id, data, expires_at })
}
