//! credBlob (CTAP §12.2): a few bytes of the relying party's, kept with a discoverable credential.

use heapless::Vec;
use zeroize::Zeroizing;

use crate::cbor::Item;
use crate::configuration::Limits;
use crate::credential::CRED_BLOB_MAX;
use crate::status::Step;

/// What becomes of a blob.
pub(super) enum Blob {
    /// It is kept.
    Kept(Zeroizing<Vec<u8, CRED_BLOB_MAX>>),
    /// It is too long, or the credential has no place for it: the output says so, and nothing fails.
    Refused,
}

/// The blob to keep.
pub(super) fn read(blob: Item<'_>, discoverable: bool, limits: &Limits) -> Step<Blob> {
    let blob = blob.bytes()?;
    if !discoverable || blob.len() > usize::from(limits.max_cred_blob_length) {
        return Ok(Blob::Refused);
    }
    Ok(Vec::from_slice(blob).map_or(Blob::Refused, |blob| Blob::Kept(Zeroizing::new(blob))))
}
