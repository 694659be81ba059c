//! The Signal API (WebAuthn Level 3 §5.1.10): a relying party tells what it knows, and the vault follows.
//!
//! Nothing is destroyed on a page's word: what the relying party no longer knows is hidden, and shown again when it is
//! named again.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use doppelkey_core::{Credential, StoreError};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::device::SharedStore;

/// Why a signal was not followed: a member is missing or malformed, or the store failed.
pub(super) enum Refusal {
    Malformed(&'static str),
    Store(StoreError),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Refusal::Store(error)
    }
}

/// Follows a signal about this RP ID, which the caller has checked.
pub(super) fn follow(store: &SharedStore, rp_id: &str, kind: &str, details: &Value) -> Result<(), Refusal> {
    match kind {
        "UnknownCredential" => hide(store, rp_id, &bytes(details, "credentialId")?),
        "AllAcceptedCredentials" => {
            let ids = details["allAcceptedCredentialIds"].as_array();
            let ids = ids.ok_or(Refusal::Malformed("allAcceptedCredentialIds"))?.iter().map(decode);
            let ids: Vec<_> =
                ids.collect::<Option<_>>().ok_or(Refusal::Malformed("allAcceptedCredentialIds"))?;
            let user = bytes(details, "userId")?;
            each(store, rp_id, &user, |credential| credential.hidden = !ids.contains(&credential.id.to_vec()))
        }
        "CurrentUserDetails" => {
            let text = |name| details[name].as_str().ok_or(Refusal::Malformed("name or displayName"));
            let (name, display_name) = (text("name")?, text("displayName")?);
            each(store, rp_id, &bytes(details, "userId")?, |credential| {
                credential.user.name = Some(cut(name));
                credential.user.display_name = Some(cut(display_name));
            })
        }
        _ => Err(Refusal::Malformed("kind")),
    }
}

fn hide(store: &SharedStore, rp_id: &str, id: &[u8]) -> Result<(), Refusal> {
    let mut store = store.lock();
    let Some(mut credential) = store.get(id)? else { return Ok(()) };
    if credential.rp_id.as_str() == rp_id && !credential.hidden {
        credential.hidden = true;
        store.put(&credential, None)?;
    }
    Ok(())
}

/// Changes every credential of an account, hidden ones too.
fn each(
    store: &SharedStore,
    rp_id: &str,
    user: &[u8],
    change: impl Fn(&mut Credential),
) -> Result<(), Refusal> {
    let mut store = store.lock();
    let hash = Sha256::digest(rp_id).into();
    let mut before = u64::MAX;
    while let Some(old) = store.newest_before(&hash, before)? {
        before = old.order;
        let mut new = old.clone();
        if old.user.id.as_slice() == user {
            change(&mut new);
        }
        if new != old {
            store.put(&new, None)?;
        }
    }
    Ok(())
}

fn bytes(details: &Value, name: &'static str) -> Result<Vec<u8>, Refusal> {
    decode(&details[name]).ok_or(Refusal::Malformed(name))
}

fn decode(value: &Value) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(value.as_str()?).ok()
}

/// As much of the name as is kept, cut at a character's boundary.
fn cut<const N: usize>(name: &str) -> heapless::String<N> {
    let mut kept = heapless::String::new();
    for character in name.chars() {
        if kept.push(character).is_err() {
            break;
        }
    }
    kept
}
