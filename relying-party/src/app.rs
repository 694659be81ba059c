//! The application: what every request shares, and the table of its paths.

mod start;

use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, RwLock};

use axum::Router;
use tokio::sync::Notify;
use zeroize::Zeroizing;

use crate::config::{Config, Mail};
use crate::failure::Failure;
use crate::metadata::{Metadata, MetadataError, Providers};
use crate::policy::Policy;
use crate::store::{Database, StoreError};
use crate::{api, developer, edge, flows, mail, operator, secret, webhooks, well_known};

/// Why the relying party cannot start: always for the operator to mend.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The settings contradict each other.
    Config {
        /// What is wrong.
        what: String,
        /// What to do.
        hint: String,
    },
    /// The database cannot be used.
    Database(StoreError),
    /// The metadata BLOB, or the list of provider names, is not what it should be.
    Metadata(MetadataError),
    /// The database's secrets are sealed, and this is not their key.
    Key {
        /// Whether there is a key at all.
        is_given: bool,
    },
    /// Passkeys were made for another RP ID, and would be lost.
    RpIdChanged {
        /// The RP ID that the passkeys are for.
        stored: String,
        /// The RP ID in the settings.
        configured: String,
        /// How many passkeys would be orphaned.
        passkeys: i64,
    },
}

impl StartError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Config { hint, .. } => hint.clone(),
            Self::Database(StoreError::Newer { .. }) => {
                "run a newer doppelkey, or name another database".into()
            }
            Self::Database(StoreError::Url(_)) => "for example --db sqlite:doppelkey.db".into(),
            Self::Database(StoreError::Server { hint, .. }) => (*hint).into(),
            Self::Database(_) => {
                "is the server running, does the folder exist, may this user write to it?".into()
            }
            Self::Metadata(MetadataError::RevocationList(_)) => {
                "name whole lists with --mds-crl, as their authorities publish them, DER or PEM".into()
            }
            Self::Metadata(MetadataError::Signer) => {
                "name the DNS name in its signer's certificate with --mds-publisher, if you know whose it is"
                    .into()
            }
            Self::Metadata(_) => "get the newest BLOB, and name the root that its publisher names".into(),
            Self::Key { .. } => {
                "put the key file back from its backup, or name it with --key-file; every process on one database \
                 needs the same. If it is lost, end them all; then --replace-lost-key goes on without authenticator apps"
                    .into()
            }
            Self::RpIdChanged { .. } => "keep the RP ID, or give --accept to lose those passkeys".into(),
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config { what, .. } => f.write_str(what),
            Self::Database(error) => error.fmt(f),
            Self::Metadata(error) => error.fmt(f),
            Self::Key { is_given: true } => {
                f.write_str("the secrets in the database are sealed under another key than this one")
            }
            Self::Key { is_given: false } => {
                f.write_str("the secrets in the database are sealed under a key, and there is none here")
            }
            Self::RpIdChanged { stored, configured, passkeys } => {
                write!(
                    f,
                    "{passkeys} passkeys were made for the RP ID {stored}; {configured} would orphan them"
                )
            }
        }
    }
}

impl std::error::Error for StartError {}

impl From<MetadataError> for StartError {
    fn from(error: MetadataError) -> Self {
        Self::Metadata(error)
    }
}

impl From<StoreError> for StartError {
    fn from(error: StoreError) -> Self {
        Self::Database(error)
    }
}

/// What every request shares; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct App(Arc<Shared>);

impl Deref for App {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// Tells no secret.
impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("config", &self.config).finish_non_exhaustive()
    }
}

/// See [`App`].
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) database: Database,
    /// The same in every process that shares the database; keys digests and seals.
    pub(crate) secret: Zeroizing<Vec<u8>>,
    /// What FIDO says about models of authenticators, if the operator has loaded it.
    pub(crate) metadata: Option<Metadata>,
    /// What providers are called.
    pub(crate) providers: Providers,
    /// Wakes the streams of events.
    pub(crate) new_events: Arc<Notify>,
    /// Wakes who sends mail.
    pub(crate) new_mail: Arc<Notify>,
    policy: RwLock<KnownPolicy>,
    event_counter: AtomicU32,
    /// The time in the latest id of an event, in milliseconds.
    time_of_ids: AtomicI64,
}

