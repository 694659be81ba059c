//! A visit: one request with the session it belongs to.
//!
//! The cookie holds 32 random bytes and when the session began, the database a digest. Signing in and out changes the
//! token, so that a token known before never is one after. A session that holds nothing is not stored: its challenges
//! belong to the token that the browser holds.

mod answer;
mod cookies;
mod data;
mod lifetime;
mod sender;
mod token;

use axum::extract::FromRequestParts;
use axum::http::header::USER_AGENT;
use axum::http::request::Parts;

use crate::app::App;
use crate::events::{Event, Source};
use crate::failure::Failure;
use crate::secret;
use crate::secret::Secret;
use crate::store::{Changes, StoredEvent, StoredSession, User};
use cookies::{cookie, device_cookie, session_cookie};
pub(crate) use data::{FirstFactor, Method, NewIdentifier, Prompt, Proved, Recovery, SessionData, SignUp};
use lifetime::fresh;
pub(crate) use sender::Sender;
use sender::{client_ip, clipped};
use token::{HELD, TOKEN_LENGTH, key_of, name_of_token};

/// One request of one visitor.
#[derive(Clone, Debug)]
pub(crate) struct Visit {
    pub(crate) app: App,
    pub(crate) source: Source,
    pub(crate) data: SessionData,
    session: StoredSession,
    /// Whether the session is in the database.
    is_stored: bool,
    /// What challenges belong to while it is not: a name for the token that the browser holds.
    held: Option<String>,
    /// `Set-Cookie` lines for the response.
    cookies: Vec<String>,
    /// The token of the session, if this visit has made it.
    token: Option<Secret>,
    /// When the session ends, in milliseconds, if not by the policy.
    pub(crate) ends_at: Option<i64>,
    /// The digest of the token that remembers this device, if the browser sent one.
    pub(crate) device: Option<Vec<u8>>,
}

impl FromRequestParts<App> for Visit {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let token = cookie(&parts.headers, session_cookie(app));
        let device = cookie(&parts.headers, device_cookie(app)).map(|token| secret::digest(token.as_bytes()));
        let ip = client_ip(parts, app);
        let user_agent = clipped(&parts.headers, USER_AGENT.as_str(), 256);
        Self::open(app, token, device, &ip, &user_agent).await
    }
}

impl Visit {
    async fn open(
        app: &App,
        token: Option<&str>,
        device: Option<Vec<u8>>,
        ip: &str,
        user_agent: &str,
    ) -> Result<Self, Failure> {
        let now = app.now();
        let digest = token.filter(|token| token.len() <= 64).map(key_of);
        let is_held = token.is_some_and(|token| token.starts_with(HELD));
        let found = match &digest {
            Some(digest) if !is_held => app.database.session(digest, now).await?,
            _ => None,
        };
        let is_stored = found.is_some();
        let length = TOKEN_LENGTH + if is_held { HELD.len() } else { 0 };
        let is_ours = !is_stored && token.is_some_and(|token| token.len() == length);
        let held = digest.as_deref().filter(|_| is_ours).map(name_of_token);
        let session = found.unwrap_or_else(|| fresh(app, now, ip, user_agent));
        let data = serde_json::from_str(&session.data).unwrap_or_default();
        let source = Source {
            ip: ip.to_string(),
            user_agent: user_agent.to_string(),
            correlation_id: held.clone().unwrap_or_else(|| session.id.clone()),
        };
        let (cookies, token) = (Vec::new(), None);
        let app = app.clone();
        Ok(Self { app, source, data, session, is_stored, held, cookies, token, ends_at: None, device })
    }

    /// The same request with the session of a token instead of a cookie's; a new session without one. For programs
    /// that keep no cookies.
    pub(crate) async fn with_token(self, token: Option<&str>) -> Result<Self, Failure> {
        Self::open(&self.app, token, None, &self.source.ip, &self.source.user_agent).await
    }

    /// The same request with the session of a program's token.
    pub(crate) fn of_session(mut self, session: StoredSession) -> Self {
        self.data = serde_json::from_str(&session.data).unwrap_or_default();
        self.source.correlation_id.clone_from(&session.id);
        // It ends when its token says, however it is used.
        self.ends_at = Some(session.expires_at);
        self.session = session;
        self.is_stored = true;
        self.held = None;
        self.device = None;
        self
    }

    /// The token of the session, if this visit has made it.
    pub(crate) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Whether the session was found, or has been kept since.
    pub(crate) fn is_stored(&self) -> bool {
        self.is_stored
    }

    /// The session's id. Not the token.
    pub(crate) fn session_id(&self) -> &str {
        &self.session.id
    }

