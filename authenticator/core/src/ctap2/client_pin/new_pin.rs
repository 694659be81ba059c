//! Which PINs may be set (CTAP §6.5.1, §6.5.5.5 steps 6 to 8).

use zeroize::Zeroizing;

use crate::configuration::Configuration;
use crate::pin_protocol::pin_hash;
use crate::settings::Settings;
use crate::status::{Status, Step};

/// The length in bytes to which the platform pads a PIN.
pub(super) const PADDED: usize = 64;

/// A PIN that keeps the rules: what will be kept of it.
pub(super) struct NewPin {
    pub(super) hash: Zeroizing<[u8; 16]>,
    pub(super) code_points: u8,
}

impl NewPin {
    /// Takes a PIN as the platform pads it: with zeros, to 64 bytes.
    ///
    /// # Errors
    /// [`Status::InvalidParameter`] if it is not padded so; [`Status::PinPolicyViolation`] if it is not UTF-8, too
    /// short, too long, or too simple where the complexity policy is in force.
    pub(super) fn from_padded(
        padded: &[u8],
        settings: &Settings,
        configuration: &Configuration,
    ) -> Step<Self> {
        if padded.len() != PADDED {
            return Err(Status::InvalidParameter);
        }
        let end = padded.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let longest = usize::from(configuration.max_pin_length).min(PADDED - 1);
        let pin = &padded[..end];
        let text = core::str::from_utf8(pin).map_err(|_| Status::PinPolicyViolation)?;
        // Not `chars().count()`, which is made for long texts: every byte that does not continue a character begins one.
        let code_points = text.bytes().filter(|byte| byte & 0xC0 != 0x80).count();
        if end > longest || code_points < usize::from(settings.min_pin_length) {
            return Err(Status::PinPolicyViolation);
        }
        if settings.pin_complexity && is_simple(text) {
            return Err(Status::PinPolicyViolation);
        }
        Ok(NewPin { hash: pin_hash(pin), code_points: u8::try_from(code_points).unwrap_or(u8::MAX) })
    }
}

/// The complexity policy: whether a PIN is one character repeated, a run up or down, two halves that are the same, or
/// one of those that everybody tries first.
fn is_simple(pin: &str) -> bool {
    let steps = || pin.chars().zip(pin.chars().skip(1)).map(|(a, b)| u32::from(b).wrapping_sub(u32::from(a)));
    let evenly = |step: u32| steps().all(|one| one == step);
    let (left, right) = pin.split_at_checked(pin.len() / 2).unwrap_or((pin, ""));
    evenly(0)
        || evenly(1)
        || evenly(1_u32.wrapping_neg())
        || left == right
        || COMMON.iter().any(|common| pin.eq_ignore_ascii_case(common))
}

const COMMON: [&str; 10] = [
    "password", "passwort", "qwerty", "azerty", "qwertz", "abc123", "iloveyou", "letmein", "112233", "147258",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pin: &str, complexity: bool) -> Step<u8> {
        let mut padded = [0; PADDED];
        padded[..pin.len()].copy_from_slice(pin.as_bytes());
        let settings = Settings { min_pin_length: 4, pin_complexity: complexity, ..Settings::default() };
        NewPin::from_padded(&padded, &settings, &Configuration::default()).map(|pin| pin.code_points)
    }

    #[test]
    fn lengths_are_counted_in_code_points_and_limited_in_bytes() {
        assert_eq!(check("123", false), Err(Status::PinPolicyViolation));
        assert_eq!(check("1234", false), Ok(4));
        assert_eq!(check("äöü", false), Err(Status::PinPolicyViolation));
        assert_eq!(check("äöüß", false), Ok(4));
        assert_eq!(check(&"x".repeat(63), false), Ok(63));
        assert_eq!(check(&"x".repeat(64), false), Err(Status::PinPolicyViolation));
    }

    #[cfg(feature = "authenticator-config")]
    #[test]
    fn simple_pins_are_refused_where_the_policy_is_in_force() {
        for pin in ["1111", "1234", "4321", "abcd", "1212", "hubahuba", "Password", "112233"] {
            assert_eq!(check(pin, true), Err(Status::PinPolicyViolation), "{pin}");
            assert!(check(pin, false).is_ok(), "{pin}");
        }
        for pin in ["1357", "a1b2c3d4", "correct horse", "äöüß"] {
            assert!(check(pin, true).is_ok(), "{pin}");
        }
    }

    #[test]
    fn a_padding_of_another_length_is_an_invalid_parameter() {
        let settings = Settings::default();
        let configuration = Configuration::default();
        for length in [0, 16, 48, 63] {
            let padded = &[b'1'; 64][..length];
            let result = NewPin::from_padded(padded, &settings, &configuration).map(|pin| pin.code_points);
            assert_eq!(result, Err(Status::InvalidParameter));
        }
    }

    #[test]
    fn text_that_is_not_utf8_is_no_pin() {
        let mut padded = [0; PADDED];
        padded[..4].copy_from_slice(&[0xFF, b'1', b'2', b'3']);
        let result = NewPin::from_padded(&padded, &Settings::default(), &Configuration::default());
        assert_eq!(result.map(|pin| pin.code_points), Err(Status::PinPolicyViolation));
    }
}
