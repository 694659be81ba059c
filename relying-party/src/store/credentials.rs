//! Passkeys.

use super::sql::{FromRow, Row, Statement, sql};
use super::{Changes, Database, Result};
use crate::verify::CredentialRecord;

/// A stored passkey: WebAuthn's credential record and what the account page shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Passkey {
    /// The credential id, 1 to 1023 bytes.
    pub(crate) credential_id: Vec<u8>,
    /// `pky_…`, for pages and APIs.
    pub(crate) id: String,
    pub(crate) user_id: String,
    /// A `COSE_Key`, as registered.
    pub(crate) public_key: Vec<u8>,
    pub(crate) sign_count: u32,
    pub(crate) backup_eligible: bool,
    pub(crate) backup_state: bool,
    /// UV at registration.
    pub(crate) user_verified: bool,
    /// 8-4-4-4-12 hexadecimal digits.
    pub(crate) aaguid: String,
    pub(crate) transports: Vec<String>,
    pub(crate) attachment: Option<String>,
    /// The name that the user gave, if any.
    pub(crate) name: Option<String>,
    /// The browser that it was made with.
    pub(crate) user_agent: String,
    pub(crate) created_at: i64,
    pub(crate) last_used_at: Option<i64>,
}

impl Passkey {
    /// The part that verification needs.
    pub(crate) fn record(&self, user_handle: Vec<u8>) -> CredentialRecord {
        CredentialRecord {
            id: self.credential_id.clone(),
            public_key_cose: self.public_key.clone(),
            sign_count: self.sign_count,
            backup_eligible: self.backup_eligible,
            backup_state: self.backup_state,
            user_handle,
        }
    }

    /// The query for the passkey of a credential id.
    pub(super) fn of_credential(credential_id: &[u8]) -> Statement {
        sql("SELECT credential_id, id, user_id, public_key, sign_count, backup_eligible, backup_state, \
             user_verified, aaguid, transports, attachment, name, user_agent, created_at, last_used_at \
             FROM credentials WHERE credential_id = $1")
        .bind(credential_id)
    }

    /// The statement that stores it, if its user has fewer than `$15`.
    fn insert(&self, at_most: u32) -> Statement {
        sql("INSERT INTO credentials (credential_id, id, user_id, public_key, sign_count, backup_eligible, \
             backup_state, user_verified, aaguid, transports, attachment, name, user_agent, created_at) \
             SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14 \
             WHERE (SELECT COUNT(*) FROM credentials WHERE user_id = $3) < $15")
        .bind(&self.credential_id)
        .bind(&self.id)
        .bind(&self.user_id)
        .bind(&self.public_key)
        .bind(i64::from(self.sign_count))
        .bind(self.backup_eligible)
        .bind(self.backup_state)
        .bind(self.user_verified)
        .bind(&self.aaguid)
        .bind(self.transports.join(" "))
        .bind(self.attachment.as_deref())
        .bind(self.name.as_deref())
        .bind(&self.user_agent)
        .bind(self.created_at)
        .bind(i64::from(at_most))
    }
}

impl FromRow for Passkey {
    fn from_row(row: &mut Row) -> Result<Self> {
        Ok(Self {
            credential_id: row.next()?,
            id: row.next()?,
            user_id: row.next()?,
            public_key: row.next()?,
            sign_count: u32::try_from(row.next::<i64>()?).unwrap_or(u32::MAX),
            backup_eligible: row.next()?,
            backup_state: row.next()?,
            user_verified: row.next()?,
            aaguid: row.next()?,
            transports: row.next::<String>()?.split_whitespace().map(String::from).collect(),
            attachment: row.next()?,
            name: row.next()?,
            user_agent: row.next()?,
            created_at: row.next()?,
            last_used_at: row.next()?,
        })
    }
}

impl Changes {
    /// Adds a passkey to a user that has fewer than `at_most`; that is a condition.
    pub(crate) fn add_passkey(self, passkey: &Passkey, at_most: u32) -> Self {
        self.in_turn(&passkey.user_id).and(passkey.insert(at_most).or_nothing())
    }

