//! Whom a circle lets in: tokens, of which a relay has the hashes only.
//!
//! A device's token lasts until a member ends it. An invitation's is a guest's: it ends by itself, also if whoever invited is
//! gone, so that a photograph of a QR code opens nothing afterwards. A guest may read and put entries, and let in whom the
//! invitation is for: that token is a guest's, too, and ends with the invitation's unless a member says that it stays. A
//! guest ends and replaces no token, and has no business with what is in escrow.

use std::format;
use std::string::{String, ToString as _};
use std::sync::Weak;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::vec::Vec;

use sqlx::AnyPool;

use super::Quota;
use super::store::{Database, RelayError};
use crate::id::CircleId;

pub(super) const ENDED_TABLE: &str = "CREATE TABLE IF NOT EXISTS ended (circle TEXT NOT NULL, token TEXT NOT NULL, PRIMARY KEY (circle, token))";

pub(super) const GUESTS_TABLE: &str = "CREATE TABLE IF NOT EXISTS guests (circle TEXT NOT NULL, label TEXT NOT NULL, \
                                       until_s BIGINT NOT NULL, host TEXT NOT NULL, PRIMARY KEY (circle, label))";

/// So many ended tokens of a circle are remembered: the holders of others hear that they are unknown.
const ENDED_MAX: i64 = 64;

/// How often guests are looked for whose time has come.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A token that ends by itself.
pub(super) struct Guest {
    label: String,
    until_s: i64,
    /// The label of the guest that let it in; empty for an invitation's own.
    host: String,
}

/// How long a token lasts.
pub(super) enum Stay<'a> {
    /// Until a member ends it.
    ForGood,
    /// For so many seconds.
    For(u32),
    /// As long as the guest that lets it in.
    As(&'a Guest),
}

impl Database {
    /// Whether a token of the circle's is a guest's.
    pub(super) async fn guest(&self, circle: CircleId, token: &str) -> Result<Option<Guest>, RelayError> {
        let found: Option<(String, i64, String)> = sqlx::query_as(
            "SELECT guests.label, until_s, host FROM guests JOIN tokens \
             ON tokens.circle = guests.circle AND tokens.label = guests.label \
             WHERE guests.circle = $1 AND tokens.token = $2",
        )
        .bind(circle.to_string())
        .bind(token)
        .fetch_optional(&self.pool)
        .await?;
        Ok(found.map(|(label, until_s, host)| Guest { label, until_s, host }))
    }

    /// What a guest let in under this label stays: it is a member's.
    pub(super) async fn let_stay(&self, circle: CircleId, label: &str) -> Result<(), RelayError> {
        sqlx::query("DELETE FROM guests WHERE circle = $1 AND label = $2 AND host <> ''")
            .bind(circle.to_string())
            .bind(label)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Whether the token is one of the circle's.
    pub(super) async fn knows(&self, circle: CircleId, token: &str) -> Result<bool, RelayError> {
        let row: Option<(i64,)> =
            sqlx::query_as("SELECT CAST(1 AS BIGINT) FROM tokens WHERE circle = $1 AND token = $2")
                .bind(circle.to_string())
                .bind(token)
                .fetch_optional(&self.pool)
                .await?;
        Ok(row.is_some())
    }

    /// Whether a token is let in under this label, and no guest's.
    pub(super) async fn has_label(&self, circle: CircleId, label: &str) -> Result<bool, RelayError> {
        let row: Option<(i64,)> = sqlx::query_as(
            "SELECT CAST(1 AS BIGINT) FROM tokens WHERE circle = $1 AND label = $2 AND NOT EXISTS \
             (SELECT 1 FROM guests WHERE guests.circle = $1 AND guests.label = $2)",
        )
        .bind(circle.to_string())
        .bind(label)
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.is_some())
    }

