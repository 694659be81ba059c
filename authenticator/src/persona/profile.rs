//! What a persona's TOML file says. Every member but `description` can be left out; then it is as Doppelkey's own.

use doppelkey_core::{Algorithm, Configuration, Extension, List, OptionId, Transport, Version, list};
use serde::{Deserialize, Serialize};

use crate::text::{algorithm_name, from_hex, hex};

/// A persona's file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// What this pretends to be, in one line.
    pub description: String,
    /// Where what is said here can be looked up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The AAGUID, as a UUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aaguid: Option<String>,
    /// The attestation statement format of new credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attestation: Option<Format>,
    /// Whether there is enterprise attestation too, with a serial number in its certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enterprise: Option<bool>,
    /// Whether it is enabled from the factory, and not only by authenticatorConfig, which a reset takes back [true].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enterprise_enabled: Option<bool>,
    /// The RP IDs that get enterprise attestation of the vendor's choice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub enterprise_rp_ids: Vec<String>,
    /// getInfo firmwareVersion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware_version: Option<u32>,
    /// getInfo versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub versions: Option<Vec<String>>,
    /// getInfo extensions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Vec<String>>,
    /// The options that are offered; which are true depends on what is set up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<Vec<String>>,
    /// The algorithms, by JOSE name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithms: Option<Vec<String>>,
    /// getInfo transports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transports: Option<Vec<String>>,
    /// getInfo pinUvAuthProtocols.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin_uv_auth_protocols: Option<Vec<u8>>,
    /// getInfo maxMsgSize.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_message_size: Option<u16>,
    /// getInfo maxCredentialCountInList.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_credential_count_in_list: Option<u16>,
    /// getInfo maxCredentialIdLength.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_credential_id_length: Option<u16>,
    /// How many discoverable credentials there is room for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_discoverable_credentials: Option<u32>,
    /// How often a PIN may be tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin_retries: Option<u8>,
    /// How often built-in verification may fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uv_retries: Option<u8>,
    /// getInfo minPINLength.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_pin_length: Option<u8>,
    /// Whether alwaysUv is on from the factory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub always_uv: Option<bool>,
    /// BE of new credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_eligible: Option<bool>,
    /// BS of new credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_state: Option<bool>,
    /// Whether every credential is discoverable, asked for or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub always_discoverable: Option<bool>,
    /// Whether it has a display, on which its user chooses among several accounts; else the platform chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display: Option<bool>,
}

/// Attestation statement formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// No attestation.
    None,
    /// `packed`, signed with the credential's own key.
    PackedSelf,
    /// `packed`, with a certificate.
    Packed,
    /// `fido-u2f`.
    FidoU2f,
    /// `tpm`.
    Tpm,
    /// `android-key`.
    AndroidKey,
    /// `apple`.
    Apple,
    /// `compound`: packed with a certificate, and packed self.
    Compound,
}

impl Profile {
    /// The authenticator this describes, without its certificates.
    ///
    /// # Errors
    /// Which member is wrong, and why.
    pub fn configuration(&self) -> Result<Configuration, String> {
        let mut configuration = Configuration::default();
        if let Some(aaguid) = &self.aaguid {
            configuration.aaguid =
                parse_uuid(aaguid).ok_or_else(|| format!("aaguid {aaguid:?} is no UUID"))?;
        }
        configuration.firmware_version = self.firmware_version.or(configuration.firmware_version);
        set(&mut configuration.versions, "versions", &self.versions, Version::from_name)?;
        set(&mut configuration.extensions, "extensions", &self.extensions, Extension::from_name)?;
        set(&mut configuration.options, "options", &self.options, OptionId::from_name)?;
        set(&mut configuration.algorithms, "algorithms", &self.algorithms, algorithm)?;
        set(&mut configuration.transports, "transports", &self.transports, Transport::from_name)?;
        if let Some(protocols) = &self.pin_uv_auth_protocols {
            configuration.pin_uv_auth_protocols = list(protocols);
        }
        if self.enterprise == Some(true) {
            configuration.set_option(OptionId::Ep, true);
            configuration.enterprise_attestation = self.enterprise_enabled.unwrap_or(true);
        }
        for rp_id in &self.enterprise_rp_ids {
            let full = || "enterprise_rp_ids has more, or longer ones, than there is room for".to_owned();
            let rp_id = heapless::String::try_from(rp_id.as_str()).map_err(|_| full())?;
            configuration.enterprise_rp_ids.push(rp_id).map_err(|_| full())?;
        }
        let limits = &mut configuration.limits;
        copy(&mut limits.max_message_size, self.max_message_size);
        copy(&mut limits.max_credential_count_in_list, self.max_credential_count_in_list);
        copy(&mut limits.max_credential_id_length, self.max_credential_id_length);
        copy(&mut limits.max_discoverable_credentials, self.max_discoverable_credentials);
        copy(&mut configuration.pin_retries, self.pin_retries);
        copy(&mut configuration.uv_retries, self.uv_retries);
        copy(&mut configuration.min_pin_length, self.min_pin_length);
        copy(&mut configuration.always_uv, self.always_uv);
        copy(&mut configuration.backup_eligible, self.backup_eligible);
        copy(&mut configuration.backup_state, self.backup_state);
        copy(&mut configuration.always_discoverable, self.always_discoverable);
        copy(&mut configuration.has_display, self.display);
        Ok(configuration)
    }
}

fn copy<T: Copy>(target: &mut T, value: Option<T>) {
    *target = value.unwrap_or(*target);
}

fn set<T: Copy>(
    target: &mut List<T>,
    member: &str,
    names: &Option<Vec<String>>,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<(), String> {
    if let Some(names) = names {
        let parsed = names
            .iter()
            .map(|name| parse(name).ok_or_else(|| format!("{member} has {name:?}, which is not known")));
        *target = list(&parsed.collect::<Result<Vec<_>, _>>()?);
    }
    Ok(())
}

fn algorithm(name: &str) -> Option<Algorithm> {
    let named = |algorithm: &Algorithm| algorithm_name(*algorithm) == name;
    Algorithm::ALL.iter().copied().find(named)
}

/// The bytes of a UUID in its usual text.
pub(super) fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.split('-').collect();
    if digits.len() != 32 || text.split('-').map(str::len).ne([8, 4, 4, 4, 12]) {
        return None;
    }
    from_hex(&digits)?.try_into().ok()
}

/// A UUID's usual text.
pub(super) fn uuid(bytes: &[u8; 16]) -> String {
    let digits = hex(bytes);
    format!("{}-{}-{}-{}-{}", &digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..])
}
