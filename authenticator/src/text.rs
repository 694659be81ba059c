//! Bytes and algorithms as text: hexadecimal, base64url, and JOSE's names.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use doppelkey_core::Algorithm;

/// Lower case, two digits a byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Upper case, two digits a byte.
pub(crate) fn hex_upper(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// The bytes of hexadecimal digits of either case, two a byte; `None` for anything else.
pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |digit: &u8| char::from(*digit).to_digit(16).map(|digit| digit as u8);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let byte = |[high, low]: &[u8; 2]| Some(digit(high)? << 4 | digit(low)?);
    if rest.is_empty() { pairs.iter().map(byte).collect() } else { None }
}

/// Unpadded base64url, as WebAuthn's JSON has it.
pub(crate) fn base64url(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// The bytes of unpadded base64url; `None` for anything else.
pub(crate) fn from_base64url(text: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text).ok()
}

/// What JOSE (and COSE's registry) calls an algorithm.
pub(crate) fn algorithm_name(algorithm: Algorithm) -> &'static str {
    match algorithm.cose() {
        -7 => "ES256",
        -8 => "EdDSA",
        -35 => "ES384",
        -36 => "ES512",
        -37 => "PS256",
        -47 => "ES256K",
        -48 => "ML-DSA-44",
        -49 => "ML-DSA-65",
        -50 => "ML-DSA-87",
        -257 => "RS256",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_and_the_rest_is_none() {
        let bytes = [0, 0x9a, 0xff];
        for text in [hex(&bytes), hex_upper(&bytes)] {
            assert_eq!(from_hex(&text).as_deref(), Some(&bytes[..]));
        }
        assert_eq!(from_hex("fF"), Some(vec![0xff]));
        for text in ["0", "0g", "+1", "+f", " f", "é"] {
            assert_eq!(from_hex(text), None, "{text}");
        }
        assert_eq!(from_base64url(&base64url(&bytes)).as_deref(), Some(&bytes[..]));
        for text in ["AJr_=", "AJr/", "A"] {
            assert_eq!(from_base64url(text), None, "{text}");
        }
    }
}
