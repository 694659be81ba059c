//! The options of both ceremonies, in WebAuthn's JSON form (Level 3 §5.1.8, §5.1.9).
//!
//! Unknown members are ignored and unknown enumeration values fall back to the default, as Web IDL's `DOMString`
//! members ask. So are values of another type taken as Web IDL converts them: `null` as a dictionary without members,
//! what is truthy as `true`, a number or a boolean as a name, and a timeout without its fraction. What Web IDL refuses
//! (a list that is none, a dictionary that is a number) is refused here, too.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::Error;
use crate::text::{base64url, from_base64url};

/// Bytes that are base64url without padding in JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = from_base64url(&text).map(Bytes);
        bytes.ok_or_else(|| serde::de::Error::custom("not base64url without padding"))
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&base64url(&self.0))
    }
}

/// PublicKeyCredentialCreationOptionsJSON.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CreationOptions {
    pub(crate) rp: RelyingParty,
    pub(crate) user: User,
    pub(crate) challenge: Bytes,
    pub(crate) pub_key_cred_params: Vec<Parameters>,
    #[serde(default, deserialize_with = "milliseconds")]
    pub(crate) timeout: Option<u32>,
    #[serde(default)]
    pub(crate) exclude_credentials: Vec<Descriptor>,
    #[serde(default, deserialize_with = "dictionary")]
    pub(crate) authenticator_selection: Selection,
    #[serde(default)]
    pub(crate) hints: Vec<String>,
    pub(crate) attestation: Option<String>,
    #[serde(default)]
    pub(crate) attestation_formats: Vec<String>,
    #[serde(default, deserialize_with = "dictionary")]
    pub(crate) extensions: CreationExtensions,
}

/// PublicKeyCredentialRequestOptionsJSON.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RequestOptions {
    pub(crate) challenge: Bytes,
    #[serde(default, deserialize_with = "milliseconds")]
    pub(crate) timeout: Option<u32>,
    pub(crate) rp_id: Option<String>,
    #[serde(default)]
    pub(crate) allow_credentials: Vec<Descriptor>,
    pub(crate) user_verification: Option<String>,
    #[serde(default, deserialize_with = "dictionary")]
    pub(crate) extensions: RequestExtensions,
}

#[derive(Debug, Deserialize)]
pub(crate) struct RelyingParty {
    pub(crate) id: Option<String>,
    #[serde(deserialize_with = "text")]
    pub(crate) name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct User {
    pub(crate) id: Bytes,
    #[serde(deserialize_with = "text")]
    pub(crate) name: String,
    #[serde(deserialize_with = "text")]
    pub(crate) display_name: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Parameters {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) alg: i64,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Descriptor {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) id: Bytes,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Selection {
    pub(crate) authenticator_attachment: Option<String>,
    pub(crate) resident_key: Option<String>,
    #[serde(default, deserialize_with = "truth")]
    pub(crate) require_resident_key: bool,
    pub(crate) user_verification: Option<String>,
}

/// What is asked of the user beyond presence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Requirement {
    Required,
    Preferred,
    Discouraged,
}

impl Requirement {
    /// userVerification; what is unknown counts as the default, `preferred`.
    pub(crate) fn of_verification(text: Option<&str>) -> Self {
        match text {
            Some("required") => Requirement::Required,
            Some("discouraged") => Requirement::Discouraged,
            _ => Requirement::Preferred,
        }
    }
}

impl Selection {
    /// residentKey; where it is absent or unknown, requireResidentKey decides (§5.4.4).
    pub(crate) fn resident_key(&self) -> Requirement {
        match self.resident_key.as_deref() {
            Some("required") => Requirement::Required,
            Some("preferred") => Requirement::Preferred,
            Some("discouraged") => Requirement::Discouraged,
            _ if self.require_resident_key => Requirement::Required,
            _ => Requirement::Discouraged,
        }
    }
}

impl RequestOptions {
    /// The ids of allowCredentials; `None` where there is no such list. Of one that names other types only, there are
    /// none (§5.1.4 step 22).
    pub(crate) fn allowed_ids(&self) -> Option<Vec<Vec<u8>>> {
        let known = self.allow_credentials.iter().filter(|descriptor| descriptor.kind == "public-key");
        (!self.allow_credentials.is_empty())
            .then(|| known.map(|descriptor| descriptor.id.0.clone()).collect())
    }
}

/// The client extension inputs of a registration.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CreationExtensions {
    #[serde(default, deserialize_with = "truth")]
    pub(crate) cred_props: bool,
    pub(crate) credential_protection_policy: Option<String>,
    #[serde(default, deserialize_with = "truth")]
    pub(crate) enforce_credential_protection_policy: bool,
    #[serde(default, deserialize_with = "truth")]
    pub(crate) min_pin_length: bool,
    pub(crate) cred_blob: Option<Bytes>,
    #[serde(default, deserialize_with = "truth")]
    pub(crate) hmac_create_secret: bool,
    pub(crate) prf: Option<Prf>,
    pub(crate) large_blob: Option<LargeBlobSupport>,
}

