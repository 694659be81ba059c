//! Starting. What can fail comes first, and only reads; what a start changes is written at its end, in one piece with the
//! events that tell of it, and on condition that everything still is as it was read. So a start that fails has changed
//! nothing (but for a shared secret that was not there, or not sealed, yet), and no change goes untold.

use std::sync::atomic::{AtomicI64, AtomicU32};
use std::sync::{Arc, RwLock};

use serde_json::{Value, json};

use super::{App, KnownPolicy, Shared, StartError, TRIES_TO_CHANGE, policy_text, read_policy};
use crate::config::Config;
use crate::events::{Event, Source};
use crate::key::{self, Opened};
use crate::metadata::{Metadata, MetadataError, Providers, Publisher, RevocationLists};
use crate::policy::Policy;
use crate::store::{Changes, Database, LAST, StoreError};

/// What the database held before this start.
struct Before {
    rp_id: Option<String>,
    metadata_number: Option<String>,
    policy: Option<String>,
    /// Nothing has ever happened here.
    is_new: bool,
}

impl App {
    pub(crate) async fn start(config: Config) -> Result<Self, StartError> {
        config.check().map_err(|(what, hint)| StartError::Config { what, hint })?;
        if let Some(policy) = &config.policy {
            policy
                .check()
                .map_err(|what| StartError::Config { what, hint: "correct the policy file".into() })?;
        }
        let database = Database::open(&config.database).await?;
        for _ in 0..TRIES_TO_CHANGE {
            if let Some(app) = Self::try_to_start(&config, &database).await? {
                return Ok(app);
            }
        }
        Err(StoreError::Database("other processes change its settings all the time".into()).into())
    }

    /// `None` if another process has changed something since it was read.
    async fn try_to_start(config: &Config, database: &Database) -> Result<Option<Self>, StartError> {
        let newest = newest_event_time(database).await?;
        let before = Before {
            rp_id: database.setting("rp_id").await?,
            metadata_number: database.setting("metadata_number").await?,
            policy: database.setting("policy").await?,
            is_new: newest == 0,
        };
        check_rp_id(config, before.rp_id.as_deref(), database).await?;
        let metadata = read_metadata(config, before.metadata_number.as_deref())?;
        let providers = read_providers(config)?;
        let policy = match &config.policy {
            Some(policy) => policy.clone(),
            None => read_stored_policy(before.policy.clone())?,
        };
        let spent_until = database.spent_until().await?;
        let opened = key::shared_secret(config, database).await?;
        let known =
            KnownPolicy { policy: Arc::new(policy), unreadable: None, spent_until, stale_at: i64::MIN };
        let app = Self(Arc::new(Shared {
            config: config.clone(),
            database: database.clone(),
            secret: opened.secret.clone(),
            metadata,
            providers,
            new_events: Arc::default(),
            new_mail: Arc::default(),
            policy: RwLock::new(known),
            event_counter: AtomicU32::new(0),
            time_of_ids: AtomicI64::new(newest),
        }));
        if !app.put_into_force(&before, &opened).await? {
            return Ok(None);
        }
        if opened.replaces.is_some() {
            app.seal_under_the_new_key().await;
        }
        Ok(Some(app))
    }

    /// Seals what was in clear where a key was lost. Only once the new key is in force: under one that is not, nobody
    /// would open it. A start that has come so far does not fail any more.
    async fn seal_under_the_new_key(&self) {
        if let Err(error) = key::seal_the_rest(&self.config, &self.database).await {
            tell!(
                "warning: secrets of authenticator apps that were in clear could not be sealed, the next start tries \
                 again: {error}"
            );
        }
    }

    /// Writes what this start changes, and tells the operator: false if something is not as it was read any more, and then
    /// nothing has happened.
    async fn put_into_force(&self, before: &Before, opened: &Opened) -> Result<bool, StoreError> {
        let (settings, mut told) = self.new_settings(before);
        let (replacement, lost) = self.replacement(opened).await?;
        told.extend(lost);
        if !self.database.make(settings.then(replacement)).await? {
            return Ok(false);
        }
        let policy = self.policy.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        told.extend(policy.policy.warnings(&self.config));
        for warning in told {
            tell!("warning: {warning}");
        }
        Ok(true)
    }

    /// The settings that are others now, with their event, and what the operator should know about that.
    fn new_settings(&self, before: &Before) -> (Changes, Vec<String>) {
        let (mut changes, mut told) = (Changes::default(), Vec::new());
        if before.rp_id.as_ref() != Some(&self.config.rp_id) {
            changes = changes.replace_setting("rp_id", before.rp_id.as_deref(), &self.config.rp_id);
        }
        let number = self.metadata.as_ref().map(|metadata| metadata.number().to_string());
        if let Some(number) = number.filter(|number| before.metadata_number.as_ref() != Some(number)) {
            changes = changes.replace_setting("metadata_number", before.metadata_number.as_deref(), &number);
        }
        let Some(policy) = &self.config.policy else { return (changes, told) };
        let text = policy_text(policy);
        if before.policy.as_ref() != Some(&text) {
            changes = changes.replace_setting("policy", before.policy.as_deref(), &text);
        }
        let known = read_policy(before.policy.clone());
        let is_first = before.policy.is_none() && before.is_new;
        if !is_first && known.as_ref() != Ok(policy) {
            // As it was written, if it cannot be read.
            let known = known.map_or_else(|_| before.policy.clone(), |known| Some(policy_text(&known)));
            let known = known.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
            let patch = difference(&known, &serde_json::to_value(policy).unwrap_or_default());
            let event = Event::of("sapi").detail("operation", "policy").detail("patch", patch);
            changes = changes.put_event(&self.event(&Source::default(), event.detail("by", "--policy")));
            told.push(
                "the policy of --policy is in force now, and not the one that the database held: what was changed at \
                 /admin since the last start is gone"
                    .into(),
            );
        }
        (changes, told)
    }

