//! Bytes as decimal digits: a QR code holds those in three and a third bits each (CTAP §11.5.1.2).

/// Seven bytes are written as seventeen digits.
const CHUNK: usize = 7;
/// How many digits a chunk of so many bytes takes.
const DIGITS: [usize; CHUNK + 1] = [0, 3, 5, 8, 10, 13, 15, 17];

/// The bytes as digits: each chunk is a little-endian number, with leading zeros.
pub(super) fn encode(bytes: &[u8]) -> String {
    let number = |chunk: &[u8]| chunk.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    bytes
        .chunks(CHUNK)
        .map(|chunk| format!("{:0width$}", number(chunk), width = DIGITS[chunk.len()]))
        .collect()
}

/// The bytes that these digits stand for; `None` if there is another character, a length that no number of bytes has,
/// or a number that is too large for its bytes.
pub(super) fn decode(digits: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for chunk in digits.as_bytes().chunks(DIGITS[CHUNK]) {
        let length = DIGITS.iter().position(|digits| *digits == chunk.len())?;
        let digit =
            |number: u64, digit: &u8| digit.is_ascii_digit().then(|| number * 10 + u64::from(*digit - b'0'));
        let number = chunk.iter().try_fold(0, digit)?;
        if number >> (8 * length) != 0 {
            return None;
        }
        bytes.extend_from_slice(&number.to_le_bytes()[..length]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_comes_back() {
        let bytes: Vec<u8> = (0..255).collect();
        for length in 0..bytes.len() {
            assert_eq!(decode(&encode(&bytes[..length])).as_deref(), Some(&bytes[..length]));
        }
        assert_eq!(encode(&[0x61, 0x62, 0xff]), "16736865", "what other implementations write");
        assert_eq!(encode(&[0; 8]), "0".repeat(20));
    }

    #[test]
    fn what_no_bytes_are_written_as_is_refused() {
        for digits in
            ["abc", "1", "1234", "999", "99999999999999999", "١٢٣", "12 ", "+12", "123456789012345678"]
        {
            assert_eq!(decode(digits), None, "{digits}");
        }
    }
}