    /// Names a user's passkey, on condition that the user has it.
    pub(crate) fn rename_passkey(self, user_id: &str, id: &str, name: &str) -> Self {
        let naming = sql("UPDATE credentials SET name = $3 WHERE user_id = $1 AND id = $2");
        self.and(naming.bind(user_id).bind(id).bind(name).or_nothing())
    }

    /// Removes a user's passkey, on condition that it exists and another way to log in remains: another passkey, or
    /// the password, if `password_counts`. What was proved before, with this passkey perhaps, is void.
    pub(crate) fn remove_passkey(self, user_id: &str, id: &str, password_counts: bool) -> Self {
        let removal = sql("DELETE FROM credentials WHERE user_id = $1 AND id = $2 AND \
             ((SELECT COUNT(*) FROM credentials WHERE user_id = $1) > 1 OR ($3 = 1 AND '' <> COALESCE( \
             (SELECT hash FROM passwords WHERE user_id = $1 ORDER BY set_at DESC LIMIT 1), '')))");
        let removal = removal.bind(user_id).bind(id).bind(password_counts);
        // Writing to the user's row comes first, and makes removals take turns.
        self.void_proofs(user_id).and(removal.or_nothing())
    }

    /// Removes a user's password, on condition that there is one, and a passkey remains. What was proved with it before
    /// is void.
    pub(crate) fn remove_password(self, user_id: &str, now: i64) -> Self {
        let removal = sql("INSERT INTO passwords (user_id, set_at, hash) \
             SELECT $1, CASE WHEN newest >= $2 THEN newest + 1 ELSE $2 END, '' \
             FROM (SELECT COALESCE(MAX(set_at), 0) AS newest FROM passwords WHERE user_id = $1) AS earlier \
             WHERE EXISTS (SELECT 1 FROM credentials WHERE user_id = $1) AND '' <> COALESCE( \
             (SELECT hash FROM passwords WHERE user_id = $1 ORDER BY set_at DESC LIMIT 1), '')");
        self.in_turn(user_id).and(removal.bind(user_id).bind(now).or_nothing()).void_proofs(user_id)
    }

    /// Writing to the user's row first makes changes that count something of one user's take turns on PostgreSQL.
    pub(crate) fn in_turn(self, user_id: &str) -> Self {
        self.and(sql("UPDATE users SET blocked = blocked WHERE id = $1").bind(user_id).or_nothing())
    }

    /// Notes a use, on condition that the counter still is what the verification compared with: of two uses with the
    /// same counter in parallel, one fails. Counters of 0 are no counters.
    pub(crate) fn use_passkey(self, used: &PasskeyUse, now: i64) -> Self {
        let statement = sql("UPDATE credentials SET sign_count = $2, backup_state = $3, last_used_at = $4 \
             WHERE credential_id = $1 AND sign_count = $5");
        self.and(
            statement
                .bind(&used.credential_id)
                .bind(i64::from(used.sign_count))
                .bind(used.backup_state)
                .bind(now)
                .bind(i64::from(used.previous_sign_count))
                .or_nothing(),
        )
    }
}

impl Database {
    /// The passkey of a credential id.
    pub(crate) async fn passkey(&self, credential_id: &[u8]) -> Result<Option<Passkey>> {
        self.one(Passkey::of_credential(credential_id)).await
    }

    /// A user's passkeys, the oldest first.
    pub(crate) async fn passkeys(&self, user_id: &str) -> Result<Vec<Passkey>> {
        let query =
            sql("SELECT credential_id, id, user_id, public_key, sign_count, backup_eligible, backup_state, \
             user_verified, aaguid, transports, attachment, name, user_agent, created_at, last_used_at \
             FROM credentials WHERE user_id = $1 ORDER BY created_at, id");
        self.all(query.bind(user_id)).await
    }

    /// How many passkeys there are in all.
    pub(crate) async fn count_passkeys(&self) -> Result<i64> {
        let row = self.one(sql("SELECT COUNT(*) FROM credentials")).await?;
        Ok(row.map_or(0, |(count,)| count))
    }
}

/// What a verified assertion changes in its record, once everything else has passed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct PasskeyUse {
    pub(crate) credential_id: Vec<u8>,
    /// The counter that the verification compared with.
    pub(crate) previous_sign_count: u32,
    pub(crate) sign_count: u32,
    pub(crate) backup_state: bool,
}
