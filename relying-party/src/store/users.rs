//! Users, what they are called, and their passwords.

use super::sql::{FromRow, Row, Statement, sql};
use super::{Changes, Database, Passkey, Result};

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    /// `usr_…`, for logs and APIs.
    pub(crate) id: String,
    /// The WebAuthn user handle: 64 random bytes.
    pub(crate) handle: Vec<u8>,
    /// When, in milliseconds.
    pub(crate) created_at: i64,
    /// Blocked by an administrator.
    pub(crate) blocked: bool,
    /// How often everything that had been proved or mailed before was made void: a proof counts in its generation.
    pub(crate) generation: i64,
    /// Everything the user can be called, the best first: e-mail, phone, user name.
    pub(crate) identifiers: Vec<Identifier>,
}

/// One thing a user is called.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Identifier {
    /// `email`, `phone` or `username`.
    pub(crate) kind: String,
    /// In its normal form.
    pub(crate) value: String,
    /// Proved by a code.
    pub(crate) verified: bool,
}

impl FromRow for Identifier {
    fn from_row(row: &mut Row) -> Result<Self> {
        Ok(Self { kind: row.next()?, value: row.next()?, verified: row.next()? })
    }
}

/// What the table of users holds; the identifiers are in another.
impl FromRow for User {
    fn from_row(row: &mut Row) -> Result<Self> {
        Ok(Self {
            id: row.next()?,
            handle: row.next()?,
            created_at: row.next()?,
            blocked: row.next()?,
            generation: row.next()?,
            identifiers: Vec::new(),
        })
    }
}

impl User {
    /// The query for whose a passkey is.
    pub(super) fn of_credential(credential_id: &[u8]) -> Statement {
        sql("SELECT u.id, u.handle, u.created_at, u.blocked, u.generation FROM users u \
             JOIN credentials c ON c.user_id = u.id WHERE c.credential_id = $1")
        .bind(credential_id)
    }

    /// The query for what that user is called.
    pub(super) fn identifiers_of_credential(credential_id: &[u8]) -> Statement {
        sql("SELECT i.kind, i.value, i.verified FROM identifiers i \
             JOIN credentials c ON c.user_id = i.user_id WHERE c.credential_id = $1 ORDER BY i.kind")
        .bind(credential_id)
    }

    /// What to call the user on screens and in the passkey.
    pub(crate) fn name(&self) -> &str {
        self.identifiers.first().map_or(&self.id, |identifier| &identifier.value)
    }

    /// The e-mail address, if there is one.
    pub(crate) fn email(&self) -> Option<&str> {
        self.identifiers
            .iter()
            .find(|identifier| identifier.kind == "email")
            .map(|identifier| identifier.value.as_str())
    }
}

impl Changes {
    /// Creates a user with everything that the sign-up gave.
    pub(crate) fn create_user(self, user: &User, passkey: Option<&Passkey>, password: Option<&str>) -> Self {
        let mut changes = self.and(
            sql("INSERT INTO users (id, handle, created_at, blocked) VALUES ($1, $2, $3, 0)")
                .bind(&user.id)
                .bind(&user.handle)
                .bind(user.created_at),
        );
        for identifier in &user.identifiers {
            changes = changes.and(
                sql("INSERT INTO identifiers (kind, value, user_id, verified) VALUES ($1, $2, $3, $4)")
                    .bind(&identifier.kind)
                    .bind(&identifier.value)
                    .bind(&user.id)
                    .bind(identifier.verified),
            );
        }
        if let Some(passkey) = passkey {
            changes = changes.add_passkey(passkey, u32::MAX);
        }
        if let Some(hash) = password {
            changes = changes.and(
                sql("INSERT INTO passwords (user_id, set_at, hash) VALUES ($1, $2, $3)")
                    .bind(&user.id)
                    .bind(user.created_at)
                    .bind(hash),
            );
        }
        changes
    }

