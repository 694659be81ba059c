//! As much DER as a certificate takes to be written.

use der::Encode as _;
use der::asn1::ObjectIdentifier;

/// A value under a tag.
pub(super) fn tagged(tag: u8, value: &[u8]) -> Vec<u8> {
    let length = der::Length::try_from(value.len()).and_then(|length| length.to_der());
    [&[tag][..], &length.expect("certificates are far below 256 MB"), value].concat()
}

/// SEQUENCE.
pub(super) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tagged(0x30, &parts.concat())
}

/// SET OF one.
pub(super) fn set(part: &[u8]) -> Vec<u8> {
    tagged(0x31, part)
}

/// `[number]` EXPLICIT.
pub(super) fn explicit(number: u16, value: &[u8]) -> Vec<u8> {
    match u8::try_from(number) {
        Ok(number) if number < 31 => tagged(0xA0 | number, value),
        // High tag numbers: base 128, most significant first.
        _ => {
            let [high, low] = [(number >> 7) as u8 & 0x7F, number as u8 & 0x7F];
            let inner = tagged(low, value);
            [&[0xBF, 0x80 | high][..], &inner].concat()
        }
    }
}

/// OBJECT IDENTIFIER.
pub(super) fn oid(text: &str) -> Vec<u8> {
    let constant = "every identifier here is a constant, and a test writes it";
    ObjectIdentifier::new(text).expect(constant).to_der().expect(constant)
}

/// INTEGER, not negative.
pub(super) fn integer(bytes: &[u8]) -> Vec<u8> {
    let bytes = &bytes[bytes.iter().take_while(|byte| **byte == 0).count().min(bytes.len() - 1)..];
    match bytes[0] {
        0x80.. => tagged(0x02, &[&[0][..], bytes].concat()),
        _ => tagged(0x02, bytes),
    }
}

/// ENUMERATED.
pub(super) fn enumerated(value: u8) -> Vec<u8> {
    tagged(0x0A, &[value])
}

/// BOOLEAN TRUE.
pub(super) fn yes() -> Vec<u8> {
    tagged(0x01, &[0xFF])
}

/// OCTET STRING.
pub(super) fn octets(bytes: &[u8]) -> Vec<u8> {
    tagged(0x04, bytes)
}

/// BIT STRING of whole bytes.
pub(super) fn bits(bytes: &[u8]) -> Vec<u8> {
    tagged(0x03, &[&[0][..], bytes].concat())
}

/// UTF8String.
pub(super) fn utf8(text: &str) -> Vec<u8> {
    tagged(0x0C, text.as_bytes())
}

/// PrintableString.
pub(super) fn printable(text: &str) -> Vec<u8> {
    tagged(0x13, text.as_bytes())
}

/// GeneralizedTime, as `YYYYMMDDHHMMSSZ`; UTCTime before 2050, as RFC 5280 wants it.
pub(super) fn time(text: &str) -> Vec<u8> {
    match text.strip_prefix("20") {
        Some(short) if text < "2050" => tagged(0x17, short.as_bytes()),
        _ => tagged(0x18, text.as_bytes()),
    }
}
