//! Webhooks: the log's events, sent to URLs that the operator names.
//!
//! Each event arrives **at least once**, in batches, about in order. A batch that is not answered with a yes (2xx) is sent
//! again after 1, 2, 4, … at most 300 seconds, until it is taken or the log has forgotten its events. How far a webhook
//! has got is in the database, and so is which process sends, when several share it: a restart loses nothing, and when a
//! process dies another goes on once its lease is over.
//!
//! What keeps an event from being missed that is written behind a later one is the [cursor](crate::cursor).

mod receiver;
mod signature;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde_json::json;
use serde_json::value::RawValue;

use crate::app::{App, Shared};
use crate::cursor::Cursor;
use crate::passwords;
use crate::secret;
use crate::store::{StoreError, StoredEvent};
use receiver::{Receiver, Trouble};
use signature::Key;

/// Where events go, and the keys that sign them.
#[derive(Clone, Default)]
pub struct Webhooks {
    urls: Vec<String>,
    keys: Vec<Key>,
}

impl Webhooks {
    /// Webhooks at these URLs: https, or http to this machine. `secret` holds the keys, one a line: 24 to 64 bytes in
    /// base64, with `whsec_` before it or without; each signs every message.
    ///
    /// ```
    /// use doppelkey_relying_party::Webhooks;
    ///
    /// let urls = vec!["https://siem.example.org/passkeys".to_string()];
    /// assert!(Webhooks::new(urls.clone(), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").is_ok());
    /// let (what, hint) = Webhooks::new(urls, "hunter2").unwrap_err();
    /// assert!(what.contains("line 1") && hint.contains("openssl rand"));
    /// ```
    ///
    /// # Errors
    /// The operator's fault, as `(what, what to do)`; neither holds a secret.
    pub fn new(urls: Vec<String>, secret: &str) -> Result<Self, (String, String)> {
        let make_one = "make one: openssl rand -base64 32 > webhook.secret";
        let keys = signature::keys(secret).map_err(|line| {
            (format!("line {line} of the webhooks' secret is not 24 to 64 bytes in base64"), make_one.into())
        })?;
        if keys.is_empty() {
            return Err(("the webhooks' secret is empty".into(), make_one.into()));
        }
        if urls.len() > MOST {
            return Err((format!("{} webhooks are too many", urls.len()), format!("name {MOST} at most")));
        }
        for (number, url) in urls.iter().enumerate() {
            let name = format!("webhook {}", number + 1);
            if let Err(why) = Receiver::at(url) {
                return Err((
                    format!("the URL of {name} {why}"),
                    "for example --webhook https://siem.example.org/passkeys".into(),
                ));
            }
            if urls[..number].contains(url) {
                return Err((format!("{name} is named twice"), "name it once".into()));
            }
        }
        Ok(Self { urls, keys })
    }
}

/// Tells neither URLs, which may hold a secret, nor keys.
impl fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Webhooks({})", self.urls.len())
    }
}

/// Starts one sender for each URL; they end with the application.
///
/// # Errors
/// The database's. From when this returns on, nothing that is logged is missed.
pub(crate) async fn start(app: &App) -> Result<(), StoreError> {
    for url in &app.config.webhooks.urls {
        let Ok(receiver) = Receiver::at(url) else { continue };
        let id = id_of(app, url).await?;
        // What it was called before was of the shared secret, too, and was lost with it.
        let before = secret::text(&secret::keyed(&app.secret, &[b"webhook", url.as_bytes()])[..15]);
        app.database.rename_webhook(&before, &id).await?;
        app.database.begin_webhook(&id, &app.next_event_id(app.now())).await?;
        let sender = Sender {
            id,
            receiver,
            holder: app.new_id("sender"),
            lease_until: i64::MIN,
            cursor: None,
            batch: None,
            failures: 0,
            next_try_at: i64::MIN,
            trouble: None,
        };
        tokio::spawn(sender.run(Arc::downgrade(app.shared())));
    }
    Ok(())
}

/// What a webhook is called in the database: a digest of its URL, which may hold a secret, and is kept as a password is. It is
/// of nothing else that may be exchanged: with another key file, or other keys to sign with, it is the same webhook, and
/// goes on where it was.
async fn id_of(app: &App, url: &str) -> Result<String, StoreError> {
    let proposal = secret::text(&app.config.random.bytes::<16>());
    let salt = app.database.agree_on("webhook_salt", &proposal).await?;
    let digest = passwords::stretched(url, salt.into_bytes()).await;
    let digest = digest.map_err(|_| StoreError::Database("a webhook's URL could not be hashed".into()))?;
    Ok(secret::text(&digest[..15]))
}

