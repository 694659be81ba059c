//! How far a reader of the log has got: a webhook, or whoever follows the stream.
//!
//! An event's id is made before the event is written, so an earlier id may appear after a later one has been read. Hence
//! a cursor is not one place in the log but two: up to the checkpoint, which stays [`LATE_MS`] behind, everything has
//! been delivered; between it and the head, as many events as are counted. If there are more of them than that, those
//! that are new are next. Who takes over and counts more than have been delivered cannot tell which, and reads all of
//! that last minute again.
//!
//! The checkpoint moves only to where a count has just missed nothing: not because time passes, however long a receiver
//! is down.

use std::collections::BTreeSet;

use crate::app::App;
use crate::store::{Progress, StoreError, StoredEvent};

/// A place in a log whose entries may appear a little late.
#[derive(Debug)]
pub(crate) struct Cursor {
    term: i64,
    /// Up to here everything has been delivered, and nothing more appears.
    checkpoint: String,
    /// The latest that has been delivered.
    head: String,
    /// What has been delivered behind the checkpoint.
    sent: BTreeSet<String>,
}

impl Cursor {
    /// Goes on from where another has stopped. `ids` are those that the log has behind its checkpoint, up to its head: if
    /// they are as many as it has delivered, they are the same; otherwise some are not, and all go out (again).
    pub(crate) fn resume(progress: Progress, ids: Vec<String>) -> Self {
        let Progress { term, checkpoint, head, sent } = progress;
        if i64::try_from(ids.len()) == Ok(sent) {
            return Self { term, checkpoint, head, sent: ids.into_iter().collect() };
        }
        Self { term, head: checkpoint.clone(), checkpoint, sent: BTreeSet::new() }
    }

    /// One that begins behind an id.
    pub(crate) fn behind(id: String) -> Self {
        Self { term: 0, head: id.clone(), checkpoint: id, sent: BTreeSet::new() }
    }

    /// The next events, at most [`PAGE`] of them: those that have appeared late, or else those behind the head.
    pub(crate) async fn next(&mut self, app: &App) -> Result<Vec<StoredEvent>, StoreError> {
        // Before looking: whatever is older than this by so much shows in what is counted then.
        let now = app.time_of_ids();
        let (checkpoint, head) = self.window();
        if self.misses_some(app.database.count_events_between(checkpoint, head).await?) {
            let unsent = self.unsent(app.database.event_ids_between(checkpoint, head).await?, PAGE);
            if !unsent.is_empty() {
                return app.database.events_of(&unsent).await;
            }
            // Fewer than were delivered: the log has forgotten some.
        }
        self.settle(now);
        app.database.events_after(&self.head, PAGE_ROWS).await
    }

    /// Which turn of sending this is.
    pub(crate) fn term(&self) -> i64 {
        self.term
    }

    /// The part of the log in which an event may still appear among those that were sent: after one id, up to another.
    fn window(&self) -> (&str, &str) {
        (&self.checkpoint, &self.head)
    }

    /// Whether the window, which has so many events, has one that was not sent.
    fn misses_some(&self, count: i64) -> bool {
        usize::try_from(count) != Ok(self.sent.len())
    }

    /// Those of the window's events that were not sent.
    fn unsent(&self, ids: Vec<String>, at_most: usize) -> Vec<String> {
        ids.into_iter().filter(|id| !self.sent.contains(id)).take(at_most).collect()
    }

    /// Takes note of events that have been delivered.
    pub(crate) fn deliver(&mut self, ids: BTreeSet<String>) {
        if let Some(last) = ids.last().filter(|last| **last > self.head) {
            self.head.clone_from(last);
        }
        self.sent.extend(ids);
    }

    /// Forgets what was so old at this time, in milliseconds, when nothing was missed, that nothing appears before it any
    /// more.
    fn settle(&mut self, now: i64) {
        let settled = format!("{:014}", now.saturating_sub(LATE_MS).max(0)).min(self.head.clone());
        if settled > self.checkpoint {
            self.sent = self.sent.split_off(&settled);
            self.sent.remove(&settled);
            self.checkpoint = settled;
        }
    }

    /// As it is kept.
    pub(crate) fn progress(&self) -> Progress {
        Progress {
            term: self.term,
            checkpoint: self.checkpoint.clone(),
            head: self.head.clone(),
            sent: i64::try_from(self.sent.len()).unwrap_or(i64::MAX),
        }
    }
}

/// How many events are read at a time.
const PAGE: usize = 100;
const PAGE_ROWS: i64 = 100;

/// How long after it has happened an event may still be written without being missed, in milliseconds: longer than
/// anybody waits for the database, and than clocks of several machines should differ.
const LATE_MS: i64 = 60_000;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_750_000_000_000;

    fn id(time: i64, count: u32) -> String {
        format!("{time:014}{count:08x}0000")
    }

    fn at(checkpoint: String) -> Cursor {
        Cursor::resume(Progress { term: 1, head: checkpoint.clone(), checkpoint, sent: 0 }, vec![])
    }

    fn ids(cursor: &Cursor, log: &[String]) -> Vec<String> {
        let (after, last) = cursor.window();
        log.iter().filter(|id| after < id.as_str() && id.as_str() <= last).cloned().collect()
    }

    #[test]
    fn an_event_that_is_written_behind_a_later_one_is_found() {
        let mut cursor = at(id(NOW, 0));
        cursor.deliver(BTreeSet::from([id(NOW, 1), id(NOW, 3)]));
        let log = [id(NOW, 1), id(NOW, 2), id(NOW, 3)];
        let found = ids(&cursor, &log);
        assert!(cursor.misses_some(3));
        assert_eq!(cursor.unsent(found, 9), [id(NOW, 2)]);
        cursor.deliver(BTreeSet::from([id(NOW, 2)]));
        assert!(!cursor.misses_some(3));
        assert_eq!(cursor.window().1, id(NOW, 3), "it does not go back");
    }

    #[test]
    fn what_has_settled_is_forgotten_and_what_may_change_is_not() {
        let mut cursor = at(id(NOW, 0));
        cursor.deliver(BTreeSet::from([id(NOW, 1), id(NOW + 50_000, 2)]));
        cursor.settle(NOW + LATE_MS);
        assert_eq!(cursor.progress().sent, 2, "the first is just as old as it may be");
        cursor.settle(NOW + LATE_MS + 1);
        assert_eq!(cursor.progress().sent, 1);
        cursor.settle(NOW + 500_000);
        let progress = cursor.progress();
        assert_eq!((progress.sent, &progress.checkpoint), (0, &progress.head), "never beyond the head");
        cursor.settle(NOW);
        assert_eq!(cursor.progress(), progress, "a clock that is set back changes nothing");
    }

    #[test]
    fn who_takes_over_goes_on_or_sends_the_last_minute_again() {
        let log = [id(NOW, 1), id(NOW, 2)];
        let left = |sent| Progress { term: 1, checkpoint: id(NOW, 0), head: id(NOW, 2), sent };
        let cursor = Cursor::resume(left(2), log.to_vec());
        assert!(!cursor.misses_some(2));
        assert_eq!(cursor.window().1, id(NOW, 2));
        let cursor = Cursor::resume(left(1), log.to_vec());
        assert_eq!(cursor.window(), (id(NOW, 0).as_str(), id(NOW, 0).as_str()), "all of it");
    }
}
