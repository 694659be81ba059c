//! minPinLength (CTAP §12.5) and pinComplexityPolicy (§12.9): what an administrator imposed on PINs, told to the
//! relying parties that the administrator named.

use crate::cbor::Writer;
use crate::settings::Settings;

/// minPinLength's output, in code points.
pub(super) fn write_min_length(settings: &Settings, out: &mut Writer<'_>) {
    out.unsigned(u64::from(settings.min_pin_length));
}

/// pinComplexityPolicy's output: whether it is in force.
pub(super) fn write_complexity(settings: &Settings, out: &mut Writer<'_>) {
    out.boolean(settings.pin_complexity);
}