/// One webhook, as this process sees it.
struct Sender {
    /// Its name in the database.
    id: String,
    receiver: Receiver,
    /// This process's name there.
    holder: String,
    /// Until when this process is the one that sends.
    lease_until: i64,
    cursor: Option<Cursor>,
    /// What is on its way, and stays the same until it has arrived.
    batch: Option<Batch>,
    /// How often it has been tried in vain.
    failures: u32,
    next_try_at: i64,
    /// What the operator has been told last.
    trouble: Option<Trouble>,
}

/// Some events as one message.
struct Batch {
    /// The same at every try.
    message_id: String,
    events: BTreeSet<String>,
    body: String,
}

/// What a sender does next.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// There may be more to send.
    GoOn,
    /// Nothing to do before something happens, or time passes.
    Wait,
}

impl Sender {
    async fn run(mut self, shared: Weak<Shared>) {
        loop {
            let Some(app) = shared.upgrade().map(App::of) else { return };
            match self.turn(&app).await {
                Ok(Next::GoOn) => continue,
                Ok(Next::Wait) => {}
                Err(error) => {
                    tell!("error: webhooks cannot go on: {error}\nhint: {}", error.hint());
                }
            }
            let new_events = Arc::clone(&app.new_events);
            drop(app);
            let _ = tokio::time::timeout(LOOK, new_events.notified()).await;
        }
    }

    async fn turn(&mut self, app: &App) -> Result<Next, StoreError> {
        let now = app.now();
        if !self.hold(app, now).await? || self.is_pausing(now) {
            return Ok(Next::Wait);
        }
        if self.batch.is_none() {
            self.batch = self.collect(app).await?;
        }
        let Some(batch) = &self.batch else { return Ok(Next::Wait) };
        let timestamp_s = now / 1000;
        let keys = &app.config.webhooks.keys;
        let signature = signature::sign(keys, &batch.message_id, timestamp_s, batch.body.as_bytes());
        let headers = [
            ("webhook-id", batch.message_id.as_str()),
            ("webhook-timestamp", &timestamp_s.to_string()),
            ("webhook-signature", &signature),
        ];
        match self.receiver.post(&headers, batch.body.clone()).await {
            Ok(()) => {
                self.note_delivery(app).await?;
                Ok(Next::GoOn)
            }
            Err(trouble) => {
                self.put_off(app.now(), trouble);
                Ok(Next::Wait)
            }
        }
    }

    /// Whether this process is the one that sends.
    async fn hold(&mut self, app: &App, now: i64) -> Result<bool, StoreError> {
        let left = self.lease_until.saturating_sub(now);
        if self.cursor.is_some() && left > LEASE_MS / 2 && left <= LEASE_MS {
            return Ok(true);
        }
        let until = now + LEASE_MS;
        let Some(progress) = app.database.hold_webhook(&self.id, &self.holder, now, until).await? else {
            self.cursor = None;
            return Ok(false);
        };
        self.lease_until = until;
        if self.cursor.as_ref().is_none_or(|cursor| cursor.term() != progress.term) {
            let ids = app.database.event_ids_between(&progress.checkpoint, &progress.head).await?;
            self.cursor = Some(Cursor::resume(progress, ids));
            self.batch = None;
        }
        Ok(true)
    }

    fn is_pausing(&self, now: i64) -> bool {
        // A pause that is longer than any was begun before the clock was set back.
        self.next_try_at > now && self.next_try_at <= now + LONGEST_PAUSE_MS
    }

    /// The next events, if there are any.
    async fn collect(&mut self, app: &App) -> Result<Option<Batch>, StoreError> {
        let Some(cursor) = &mut self.cursor else { return Ok(None) };
        Ok(Batch::of(&self.id, cursor.next(app).await?))
    }

