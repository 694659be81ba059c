//! Fingerprints of the simulated sensor: names for templates that are not there.
//!
//! The sensor recognises whom the answer to a prompt says it does. What is kept is what a platform can see: that
//! something is enrolled, under which id and name.

use heapless::{String, Vec};

use crate::cbor::{Item, Writer};
use crate::status::Step;
use crate::store::{CredentialStore, Slot, StoreError};

/// The most fingerprints a sensor takes; a configuration may set fewer.
pub(crate) const FINGERPRINTS_MAX: usize = 10;
/// The length in bytes of a template id.
pub(crate) const TEMPLATE_ID: usize = 4;
/// The longest name of a fingerprint in bytes: maxTemplateFriendlyName.
pub(crate) const FRIENDLY_NAME_MAX: usize = 64;

/// The most bytes of encoded fingerprints; [`Slot::Fingerprints`] takes 1,024.
const ENCODED_MAX: usize = 1 + FINGERPRINTS_MAX * (1 + 1 + 1 + TEMPLATE_ID + 1 + 2 + FRIENDLY_NAME_MAX);

/// An enrolled fingerprint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    pub(crate) id: [u8; TEMPLATE_ID],
    /// Empty until it is given.
    pub(crate) name: String<FRIENDLY_NAME_MAX>,
}

/// [`Slot::Fingerprints`]: a CBOR array of maps with the keys 1 (template id) and 2 (name).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fingerprints(Vec<Fingerprint, FINGERPRINTS_MAX>);

/// An enrolment that is under way; gone with power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Enrolment {
    pub(crate) id: [u8; TEMPLATE_ID],
    /// Good samples still to come.
    pub(crate) remaining: u8,
}

impl Fingerprints {
    pub(crate) fn load(store: &mut impl CredentialStore) -> Step<Self> {
        let mut buffer = [0; 1024];
        match store.read(Slot::Fingerprints, &mut buffer)? {
            None => Ok(Fingerprints::default()),
            Some(length) => Ok(Self::decode(&buffer[..length]).ok_or(StoreError::Fault)?),
        }
    }

    /// Writes them; durable when it returns.
    pub(crate) fn save(&self, store: &mut impl CredentialStore) -> Step {
        Ok(store.write(Slot::Fingerprints, &self.encode())?)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Fingerprint> {
        self.0.iter()
    }

    /// Adds one without a name; `false` if there is no room.
    pub(crate) fn add(&mut self, id: [u8; TEMPLATE_ID]) -> bool {
        self.0.push(Fingerprint { id, name: String::new() }).is_ok()
    }

    pub(crate) fn find(&mut self, id: &[u8]) -> Option<&mut Fingerprint> {
        self.0.iter_mut().find(|fingerprint| fingerprint.id == id)
    }

    /// Forgets one; `false` if there is none with this id.
    pub(crate) fn remove(&mut self, id: &[u8]) -> bool {
        let before = self.0.len();
        self.0.retain(|fingerprint| fingerprint.id != id);
        self.0.len() < before
    }

    fn encode(&self) -> Vec<u8, ENCODED_MAX> {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        writer.array(self.0.len());
        for Fingerprint { id, name } in &self.0 {
            writer.map(2).int(1).bytes(id).int(2).text(name);
        }
        writer.finish().expect("the buffer is sized for the most and the longest");
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fingerprints = Vec::new();
        for item in Item::parse(bytes).ok()?.array().ok()? {
            let map = item.map().ok()?;
            let id = map.get(1)?.bytes().ok()?.try_into().ok()?;
            let name = String::try_from(map.get(2)?.text().ok()?).ok()?;
            fingerprints.push(Fingerprint { id, name }).ok()?;
        }
        Some(Fingerprints(fingerprints))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_fingerprints_with_the_longest_names_survive_encoding() {
        let mut fingerprints = Fingerprints::default();
        assert_eq!(Fingerprints::decode(&fingerprints.encode()), Some(fingerprints.clone()));
        for number in 0..FINGERPRINTS_MAX {
            let id = [number as u8; TEMPLATE_ID];
            assert!(fingerprints.add(id));
            let longest = core::str::from_utf8(&[b'n'; FRIENDLY_NAME_MAX]).unwrap().try_into().unwrap();
            fingerprints.find(&id).unwrap().name = longest;
        }
        assert!(!fingerprints.add([99; TEMPLATE_ID]));
        let encoded = fingerprints.encode();
        assert!(encoded.len() <= 1024);
        assert_eq!(Fingerprints::decode(&encoded), Some(fingerprints));
        assert_eq!(Fingerprints::decode(&encoded[..encoded.len() - 1]), None);
    }
}
