//! CBOR as CTAP2 has it: canonical, of bounded depth, without allocation (CTAP §8, "Message Encoding").
//!
//! Reading has two parts. [`validate`] walks a whole request once and refuses whatever is not canonical: lengths and
//! integers that are not the shortest, indefinite lengths, map keys out of order or twice, text that is not UTF-8,
//! more than [`DEPTH_MAX`] levels, bytes left over. What it let through is then read as [`Item`]s, each a view of
//! the request's bytes; a member nobody asks for is thereby ignored.

use heapless::VecView;

use crate::status::{Status, Step};

/// How many maps and arrays may lie in one another.
pub(crate) const DEPTH_MAX: usize = 4;

/// Refuses a request that is not one canonical CBOR item and nothing else.
///
/// # Errors
/// [`Status::InvalidCbor`].
pub(crate) fn validate(bytes: &[u8]) -> Step {
    let mut rest = bytes;
    walk(&mut rest, DEPTH_MAX)?;
    if rest.is_empty() { Ok(()) } else { Err(Status::InvalidCbor) }
}

fn walk(rest: &mut &[u8], depth: usize) -> Step {
    let (major, value) = header(rest)?;
    match major {
        UNSIGNED | NEGATIVE => {}
        BYTES => {
            take(rest, value)?;
        }
        TEXT => {
            core::str::from_utf8(take(rest, value)?).map_err(|_| Status::InvalidCbor)?;
        }
        ARRAY => {
            let depth = depth.checked_sub(1).ok_or(Status::InvalidCbor)?;
            for _ in 0..value {
                walk(rest, depth)?;
            }
        }
        MAP => {
            let depth = depth.checked_sub(1).ok_or(Status::InvalidCbor)?;
            let mut last: &[u8] = &[];
            for _ in 0..value {
                let start = *rest;
                walk(rest, 0)?;
                let key = &start[..start.len() - rest.len()];
                // Of two canonical keys, the one with the smaller bytes comes first; equal ones are a duplicate.
                if key <= last {
                    return Err(Status::InvalidCbor);
                }
                last = key;
                walk(rest, depth)?;
            }
        }
        SIMPLE if matches!(value, FALSE | TRUE | NULL | UNDEFINED) => {}
        _ => return Err(Status::InvalidCbor), // tags, floats, break
    }
    Ok(())
}

/// Reads an item's first byte and its argument; refuses an argument that is not the shortest.
fn header(rest: &mut &[u8]) -> Step<(u8, u64)> {
    let first = take(rest, 1)?[0];
    let (major, info) = (first >> 5, first & 0x1F);
    let width = match info {
        0..=23 => return Ok((major, u64::from(info))),
        24..=27 => 1_u64 << (info - 24),
        _ => return Err(Status::InvalidCbor), // reserved, or an indefinite length
    };
    let value = take(rest, width)?.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    let least = if width == 1 { 24 } else { 1 << (4 * width) };
    // A simple value in a second byte, and every float, ends here too: nothing in CTAP2 has one.
    if major == SIMPLE || value < least {
        return Err(Status::InvalidCbor);
    }
    Ok((major, value))
}

fn take<'a>(rest: &mut &'a [u8], length: u64) -> Step<&'a [u8]> {
    let length = usize::try_from(length).map_err(|_| Status::InvalidCbor)?;
    let (taken, left) = rest.split_at_checked(length).ok_or(Status::InvalidCbor)?;
    *rest = left;
    Ok(taken)
}

/// One validated CBOR item: a view of the request's bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item<'a>(&'a [u8]);

impl<'a> Item<'a> {
    /// Validates `bytes` as one item.
    pub(crate) fn parse(bytes: &'a [u8]) -> Step<Self> {
        validate(bytes)?;
        Ok(Item(bytes))
    }

