//! The large-blob array: read, and rewritten with one entry changed (CTAP §6.10).

use aes_gcm::aead::{Aead as _, Payload};
use aes_gcm::{Aes256Gcm, KeyInit as _};
use ciborium::Value;
use rand_core::CryptoRng;
use sha2::{Digest as _, Sha256};

use super::cbor::{self, Map};
use super::channel::{Channel, Limit};
use super::ctap::{self, Info, command};
use super::error::Error;
use super::pin::Token;

/// What a blob may unpack to: a bound against bombs, far above what an authenticator keeps.
const UNPACKED_MAX: usize = 1 << 20;
/// The checksum at the end of the array: the first bytes of its SHA-256.
const CHECKSUM: usize = 16;

/// The blob under this key, if there is one.
pub(crate) fn read(
    channel: &mut Channel,
    info: &Info,
    key: &[u8; 32],
    limit: &Limit,
) -> Result<Option<Vec<u8>>, Error> {
    let entries = read_array(channel, info, limit)?;
    Ok(entries.iter().find_map(|entry| open(entry, key)))
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
    let mut entries = read_array(channel, info, limit)?;
    entries.retain(|entry| open(entry, key).is_none());
    entries.push(seal(blob, key, rng));
    let mut array = cbor::encode(Value::Array(entries));
    let checksum = Sha256::digest(&array);
    array.extend_from_slice(&checksum[..CHECKSUM]);
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

/// The array's entries. An array whose checksum is wrong counts as empty, as the specification has it.
fn read_array(channel: &mut Channel, info: &Info, limit: &Limit) -> Result<Vec<Value>, Error> {
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
    let Some((body, checksum)) = array.split_last_chunk::<CHECKSUM>() else { return Ok(Vec::new()) };
    if Sha256::digest(body)[..CHECKSUM] != *checksum {
        return Ok(Vec::new());
    }
    match ciborium::from_reader(body) {
        Ok(Value::Array(entries)) => Ok(entries),
        _ => Ok(Vec::new()),
    }
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

/// An entry: {1: ciphertext, 2: nonce, 3: unpacked size} (§6.10.3).
fn seal(blob: &[u8], key: &[u8; 32], rng: &mut dyn CryptoRng) -> Value {
    let mut nonce = [0; 12];
    rng.fill_bytes(&mut nonce);
    let packed = miniz_oxide::deflate::compress_to_vec(blob, 9);
    let size = blob.len() as u64;
    let sealed = Aes256Gcm::new(key.into())
        .encrypt(&nonce.into(), Payload { msg: &packed, aad: &associated(size) })
        .expect("AES-GCM takes every message that fits in memory");
    Map::new().with(1, Value::Bytes(sealed)).with(2, Value::Bytes(nonce.to_vec())).with(3, size).into()
}

/// What an entry holds, if it is under this key.
fn open(entry: &Value, key: &[u8; 32]) -> Option<Vec<u8>> {
    let entry = Map::from_value(entry)?;
    let (sealed, nonce) = (entry.get(1)?.as_bytes()?, entry.get(2)?.as_bytes()?);
    let size = cbor::unsigned(entry.get(3)?)?;
    let nonce: [u8; 12] = nonce.as_slice().try_into().ok()?;
    let packed = Aes256Gcm::new(key.into())
        .decrypt(&nonce.into(), Payload { msg: sealed, aad: &associated(size) })
        .ok()?;
    let most = usize::try_from(size).ok().filter(|size| *size <= UNPACKED_MAX)?;
    miniz_oxide::inflate::decompress_to_vec_with_limit(&packed, most).ok().filter(|blob| blob.len() == most)
}

fn associated(size: u64) -> [u8; 12] {
    let mut associated = *b"blob\0\0\0\0\0\0\0\0";
    associated[4..].copy_from_slice(&size.to_le_bytes());
    associated
}

#[cfg(test)]
mod tests {
    use rand_core::UnwrapErr;

    use super::*;

    #[test]
    fn an_entry_opens_under_its_key_only() {
        let mut rng = UnwrapErr(getrandom::SysRng);
        let entry = seal(b"a certificate, say", &[1; 32], &mut rng);
        assert_eq!(open(&entry, &[1; 32]).unwrap(), b"a certificate, say");
        assert_eq!(open(&entry, &[2; 32]), None);
        let empty = seal(b"", &[1; 32], &mut rng);
        assert_eq!(open(&empty, &[1; 32]).unwrap(), b"");
    }
}