#[derive(Debug)]
struct KnownPolicy {
    policy: Arc<Policy>,
    /// Why the one in the database cannot be read, if so: this one stays in force meanwhile.
    unreadable: Option<String>,
    /// In milliseconds: challenges that expire by then can no longer be used; whether they were is not kept.
    spent_until: i64,
    /// When to look again whether another process has changed something.
    stale_at: i64,
}

impl App {
    pub(crate) fn of(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0
    }

    /// Now, in milliseconds.
    pub(crate) fn now(&self) -> i64 {
        self.config.clock.now_ms()
    }

    /// The policy in force; a change by another process is seen within a second.
    pub(crate) async fn policy(&self) -> Result<Arc<Policy>, StoreError> {
        let now = self.now();
        let seen = {
            let known = self.policy.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            // A clock that was set back would keep it for as long as the step was.
            if (known.stale_at.saturating_sub(POLICY_KEPT_MS)..known.stale_at).contains(&now) {
                return Ok(Arc::clone(&known.policy));
            }
            Arc::clone(&known.policy)
        };
        let read = read_policy(self.database.setting("policy").await?);
        let spent_until = self.database.spent_until().await?;
        let mut known = self.policy.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !Arc::ptr_eq(&known.policy, &seen) {
            // Changed while this was read, which may have been before.
            return Ok(Arc::clone(&known.policy));
        }
        known.stale_at = now.saturating_add(POLICY_KEPT_MS);
        known.spent_until = spent_until;
        match read {
            Ok(policy) => (known.policy, known.unreadable) = (Arc::new(policy), None),
            Err(why) if known.unreadable.as_ref() == Some(&why) => {}
            Err(why) => {
                // Not the defaults: they would ask for less than what somebody has decided.
                tell!(
                    "error: the policy in the database cannot be read, and the last one stays in force: {why}\nhint: \
                     another process is newer than this one; run the same version everywhere"
                );
                known.unreadable = Some(why);
            }
        }
        Ok(Arc::clone(&known.policy))
    }

    /// In milliseconds: challenges that expire by then can no longer be used; whether they were is not kept. What another
    /// process has set is read together with the policy.
    pub(crate) fn spent_until(&self) -> i64 {
        self.policy.read().unwrap_or_else(std::sync::PoisonError::into_inner).spent_until
    }

    /// Puts into force what `change` makes of the policy in the database, here at once and in other processes within a
    /// second. Of changes at once, by whatever process, each is made of what the other has left.
    ///
    /// # Errors
    /// The change's; and [`Failure::PolicyUnreadable`] if what is there would be overwritten unread.
    pub(crate) async fn change_policy(
        &self,
        change: impl Fn(Policy) -> Result<Policy, Failure>,
    ) -> Result<Policy, Failure> {
        for _ in 0..TRIES_TO_CHANGE {
            let before = self.database.setting("policy").await?;
            let policy = change(read_policy(before.clone()).map_err(Failure::PolicyUnreadable)?)?;
            if self.database.replace_setting("policy", before.as_deref(), &policy_text(&policy)).await? {
                let mut known = self.policy.write().unwrap_or_else(std::sync::PoisonError::into_inner);
                (known.policy, known.unreadable) = (Arc::new(policy.clone()), None);
                known.stale_at = self.now().saturating_add(POLICY_KEPT_MS);
                return Ok(policy);
            }
        }
        Err(Failure::Broken("the policy is changed by others all the time"))
    }

    /// A new id with a prefix that says of what.
    pub(crate) fn new_id(&self, prefix: &str) -> String {
        format!("{prefix}_{}", secret::text(&self.config.random.bytes::<15>()))
    }

