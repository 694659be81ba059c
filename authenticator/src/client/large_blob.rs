//! The large-blob array: read, and rewritten with one entry changed (CTAP §6.10).

use ciborium::Value;
use rand_core::CryptoRng;
use sha2::{Digest as _, Sha256};

use super::channel::{Channel, Limit};
use super::ctap::{self, Info, command};
use super::error::Error;
use super::pin::Token;
use crate::cbor::Map;
use crate::large_blobs::{LargeBlobs, UNPACKED_MAX};

/// The blob under this key, if there is one.
pub(crate) fn read(
    channel: &mut Channel,
    info: &Info,
    key: &[u8; 32],
    limit: &Limit,
) -> Result<Option<Vec<u8>>, Error> {
    Ok(read_array(channel, info, limit)?.get(key))
}

/// Puts this blob under this key, instead of what was there. `false` if the authenticator has no room for it.
pub(crate) fn write(
    channel: &mut Channel,
    info: &Info,
    key: &[u8; 32],
    blob: &[u8],
    token: Option<&Token>,
    rng: &mut dyn CryptoRng,
    limit: &Limit,
) -> Result<bool, Error> {
    let mut blobs = read_array(channel, info, limit)?;
    blobs.put(key, blob, rng);
    let array = blobs.encode();
    if array.len() > info.max_large_blobs {
        return Ok(false);
    }
    match write_array(channel, info, &array, token, limit) {
        Err(Error::Status(0x18)) => Ok(false),
        other => other.map(|()| true),
    }
}

/// The most bytes of the array in one request or answer (§6.10.2).
fn fragment(info: &Info) -> usize {
    info.max_message.saturating_sub(64).max(64)
}

fn read_array(channel: &mut Channel, info: &Info, limit: &Limit) -> Result<LargeBlobs, Error> {
    let mut array = Vec::new();
    loop {
        let parameters = Map::new().with(1, fragment(info) as u64).with(3, array.len() as u64);
        let answer = ctap::call(channel, command::LARGE_BLOBS, parameters, limit)?;
        let part = answer.bytes(1)?.ok_or(Error::BadAnswer("no part of the large-blob array"))?;
        array.extend_from_slice(part);
        if part.len() < fragment(info) || array.len() > UNPACKED_MAX {
            break;
        }
    }
    Ok(LargeBlobs::parse(&array))
}

fn write_array(
    channel: &mut Channel,
    info: &Info,
    array: &[u8],
    token: Option<&Token>,
    limit: &Limit,
) -> Result<(), Error> {
    let mut offset = 0;
    for part in array.chunks(fragment(info)) {
        // 32 bytes 0xff, the command, the subcommand "set", the offset, the part's hash.
        let mut message = [&[0xff; 32][..], &[command::LARGE_BLOBS, 0x00]].concat();
        message.extend_from_slice(&(offset as u32).to_le_bytes());
        message.extend_from_slice(&Sha256::digest(part));
        let parameters = Map::new()
            .with(2, Value::Bytes(part.to_vec()))
            .with(3, offset as u64)
            .with_some(4, (offset == 0).then_some(array.len() as u64))
            .with_some(5, token.map(|token| Value::Bytes(token.authenticate(&message))))
            .with_some(6, token.map(|token| token.protocol));
        ctap::call(channel, command::LARGE_BLOBS, parameters, limit)?;
        offset += part.len();
    }
    Ok(())
}
