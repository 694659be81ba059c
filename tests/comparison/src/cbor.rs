//! The requests, and what is read of the answers.

use ciborium::Value;
use serde_json::json;

/// What a request of this peer needs.
pub struct Options {
    /// Whether it verifies its user itself: then it is asked to.
    pub uv: bool,
}

impl Options {
    /// From an answer to getInfo.
    pub fn of(info: &[u8]) -> Self {
        let options = field(&decode(info), 0x04);
        Options { uv: options.is_some_and(|options| text_field(&options, "uv") == Some(Value::Bool(true))) }
    }
}

/// authenticatorMakeCredential for this account of example.com: ES256, discoverable.
pub fn make_credential(user: u32, options: &Options) -> Vec<u8> {
    make(user, "example.com", -7, Vec::new(), options)
}

pub(crate) fn make(
    user: u32,
    rp_id: &str,
    algorithm: i64,
    extensions: Vec<(&str, Value)>,
    options: &Options,
) -> Vec<u8> {
    let name = format!("user-{user}");
    let mut fields = vec![
        (1, Value::Bytes(vec![7; 32])),
        (2, map(vec![("id", rp_id.into()), ("name", "Example".into())])),
        (
            3,
            map(vec![
                ("id", Value::Bytes(user.to_be_bytes().to_vec())),
                ("name", name.clone().into()),
                ("displayName", name.into()),
            ]),
        ),
        (4, Value::Array(vec![map(vec![("alg", algorithm.into()), ("type", "public-key".into())])])),
    ];
    if !extensions.is_empty() {
        fields.push((6, map(extensions)));
    }
    let mut wishes = vec![("rk", Value::Bool(true))];
    if options.uv {
        wishes.push(("uv", Value::Bool(true)));
    }
    fields.push((7, map(wishes)));
    encode(0x01, fields)
}

/// authenticatorGetAssertion for example.com, by this credential or by whichever there is.
pub fn get_assertion(credential_id: Option<&[u8]>, options: &Options) -> Vec<u8> {
    get("example.com", credential_id, options)
}

pub(crate) fn get(rp_id: &str, credential_id: Option<&[u8]>, options: &Options) -> Vec<u8> {
    let mut fields = vec![(1, rp_id.into()), (2, Value::Bytes(vec![7; 32]))];
    if let Some(id) = credential_id {
        let descriptor = map(vec![("id", Value::Bytes(id.to_vec())), ("type", "public-key".into())]);
        fields.push((3, Value::Array(vec![descriptor])));
    }
    if options.uv {
        fields.push((5, map(vec![("uv", Value::Bool(true))])));
    }
    encode(0x02, fields)
}

pub(crate) fn map(fields: Vec<(&str, Value)>) -> Value {
    Value::Map(fields.into_iter().map(|(key, value)| (key.into(), value)).collect())
}

pub(crate) fn encode(command: u8, fields: Vec<(i64, Value)>) -> Vec<u8> {
    let fields = fields.into_iter().map(|(key, value)| (Value::from(key), value)).collect();
    let mut bytes = vec![command];
    ciborium::into_writer(&Value::Map(fields), &mut bytes).expect("memory can be written");
    bytes
}

/// The map of an answer; an empty one if it is none.
pub(crate) fn decode(answer: &[u8]) -> Value {
    match answer.split_first() {
        Some((0, body)) if !body.is_empty() => ciborium::from_reader(body).unwrap_or(Value::Map(Vec::new())),
        _ => Value::Map(Vec::new()),
    }
}

pub(crate) fn field(map: &Value, key: i64) -> Option<Value> {
    let found = map.as_map()?.iter().find(|(name, _)| name.as_integer() == Some(key.into()))?;
    Some(found.1.clone())
}

pub(crate) fn text_field(map: &Value, key: &str) -> Option<Value> {
    let found = map.as_map()?.iter().find(|(name, _)| name.as_text() == Some(key))?;
    Some(found.1.clone())
}

/// The authenticator data of an answer of either ceremony: field 2.
pub(crate) fn authenticator_data(answer: &[u8]) -> Vec<u8> {
    field(&decode(answer), 2).and_then(|data| data.into_bytes().ok()).unwrap_or_default()
}

/// The credential ID in an answer to makeCredential (WebAuthn §6.5.1: hash 32, flags 1, counter 4, AAGUID 16, length 2).
pub(crate) fn credential_id(answer: &[u8]) -> Vec<u8> {
    let data = authenticator_data(answer);
    let length = usize::from(u16::from_be_bytes([data[53], data[54]]));
    data[55..55 + length].to_vec()
}

/// The signed extension outputs of an answer to makeCredential: what follows the public key.
pub(crate) fn extension_outputs(answer: &[u8]) -> Value {
    let data = authenticator_data(answer);
    let none = Value::Map(Vec::new());
    if data.len() < 55 || data[32] & 0x80 == 0 {
        return none;
    }
    let mut rest = &data[55 + credential_id(answer).len()..];
    let _key: Result<Value, _> = ciborium::from_reader(&mut rest);
    ciborium::from_reader(&mut rest).unwrap_or(none)
}

/// What of getInfo the table shows.
pub(crate) fn info(answer: &[u8]) -> serde_json::Value {
    let info = decode(answer);
    json!({
        "versions": texts(field(&info, 1)),
        "extensions": texts(field(&info, 2)),
        "options": field(&info, 4).map(|options| options_of(&options)),
        "pin_protocols": integers(field(&info, 6)),
        "transports": texts(field(&info, 9)),
    })
}

fn texts(list: Option<Value>) -> Vec<String> {
    let list = list.and_then(|list| list.into_array().ok()).unwrap_or_default();
    list.into_iter().filter_map(|text| text.into_text().ok()).collect()
}

fn integers(list: Option<Value>) -> Vec<i64> {
    let list = list.and_then(|list| list.into_array().ok()).unwrap_or_default();
    list.into_iter().filter_map(|number| i128::from(number.as_integer()?).try_into().ok()).collect()
}

fn options_of(options: &Value) -> serde_json::Value {
    let fields = options.as_map().into_iter().flatten();
    fields
        .filter_map(|(key, value)| Some((key.as_text()?.to_owned(), value.as_bool()?.into())))
        .collect::<serde_json::Map<_, _>>()
        .into()
}
