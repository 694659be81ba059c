//! Authenticator data (WebAuthn §6.1), with the hash of the client data behind it: together, what is signed.
//!
//! | offset | size | |
//! |---|---|---|
//! | 0 | 32 | SHA-256 of the RP ID |
//! | 32 | 1 | flags |
//! | 33 | 4 | signature counter, big-endian |
//! | 37 | 16 | AAGUID (with flag AT, as the next three) |
//! | 53 | 2 | length *n* of the credential id, big-endian |
//! | 55 | *n* | credential id |
//! | 55 + *n* | | public key, a COSE_Key |
//! | | | extension outputs, a CBOR map (with flag ED) |
//! | | 32 | hash of the client data: signed with the rest, and not sent |

use heapless::Vec;

use crate::cbor::Writer;
use crate::credential::{CREDENTIAL_ID_MAX, Credential};
use crate::faults::Faults;
use crate::key::{PUBLIC_KEY_MAX, PrivateKey};
use crate::status::{Status, Step};

/// Bits of the flags byte.
pub(crate) mod flag {
    pub(crate) const UP: u8 = 0x01;
    pub(crate) const UV: u8 = 0x04;
    pub(crate) const BE: u8 = 0x08;
    pub(crate) const BS: u8 = 0x10;
    pub(crate) const AT: u8 = 0x40;
    pub(crate) const ED: u8 = 0x80;
}

/// Room for the longest: the head, a credential id, a public key, extension outputs and the hash.
pub(crate) const SIGNED_MAX: usize = 37 + 18 + ID_ROOM + PUBLIC_KEY_MAX + 320 + 32;

/// A fault may ask for an id of 1,024 bytes.
const ID_ROOM: usize = if cfg!(feature = "faults") { 1024 } else { CREDENTIAL_ID_MAX };

/// Authenticator data while it is put together.
pub(crate) struct AuthenticatorData {
    bytes: Vec<u8, SIGNED_MAX>,
}

/// UP, UV, BE and BS of a ceremony with this credential.
pub(crate) fn flags(credential: &Credential, up: bool, uv: bool) -> u8 {
    let bits = [
        (flag::UP, up),
        (flag::UV, uv),
        (flag::BE, credential.backup_eligible),
        (flag::BS, credential.backup_eligible && credential.backup_state),
    ];
    bits.into_iter().filter(|(_, set)| *set).fold(0, |flags, (bit, _)| flags | bit)
}

impl AuthenticatorData {
    pub(crate) fn new(rp_id_hash: [u8; 32], flags: u8, sign_count: u32) -> Self {
        let mut bytes = Vec::new();
        let _ = bytes.extend_from_slice(&rp_id_hash);
        let _ = bytes.push(flags);
        let _ = bytes.extend_from_slice(&sign_count.to_be_bytes());
        AuthenticatorData { bytes }
    }

    /// Adds attested credential data (WebAuthn §6.5.1).
    ///
    /// `public` is the COSE_Key of `key`, where it is known already.
    pub(crate) fn attest(
        &mut self,
        aaguid: &[u8; 16],
        id: &[u8],
        key: &PrivateKey,
        public: Option<&[u8]>,
        faults: &Faults,
    ) -> Step {
        self.bytes[FLAGS] |= flag::AT;
        let (aaguid, id) = (faults.aaguid(*aaguid), faults.credential_id(id));
        let length = u16::try_from(id.len()).map_err(|_| Status::LimitExceeded)?;
        for part in [&aaguid[..], &length.to_be_bytes(), id] {
            self.bytes.extend_from_slice(part).map_err(|_| Status::LimitExceeded)?;
        }
        match public {
            Some(public) => self.bytes.extend_from_slice(public).map_err(|_| Status::LimitExceeded)?,
            None => {
                let mut writer = Writer::new(&mut self.bytes);
                key.write_public(&mut writer).ok_or(Status::Other)?;
                writer.finish()?;
            }
        }
        faults.public_key(&mut self.bytes);
        Ok(())
    }

    /// Adds extension outputs, unless there are none.
    pub(crate) fn extend(&mut self, outputs: &[u8]) -> Step {
        if !outputs.is_empty() {
            self.bytes[FLAGS] |= flag::ED;
            self.bytes.extend_from_slice(outputs).map_err(|_| Status::LimitExceeded)?;
        }
        Ok(())
    }

    /// What is signed: the data and the hash of the client data.
    pub(crate) fn signed_with(mut self, client_data_hash: &[u8; 32]) -> Step<Signed> {
        self.bytes.extend_from_slice(client_data_hash).map_err(|_| Status::LimitExceeded)?;
        Ok(Signed { bytes: self.bytes })
    }
}

/// Authenticator data with the hash of the client data behind it.
pub(crate) struct Signed {
    bytes: Vec<u8, SIGNED_MAX>,
}

impl Signed {
    /// All of it: what is signed.
    pub(crate) fn message(&self) -> &[u8] {
        &self.bytes
    }

    /// What is sent.
    pub(crate) fn authenticator_data(&self) -> &[u8] {
        &self.bytes[..self.bytes.len() - 32]
    }
}

const FLAGS: usize = 32;
