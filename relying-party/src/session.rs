//! A visit: one request with the session it belongs to.
//!
//! The cookie holds 32 random bytes and when the session began, the database a digest. Signing in and out changes the
//! token, so that a token known before never is one after. A session that holds nothing is not stored: its challenges
//! belong to the token that the browser holds.

mod sender;

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::header::{COOKIE, LOCATION, SET_COOKIE, USER_AGENT};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use maud::Markup;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::events::{Event, Source};
use crate::failure::{Failure, Told};
use crate::second_factor::NewApp;
use crate::secret;
use crate::secret::Secret;
use crate::store::{Changes, Identifier, PasskeyUse, StoredEvent, StoredSession, User};
pub(crate) use sender::Sender;

/// What a session remembers between two requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SessionData {
    /// A sign-up under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) signup: Option<SignUp>,
    /// The identifier typed at sign-in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) login: Option<Identifier>,
    /// A first factor that has passed, while the second is waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first_factor: Option<FirstFactor>,
    /// Who proved an address in order to recover the account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) recovery: Option<Recovery>,
    /// A new address of a signed-in user that has yet to be proved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) new_identifier: Option<NewIdentifier>,
    /// An authenticator app that is being set up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) new_app: Option<NewApp>,
    /// When the user last proved to be the user, in milliseconds.
    pub(crate) authenticated_at: i64,
    /// How: `pwd`, `phr`, `otp`, …
    pub(crate) amr: Vec<String>,
    /// The screen that may be shown between signing in and the application.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prompt: Option<Prompt>,
    /// The passkey that a recovery ended with: not among those that may be lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) recovered_with: Option<String>,
    /// The page to go to once logged in, if not the account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) then: Option<String>,
    /// A keyed digest of the operator's token that was entered in this session: with another token, nobody is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) operator: Option<String>,
    /// A message for the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) notice: Option<String>,
}

/// A sign-up under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SignUp {
    pub(crate) identifiers: Vec<Identifier>,
    /// The id of the mailed code that has yet to be typed. Another may follow, for the next identifier.
    pub(crate) code_id: Option<String>,
}

/// How a user proved to be the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Method {
    Passkey,
    Password,
    /// A code by e-mail.
    Code,
}

/// A first factor that has passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FirstFactor {
    pub(crate) user_id: String,
    /// The user's when it passed.
    #[serde(default)]
    pub(crate) generation: i64,
    /// When it began to wait for the second factor.
    #[serde(default)]
    pub(crate) waits_since: i64,
    pub(crate) method: Method,
    /// The passkey verified its user.
    pub(crate) user_verified: bool,
    /// The passkey is another device's, and this device could hold one.
    pub(crate) offer_local: bool,
    /// This is the end of a sign-up or recovery: no offers.
    pub(crate) just_created: bool,
    /// The user cannot log in and recovers the account: what follows is a new passkey or password, not a session.
    pub(crate) recovering: bool,
    /// The user is signed in, and confirms to be there before changing the account: where to go then, instead of into a
    /// session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) confirming: Option<String>,
    /// This user's second factor has been proved since, and a new recovery code has yet to be recorded. It is a part of
    /// the first factor, because another user's first factor may take its place in the same session.
    #[serde(default)]
    pub(crate) second_passed: bool,
    /// What to write into the passkey's record at the very end.
    pub(crate) used: Option<PasskeyUse>,
}

impl FirstFactor {
    /// A first factor of a user who exists, without anything special.
    pub(crate) fn of(user: &User, method: Method) -> Self {
        Self {
            user_id: user.id.clone(),
            generation: user.generation,
            waits_since: 0,
            method,
            user_verified: false,
            offer_local: false,
            just_created: false,
            recovering: false,
            confirming: None,
            second_passed: false,
            used: None,
        }
    }
}