    /// What goes with a key that is lost, with the events that say whose it was, and the same for the operator.
    async fn replacement(&self, opened: &Opened) -> Result<(Changes, Vec<String>), StoreError> {
        let (mut changes, mut told) = (Changes::default(), Vec::new());
        let by = "--replace-lost-key";
        if let Some((lost, new)) = &opened.replaces {
            let mails = self.database.count_waiting_mail().await?;
            changes = changes.replace_setting(key::NAME, Some(lost), new).forget_all_waiting_mail();
            for _ in 0..mails {
                let event =
                    Event::of("fn").error("it was sealed under the key that is lost").detail("by", by);
                changes = changes.put_event(&self.event(&Source::default(), event));
            }
            told.push("the key is a new one: tokens, and codes that were on their way, are void".into());
            if mails > 0 {
                told.push(format!(
                    "mail that waited for the mail server was sealed under the lost key, and is gone ({mails} in all); \
                     whoever waits for one can ask for it anew"
                ));
            }
        }
        for user_id in &opened.given_up {
            let Some(user) = self.database.user(user_id).await? else { continue };
            let event =
                Event::of("gd_unenroll").user(&user).detail("authenticator", json!({ "type": "otp" }));
            let event = self.event(&Source::default(), event.detail("by", by));
            changes = changes.remove_totp(user_id).put_event(&event);
        }
        if !opened.given_up.is_empty() {
            let count = opened.given_up.len();
            told.push(format!(
                "authenticator apps whose secrets were sealed under the lost key are removed ({count} in all)"
            ));
        }
        Ok((changes, told))
    }
}

/// A moment after the latest event of the log, in milliseconds, or 0 if there is none: with another process's counter, ids
/// of the same one could sort before it.
async fn newest_event_time(database: &Database) -> Result<i64, StoreError> {
    let newest = database.events_before(LAST, 1).await?.pop();
    let time = newest.and_then(|event| event.id.get(..14)?.parse::<i64>().ok());
    Ok(time.map_or(0, |time| time.saturating_add(1)))
}

fn read_stored_policy(text: Option<String>) -> Result<Policy, StartError> {
    read_policy(text).map_err(|why| StartError::Config {
        what: format!("the policy in the database cannot be read: {why}"),
        hint: "it was written by a newer doppelkey: run that, or put a policy of your own into force with --policy"
            .into(),
    })
}

/// What makes `after` of `before` (RFC 7396).
fn difference(before: &Value, after: &Value) -> Value {
    let Value::Object(members) = after else { return after.clone() };
    let changed = members.iter().filter(|(name, value)| before.get(name) != Some(value));
    let changed = changed.map(|(name, value)| (name.clone(), difference(&before[name], value)));
    Value::Object(changed.collect())
}

/// Reads the metadata BLOB, which must not be older than the newest one seen before.
fn read_metadata(config: &Config, seen: Option<&str>) -> Result<Option<Metadata>, StartError> {
    let Some(files) = &config.metadata else { return Ok(None) };
    let seen = seen.and_then(|text| text.parse().ok());
    let now_s = u64::try_from(config.clock.now_ms() / 1000).unwrap_or_default();
    let mut revoked = RevocationLists::default();
    for list in &files.revocation_lists {
        revoked.add(list).map_err(MetadataError::RevocationList)?;
    }
    for issuer in revoked.overdue(now_s) {
        tell!("warning: the revocation list of {issuer} is overdue: get the newest");
    }
    let publisher = Publisher { root: &files.root, name: &files.publisher };
    let metadata = Metadata::read(&files.blob, &publisher, revoked, now_s, seen)?;
    if metadata.is_overdue(now_s) {
        let expected = metadata.next_update();
        tell!("warning: the metadata BLOB is overdue, the next was expected on {expected}: get the newest");
    }
    Ok(Some(metadata))
}

/// What providers are called: the table that is built in, and the operator's list.
fn read_providers(config: &Config) -> Result<Providers, StartError> {
    let mut providers = Providers::default();
    if let Some(names) = &config.provider_names {
        providers.extend(names).map_err(|error| StartError::Config {
            what: match error {
                MetadataError::Payload(why) => {
                    format!("the list of passkey providers cannot be read: {why}")
                }
                other => other.to_string(),
            },
            hint: "name the community's list, JSON by AAGUID, with --aaguids".into(),
        })?;
    }
    Ok(providers)
}

/// Refuses to start with another RP ID than the passkeys are for, unless told to.
async fn check_rp_id(config: &Config, stored: Option<&str>, database: &Database) -> Result<(), StartError> {
    let Some(stored) = stored.filter(|stored| *stored != config.rp_id) else { return Ok(()) };
    let passkeys = database.count_passkeys().await?;
    if passkeys > 0 && !config.accept_rp_id_change {
        let (stored, configured) = (stored.to_string(), config.rp_id.clone());
        return Err(StartError::RpIdChanged { stored, configured, passkeys });
    }
    Ok(())
}
