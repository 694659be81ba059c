//! The HTTPS relay: a mailbox for many circles, that can read none of them.
//!
//! | request | what |
//! |---|---|
//! | `POST /c/{circle}` | opens a circle with the bearer token as its first; 200 if it is open and the token is one of its |
//! | `PUT /c/{circle}/{name}` | keeps the body under its name; 204, also if it is there already |
//! | `GET /c/{circle}?since=n` | a page (below) of what is there beyond the first n names |
//! | `GET /c/{circle}/{name}` | the bytes |
//! | `GET /c/{circle}/watch?silent_ms=n` | server-sent events: `data:` the number of names, at once and at each change; comments are signs of life (`silence.rs`) |
//! | `PUT /c/{circle}/tokens/{label}?for_s=n` | lets the holder of another token in, for n seconds or for good; the body is its SHA-256 in hexadecimal, and what a guest sends goes on with its claim to the label (`claim.rs`) |
//! | `POST /c/{circle}/tokens/{label}` | what a guest let in under this label stays |
//! | `DELETE /c/{circle}/tokens/{label}` | ends it: whoever comes with it from then on gets 403, and knows that a member did that |
//! | `PUT /c/{circle}/escrow` | keeps a deposit (`escrow.rs`), in the place of the one before; 204 |
//! | `GET /c/{circle}/escrow` | how it stands (below); 404 if there is none |
//! | `DELETE /c/{circle}/escrow` | destroys it; 204 |
//! | `POST /c/{circle}/escrow` | a guess: the question; it is counted, and then answered. 410 once there are none left, 429 before the next one may come |
//! | `POST /c/{circle}/escrow/proof` | what proves that the last guess was right: the count begins anew; 204, or 401 |
//! | `GET /health`, `GET /metrics` | for the operator |
//!
//! A page is how many names the circle has in all (8 bytes, big-endian), then for each entry its name (16), the length
//! of its bytes (4, big-endian) and its bytes. After the first 8 bytes it has 4 MiB at most, however much there is.
//!
//! How an escrow stands is guesses allowed (1 byte), guesses left (1) and how long the next one has to wait (8, in
//! milliseconds, big-endian).
//!
//! Circle and name are hexadecimal. Every request about a circle carries `Authorization: Bearer TOKEN`, guesses and their
//! proofs excepted: whoever guesses has lost every device. A request with an `Origin` is a web page's, and gets 403. The relay
//! keeps tokens' hashes only. It sees no relying party, no user, no author and no device's name: sizes (padded),
//! times and how many tokens there are is what it learns. It keeps no state in memory but who waits for news, so any
//! number of relays may serve one PostgreSQL.

mod claim;
mod client;
mod escrow;
mod group;
mod silence;
mod store;
#[cfg(test)]
mod tests;
mod tokens;
mod watch;

