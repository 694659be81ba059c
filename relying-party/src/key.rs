//! The key that is not in the database. What a copy of the database must not give away, and this service has to read again,
//! is sealed under it: the secret that all processes share (it signs tokens, and keys the digests of codes), and the
//! secrets of authenticator apps.
//!
//! AES-256-GCM under the key as it is, with what is sealed and whose it is as associated data; a random nonce of 12 bytes
//! comes first. In the settings, `secret` is base64url after [`SEALED`] then, and without it where there is no key.

use std::fmt;

use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use zeroize::Zeroizing;

use crate::app::StartError;
use crate::config::{Config, Random};
use crate::secret;
use crate::store::{Changes, Database, SealedApp, StoreError};

/// A key of 32 random bytes, which every process that shares a database is given, and the database is not.
#[derive(Clone)]
pub struct Key(Zeroizing<[u8; 32]>);

/// Tells no key.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Key {
    /// The key of these bytes, which must be random.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    fn seal(&self, random: &Random, of: &str, clear: &[u8]) -> Vec<u8> {
        let nonce = random.bytes::<12>();
        let payload = Payload { msg: clear, aad: of.as_bytes() };
        let sealed = self.cipher().encrypt(&Nonce::from(nonce), payload);
        [&nonce[..], &sealed.expect("a secret is short")].concat()
    }

    fn open(&self, of: &str, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, msg) = sealed.split_first_chunk::<12>()?;
        let payload = Payload { msg, aad: of.as_bytes() };
        self.cipher().decrypt(&Nonce::from(*nonce), payload).ok().map(Zeroizing::new)
    }

    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new(&(*self.0).into())
    }
}

/// Seals the secret of a user's authenticator app, if there is a key.
pub(crate) fn seal_app(config: &Config, user_id: &str, clear: &[u8]) -> SealedApp {
    match &config.key {
        Some(key) => SealedApp { bytes: key.seal(&config.random, &app_of(user_id), clear), is_sealed: true },
        None => SealedApp { bytes: clear.to_vec(), is_sealed: false },
    }
}

/// The secret of a user's authenticator app; `None` if it is sealed under another key, or for another user.
pub(crate) fn open_app(config: &Config, user_id: &str, app: &SealedApp) -> Option<Zeroizing<Vec<u8>>> {
    if app.is_sealed {
        return config.key.as_ref()?.open(&app_of(user_id), &app.bytes);
    }
    Some(Zeroizing::new(app.bytes.clone()))
}

/// Whether something in a database, `memory`, `sqlite:PATH` or `postgres://…`, is sealed: it cannot be used without its
/// key then. A database that is not there is made.
///
/// # Errors
/// [`StartError::Database`].
pub async fn is_sealed(database: &str) -> Result<bool, StartError> {
    let found = Database::open(database).await?.setting(NAME).await?;
    Ok(found.is_some_and(|text| text.starts_with(SEALED)))
}

/// The secret that all processes share, as a start finds it.
pub(crate) struct Opened {
    pub(crate) secret: Zeroizing<Vec<u8>>,
    /// The setting as it is and as it has to be: what was there does not open, and `secret` takes its place once that is
    /// written.
    pub(crate) replaces: Option<(String, String)>,
    /// Whose authenticator apps do not open, and are to be removed.
    pub(crate) given_up: Vec<String>,
}

impl Opened {
    /// One that is in the database already, with nothing to give up.
    fn of(secret: Zeroizing<Vec<u8>>) -> Self {
        Self { secret, replaces: None, given_up: Vec::new() }
    }
}

