//! How a webhook's message is signed, as [Standard Webhooks](https://www.standardwebhooks.com) has it: HMAC-SHA-256 of
//! `ID.TIMESTAMP.BODY`, in base64 behind `v1,`. Several keys give several signatures, with spaces between them, so that
//! a key can be exchanged without a gap.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

/// A key that signs: 24 to 64 bytes.
pub(super) type Key = Zeroizing<Vec<u8>>;

/// The keys of a text, one a line: base64, with `whsec_` before it or without. Empty lines and those that begin with
/// `#` are no keys.
///
/// # Errors
/// The number of the line that holds no key. What it holds is not repeated.
pub(super) fn keys(text: &str) -> Result<Vec<Key>, usize> {
    let lines = text.lines().map(str::trim).zip(1..);
    let keys = lines.filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
    keys.map(|(line, number)| key(line).ok_or(number)).collect()
}

fn key(line: &str) -> Option<Key> {
    let key = Zeroizing::new(STANDARD.decode(line.trim_start_matches("whsec_")).ok()?);
    (24..=64).contains(&key.len()).then_some(key)
}

/// The value of `webhook-signature`.
pub(super) fn sign(keys: &[Key], id: &str, timestamp_s: i64, body: &[u8]) -> String {
    let signatures = keys.iter().map(|key| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
        mac.update(format!("{id}.{timestamp_s}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    });
    signatures.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_standard_webhooks() {
        let keys = keys("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
        let body = br#"{"test": 2432232314}"#;
        let signature = sign(&keys, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn two_keys_sign_side_by_side() {
        let one = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let both = keys(&format!("# the new one\n{}\n\n{one}", one.to_lowercase())).unwrap();
        let signature = sign(&both, "a", 1, b"b");
        let (new, old) = signature.split_once(' ').unwrap();
        assert_ne!(new, old);
        assert_eq!(old, sign(&keys(one).unwrap(), "a", 1, b"b"));
    }

    #[test]
    fn what_is_no_key_is_told_by_its_line() {
        assert_eq!(keys("# a comment\nwhsec_!!!"), Err(2));
        assert_eq!(keys("c2hvcnQ="), Err(1), "too short to be a secret");
        assert_eq!(keys(&"A".repeat(88)), Err(1), "66 bytes");
    }
}
