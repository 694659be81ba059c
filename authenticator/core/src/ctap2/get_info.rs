//! authenticatorGetInfo (CTAP §6.4): what this authenticator is and can do now.

mod moment;

use rand_core::CryptoRng;

use crate::attestation::Attestation;
use crate::authenticator::{Authenticator, MESSAGE_MAX, Message, Reply};
use crate::cbor::{Members, Writer};
use crate::configuration::{Configuration, Extension, MIN_PIN_RP_IDS_MAX, OptionId, Version};
use crate::credential::{CRED_BLOB_MAX, CREDENTIAL_ID_MAX};
use crate::status::Step;
use crate::store::{CredentialStore, LARGE_BLOBS_MAX};
use crate::time::Time;

use moment::Moment;

impl<S: CredentialStore, R: CryptoRng> Authenticator<S, R> {
    /// Never asks the user.
    ///
    /// A configuration that speaks no version of 2.1 or later has only the members of 2.0 and the preview of 2.1;
    /// one that does not speak 2.3 lacks those that came with 2.2 and 2.3.
    #[inline(never)]
    pub(crate) fn get_info(&mut self, _now: Time, response: &mut Message) -> Step<Reply> {
        let moment = Moment::of(self)?;
        let configuration = &self.configuration;
        let since_2_1 = configuration.speaks(Version::Fido2_1) || configuration.speaks(Version::Fido2_3);
        let mut writer = Writer::new(response);
        writer.counted_map(|members| {
            write_identity(configuration, &moment, members);
            write_options(configuration, &moment, members)?;
            write_limits(configuration, members);
            write_pin_policy(configuration, &moment, members);
            if since_2_1 {
                write_since_2_1(configuration, &moment, members);
            }
            if configuration.speaks(Version::Fido2_3) {
                write_since_2_2(configuration, &moment, members);
                self.write_since_2_3(&moment, members);
            }
            Ok(())
        })?;
        writer.finish()?;
        Ok(Reply::Done)
    }

    /// 0x1E and 0x1F, of CTAP 2.3.
    fn write_since_2_3(&self, moment: &Moment, members: &mut Members<'_, '_>) {
        if let Some([_, state]) = &moment.encrypted {
            members.int(0x1E).bytes(state);
        }
        #[cfg(feature = "authenticator-config")]
        if self.configuration.offers(OptionId::AuthnrCfg) {
            let commands = members.int(0x1F).array(self.config_commands().count());
            for command in self.config_commands() {
                commands.unsigned(command.into());
            }
        }
    }

    /// remainingDiscoverableCredentials: what the store and the configuration leave.
    pub(crate) fn remaining_credentials(&mut self) -> Step<u32> {
        let limit = self.configuration.limits.max_discoverable_credentials;
        Ok(self.store.remaining()?.min(limit.saturating_sub(self.store.len()?)))
    }
}

/// 0x01 to 0x03: versions, extensions, aaguid. U2F cannot verify anyone, so alwaysUv takes it back (§7.2.4).
fn write_identity(configuration: &Configuration, moment: &Moment, members: &mut Members<'_, '_>) {
    let offered = |version: &&Version| {
        configuration.speaks(**version) && (**version != Version::U2fV2 || !moment.settings.always_uv)
    };
    let versions = || configuration.versions.iter().filter(offered);
    let list = members.int(0x01).array(versions().count());
    for version in versions() {
        list.text(version.name());
    }
    let extensions = || configuration.extensions.iter().filter(|extension| extension.is_built());
    let count = extensions().count();
    if count > 0 {
        let list = members.int(0x02).array(count);
        for extension in extensions() {
            list.text(extension.name());
        }
    }
    members.int(0x03).bytes(&configuration.aaguid);
}

/// 0x04: the options that are offered, each with its value of this moment.
fn write_options(configuration: &Configuration, moment: &Moment, members: &mut Members<'_, '_>) -> Step {
    members.int(0x04).counted_map(|options| {
        let listed = |option: &&OptionId| configuration.offers(**option) && moment.lists(**option);
        for option in OptionId::ALL.iter().filter(listed) {
            options.text(option.name()).boolean(moment.option(*option));
        }
        Ok(())
    })
}

