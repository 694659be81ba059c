//! U2F raw messages (CTAP1): registration and authentication for relying parties that know no CTAP2.

use rand_core::CryptoRng;

use crate::authenticator::{Authenticator, Message, Reply};
use crate::status::Step;
use crate::store::CredentialStore;
use crate::time::Time;

/// Handles an APDU. The response ends with a status word.
pub(crate) fn message<S: CredentialStore, R: CryptoRng>(
    _authenticator: &mut Authenticator<S, R>,
    _now: Time,
    _apdu: &[u8],
    response: &mut Message,
) -> Step<Reply> {
    // SW_INS_NOT_SUPPORTED.
    let _ = response.extend_from_slice(&[0x6D, 0x00]);
    Ok(Reply::Done)
}