/// A recovery under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Recovery {
    /// The address that the code went to.
    pub(crate) email: String,
    pub(crate) code_id: String,
    /// Once the code has been typed, and the second factor has passed.
    pub(crate) proved: Option<Proved>,
}

/// Whose account is being recovered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Proved {
    pub(crate) user_id: String,
    /// The user's when the address was proved.
    pub(crate) generation: i64,
    pub(crate) since: i64,
    /// A second factor has passed, too.
    #[serde(default)]
    pub(crate) second: bool,
}

/// For how long a proof waits for what comes after it, in milliseconds: time enough to install an authenticator app.
const PROOF_MS: i64 = 30 * 60_000;

/// An address that takes the place of another one of its kind, once the mailed code has been typed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NewIdentifier {
    pub(crate) identifier: Identifier,
    pub(crate) code_id: String,
}

/// An offer to create a passkey.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Prompt {
    /// After a sign-in without a passkey.
    Progressive,
    /// After a sign-in with another device's passkey.
    Local,
}

impl Prompt {
    /// Its name in the database.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Progressive => "progressive",
            Self::Local => "local",
        }
    }
}

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

    async fn set_session_cookie(&mut self, token: &str) -> Result<(), Failure> {
        let days = self.app.policy().await?.session.absolute_days;
        self.set_cookie(session_cookie(&self.app), token, i64::from(days) * 86_400);
        self.token = Some(token.to_string().into());
        Ok(())
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

    /// Keeps what this visit changed in the session, if that has not ended meanwhile.
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
        self.session.data =
            serde_json::to_string(&self.data).map_err(|_| Failure::Broken("a session is JSON"))?;
        if self.is_stored {
            return Ok(self.app.database.make(others.update_session(&self.session)).await?);
        }
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

    /// Remembers this device for a user: no second factor for a while.
    pub(crate) async fn remember_device(&mut self, user_id: &str, days: u32) -> Result<(), Failure> {
        let token = secret::text(&self.app.config.random.bytes::<32>());
        let digest = secret::digest(token.as_bytes());
        self.app.database.remember_device(&digest, user_id, self.app.now(), days).await?;
        self.set_cookie(device_cookie(&self.app), &token, i64::from(days) * 86_400);
        Ok(())
    }

    fn set_cookie(&mut self, name: &str, value: &str, max_age_s: i64) {
        let secure = if self.app.config.is_https() { "; Secure" } else { "" };
        self.cookies
            .push(format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={max_age_s}{secure}"));
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

    /// The message that the last request left for this page; it is shown once.
    pub(crate) async fn take_notice(&mut self) -> Result<Option<String>, Failure> {
        let notice = self.data.notice.take();
        if notice.is_some() {
            self.save().await?;
        }
        Ok(notice)
    }

    /// Answers with a page.
    pub(crate) fn page(&self, markup: Markup) -> Response {
        self.page_with(StatusCode::OK, markup)
    }

    /// Answers with a page and a status.
    pub(crate) fn page_with(&self, status: StatusCode, markup: Markup) -> Response {
        self.with_cookies((status, markup).into_response())
    }

    /// Answers with a page that tells a failure.
    pub(crate) fn refusal(&self, told: &Told, markup: Markup) -> Response {
        let mut response = self.page_with(told.status, markup);
        told.say_when(response.headers_mut());
        response
    }

    /// Answers with another page to look at.
    pub(crate) fn see_other(&self, path: &str) -> Response {
        let mut response = StatusCode::SEE_OTHER.into_response();
        if let Ok(path) = HeaderValue::from_str(path) {
            response.headers_mut().insert(LOCATION, path);
        }
        self.with_cookies(response)
    }

    /// Answers with JSON.
    pub(crate) fn json(&self, value: serde_json::Value) -> Response {
        self.with_cookies(axum::Json(value).into_response())
    }

    fn with_cookies(&self, mut response: Response) -> Response {
        for line in &self.cookies {
            if let Ok(value) = HeaderValue::from_str(line) {
                response.headers_mut().append(SET_COOKIE, value);
            }
        }
        response
    }
}

/// What a session keeps of the operator's token: the database alone neither gives it away nor makes an operator.
fn operator_mark(app: &App) -> String {
    secret::text(&secret::keyed(app.config.admin_token.as_bytes(), &[b"operator's session"]))
}

fn fresh(app: &App, now: i64, ip: &str, user_agent: &str) -> StoredSession {
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

/// A token for a session: when it began, in seconds since 1970 and eight hexadecimal digits, and 32 random bytes.
fn new_token(now_ms: i64, random: &[u8; 32]) -> String {
    let seconds = u32::try_from(now_ms / 1000).unwrap_or_default();
    format!("{seconds:08x}{}", secret::text(random))
}

/// What a session is found by: 32 bytes, the SHA-256 of its token; of a token that says when the session began, that in
/// front of the first 28 of them. Sessions that begin together are kept together then, and written in one place.
fn key_of(token: &str) -> Vec<u8> {
    let digest = secret::digest(token.as_bytes());
    let began = token.get(..8).filter(|_| token.len() == TOKEN_LENGTH + 8);
    match began.and_then(|digits| u32::from_str_radix(digits, 16).ok()) {
        Some(began) => [&began.to_be_bytes()[..], &digest[..28]].concat(),
        None => digest,
    }
}

/// A name for a token that is not stored; neither the token nor its digest, which a session would be found by.
fn name_of_token(digest: &[u8]) -> String {
    format!("tok_{}", secret::text(&secret::digest(digest)[..15]))
}

/// 32 bytes in base64url.
const TOKEN_LENGTH: usize = 43;

/// How the token of a browser that has no session begins: it need not be looked for.
const HELD: &str = "~";

/// `__Host-` where cookies can be `Secure`; a plain name on http://localhost, where not every client would send it.
fn session_cookie(app: &App) -> &'static str {
    if app.config.is_https() { "__Host-session" } else { "session" }
}

fn device_cookie(app: &App) -> &'static str {
    if app.config.is_https() { "__Host-device" } else { "device" }
}

/// A cookie's value; the first of that name.
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(found, _)| *found == name).map(|(_, value)| value).next()
}

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Where the request came from: the peer, or what the proxy in front says.
fn client_ip(parts: &Parts, app: &App) -> String {
    if app.config.behind_proxy {
        let forwarded = parts.headers.get_all(FORWARDED_FOR).iter().next_back();
        let last = forwarded.and_then(|line| line.to_str().ok()).and_then(|line| line.rsplit(',').next());
        if let Some(ip) = last.and_then(|text| text.trim().parse::<std::net::IpAddr>().ok()) {
            return ip.to_string();
        }
    }
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    peer.map_or_else(|| "127.0.0.1".into(), |ConnectInfo(address)| address.ip().to_string())
}

/// A header as text of at most `most` characters.
fn clipped(headers: &HeaderMap, name: &str, most: usize) -> String {
    let value = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.chars().take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_sessions_are_in_the_order_of_their_beginning() {
        let tokens =
            [1_790_000_000_000, 1_790_000_001_000, 4_000_000_000_000].map(|now| new_token(now, &[7; 32]));
        let keys = tokens.each_ref().map(|token| key_of(token));
        assert!(keys.is_sorted() && keys.iter().all(|key| key.len() == 32));
        assert_ne!(key_of(&new_token(1_790_000_000_000, &[8; 32])), keys[0]);
        // The whole token counts, not the random part alone.
        assert_ne!(keys[0][4..], keys[1][4..]);
    }

    #[test]
    fn a_token_of_before_is_found_by_its_digest() {
        let token = secret::text(&[7; 32]);
        assert_eq!(key_of(&token), secret::digest(token.as_bytes()));
        assert_eq!(
            key_of("a-token-from-before-the-upgrade"),
            secret::digest(b"a-token-from-before-the-upgrade")
        );
    }
}
