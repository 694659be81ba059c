//! `GET /api/v2/logs`, one event, and the stream of them.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Path, Query};
use axum::http::header::LINK;
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures_util::stream::{self, Stream};
use serde::Deserialize;
use serde_json::Value;

use super::Operator;
use crate::app::App;
use crate::cursor::Cursor;
use crate::events::transcript_of;
use crate::failure::Failure;
use crate::pages;
use crate::store::{Progress, StoredEvent};

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/api/v2/logs", get(list))
        .route("/api/v2/logs/stream", get(follow))
        .route("/api/v2/logs/{id}", get(one))
}

/// `from` is a `log_id`, for the events behind it, or what the last page's `Link` says. `q` is `type:s`, `user_id:usr_…` or words, all of which must be
/// found.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    #[serde(default)]
    q: String,
    #[serde(default)]
    from: String,
    take: Option<u16>,
}

impl Filter {
    pub(super) fn of(q: &str) -> Self {
        Self { q: q.to_string(), ..Self::default() }
    }

    pub(super) fn fits(&self, event: &StoredEvent) -> bool {
        self.q.split_whitespace().filter(|word| *word != "AND").all(|word| match word.split_once(':') {
            Some(("type", code)) => event.r#type == code.trim_matches('"'),
            Some(("user_id", id)) => event.user_id.as_deref() == Some(id.trim_matches('"')),
            _ => event.data.to_lowercase().contains(&word.to_lowercase()),
        })
    }
}

/// Reads the query by hand: axum's own refusal would not be ours.
fn filter(query: Result<Query<Filter>, axum::extract::rejection::QueryRejection>) -> Result<Filter, Failure> {
    query.map(|Query(filter)| filter).map_err(|error| Failure::BadBody(error.body_text()))
}

async fn list(
    operator: Operator,
    query: Result<Query<Filter>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Failure> {
    let filter = filter(query)?;
    let take = usize::from(filter.take.unwrap_or(50).clamp(1, 100));
    let (mut found, mut cursor) = (Vec::new(), cursor_of(&operator.app, &filter.from).await?);
    while found.len() < take {
        let page = cursor.next(&operator.app).await?;
        if page.is_empty() {
            break;
        }
        for event in page {
            if found.len() < take {
                cursor.deliver(BTreeSet::from([event.id.clone()]));
                found.extend(filter.fits(&event).then(|| json(&event)));
            }
        }
    }
    let (from, q) = (token(&cursor), pages::url_encoded(&filter.q));
    let next = format!("</api/v2/logs?from={from}&take={take}&q={q}>; rel=\"next\"");
    Ok(([(LINK, next)], Json(found)).into_response())
}

async fn one(operator: Operator, Path(id): Path<String>) -> Result<Response, Failure> {
    let event = operator.app.database.event(&id).await?.ok_or(Failure::NotFound)?;
    let mut value = json(&event);
    let transcript = transcript_of(&event);
    if let Some(transcript) = transcript {
        value["transcript"] = transcript;
    }
    Ok(Json(value).into_response())
}

fn json(event: &StoredEvent) -> Value {
    serde_json::from_str(&event.data).unwrap_or_default()
}

/// Server-sent events. The id of each says how far the stream has got ([`token`]): a client that reconnects with it
/// (`Last-Event-ID`) misses none, and gets few twice. `from` begins behind the event of that `log_id`.
async fn follow(
    operator: Operator,
    headers: axum::http::HeaderMap,
    query: Result<Query<Filter>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Failure> {
    let filter = filter(query)?;
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()).map(String::from);
    let cursor = match last.or_else(|| Some(filter.from.clone()).filter(|from| !from.is_empty())) {
        Some(from) => cursor_of(&operator.app, &from).await?,
        None => Cursor::behind(operator.app.next_event_id(operator.app.now())),
    };
    let stream = events(operator.app, filter, cursor);
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))).into_response())
}

/// A cursor as the id of a server-sent event: head, checkpoint, and how many were delivered between them.
fn token(cursor: &Cursor) -> String {
    let Progress { checkpoint, head, sent, .. } = cursor.progress();
    format!("{head}.{checkpoint}.{sent}")
}

/// The cursor of such an id, or one behind an event's.
async fn cursor_of(app: &App, text: &str) -> Result<Cursor, Failure> {
    let mut parts = text.splitn(3, '.');
    let (head, checkpoint) = (parts.next().unwrap_or_default().to_string(), parts.next());
    let (Some(checkpoint), Some(sent)) = (checkpoint, parts.next().and_then(|sent| sent.parse().ok())) else {
        return Ok(Cursor::behind(head));
    };
    let ids = app.database.event_ids_between(checkpoint, &head).await?;
    Ok(Cursor::resume(Progress { term: 0, checkpoint: checkpoint.to_string(), head, sent }, ids))
}

fn events(app: App, filter: Filter, cursor: Cursor) -> impl Stream<Item = Result<sse::Event, Infallible>> {
    let start = (app, filter, cursor, Vec::<StoredEvent>::new().into_iter());
    stream::unfold(start, async |(app, filter, mut cursor, mut waiting)| {
        loop {
            for event in waiting.by_ref() {
                cursor.deliver(BTreeSet::from([event.id.clone()]));
                if filter.fits(&event) {
                    let sent =
                        sse::Event::default().id(token(&cursor)).event(&event.r#type).data(&event.data);
                    return Some((Ok(sent), (app, filter, cursor, waiting)));
                }
            }
            // Registered before reading: an event written meanwhile is not missed. Events of other processes are
            // seen when this one writes its next, or after a second.
            let written = app.new_events.notified();
            let page = cursor.next(&app).await.unwrap_or_default();
            if page.is_empty() {
                let _ = tokio::time::timeout(Duration::from_secs(1), written).await;
            }
            waiting = page.into_iter();
        }
    })
}