use std::format;
use std::string::{String, ToString as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::vec::Vec;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use serde::Deserialize;

use crate::entry::ENTRY_MAX;
use crate::id::{CircleId, Name};

pub use client::{EscrowError, EscrowStatus, Heard, RelayClient, RelayUrl, TokenEnded};
pub use escrow::Keeper;
use group::Entry;
pub use silence::{FIRST_SIGN, LONGEST_SILENCE, Silence};
pub use store::{Database, RelayError};
use tokens::{Guest, Stay};
use watch::Watchers;

/// The most bytes of entries in one page, with what stands before each.
const PAGE_MAX: usize = 4 << 20;

/// What stands before the first entry of a page, and before each.
const PAGE_HEADER: usize = 8;
const ITEM_HEADER: usize = 16 + 4;

/// No page has more names: whoever puts shorter things than a device does fills no device's memory.
const PAGE_NAMES_MAX: usize = PAGE_MAX / 64;

/// What one circle may use of a relay.
#[derive(Clone, Copy, Debug)]
pub struct Quota {
    /// Names.
    pub entries: u64,
    /// Bytes of entries.
    pub bytes: u64,
    /// Tokens.
    pub tokens: u64,
    /// Circles of the relay's in all: anybody may open one.
    pub circles: u64,
}

impl Default for Quota {
    /// 200,000 entries, 256 MB, 64 tokens; 10,000 circles.
    fn default() -> Self {
        Quota { entries: 200_000, bytes: 256_000_000, tokens: 64, circles: 10_000 }
    }
}

/// What a relay serves.
#[derive(Clone)]
pub struct Relay(Arc<Shared>);

struct Shared {
    database: Database,
    quota: Quota,
    keeper: Option<Keeper>,
    watchers: Arc<Watchers>,
    longest_silence: Duration,
    puts: AtomicU64,
    put_bytes: AtomicU64,
    lists: AtomicU64,
    refused: AtomicU64,
    guesses: AtomicU64,
    destroyed: AtomicU64,
}

impl Relay {
    /// A relay on this database, that keeps no escrows.
    pub fn new(database: Database, quota: Quota) -> Self {
        Self::keeping(database, quota, None)
    }

    /// A relay on this database, that keeps escrows, too, if there is a [`Keeper`].
    pub fn keeping(database: Database, quota: Quota, keeper: Option<Keeper>) -> Self {
        Relay(Arc::new(Shared {
            database,
            quota,
            keeper,
            watchers: Arc::default(),
            longest_silence: LONGEST_SILENCE,
            puts: AtomicU64::new(0),
            put_bytes: AtomicU64::new(0),
            lists: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            guesses: AtomicU64::new(0),
            destroyed: AtomicU64::new(0),
        }))
    }

    /// How long its streams are silent at most, in place of [`LONGEST_SILENCE`]: less than any proxy before the relay bears
    /// saves devices the trouble to find that out.
    ///
    /// # Panics
    /// If the relay serves already.
    #[must_use]
    pub fn longest_silence(mut self, longest: Duration) -> Self {
        Arc::get_mut(&mut self.0).expect("nobody else has it before it serves").longest_silence = longest;
        self
    }

    /// The routes, to be served.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/c/{circle}", post(open).get(list))
            .route("/c/{circle}/watch", get(watch::watch))
            .route(
                "/c/{circle}/escrow",
                put(escrow::deposit).get(escrow::status).post(escrow::guess).delete(escrow::destroy),
            )
            .route("/c/{circle}/escrow/proof", post(escrow::prove))
            .route("/c/{circle}/{name}", put(keep).get(fetch))
            .route("/c/{circle}/tokens/{label}", put(let_in).get(is_let_in).post(let_stay).delete(end))
            .route("/health", get(health))
            .route("/metrics", get(metrics))
            .layer(DefaultBodyLimit::max(ENTRY_MAX))
            .layer(from_fn_with_state(self.clone(), refuse_pages))
            .with_state(self.clone())
    }

    /// The circle of a request and the hash of its token, if the token is one of the circle's.
    async fn authorized(&self, circle: &str, headers: &HeaderMap) -> Result<CircleId, RelayError> {
        let circle = CircleId::parse(circle).ok_or(RelayError::NotFound)?;
        let token = token_hash(headers).ok_or(RelayError::Unauthorized)?;
        match self.0.database.knows(circle, &token).await? {
            true => Ok(circle),
            false => Err(self.0.database.why_not(circle, &token).await),
        }
    }

    /// The same, if the token is not a guest's.
    async fn member(&self, circle: &str, headers: &HeaderMap) -> Result<CircleId, RelayError> {
        let circle = self.authorized(circle, headers).await?;
        match self.guest(circle, headers).await? {
            Some(_) => Err(RelayError::Guest),
            None => Ok(circle),
        }
    }

    async fn guest(&self, circle: CircleId, headers: &HeaderMap) -> Result<Option<Guest>, RelayError> {
        let token = token_hash(headers).ok_or(RelayError::Unauthorized)?;
        self.0.database.guest(circle, &token).await
    }

    fn refuse(&self, error: RelayError) -> RelayError {
        self.0.refused.fetch_add(1, Ordering::Relaxed);
        error
    }
}

/// The hash of the bearer token: what is kept and compared, so that neither a copy of the database nor the time a
/// comparison takes gives a token away.
fn token_hash(headers: &HeaderMap) -> Option<String> {
    let token = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?;
    (token.len() >= 16).then(|| claim::digest(token))
}

/// No client of a relay is a web page. A page can send a request without a token from any browser that reaches the relay,
/// and guesses at a PIN need none: what a browser sends for a page names the page's origin, and does nothing.
async fn refuse_pages(State(relay): State<Relay>, request: Request, next: Next) -> Response {
    if request.headers().contains_key(header::ORIGIN) {
        relay.0.refused.fetch_add(1, Ordering::Relaxed);
        return (StatusCode::FORBIDDEN, "web pages may not use a relay\n").into_response();
    }
    next.run(request).await
}

