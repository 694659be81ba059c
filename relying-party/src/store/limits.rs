//! Counters that several processes share: how often something happened since a window began, or how much of what comes
//! back evenly is used up.

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

    /// Takes one of the shares of `each_ms` that come back one after the other, as many as fit into `all_ms` at once (the
    /// generic cell rate algorithm): whether there was one, and when all are back. Where none is, nothing changes. After a
    /// clock was set back by more than anybody can have to wait, all are there.
    pub(crate) async fn take_share(
        &self,
        name: &str,
        now: i64,
        each_ms: i64,
        all_ms: i64,
    ) -> Result<(bool, i64)> {
        let row: Option<(i64, i64)> = self
            .take(
                sql("INSERT INTO limits (name, count, level, expires_at) VALUES ($1, 1, 0, $3) \
                 ON CONFLICT (name) DO UPDATE SET \
                 count = CASE WHEN limits.expires_at > $5 AND limits.expires_at <= $6 THEN 0 ELSE 1 END, \
                 expires_at = CASE \
                 WHEN limits.expires_at <= $2 OR limits.expires_at > $6 THEN excluded.expires_at \
                 WHEN limits.expires_at <= $5 THEN limits.expires_at + $4 \
                 ELSE limits.expires_at END \
                 RETURNING count, expires_at")
                .bind(name)
                .bind(now)
                .bind(now.saturating_add(each_ms))
                .bind(each_ms)
                .bind(now.saturating_add(all_ms - each_ms))
                .bind(now.saturating_add(all_ms)),
            )
            .await?;
        Ok(row.map_or((true, now), |(taken, back_at)| (taken == 1, back_at)))
    }

    /// Gives a share back.
    pub(crate) async fn give_share_back(&self, name: &str, each_ms: i64) -> Result<()> {
        self.write(
            sql("UPDATE limits SET expires_at = expires_at - $2 WHERE name = $1").bind(name).bind(each_ms),
        )
        .await?;
        Ok(())
    }

    /// When all shares are back; a time that is over if they are.
    pub(crate) async fn shares_back_at(&self, name: &str) -> Result<i64> {
        let row: Option<(i64,)> =
            self.one(sql("SELECT expires_at FROM limits WHERE name = $1").bind(name)).await?;
        Ok(row.map_or(0, |(back_at,)| back_at))
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
