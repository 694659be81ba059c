//! The tenant log.

use super::sql::{FromRow, Row, sql};
use super::{Changes, Database, Result};

/// An event as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredEvent {
    /// Sortable: later events have greater ids.
    pub(crate) id: String,
    pub(crate) date: i64,
    pub(crate) r#type: String,
    pub(crate) user_id: Option<String>,
    /// JSON: the common fields and the details.
    pub(crate) data: String,
    /// JSON: the verification's transcript, if a ceremony stands behind it.
    pub(crate) transcript: Option<String>,
}

impl FromRow for StoredEvent {
    fn from_row(row: &mut Row) -> Result<Self> {
        Ok(Self {
            id: row.next()?,
            date: row.next()?,
            r#type: row.next()?,
            user_id: row.next()?,
            data: row.next()?,
            transcript: row.next()?,
        })
    }
}

/// Behind every id of an event, whatever the database's collation: ids are hexadecimal, and in some languages marks such
/// as `~` come before digits.
pub(crate) const LAST: &str = "g";

impl Changes {
    /// Writes an event.
    pub(crate) fn put_event(self, event: &StoredEvent) -> Self {
        let statement = sql(
            "INSERT INTO events (id, date, type, user_id, data, transcript) VALUES ($1, $2, $3, $4, $5, $6)",
        );
        self.and(
            statement
                .bind(&event.id)
                .bind(event.date)
                .bind(&event.r#type)
                .bind(event.user_id.as_deref())
                .bind(&event.data)
                .bind(event.transcript.as_deref()),
        )
    }
}

impl Database {
    /// Events after an id, the oldest first, without transcripts: a checkpoint to read on from.
    pub(crate) async fn events_after(&self, id: &str, at_most: i64) -> Result<Vec<StoredEvent>> {
        let query =
            sql("SELECT id, date, type, user_id, data, NULL FROM events WHERE id > $1 ORDER BY id LIMIT $2");
        self.all(query.bind(id).bind(at_most)).await
    }

    /// The latest events before an id, the latest first, without transcripts.
    pub(crate) async fn events_before(&self, id: &str, at_most: i64) -> Result<Vec<StoredEvent>> {
        let query = sql(
            "SELECT id, date, type, user_id, data, NULL FROM events WHERE id < $1 ORDER BY id DESC LIMIT $2",
        );
        self.all(query.bind(id).bind(at_most)).await
    }

    /// One event with its transcript.
    pub(crate) async fn event(&self, id: &str) -> Result<Option<StoredEvent>> {
        let query = sql("SELECT id, date, type, user_id, data, transcript FROM events WHERE id = $1");
        self.one(query.bind(id)).await
    }
}
