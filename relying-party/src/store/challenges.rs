//! Challenges: each serves one ceremony, once.

use super::sql::{Statement, sql};
use super::{Changes, Database, Passkey, Result, User, read, read_one};

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
    pub(crate) fn take_challenge(self, claim: &Claim) -> Self {
        let statement = match claim.sealed_until {
            Some(until) => spend(claim, until),
            None => take(&claim.challenge, &claim.owner),
        };
        self.and(statement.or_nothing())
    }
}

/// The challenge that an answer names.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) challenge: Vec<u8>,
    /// The session that it would have to belong to.
    pub(crate) owner: String,
    /// When it expires, in milliseconds, if it says so itself: it is [sealed](crate::sealed), and its own.
    pub(crate) sealed_until: Option<i64>,
}

impl Claim {
    /// What a sealed challenge is written down under once it has been taken.
    fn spent_id(&self) -> &[u8] {
        self.challenge.get(..SPENT_ID_LENGTH).unwrap_or(&self.challenge)
    }

    /// The query for the row of a challenge, or for that of its having been taken.
    fn row(&self) -> Statement {
        if self.sealed_until.is_some() {
            return sql("SELECT id FROM spent_challenges WHERE id = $1").bind(self.spent_id());
        }
        let query = sql("SELECT kind, user_id, data, expires_at FROM challenges \
             WHERE challenge = $1 AND session_id = $2");
        query.bind(&self.challenge).bind(&self.owner)
    }
}

/// How much of a sealed challenge tells it from all others: when it expires, and what is random in it.
pub(crate) const SPENT_ID_LENGTH: usize = 24;

/// How long it is remembered that a challenge was taken, after it has expired. The clocks of processes that share a
/// database differ by less; if not, they are refused, not accepted twice.
const REMEMBERED_MS: i64 = 60 * 60 * 1000;

/// What the answer to a challenge is judged by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Question {
    /// `None` if it is sealed, never was, has been taken, has expired, or is another session's.
    pub(crate) challenge: Option<Challenge>,
    /// A sealed challenge has been taken.
    pub(crate) is_spent: bool,
    /// The passkey that the answer names, if there is one.
    pub(crate) passkey: Option<Passkey>,
    /// Whose it is.
    pub(crate) owner: Option<User>,
}

impl Database {
    /// What the answer to a challenge is judged by. The challenge is not taken yet: who accepts the answer takes it
    /// together with what it leads to ([`Changes::take_challenge`]), who refuses it takes it all the same.
    pub(crate) async fn question(&self, claim: &Claim, credential_id: &[u8], now: i64) -> Result<Question> {
        // All are asked for even if there is no such passkey: an answer about one that is nobody's takes as long.
        let [row, passkey, owner, identifiers] = self
            .each([
                claim.row(),
                Passkey::of_credential(credential_id),
                User::of_credential(credential_id),
                User::identifiers_of_credential(credential_id),
            ])
            .await?;
        let (mut challenge, mut is_spent) = (None, false);
        if claim.sealed_until.is_some() {
            is_spent = !row.is_empty();
        } else {
            challenge = of_row(&claim.challenge, &claim.owner, read_one(row)?, now);
        }
        let owner: Option<User> = read_one(owner)?;
        let identifiers = read(identifiers)?;
        Ok(Question {
            challenge,
            is_spent,
            passkey: read_one(passkey)?,
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

    /// In milliseconds: challenges that expire by then can no longer be used; whether they were is not kept.
    pub(crate) async fn spent_until(&self) -> Result<i64> {
        let text = self.setting(SPENT_UNTIL).await?;
        Ok(text.and_then(|text| text.parse().ok()).unwrap_or(i64::MIN))
    }

    /// Forgets which challenges were taken that expired an hour ago, and sees to it that nobody takes them again: a
    /// clock may be set back, or another process's be behind.
    pub(super) async fn forget_spent_challenges(&self, now: i64) -> Result<()> {
        let until = now.saturating_sub(REMEMBERED_MS).max(0);
        let mark =
            sql("INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET \
             value = CASE WHEN settings.value < excluded.value THEN excluded.value ELSE settings.value END");
        let forget = sql("DELETE FROM spent_challenges WHERE id < $1").bind(&until.to_be_bytes()[..]);
        let changes = Changes::default().and(mark.bind(SPENT_UNTIL).bind(sortable(until))).and(forget);
        self.make(changes).await.map(drop)
    }
}

/// The setting that holds [`Database::spent_until`].
const SPENT_UNTIL: &str = "challenges_spent_until";

/// A time as text that sorts as it does.
fn sortable(ms: i64) -> String {
    format!("{ms:019}")
}

/// Writes down that a sealed challenge has been taken: changes one row for who comes first, as long as it is remembered
/// who did.
fn spend(claim: &Claim, until: i64) -> Statement {
    sql("INSERT INTO spent_challenges (id) SELECT $1 WHERE NOT EXISTS \
         (SELECT 1 FROM settings WHERE name = $2 AND value >= $3) ON CONFLICT (id) DO NOTHING")
    .bind(claim.spent_id())
    .bind(SPENT_UNTIL)
    .bind(sortable(until))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(expires_at: i64, random: u8) -> Claim {
        let challenge = [&expires_at.to_be_bytes()[..], &[random; 40]].concat();
        Claim { challenge, owner: "tok_1".into(), sealed_until: Some(expires_at) }
    }

    #[tokio::test]
    async fn a_sealed_challenge_is_taken_once_whatever_clocks_say() {
        let database = Database::open("memory").await.unwrap();
        let take = |claim| database.make(Changes::default().take_challenge(claim));
        let hour = 3_600_000;
        let (first, second) = (claim(10 * hour, 1), claim(10 * hour, 2));
        assert!(!database.question(&first, &[], 0).await.unwrap().is_spent);
        assert!(take(&first).await.unwrap());
        assert!(database.question(&first, &[], 0).await.unwrap().is_spent);
        assert!(!take(&first).await.unwrap());
        assert!(take(&second).await.unwrap(), "another of the same moment");
        // It is forgotten an hour after it has expired, but nobody takes it then: the clock may be set back.
        assert_eq!(database.spent_until().await.unwrap(), i64::MIN);
        database.forget_spent_challenges(10 * hour).await.unwrap();
        assert!(database.question(&first, &[], 0).await.unwrap().is_spent, "it is remembered");
        database.forget_spent_challenges(11 * hour + 1).await.unwrap();
        assert!(!database.question(&first, &[], 0).await.unwrap().is_spent, "it is forgotten");
        assert!(!take(&first).await.unwrap());
        assert_eq!(database.spent_until().await.unwrap(), 10 * hour + 1);
        // A process whose clock is behind does not make it less.
        database.forget_spent_challenges(5 * hour).await.unwrap();
        assert_eq!(database.spent_until().await.unwrap(), 10 * hour + 1);
        assert!(take(&claim(10 * hour + 2, 1)).await.unwrap());
    }
}
