//! authenticatorLargeBlobs (CTAP §6.10).

use heapless::Vec;
use rand_core::CryptoRng;
use sha2::{Digest as _, Sha256};

use crate::authenticator::{Authenticator, MESSAGE_MAX, Message, Reply};
use crate::cbor::{Item, Map, Writer};
use crate::configuration::OptionId;
use crate::pin::Permissions;
use crate::status::{Status, Step};
use crate::store::{CredentialStore, LARGE_BLOBS_MAX, Slot};
use crate::time::Time;

/// The serialized large-blob array that is being written, fragment by fragment; gone with power.
pub(crate) struct LargeBlobWrite {
    /// expectedLength.
    expected: usize,
    /// What came so far; its length is expectedNextOffset.
    bytes: Vec<u8, LARGE_BLOBS_MAX>,
}

impl<S: CredentialStore, R: CryptoRng> Authenticator<S, R> {
    /// authenticatorLargeBlobs.
    #[inline(never)]
    pub(crate) fn large_blobs(
        &mut self,
        now: Time,
        parameters: Map<'_>,
        response: &mut Message,
    ) -> Step<Reply> {
        self.must_offer(OptionId::LargeBlobs)?;
        let offset = parameters.get(OFFSET).ok_or(Status::InvalidParameter)?.unsigned()?;
        let offset = usize::try_from(offset).map_err(|_| Status::InvalidParameter)?;
        match (parameters.get(GET), parameters.get(SET)) {
            (Some(count), None) => self.read_fragment(parameters, offset, count, response),
            (None, Some(fragment)) => self.write_fragment(now, parameters, offset, fragment.bytes()?),
            _ => Err(Status::InvalidParameter),
        }
    }

    /// Reading (§6.10.2, "get").
    #[inline(never)]
    fn read_fragment(
        &mut self,
        parameters: Map<'_>,
        offset: usize,
        count: Item<'_>,
        response: &mut Message,
    ) -> Step<Reply> {
        let unwanted = [LENGTH, PIN_UV_AUTH_PARAM, PIN_UV_AUTH_PROTOCOL];
        if unwanted.iter().any(|key| parameters.get(*key).is_some()) {
            return Err(Status::InvalidParameter);
        }
        let count = usize::try_from(count.unsigned()?).unwrap_or(usize::MAX);
        if count > self.max_fragment_length() {
            return Err(Status::InvalidLength);
        }
        let mut buffer = [0; LARGE_BLOBS_MAX];
        let array = match self.store.read(Slot::LargeBlobs, &mut buffer)? {
            Some(length) => &buffer[..length],
            None => &INITIAL,
        };
        let rest = array.get(offset..).ok_or(Status::InvalidParameter)?;
        let mut writer = Writer::new(response);
        writer.map(1).int(CONFIG).bytes(&rest[..count.min(rest.len())]);
        writer.finish()?;
        Ok(Reply::Done)
    }

    /// Writing (§6.10.2, "set").
    fn write_fragment(
        &mut self,
        now: Time,
        parameters: Map<'_>,
        offset: usize,
        fragment: &[u8],
    ) -> Step<Reply> {
        if fragment.len() > self.max_fragment_length() {
            return Err(Status::InvalidLength);
        }
        let started = self.started_write(offset, parameters.get(LENGTH))?;
        let (expected, next) = match (started, &self.large_blob_write) {
            (Some(expected), _) => (expected, 0),
            (None, Some(write)) => (write.expected, write.bytes.len()),
            (None, None) => (0, 0),
        };
        if offset != next {
            return Err(Status::InvalidSeq);
        }
        self.may_write_fragment(now, parameters, offset, fragment)?;
        if offset + fragment.len() > expected {
            return Err(Status::InvalidParameter);
        }
        if let Some(expected) = started {
            self.large_blob_write = Some(LargeBlobWrite { expected, bytes: Vec::new() });
        }
        // It stays where it is: a microcontroller's stack has no room for a copy.
        let write = self.large_blob_write.as_mut().ok_or(Status::InvalidSeq)?;
        let added = write.bytes.extend_from_slice(fragment).map_err(|_| Status::LargeBlobStorageFull);
        let outcome = match added {
            Ok(()) if write.bytes.len() < expected => return Ok(Reply::Done),
            Ok(()) => commit(&mut self.store, &write.bytes),
            Err(status) => Err(status),
        };
        self.large_blob_write = None;
        outcome.map(|()| Reply::Done)
    }

