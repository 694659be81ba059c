//! What happens to the credentials of virtual authenticators, as the DevTools domain tells it: `credentialAdded`,
//! `credentialUpdated`, `credentialDeleted`, `credentialAsserted`.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{Path, State};
use axum::response::sse;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use doppelkey_core::{Credential, CredentialStore, MemoryStore, StoreError};
use futures_util::{Stream, stream};
use serde_json::{Value, json};
use tokio::sync::broadcast::{self, error::RecvError};

use super::WebDriver;
use crate::device::Observer;
use crate::vault::exchange::private_key_to_pkcs8;

/// The events of every session. Clones are the same.
#[derive(Clone)]
pub(super) struct Events(broadcast::Sender<Arc<Event>>);

struct Event {
    session: String,
    name: &'static str,
    params: Value,
}

impl Default for Events {
    fn default() -> Self {
        Events(broadcast::Sender::new(BACKLOG))
    }
}

/// The events of one authenticator: an observer of its store. Clones are the same.
#[derive(Clone)]
pub(super) struct Teller {
    events: Events,
    session: String,
    authenticator: String,
    /// While what is put is all that there is to be of a credential.
    as_it_is: Arc<AtomicBool>,
}

impl Teller {
    pub(super) fn new(events: Events, session: String, authenticator: String) -> Self {
        Teller { events, session, authenticator, as_it_is: Arc::default() }
    }

    /// What `change` puts stands in its place as it is: a store's own `put` would never let a counter go back.
    pub(super) fn as_it_is<T>(&self, change: impl FnOnce() -> T) -> T {
        self.as_it_is.store(true, Ordering::Relaxed);
        let changed = change();
        self.as_it_is.store(false, Ordering::Relaxed);
        changed
    }

    fn updated(&self, credential: &Credential) {
        self.tell("credentialUpdated", || json!({ "credential": described(credential) }));
    }

    pub(super) fn asserted(&self, credential: &Credential) {
        self.tell("credentialAsserted", || json!({ "credential": described(credential) }));
    }

    fn added(&self, credential: &Credential) {
        self.tell("credentialAdded", || json!({ "credential": described(credential) }));
    }

    fn deleted(&self, id: &[u8]) {
        self.tell("credentialDeleted", || json!({ "credentialId": BASE64_STANDARD.encode(id) }));
    }

    fn tell(&self, name: &'static str, params: impl FnOnce() -> Value) {
        let Events(sender) = &self.events;
        if sender.receiver_count() == 0 {
            return;
        }
        let mut params = params();
        params["authenticatorId"] = self.authenticator.as_str().into();
        // Nobody listening any more is nobody's loss.
        let _ = sender.send(Arc::new(Event { session: self.session.clone(), name, params }));
    }
}

/// A Credential of the DevTools domain. Bytes are in base64, which is that domain's way and not WebDriver's.
fn described(credential: &Credential) -> Value {
    let mut described = json!({
        "credentialId": BASE64_STANDARD.encode(&credential.id),
        "isResidentCredential": !credential.hidden,
        "rpId": credential.rp_id.as_str(),
        "signCount": credential.sign_count.map_or(-1, i64::from),
        "backupEligibility": credential.backup_eligible,
        "backupState": credential.backup_state,
    });
    if let Some(key) = private_key_to_pkcs8(&credential.key) {
        described["privateKey"] = BASE64_STANDARD.encode(&key).into();
    }
    if !credential.user.id.is_empty() {
        described["userHandle"] = BASE64_STANDARD.encode(&credential.user.id).into();
    }
    for (member, name) in
        [("userName", &credential.user.name), ("userDisplayName", &credential.user.display_name)]
    {
        if let Some(name) = name {
            described[member] = name.as_str().into();
        }
    }
    described
}

/// `GET /session/SID/webauthn/events`: server-sent events of this session's authenticators from now on, each with the
/// JSON of a DevTools event. A listener that is too slow misses some, and is told how many.
pub(super) async fn listen(
    State(driver): State<WebDriver>,
    Path(session): Path<String>,
) -> sse::Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    let receiver = driver.events.0.subscribe();
    let events = stream::unfold((receiver, session), async |(mut receiver, session)| {
        loop {
            let event = match receiver.recv().await {
                Ok(event) if event.session != session => continue,
                Ok(event) => sse::Event::default().event(event.name).data(
                    json!({ "method": format!("WebAuthn.{}", event.name), "params": event.params })
                        .to_string(),
                ),
                Err(RecvError::Lagged(missed)) => {
                    sse::Event::default().event("missed").data(json!({ "count": missed }).to_string())
                }
                Err(RecvError::Closed) => return None,
            };
            return Some((Ok(event), (receiver, session)));
        }
    });
    sse::Sse::new(events).keep_alive(sse::KeepAlive::default())
}

impl Observer<MemoryStore> for Teller {
    fn put(
        &mut self,
        store: &mut MemoryStore,
        credential: &Credential,
        replaces: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        if self.as_it_is.load(Ordering::Relaxed) && store.set(credential) {
            self.updated(credential);
            return Ok(());
        }
        let known = store.get(&credential.id)?.is_some();
        store.put(credential, replaces)?;
        match replaces {
            Some(replaced) if replaced != credential.id.as_slice() => self.deleted(replaced),
            _ => {}
        }
        if known {
            self.updated(credential)
        } else {
            self.added(credential)
        }
        Ok(())
    }

    fn remove(&mut self, store: &mut MemoryStore, id: &[u8]) -> Result<bool, StoreError> {
        let removed = store.remove(id)?;
        if removed {
            self.deleted(id);
        }
        Ok(removed)
    }

    fn reset(&mut self, store: &mut MemoryStore) -> Result<(), StoreError> {
        let ids = ids(store)?;
        store.reset()?;
        ids.iter().for_each(|id| self.deleted(id));
        Ok(())
    }
}

/// The ids of all credentials.
fn ids(store: &mut impl CredentialStore) -> Result<Vec<Vec<u8>>, StoreError> {
    let (mut ids, mut after) = (Vec::new(), None);
    while let Some(newest) = store.next_rp(after.as_ref())? {
        let mut before = u64::MAX;
        while let Some(credential) = store.newest_before(&newest.rp_id_hash, before)? {
            before = credential.order;
            ids.push(credential.id.to_vec());
        }
        after = Some(newest.rp_id_hash);
    }
    Ok(ids)
}

/// How many events a slow listener can be behind.
const BACKLOG: usize = 1024;
