//! The header of a log's file: whose vault it is, and where its key is kept.

use std::io;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::FORMAT_VERSION;
use crate::vault::custody::CustodyRecord;
use crate::vault::error::VaultError;
use crate::vault::medium::Medium;
use crate::vault::seal::{Sealer, TAG_LENGTH, VaultKey};

/// The header of a log's file.
#[derive(Clone)]
pub(in crate::vault) struct Header {
    pub(in crate::vault) vault_id: [u8; 16],
    pub(in crate::vault) salt: [u8; 32],
    pub(in crate::vault) custody: CustodyRecord,
}

impl Header {
    pub(super) fn length(&self) -> u64 {
        (HEADER_FIXED + self.custody.parameters.len() + HEADER_CHECK + TAG_LENGTH) as u64
    }

    pub(super) fn encode(&self, sealer: &Sealer) -> Vec<u8> {
        let length = u16::try_from(self.length()).expect("a path is shorter than 60 kB: custody sees to it");
        let mut bytes = Vec::with_capacity(length.into());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&self.vault_id);
        bytes.extend_from_slice(&self.salt);
        bytes.push(self.custody.kind);
        bytes.extend_from_slice(&self.custody.parameters);
        let check = Sha256::digest(&bytes);
        bytes.extend_from_slice(&check);
        let tag = sealer.header_tag(&bytes);
        bytes.extend_from_slice(&tag);
        bytes
    }

    pub(super) fn read(medium: &mut dyn Medium, end: u64, file: &Path) -> Result<Self, VaultError> {
        let failed = |error| VaultError::Io { file: file.to_owned(), doing: "read", error };
        let corrupt = |what| VaultError::Corrupt { file: file.to_owned(), offset: 0, what };
        let mut start = [0; 12];
        if end < start.len() as u64 {
            return Err(VaultError::NotAVault { file: file.to_owned() });
        }
        medium.read_at(0, &mut start).map_err(failed)?;
        let [magic @ .., v0, v1, l0, l1] = start;
        if magic != *MAGIC {
            return Err(VaultError::NotAVault { file: file.to_owned() });
        }
        let (version, length) = (u16::from_le_bytes([v0, v1]), u16::from_le_bytes([l0, l1]));
        if version != FORMAT_VERSION {
            return Err(VaultError::NewerFormat { file: file.to_owned(), version });
        }
        let parameters = usize::from(length).checked_sub(HEADER_FIXED + HEADER_CHECK + TAG_LENGTH);
        let parameters =
            parameters.filter(|_| u64::from(length) <= end).ok_or_else(|| corrupt("the header is cut"))?;
        let mut bytes = vec![0; length.into()];
        medium.read_at(0, &mut bytes).map_err(failed)?;
        let (covered, check) = bytes.split_at(HEADER_FIXED + parameters);
        if Sha256::digest(covered).as_slice() != &check[..HEADER_CHECK] {
            return Err(corrupt("the header was changed"));
        }
        let array = "the slice has the array's length";
        Ok(Header {
            vault_id: covered[12..28].try_into().expect(array),
            salt: covered[28..60].try_into().expect(array),
            custody: CustodyRecord { kind: covered[60], parameters: covered[HEADER_FIXED..].to_vec() },
        })
    }

    /// Whether this key made the header, as read from the medium.
    pub(in crate::vault) fn is_of(&self, key: &VaultKey, medium: &mut dyn Medium) -> io::Result<bool> {
        let mut bytes = vec![0; self.length() as usize];
        medium.read_at(0, &mut bytes)?;
        let (covered, tag) = bytes.split_last_chunk().expect("a header ends with its tag");
        Ok(Sealer::new(key, &self.salt).header_is_ours(covered, tag))
    }
}

const MAGIC: &[u8; 8] = b"doppelkv";
const HEADER_FIXED: usize = 61;
const HEADER_CHECK: usize = 32;
