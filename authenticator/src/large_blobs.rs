//! The serialized large-blob array (CTAP §6.10.3): what a platform writes, and a test controller injects.

use aes_gcm::aead::{Aead as _, Payload};
use aes_gcm::{Aes256Gcm, KeyInit as _};
use ciborium::Value;
use rand_core::CryptoRng;
use sha2::{Digest as _, Sha256};

/// The array's entries, each sealed under the largeBlobKey of a credential.
///
/// An entry is a map: 1 the ciphertext, 2 the nonce, 3 the size of what was packed and then sealed.
#[derive(Clone, Debug, Default)]
pub(crate) struct LargeBlobs(Vec<Value>);

impl LargeBlobs {
    /// The entries of an array. One whose checksum is wrong counts as empty, as the specification has it.
    pub(crate) fn parse(array: &[u8]) -> Self {
        let Some((body, checksum)) = array.split_last_chunk::<CHECKSUM>() else {
            return LargeBlobs::default();
        };
        if Sha256::digest(body)[..CHECKSUM] != *checksum {
            return LargeBlobs::default();
        }
        match ciborium::from_reader(body) {
            Ok(Value::Array(entries)) => LargeBlobs(entries),
            _ => LargeBlobs::default(),
        }
    }

    /// The array, with its checksum.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut array = Vec::new();
        ciborium::into_writer(&self.0, &mut array).expect("a vector takes all that is written to it");
        let checksum = Sha256::digest(&array);
        array.extend_from_slice(&checksum[..CHECKSUM]);
        array
    }

    /// The blob under this key, if there is one.
    pub(crate) fn get(&self, key: &[u8; 32]) -> Option<Vec<u8>> {
        self.0.iter().find_map(|entry| open(entry, key))
    }

    /// Puts this blob under this key, instead of what was there.
    pub(crate) fn put(&mut self, key: &[u8; 32], blob: &[u8], rng: &mut dyn CryptoRng) {
        self.remove(key);
        self.0.push(seal(blob, key, rng));
    }

    /// Takes away what is under this key. `false` if there was nothing.
    pub(crate) fn remove(&mut self, key: &[u8; 32]) -> bool {
        let before = self.0.len();
        self.0.retain(|entry| open(entry, key).is_none());
        self.0.len() < before
    }
}

fn seal(blob: &[u8], key: &[u8; 32], rng: &mut dyn CryptoRng) -> Value {
    let mut nonce = [0; 12];
    rng.fill_bytes(&mut nonce);
    let packed = miniz_oxide::deflate::compress_to_vec(blob, 9);
    let size = blob.len() as u64;
    let sealed = Aes256Gcm::new(key.into())
        .encrypt(&nonce.into(), Payload { msg: &packed, aad: &associated(size) })
        .expect("AES-GCM takes every message that fits in memory");
    Value::Map(vec![
        (1.into(), Value::Bytes(sealed)),
        (2.into(), Value::Bytes(nonce.to_vec())),
        (3.into(), size.into()),
    ])
}

/// What an entry holds, if it is under this key.
fn open(entry: &Value, key: &[u8; 32]) -> Option<Vec<u8>> {
    let member =
        |key: u8| entry.as_map()?.iter().find(|(k, _)| *k == Value::from(key)).map(|(_, value)| value);
    let (sealed, nonce) = (member(1)?.as_bytes()?, member(2)?.as_bytes()?);
    let size = u64::try_from(member(3)?.as_integer()?).ok()?;
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

/// What a blob may unpack to: a bound against bombs, far above what an authenticator keeps.
pub(crate) const UNPACKED_MAX: usize = 1 << 20;
/// The checksum at the end of the array: the first bytes of its SHA-256.
const CHECKSUM: usize = 16;

#[cfg(test)]
mod tests {
    use rand_core::UnwrapErr;

    use super::*;

    #[test]
    fn an_entry_opens_under_its_key_only_and_survives_encoding() {
        let mut rng = UnwrapErr(getrandom::SysRng);
        let mut blobs = LargeBlobs::default();
        blobs.put(&[1; 32], b"a certificate, say", &mut rng);
        blobs.put(&[2; 32], b"", &mut rng);
        let mut read = LargeBlobs::parse(&blobs.encode());
        assert_eq!(read.get(&[1; 32]).unwrap(), b"a certificate, say");
        assert_eq!(read.get(&[2; 32]).unwrap(), b"");
        assert_eq!(read.get(&[3; 32]), None);
        read.put(&[1; 32], b"another", &mut rng);
        assert_eq!(read.get(&[1; 32]).unwrap(), b"another");
        assert!(read.remove(&[1; 32]) && !read.remove(&[1; 32]));
    }

    #[test]
    fn a_damaged_array_is_an_empty_one() {
        let mut rng = UnwrapErr(getrandom::SysRng);
        let mut blobs = LargeBlobs::default();
        blobs.put(&[1; 32], b"blob", &mut rng);
        let mut array = blobs.encode();
        array[3] ^= 1;
        assert_eq!(LargeBlobs::parse(&array).get(&[1; 32]), None);
        assert_eq!(LargeBlobs::parse(&[]).encode().len(), 17, "an empty array and its checksum");
    }
}
