//! largeBlobKey (CTAP §12.3): a key of the credential's for its entry in the large-blob array.

use crate::cbor::Item;
use crate::status::{Status, Step};

/// Whether a key is asked for.
///
/// # Errors
/// [`Status::InvalidOption`] for `false`, which nobody needs to send, and without a discoverable credential.
pub(super) fn read(input: Option<Item<'_>>, discoverable: bool) -> Step<bool> {
    match input.map(Item::boolean).transpose()? {
        None => Ok(false),
        Some(true) if discoverable => Ok(true),
        Some(_) => Err(Status::InvalidOption),
    }
}