/// The secret that all processes share: the first makes it. Where there is a key and something in the database was written
/// without one, it is sealed now. What a lost key has sealed is only found here, and not given up yet.
pub(crate) async fn shared_secret(config: &Config, database: &Database) -> Result<Opened, StartError> {
    let found = database.setting(NAME).await?;
    let is_sealed = found.as_ref().is_some_and(|text| text.starts_with(SEALED));
    let Some(key) = &config.key else {
        if is_sealed {
            return Err(StartError::Key { is_given: false });
        }
        let proposal = secret::text(&config.random.bytes::<32>());
        let agreed = database.agree_on(NAME, &proposal).await?;
        return Ok(Opened::of(Zeroizing::new(secret::bytes(&agreed).unwrap_or_default())));
    };
    let sealed_under =
        |key: &Key, clear: &[u8]| format!("{SEALED}{}", secret::text(&key.seal(&config.random, NAME, clear)));
    match found.as_deref() {
        None => {
            let proposal = sealed_under(key, &config.random.bytes::<32>());
            database.agree_on(NAME, &proposal).await?;
        }
        Some(clear) if !is_sealed => {
            let clear = Zeroizing::new(secret::bytes(clear).unwrap_or_default());
            let marked = database.setting(MARK).await?;
            let sealing = Changes::default()
                .replace_setting(NAME, found.as_deref(), &sealed_under(key, &clear))
                .replace_setting(MARK, marked.as_deref(), BEGUN);
            // If another process was faster, there is nothing to replace any more.
            database.make(sealing).await?;
        }
        Some(_) => {}
    }
    let agreed = database.setting(NAME).await?.unwrap_or_default();
    let opened = open_shared(key, &agreed);
    if opened.is_some() {
        seal_the_rest(config, database).await?;
    }
    if !config.replace_lost_key {
        return opened.map(Opened::of).ok_or(StartError::Key { is_given: true });
    }
    // Also where the shared secret opens: a process with the old key in memory may have sealed some since.
    let mut given_up = Vec::new();
    for (user_id, app) in database.sealed_apps().await? {
        if open_app(config, &user_id, &app).is_none() {
            given_up.push(user_id);
        }
    }
    if let Some(secret) = opened {
        return Ok(Opened { given_up, ..Opened::of(secret) });
    }
    let secret = Zeroizing::new(config.random.bytes::<32>().to_vec());
    let new = sealed_under(key, &secret);
    Ok(Opened { secret, replaces: Some((agreed, new)), given_up })
}

/// Seals the apps that are in clear, and has the database forget what was: of a process that has no key yet may be some at
/// every start, and one that was killed meanwhile has left the rest to the next.
pub(crate) async fn seal_the_rest(config: &Config, database: &Database) -> Result<(), StoreError> {
    let in_clear = database.apps_in_clear().await?;
    let marked = database.setting(MARK).await?;
    if in_clear.is_empty() && marked.as_deref() != Some(BEGUN) {
        return Ok(());
    }
    database.replace_setting(MARK, marked.as_deref(), BEGUN).await?;
    for (user_id, clear) in in_clear {
        let app = seal_app(config, &user_id, &Zeroizing::new(clear));
        database.seal_app(&user_id, &app).await?;
    }
    if database.forget_what_was_there().await? {
        database.replace_setting(MARK, Some(BEGUN), DONE).await?;
    } else {
        tell!(
            "warning: what was sealed now is still in the database's file in clear, because another program reads it from \
             before\nhint: end what reads it (a backup, an open sqlite3), and start this again"
        );
    }
    Ok(())
}

fn open_shared(key: &Key, agreed: &str) -> Option<Zeroizing<Vec<u8>>> {
    key.open(NAME, &secret::bytes(agreed.strip_prefix(SEALED)?)?)
}

fn app_of(user_id: &str) -> String {
    format!("totp {user_id}")
}

/// The setting of the shared secret.
pub(crate) const NAME: &str = "secret";

/// The setting that says how far sealing what was in clear has got: [`BEGUN`], or [`DONE`] once the database has forgotten
/// it, too.
const MARK: &str = "sealing";
const BEGUN: &str = "begun";
const DONE: &str = "done";

/// No base64url begins like this.
const SEALED: &str = "sealed:";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_with_its_key_for_its_user_and_unchanged_only() {
        let with = |bytes| Config { key: Some(Key::new(bytes)), ..Config::localhost(8080) };
        let (config, other) = (with([1; 32]), with([2; 32]));
        let sealed = seal_app(&config, "usr_1", &[7; 20]);
        assert!(sealed.is_sealed && !sealed.bytes.windows(4).any(|part| part == [7; 4]));
        assert_eq!(open_app(&config, "usr_1", &sealed).as_deref(), Some(&vec![7; 20]));
        assert_eq!(open_app(&config, "usr_2", &sealed), None);
        assert_eq!(open_app(&other, "usr_1", &sealed), None);
        assert_eq!(open_app(&Config::localhost(8080), "usr_1", &sealed), None);
        for at in 0..sealed.bytes.len() {
            let mut changed = sealed.clone();
            changed.bytes[at] ^= 1;
            assert_eq!(open_app(&config, "usr_1", &changed), None, "byte {at}");
        }
        assert_ne!(seal_app(&config, "usr_1", &[7; 20]).bytes, sealed.bytes);
    }
}
