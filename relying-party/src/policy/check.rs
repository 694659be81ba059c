//! Which policies hold, and which are perhaps not meant.

use super::origins::is_web_origin;
use super::{Ask, Attestation, Attribute, MetadataRule, Policy};
use crate::config::{Config, Mail};

impl Policy {
    /// Whether this policy lets people sign up, sign in and recover at all.
    ///
    /// # Errors
    /// The first contradiction, in plain words.
    pub fn check(&self) -> Result<(), String> {
        self.check_ways_in()?;
        self.check_bounds()?;
        self.check_lists()
    }

    /// Whether everybody can get in, and in again.
    fn check_ways_in(&self) -> Result<(), String> {
        let attributes = [self.attributes.email, self.attributes.phone, self.attributes.username];
        if !attributes.iter().any(|attribute| attribute.identifier && attribute.signup == Ask::Required) {
            return Err("attributes: at least one must be an identifier and required at sign-up".into());
        }
        let named = [
            ("email", self.attributes.email),
            ("phone", self.attributes.phone),
            ("username", self.attributes.username),
        ];
        let dropped = |attribute: Attribute| attribute.signup == Ask::Required && !attribute.profile_required;
        if let Some((name, _)) = named.into_iter().find(|(_, attribute)| dropped(*attribute)) {
            return Err(format!(
                "attributes.{name}.signup is \"required\", so attributes.{name}.profile_required must be on: what everybody \
                 gives at sign-up, nobody removes"
            ));
        }
        if self.attributes.username.verify {
            return Err("attributes.username.verify: no code can go to a user name".into());
        }
        if !self.passkey.enabled && !self.password.enabled {
            return Err("passkey.enabled or password.enabled must stay on: nobody could sign up".into());
        }
        if !self.password.enabled && !self.code.enabled {
            return Err(
                "password.enabled or code.enabled must stay on: a lost passkey must not lose the account"
                    .into(),
            );
        }
        if !self.password.enabled && self.attributes.email.signup != Ask::Required {
            return Err(
                "password.enabled is off, so attributes.email.signup must be \"required\": without an address no code \
                 can be sent to who loses a passkey"
                    .into(),
            );
        }
        Ok(())
    }

    /// Whether every number is within its bounds.
    fn check_bounds(&self) -> Result<(), String> {
        let bounds: [(&str, u32, u32, u32); 20] = [
            ("passkey.max_per_user", self.passkey.max_per_user, 1, 1000),
            ("passkey.timeout_ms", self.passkey.timeout_ms, 10_000, 3_600_000),
            ("password.min_length", self.password.min_length, 1, 128),
            ("password.history", self.password.history, 0, 24),
            ("code.lifetime_s", self.code.lifetime_s, 30, 86_400),
            ("code.tries", self.code.tries, 1, 100),
            ("code.reset_lifetime_s", self.code.reset_lifetime_s, 60, 2_592_000),
            ("passkey.put_off_days", self.passkey.put_off_days, 0, 3_650),
            ("limits.failed_logins_per_ip_day", self.limits.failed_logins_per_ip_day, 1, u32::MAX),
            ("limits.signups_per_ip_minute", self.limits.signups_per_ip_minute, 1, u32::MAX),
            ("limits.challenges_per_ip_minute", self.limits.challenges_per_ip_minute, 1, u32::MAX),
            ("limits.codes_per_hour", self.limits.codes_per_hour, 1, u32::MAX),
            ("log_retention_days", self.log_retention_days, 1, 36_500),
            (
                "attributes.username_max",
                self.attributes.username_max,
                self.attributes.username_min.max(1),
                128,
            ),
            ("limits.brute_force_threshold", self.limits.brute_force_threshold, 1, 100),
            ("limits.block_minutes", self.limits.block_minutes, 1, 43_200),
            ("session.idle_hours", self.session.idle_hours, 1, 8_760),
            ("session.absolute_days", self.session.absolute_days, 1, 365),
            ("session.recent_auth_minutes", self.session.recent_auth_minutes, 1, 1_440),
            ("mfa.remember_days", self.mfa.remember_days, 0, 365),
        ];
        for (name, value, least, most) in bounds {
            if !(least..=most).contains(&value) {
                return Err(format!("{name} is {value}, not {least} to {most}"));
            }
        }
        Ok(())
    }

    /// Whether every list holds only what is known here.
    fn check_lists(&self) -> Result<(), String> {
        if let Some(odd) =
            self.passkey.algorithms.iter().find(|alg| !crate::verify::SUPPORTED_ALGORITHMS.contains(alg))
        {
            return Err(format!("passkey.algorithms: {odd} cannot be verified here"));
        }
        if self.passkey.algorithms.is_empty() {
            return Err("passkey.algorithms is empty".into());
        }
        known("passkey.hints", &self.passkey.hints, &HINTS)?;
        known("passkey.formats", &self.passkey.formats, &FORMATS)?;
        if let Some(odd) = self.related_origins.iter().find(|origin| !is_web_origin(origin)) {
            return Err(format!("related_origins: {odd} is not like https://example.org"));
        }
        Ok(())
    }

