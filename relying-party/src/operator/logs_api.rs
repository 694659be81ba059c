//! `GET /api/v2/logs`, one event, and the stream of them.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Path, Query};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures_util::stream::{self, Stream};
use serde::Deserialize;
use serde_json::Value;

use super::Operator;
use crate::app::App;
use crate::events::transcript_of;
use crate::failure::Failure;
use crate::store::StoredEvent;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/api/v2/logs", get(list))
        .route("/api/v2/logs/stream", get(follow))
        .route("/api/v2/logs/{id}", get(one))
}

/// `from` is a checkpoint: the events after that id. `q` is `type:s`, `user_id:usr_…` or words, all of which must be
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
    let mut found = Vec::new();
    let mut from = filter.from.clone();
    while found.len() < take {
        let page = operator.app.database.events_after(&from, 100).await?;
        let Some(last) = page.last() else { break };
        from.clone_from(&last.id);
        found.extend(page.into_iter().filter(|event| filter.fits(event)));
    }
    found.truncate(take);
    Ok(Json(found.iter().map(json).collect::<Vec<_>>()).into_response())
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

/// Server-sent events, each with its id: a client that reconnects with `Last-Event-ID`, or names `from`, misses none.
async fn follow(
    operator: Operator,
    headers: axum::http::HeaderMap,
    query: Result<Query<Filter>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Failure> {
    let filter = filter(query)?;
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()).map(String::from);
    let from = match last.or_else(|| Some(filter.from.clone()).filter(|from| !from.is_empty())) {
        Some(from) => from,
        None => operator.app.next_event_id(operator.app.now()),
    };
    let stream = events(operator.app, filter, from);
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))).into_response())
}

fn events(app: App, filter: Filter, from: String) -> impl Stream<Item = Result<sse::Event, Infallible>> {
    let start = (app, filter, from, Vec::<StoredEvent>::new().into_iter());
    stream::unfold(start, async |(app, filter, mut from, mut waiting)| {
        loop {
            for event in waiting.by_ref() {
                if filter.fits(&event) {
                    let sent = sse::Event::default().id(&event.id).event(&event.r#type).data(&event.data);
                    return Some((Ok(sent), (app, filter, from, waiting)));
                }
            }
            // Registered before reading: an event written meanwhile is not missed. Events of other processes are
            // seen when this one writes its next, or after a second.
            let written = app.new_events.notified();
            let page = app.database.events_after(&from, 100).await.unwrap_or_default();
            match page.last() {
                Some(last) => {
                    from.clone_from(&last.id);
                    waiting = page.into_iter();
                }
                None => {
                    let _ = tokio::time::timeout(Duration::from_secs(1), written).await;
                }
            }
        }
    })
}