    /// What challenges belong to: the session, or the browser's token while there is nothing to store.
    pub(crate) fn owner_of_challenges(&self) -> &str {
        self.held.as_deref().filter(|_| !self.is_stored).unwrap_or(&self.session.id)
    }

    /// The id of the user who is signed in.
    pub(crate) fn user_id(&self) -> Option<&str> {
        self.session.user_id.as_deref()
    }

    /// The user who is signed in.
    pub(crate) async fn user(&self) -> Result<User, Failure> {
        let id = self.user_id().ok_or(Failure::NotSignedIn)?;
        self.app.database.user(id).await?.filter(|user| !user.blocked).ok_or(Failure::NotSignedIn)
    }

    /// The user of a proof that waits for what comes after it: none if something has made it void, or it is old.
    pub(crate) async fn user_of_proof(
        &self,
        user_id: &str,
        generation: i64,
        since: i64,
    ) -> Result<Option<User>, Failure> {
        let user = self.app.database.user(user_id).await?;
        let is_recent = self.app.now() - since < PROOF_MS;
        Ok(user.filter(|user| is_recent && user.generation == generation))
    }

    /// The user who is signed in and proved it just now, as the policy demands for changes.
    pub(crate) async fn recent_user(&self) -> Result<User, Failure> {
        let user = self.user().await?;
        if self.is_recent().await? { Ok(user) } else { Err(Failure::StepUpNeeded) }
    }

    /// Whether the user proved to be the user within the policy's window.
    pub(crate) async fn is_recent(&self) -> Result<bool, Failure> {
        let minutes = self.app.policy().await?.session.recent_auth_minutes;
        Ok(self.app.now() - self.data.authenticated_at < i64::from(minutes) * 60_000)
    }

    /// Whether the operator's token that is in force was entered in this session.
    pub(crate) fn is_operator(&self) -> bool {
        let entered = self.data.operator.as_deref().unwrap_or_default();
        secret::equal(entered.as_bytes(), operator_mark(&self.app).as_bytes())
    }

    /// Notes that the operator's token was entered. The session's own token changes, so that one known before never
    /// is an operator's.
    pub(crate) async fn make_operator(&mut self) -> Result<(), Failure> {
        self.data.operator = Some(operator_mark(&self.app));
        let mut changes = Changes::default();
        if self.is_stored {
            changes = changes.if_session(&self.session.digest).end_session(&self.session.digest);
        }
        self.is_stored = false;
        if self.save_with(changes).await? { Ok(()) } else { Err(Failure::OutOfOrder) }
    }

    /// Writes an event about this visit.
    pub(crate) async fn log(&self, event: Event) {
        self.app.log(&self.source, event).await;
    }

    /// An event about this visit, to be written together with what it tells of; see [`App::event_written`].
    pub(crate) fn event(&self, event: Event) -> StoredEvent {
        self.app.event(&self.source, event)
    }

    /// Makes changes to a user's account and writes the event that tells of them: false if a condition among them was
    /// not met, and then neither has happened.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub(crate) async fn make(&self, user: &User, changes: Changes, event: Event) -> Result<bool, Failure> {
        let is_made = self.change(user, changes.put_event(&self.event(event))).await?;
        self.app.event_written();
        Ok(is_made)
    }

    /// Makes changes to a user's account: false if a condition among them was not met, and then nothing has happened.
    /// What the user who is signed in here changes happens only while the session lasts: whoever has ended it meanwhile,
    /// by a recovery say, is not undone by what was under way.
    ///
    /// # Errors
    /// [`Failure::NotSignedIn`] if the session has ended; [`Failure::Store`].
    pub(crate) async fn change(&self, user: &User, changes: Changes) -> Result<bool, Failure> {
        let is_own = self.is_stored && self.user_id() == Some(user.id.as_str());
        // The user's row before the session's, as everywhere: the other way round, two changes would wait for each other.
        let condition = || Changes::default().in_turn(&user.id).if_session(&self.session.digest);
        let changes = if is_own { condition().then(changes) } else { changes };
        let is_made = self.app.database.make(changes).await?;
        if is_own && !is_made {
            self.refuse_ended().await?;
        }
        Ok(is_made)
    }

    /// Somebody may have ended the session since it was read.
    pub(crate) async fn refuse_ended(&self) -> Result<(), Failure> {
        let found = self.app.database.session(&self.session.digest, self.app.now()).await?;
        found.map(drop).ok_or(Failure::NotSignedIn)
    }
}

/// What a session keeps of the operator's token: the database alone neither gives it away nor makes an operator.
fn operator_mark(app: &App) -> String {
    secret::text(&secret::keyed(app.config.admin_token.as_bytes(), &[b"operator's session"]))
}

/// For how long a proof waits for what comes after it, in milliseconds: time enough to install an authenticator app.
const PROOF_MS: i64 = 30 * 60_000;
