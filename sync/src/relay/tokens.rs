//! Whom a circle lets in: tokens, of which a relay has the hashes only.
//!
//! A device's token lasts until a member ends it. An invitation's is a guest's: it ends by itself, also if whoever invited is
//! gone, so that a photograph of a QR code opens nothing afterwards.

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
                                       until_s BIGINT NOT NULL, PRIMARY KEY (circle, label))";

/// So many ended tokens of a circle are remembered: the holders of others hear that they are unknown.
const ENDED_MAX: i64 = 64;

/// How often guests are looked for whose time has come.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Database {
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

    /// Lets the holder of a token in, under this label, for good or for so many seconds.
    pub(super) async fn add_token(
        &self,
        circle: CircleId,
        label: &str,
        token: &str,
        for_s: Option<u32>,
        quota: Quota,
    ) -> Result<(), RelayError> {
        let (count,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM tokens WHERE circle = $1")
            .bind(circle.to_string())
            .fetch_one(&self.pool)
            .await?;
        if count.unsigned_abs() >= quota.tokens {
            return Err(RelayError::Full);
        }
        let mut transaction = self.pool.begin().await?;
        sqlx::query("DELETE FROM guests WHERE circle = $1 AND label = $2")
            .bind(circle.to_string())
            .bind(label)
            .execute(&mut *transaction)
            .await?;
        if let Some(for_s) = for_s {
            sqlx::query("INSERT INTO guests (circle, label, until_s) VALUES ($1, $2, $3)")
                .bind(circle.to_string())
                .bind(label)
                .bind(now_s() + i64::from(for_s))
                .execute(&mut *transaction)
                .await?;
        }
        sqlx::query(
            "INSERT INTO tokens (circle, label, token) VALUES ($1, $2, $3) \
             ON CONFLICT (circle, label) DO UPDATE SET token = excluded.token",
        )
        .bind(circle.to_string())
        .bind(label)
        .bind(token)
        .execute(&mut *transaction)
        .await?;
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
        "DELETE FROM tokens WHERE circle = $1 AND label = $2",
        "DELETE FROM guests WHERE circle = $1 AND label = $2",
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