    /// A fragment at 0 says how long the whole array will be and starts anew; a later one must not say it.
    fn started_write(&self, offset: usize, length: Option<Item<'_>>) -> Step<Option<usize>> {
        match (offset, length) {
            (0, Some(length)) => {
                let length = length.unsigned()?;
                let room = usize::from(self.configuration.limits.max_serialized_large_blob_array);
                match usize::try_from(length) {
                    Ok(expected) if expected <= room.min(LARGE_BLOBS_MAX) => match expected {
                        0..17 => Err(Status::InvalidParameter),
                        _ => Ok(Some(expected)),
                    },
                    _ => Err(Status::LargeBlobStorageFull),
                }
            }
            (0, None) | (_, Some(_)) => Err(Status::InvalidParameter),
            (_, None) => Ok(None),
        }
    }

    /// A pinUvAuthParam with lbw is needed where the user can be verified, and where alwaysUv says so.
    fn may_write_fragment(&mut self, now: Time, parameters: Map<'_>, offset: usize, fragment: &[u8]) -> Step {
        if !self.is_protected()? && !self.settings()?.always_uv {
            return Ok(());
        }
        let (protocol, parameter) = self.pin_uv_auth(parameters, PIN_UV_AUTH_PROTOCOL, PIN_UV_AUTH_PARAM)?;
        let offset = u32::try_from(offset).map_err(|_| Status::InvalidParameter)?.to_le_bytes();
        let digest = Sha256::digest(fragment);
        let message = [&[0xFF; 32][..], &[COMMAND, 0x00], &offset, &digest];
        self.pin.verify(now, protocol, &message, parameter, Permissions::LARGE_BLOB_WRITE)
    }

    /// maxFragmentLength: what fits a message beside the rest of it.
    fn max_fragment_length(&self) -> usize {
        usize::from(self.configuration.limits.max_message_size).min(MESSAGE_MAX).saturating_sub(64)
    }
}

/// Keeps a whole array, if it ends with the start of the SHA-256 of what precedes.
fn commit(store: &mut impl CredentialStore, array: &[u8]) -> Step {
    let (content, checksum) = array.split_last_chunk::<CHECKSUM>().ok_or(Status::IntegrityFailure)?;
    if Sha256::digest(content)[..CHECKSUM] != checksum[..] {
        return Err(Status::IntegrityFailure);
    }
    store.write(Slot::LargeBlobs, array).map_err(|error| match error.into() {
        Status::KeyStoreFull => Status::LargeBlobStorageFull,
        status => status,
    })
}

/// The command's byte, which is part of what is authenticated.
const COMMAND: u8 = 0x0C;

const CHECKSUM: usize = 16;

/// The initial serialized large-blob array: an empty one, and its checksum.
const INITIAL: [u8; 17] =
    [0x80, 0x76, 0xBE, 0x8B, 0x52, 0x8D, 0x00, 0x75, 0xF7, 0xAA, 0xE9, 0x8D, 0x6F, 0xA5, 0x7A, 0x6D, 0x3C];

// Parameters.
const GET: i32 = 1;
const SET: i32 = 2;
const OFFSET: i32 = 3;
const LENGTH: i32 = 4;
const PIN_UV_AUTH_PARAM: i32 = 5;
const PIN_UV_AUTH_PROTOCOL: i32 = 6;

// Members of the response.
const CONFIG: i32 = 1;