    async fn note_delivery(&mut self, app: &App) -> Result<(), StoreError> {
        if self.trouble.take().is_some() {
            tell!("the webhook at {} takes events again", self.receiver.name());
        }
        (self.failures, self.next_try_at) = (0, i64::MIN);
        if let (Some(cursor), Some(batch)) = (&mut self.cursor, self.batch.take()) {
            cursor.deliver(batch.events);
            if !app.database.advance_webhook(&self.id, &cursor.progress()).await? {
                self.cursor = None;
            }
        }
        Ok(())
    }

    fn put_off(&mut self, now: i64, trouble: Trouble) {
        self.next_try_at = now + pause_ms(self.failures);
        self.failures = self.failures.saturating_add(1);
        if self.trouble.replace(trouble) != Some(trouble) {
            let name = self.receiver.name();
            tell!(
                "error: the webhook at {name} {trouble}; events wait for it in the log\nhint: {}",
                trouble.hint()
            );
        }
    }
}

impl Batch {
    /// As many of these events as one message holds; `None` if there are none.
    fn of(webhook: &str, events: Vec<StoredEvent>) -> Option<Self> {
        let (mut ids, mut parts, mut length) = (BTreeSet::new(), Vec::new(), 0);
        for event in events {
            length += event.data.len();
            if length > LONGEST_BODY && !ids.is_empty() {
                break;
            }
            let data = RawValue::from_string(event.data).ok();
            parts.push(json!({ "log_id": event.id, "data": data }).to_string());
            ids.insert(event.id);
        }
        if ids.is_empty() {
            return None;
        }
        let named = ids.iter().map(String::as_bytes);
        let named: Vec<&[u8]> = [&b"message"[..]].into_iter().chain(named).collect();
        // Who gets it learns nothing of what the webhook is called here.
        let message_id = format!("msg_{}", secret::text(&secret::keyed(webhook.as_bytes(), &named)[..15]));
        Some(Self { message_id, events: ids, body: format!("[{}]", parts.join(",")) })
    }
}

/// How long to wait after so many tries in vain, in milliseconds.
fn pause_ms(failures: u32) -> i64 {
    1000_i64.checked_shl(failures.min(16)).unwrap_or(i64::MAX).min(LONGEST_PAUSE_MS)
}

/// How many webhooks there may be.
const MOST: usize = 8;

/// How many bytes of events a message holds at most, unless one event is longer.
const LONGEST_BODY: usize = 512 * 1024;

/// How long a process is the one that sends before another may think that it is gone, in milliseconds: longer than the
/// half of it and one message take.
const LEASE_MS: i64 = 12_000;

const LONGEST_PAUSE_MS: i64 = 300_000;

/// How often to look for events that other processes have written, and whether those are gone that send.
const LOOK: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: &str, length: usize) -> StoredEvent {
        StoredEvent {
            id: id.into(),
            date: 0,
            r#type: "s".into(),
            user_id: None,
            data: json!({ "type": "s", "description": "x".repeat(length) }).to_string(),
            transcript: None,
        }
    }

    #[test]
    fn pauses_double_up_to_five_minutes() {
        assert_eq!(
            [0, 1, 2, 8, 9, 40, u32::MAX].map(pause_ms),
            [1000, 2000, 4000, 256_000, 300_000, 300_000, 300_000]
        );
    }

    #[test]
    fn a_message_is_bounded_and_has_one_name_for_the_same_events() {
        assert!(Batch::of("a", vec![]).is_none());
        let events = vec![event("1", 300_000), event("2", 300_000), event("3", 1)];
        let batch = Batch::of("a", events.clone()).unwrap();
        assert_eq!(batch.events, BTreeSet::from(["1".to_string()]));
        assert_eq!(Batch::of("a", events[..1].to_vec()).unwrap().message_id, batch.message_id);
        assert_ne!(Batch::of("a", events[1..].to_vec()).unwrap().message_id, batch.message_id);
        assert_ne!(Batch::of("b", events).unwrap().message_id, batch.message_id);
        // One that is too long by itself goes alone.
        let batch = Batch::of("a", vec![event("1", 600_000), event("2", 1)]).unwrap();
        assert_eq!(batch.events.len(), 1);
    }

    #[test]
    fn a_message_is_a_list_of_events_as_the_log_has_them() {
        let batch = Batch::of("a", vec![event("1", 1), event("2", 1)]).unwrap();
        let body: serde_json::Value = serde_json::from_str(&batch.body).unwrap();
        assert_eq!(body[1], json!({ "log_id": "2", "data": { "type": "s", "description": "x" } }));
    }
}
