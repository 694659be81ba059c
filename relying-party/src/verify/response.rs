//! What the client sent: `PublicKeyCredential.toJSON()`, and how its byte strings are read.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::client_data;
use super::rejection::Fact;

/// A client's answer to either ceremony, in the form of `PublicKeyCredential.toJSON()`.
///
/// Reading it is lenient on purpose: a member that is missing, or of the wrong kind, is a finding of the
/// verification (§7.1 step 3, §7.2 step 3) with a transcript, and not a parse error without one.
/// Unknown members are ignored.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Credential {
    /// The credential id, base64url.
    pub id: Value,
    /// The credential id again, base64url.
    pub raw_id: Value,
    /// `public-key`.
    pub r#type: Value,
    /// `platform` or `cross-platform`, if the client said so. Advisory; nobody signed it.
    pub authenticator_attachment: Value,
    /// Client extension outputs. Advisory; nobody signed them.
    pub client_extension_results: Value,
    /// The members of the authenticator's response.
    pub response: Value,
}

impl Credential {
    /// A credential from any JSON value; whatever is missing or odd is found by the verification.
    #[must_use]
    pub fn from_json(value: Value) -> Self {
        serde_json::from_value(value).unwrap_or_default()
    }

    /// The credential id that the client claims, to look the stored record up by.
    ///
    /// `None` if it is not exact base64url; the verification then refuses the response at step 3.
    #[must_use]
    pub fn raw_id(&self) -> Option<Vec<u8>> {
        base64url(self.raw_id.as_str()?)
    }

    /// The user handle that the client claims, to find the user by; `None` if absent or malformed.
    #[must_use]
    pub fn user_handle(&self) -> Option<Vec<u8>> {
        base64url(self.response.get("userHandle")?.as_str()?)
    }

    /// The challenge that the client claims to answer, to find what was asked by; the verification compares it exactly.
    ///
    /// `None` where the client data is not what steps 5 and 6 of §7.1 read (8 and 9 of §7.2), or names none.
    #[must_use]
    pub fn challenge(&self) -> Option<Vec<u8>> {
        #[derive(Deserialize)]
        struct Claim {
            challenge: String,
        }
        let client_data = base64url(self.response_text("clientDataJSON")?)?;
        let Claim { challenge } = serde_json::from_str(client_data::decode(&client_data).ok()?).ok()?;
        base64url(&challenge)
    }

    /// The authenticator attachment, if the client said one.
    #[must_use]
    pub fn attachment(&self) -> Option<&str> {
        self.authenticator_attachment.as_str()
    }

    /// The client extension outputs; empty if absent or not an object.
    #[must_use]
    pub fn extension_results(&self) -> Map<String, Value> {
        self.client_extension_results.as_object().cloned().unwrap_or_default()
    }

    /// Transports of an attestation response; strings only, at most 16 of at most 32 characters.
    pub(crate) fn transports(&self) -> Vec<String> {
        let listed = self.response.get("transports").and_then(Value::as_array);
        let texts = listed.into_iter().flatten().filter_map(Value::as_str);
        texts.filter(|text| text.len() <= 32).take(16).map(String::from).collect()
    }

    pub(crate) fn response_text(&self, member: &str) -> Option<&str> {
        self.response.get(member)?.as_str()
    }
}

/// What a response must have, decoded (§7.1 step 3, §7.2 step 3).
///
/// Members that only the other ceremony has are empty.
#[derive(Debug, Default)]
pub(crate) struct Envelope {
    pub(crate) id: Vec<u8>,
    pub(crate) client_data: Vec<u8>,
    pub(crate) attestation_object: Vec<u8>,
    pub(crate) authenticator_data: Vec<u8>,
    pub(crate) signature: Vec<u8>,
    pub(crate) user_handle: Option<Vec<u8>>,
}

/// Most characters of one member; a certificate chain under ML-DSA-87 fits several times over.
const MAX_MEMBER: usize = 256 * 1024;

impl Envelope {
    /// An attestation response: the answer to `create()`.
    pub(crate) fn attestation(credential: &Credential) -> Result<Self, Fact> {
        let mut envelope = Self::open(credential)?;
        if credential.response.get("signature").is_some_and(|value| !value.is_null()) {
            return Err(Fact::ResponseMalformed("signature"));
        }
        envelope.attestation_object = required(credential, "attestationObject")?;
        Ok(envelope)
    }

    /// An assertion response: the answer to `get()`.
    pub(crate) fn assertion(credential: &Credential) -> Result<Self, Fact> {
        let mut envelope = Self::open(credential)?;
        envelope.authenticator_data = required(credential, "authenticatorData")?;
        envelope.signature = required(credential, "signature")?;
        envelope.user_handle = match credential.response.get("userHandle") {
            None | Some(Value::Null) => None,
            Some(_) => Some(required(credential, "userHandle")?),
        };
        Ok(envelope)
    }

    fn open(credential: &Credential) -> Result<Self, Fact> {
        if credential.r#type.as_str() != Some("public-key") {
            return Err(Fact::NotAPublicKeyCredential);
        }
        let raw_id = credential.raw_id.as_str().filter(|text| text.len() <= MAX_MEMBER);
        let id = raw_id.filter(|raw_id| credential.id.as_str() == Some(raw_id)).and_then(base64url);
        let id = id.ok_or(Fact::EnvelopeIdMismatch)?;
        Ok(Self { id, client_data: required(credential, "clientDataJSON")?, ..Self::default() })
    }
}

pub(super) fn required(credential: &Credential, member: &'static str) -> Result<Vec<u8>, Fact> {
    let text = credential.response_text(member).filter(|text| text.len() <= MAX_MEMBER);
    text.and_then(base64url).ok_or(Fact::ResponseMalformed(member))
}

/// Exact base64url without padding (RFC 4648 §5); anything else, set spare bits too, is `None`.
pub(crate) fn base64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// The one base64url text of some bytes.
pub(crate) fn to_base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
