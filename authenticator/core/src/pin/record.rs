//! What is kept of PIN and user verification, and how (CTAP §6.5.2, "stored state").

use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::cbor::{Item, Writer};
use crate::status::Step;
use crate::store::{CredentialStore, Slot, StoreError};

/// The most bytes of an encoded record; [`Slot::Pin`] takes 128.
const ENCODED_MAX: usize = 96;

/// [`Slot::Pin`] as it is read and written: the stored state of PIN and user verification.
///
/// A canonical CBOR map; members at their default are left out, unknown ones are ignored.
///
/// | key | member | default |
/// |---|---|---|
/// | 1 | CurrentStoredPIN: the first 16 bytes of the PIN's SHA-256 | no PIN is set |
/// | 2 | PINCodePointLength | 0 |
/// | 3 | wrong PINs in a row: what pinRetries lacks to its maximum | 0 |
/// | 4 | failed verifications in a row: what uvRetries lacks to its maximum | 0 |
/// | 5 | verifications by the built-in method since the last PIN entry | 0 |
/// | 6 | the persistent pinUvAuthToken | none was issued |
#[derive(Clone, Debug, Zeroize, ZeroizeOnDrop)]
pub(crate) struct PinRecord {
    pin: Option<StoredPin>,
    pub(crate) wrong_pins: u8,
    pub(crate) failed_verifications: u8,
    pub(crate) uv_count: u32,
    pub(crate) persistent_token: Option<[u8; 32]>,
}

/// All that is kept of a PIN.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
struct StoredPin {
    hash: [u8; 16],
    code_points: u8,
}

/// Whether both are kept as the same bytes, in constant time.
impl PartialEq for PinRecord {
    fn eq(&self, other: &Self) -> bool {
        self.encode().ct_eq(&other.encode()).into()
    }
}

impl core::fmt::Debug for StoredPin {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("StoredPin(…)")
    }
}

impl PinRecord {
    /// The state after a reset.
    pub(crate) const fn new() -> Self {
        PinRecord { pin: None, wrong_pins: 0, failed_verifications: 0, uv_count: 0, persistent_token: None }
    }

    /// Reads the record; what was never written is as after a reset.
    ///
    /// # Errors
    /// [`Status::Other`](crate::Status::Other) for a slot that cannot be read or is not a record: never "no PIN".
    pub(crate) fn load(store: &mut impl CredentialStore) -> Step<Self> {
        let mut buffer = Zeroizing::new([0; 128]);
        match store.read(Slot::Pin, &mut *buffer)? {
            None => Ok(PinRecord::new()),
            Some(length) => Ok(Self::decode(&buffer[..length]).ok_or(StoreError::Fault)?),
        }
    }

    /// Writes the record; durable when it returns.
    pub(crate) fn save(&self, store: &mut impl CredentialStore) -> Step {
        Ok(store.write(Slot::Pin, &self.encode())?)
    }

    pub(crate) fn is_pin_set(&self) -> bool {
        self.pin.is_some()
    }

    /// PINCodePointLength; `None` without a PIN.
    pub(crate) fn pin_length(&self) -> Option<u8> {
        self.pin.as_ref().map(|pin| pin.code_points)
    }

    pub(crate) fn set_pin(&mut self, hash: &[u8; 16], code_points: u8) {
        self.pin = Some(StoredPin { hash: *hash, code_points });
    }

    /// Whether this is the hash of the PIN, compared in constant time; `false` without a PIN.
    pub(crate) fn is_pin(&self, hash: &[u8]) -> bool {
        self.pin.as_ref().is_some_and(|pin| pin.hash.ct_eq(hash).into())
    }

    /// The record as it is kept.
    pub(super) fn encode(&self) -> Zeroizing<heapless::Vec<u8, ENCODED_MAX>> {
        let mut out = Zeroizing::new(heapless::Vec::new());
        let members = 3 + 2 * usize::from(self.pin.is_some()) + usize::from(self.persistent_token.is_some());
        let mut writer = Writer::new(&mut *out);
        writer.map(members);
        if let Some(pin) = &self.pin {
            writer.int(1).bytes(&pin.hash).int(2).unsigned(pin.code_points.into());
        }
        writer.int(3).unsigned(self.wrong_pins.into()).int(4).unsigned(self.failed_verifications.into());
        writer.int(5).unsigned(self.uv_count.into());
        if let Some(token) = &self.persistent_token {
            writer.int(6).bytes(token);
        }
        writer.finish().expect("the longest record is 76 bytes");
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let map = Item::parse(bytes).ok()?.map().ok()?;
        let number = |key| map.get(key).map_or(Ok(0), |item| item.unsigned()).ok();
        let pin = match map.get(1) {
            Some(hash) => Some(StoredPin {
                hash: hash.bytes().ok()?.try_into().ok()?,
                code_points: number(2)?.try_into().ok()?,
            }),
            None => None,
        };
        let persistent_token = match map.get(6) {
            Some(token) => Some(token.bytes().ok()?.try_into().ok()?),
            None => None,
        };
        Some(PinRecord {
            pin,
            wrong_pins: number(3)?.try_into().ok()?,
            failed_verifications: number(4)?.try_into().ok()?,
            uv_count: number(5)?.try_into().ok()?,
            persistent_token,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_encoding() {
        let mut record = PinRecord::new();
        assert_eq!(PinRecord::decode(&record.encode()), Some(record.clone()));
        record.set_pin(&[7; 16], 63);
        (record.wrong_pins, record.failed_verifications) = (255, 255);
        (record.uv_count, record.persistent_token) = (u32::MAX, Some([9; 32]));
        let encoded = record.encode();
        assert_eq!(PinRecord::decode(&encoded), Some(record));
        for length in 0..encoded.len() {
            assert_eq!(PinRecord::decode(&encoded[..length]), None);
        }
    }

    #[test]
    fn no_pin_is_no_hash_of_a_pin() {
        let mut record = PinRecord::new();
        assert!(!record.is_pin(&[0; 16]));
        record.set_pin(&[1; 16], 4);
        assert!(record.is_pin(&[1; 16]));
        assert!(!record.is_pin(&[1; 15]));
        assert!(!record.is_pin(&[]));
    }
}