async fn open(
    State(relay): State<Relay>,
    Path(circle): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, RelayError> {
    let circle = CircleId::parse(&circle).ok_or(RelayError::NotFound)?;
    let token = token_hash(&headers).ok_or(RelayError::Unauthorized)?;
    match relay.0.database.open_circle(circle, &token, relay.0.quota.circles).await {
        Ok(true) => Ok(StatusCode::CREATED),
        Ok(false) => Ok(StatusCode::OK),
        Err(error) => Err(relay.refuse(error)),
    }
}

async fn keep(
    State(relay): State<Relay>,
    Path((circle, name)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, RelayError> {
    let circle = CircleId::parse(&circle).ok_or(RelayError::NotFound)?;
    let token = token_hash(&headers).ok_or_else(|| relay.refuse(RelayError::Unauthorized))?;
    let name = Name::parse(&name).ok_or(RelayError::NotFound)?;
    if Name::of(&body) != name {
        return Err(relay.refuse(RelayError::NotItsName));
    }
    let (size, quota) = (body.len() as u64, relay.0.quota);
    // Whether the token is one of the circle's is asked for the whole group.
    let new = relay.0.database.writer.put(Entry { circle, token, name, bytes: body, quota }).await;
    if new.map_err(|error| relay.refuse(error))? {
        relay.0.puts.fetch_add(1, Ordering::Relaxed);
        relay.0.put_bytes.fetch_add(size, Ordering::Relaxed);
        relay.0.watchers.tell(circle);
    }
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
struct Since {
    #[serde(default)]
    since: u64,
}

async fn list(
    State(relay): State<Relay>,
    Path(circle): Path<String>,
    Query(Since { since }): Query<Since>,
    headers: HeaderMap,
) -> Result<Response, RelayError> {
    let circle = relay.authorized(&circle, &headers).await.map_err(|error| relay.refuse(error))?;
    relay.0.lists.fetch_add(1, Ordering::Relaxed);
    let (items, head) = relay.0.database.list(circle, since, (PAGE_MAX, PAGE_NAMES_MAX)).await?;
    let page = encode_page(head, items.iter().map(|(name, bytes)| (*name, bytes.as_slice())));
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], page).into_response())
}

async fn fetch(
    State(relay): State<Relay>,
    Path((circle, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, RelayError> {
    let circle = relay.authorized(&circle, &headers).await.map_err(|error| relay.refuse(error))?;
    let name = Name::parse(&name).ok_or(RelayError::NotFound)?;
    let bytes = relay.0.database.get(circle, name).await?.ok_or(RelayError::NotFound)?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response())
}

#[derive(Deserialize)]
struct For {
    for_s: Option<u32>,
}

async fn let_in(
    State(relay): State<Relay>,
    Path((circle, label)): Path<(String, String)>,
    Query(For { for_s }): Query<For>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, RelayError> {
    let circle = relay.authorized(&circle, &headers).await.map_err(|error| relay.refuse(error))?;
    let is_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let read =
        body.split_at_checked(64).and_then(|(digest, claim)| Some((str::from_utf8(digest).ok()?, claim)));
    let well_formed = |(digest, claim): &(&str, &[u8])| {
        is_hex(digest) && label.len() <= 32 && is_hex(&label) && [0, claim::CLAIM].contains(&claim.len())
    };
    let Some((digest, claim)) = read.filter(well_formed) else {
        return Err(relay.refuse(RelayError::Malformed));
    };
    let guest = relay.guest(circle, &headers).await?;
    // A member lets in whom it likes; a guest is let in itself, whom the invitation is for.
    let is_claimed = |by: &str| claim::holds(claim, circle, &label, by, digest);
    if guest.is_some() && !token_hash(&headers).is_some_and(|by| is_claimed(&by)) {
        return Err(relay.refuse(RelayError::Malformed));
    }
    let stay = match (&guest, for_s) {
        (Some(guest), _) => Stay::As(guest),
        (None, Some(seconds)) => Stay::For(seconds),
        (None, None) => Stay::ForGood,
    };
    let added = relay.0.database.add_token(circle, &label, digest, stay, relay.0.quota).await;
    added.map_err(|error| relay.refuse(error))?;
    Ok(StatusCode::NO_CONTENT)
}

async fn let_stay(
    State(relay): State<Relay>,
    Path((circle, label)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<StatusCode, RelayError> {
    let circle = relay.member(&circle, &headers).await.map_err(|error| relay.refuse(error))?;
    relay.0.database.let_stay(circle, &label).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn is_let_in(
    State(relay): State<Relay>,
    Path((circle, label)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<StatusCode, RelayError> {
    let circle = relay.member(&circle, &headers).await.map_err(|error| relay.refuse(error))?;
    match relay.0.database.has_label(circle, &label).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(RelayError::NotFound),
    }
}

async fn end(
    State(relay): State<Relay>,
    Path((circle, label)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<StatusCode, RelayError> {
    let circle = relay.member(&circle, &headers).await.map_err(|error| relay.refuse(error))?;
    relay.0.database.remove_token(circle, &label).await?;
    relay.0.watchers.tell(circle);
    Ok(StatusCode::NO_CONTENT)
}

async fn health(State(relay): State<Relay>) -> Result<&'static str, RelayError> {
    relay.0.database.is_there().await?;
    Ok("ok\n")
}

async fn metrics(State(relay): State<Relay>) -> String {
    let shared = &relay.0;
    let mut text = String::new();
    for (name, kind, help, value) in [
        ("puts_total", "counter", "Entries kept.", &shared.puts),
        ("put_bytes_total", "counter", "Bytes of entries kept.", &shared.put_bytes),
        ("commits_total", "counter", "Transactions in which they were.", shared.database.writer.commits()),
        ("lists_total", "counter", "Lists answered.", &shared.lists),
        ("refused_total", "counter", "Requests refused.", &shared.refused),
        ("guesses_total", "counter", "Guesses at PINs of escrows.", &shared.guesses),
        ("destroyed_total", "counter", "Escrows destroyed by their last guess.", &shared.destroyed),
        ("watchers", "gauge", "Devices waiting for news.", &AtomicU64::new(shared.watchers.count())),
    ] {
        let value = value.load(Ordering::Relaxed);
        text.push_str(&format!(
            "# HELP doppelkey_relay_{name} {help}\n# TYPE doppelkey_relay_{name} {kind}\ndoppelkey_relay_{name} {value}\n"
        ));
    }
    text
}

/// A page of a list.
///
/// | offset | length | what |
/// |---|---|---|
/// | 0 | 8 | how many names the circle has in all, big-endian |
/// | 8 | 16 | a name |
/// | 24 | 4 | the length n of its bytes, big-endian |
/// | 28 | n | the bytes; then the next name |
pub(crate) fn encode_page<'a>(head: u64, items: impl Iterator<Item = (Name, &'a [u8])>) -> Vec<u8> {
    let mut page = head.to_be_bytes().to_vec();
    for (name, bytes) in items {
        page.extend_from_slice(&name.0);
        page.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
        page.extend_from_slice(bytes);
    }
    page
}

/// Reads a page; `None` for anything else.
pub(crate) fn decode_page(page: &[u8]) -> Option<crate::Listing> {
    let (head, mut rest) = page.split_first_chunk::<8>()?;
    let mut items = Vec::new();
    while !rest.is_empty() {
        if items.len() == PAGE_NAMES_MAX {
            return None;
        }
        let (name, after) = rest.split_first_chunk::<16>()?;
        let (len, after) = after.split_first_chunk::<4>()?;
        let (bytes, after) = after.split_at_checked(u32::from_be_bytes(*len) as usize)?;
        items.push((Name(*name), Some(bytes.to_vec())));
        rest = after;
    }
    Some(crate::Listing { items, head: u64::from_be_bytes(*head) })
}

impl IntoResponse for RelayError {
    fn into_response(self) -> Response {
        if let RelayError::TooSoon(wait_ms) = &self {
            let wait = [(header::RETRY_AFTER, wait_ms.div_ceil(1000).to_string())];
            return (StatusCode::TOO_MANY_REQUESTS, wait, format!("{self}\n")).into_response();
        }
        if let Some(why) = std::error::Error::source(&self) {
            // For the operator; a device learns only that it is to come again.
            std::eprintln!("error: the relay's database failed: {why}\nhint: {}", self.hint());
        }
        let status = match &self {
            RelayError::Unauthorized => StatusCode::UNAUTHORIZED,
            RelayError::Ended => StatusCode::FORBIDDEN,
            RelayError::Guest => StatusCode::METHOD_NOT_ALLOWED,
            RelayError::NotFound => StatusCode::NOT_FOUND,
            RelayError::NotItsName | RelayError::Malformed => StatusCode::BAD_REQUEST,
            RelayError::Full | RelayError::NoMoreCircles => StatusCode::INSUFFICIENT_STORAGE,
            RelayError::NotOffered => StatusCode::NOT_IMPLEMENTED,
            RelayError::Destroyed => StatusCode::GONE,
            RelayError::TooSoon(_) => StatusCode::TOO_MANY_REQUESTS,
            RelayError::Url(_) | RelayError::Database(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        (status, format!("{self}\n")).into_response()
    }
}
