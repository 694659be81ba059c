//! The part of deterministic CBOR (RFC 8949 §4.2.1) that entries use: unsigned integers, byte strings, arrays.
//!
//! The reader refuses whatever the writer would not have written, so a body has exactly one encoding. It allocates
//! nothing and never recurses. `ciborium` is the judge in the tests; it is not used here because it accepts several
//! encodings of one value, and a signature must cover only one.

use alloc::vec::Vec;

/// Appends items to a buffer.
#[derive(Default)]
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    pub(crate) fn unsigned(&mut self, value: u64) -> &mut Self {
        self.head(0x00, value)
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.head(0x40, bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn array(&mut self, len: usize) -> &mut Self {
        self.head(0x80, len as u64)
    }

    fn head(&mut self, major: u8, value: u64) -> &mut Self {
        let bytes = value.to_be_bytes();
        match value {
            0..=23 => self.0.push(major | bytes[7]),
            24..=0xff => self.0.extend_from_slice(&[major | 24, bytes[7]]),
            0x100..=0xffff => {
                self.0.push(major | 25);
                self.0.extend_from_slice(&bytes[6..]);
            }
            0x1_0000..=0xffff_ffff => {
                self.0.push(major | 26);
                self.0.extend_from_slice(&bytes[4..]);
            }
            _ => {
                self.0.push(major | 27);
                self.0.extend_from_slice(&bytes);
            }
        }
        self
    }
}

/// Takes items off the front of a slice; `None` for anything but the shortest form of what was asked for.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn unsigned(&mut self) -> Option<u64> {
        self.head(0x00)
    }

    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.head(0x40)?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(crate) fn fixed<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes()?.try_into().ok()
    }

    pub(crate) fn vec(&mut self) -> Option<Vec<u8>> {
        self.bytes().map(<[u8]>::to_vec)
    }

    /// The length of an array. At most the bytes that are left, so that it can be trusted for an allocation.
    pub(crate) fn array(&mut self) -> Option<usize> {
        let len = usize::try_from(self.head(0x80)?).ok()?;
        (len <= self.0.len()).then_some(len)
    }

    pub(crate) fn bool(&mut self) -> Option<bool> {
        match self.unsigned()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn head(&mut self, major: u8) -> Option<u64> {
        let (&first, rest) = self.0.split_first()?;
        if first & 0xe0 != major {
            return None;
        }
        let (width, least) = match first & 0x1f {
            short @ 0..=23 => {
                self.0 = rest;
                return Some(u64::from(short));
            }
            24 => (1, 24),
            25 => (2, 0x100),
            26 => (4, 0x1_0000),
            27 => (8, 0x1_0000_0000),
            _ => return None,
        };
        let (digits, rest) = rest.split_at_checked(width)?;
        let value = digits.iter().fold(0, |value, digit| value << 8 | u64::from(*digit));
        self.0 = rest;
        (value >= least).then_some(value)
    }
}