    /// The item's encoding.
    pub(crate) fn raw(self) -> &'a [u8] {
        self.0
    }

    fn open(self, wanted: u8) -> Step<(u64, &'a [u8])> {
        let mut rest = self.0;
        match header(&mut rest)? {
            (major, value) if major == wanted => Ok((value, rest)),
            _ => Err(Status::CborUnexpectedType),
        }
    }

    pub(crate) fn unsigned(self) -> Step<u64> {
        Ok(self.open(UNSIGNED)?.0)
    }

    /// An unsigned integer that fits a byte; a larger one is not a value of any enumeration here.
    pub(crate) fn byte(self) -> Step<u8> {
        self.unsigned()?.try_into().map_err(|_| Status::InvalidParameter)
    }

    /// An integer that fits an `i32`, as COSE identifiers do.
    pub(crate) fn int(self) -> Step<i32> {
        let mut rest = self.0;
        let (major, value) = header(&mut rest)?;
        let value = i32::try_from(value).map_err(|_| Status::InvalidParameter)?;
        match major {
            UNSIGNED => Ok(value),
            NEGATIVE => Ok(-1 - value),
            _ => Err(Status::CborUnexpectedType),
        }
    }

    pub(crate) fn bytes(self) -> Step<&'a [u8]> {
        Ok(self.open(BYTES)?.1)
    }

    pub(crate) fn text(self) -> Step<&'a str> {
        core::str::from_utf8(self.open(TEXT)?.1).map_err(|_| Status::InvalidCbor)
    }

    pub(crate) fn boolean(self) -> Step<bool> {
        match self.open(SIMPLE)? {
            (FALSE, _) => Ok(false),
            (TRUE, _) => Ok(true),
            _ => Err(Status::CborUnexpectedType),
        }
    }

    pub(crate) fn array(self) -> Step<Items<'a>> {
        let (left, rest) = self.open(ARRAY)?;
        Ok(Items { left, rest })
    }

    pub(crate) fn map(self) -> Step<Map<'a>> {
        let (members, rest) = self.open(MAP)?;
        Ok(Map(Items { left: members * 2, rest }))
    }
}

/// The items of an array, one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Items<'a> {
    left: u64,
    rest: &'a [u8],
}

impl Items<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        self.left == 0
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        self.left = self.left.checked_sub(1)?;
        let start = self.rest;
        walk(&mut self.rest, DEPTH_MAX).ok()?; // validated before: it does not fail
        Some(Item(&start[..start.len() - self.rest.len()]))
    }
}

/// A map, whose members are looked up by key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Map<'a>(Items<'a>);

impl<'a> Map<'a> {
    /// A command's parameters: one map, or nothing at all for an empty one.
    pub(crate) fn parameters(bytes: &'a [u8]) -> Step<Self> {
        if bytes.is_empty() {
            return Ok(Map(Items { left: 0, rest: &[] }));
        }
        Item::parse(bytes)?.map()
    }

    pub(crate) fn entries(self) -> impl Iterator<Item = (Item<'a>, Item<'a>)> {
        let mut items = self.0;
        core::iter::from_fn(move || Some((items.next()?, items.next()?)))
    }

    /// The member with this integer key.
    pub(crate) fn get(self, key: i32) -> Option<Item<'a>> {
        self.entries().find(|(k, _)| k.int() == Ok(key)).map(|(_, value)| value)
    }

    /// The member with this text key.
    pub(crate) fn named(self, key: &str) -> Option<Item<'a>> {
        self.entries().find(|(k, _)| k.text() == Ok(key)).map(|(_, value)| value)
    }

    /// The member with this integer key, or the status for its absence.
    pub(crate) fn required(self, key: i32) -> Step<Item<'a>> {
        self.get(key).ok_or(Status::MissingParameter)
    }

    /// The member with this text key, or the status for its absence.
    pub(crate) fn required_named(self, key: &str) -> Step<Item<'a>> {
        self.named(key).ok_or(Status::MissingParameter)
    }
}

/// Writes CBOR behind what is in a buffer. Map keys are the caller's to put in order.
///
/// What does not fit is dropped and remembered: [`Writer::finish`] tells.
pub(crate) struct Writer<'m> {
    out: &'m mut VecView<u8>,
    overflow: bool,
}

impl<'m> Writer<'m> {
    pub(crate) fn new(out: &'m mut VecView<u8>) -> Self {
        Writer { out, overflow: false }
    }

