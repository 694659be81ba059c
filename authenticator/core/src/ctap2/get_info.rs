//! authenticatorGetInfo (CTAP §6.4): what this authenticator is and can do now.

use rand_core::CryptoRng;

use crate::attestation::Attestation;
use crate::authenticator::{Authenticator, MESSAGE_MAX, Message, Reply};
use crate::cbor::{Members, Writer};
use crate::configuration::{Configuration, Extension, OptionId};
use crate::credential::{CRED_BLOB_MAX, CREDENTIAL_ID_MAX};
use crate::status::Step;
use crate::store::{CredentialStore, LARGE_BLOBS_MAX};
use crate::time::Time;

impl<S: CredentialStore, R: CryptoRng> Authenticator<S, R> {
    /// Never asks the user.
    pub(crate) fn get_info(&mut self, _now: Time, response: &mut Message) -> Step<Reply> {
        let remaining = self.remaining_credentials()?;
        let mut writer = Writer::new(response);
        let configuration = &self.configuration;
        writer.counted_map(|members| {
            write_identity(configuration, members);
            write_options(configuration, members)?;
            write_limits(configuration, members);
            members.int(0x14).unsigned(u64::from(remaining));
            write_attestation_formats(configuration, members);
            Ok(())
        })?;
        writer.finish()?;
        Ok(Reply::Done)
    }

    /// remainingDiscoverableCredentials: what the store and the configuration leave.
    pub(crate) fn remaining_credentials(&mut self) -> Step<u32> {
        let limit = self.configuration.limits.max_discoverable_credentials;
        Ok(self.store.remaining()?.min(limit.saturating_sub(self.store.len()?)))
    }
}

/// 0x01 to 0x03: versions, extensions, aaguid.
fn write_identity(configuration: &Configuration, members: &mut Members<'_, '_>) {
    let versions = members.int(0x01).array(configuration.versions.len());
    for version in &configuration.versions {
        versions.text(version.name());
    }
    if !configuration.extensions.is_empty() {
        let extensions = members.int(0x02).array(configuration.extensions.len());
        for extension in &configuration.extensions {
            extensions.text(extension.name());
        }
    }
    members.int(0x03).bytes(&configuration.aaguid);
}

/// 0x04: the options that are offered, each with its value of this moment.
fn write_options(configuration: &Configuration, members: &mut Members<'_, '_>) -> Step {
    members.int(0x04).counted_map(|options| {
        for option in OptionId::ALL.iter().filter(|option| configuration.offers(**option)) {
            options.text(option.name()).boolean(true);
        }
        Ok(())
    })
}

/// 0x05 to 0x0F, what does not change.
fn write_limits(configuration: &Configuration, members: &mut Members<'_, '_>) {
    let limits = &configuration.limits;
    let message = usize::from(limits.max_message_size).min(MESSAGE_MAX);
    members.int(0x05).unsigned(message as u64);
    if configuration.offers(OptionId::ClientPin) || configuration.offers(OptionId::PinUvAuthToken) {
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
    if let Some(version) = configuration.firmware_version {
        members.int(0x0E).unsigned(u64::from(version));
    }
    if configuration.extends(Extension::CredBlob) {
        let blob = usize::from(limits.max_cred_blob_length).min(CRED_BLOB_MAX);
        members.int(0x0F).unsigned(blob as u64);
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
