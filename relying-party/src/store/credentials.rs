//! Passkeys.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

use super::{Database, Result};
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

    pub(super) async fn insert(&self, connection: &mut AnyConnection) -> Result<()> {
        sqlx::query(
            "INSERT INTO credentials (credential_id, id, user_id, public_key, sign_count, backup_eligible, \
             backup_state, user_verified, aaguid, transports, attachment, name, user_agent, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        )
        .bind(&self.credential_id)
        .bind(&self.id)
        .bind(&self.user_id)
        .bind(&self.public_key)
        .bind(i64::from(self.sign_count))
        .bind(i64::from(self.backup_eligible))
        .bind(i64::from(self.backup_state))
        .bind(i64::from(self.user_verified))
        .bind(&self.aaguid)
        .bind(self.transports.join(" "))
        .bind(self.attachment.as_deref())
        .bind(self.name.as_deref())
        .bind(&self.user_agent)
        .bind(self.created_at)
        .execute(connection)
        .await?;
        Ok(())
    }

    fn from_row(row: &AnyRow) -> Result<Self> {
        let flag = |name: &str| row.try_get::<i64, _>(name).map(|value| value != 0);
        let transports: String = row.try_get("transports")?;
        Ok(Self {
            credential_id: row.try_get("credential_id")?,
            id: row.try_get("id")?,
            user_id: row.try_get("user_id")?,
            public_key: row.try_get("public_key")?,
            sign_count: u32::try_from(row.try_get::<i64, _>("sign_count")?).unwrap_or(u32::MAX),
            backup_eligible: flag("backup_eligible")?,
            backup_state: flag("backup_state")?,
            user_verified: flag("user_verified")?,
            aaguid: row.try_get("aaguid")?,
            transports: transports.split_whitespace().map(String::from).collect(),
            attachment: row.try_get("attachment")?,
            name: row.try_get("name")?,
            user_agent: row.try_get("user_agent")?,
            created_at: row.try_get("created_at")?,
            last_used_at: row.try_get("last_used_at")?,
        })
    }
}

impl Database {
    /// The passkey of a credential id.
    pub(crate) async fn passkey(&self, credential_id: &[u8]) -> Result<Option<Passkey>> {
        let row = sqlx::query("SELECT * FROM credentials WHERE credential_id = $1")
            .bind(credential_id)
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(Passkey::from_row).transpose()
    }

    /// A user's passkeys, the oldest first.
    pub(crate) async fn passkeys(&self, user_id: &str) -> Result<Vec<Passkey>> {
        let rows = sqlx::query("SELECT * FROM credentials WHERE user_id = $1 ORDER BY created_at, id")
            .bind(user_id)
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(Passkey::from_row).collect()
    }

    /// How many passkeys there are in all.
    pub(crate) async fn count_passkeys(&self) -> Result<i64> {
        let (count,): (i64,) =
            sqlx::query_as("SELECT COUNT(*) FROM credentials").fetch_one(&self.pool).await?;
        Ok(count)
    }

    /// Adds a passkey to a user that has fewer than `at_most`; false if there are as many already.
    ///
    /// # Errors
    /// [`Taken`](super::StoreError::Taken) if the credential id is registered, for whatever user.
    pub(crate) async fn add_passkey(&self, passkey: &Passkey, at_most: u32) -> Result<bool> {
        let mut transaction = self.pool.begin().await?;
        // Writing to the user's row first makes two registrations of one user take turns, on both databases.
        sqlx::query("UPDATE users SET blocked = blocked WHERE id = $1")
            .bind(&passkey.user_id)
            .execute(&mut *transaction)
            .await?;
        let (count,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM credentials WHERE user_id = $1")
            .bind(&passkey.user_id)
            .fetch_one(&mut *transaction)
            .await?;
        if count >= i64::from(at_most) {
            return Ok(false);
        }
        passkey.insert(&mut transaction).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Notes a use, if the counter still is what the verification compared with: of two uses with the same
    /// counter in parallel, one is told `false`. Counters of 0 are no counters.
    pub(crate) async fn use_passkey(&self, used: &PasskeyUse, now: i64) -> Result<bool> {
        let done = sqlx::query(
            "UPDATE credentials SET sign_count = $2, backup_state = $3, last_used_at = $4 \
             WHERE credential_id = $1 AND sign_count = $5",
        )
        .bind(&used.credential_id)
        .bind(i64::from(used.sign_count))
        .bind(i64::from(used.backup_state))
        .bind(now)
        .bind(i64::from(used.previous_sign_count))
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Names a user's passkey; false if the user has no such passkey.
    pub(crate) async fn rename_passkey(&self, user_id: &str, id: &str, name: &str) -> Result<bool> {
        let done = sqlx::query("UPDATE credentials SET name = $3 WHERE user_id = $1 AND id = $2")
            .bind(user_id)
            .bind(id)
            .bind(name)
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Removes a user's passkey; false if the user has no such passkey.
    pub(crate) async fn remove_passkey(&self, user_id: &str, id: &str) -> Result<bool> {
        let done = sqlx::query("DELETE FROM credentials WHERE user_id = $1 AND id = $2")
            .bind(user_id)
            .bind(id)
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() == 1)
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