    /// # Errors
    /// [`Status::LimitExceeded`] if something did not fit the buffer.
    pub(crate) fn finish(self) -> Step {
        if self.overflow { Err(Status::LimitExceeded) } else { Ok(()) }
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.overflow |= self.out.extend_from_slice(bytes).is_err();
        self
    }

    fn header(&mut self, major: u8, value: u64) -> &mut Self {
        let bytes = value.to_be_bytes();
        let (info, width) = match value {
            0..=23 => return self.raw(&[major << 5 | bytes[7]]),
            24..=0xFF => (24, 1),
            0x100..=0xFFFF => (25, 2),
            0x1_0000..=0xFFFF_FFFF => (26, 4),
            _ => (27, 8),
        };
        self.raw(&[major << 5 | info]).raw(&bytes[8 - width..])
    }

    pub(crate) fn unsigned(&mut self, value: u64) -> &mut Self {
        self.header(UNSIGNED, value)
    }

    pub(crate) fn int(&mut self, value: i32) -> &mut Self {
        match u64::try_from(value) {
            Ok(value) => self.header(UNSIGNED, value),
            Err(_) => self.header(NEGATIVE, u64::from((-1 - value).unsigned_abs())),
        }
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.header(BYTES, value.len() as u64).raw(value)
    }

    pub(crate) fn text(&mut self, value: &str) -> &mut Self {
        self.header(TEXT, value.len() as u64).raw(value.as_bytes())
    }

    pub(crate) fn boolean(&mut self, value: bool) -> &mut Self {
        self.header(SIMPLE, if value { TRUE } else { FALSE })
    }

    pub(crate) fn array(&mut self, length: usize) -> &mut Self {
        self.header(ARRAY, length as u64)
    }

    pub(crate) fn map(&mut self, members: usize) -> &mut Self {
        self.header(MAP, members as u64)
    }

    /// Writes a map whose members are counted as they are written.
    ///
    /// # Errors
    /// Those of `write`.
    pub(crate) fn counted_map(&mut self, write: impl FnOnce(&mut Members<'_, 'm>) -> Step) -> Step {
        let start = self.out.len();
        let mut members = Members { writer: self, count: 0 };
        write(&mut members)?;
        let (count, end) = (members.count, self.out.len());
        self.map(count);
        // The header was written last, and belongs first.
        let header = self.out.len() - end;
        let moved = &mut self.out[start..];
        moved.reverse();
        moved[..header].reverse();
        moved[header..].reverse();
        Ok(())
    }
}

/// The members of a [`Writer::counted_map`].
pub(crate) struct Members<'w, 'm> {
    writer: &'w mut Writer<'m>,
    count: usize,
}

impl<'m> Members<'_, 'm> {
    /// Begins a member with an integer key; its value is to be written next.
    pub(crate) fn int(&mut self, key: i32) -> &mut Writer<'m> {
        self.count += 1;
        self.writer.int(key)
    }

    /// Begins a member with a text key; its value is to be written next.
    pub(crate) fn text(&mut self, key: &str) -> &mut Writer<'m> {
        self.count += 1;
        self.writer.text(key)
    }
}

