//! KeePassXC: the file that its passkey export writes, one passkey in JSON; and the XML export of a whole database, in
//! which a passkey is an entry's attributes (`KPEX_PASSKEY_…`).

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use doppelkey_core::Credential;
use serde::Deserialize;

use super::cxf::Imported;
use super::{ExchangeError, Foreign};
use crate::text::from_base64url;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Passkey {
    relying_party: String,
    username: Option<String>,
    credential_id: String,
    user_handle: String,
    /// PKCS #8 in PEM.
    private_key: String,
}

/// The passkeys in a file of either form. They come as synced credentials without counters.
///
/// # Errors
/// [`ExchangeError`], with the place in the text of what is not as it should be. Nothing is read in part.
pub fn read(text: &str) -> Result<Imported, ExchangeError> {
    if text.trim_start().starts_with('<') {
        return read_xml(text);
    }
    let passkey: Passkey =
        serde_json::from_str(text).map_err(|error| ExchangeError::new("", error.to_string()))?;
    let foreign = Foreign {
        id: ("credentialId", from_base64url(&passkey.credential_id)),
        rp_id: ("relyingParty", &passkey.relying_party),
        user_id: ("userHandle", from_base64url(&passkey.user_handle)),
        user_name: passkey.username.as_deref(),
        user_display_name: None,
        pkcs8: ("privateKey", from_pem(&passkey.private_key)),
    };
    Ok(Imported { credentials: vec![foreign.credential("")?], left_out: 0 })
}

/// What of an entry is a passkey's.
#[derive(Default)]
struct Entry {
    any: bool,
    id: Option<String>,
    /// What versions before 2.7.8 called the credential id.
    older_id: Option<String>,
    rp_id: Option<String>,
    user_name: Option<String>,
    user_id: Option<String>,
    key: Option<String>,
}

/// An export of KeePassXC is flat where it matters: `<Entry>` with `<String><Key>…</Key><Value>…</Value></String>`. An
/// entry's history holds older forms of it, and is passed over.
fn read_xml(text: &str) -> Result<Imported, ExchangeError> {
    let mut imported = Imported { credentials: Vec::new(), left_out: 0 };
    let mut entries: Vec<Entry> = Vec::new();
    let (mut history, mut key, mut number) = (0_u32, String::new(), 0);
    for (tag, content) in tags(text) {
        match tag {
            "History" => history += 1,
            "/History" => history = history.saturating_sub(1),
            "Entry" if history == 0 => entries.push(Entry::default()),
            "Key" => key = unescaped(content),
            value if history == 0 && value.split_ascii_whitespace().next() == Some("Value") => {
                if let Some(entry) = entries.last_mut() {
                    entry.take(&key, unescaped(content));
                }
            }
            "/Entry" if history == 0 => {
                number += 1;
                match entries.pop() {
                    Some(entry) if entry.any => {
                        imported.credentials.push(entry.credential(&format!("entry {number}"))?);
                    }
                    Some(_) => imported.left_out += 1,
                    None => return Err(ExchangeError::new("", "the XML is not well formed")),
                }
            }
            _ => {}
        }
    }
    if !text.contains("<KeePassFile") {
        return Err(ExchangeError::new("", "this is no export of a KeePass database"));
    }
    Ok(imported)
}

impl Entry {
    fn take(&mut self, key: &str, value: String) {
        let Some(attribute) = key.strip_prefix("KPEX_PASSKEY_") else { return };
        self.any = true;
        let place = match attribute {
            "CREDENTIAL_ID" => &mut self.id,
            "GENERATED_USER_ID" => &mut self.older_id,
            "RELYING_PARTY" => &mut self.rp_id,
            "USERNAME" => &mut self.user_name,
            "USER_HANDLE" => &mut self.user_id,
            "PRIVATE_KEY_PEM" => &mut self.key,
            _ => return,
        };
        *place = Some(value);
    }

    fn credential(&self, place: &str) -> Result<Credential, ExchangeError> {
        let id = self.id.as_deref().or(self.older_id.as_deref());
        let foreign = Foreign {
            id: ("KPEX_PASSKEY_CREDENTIAL_ID", id.and_then(from_base64url)),
            rp_id: ("KPEX_PASSKEY_RELYING_PARTY", self.rp_id.as_deref().unwrap_or_default()),
            user_id: ("KPEX_PASSKEY_USER_HANDLE", self.user_id.as_deref().and_then(from_base64url)),
            user_name: self.user_name.as_deref(),
            user_display_name: None,
            pkcs8: ("KPEX_PASSKEY_PRIVATE_KEY_PEM", self.key.as_deref().and_then(from_pem)),
        };
        foreign.credential(place)
    }
}

/// Each tag, and the text up to the next one.
fn tags(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split('<').skip(1).map(|piece| piece.split_once('>').unwrap_or((piece, "")))
}

/// The five entities of XML, and line ends as numbers.
fn unescaped(text: &str) -> String {
    let named =
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&#xA;", "\n"), ("&#10;", "\n")];
    let text = named.iter().fold(text.to_owned(), |text, (entity, plain)| text.replace(entity, plain));
    text.replace("&amp;", "&")
}

/// The DER in a PEM of a private key.
fn from_pem(text: &str) -> Option<Vec<u8>> {
    let begin = text.split_once("-----BEGIN PRIVATE KEY-----")?.1;
    let inner = begin.split_once("-----END PRIVATE KEY-----")?.0;
    let digits: String = inner.chars().filter(|character| !character.is_ascii_whitespace()).collect();
    BASE64_STANDARD.decode(digits).ok()
}