    /// Makes everything void that has been proved or mailed for a user and is no session yet: logins that wait for a
    /// second factor, recoveries under way, codes and links.
    pub(crate) fn void_proofs(self, user_id: &str) -> Self {
        let generation = sql("UPDATE users SET generation = generation + 1 WHERE id = $1");
        let codes = sql("DELETE FROM codes WHERE target = $1 OR target IN \
             (SELECT value FROM identifiers WHERE user_id = $1)");
        self.and(generation.bind(user_id)).and(codes.bind(user_id))
    }

    /// Blocks a user, on condition that there is one, or lifts that. Who is blocked has no session any more, nor anything
    /// that could become one: all of it stays ended once the block is lifted.
    pub(crate) fn set_blocked(self, user_id: &str, is_blocked: bool) -> Self {
        // A change of the generation must last, even to what it is: a power cut does not undo what was answered.
        let row = sql("UPDATE users SET generation = generation, blocked = $2 WHERE id = $1");
        let row = row.bind(user_id).bind(is_blocked);
        let changes = self.and(row.or_nothing());
        if !is_blocked {
            return changes;
        }
        changes.void_proofs(user_id).end_other_sessions(user_id, "").forget_devices(user_id)
    }

    /// On condition that nothing was made void since a proof of this generation.
    pub(crate) fn if_generation(self, user_id: &str, generation: i64) -> Self {
        // Writing to the row makes it take turns with whoever raises the generation, on PostgreSQL as well.
        let row = sql("UPDATE users SET blocked = blocked WHERE id = $1 AND generation = $2");
        self.and(row.bind(user_id).bind(generation).or_nothing())
    }

    /// On condition that the user is not blocked. Whoever blocks the user comes before, or after all of these changes and
    /// ends what they have begun.
    pub(crate) fn if_not_blocked(self, user_id: &str) -> Self {
        // SQLite has one writer. On PostgreSQL the row is held, and not written, so that it costs nothing on either.
        let row = sql("SELECT generation FROM users WHERE id = $1 AND blocked = 0");
        let row = row.on_postgres("SELECT generation FROM users WHERE id = $1 AND blocked = 0 FOR SHARE");
        self.and(row.bind(user_id).or_nothing())
    }

    /// Ends all that was there for a user before: sessions but the `kept` one, remembered devices, and what
    /// [`void_proofs`](Self::void_proofs) does; on condition that nothing was made void since the user was read.
    pub(crate) fn end_all_before(self, user: &User, kept: &str) -> Self {
        self.if_generation(&user.id, user.generation)
            .void_proofs(&user.id)
            .end_other_sessions(&user.id, kept)
            .forget_devices(&user.id)
    }

    /// Sets a password. Earlier ones stay as history, 25 in all; that one was removed in between does not. It is in force
    /// even if an earlier one says that it was set later, because a clock was ahead.
    pub(crate) fn set_password(self, user_id: &str, hash: &str, now: i64) -> Self {
        let set = sql("INSERT INTO passwords (user_id, set_at, hash) \
             SELECT $1, CASE WHEN newest >= $2 THEN newest + 1 ELSE $2 END, $3 \
             FROM (SELECT COALESCE(MAX(set_at), 0) AS newest FROM passwords WHERE user_id = $1) AS earlier");
        let forget = sql("DELETE FROM passwords WHERE user_id = $1 AND set_at NOT IN \
             (SELECT set_at FROM passwords WHERE user_id = $1 AND hash <> '' ORDER BY set_at DESC LIMIT 25)");
        self.and(set.bind(user_id).bind(now).bind(hash)).and(forget.bind(user_id))
    }

    /// Gives a user an identifier in the place of the one of its kind, if there is one. What was proved and mailed
    /// before is void.
    pub(crate) fn set_identifier(self, user_id: &str, new: &Identifier) -> Self {
        let old = sql("DELETE FROM identifiers WHERE user_id = $1 AND kind = $2");
        self.void_proofs(user_id).and(old.bind(user_id).bind(&new.kind)).and(
            sql("INSERT INTO identifiers (kind, value, user_id, verified) VALUES ($1, $2, $3, $4)")
                .bind(&new.kind)
                .bind(&new.value)
                .bind(user_id)
                .bind(new.verified),
        )
    }

