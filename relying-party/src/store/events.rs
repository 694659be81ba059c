//! The tenant log.

use sqlx::Row as _;

use super::{Database, Result};

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

type Row = (String, i64, String, Option<String>, String);

impl Database {
    /// Writes an event.
    pub(crate) async fn put_event(&self, event: &StoredEvent) -> Result<()> {
        sqlx::query(
            "INSERT INTO events (id, date, type, user_id, data, transcript) VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(&event.id)
        .bind(event.date)
        .bind(&event.r#type)
        .bind(event.user_id.as_deref())
        .bind(&event.data)
        .bind(event.transcript.as_deref())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Events after an id, the oldest first: a checkpoint to read on from.
    pub(crate) async fn events_after(&self, id: &str, at_most: i64) -> Result<Vec<StoredEvent>> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, date, type, user_id, data FROM events WHERE id > $1 ORDER BY id LIMIT $2",
        )
        .bind(id)
        .bind(at_most)
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(without_transcript).collect())
    }

    /// The latest events before an id, the latest first.
    pub(crate) async fn events_before(&self, id: &str, at_most: i64) -> Result<Vec<StoredEvent>> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, date, type, user_id, data FROM events WHERE id < $1 ORDER BY id DESC LIMIT $2",
        )
        .bind(id)
        .bind(at_most)
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(without_transcript).collect())
    }

    /// One event with its transcript.
    pub(crate) async fn event(&self, id: &str) -> Result<Option<StoredEvent>> {
        let row = sqlx::query("SELECT id, date, type, user_id, data, transcript FROM events WHERE id = $1")
            .bind(id)
            .fetch_optional(&self.pool)
            .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(StoredEvent {
            id: row.try_get("id")?,
            date: row.try_get("date")?,
            r#type: row.try_get("type")?,
            user_id: row.try_get("user_id")?,
            data: row.try_get("data")?,
            transcript: row.try_get("transcript")?,
        }))
    }
}

fn without_transcript((id, date, r#type, user_id, data): Row) -> StoredEvent {
    StoredEvent { id, date, r#type, user_id, data, transcript: None }
}