/// 0x05 to 0x0B: sizes, numbers and lists.
fn write_limits(configuration: &Configuration, members: &mut Members<'_, '_>) {
    let limits = &configuration.limits;
    let message = usize::from(limits.max_message_size).min(MESSAGE_MAX);
    members.int(0x05).unsigned(message as u64);
    // hmac-secret takes its salts by a protocol's key agreement, also where there is nothing to verify with (§12.7).
    let takes_part = configuration.offers(OptionId::ClientPin)
        || configuration.offers(OptionId::PinUvAuthToken)
        || configuration.extends(Extension::HmacSecret);
    if takes_part && !configuration.pin_uv_auth_protocols.is_empty() {
        let protocols = members.int(0x06).array(configuration.pin_uv_auth_protocols.len());
        for protocol in &configuration.pin_uv_auth_protocols {
            protocols.unsigned(u64::from(*protocol));
        }
    }
    if limits.max_credential_count_in_list > 0 {
        members.int(0x07).unsigned(u64::from(limits.max_credential_count_in_list));
    }
    let id = usize::from(limits.max_credential_id_length).min(CREDENTIAL_ID_MAX);
    members.int(0x08).unsigned(id as u64);
    if !configuration.transports.is_empty() {
        let transports = members.int(0x09).array(configuration.transports.len());
        for transport in &configuration.transports {
            transports.text(transport.name());
        }
    }
    if !configuration.algorithms.is_empty() {
        let algorithms = members.int(0x0A).array(configuration.algorithms.len());
        for algorithm in &configuration.algorithms {
            algorithms.map(2).text("alg").int(algorithm.cose()).text("type").text("public-key");
        }
    }
    if configuration.offers(OptionId::LargeBlobs) {
        let array = usize::from(limits.max_serialized_large_blob_array).min(LARGE_BLOBS_MAX);
        members.int(0x0B).unsigned(array as u64);
    }
}

/// 0x0C to 0x0E: forcePINChange, minPINLength, firmwareVersion.
fn write_pin_policy(configuration: &Configuration, moment: &Moment, members: &mut Members<'_, '_>) {
    if configuration.offers(OptionId::ClientPin) {
        members.int(0x0C).boolean(moment.settings.force_pin_change);
        members.int(0x0D).unsigned(moment.settings.min_pin_length.into());
    }
    if let Some(version) = configuration.firmware_version {
        members.int(0x0E).unsigned(u64::from(version));
    }
}

/// 0x0F to 0x15, of CTAP 2.1.
fn write_since_2_1(configuration: &Configuration, moment: &Moment, members: &mut Members<'_, '_>) {
    let limits = &configuration.limits;
    if configuration.extends(Extension::CredBlob) {
        let blob = usize::from(limits.max_cred_blob_length).min(CRED_BLOB_MAX);
        members.int(0x0F).unsigned(blob as u64);
    }
    if configuration.offers(OptionId::SetMinPinLength) {
        let rp_ids = usize::from(limits.max_rp_ids_for_set_min_pin_length).min(MIN_PIN_RP_IDS_MAX);
        members.int(0x10).unsigned(rp_ids as u64);
    }
    let verifies = configuration.offers(OptionId::Uv);
    if let Some(attempts) = configuration.preferred_platform_uv_attempts.filter(|_| verifies) {
        members.int(0x11).unsigned(attempts.into());
    }
    if let Some(modality) = configuration.uv_modality.filter(|_| verifies) {
        members.int(0x12).unsigned(modality.into());
    }
    if !configuration.certifications.is_empty() {
        let certifications = members.int(0x13).map(configuration.certifications.len());
        for (name, level) in &configuration.certifications {
            certifications.text(name).unsigned(u64::from(*level));
        }
    }
    if configuration.offers(OptionId::Rk) {
        members.int(0x14).unsigned(u64::from(moment.remaining));
    }
    if cfg!(feature = "authenticator-config") && !configuration.vendor_prototype_config_commands.is_empty() {
        let commands = members.int(0x15).array(configuration.vendor_prototype_config_commands.len());
        for command in &configuration.vendor_prototype_config_commands {
            commands.unsigned(*command);
        }
    }
}

/// 0x16 to 0x1D, of CTAP 2.2.
fn write_since_2_2(configuration: &Configuration, moment: &Moment, members: &mut Members<'_, '_>) {
    write_attestation_formats(configuration, members);
    if configuration.offers(OptionId::Uv) {
        members.int(0x17).unsigned(moment.uv_count.into());
    }
    if configuration.long_touch_for_reset.is_some() {
        members.int(0x18).boolean(moment.settings.long_touch_for_reset);
    }
    if let Some([identifier, _]) = &moment.encrypted {
        members.int(0x19).bytes(identifier);
    }
    if !configuration.transports_for_reset.is_empty() {
        let transports = members.int(0x1A).array(configuration.transports_for_reset.len());
        for transport in &configuration.transports_for_reset {
            transports.text(transport.name());
        }
    }
    if configuration.offers(OptionId::ClientPin) {
        members.int(0x1B).boolean(moment.settings.pin_complexity);
        if let Some(url) = &configuration.pin_complexity_url {
            members.int(0x1C).bytes(url.as_bytes());
        }
        members.int(0x1D).unsigned(configuration.max_pin_length.into());
    }
}

/// 0x16: each attestation format once.
fn write_attestation_formats(configuration: &Configuration, members: &mut Members<'_, '_>) {
    let formats = || {
        let all = configuration.attestation.iter().map(Attestation::format);
        all.enumerate().filter(|(index, format)| {
            !configuration.attestation[..*index].iter().any(|earlier| earlier.format() == *format)
        })
    };
    let count = formats().count();
    if count > 0 {
        let list = members.int(0x16).array(count);
        for (_, format) in formats() {
            list.text(format);
        }
    }
}