    /// Removes a user and everything that belongs to it, on condition that there still is one.
    pub(crate) fn remove_user(self, user_id: &str) -> Self {
        self.and(sql("DELETE FROM users WHERE id = $1").bind(user_id).or_nothing())
    }

    /// Takes an identifier away, on condition that it exists and another one remains. What was proved and mailed before
    /// is void.
    pub(crate) fn remove_identifier(self, user_id: &str, kind: &str) -> Self {
        // Writing to the user's row comes first, and makes removals take turns.
        let identifier = sql("DELETE FROM identifiers WHERE user_id = $1 AND kind = $2 AND \
             (SELECT COUNT(*) FROM identifiers WHERE user_id = $1) > 1");
        self.void_proofs(user_id).and(identifier.bind(user_id).bind(kind).or_nothing())
    }
}

impl Database {
    /// The user of an id.
    pub(crate) async fn user(&self, id: &str) -> Result<Option<User>> {
        let query = sql("SELECT id, handle, created_at, blocked, generation FROM users WHERE id = $1");
        let row = self.one(query.bind(id)).await?;
        self.with_identifiers(row).await
    }

    /// The user of a WebAuthn user handle.
    pub(crate) async fn user_of_handle(&self, handle: &[u8]) -> Result<Option<User>> {
        let query = sql("SELECT id, handle, created_at, blocked, generation FROM users WHERE handle = $1");
        let row = self.one(query.bind(handle)).await?;
        self.with_identifiers(row).await
    }

    /// The user that an identifier in its normal form names.
    pub(crate) async fn user_called(&self, kind: &str, value: &str) -> Result<Option<User>> {
        let row = self
            .one(
                sql("SELECT u.id, u.handle, u.created_at, u.blocked, u.generation FROM users u \
             JOIN identifiers i ON i.user_id = u.id WHERE i.kind = $1 AND i.value = $2")
                .bind(kind)
                .bind(value),
            )
            .await?;
        self.with_identifiers(row).await
    }

    async fn with_identifiers(&self, user: Option<User>) -> Result<Option<User>> {
        let Some(user) = user else { return Ok(None) };
        // `email` < `phone` < `username` in the alphabet too.
        let query = sql("SELECT kind, value, verified FROM identifiers WHERE user_id = $1 ORDER BY kind");
        let identifiers = self.all(query.bind(&user.id)).await?;
        Ok(Some(User { identifiers, ..user }))
    }

    /// Notes that an identifier has been proved by a code.
    pub(crate) async fn set_verified(&self, kind: &str, value: &str) -> Result<()> {
        self.write(
            sql("UPDATE identifiers SET verified = 1 WHERE kind = $1 AND value = $2").bind(kind).bind(value),
        )
        .await?;
        Ok(())
    }

    /// The newest passwords' hashes of a user, the latest first, also of one that was removed since.
    pub(crate) async fn password_hashes(&self, user_id: &str, at_most: i64) -> Result<Vec<String>> {
        let rows: Vec<(String,)> = self
            .all(
                sql("SELECT hash FROM passwords WHERE user_id = $1 AND hash <> '' ORDER BY set_at DESC LIMIT $2")
                    .bind(user_id)
                    .bind(at_most),
            )
            .await?;
        Ok(rows.into_iter().map(|(hash,)| hash).collect())
    }

    /// The password hash in force.
    pub(crate) async fn password_hash(&self, user_id: &str) -> Result<Option<String>> {
        Ok(self.newest_password(user_id).await?.map(|(_, hash)| hash))
    }

    /// When the password in force was set, if there is one.
    pub(crate) async fn password_set_at(&self, user_id: &str) -> Result<Option<i64>> {
        Ok(self.newest_password(user_id).await?.map(|(set_at, _)| set_at))
    }

    /// An empty hash means "removed".
    async fn newest_password(&self, user_id: &str) -> Result<Option<(i64, String)>> {
        let newest =
            sql("SELECT set_at, hash FROM passwords WHERE user_id = $1 ORDER BY set_at DESC LIMIT 1");
        let row: Option<(i64, String)> = self.one(newest.bind(user_id)).await?;
        Ok(row.filter(|(_, hash)| !hash.is_empty()))
    }

