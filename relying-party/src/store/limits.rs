//! Counters that several processes share: how often something happened since a window began.

use super::{Database, Result};

impl Database {
    /// Counts one more, in a window of `window_ms` that begins with the first; gives the count.
    pub(crate) async fn count(&self, name: &str, now: i64, window_ms: i64) -> Result<i64> {
        let (count,): (i64,) = sqlx::query_as(
            "INSERT INTO limits (name, count, level, expires_at) VALUES ($1, 1, 0, $3) \
             ON CONFLICT (name) DO UPDATE SET \
             count = CASE WHEN limits.expires_at <= $2 THEN 1 ELSE limits.count + 1 END, \
             expires_at = CASE WHEN limits.expires_at <= $2 THEN excluded.expires_at ELSE limits.expires_at END \
             RETURNING count",
        )
        .bind(name)
        .bind(now)
        .bind(now.saturating_add(window_ms))
        .fetch_one(&self.pool)
        .await?;
        Ok(count)
    }

    /// The count of the window that is open, and when it closes.
    pub(crate) async fn counted(&self, name: &str, now: i64) -> Result<(i64, i64)> {
        let row: Option<(i64, i64)> =
            sqlx::query_as("SELECT count, expires_at FROM limits WHERE name = $1 AND expires_at > $2")
                .bind(name)
                .bind(now)
                .fetch_optional(&self.pool)
                .await?;
        Ok(row.unwrap_or((0, now)))
    }

    /// Sets a mark that lasts until a time; `level` is the caller's.
    pub(crate) async fn mark(&self, name: &str, level: i64, until: i64) -> Result<()> {
        sqlx::query(
            "INSERT INTO limits (name, count, level, expires_at) VALUES ($1, 0, $2, $3) \
             ON CONFLICT (name) DO UPDATE SET count = 0, level = excluded.level, expires_at = excluded.expires_at",
        )
        .bind(name)
        .bind(level)
        .bind(until)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The level and end of a mark, also of one that has ended (until it is swept).
    pub(crate) async fn marked(&self, name: &str) -> Result<Option<(i64, i64)>> {
        let row: Option<(i64, i64)> = sqlx::query_as("SELECT level, expires_at FROM limits WHERE name = $1")
            .bind(name)
            .fetch_optional(&self.pool)
            .await?;
        Ok(row)
    }

    /// Forgets a counter or mark.
    pub(crate) async fn forget(&self, name: &str) -> Result<()> {
        sqlx::query("DELETE FROM limits WHERE name = $1").bind(name).execute(&self.pool).await?;
        Ok(())
    }
}
