//! The parsers behind the signature of a BLOB one at a time, for `tests/fuzz`. Feature `fuzzing`.

use super::statement;

/// The payload of a BLOB, as it is read once its signature has been verified. Whether it is one.
pub fn payload(json: &[u8]) -> bool {
    statement::read_payload(json).is_ok()
}
