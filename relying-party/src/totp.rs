//! One-time codes of an authenticator app: RFC 6238 with SHA-1, 30 seconds, 6 digits, which is what the apps know.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;

use crate::secret;

/// Seconds of a time step.
const STEP_S: i64 = 30;

/// The time step that a code belongs to, if it is right: this one, or the one before or after, for clocks that are
/// a little off. The caller uses the step up, so that a code works once.
pub(crate) fn step_of(shared: &[u8], code: &str, now_ms: i64) -> Option<i64> {
    let digits = digits(code);
    let now = now_ms / 1000 / STEP_S;
    // Compared with all three, whatever the first says.
    let fits =
        [now - 1, now, now + 1].map(|step| secret::equal(digits.as_bytes(), at(shared, step).as_bytes()));
    fits.iter().zip(-1..).find(|(fits, _)| **fits).map(|(_, offset)| now + offset)
}

/// Whether this could be a code at all, and is not half of one.
pub(crate) fn is_code(text: &str) -> bool {
    digits(text).len() == 6
}

/// Apps show codes in groups.
fn digits(code: &str) -> String {
    code.chars().filter(char::is_ascii_digit).collect()
}

fn at(shared: &[u8], step: i64) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(shared).expect("HMAC takes keys of any length");
    mac.update(&step.to_be_bytes());
    let digest = mac.finalize().into_bytes();
    let offset = usize::from(digest[19] & 0x0f);
    let word = [digest[offset] & 0x7f, digest[offset + 1], digest[offset + 2], digest[offset + 3]];
    format!("{:06}", u32::from_be_bytes(word) % 1_000_000)
}

/// Base 32 (RFC 4648 §6) without padding, as the apps want the secret.
pub(crate) fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut text = String::new();
    for chunk in bytes.chunks(5) {
        let mut block = [0; 8];
        block[3..3 + chunk.len()].copy_from_slice(chunk);
        let bits = u64::from_be_bytes(block);
        for index in 0..(chunk.len() * 8).div_ceil(5) {
            let five = (bits >> (35 - 5 * index)) & 31;
            text.push(char::from(ALPHABET[usize::try_from(five).expect("five bits")]));
        }
    }
    text
}

/// What the QR code says.
pub(crate) fn uri(service: &str, user: &str, shared: &[u8]) -> String {
    let encode = |text: &str| crate::pages::url_encoded(text).replace('/', "%2F");
    format!(
        "otpauth://totp/{0}:{1}?secret={2}&issuer={0}&algorithm=SHA1&digits=6&period={STEP_S}",
        encode(service),
        encode(user),
        base32(shared)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238 appendix B, the last six of its eight digits.
    #[test]
    fn codes_are_those_of_the_rfc() {
        let shared = b"12345678901234567890";
        for (seconds, code) in [(59, "287082"), (1_111_111_109, "081804"), (2_000_000_000, "279037")] {
            assert_eq!(step_of(shared, code, seconds * 1000), Some(seconds / 30));
        }
    }

    #[test]
    fn a_code_is_good_for_a_step_before_and_after() {
        let shared = b"12345678901234567890";
        let step = 1_111_111_109 / 30;
        assert_eq!(step_of(shared, "081804", (step + 1) * 30_000), Some(step));
        assert_eq!(step_of(shared, "081804", (step - 1) * 30_000), Some(step));
        assert_eq!(step_of(shared, "081804", (step + 2) * 30_000), None);
        assert_eq!(step_of(shared, "", step * 30_000), None);
    }

    #[test]
    fn base_32_is_that_of_the_rfc() {
        for (bytes, text) in
            [("f", "MY"), ("fo", "MZXQ"), ("foo", "MZXW6"), ("fooba", "MZXW6YTB"), ("foobar", "MZXW6YTBOI")]
        {
            assert_eq!(base32(bytes.as_bytes()), text);
        }
    }
}
