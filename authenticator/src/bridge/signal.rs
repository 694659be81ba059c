//! The Signal API (WebAuthn Level 3 §5.1.10): a relying party tells what it knows, and the vault follows.
//!
//! Nothing is destroyed on a page's word: what the relying party no longer knows is hidden, and shown again when it is
//! named again. A second factor, which was never discoverable, does not become it by being named: the account's next
//! passkey would take its place.

use doppelkey_core::{Credential, StoreError};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::device::SharedStore;
use crate::text::from_base64url;

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
            each(store, rp_id, &user, |credential| {
                credential.hidden = credential.non_discoverable || !ids.contains(&credential.id.to_vec());
            })
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
    from_base64url(value.as_str()?)
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

#[cfg(test)]
mod tests {
    use doppelkey_core::testing::SeededRng;
    use doppelkey_core::{Authenticator, Configuration, CredentialStore as _, MemoryStore};
    use serde_json::json;

    use super::*;
    use crate::client::{Client, system_clock};
    use crate::device::Device;
    use crate::user_interface::Auto;

    const ORIGIN: &str = "https://login.example.com";

    #[test]
    fn a_second_factor_stays_one_when_its_relying_party_names_it() {
        let store = SharedStore::new(MemoryStore::new());
        let engines = store.clone();
        let device = Device::new(system_clock(), Box::new(Auto), move || {
            // As WebDriver's authenticators do: a key that needs no id of its own is kept, too.
            let configuration = Configuration { keep_all_credentials: true, ..Configuration::default() };
            Box::new(Authenticator::new(engines.clone(), SeededRng::new(1), configuration))
        });
        let mut client = Client::new(device.connect(), system_clock(), SeededRng::new(2)).unwrap();
        let mut create = |resident_key: &str| {
            let options = json!({
                "rp": {"id": "example.com", "name": "Example"},
                "user": {"id": "AQ", "name": "mona", "displayName": "Mona"},
                "challenge": "Y2hhbGxlbmdl",
                "pubKeyCredParams": [{"type": "public-key", "alg": -7}],
                "authenticatorSelection": {"residentKey": resident_key},
            });
            client.create(ORIGIN, &options).unwrap()["id"].clone()
        };
        let kept = |id: &Value| store.clone().get(&decode(id).unwrap()).unwrap();
        let second_factor = create("discouraged");
        for accepted in [json!([second_factor]), json!([]), json!([second_factor])] {
            let details = json!({"userId": "AQ", "allAcceptedCredentialIds": accepted});
            assert!(follow(&store, "example.com", "AllAcceptedCredentials", &details).is_ok());
            assert!(kept(&second_factor).unwrap().hidden);
        }
        let passkey = create("required");
        assert!(!kept(&passkey).unwrap().hidden);
        assert!(kept(&second_factor).is_some(), "the passkey did not take its place");
        let request = json!({"rpId": "example.com", "challenge": "Y2hhbGxlbmdl",
            "allowCredentials": [{"type": "public-key", "id": second_factor}]});
        assert_eq!(client.get(ORIGIN, &request).unwrap()["id"], second_factor);
    }
}
