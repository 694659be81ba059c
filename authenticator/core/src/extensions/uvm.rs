//! uvm (WebAuthn Level 2 §10.3): how the user was verified.

use crate::cbor::Writer;
use crate::configuration::Configuration;
use crate::ctap2::ceremony::Verification;

/// One entry: method, key protection and matcher protection, by the FIDO Registry of Predefined Values.
pub(super) fn write(verification: Verification, configuration: &Configuration, out: &mut Writer<'_>) {
    let method = match verification {
        Verification::None => USER_VERIFY_PRESENCE_INTERNAL,
        Verification::Token { built_in: false } => USER_VERIFY_PASSCODE_EXTERNAL,
        Verification::Token { built_in: true } | Verification::BuiltIn => {
            configuration.uv_modality.unwrap_or(USER_VERIFY_FINGERPRINT_INTERNAL)
        }
    };
    out.array(1).array(3).unsigned(u64::from(method));
    out.unsigned(KEY_PROTECTION_SOFTWARE).unsigned(MATCHER_PROTECTION_SOFTWARE);
}

const USER_VERIFY_PRESENCE_INTERNAL: u32 = 0x0000_0001;
const USER_VERIFY_FINGERPRINT_INTERNAL: u32 = 0x0000_0002;
const USER_VERIFY_PASSCODE_EXTERNAL: u32 = 0x0000_0800;
const KEY_PROTECTION_SOFTWARE: u64 = 1;
const MATCHER_PROTECTION_SOFTWARE: u64 = 1;
