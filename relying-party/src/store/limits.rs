//! Counters that several processes share: how often something happened since a window began.

use super::sql::sql;
use super::{Database, Result};

impl Database {
    /// Counts one more, in a window of `window_ms` that begins with the first; gives the count.
    pub(crate) async fn count(&self, name: &str, now: i64, window_ms: i64) -> Result<i64> {
        let row: Option<(i64,)> = self.take(sql(
            "INSERT INTO limits (name, count, level, expires_at) VALUES ($1, 1, 0, $3) \
             ON CONFLICT (name) DO UPDATE SET \
             count = CASE WHEN limits.expires_at <= $2 THEN 1 ELSE limits.count + 1 END, \
             expires_at = CASE WHEN limits.expires_at <= $2 THEN excluded.expires_at ELSE limits.expires_at END \
             RETURNING count",
        )
        .bind(name)
        .bind(now)
        .bind(now.saturating_add(window_ms)))
        .await?;
        Ok(row.map_or(1, |(count,)| count))
    }

    /// Takes one back.
    pub(crate) async fn uncount(&self, name: &str) -> Result<()> {
        self.write(sql("UPDATE limits SET count = count - 1 WHERE name = $1 AND count > 0").bind(name))
            .await?;
        Ok(())
    }

    /// The count of the window that is open, and when it closes.
    pub(crate) async fn counted(&self, name: &str, now: i64) -> Result<(i64, i64)> {
        let row: Option<(i64, i64)> = self
            .one(
                sql("SELECT count, expires_at FROM limits WHERE name = $1 AND expires_at > $2")
                    .bind(name)
                    .bind(now),
            )
            .await?;
        Ok(row.unwrap_or((0, now)))
    }

    /// Sets a mark that lasts until a time; `level` is the caller's.
    pub(crate) async fn mark(&self, name: &str, level: i64, until: i64) -> Result<()> {
        self.write(sql(
            "INSERT INTO limits (name, count, level, expires_at) VALUES ($1, 0, $2, $3) \
             ON CONFLICT (name) DO UPDATE SET count = 0, level = excluded.level, expires_at = excluded.expires_at",
        )
        .bind(name)
        .bind(level)
        .bind(until))
        .await?;
        Ok(())
    }

    /// The level and end of a mark, also of one that has ended (until it is swept).
    pub(crate) async fn marked(&self, name: &str) -> Result<Option<(i64, i64)>> {
        let row: Option<(i64, i64)> =
            self.one(sql("SELECT level, expires_at FROM limits WHERE name = $1").bind(name)).await?;
        Ok(row)
    }

    /// Forgets a counter or mark.
    pub(crate) async fn forget(&self, name: &str) -> Result<()> {
        self.write(sql("DELETE FROM limits WHERE name = $1").bind(name)).await?;
        Ok(())
    }
}
