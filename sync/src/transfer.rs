//! Handing a file of passkeys to somebody: HPKE (RFC 9180, base mode, the suites of `crypto.rs`) to a key that the
//! receiver made for it.
//!
//! What is sealed is the encapsulated key and AES-256-GCM of the whole, bound to `transfer/1` and the receiver's key.
//! Nothing says who sealed it: whoever imports judges by where the file came from.

use alloc::string::String;
use alloc::vec::Vec;

use rand_core::CryptoRng;
use zeroize::{Zeroize as _, Zeroizing};

use crate::crypto::{DeviceKeys, Suite, wrap};
use crate::text;

/// What comes before the text of a [`Recipient`].
const PREFIX: &str = "DOPPELKEY-TO:";

/// The receiver's key. Zeroized when dropped.
pub struct TransferKey(DeviceKeys);

/// The public half, for whoever sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient(Vec<u8>);

impl TransferKey {
    /// A new one.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        TransferKey(DeviceKeys::generate(Suite::P256, rng))
    }

    /// For a file that only the receiver reads: the secret with a checksum.
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(text::encode("transfer key", &[self.0.identity, self.0.encryption_seed].concat()))
    }

    /// Reads it back. `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = text::decode("transfer key", text.trim())?;
        let keys = bytes.split_first_chunk::<32>().and_then(|(identity, seed)| {
            DeviceKeys::from_secrets(Suite::P256, identity, seed.try_into().ok()?, 0)
        });
        bytes.zeroize();
        keys.map(TransferKey)
    }

    /// What to tell who sends.
    pub fn recipient(&self) -> Recipient {
        Recipient(self.0.public.encryption.clone())
    }

    /// What was sealed to this key. `None` for what was not, or is not as it was.
    pub fn open(&self, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        self.0.unwrap(sealed, &info(&self.0.public.encryption))
    }
}

impl Recipient {
    /// Upper case and digits, with a checksum.
    pub fn to_text(&self) -> String {
        let mut text = String::from(PREFIX);
        text.push_str(&text::encode("transfer to", &self.0));
        text
    }

    /// Reads it back. `None` for a mistyped one.
    pub fn parse(text: &str) -> Option<Self> {
        text::decode("transfer to", text.trim().strip_prefix(PREFIX)?).map(Recipient)
    }

    /// Seals to it. `None` if this is no point of the curve.
    pub fn seal(&self, plaintext: &[u8], rng: &mut impl CryptoRng) -> Option<Vec<u8>> {
        wrap(Suite::P256, &self.0, &info(&self.0), plaintext, rng)
    }
}

fn info(encryption: &[u8]) -> Vec<u8> {
    [b"transfer/1".as_slice(), encryption].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded::Seeded;

    #[test]
    fn only_the_receiver_opens_what_was_sealed_and_only_as_it_was() {
        let mut rng = Seeded::new(1);
        let (key, other) = (TransferKey::generate(&mut rng), TransferKey::generate(&mut rng));
        let recipient = Recipient::parse(&key.recipient().to_text()).unwrap();
        let sealed = recipient.seal(b"passkeys", &mut rng).unwrap();
        let again = TransferKey::parse(&key.to_text()).unwrap();
        assert_eq!(**again.open(&sealed).unwrap(), *b"passkeys");
        assert!(other.open(&sealed).is_none());
        for index in 0..sealed.len() {
            let mut wrong = sealed.clone();
            wrong[index] ^= 1;
            assert!(key.open(&wrong).is_none(), "byte {index}");
        }
        assert!(Recipient::parse("DOPPELKEY-TO:AAAA").is_none() && TransferKey::parse("AAAA").is_none());
    }
}
