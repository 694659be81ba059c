//! The authenticator that a configuration object asks for.

use doppelkey_core::{Configuration, Extension, OptionId, Transport, Version, list};
use serde::Deserialize;

use super::response::{Error, ErrorCode};
use crate::control::user::{Habits, Manner};

/// An authenticator configuration object (WebAuthn §11.3), and the members that DevTools adds.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Options {
    protocol: Protocol,
    transport: String,
    #[serde(default)]
    pub(super) has_resident_key: bool,
    #[serde(default)]
    has_user_verification: bool,
    #[serde(default = "yes")]
    is_user_consenting: bool,
    #[serde(default)]
    is_user_verified: bool,
    #[serde(default)]
    extensions: Vec<String>,
    #[serde(default)]
    default_backup_eligibility: bool,
    #[serde(default)]
    default_backup_state: bool,
    // DevTools
    #[serde(default)]
    ctap2_version: Option<Ctap2Version>,
    #[serde(default)]
    has_large_blob: bool,
    #[serde(default)]
    has_cred_blob: bool,
    #[serde(default)]
    has_min_pin_length: bool,
    #[serde(default)]
    has_prf: bool,
    #[serde(default)]
    has_hmac_secret: bool,
    #[serde(default)]
    has_hmac_secret_mc: bool,
    #[serde(default = "yes")]
    automatic_presence_simulation: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Protocol {
    #[serde(rename = "ctap1/u2f", alias = "u2f")]
    U2f,
    #[serde(rename = "ctap2")]
    Ctap2,
    #[serde(rename = "ctap2_1")]
    Ctap2_1,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ctap2Version {
    Ctap2_0,
    Ctap2_1,
}

fn yes() -> bool {
    true
}

impl Options {
    /// How its user is.
    pub(super) fn habits(&self) -> Habits {
        let manner = match (self.is_user_consenting, self.automatic_presence_simulation) {
            (false, _) => Manner::Deny,
            (true, true) => Manner::Auto,
            (true, false) => Manner::Control,
        };
        Habits { manner, verified: self.is_user_verified, ..Habits::default() }
    }

    /// What it is.
    pub(super) fn configuration(&self) -> Result<Configuration, Error> {
        let is_u2f = self.protocol == Protocol::U2f;
        if is_u2f && (self.has_resident_key || self.has_user_verification) {
            return Err(Error::invalid("U2F has neither resident keys nor user verification"));
        }
        let is_2_1 = self.protocol == Protocol::Ctap2_1 || self.ctap2_version == Some(Ctap2Version::Ctap2_1);
        let versions = list(match (is_u2f, is_2_1) {
            (true, _) => &[Version::U2fV2],
            (false, false) => &[Version::U2fV2, Version::Fido2_0],
            (false, true) => &[Version::U2fV2, Version::Fido2_0, Version::Fido2_1],
        });
        let mut configuration = Configuration { versions, ..Configuration::default() };
        let transport = Transport::from_name(&self.transport)
            .ok_or_else(|| Error::invalid(format!("{:?} is no transport", self.transport)))?;
        configuration.transports = list(&[transport]);
        configuration.transports_for_reset.clear();
        let extensions = self.extensions()?;
        let mut options = vec![OptionId::Up, OptionId::MakeCredUvNotRqd];
        let mut offer = |option, offered: bool| options.extend(offered.then_some(option));
        offer(OptionId::Rk, self.has_resident_key);
        // Without a sensor to enrol with, built-in verification is always set up.
        offer(OptionId::Uv, self.has_user_verification);
        let has_large_blobs = extensions.contains(&Extension::LargeBlobKey);
        // Where users are verified, only a token writes large blobs (CTAP §6.10.2), whatever the version.
        offer(OptionId::PinUvAuthToken, self.has_user_verification && (is_2_1 || has_large_blobs));
        offer(OptionId::LargeBlobs, has_large_blobs);
        configuration.options = list(&options);
        configuration.extensions = list(&extensions);
        configuration.backup_eligible = self.default_backup_eligibility;
        configuration.backup_state = self.default_backup_state;
        // Get Credentials lists those that are not resident, too.
        configuration.keep_all_credentials = true;
        Ok(configuration)
    }

    /// Its extensions: those named, and those of DevTools' switches.
    fn extensions(&self) -> Result<Vec<Extension>, Error> {
        let mut extensions = vec![Extension::CredProtect];
        for name in &self.extensions {
            extensions.push(match name.as_str() {
                "prf" => Extension::HmacSecret,
                "largeBlob" => Extension::LargeBlobKey,
                // The client's alone.
                "credProps" => continue,
                name => Extension::from_name(name).ok_or_else(|| {
                    Error::new(
                        ErrorCode::UnsupportedOperation,
                        format!("the extension {name:?} is not supported"),
                    )
                })?,
            });
        }
        let switches = [
            (self.has_large_blob, Extension::LargeBlobKey),
            (self.has_cred_blob, Extension::CredBlob),
            (self.has_min_pin_length, Extension::MinPinLength),
            (self.has_prf || self.has_hmac_secret, Extension::HmacSecret),
            (self.has_hmac_secret_mc, Extension::HmacSecretMc),
        ];
        extensions.extend(switches.into_iter().filter(|(on, _)| *on).map(|(_, extension)| extension));
        // In the order, and with the uniqueness, that getInfo wants.
        Ok(Extension::ALL.iter().copied().filter(|extension| extensions.contains(extension)).collect())
    }
}
