//! DER, as wrong as a mutant needs it.

/// A tag, a length and a content; the tag may have several bytes.
pub(crate) fn tlv(tag: &[u8], content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let length = match length {
        0..=0x7f => vec![length as u8],
        0x80..=0xff => vec![0x81, length as u8],
        _ => vec![0x82, (length >> 8) as u8, length as u8],
    };
    [tag, &length, content].concat()
}

pub(crate) fn sequence(items: &[Vec<u8>]) -> Vec<u8> {
    tlv(&[0x30], &items.concat())
}

pub(crate) fn set(items: &[Vec<u8>]) -> Vec<u8> {
    tlv(&[0x31], &items.concat())
}

pub(crate) fn octets(content: &[u8]) -> Vec<u8> {
    tlv(&[0x04], content)
}

pub(crate) fn bits(content: &[u8]) -> Vec<u8> {
    tlv(&[0x03], &[&[0], content].concat())
}

/// A non-negative integer of one byte.
pub(crate) fn small(value: u8) -> Vec<u8> {
    tlv(&[0x02], &[value])
}

pub(crate) fn enumerated(value: u8) -> Vec<u8> {
    tlv(&[0x0a], &[value])
}

pub(crate) fn utf8(text: &str) -> Vec<u8> {
    tlv(&[0x0c], text.as_bytes())
}

pub(crate) fn printable(text: &str) -> Vec<u8> {
    tlv(&[0x13], text.as_bytes())
}

/// `[number] EXPLICIT`, for numbers up to 16383.
pub(crate) fn explicit(number: u16, content: &[u8]) -> Vec<u8> {
    match number {
        0..=30 => tlv(&[0xa0 | number as u8], content),
        31..=127 => tlv(&[0xbf, number as u8], content),
        _ => tlv(&[0xbf, 0x80 | (number >> 7) as u8, (number & 0x7f) as u8], content),
    }
}

pub(crate) fn oid(text: &str) -> Vec<u8> {
    tlv(&[0x06], ::der::asn1::ObjectIdentifier::new_unwrap(text).as_bytes())
}

/// A name: a SET of one attribute after the other.
pub(crate) fn name(attributes: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let parts: Vec<_> =
        attributes.iter().map(|(kind, value)| set(&[sequence(&[oid(kind), value.clone()])])).collect();
    sequence(&parts)
}

pub(crate) fn extension(kind: &str, critical: bool, content: &[u8]) -> Vec<u8> {
    let critical = if critical { tlv(&[0x01], &[0xff]) } else { Vec::new() };
    sequence(&[oid(kind), critical, octets(content)])
}
