//! What authenticatorConfig can change, and what is kept of it in [`Slot::Configuration`].
//!
//! A canonical CBOR map; members at their default are left out, unknown ones ignored.
//!
//! | key | member |
//! |---|---|
//! | 1 | alwaysUv, where it was toggled |
//! | 2 | enterprise attestation enabled |
//! | 3 | minimum PIN length, where it was set |
//! | 4 | SHA-256 of the RP IDs that are told the minimum PIN length, one after the other |
//! | 5 | the PIN must be changed before it serves again |
//! | 6 | authenticatorReset asks for a long touch, where it was chosen |
//! | 7 | the PIN complexity policy is in force |

use heapless::Vec;

use crate::authenticator::Authenticator;
use crate::cbor::{Item, Writer};
use crate::configuration::{Configuration, MIN_PIN_RP_IDS_MAX};
use crate::status::{Status, Step};
use crate::store::{CredentialStore, Slot, StoreError};

/// The values that are in force: the configuration's, or what was set since.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) always_uv: bool,
    pub(crate) enterprise_attestation: bool,
    pub(crate) min_pin_length: u8,
    /// SHA-256 of the RP IDs that are told the minimum PIN length and the complexity policy.
    pub(crate) min_pin_rp_id_hashes: Vec<[u8; 32], MIN_PIN_RP_IDS_MAX>,
    pub(crate) force_pin_change: bool,
    pub(crate) long_touch_for_reset: bool,
    pub(crate) pin_complexity: bool,
}

impl<S: CredentialStore, R> Authenticator<S, R> {
    /// The settings in force. Read from the store each time: others may change it between two commands.
    pub(crate) fn settings(&mut self) -> Step<Settings> {
        let mut buffer = [0; SETTINGS_MAX];
        let factory = Settings::factory(&self.configuration);
        match self.store.read(Slot::Configuration, &mut buffer)? {
            // What cannot be read is not "nothing was set": that would lift what an administrator imposed.
            Some(length) => factory.overlaid(&buffer[..length]).map_err(|_| Status::Other),
            None => Ok(factory),
        }
    }

    /// Keeps these settings; durable when it returns.
    pub(crate) fn save_settings(&mut self, settings: &Settings) -> Result<(), StoreError> {
        let mut out = Vec::<u8, SETTINGS_MAX>::new();
        settings.encode(&Settings::factory(&self.configuration), &mut out);
        self.store.write(Slot::Configuration, &out)
    }
}

impl Settings {
    /// Whether this RP is told the minimum PIN length and the complexity policy.
    pub(crate) fn tells_pin_policy(&self, rp_id_hash: &[u8; 32]) -> bool {
        self.min_pin_rp_id_hashes.contains(rp_id_hash)
    }

    fn factory(configuration: &Configuration) -> Self {
        Settings {
            always_uv: configuration.always_uv,
            enterprise_attestation: configuration.enterprise_attestation,
            min_pin_length: configuration.min_pin_length,
            min_pin_rp_id_hashes: Vec::new(),
            force_pin_change: false,
            long_touch_for_reset: configuration.long_touch_for_reset.unwrap_or(false),
            pin_complexity: configuration.pin_complexity,
        }
    }

    fn overlaid(mut self, bytes: &[u8]) -> Step<Self> {
        let map = Item::parse(bytes)?.map()?;
        let flags = [
            (1, &mut self.always_uv),
            (2, &mut self.enterprise_attestation),
            (5, &mut self.force_pin_change),
            (6, &mut self.long_touch_for_reset),
            (7, &mut self.pin_complexity),
        ];
        for (key, flag) in flags {
            if let Some(item) = map.get(key) {
                *flag = item.boolean()?;
            }
        }
        if let Some(item) = map.get(3) {
            self.min_pin_length = item.byte()?;
        }
        if let Some(item) = map.get(4) {
            let (hashes, _) = item.bytes()?.as_chunks::<32>();
            self.min_pin_rp_id_hashes = Vec::from_slice(hashes).map_err(|_| Status::Other)?;
        }
        Ok(self)
    }

    fn encode(&self, factory: &Settings, out: &mut Vec<u8, SETTINGS_MAX>) {
        let flags = [
            (1, self.always_uv, factory.always_uv),
            (2, self.enterprise_attestation, factory.enterprise_attestation),
            (5, self.force_pin_change, factory.force_pin_change),
            (6, self.long_touch_for_reset, factory.long_touch_for_reset),
            (7, self.pin_complexity, factory.pin_complexity),
        ];
        let mut writer = Writer::new(out);
        let written = writer.counted_map(|members| {
            for (key, now, _) in flags[..2].iter().filter(|(_, now, before)| now != before) {
                members.int(*key).boolean(*now);
            }
            if self.min_pin_length != factory.min_pin_length {
                members.int(3).unsigned(u64::from(self.min_pin_length));
            }
            if !self.min_pin_rp_id_hashes.is_empty() {
                members.int(4).bytes(self.min_pin_rp_id_hashes.as_flattened());
            }
            for (key, now, _) in flags[2..].iter().filter(|(_, now, before)| now != before) {
                members.int(*key).boolean(*now);
            }
            Ok(())
        });
        let written = written.and(writer.finish());
        written.expect("five flags, a byte and eight hashes are less than 400 bytes");
    }
}

const SETTINGS_MAX: usize = 400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_survive_encoding() {
        let factory = Settings::factory(&Configuration::default());
        let changed = Settings {
            always_uv: !factory.always_uv,
            enterprise_attestation: !factory.enterprise_attestation,
            min_pin_length: 9,
            min_pin_rp_id_hashes: Vec::from_array([[7; 32]; MIN_PIN_RP_IDS_MAX]),
            force_pin_change: true,
            long_touch_for_reset: !factory.long_touch_for_reset,
            pin_complexity: !factory.pin_complexity,
        };
        for settings in [&factory, &changed] {
            let mut bytes = Vec::new();
            settings.encode(&factory, &mut bytes);
            assert_eq!(factory.clone().overlaid(&bytes).as_ref(), Ok(settings));
        }
    }

    #[test]
    fn damaged_settings_are_a_fault_and_not_the_factory_s() {
        assert!(Settings::default().overlaid(&[0xA1, 0x01]).is_err());
        assert!(Settings::default().overlaid(&[0xA1, 0x01, 0x00]).is_err());
    }
}
