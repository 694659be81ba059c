//! The CTAP2 commands a platform sends, as it sees them (CTAP §6).

use ciborium::Value;

use super::Error;
use super::channel::{Channel, Limit};
use crate::cbor::{self, Map};

/// Command bytes (CTAP §6).
pub(crate) mod command {
    pub(crate) const MAKE_CREDENTIAL: u8 = 0x01;
    pub(crate) const GET_ASSERTION: u8 = 0x02;
    pub(crate) const GET_INFO: u8 = 0x04;
    pub(crate) const CLIENT_PIN: u8 = 0x06;
    pub(crate) const GET_NEXT_ASSERTION: u8 = 0x08;
    pub(crate) const LARGE_BLOBS: u8 = 0x0c;
}

/// What the authenticator says of itself (§6.4), as far as a platform acts on it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Info {
    extensions: Vec<String>,
    options: Map,
    pub(crate) pin_protocols: Vec<u64>,
    pub(crate) max_message: usize,
    pub(crate) max_list: Option<usize>,
    pub(crate) max_id_length: Option<usize>,
    pub(crate) transports: Vec<String>,
    pub(crate) max_large_blobs: usize,
    pub(crate) attestation_formats: bool,
    pub(crate) force_pin_change: bool,
}

impl Info {
    /// authenticatorGetInfo.
    pub(crate) fn get(channel: &mut Channel, limit: &Limit) -> Result<Self, Error> {
        let answer = Map::decode(&channel.cbor(&[command::GET_INFO], limit)?)?;
        let texts = |key| -> Vec<String> {
            let items = answer.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            items.iter().filter_map(|item| item.as_text().map(str::to_owned)).collect()
        };
        let numbers = |key| -> Vec<u64> {
            let items = answer.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            items.iter().filter_map(cbor::unsigned).collect()
        };
        let size = |key| answer.unsigned(key).map(|n| n.and_then(|n| usize::try_from(n).ok()));
        Ok(Info {
            extensions: texts(0x02),
            options: answer.map(0x04)?.unwrap_or_default(),
            pin_protocols: numbers(0x06),
            // §6.4: 1024 where it is not said.
            max_message: size(0x05)?.unwrap_or(1024),
            max_list: size(0x07)?,
            max_id_length: size(0x08)?,
            transports: texts(0x09),
            max_large_blobs: size(0x0b)?.unwrap_or(1024),
            attestation_formats: answer.get(0x16).is_some(),
            force_pin_change: answer.get(0x0c) == Some(&Value::Bool(true)),
        })
    }

    /// Whether this extension is supported.
    pub(crate) fn has_extension(&self, name: &str) -> bool {
        self.extensions.iter().any(|extension| extension == name)
    }

    /// The option: `Some(true)` is supported and set up; `Some(false)` usually supported and not set up.
    pub(crate) fn option(&self, name: &str) -> Option<bool> {
        self.options.named(name).and_then(Value::as_bool)
    }

    /// The same for one whose built-in verification does not recognise its user: the PIN is left.
    pub(crate) fn without_uv(mut self) -> Self {
        self.options = self.options.without("uv");
        self
    }

    /// Whether the option is there and true.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.option(name) == Some(true)
    }
}

/// Sends a command with these parameters; the answer's map.
pub(crate) fn call(channel: &mut Channel, command: u8, parameters: Map, limit: &Limit) -> Result<Map, Error> {
    let mut request = vec![command];
    if !parameters.is_empty() {
        request.extend(parameters.encode());
    }
    match channel.cbor(&request, limit) {
        // Every other command has no new passkey to find room for.
        Err(Error::Full) if command != command::MAKE_CREDENTIAL => Err(Error::NoRoom),
        answer => Ok(Map::decode(&answer?)?),
    }
}

/// A list of credential ids as descriptors; `None` for an empty one.
pub(crate) fn descriptors(ids: &[Vec<u8>]) -> Option<Value> {
    let descriptor =
        |id: &Vec<u8>| Map::new().with("id", Value::Bytes(id.clone())).with("type", "public-key").into();
    (!ids.is_empty()).then(|| Value::Array(ids.iter().map(descriptor).collect()))
}

/// The ids, cut into lists that the authenticator takes (§6.1.2: maxCredentialCountInList, maxMsgSize).
///
/// Ids that are longer than any of this authenticator's are left out: they are another's.
pub(crate) fn batches(ids: Vec<Vec<u8>>, info: &Info) -> Vec<Vec<Vec<u8>>> {
    // What a request holds beside the list: names, extensions, token.
    const BESIDE: usize = 600;
    // {"id": bytes, "type": "public-key"} around the id.
    const AROUND: usize = 26;
    let room = info.max_message.saturating_sub(BESIDE).max(AROUND + 255);
    let most = info.max_list.unwrap_or(usize::MAX).max(1);
    let mut batches: Vec<Vec<Vec<u8>>> = Vec::new();
    let mut used = 0;
    for id in ids.into_iter().filter(|id| info.max_id_length.is_none_or(|longest| id.len() <= longest)) {
        used += id.len() + AROUND;
        match batches.last_mut() {
            Some(batch) if batch.len() < most && used <= room => batch.push(id),
            _ => {
                used = id.len() + AROUND;
                batches.push(vec![id]);
            }
        }
    }
    batches
}

/// What comes before a ceremony on a long list: which of these ids are here, silently (`up: false`).
///
/// `None` where none is; else the id that the authenticator answered with.
pub(crate) fn find(
    channel: &mut Channel,
    rp_id: &str,
    ids: &[Vec<u8>],
    token: Option<(&[u8], u64)>,
    limit: &Limit,
) -> Result<Option<Vec<u8>>, Error> {
    let hash = [0; 32];
    let parameters = Map::new()
        .with(1, rp_id)
        .with(2, Value::Bytes(hash.to_vec()))
        .with_some(3, descriptors(ids))
        .with(5, Map::new().with("up", false))
        .with_some(
            6,
            token.map(|(token, protocol)| Value::Bytes(super::pin::authenticate(protocol, token, &hash))),
        )
        .with_some(7, token.map(|(_, protocol)| protocol));
    match call(channel, command::GET_ASSERTION, parameters, limit) {
        Ok(answer) => match answer.map(1)?.as_ref().and_then(|descriptor| descriptor.named("id")) {
            Some(Value::Bytes(id)) => Ok(Some(id.clone())),
            // §6.2.2: the descriptor may be left out where the list had one member.
            _ => Ok(ids.first().cloned().or(Some(Vec::new()))),
        },
        Err(Error::NoCredential) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_cut_where_the_authenticator_cannot_take_more() {
        let ids: Vec<Vec<u8>> = (0..7).map(|n| vec![n; 32]).collect();
        let info = Info { max_message: 7609, max_list: Some(3), ..Info::default() };
        assert_eq!(batches(ids.clone(), &info).iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 1]);
        let info = Info { max_message: 1024, ..Info::default() };
        assert_eq!(batches(ids.clone(), &info).iter().map(Vec::len).collect::<Vec<_>>(), [7]);
        let info = Info { max_message: 600, max_id_length: Some(31), ..Info::default() };
        assert!(batches(ids, &info).is_empty());
    }
}