    /// An id for an event: sorts by time, then by order within this process. Ids of one process never go back, not even
    /// when its clock is set back: whoever reads on from an id misses nothing. Another process may have got to the same
    /// time and count: an id that is there already would undo what its event tells of.
    pub(crate) fn next_event_id(&self, now: i64) -> String {
        let time = self.time_of_ids.fetch_max(now, Ordering::Relaxed).max(now);
        let count = self.event_counter.fetch_add(1, Ordering::Relaxed);
        let random = u64::from_be_bytes(self.config.random.bytes());
        format!("{time:014}{count:08x}{random:016x}")
    }

    /// The time that ids of events have got to, in milliseconds: now, or later after the clock has been set back.
    pub(crate) fn time_of_ids(&self) -> i64 {
        self.time_of_ids.load(Ordering::Relaxed).max(self.now())
    }
}

/// For how long a policy that was read is taken to be the one in the database, in milliseconds.
const POLICY_KEPT_MS: i64 = 1000;

/// How often a change of policy begins anew when others come first.
const TRIES_TO_CHANGE: u32 = 50;

/// The policy of a setting's text; the defaults where nobody has decided anything.
fn read_policy(text: Option<String>) -> Result<Policy, String> {
    let Some(text) = text else { return Ok(Policy::default()) };
    let mut policy: Policy = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    // It could be said once, and did nothing.
    policy.attributes.username.verify = false;
    Ok(policy)
}

fn policy_text(policy: &Policy) -> String {
    serde_json::to_string(policy).expect("a policy has string keys only")
}

/// The whole relying party as a service for axum.
///
/// Opens the database first, creating or upgrading its tables. Serve it with the peer's address
/// (`into_make_service_with_connect_info::<SocketAddr>()`), as [`serve`](crate::serve) does; without, every visitor counts as
/// one.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use doppelkey_relying_party::{Config, app};
///
/// let router = app(Config::localhost(8080)).await?;
/// # let _: axum::Router = router;
/// # Ok::<(), doppelkey_relying_party::StartError>(()) }).unwrap();
/// ```
///
/// # Errors
/// [`StartError`], which has a [`hint`](StartError::hint).
pub async fn app(config: Config) -> Result<Router, StartError> {
    let app = App::start(config).await?;
    tokio::spawn(sweep(Arc::downgrade(&app.0)));
    if matches!(app.config.mail, Mail::Smtp { .. }) {
        tokio::spawn(mail::postman(Arc::downgrade(&app.0)));
    }
    webhooks::start(&app).await?;
    let routes = Router::new()
        .merge(flows::routes())
        .merge(api::routes())
        .merge(operator::routes())
        .merge(developer::routes(&app))
        .merge(well_known::routes());
    Ok(edge::wrap(routes, app))
}

/// Removes what has expired, every ten minutes, until the application is gone.
async fn sweep(shared: std::sync::Weak<Shared>) {
    loop {
        tokio::time::sleep(std::time::Duration::from_secs(600)).await;
        let Some(shared) = shared.upgrade() else { return };
        let app = App(shared);
        let now = app.now();
        let Ok(policy) = app.policy().await else { continue };
        let kept_ms = i64::from(policy.log_retention_days) * 86_400_000;
        if let Err(error) = app.database.sweep(now, now - kept_ms).await {
            tell!("error: expired rows could not be removed: {error}\nhint: {}", error.hint());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Clock;

    #[tokio::test]
    async fn events_of_two_processes_at_the_same_time_and_count_have_ids_of_their_own() {
        let config = || Config { clock: Clock::new(|| 1_750_000_000_000), ..Config::localhost(8080) };
        let (one, other) = (App::start(config()).await.unwrap(), App::start(config()).await.unwrap());
        for _ in 0..500_000 {
            let (id, of_other) = (one.next_event_id(one.now()), other.next_event_id(other.now()));
            assert_eq!(id[..22], of_other[..22], "the same time and count");
            assert_ne!(id, of_other);
        }
    }
}
