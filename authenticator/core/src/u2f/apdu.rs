//! Command APDUs, in short and in extended length encoding (ISO 7816-4 §5.1; U2F raw message formats §3.1).

/// A command APDU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Apdu<'a> {
    pub(super) class: u8,
    pub(super) instruction: u8,
    pub(super) parameter_1: u8,
    pub(super) data: &'a [u8],
}

impl<'a> Apdu<'a> {
    /// `None` where the lengths inside do not make up the length of the whole.
    ///
    /// | offset | size | |
    /// |---|---|---|
    /// | 0 | 4 | class, instruction, parameters 1 and 2 |
    /// | 4 | 0, 1 or 3 | length *n* of the data: a byte, or 0 and two bytes |
    /// | | *n* | data |
    /// | | 0, 1 or 2 | the longest response wanted; with 0 and no data before it, 1 or 3 |
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (&[class, instruction, parameter_1, _], body) = bytes.split_first_chunk()?;
        let data = match body {
            // No data; the length of the response, if anything.
            [] | [_] | [0, _, _] => &[][..],
            [0, high, low, rest @ ..] => {
                let (data, wanted) = rest.split_at_checked(usize::from(u16::from_be_bytes([*high, *low])))?;
                matches!(wanted.len(), 0 | 2).then_some(data)?
            }
            [0, _] => return None, // a length of two bytes, cut short
            [length, rest @ ..] => {
                let (data, wanted) = rest.split_at_checked(usize::from(*length))?;
                matches!(wanted.len(), 0 | 1).then_some(data)?
            }
        };
        Some(Apdu { class, instruction, parameter_1, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(bytes: &[u8]) -> Option<&[u8]> {
        Apdu::parse(bytes).map(|apdu| apdu.data)
    }

    #[test]
    fn reads_every_encoding() {
        assert_eq!(
            Apdu::parse(&[1, 2, 3, 4]),
            Some(Apdu { class: 1, instruction: 2, parameter_1: 3, data: &[] })
        );
        assert_eq!(data(&[0, 3, 0, 0, 0]), Some(&[][..]));
        assert_eq!(data(&[0, 3, 0, 0, 0, 0, 0]), Some(&[][..]));
        assert_eq!(data(&[0, 3, 0, 0, 0, 0, 0, 0, 0]), Some(&[][..]));
        assert_eq!(data(&[0, 3, 0, 0, 2, 7, 8]), Some(&[7, 8][..]));
        assert_eq!(data(&[0, 3, 0, 0, 2, 7, 8, 0]), Some(&[7, 8][..]));
        assert_eq!(data(&[0, 3, 0, 0, 0, 0, 2, 7, 8]), Some(&[7, 8][..]));
        assert_eq!(data(&[0, 3, 0, 0, 0, 0, 2, 7, 8, 0, 0]), Some(&[7, 8][..]));
    }

    #[test]
    fn refuses_lengths_that_do_not_add_up() {
        for bytes in [
            &[][..],
            &[0, 3, 0],
            &[0, 3, 0, 0, 2, 7],
            &[0, 3, 0, 0, 2, 7, 8, 0, 0],
            &[0, 3, 0, 0, 0, 0, 2, 7],
            &[0, 3, 0, 0, 0, 0, 2, 7, 8, 0],
            &[0, 3, 0, 0, 0, 0],
        ] {
            assert_eq!(Apdu::parse(bytes), None, "{bytes:?}");
        }
    }
}
