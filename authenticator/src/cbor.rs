//! CBOR by `ciborium`, in CTAP's canonical order (CTAP §8).

use ciborium::Value;

/// What CBOR is not that came from elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// A CBOR map with integer keys: the parameters of a command, or its answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Map(Vec<(Value, Value)>);

impl Map {
    /// An empty map.
    pub(crate) fn new() -> Self {
        Map::default()
    }

    /// With this member too.
    pub(crate) fn with(mut self, key: impl Into<Value>, value: impl Into<Value>) -> Self {
        self.0.push((key.into(), value.into()));
        self
    }

    /// With this member too, if there is a value.
    pub(crate) fn with_some<V: Into<Value>>(self, key: impl Into<Value>, value: Option<V>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// The map that this value is.
    pub(crate) fn from_value(value: &Value) -> Option<Self> {
        value.as_map().cloned().map(Map)
    }

    /// Whether there is no member.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value under this integer key.
    pub(crate) fn get(&self, key: i64) -> Option<&Value> {
        self.0.iter().find(|(k, _)| *k == Value::from(key)).map(|(_, value)| value)
    }

    /// The value under this text key.
    pub(crate) fn named(&self, key: &str) -> Option<&Value> {
        self.0.iter().find(|(k, _)| k.as_text() == Some(key)).map(|(_, value)| value)
    }

    /// Without the member of this text key.
    pub(crate) fn without(mut self, key: &str) -> Self {
        self.0.retain(|(k, _)| k.as_text() != Some(key));
        self
    }

    /// The byte string under this key.
    pub(crate) fn bytes(&self, key: i64) -> Result<Option<&[u8]>, Malformed> {
        let wrong = Malformed("a member that should be a byte string is not");
        self.get(key).map(|value| value.as_bytes().map(Vec::as_slice).ok_or(wrong)).transpose()
    }

    /// The unsigned integer under this key.
    pub(crate) fn unsigned(&self, key: i64) -> Result<Option<u64>, Malformed> {
        let wrong = || Malformed("a member that should be an unsigned integer is not");
        self.get(key).map(|value| unsigned(value).ok_or_else(wrong)).transpose()
    }

    /// The map under this key.
    pub(crate) fn map(&self, key: i64) -> Result<Option<Map>, Malformed> {
        let wrong = || Malformed("a member that should be a map is not");
        self.get(key).map(|value| value.as_map().cloned().map(Map).ok_or_else(wrong)).transpose()
    }

    /// The canonical encoding.
    pub(crate) fn encode(self) -> Vec<u8> {
        encode(self.into())
    }

    /// The map that these bytes are, all of them; an empty one for no bytes.
    ///
    /// # Errors
    /// [`Malformed`] for anything else.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.is_empty() {
            return Ok(Map::new());
        }
        let (map, rest) = Map::decode_first(bytes)?;
        if rest.is_empty() { Ok(map) } else { Err(Malformed("bytes after the CBOR map")) }
    }

    /// The map that these bytes begin with, and the rest.
    pub(crate) fn decode_first(bytes: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        let mut rest = bytes;
        match ciborium::from_reader(&mut rest) {
            Ok(Value::Map(members)) => Ok((Map(members), rest)),
            _ => Err(Malformed("not a CBOR map")),
        }
    }
}

impl From<Map> for Value {
    fn from(map: Map) -> Self {
        Value::Map(map.0)
    }
}

/// The canonical encoding of this value.
pub(crate) fn encode(mut value: Value) -> Vec<u8> {
    sort(&mut value);
    write(&value)
}

/// The value as an unsigned integer.
pub(crate) fn unsigned(value: &Value) -> Option<u64> {
    value.as_integer().and_then(|integer| u64::try_from(integer).ok())
}

/// The value as a signed integer.
pub(crate) fn signed(value: &Value) -> Option<i64> {
    value.as_integer().and_then(|integer| i64::try_from(integer).ok())
}

fn write(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).expect("a vector takes every write");
    bytes
}

/// Orders the keys of every map: by major type, then by length, then by bytes.
fn sort(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(sort),
        Value::Map(members) => {
            members.iter_mut().for_each(|(_, member)| sort(member));
            members.sort_by_cached_key(|(key, _)| {
                let bytes = write(key);
                (bytes[0] >> 5, bytes.len(), bytes)
            });
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_canonical_order_of_ctap() {
        let map =
            Map::new().with("up", true).with("rk", true).with("b", 1).with(-2, 2).with(24, 3).with(3, 4);
        let keys: Vec<_> = Map::decode(&map.encode()).unwrap().0.into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, [3.into(), 24.into(), (-2).into(), "b".into(), "rk".into(), Value::from("up")]);
    }

    #[test]
    fn bytes_after_an_answer_are_refused() {
        assert!(matches!(Map::decode(&[0xa0, 0x00]), Err(Malformed(_))));
        assert!(Map::decode(&[]).unwrap().is_empty());
    }
}
