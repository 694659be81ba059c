//! `clientDataJSON`: decoded as UTF-8, read strictly, compared exactly (WebAuthn Level 3 §5.8.1).

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::options::RelyingParty;
use super::rejection::Fact;
use super::response::to_base64url;

/// The members of `CollectedClientData` that are verified; others are allowed and ignored.
#[derive(Debug)]
pub(crate) struct ClientData {
    pub(crate) kind: String,
    pub(crate) challenge: String,
    pub(crate) origin: String,
    pub(crate) cross_origin: Option<bool>,
    pub(crate) top_origin: Option<String>,
}

/// UTF-8 decode of the Encoding Standard, without its replacement characters: a client serialises valid
/// UTF-8, so anything else was not written by one. A byte order mark is stripped.
pub(crate) fn decode(bytes: &[u8]) -> Result<&str, Fact> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|_| Fact::ClientDataNotUtf8)
}

impl ClientData {
    /// Reads the JSON text: one object, no member twice at any depth, every known member of its type.
    pub(crate) fn parse(text: &str) -> Result<Self, Fact> {
        let strict: Strict = serde_json::from_str(text).map_err(|error| explain(&error))?;
        let Value::Object(members) = strict.0 else {
            return Err(Fact::ClientDataNotJson("not an object".into()));
        };
        let text = |name: &str| match members.get(name) {
            Some(Value::String(text)) => Ok(Some(text.clone())),
            None => Ok(None),
            Some(_) => Err(Fact::ClientDataNotJson(format!("{name} is not a string"))),
        };
        let required =
            |name: &str| text(name)?.ok_or_else(|| Fact::ClientDataNotJson(format!("{name} is missing")));
        let cross_origin = match members.get("crossOrigin") {
            None => None,
            Some(Value::Bool(value)) => Some(*value),
            Some(_) => return Err(Fact::ClientDataNotJson("crossOrigin is not a boolean".into())),
        };
        Ok(Self {
            kind: required("type")?,
            challenge: required("challenge")?,
            origin: required("origin")?,
            cross_origin,
            top_origin: text("topOrigin")?,
        })
    }

    pub(crate) fn check_type(&self, expected: &str) -> Result<String, Fact> {
        if self.kind == expected {
            Ok(format!("type is {expected}"))
        } else {
            Err(Fact::CeremonyMismatch(shorten(&self.kind)))
        }
    }

    pub(crate) fn check_challenge(&self, issued: &[u8]) -> Result<String, Fact> {
        if self.challenge == to_base64url(issued) {
            Ok("the challenge that was issued".into())
        } else {
            Err(Fact::ChallengeMismatch)
        }
    }

    pub(crate) fn check_origin(&self, rp: &RelyingParty) -> Result<String, Fact> {
        if rp.origins.contains(&self.origin) {
            Ok(format!("origin {} is allowed", self.origin))
        } else {
            Err(Fact::OriginMismatch(shorten(&self.origin)))
        }
    }

    pub(crate) fn check_cross_origin(&self, rp: &RelyingParty) -> Result<String, Fact> {
        match self.cross_origin {
            None => Ok("crossOrigin is absent".into()),
            Some(false) => Ok("crossOrigin is false".into()),
            Some(true) if rp.cross_origin => Ok("crossOrigin is true, as expected".into()),
            Some(true) => Err(Fact::CrossOriginUnexpected),
        }
    }

    pub(crate) fn check_top_origin(&self, rp: &RelyingParty) -> Result<String, Fact> {
        match &self.top_origin {
            None => Ok("topOrigin is absent".into()),
            Some(top) if !rp.cross_origin || !rp.top_origins.contains(top) => {
                Err(Fact::TopOriginMismatch(shorten(top)))
            }
            Some(top) => Ok(format!("topOrigin {top} is allowed")),
        }
    }
}

/// At most 200 characters of a stranger's text, for logs.
pub(crate) fn shorten(text: &str) -> String {
    text.chars().take(200).collect()
}

const DUPLICATE: &str = "duplicate member ";

fn explain(error: &serde_json::Error) -> Fact {
    let text = error.to_string();
    match text.strip_prefix(DUPLICATE) {
        Some(rest) => {
            let name = rest.rsplit_once(" at line ").map_or(rest, |(name, _)| name);
            Fact::ClientDataDuplicateMember(shorten(name))
        }
        None => Fact::ClientDataNotJson(shorten(&text)),
    }
}

/// A JSON value none of whose objects has a member twice.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> DeserializeSeed<'de> for StrictVisitor {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(StrictVisitor)? {
            values.push(value);
        }
        Ok(values.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = serde_json::Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if object.contains_key(&name) {
                return Err(A::Error::custom(format_args!("{DUPLICATE}{name}")));
            }
            object.insert(name, members.next_value_seed(StrictVisitor)?);
        }
        Ok(object.into())
    }
}
