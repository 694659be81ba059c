//! credProtect (CTAP §12.1): who may learn that a credential is here.

use crate::cbor::Item;
use crate::credential::CredentialProtection;
use crate::status::{Status, Step};

/// The level asked for.
///
/// # Errors
/// [`Status::InvalidOption`] for a level there is not.
pub(super) fn read(level: Item<'_>) -> Step<CredentialProtection> {
    CredentialProtection::from_number(level.unsigned()?).ok_or(Status::InvalidOption)
}