/// The client extension inputs of an authentication.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RequestExtensions {
    #[serde(default, deserialize_with = "truth")]
    pub(crate) get_cred_blob: bool,
    pub(crate) prf: Option<Prf>,
    pub(crate) large_blob: Option<LargeBlobUse>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Prf {
    pub(crate) eval: Option<PrfValues>,
    #[serde(default)]
    pub(crate) eval_by_credential: BTreeMap<String, PrfValues>,
}

/// Two inputs, or two results.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct PrfValues {
    pub(crate) first: Bytes,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) second: Option<Bytes>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct LargeBlobSupport {
    pub(crate) support: Option<String>,
    // An assertion's members, which a registration must not have (§10.1.5).
    pub(crate) read: Option<Value>,
    pub(crate) write: Option<Value>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct LargeBlobUse {
    pub(crate) support: Option<Value>,
    #[serde(default, deserialize_with = "truth")]
    pub(crate) read: bool,
    pub(crate) write: Option<Bytes>,
}

/// Web IDL's dictionary: `null` is one without members.
fn dictionary<'de, T: Deserialize<'de> + Default, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Web IDL's boolean.
fn truth<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Bool(value) => value,
        Value::Null => false,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    })
}

/// Web IDL's string, of what is no object.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(text) => Ok(text),
        Value::Array(_) | Value::Object(_) => Err(serde::de::Error::custom("a text is needed")),
        plain => Ok(plain.to_string()),
    }
}

/// Web IDL's unsigned long, but kept within its bounds and not wrapped around; `null` is the default: what is no number
/// is that in JSON.
fn milliseconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let number = match Value::deserialize(deserializer)? {
        Value::Null => None,
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => return Err(serde::de::Error::custom("timeout: a number is needed")),
    };
    Ok(number.map(|number| number as u32))
}

/// The options in this JSON value: bare, or as the `publicKey` member of `navigator.credentials`' argument.
pub(crate) fn parse<T: for<'de> Deserialize<'de>>(options: &Value) -> Result<T, Error> {
    let bare = options.get("publicKey").unwrap_or(options);
    T::deserialize(bare).map_err(|error| Error::Options(error.to_string()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn unknown_members_and_values_are_ignored() {
        let options: CreationOptions = parse(&json!({"publicKey": {
            "rp": {"name": "Example", "icon": "x"}, "user": {"id": "AQ", "name": "a", "displayName": ""},
            "challenge": "AAAA", "pubKeyCredParams": [], "attestation": "made-up", "extensions": {"unheard": {"of": 1}},
            "authenticatorSelection": {"residentKey": "made-up", "requireResidentKey": true},
        }}))
        .unwrap();
        assert_eq!(options.authenticator_selection.resident_key(), Requirement::Required);
        assert_eq!(Requirement::of_verification(Some("made-up")), Requirement::Preferred);
    }

    #[test]
    fn options_are_taken_as_a_browser_takes_them() {
        let options: CreationOptions = parse(&json!({
            "rp": {"name": 7}, "user": {"id": "AQ", "name": null, "displayName": true}, "challenge": "AAAA",
            "pubKeyCredParams": [], "timeout": 59999.5, "extensions": null, "authenticatorSelection": null,
        }))
        .unwrap();
        let User { name, display_name, .. } = &options.user;
        assert_eq!([options.rp.name.as_str(), name, display_name], ["7", "null", "true"]);
        assert_eq!(options.timeout, Some(59_999));
        let selection = |value: Value| Selection::deserialize(value).unwrap().require_resident_key;
        assert!(
            !selection(json!({"requireResidentKey": null})) && !selection(json!({"requireResidentKey": ""}))
        );
        assert!(
            selection(json!({"requireResidentKey": "false"})) && selection(json!({"requireResidentKey": 1}))
        );
        let request = |more: Value| {
            let mut options = json!({"challenge": "AAAA"});
            options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            parse::<RequestOptions>(&options)
        };
        for (timeout, kept) in [
            (json!(null), None),
            (json!("1e3"), Some(1000)),
            (json!(-1), Some(0)),
            (json!(1e300), Some(u32::MAX)),
        ] {
            assert_eq!(request(json!({"timeout": timeout})).unwrap().timeout, kept);
        }
        for refused in [json!({"extensions": 7}), json!({"allowCredentials": null}), json!({"timeout": {}})] {
            assert_eq!(request(refused).unwrap_err().name(), "TypeError");
        }
    }

    #[test]
    fn a_missing_member_is_named() {
        let error = parse::<RequestOptions>(&json!({"rpId": "example.com"})).unwrap_err();
        assert_eq!(error.name(), "TypeError");
        assert!(error.to_string().contains("challenge"), "{error}");
        assert!(parse::<RequestOptions>(&json!({"challenge": "AA=="})).is_err());
    }
}
