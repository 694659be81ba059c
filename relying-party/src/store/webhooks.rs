//! Webhooks: how far each has got in the log, and which of several processes sends.

use super::sql::{FromRow, Row, sql};
use super::{Database, Result, StoredEvent};

/// How far a webhook has got. Every event up to `checkpoint` has been delivered, and `sent` of those between it and
/// `head`, which is the latest that has been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Grows with every change of who sends.
    pub(crate) term: i64,
    pub(crate) checkpoint: String,
    pub(crate) head: String,
    pub(crate) sent: i64,
}

impl FromRow for Progress {
    fn from_row(row: &mut Row) -> Result<Self> {
        Ok(Self { term: row.next()?, checkpoint: row.next()?, head: row.next()?, sent: row.next()? })
    }
}

impl Database {
    /// Calls a webhook something else, unless there is one that is called so already.
    pub(crate) async fn rename_webhook(&self, before: &str, id: &str) -> Result<()> {
        let statement = sql("UPDATE webhooks SET id = $2 WHERE id = $1 AND NOT EXISTS \
             (SELECT 1 FROM webhooks WHERE id = $2)");
        self.write(statement.bind(before).bind(id)).await.map(drop)
    }

    /// Lets a webhook that is new begin behind an event id; a known one goes on from where it is.
    pub(crate) async fn begin_webhook(&self, id: &str, at: &str) -> Result<()> {
        let statement = sql("INSERT INTO webhooks (id, term, holder, lease_until, checkpoint, head, sent) \
             VALUES ($1, 0, '', 0, $2, $2, 0) ON CONFLICT (id) DO NOTHING");
        self.write(statement.bind(id).bind(at)).await?;
        Ok(())
    }

    /// Makes or keeps `holder` the one who sends until a time; `None` while it is another. `until` is the longest that
    /// anybody can ask for: a lease beyond it was given before the clock was set back, and holds nobody up.
    pub(crate) async fn hold_webhook(
        &self,
        id: &str,
        holder: &str,
        now: i64,
        until: i64,
    ) -> Result<Option<Progress>> {
        let statement = sql(
            "UPDATE webhooks SET term = CASE WHEN holder = $2 THEN term ELSE term + 1 END, holder = $2, \
             lease_until = $4 WHERE id = $1 AND (holder = $2 OR lease_until <= $3 OR lease_until > $4) \
             RETURNING term, checkpoint, head, sent",
        );
        self.take(statement.bind(id).bind(holder).bind(now).bind(until)).await
    }

    /// Notes what has been delivered: false if another process sends by now.
    pub(crate) async fn advance_webhook(&self, id: &str, progress: &Progress) -> Result<bool> {
        let statement =
            sql("UPDATE webhooks SET checkpoint = $3, head = $4, sent = $5 WHERE id = $1 AND term = $2");
        let statement = statement.bind(id).bind(progress.term).bind(&progress.checkpoint);
        Ok(self.write(statement.bind(&progress.head).bind(progress.sent)).await? == 1)
    }

    /// How many events there are after one id, up to another.
    pub(crate) async fn count_events_between(&self, after: &str, last: &str) -> Result<i64> {
        let query = sql("SELECT COUNT(*) FROM events WHERE id > $1 AND id <= $2");
        let row = self.one(query.bind(after).bind(last)).await?;
        Ok(row.map_or(0, |(count,)| count))
    }

    /// The ids of the events after one id, up to another, the oldest first.
    pub(crate) async fn event_ids_between(&self, after: &str, last: &str) -> Result<Vec<String>> {
        let query = sql("SELECT id FROM events WHERE id > $1 AND id <= $2 ORDER BY id");
        let rows: Vec<(String,)> = self.all(query.bind(after).bind(last)).await?;
        Ok(rows.into_iter().map(|(id,)| id).collect())
    }

    /// The events of some ids, in that order, without transcripts.
    pub(crate) async fn events_of(&self, ids: &[String]) -> Result<Vec<StoredEvent>> {
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            let query = sql("SELECT id, date, type, user_id, data, NULL FROM events WHERE id = $1");
            found.extend(self.one::<StoredEvent>(query.bind(id)).await?);
        }
        Ok(found)
    }
}
