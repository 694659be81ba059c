//! Requests and responses in CBOR, by another implementation than the core's own. What is malformed is a panic.

use alloc::vec;
use alloc::vec::Vec;

use ciborium::Value;

use super::World;
use crate::{CredentialStore, Status};

/// A map with integer keys.
pub fn map(members: impl IntoIterator<Item = (i32, Value)>) -> Value {
    Value::Map(members.into_iter().map(|(key, value)| (key.into(), value)).collect())
}

/// A map with text keys.
pub fn named<'a>(members: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    Value::Map(members.into_iter().map(|(key, value)| (key.into(), value)).collect())
}

/// A byte string.
pub fn bytes(bytes: impl AsRef<[u8]>) -> Value {
    Value::Bytes(bytes.as_ref().to_vec())
}

/// The member of a map with this integer key.
pub fn get(map: &Value, key: i32) -> Option<&Value> {
    map.as_map()?.iter().find(|(k, _)| *k == Value::from(key)).map(|(_, value)| value)
}

/// The member of a map with this text key.
pub fn get_named<'a>(map: &'a Value, key: &str) -> Option<&'a Value> {
    map.as_map()?.iter().find(|(k, _)| k.as_text() == Some(key)).map(|(_, value)| value)
}

/// A command as it goes over the wire.
pub fn encode(command: u8, parameters: &Value) -> Vec<u8> {
    let mut request = vec![command];
    ciborium::into_writer(parameters, &mut request).expect("memory takes everything");
    request
}

/// Sends a command; the response's map, or the status it failed with.
pub fn send<S: CredentialStore>(world: &mut World<S>, command: u8, parameters: &Value) -> Result<Value, u8> {
    raw(world, &encode(command, parameters))
}

/// Sends a request as it is.
pub fn raw<S: CredentialStore>(world: &mut World<S>, request: &[u8]) -> Result<Value, u8> {
    match world.cbor(request) {
        (0, body) if body.is_empty() => Ok(Value::Null),
        (0, body) => Ok(ciborium::from_reader(&body[..]).expect("a response is CBOR")),
        (status, body) => {
            assert!(body.is_empty(), "an error has no body");
            Err(status)
        }
    }
}

/// The status as [`send`] gives it.
pub fn status<T>(status: Status) -> Result<T, u8> {
    Err(status as u8)
}