    /// Until when a prompt is put off for a user.
    pub(crate) async fn put_off_until(&self, user_id: &str, prompt: &str) -> Result<i64> {
        let row: Option<(i64,)> = self
            .one(
                sql("SELECT until FROM put_off WHERE user_id = $1 AND prompt = $2")
                    .bind(user_id)
                    .bind(prompt),
            )
            .await?;
        Ok(row.map_or(0, |(until,)| until))
    }

    /// Puts a prompt off.
    pub(crate) async fn put_off(&self, user_id: &str, prompt: &str, until: i64) -> Result<()> {
        self.write(
            sql("INSERT INTO put_off (user_id, prompt, until) VALUES ($1, $2, $3) \
             ON CONFLICT (user_id, prompt) DO UPDATE SET until = excluded.until")
            .bind(user_id)
            .bind(prompt)
            .bind(until),
        )
        .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_and_its_end_outlive_a_power_cut() {
        for is_blocked in [true, false] {
            let changes = Changes::default().set_blocked("usr_1", is_blocked);
            assert!(changes.0.iter().any(Statement::must_last), "blocked: {is_blocked}");
        }
    }

    fn user(id: &str) -> User {
        User {
            id: id.into(),
            handle: id.into(),
            created_at: 1,
            blocked: false,
            generation: 0,
            identifiers: Vec::new(),
        }
    }

    fn passkey() -> Passkey {
        Passkey {
            credential_id: vec![1],
            id: "pky_1".into(),
            user_id: "usr_1".into(),
            public_key: vec![1],
            sign_count: 0,
            backup_eligible: false,
            backup_state: false,
            user_verified: true,
            aaguid: String::new(),
            transports: Vec::new(),
            attachment: None,
            name: None,
            user_agent: String::new(),
            created_at: 1,
            last_used_at: None,
        }
    }

    #[tokio::test]
    async fn a_condition_that_finds_a_row_holds_whatever_was_changed_before() {
        let database = Database::open("memory").await.unwrap();
        database.make(Changes::default().create_user(&user("usr_1"), None, None)).await.unwrap();
        let after =
            |user_id| database.make(Changes::default().if_generation("usr_1", 0).if_not_blocked(user_id));
        assert!(after("usr_1").await.unwrap());
        assert!(!after("usr_2").await.unwrap(), "there is none");
        database.make(Changes::default().set_blocked("usr_1", true)).await.unwrap();
        assert!(!database.make(Changes::default().if_not_blocked("usr_1")).await.unwrap());
        database.make(Changes::default().set_blocked("usr_1", false)).await.unwrap();
        assert!(database.make(Changes::default().if_not_blocked("usr_1")).await.unwrap());
    }

    #[tokio::test]
    async fn removing_passwords_takes_none_out_of_the_history() {
        let database = Database::open("memory").await.unwrap();
        let created = Changes::default().create_user(&user("usr_1"), Some(&passkey()), Some("0"));
        database.make(created).await.unwrap();
        for round in 1..=30 {
            let removal = Changes::default().remove_password("usr_1", round * 10);
            assert!(database.make(removal).await.unwrap());
            assert_eq!(database.password_hash("usr_1").await.unwrap(), None, "it stays removed");
            let new = Changes::default().set_password("usr_1", &round.to_string(), round * 10 + 5);
            assert!(database.make(new).await.unwrap());
            assert_eq!(database.password_hash("usr_1").await.unwrap(), Some(round.to_string()));
            let known = database.password_hashes("usr_1", 100).await.unwrap();
            let expected: Vec<String> = (0..=round).rev().take(25).map(|hash| hash.to_string()).collect();
            assert_eq!(known, expected, "round {round}");
        }
        let rows: Vec<(i64,)> = database.all(sql("SELECT set_at FROM passwords")).await.unwrap();
        assert_eq!(rows.len(), 25, "nothing else is kept");
    }
}
