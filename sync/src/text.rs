//! Bytes as text that people copy: RFC 4648 base32 (also fits a QR code's alphanumeric mode), with a checksum.

use alloc::string::String;
use alloc::vec::Vec;

use crate::id::hash;

const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The bytes and a checksum of two bytes in base32, without padding.
pub(crate) fn encode(label: &str, bytes: &[u8]) -> String {
    let checksum = hash(&[label.as_bytes(), bytes]).0;
    let (mut text, mut buffer, mut bits) = (String::new(), 0_u32, 0);
    for byte in bytes.iter().chain(&checksum[..2]) {
        buffer = buffer << 8 | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(char::from(ALPHABET[(buffer >> bits & 31) as usize]));
        }
    }
    if bits > 0 {
        text.push(char::from(ALPHABET[(buffer << (5 - bits) & 31) as usize]));
    }
    text
}

/// What [`encode`] took. Case, spaces and dashes do not matter. A mistyped character does, but for once in 65,536 times:
/// the checksum has 16 bits, and whoever takes the bytes finds out that they open nothing.
pub(crate) fn decode(label: &str, text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut buffer, mut bits) = (Vec::new(), 0_u32, 0);
    for character in
        text.bytes().filter(|character| !matches!(character, b' ' | b'-' | b'\n' | b'\r' | b'\t'))
    {
        let digit = ALPHABET.iter().position(|known| *known == character.to_ascii_uppercase())?;
        buffer = (buffer << 5 | digit as u32) & 0xfff;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push((buffer >> bits) as u8);
        }
    }
    let clean = buffer & ((1 << bits) - 1) == 0 && bits < 5;
    let (payload, checksum) = bytes.split_at_checked(bytes.len().checked_sub(2)?)?;
    let sound = clean && hash(&[label.as_bytes(), payload]).0[..2] == *checksum;
    sound.then(|| payload.to_vec())
}

/// A text in groups of five, for paper.
pub(crate) fn grouped(text: &str) -> String {
    let mut grouped = String::new();
    for (index, character) in text.chars().enumerate() {
        if index > 0 && index % 5 == 0 {
            grouped.push('-');
        }
        grouped.push(character);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_comes_back_and_a_typing_error_does_not() {
        for len in 0..40_u8 {
            let bytes: Vec<u8> = (0..len).collect();
            let text = encode("test", &bytes);
            assert_eq!(decode("test", &text), Some(bytes.clone()));
            assert_eq!(decode("test", &grouped(&text).to_lowercase()), Some(bytes));
            assert_eq!(decode("other", &text), None, "a text is of one kind");
        }
        let text = encode("test", &[7; 16]);
        for index in 0..text.len() {
            let mut wrong = text.clone().into_bytes();
            wrong[index] = if wrong[index] == b'A' { b'B' } else { b'A' };
            assert_eq!(decode("test", core::str::from_utf8(&wrong).unwrap()), None);
        }
    }
}