    /// Lets the holder of a token in, under this label. A guest replaces nobody.
    pub(super) async fn add_token(
        &self,
        circle: CircleId,
        label: &str,
        token: &str,
        stay: Stay<'_>,
        quota: Quota,
    ) -> Result<(), RelayError> {
        let (count,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM tokens WHERE circle = $1")
            .bind(circle.to_string())
            .fetch_one(&self.pool)
            .await?;
        if count.unsigned_abs() >= quota.tokens {
            return Err(RelayError::Full);
        }
        let until = match stay {
            Stay::ForGood => None,
            Stay::For(seconds) => Some((now_s() + i64::from(seconds), "")),
            // Whom a guest let in lets nobody in.
            Stay::As(guest) if !guest.host.is_empty() => return Err(RelayError::Guest),
            Stay::As(guest) => Some((guest.until_s, guest.label.as_str())),
        };
        let mut transaction = self.pool.begin().await?;
        let replaces =
            if matches!(stay, Stay::As(_)) { "NOTHING" } else { "UPDATE SET token = excluded.token" };
        let statement = format!(
            "INSERT INTO tokens (circle, label, token) VALUES ($1, $2, $3) ON CONFLICT (circle, label) DO {replaces}"
        );
        let made = sqlx::query(sqlx::AssertSqlSafe(statement))
            .bind(circle.to_string())
            .bind(label)
            .bind(token)
            .execute(&mut *transaction)
            .await?;
        if made.rows_affected() == 0 {
            return Err(RelayError::Guest);
        }
        sqlx::query("DELETE FROM guests WHERE circle = $1 AND label = $2")
            .bind(circle.to_string())
            .bind(label)
            .execute(&mut *transaction)
            .await?;
        if let Some((until_s, host)) = until {
            sqlx::query("INSERT INTO guests (circle, label, until_s, host) VALUES ($1, $2, $3, $4)")
                .bind(circle.to_string())
                .bind(label)
                .bind(until_s)
                .bind(host)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Shuts a token's holder out. A device's is remembered, so that it can be told why.
    pub(super) async fn remove_token(&self, circle: CircleId, label: &str) -> Result<(), RelayError> {
        remove(&self.pool, &circle.to_string(), label).await
    }

    /// Why a token that the circle does not have opens nothing: so that a device that was revoked can tell its user.
    pub(super) async fn why_not(&self, circle: CircleId, token: &str) -> RelayError {
        let ended: Result<Option<(i64,)>, _> =
            sqlx::query_as("SELECT CAST(1 AS BIGINT) FROM ended WHERE circle = $1 AND token = $2")
                .bind(circle.to_string())
                .bind(token)
                .fetch_optional(&self.pool)
                .await;
        match ended {
            Ok(Some(_)) => RelayError::Ended,
            Ok(None) => RelayError::Unauthorized,
            Err(error) => error.into(),
        }
    }
}

/// Ends guests' tokens when it is time, as long as the database is in use.
pub(super) fn end_guests_in_time(pool: AnyPool, in_use: Weak<impl Send + Sync + 'static>) {
    tokio::spawn(async move {
        while in_use.strong_count() > 0 {
            // A database that is away is looked at again; whoever puts or lists is told what is the matter.
            let _ = end_guests(&pool, now_s()).await;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    });
}

async fn end_guests(pool: &AnyPool, now_s: i64) -> Result<(), RelayError> {
    let due: Vec<(String, String)> =
        sqlx::query_as("SELECT circle, label FROM guests WHERE until_s <= $1 LIMIT 100")
            .bind(now_s)
            .fetch_all(pool)
            .await?;
    for (circle, label) in due {
        remove(pool, &circle, &label).await?;
    }
    Ok(())
}

async fn remove(pool: &AnyPool, circle: &str, label: &str) -> Result<(), RelayError> {
    let mut transaction = pool.begin().await?;
    sqlx::query(
        "INSERT INTO ended (circle, token) SELECT circle, token FROM tokens \
         WHERE circle = $1 AND label = $2 AND (SELECT COUNT(*) FROM ended WHERE circle = $1) < $3 \
         AND NOT EXISTS (SELECT 1 FROM guests WHERE circle = $1 AND label = $2) ON CONFLICT DO NOTHING",
    )
    .bind(circle)
    .bind(label)
    .bind(ENDED_MAX)
    .execute(&mut *transaction)
    .await?;
    for statement in [
        "DELETE FROM tokens WHERE circle = $1 AND (label = $2 \
         OR label IN (SELECT label FROM guests WHERE circle = $1 AND host = $2))",
        "DELETE FROM guests WHERE circle = $1 AND (label = $2 OR host = $2)",
    ] {
        sqlx::query(statement).bind(circle).bind(label).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "invitations end by the clock on the wall of whoever runs the relay"
)]
fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}
