//! How a session begins, is kept, and ends.

use super::cookies::session_cookie;
use super::token::{HELD, key_of, name_of_token, new_token};
use super::{SessionData, Visit};
use crate::app::App;
use crate::failure::Failure;
use crate::secret;
use crate::store::{Changes, StoredSession};

impl Visit {
    /// Makes sure that the browser holds a token: challenges have somebody to belong to then. False if the session
    /// holds something, and has to be [saved](Self::save) instead.
    pub(crate) async fn hold(&mut self) -> Result<bool, Failure> {
        if self.is_stored || self.data != SessionData::default() {
            return Ok(false);
        }
        if self.held.is_none() {
            let token = format!("{HELD}{}", secret::text(&self.app.config.random.bytes::<32>()));
            self.held = Some(name_of_token(&secret::digest(token.as_bytes())));
            self.set_session_cookie(&token).await?;
        }
        Ok(true)
    }

    /// Keeps what this visit changed in the session, if that has not ended meanwhile. If it changed nothing, what another
    /// request has written since stays.
    pub(crate) async fn save(&mut self) -> Result<(), Failure> {
        self.save_with(Changes::default()).await.map(drop)
    }

    /// The same together with other changes: false if a condition among them was not met, or the session has ended; nothing
    /// was kept then.
    pub(crate) async fn save_with(&mut self, others: Changes) -> Result<bool, Failure> {
        let policy = self.app.policy().await?;
        let now = self.app.now();
        let idle_end = now + i64::from(policy.session.idle_hours) * 3_600_000;
        let absolute_end = self.session.created_at + i64::from(policy.session.absolute_days) * 86_400_000;
        self.session.expires_at = self.ends_at.unwrap_or_else(|| idle_end.min(absolute_end));
        self.session.seen_at = now;
        let data = serde_json::to_string(&self.data).map_err(|_| Failure::Broken("a session is JSON"))?;
        if self.is_stored {
            let changed = (data != self.session.data).then_some(data);
            let update = others.update_session(&self.session, changed.as_deref());
            let is_kept = self.app.database.make(update).await?;
            if let Some(data) = changed.filter(|_| is_kept) {
                self.session.data = data;
            }
            return Ok(is_kept);
        }
        self.session.data = data;
        let token = new_token(now, &self.app.config.random.bytes::<32>());
        self.session.digest = key_of(&token);
        let is_kept = self.app.database.make(others.insert_session(&self.session)).await?;
        if is_kept {
            self.is_stored = true;
            self.set_session_cookie(&token).await?;
        }
        Ok(is_kept)
    }

    /// Reads the session again: another request of it may have changed something meanwhile.
    pub(crate) async fn read_again(&mut self) -> Result<(), Failure> {
        let found = self.app.database.session(&self.session.digest, self.app.now()).await?;
        self.data = SessionData::default();
        if let Some(session) = found {
            self.data = serde_json::from_str(&session.data).unwrap_or_default();
            self.session = session;
        }
        Ok(())
    }

    /// Keeps the session alive: writes at most once a minute.
    pub(crate) async fn touch(&mut self) -> Result<(), Failure> {
        if self.is_stored && self.app.now() - self.session.seen_at > 60_000 {
            self.save().await?;
        }
        Ok(())
    }

    /// Signs a user in, together with other changes: the old session ends, a new one with a new token begins. False
    /// if a condition among the others was not met: then everything is as it was.
    pub(crate) async fn sign_in(
        &mut self,
        user_id: &str,
        data: SessionData,
        others: Changes,
    ) -> Result<bool, Failure> {
        let others = if self.is_stored { others.end_session(&self.session.digest) } else { others };
        let now = self.app.now();
        self.session = fresh(&self.app, now, &self.source.ip, &self.source.user_agent);
        self.session.user_id = Some(user_id.to_string());
        self.is_stored = false;
        self.data = data;
        self.save_with(others).await
    }

    /// Ends the session.
    pub(crate) async fn sign_out(&mut self) -> Result<(), Failure> {
        self.app.database.make(Changes::default().end_session(&self.session.digest)).await?;
        (self.is_stored, self.held) = (false, None);
        self.data = SessionData::default();
        self.set_cookie(session_cookie(&self.app), "", 0);
        Ok(())
    }

    /// Begins anew with a session of nobody's, after everything else that this user had has ended.
    pub(crate) fn start_over(&mut self) {
        self.session = fresh(&self.app, self.app.now(), &self.source.ip, &self.source.user_agent);
        (self.is_stored, self.held) = (false, None);
        self.data = SessionData::default();
    }
}

/// A session that holds nothing yet, and is not kept.
pub(super) fn fresh(app: &App, now: i64, ip: &str, user_agent: &str) -> StoredSession {
    StoredSession {
        digest: Vec::new(),
        id: app.new_id("ses"),
        user_id: None,
        data: String::new(),
        user_agent: user_agent.to_string(),
        ip: ip.to_string(),
        created_at: now,
        seen_at: now,
        expires_at: now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    async fn open(app: &App, token: Option<&str>) -> Visit {
        Visit::open(app, token, None, "192.0.2.1", "a browser").await.unwrap()
    }

    #[tokio::test]
    async fn what_another_request_has_written_meanwhile_is_not_undone_by_one_that_changes_nothing() {
        let app = App::start(Config::localhost(8080)).await.unwrap();
        let mut first = open(&app, None).await;
        first.data.then = Some("/account".into());
        first.save().await.unwrap();
        let token = first.token().map(String::from);

        let (mut slow, mut fast) = (open(&app, token.as_deref()).await, open(&app, token.as_deref()).await);
        fast.data.notice = Some("done".into());
        fast.save().await.unwrap();
        slow.save().await.unwrap();
        assert_eq!(open(&app, token.as_deref()).await.data, fast.data);

        // What was not kept is still to be kept.
        slow.data.notice = Some("slow".into());
        let unmet = Changes::default().if_session(b"nobody's");
        assert!(!slow.save_with(unmet).await.unwrap());
        slow.save().await.unwrap();
        assert_eq!(open(&app, token.as_deref()).await.data, slow.data);
    }
}