const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const SIMPLE: u8 = 7;
const FALSE: u64 = 20;
const TRUE: u64 = 21;
const NULL: u64 = 22;
const UNDEFINED: u64 = 23;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authenticator::Message;

    fn refused(bytes: &[u8]) {
        assert_eq!(validate(bytes), Err(Status::InvalidCbor), "{bytes:02x?}");
    }

    #[test]
    fn accepts_canonical_items() {
        for bytes in [
            &[0x00][..],
            &[0x18, 24],
            &[0x19, 1, 0],
            &[0x20],
            &[0x41, 0xFF],
            &[0x61, b'a'],
            &[0x80],
            &[0xA2, 0x01, 0x00, 0x02, 0x00],
            &[0xA2, 0x01, 0x00, 0x20, 0x00],
            &[0xA2, 0x61, b'b', 0x00, 0x62, b'a', b'a', 0x00],
            &[0xF4],
        ] {
            assert_eq!(validate(bytes), Ok(()), "{bytes:02x?}");
        }
    }

    #[test]
    fn refuses_arguments_that_are_not_the_shortest() {
        refused(&[0x18, 23]);
        refused(&[0x19, 0, 255]);
        refused(&[0x1A, 0, 0, 255, 255]);
        refused(&[0x1B, 0, 0, 0, 0, 255, 255, 255, 255]);
        refused(&[0x58, 1, 0]);
    }

    #[test]
    fn refuses_indefinite_lengths_tags_and_floats() {
        refused(&[0x5F, 0xFF]);
        refused(&[0x9F, 0xFF]);
        refused(&[0xBF, 0xFF]);
        refused(&[0xC0, 0x00]);
        refused(&[0xF9, 0, 0]);
        refused(&[0xFA, 0, 0, 0, 0]);
        refused(&[0xF8, 0xFF]);
    }

    #[test]
    fn refuses_keys_out_of_order_or_twice() {
        refused(&[0xA2, 0x02, 0x00, 0x01, 0x00]);
        refused(&[0xA2, 0x01, 0x00, 0x01, 0x00]);
        refused(&[0xA2, 0x62, b'a', b'a', 0x00, 0x61, b'b', 0x00]);
    }

    #[test]
    fn refuses_bytes_left_over_and_missing() {
        refused(&[0x00, 0x00]);
        refused(&[0x42, 0x00]);
        refused(&[0x82, 0x00]);
        refused(&[0xA1, 0x01]);
        refused(&[]);
    }

    #[test]
    fn refuses_text_that_is_not_utf8() {
        refused(&[0x61, 0xFF]);
    }

    #[test]
    fn refuses_the_fifth_level() {
        assert_eq!(validate(&[0x81, 0x81, 0x81, 0x81, 0x00]), Ok(()));
        refused(&[0x81, 0x81, 0x81, 0x81, 0x81, 0x00]);
        refused(&[0x81; 7000]);
        refused(&[0x9B, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]);
    }

    #[test]
    fn reads_back_what_it_writes() {
        let mut message = Message::new();
        let mut writer = Writer::new(&mut message);
        writer.map(4).int(1).unsigned(70_000).int(2).int(-65_537).int(3).bytes(b"ab").text("x").array(2);
        writer.boolean(true).text("é");
        assert_eq!(writer.finish(), Ok(()));
        let map = Item::parse(&message).unwrap().map().unwrap();
        assert_eq!(map.required(1).unwrap().unsigned(), Ok(70_000));
        assert_eq!(map.required(2).unwrap().int(), Ok(-65_537));
        assert_eq!(map.required(3).unwrap().bytes(), Ok(&b"ab"[..]));
        let mut items = map.required_named("x").unwrap().array().unwrap();
        assert_eq!(items.next().unwrap().boolean(), Ok(true));
        assert_eq!(items.next().unwrap().text(), Ok("é"));
        assert!(items.next().is_none());
        assert!(map.get(4).is_none());
        assert_eq!(map.required(3).unwrap().text(), Err(Status::CborUnexpectedType));
    }

    #[test]
    fn counts_the_members_of_a_map() {
        for count in [0_u8, 1, 23, 24, 40] {
            let mut message = Message::new();
            let mut writer = Writer::new(&mut message);
            writer.text("before");
            let written = writer.counted_map(|members| {
                for key in 0..count {
                    members.int(i32::from(key)).boolean(true);
                }
                Ok(())
            });
            assert_eq!((written, writer.finish()), (Ok(()), Ok(())));
            let map = Item::parse(&message[7..]).unwrap().map().unwrap();
            assert_eq!(map.entries().count(), usize::from(count));
        }
    }

    #[test]
    fn says_when_a_message_is_full() {
        let mut message = Message::new();
        let mut writer = Writer::new(&mut message);
        writer.bytes(&[0; crate::authenticator::MESSAGE_MAX]);
        assert_eq!(writer.finish(), Err(Status::LimitExceeded));
    }
}
