//! Who waits for news, and how they hear of it.
//!
//! One task of a relay looks for all who wait: at once when something came in through this process, and every
//! [`LOOK_EVERY`] for what came in through others. One query looks at [`LOOK_AT`] circles, so ten thousand waiting
//! devices cost a database some twenty queries a second, and not two each. A look finds how many names a circle has and
//! which tokens are its own: whose token was ended is told nothing more, and its stream ends.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::string::{String, ToString as _};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;
use std::vec::Vec;

use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, Sse};
use futures_util::stream::{self, Stream};
use serde::Deserialize;
use tokio::sync::{Notify, watch};
use tokio::time::MissedTickBehavior;

use super::silence::Signs;
use super::store::{Database, RelayError};
use super::{Relay, token_hash};
use crate::id::CircleId;

/// How often is looked for what came in through other relays on the same database.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How many circles one query looks at.
const LOOK_AT: usize = 500;

/// What a look finds of a circle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// How many names it has.
    pub(super) head: u64,
    /// The hashes of its tokens.
    pub(super) tokens: BTreeSet<String>,
}

/// Everyone who waits at this relay.
#[derive(Default)]
pub(super) struct Watchers {
    circles: Mutex<Circles>,
    news: Notify,
    begun: OnceLock<()>,
}

#[derive(Default)]
struct Circles {
    waiting: BTreeMap<CircleId, watch::Sender<Standing>>,
    /// Circles of which something is new.
    news: BTreeSet<CircleId>,
}

impl Watchers {
    /// Something of this circle changed.
    pub(super) fn tell(&self, circle: CircleId) {
        let mut circles = self.circles.lock().unwrap_or_else(PoisonError::into_inner);
        if circles.waiting.contains_key(&circle) {
            circles.news.insert(circle);
            self.news.notify_one();
        }
    }

    /// What is found of this circle from now on. The first one who waits has the task begin.
    fn wait(self: &Arc<Self>, circle: CircleId, database: &Database) -> watch::Receiver<Standing> {
        self.begun.get_or_init(|| {
            tokio::spawn(look_on(Arc::downgrade(self), database.clone()));
        });
        let mut circles = self.circles.lock().unwrap_or_else(PoisonError::into_inner);
        let mut receiver = circles.waiting.entry(circle).or_default().subscribe();
        receiver.mark_unchanged();
        receiver
    }

    /// How many wait.
    pub(super) fn count(&self) -> u64 {
        let circles = self.circles.lock().unwrap_or_else(PoisonError::into_inner);
        circles.waiting.values().map(|sender| sender.receiver_count() as u64).sum()
    }

    /// The circles to look at: those with news, or all, without those for which nobody waits any more.
    fn to_look_at(&self, all: bool) -> Vec<CircleId> {
        let mut circles = self.circles.lock().unwrap_or_else(PoisonError::into_inner);
        let news = std::mem::take(&mut circles.news);
        if !all {
            return news.into_iter().collect();
        }
        circles.waiting.retain(|_, sender| sender.receiver_count() > 0);
        circles.waiting.keys().copied().collect()
    }

    /// Tells those who wait, if it is not what they know.
    fn found(&self, standings: Vec<(CircleId, Standing)>) {
        let circles = self.circles.lock().unwrap_or_else(PoisonError::into_inner);
        for (circle, standing) in standings {
            let Some(sender) = circles.waiting.get(&circle) else { continue };
            sender.send_if_modified(|known| {
                let new = *known != standing;
                *known = standing;
                new
            });
        }
    }
}

/// Looks until the relay is gone.
async fn look_on(watchers: Weak<Watchers>, database: Database) {
    let mut time = tokio::time::interval(LOOK_EVERY);
    // A look that takes long is followed by a whole pause.
    time.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let Some(watchers) = watchers.upgrade() else { return };
        let all = tokio::select! {
            () = watchers.news.notified() => false,
            _ = time.tick() => true,
        };
        for circles in watchers.to_look_at(all).chunks(LOOK_AT) {
            // A database that is away is looked at again; whoever puts or lists is told what is the matter.
            if let Ok(standings) = database.standings(circles).await {
                watchers.found(standings);
            }
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Wish {
    silent_ms: Option<u64>,
}

/// `GET /c/{circle}/watch`.
pub(super) async fn watch(
    State(relay): State<Relay>,
    Path(circle): Path<String>,
    Query(Wish { silent_ms }): Query<Wish>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, RelayError> {
    let circle = relay.authorized(&circle, &headers).await.map_err(|error| relay.refuse(error))?;
    let token = token_hash(&headers).ok_or(RelayError::Unauthorized)?;
    let database = relay.0.database.clone();
    // First to wait, then to ask: what changes in between is not missed.
    let news = relay.0.watchers.wait(circle, &database);
    let head = database.head(circle).await?;
    let signs = Signs::new(silent_ms.map(Duration::from_millis), relay.0.longest_silence);
    let waiting = Waiting { circle, token, database, news, told: None, head, signs };
    Ok(Sse::new(stream::unfold(waiting, Waiting::next)))
}

/// Whoever waits at the other end of a stream.
struct Waiting {
    circle: CircleId,
    token: String,
    database: Database,
    news: watch::Receiver<Standing>,
    /// What was said last.
    told: Option<u64>,
    head: u64,
    signs: Signs,
}

impl Waiting {
    /// The next thing that is said, if there is one.
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        let silence = tokio::time::sleep(self.signs.gap());
        tokio::pin!(silence);
        while self.told == Some(self.head) {
            tokio::select! {
                changed = self.news.changed() => changed.ok()?,
                () = &mut silence => {
                    let next = self.signs.give().map_or_else(String::new, in_ms);
                    return Some((Ok(Event::default().comment(next)), self));
                }
            }
            let known = {
                let standing = self.news.borrow_and_update();
                self.head = standing.head;
                standing.tokens.contains(&self.token)
            };
            // A token that was ended meanwhile ends the stream. One that is newer than the look does not.
            if !known && !self.database.knows(self.circle, &self.token).await.ok()? {
                return None;
            }
        }
        // The first thing that is said tells when to expect the first sign.
        let event = Event::default();
        let event = if self.told.is_none() { event.comment(in_ms(self.signs.gap())) } else { event };
        self.told = Some(self.head);
        Some((Ok(event.data(self.head.to_string())), self))
    }
}

fn in_ms(duration: Duration) -> String {
    duration.as_millis().to_string()
}
