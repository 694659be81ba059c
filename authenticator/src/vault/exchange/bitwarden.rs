//! Bitwarden's unencrypted JSON export: the passkeys (`fido2Credentials`) of its logins.

use doppelkey_core::Credential;
use serde::Deserialize;
use serde_json::Value;

use super::cxf::Imported;
use super::{ExchangeError, Foreign};
use crate::text::from_base64url;

#[derive(Deserialize)]
struct Export {
    encrypted: bool,
    /// An encrypted export has `data` in their place.
    items: Option<Vec<Item>>,
}

#[derive(Deserialize)]
struct Item {
    login: Option<Login>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Login {
    password: Option<Value>,
    fido2_credentials: Option<Vec<Passkey>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Passkey {
    /// A UUID, or `b64.` and base64url for an id of another form.
    credential_id: String,
    /// PKCS #8 in base64url.
    key_value: String,
    rp_id: String,
    user_handle: Option<String>,
    user_name: Option<String>,
    user_display_name: Option<String>,
    /// `"true"` or `"false"`, as text.
    discoverable: Option<Value>,
}

/// The passkeys in an export. They come as synced credentials without counters: they were elsewhere, and may be still.
///
/// # Errors
/// [`ExchangeError`], with the place in the text of what is not as it should be. Nothing is read in part.
pub fn read(text: &str) -> Result<Imported, ExchangeError> {
    let export: Export =
        serde_json::from_str(text).map_err(|error| ExchangeError::new("", error.to_string()))?;
    if export.encrypted {
        return Err(ExchangeError::new("encrypted", "this export is encrypted; export it as plain JSON"));
    }
    let items = export.items.ok_or_else(|| ExchangeError::new("items", "they are missing"))?;
    let mut imported = Imported { credentials: Vec::new(), left_out: 0 };
    for (at, item) in items.into_iter().enumerate() {
        let Some(login) = item.login else {
            imported.left_out += 1;
            continue;
        };
        imported.left_out += usize::from(login.password.is_some_and(|password| !password.is_null()));
        for (number, passkey) in login.fido2_credentials.unwrap_or_default().into_iter().enumerate() {
            let place = format!("items[{at}].login.fido2Credentials[{number}]");
            imported.credentials.push(passkey.credential(&place)?);
        }
    }
    Ok(imported)
}

impl Passkey {
    fn credential(&self, place: &str) -> Result<Credential, ExchangeError> {
        let id = match self.credential_id.strip_prefix("b64.") {
            Some(text) => from_base64url(text),
            None => uuid(&self.credential_id),
        };
        let foreign = Foreign {
            id: ("credentialId", id),
            rp_id: ("rpId", &self.rp_id),
            user_id: ("userHandle", self.user_handle.as_deref().and_then(from_base64url)),
            user_name: self.user_name.as_deref(),
            user_display_name: self.user_display_name.as_deref(),
            pkcs8: ("keyValue", from_base64url(&self.key_value)),
        };
        let credential = foreign.credential(place)?;
        // A second factor: never shown, and so not replaced by the account's next passkey.
        let second_factor = self.discoverable.as_ref().is_some_and(|told| *told == "false" || *told == false);
        Ok(Credential { hidden: second_factor, non_discoverable: second_factor, ..credential })
    }
}

/// The 16 bytes of a UUID in its usual form.
fn uuid(text: &str) -> Option<Vec<u8>> {
    let dashes = [8, 13, 18, 23];
    if text.len() != 36 || !text.is_ascii() || !dashes.iter().all(|at| text.as_bytes()[*at] == b'-') {
        return None;
    }
    let digits: String = text.chars().filter(|character| *character != '-').collect();
    let byte = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    (digits.len() == 32).then(|| (0..32).step_by(2).map(byte).collect())?
}
