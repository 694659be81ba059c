//! FIDO metadata (FIDO Metadata Service 3): what is known about a model of authenticator, and whether to trust it.
//!
//! * [`Metadata::read`] reads a BLOB (a signed JSON Web Token) and verifies its chain to a root that the operator
//!   names; nothing is fetched.
//! * [`Metadata::entry`] looks a model up by its AAGUID.
//! * [`Metadata::assess`] judges a verified registration: does its attestation chain to the model's roots, and has
//!   anything bad been reported about the model?
//! * [`Providers`] names passkey providers by AAGUID, for people.
//!
//! Everything here is pure: the BLOB and the time are given. Off unless the operator gives a BLOB.

mod assessment;
mod jws;
#[cfg(feature = "fuzzing")]
pub mod parsers;
mod providers;
mod statement;

#[cfg(test)]
mod tests;

use std::fmt;

use crate::verify::{CertificateError, RevocationListError};

pub use assessment::{Assessment, MetadataPolicy, Treatment};
pub use providers::Providers;
pub use statement::{Entry, StatusReport};

pub use crate::verify::RevocationLists;

/// A verified BLOB.
#[derive(Clone, Debug)]
pub struct Metadata {
    number: u64,
    /// `nextUpdate`, as text and in Unix seconds.
    next_update: (String, u64),
    entries: Vec<Entry>,
    revoked: RevocationLists,
}

/// Who signs BLOBs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publisher<'a> {
    /// The trust anchor in DER or PEM. Others than the publisher may have certificates under it: FIDO's is a public
    /// authority's.
    pub root: &'a [u8],
    /// The DNS name in the signer's certificate; [`FIDO`](Self::FIDO) for the FIDO Alliance's own service.
    pub name: &'a str,
}

impl Publisher<'_> {
    /// Whom the FIDO Alliance's BLOBs are signed by.
    pub const FIDO: &'static str = "mds.fidoalliance.org";
}

/// Why a BLOB is not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetadataError {
    /// Larger than any BLOB is.
    TooLarge,
    /// Not a compact JSON Web Signature with the header of a BLOB.
    NotSigned(&'static str),
    /// The certificates in its header do not chain to the root.
    Chain(CertificateError),
    /// The certificate of who signed it is not the publisher's.
    Signer,
    /// A certificate revocation list is of no use.
    RevocationList(RevocationListError),
    /// The signature does not verify.
    SignatureInvalid,
    /// The payload is not that of a BLOB.
    Payload(String),
    /// It is older than one seen before: its number did not grow.
    Older {
        /// The number seen before.
        seen: u64,
        /// The number of this one.
        found: u64,
    },
}

impl fmt::Display for MetadataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => write!(f, "the metadata BLOB has more than {} MiB", MAX_BLOB / 1024 / 1024),
            Self::NotSigned(what) => write!(f, "not a signed metadata BLOB: {what}"),
            Self::Chain(why) => write!(f, "the BLOB's signer is not under the root that was named: {why}"),
            Self::Signer => write!(f, "the BLOB's signer is under the root, but is not the publisher"),
            Self::RevocationList(why) => write!(f, "a certificate revocation list cannot be used: {why}"),
            Self::SignatureInvalid => write!(f, "the BLOB's signature does not verify"),
            Self::Payload(why) => write!(f, "the BLOB's payload: {why}"),
            Self::Older { seen, found } => {
                write!(f, "the BLOB has number {found}, and number {seen} was seen before")
            }
        }
    }
}

impl std::error::Error for MetadataError {}

impl Metadata {
    /// Reads a BLOB and verifies it.
    ///
    /// `publisher` says who must have signed it. `now_s` is Unix time in seconds: the certificates must be valid
    /// then. `seen` is the number of the newest BLOB seen before, if any; an older one is refused, for it could
    /// hide a report. No certificate in `revoked` is believed, the BLOB's signer's or an attestation's.
    ///
    /// # Errors
    ///
    /// [`MetadataError`]: the BLOB's fault, or that of who named the root.
    pub fn read(
        blob: &str,
        publisher: &Publisher<'_>,
        revoked: RevocationLists,
        now_s: u64,
        seen: Option<u64>,
    ) -> Result<Self, MetadataError> {
        if blob.len() > MAX_BLOB {
            return Err(MetadataError::TooLarge);
        }
        let payload = jws::open(blob.trim(), publisher, &revoked, now_s)?;
        let (number, next_update, entries) = statement::read_payload(&payload)?;
        match seen {
            Some(seen) if number < seen => Err(MetadataError::Older { seen, found: number }),
            _ => Ok(Self { number, next_update, entries, revoked }),
        }
    }

    /// The BLOB's number, to be remembered: it only grows.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// When the next BLOB is due, `YYYY-MM-DD`.
    #[must_use]
    pub fn next_update(&self) -> &str {
        &self.next_update.0
    }

    /// Whether the next BLOB should have been fetched by this time (Unix seconds).
    #[must_use]
    pub fn is_overdue(&self, now_s: u64) -> bool {
        // due on a day: overdue when the day is over
        now_s >= self.next_update.1 + 24 * 60 * 60
    }

    /// What is known about a model.
    #[must_use]
    pub fn entry(&self, aaguid: &[u8; 16]) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.aaguid.as_ref() == Some(aaguid))
    }

    /// The same for an AAGUID as text, with or without hyphens.
    #[must_use]
    pub fn entry_for(&self, aaguid: &str) -> Option<&Entry> {
        self.entry(&statement::parse_aaguid(aaguid)?)
    }

    /// All models that have an AAGUID or the identifier of an attestation certificate's key.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

/// The service's own is about 7 MB.
const MAX_BLOB: usize = 32 * 1024 * 1024;