    /// What holds, but is perhaps not meant where it is in force: for the operator to read.
    #[must_use]
    pub fn warnings(&self, config: &Config) -> Vec<String> {
        let mut warnings = self.warnings_about_origins(config);
        if self.attributes.phone.verify && matches!(config.mail, Mail::Smtp { .. }) {
            warnings.push(
                "attributes.phone.verify is on, and mail goes to a server (--smtp): there is no provider of short \
                 messages, so no code comes to who gives a phone number"
                    .into(),
            );
        }
        for (name, attribute) in [("email", self.attributes.email), ("phone", self.attributes.phone)] {
            if attribute.verify && !attribute.is_on() {
                warnings.push(format!(
                    "attributes.{name}.verify is on, and attributes.{name}.signup is off: sign-up proves nothing"
                ));
            }
        }
        if self.passkey.metadata == MetadataRule::Required {
            if config.metadata.is_none() {
                warnings.push(
                    "passkey.metadata is required, and no metadata was loaded (--mds): nobody can create a passkey"
                        .into(),
                );
            }
            if self.passkey.attestation == Attestation::None {
                warnings.push(
                    "passkey.metadata is required, and passkey.attestation is none: browsers take out what would prove \
                     a model"
                        .into(),
                );
            }
        }
        warnings
    }
}

/// WebAuthn Level 3 §5.8.7.
const HINTS: [&str; 3] = ["security-key", "client-device", "hybrid"];

/// The attestation formats of §8 that are verified here.
const FORMATS: [&str; 7] = ["none", "packed", "fido-u2f", "tpm", "android-key", "apple", "compound"];

fn known(option: &str, words: &[String], known: &[&str]) -> Result<(), String> {
    match words.iter().find(|word| !known.contains(&word.as_str())) {
        Some(odd) => Err(format!("{option}: {odd} is none of {}", known.join(", "))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MetadataFiles;

    #[test]
    fn a_policy_that_loses_accounts_is_refused() {
        assert!(Policy::from_toml("[password]\nenabled = false\n[code]\nenabled = false").is_err());
        assert!(Policy::from_toml("[attributes.email]\nsignup = \"off\"").is_err());
        let no_address = "[password]\nenabled = false\n[attributes.email]\nsignup = \"optional\"\n\
                          [attributes.username]\nidentifier = true\nsignup = \"required\"";
        assert!(Policy::from_toml(no_address).unwrap_err().contains("attributes.email"));
        assert!(Policy::from_toml("[passkey]\nmax_per_user = 0").is_err());
        assert!(Policy::from_toml("[passkey]\nalgorithms = [-65535]").is_err());
    }

    #[test]
    fn words_that_nobody_knows_and_limits_that_shut_everybody_out_are_refused() {
        for odd in [
            "[passkey]\nhints = [\"phone\"]",
            "[passkey]\nformats = [\"pakced\"]",
            "[limits]\nsignups_per_ip_minute = 0",
            "[limits]\nchallenges_per_ip_minute = 0",
            "[limits]\nfailed_logins_per_ip_day = 0",
            "related_origins = [\"example.org\"]",
            "related_origins = [\"https://example.org/\"]",
            "related_origins = [\"http://example.org\"]",
        ] {
            let option = odd.split([' ', '\n']).find(|word| word.contains('_') || word.ends_with('s'));
            let error = Policy::from_toml(odd).unwrap_err();
            assert!(error.contains(option.expect("a name")), "{odd}: {error}");
        }
    }

    #[test]
    fn a_policy_that_mails_codes_to_phones_is_warned_of() {
        let phone = "[attributes.phone]\nidentifier = true\nsignup = \"optional\"\nverify = true";
        let policy = Policy::from_toml(phone).expect("it holds");
        let mail = Mail::Smtp { url: "smtps://mail.example.org".into(), from: "login@example.org".into() };
        let config = Config { mail, ..Config::localhost(8080) };
        assert!(
            policy.warnings(&config)[0].contains("attributes.phone.verify is on, and mail goes to a server")
        );
        assert!(policy.warnings(&Config::localhost(8080)).is_empty(), "the outbox shows it");
        let username = "[attributes.username]\nidentifier = true\nverify = true";
        assert!(Policy::from_toml(username).unwrap_err().contains("no code can go to a user name"));
    }

    #[test]
    fn required_metadata_that_nobody_could_prove_is_warned_of() {
        let mut policy = Policy::default();
        let without = Config::localhost(8080);
        let metadata = MetadataFiles {
            blob: String::new(),
            root: Vec::new(),
            publisher: String::new(),
            revocation_lists: Vec::new(),
        };
        let with = Config { metadata: Some(metadata), ..Config::localhost(8080) };
        assert_eq!(policy.warnings(&without), Vec::<String>::new());
        policy.passkey.metadata = MetadataRule::Required;
        assert!(policy.warnings(&with)[0].contains("passkey.attestation is none"));
        policy.passkey.attestation = Attestation::Direct;
        assert!(policy.warnings(&without)[0].contains("no metadata was loaded"));
        assert_eq!(policy.warnings(&with), Vec::<String>::new());
    }
}
