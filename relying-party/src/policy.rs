//! What an operator can decide about accounts and ceremonies while the service runs.
//!
//! One value, three ways to write it: a TOML file at the start, `PATCH /api/v2/policy`, and the form in `/admin`.
//! Every field has a default, so an empty file is a whole policy; an unknown field is an error, so a typing mistake
//! is noticed. The table of options with their meaning is in the `README.md` of this folder.

mod attributes;
mod check;
mod origins;

use serde::{Deserialize, Serialize};

use crate::verify::UserVerification;
pub use attributes::{Ask, Attribute, Attributes};

/// The whole policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Passkeys.
    pub passkey: Passkey,
    /// Passwords.
    pub password: Password,
    /// Codes by e-mail: verification and recovery.
    pub code: Code,
    /// What an account is called.
    pub attributes: Attributes,
    /// Second factors.
    pub mfa: Mfa,
    /// Limits on guessing.
    pub limits: Limits,
    /// Sessions.
    pub session: Session,
    /// Further origins that may use this RP ID, served at `/.well-known/webauthn`.
    pub related_origins: Vec<String>,
    /// How long events are kept, in days.
    pub log_retention_days: u32,
}

/// `[passkey]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Passkey {
    /// Whether passkeys are offered at all.
    pub enabled: bool,
    /// How sign-in offers them.
    pub challenge_ui: ChallengeUi,
    /// Offer a passkey after a sign-in without one.
    pub progressive_enrollment_enabled: bool,
    /// For how many days *Continue without a passkey* silences that offer.
    pub put_off_days: u32,
    /// Offer a passkey of this device after a sign-in with another device's.
    pub local_enrollment_enabled: bool,
    /// How many passkeys a user may have.
    pub max_per_user: u32,
    /// `userVerification` of the options.
    pub user_verification: UserVerification,
    /// COSE algorithm numbers, in order of preference.
    pub algorithms: Vec<i64>,
    /// `timeout` of the options, in milliseconds; a challenge lives as long.
    pub timeout_ms: u32,
    /// `attestation` of the options.
    pub attestation: Attestation,
    /// Attestation formats that are accepted; empty means any.
    pub formats: Vec<String>,
    /// What to do about models of authenticators that FIDO metadata, loaded at the start, tells something about.
    pub metadata: MetadataRule,
    /// What to do about a signature counter that does not grow.
    pub counter: Counter,
    /// `hints` of the options.
    pub hints: Vec<String>,
}

/// How sign-in offers passkeys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChallengeUi {
    /// In the browser's autofill and by a button.
    #[default]
    Both,
    /// In the browser's autofill only.
    Autofill,
    /// By a button only.
    Button,
}

/// `attestation` of the creation options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Attestation {
    /// Not asked for.
    #[default]
    None,
    /// Any, perhaps anonymised.
    Indirect,
    /// As the authenticator made it.
    Direct,
    /// With a serial number, where the browser is configured for it.
    Enterprise,
}

/// What to do about models of authenticators that FIDO metadata, loaded at the start, tells something about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetadataRule {
    /// Refuse models that a report speaks against; accept models that prove nothing or are not listed.
    #[default]
    Reports,
    /// Refuse those too: every passkey must prove a listed model (set `attestation` to `direct` then). Where no metadata
    /// was loaded, none can.
    Required,
}

/// What to do about a signature counter that does not grow (WebAuthn §7.2 step 22).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Counter {
    /// Refuse the sign-in.
    #[default]
    Refuse,
    /// Accept it, and log.
    Flag,
}

/// `[password]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Password {
    /// Whether accounts may have one.
    pub enabled: bool,
    /// Least number of characters.
    pub min_length: u32,
    /// How hard to guess it must be.
    pub strength: Strength,
    /// Refuse the most common passwords, and single words and names, with digits or marks after them or without.
    pub dictionary: bool,
    /// Refuse passwords that contain the user's own name or address.
    pub personal_data: bool,
    /// How many earlier passwords may not come back, at most 24.
    pub history: u32,
}

/// How hard to guess a password must be, in Auth0's names: by an estimate of how many guesses it takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strength {
    /// Whatever is long enough.
    None,
    /// More than a thousand guesses.
    Low,
    /// More than a million: not by whoever has to ask this service.
    #[default]
    Fair,
    /// More than a hundred million: hard, even for who has stolen the database.
    Good,
    /// More than ten thousand million.
    Excellent,
}

/// `[code]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Code {
    /// Whether a code by e-mail recovers an account.
    pub enabled: bool,
    /// How long a code lives, in seconds.
    pub lifetime_s: u32,
    /// How often a wrong one may be typed before it is void.
    pub tries: u32,
    /// How long the link of a password reset lives, in seconds.
    pub reset_lifetime_s: u32,
}

/// `[mfa]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mfa {
    /// Whether sign-in asks for a second factor.
    pub policy: MfaPolicy,
    /// Whether it does so after a passkey.
    pub after_passkey: AfterPasskey,
    /// For how many days *Remember this device* skips it.
    pub remember_days: u32,
}

/// Whether sign-in asks for a second factor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MfaPolicy {
    /// Of nobody, whoever has set up what.
    #[default]
    Never,
    /// Of everyone; who has none sets one up at the next sign-in.
    Always,
}

/// Whether a sign-in with a passkey needs a second factor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AfterPasskey {
    /// As after a password.
    #[default]
    Require,
    /// Never: a passkey is enough.
    Skip,
    /// Not if the passkey verified its user (recommended: that is two factors already).
    SkipIfUv,
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Failed sign-ins for one identifier from one address before it is blocked.
    pub brute_force_threshold: u32,
    /// The first block, in minutes; each further one is twice as long.
    pub block_minutes: u32,
    /// Failed sign-ins a day from one address.
    pub failed_logins_per_ip_day: u32,
    /// Sign-ups a minute from one address.
    pub signups_per_ip_minute: u32,
    /// Challenges to log in a minute from one address, of those that have to be kept: they name a user.
    pub challenges_per_ip_minute: u32,
    /// Codes and mails for one address an hour.
    pub codes_per_hour: u32,
}

/// `[session]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Session {
    /// Idle lifetime in hours.
    pub idle_hours: u32,
    /// Absolute lifetime in days.
    pub absolute_days: u32,
    /// For how many minutes after signing in the account may be changed without proving oneself again.
    pub recent_auth_minutes: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            passkey: Passkey::default(),
            password: Password::default(),
            code: Code::default(),
            attributes: Attributes::default(),
            mfa: Mfa::default(),
            limits: Limits::default(),
            session: Session::default(),
            related_origins: Vec::new(),
            log_retention_days: 30,
        }
    }
}

impl Default for Passkey {
    fn default() -> Self {
        Self {
            enabled: true,
            challenge_ui: ChallengeUi::Both,
            progressive_enrollment_enabled: true,
            put_off_days: 30,
            local_enrollment_enabled: true,
            max_per_user: 20,
            user_verification: UserVerification::Preferred,
            algorithms: vec![-8, -7, -257],
            timeout_ms: 300_000,
            attestation: Attestation::None,
            formats: Vec::new(),
            metadata: MetadataRule::Reports,
            counter: Counter::Refuse,
            hints: Vec::new(),
        }
    }
}

impl Default for Password {
    fn default() -> Self {
        Self {
            enabled: true,
            min_length: 8,
            strength: Strength::Fair,
            dictionary: true,
            personal_data: true,
            history: 0,
        }
    }
}

impl Default for Code {
    fn default() -> Self {
        Self { enabled: true, lifetime_s: 900, tries: 5, reset_lifetime_s: 432_000 }
    }
}

impl Default for Mfa {
    fn default() -> Self {
        Self { policy: MfaPolicy::Never, after_passkey: AfterPasskey::Require, remember_days: 30 }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            brute_force_threshold: 10,
            block_minutes: 15,
            failed_logins_per_ip_day: 100,
            signups_per_ip_minute: 50,
            challenges_per_ip_minute: 300,
            codes_per_hour: 10,
        }
    }
}

impl Default for Session {
    fn default() -> Self {
        Self { idle_hours: 12, absolute_days: 7, recent_auth_minutes: 5 }
    }
}

impl Policy {
    /// A policy from TOML; what it does not say keeps its default.
    ///
    /// # Errors
    /// The text is not TOML, has an unknown option or a value of the wrong kind, or contradicts itself; the message
    /// says where. The operator's fault.
    pub fn from_toml(text: &str) -> Result<Self, String> {
        let policy: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        policy.check()?;
        Ok(policy)
    }

    /// Whether sign-in starts a request that the browser's autofill answers.
    #[must_use]
    pub fn offers_autofill(&self) -> bool {
        self.passkey.enabled && self.passkey.challenge_ui != ChallengeUi::Button
    }

    /// Whether sign-in shows *Continue with a passkey*.
    #[must_use]
    pub fn offers_button(&self) -> bool {
        self.passkey.enabled && self.passkey.challenge_ui != ChallengeUi::Autofill
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn an_empty_file_is_the_default_policy_and_it_holds() {
        let policy = Policy::from_toml("").expect("every option has a default");
        assert_eq!(policy, Policy::default());
        assert_eq!(policy.passkey.max_per_user, 20);
        assert_eq!(policy.passkey.put_off_days, 30);
    }

    #[test]
    fn what_a_file_does_not_say_of_an_attribute_keeps_its_default() {
        let policy = Policy::from_toml("[attributes.email]\nverify = true").expect("the rest is the default");
        assert_eq!(policy.attributes.email, Attribute { verify: true, ..Attributes::default().email });
        assert!(policy.warnings(&Config::localhost(8080)).is_empty());
        let off = "[attributes.email]\nverify = true\nsignup = \"off\"\n[attributes.username]\nidentifier = true\n\
                   signup = \"required\"";
        let warnings = Policy::from_toml(off).expect("it holds").warnings(&Config::localhost(8080));
        assert!(warnings.len() == 1 && warnings[0].contains("attributes.email.verify"), "{warnings:?}");
        assert!(Policy::from_toml("[attributes.email]\nverfy = true").unwrap_err().contains("verfy"));
    }

    #[test]
    fn a_typing_mistake_is_an_error_that_names_it() {
        let error = Policy::from_toml("[passkey]\nchalenge_ui = \"both\"").unwrap_err();
        assert!(error.contains("chalenge_ui"), "{error}");
    }

    #[test]
    fn a_policy_survives_its_own_toml() {
        let mut policy = Policy::default();
        policy.mfa.after_passkey = AfterPasskey::SkipIfUv;
        policy.passkey.hints = vec!["security-key".into()];
        let text = toml::to_string(&policy).expect("a policy is a table");
        assert_eq!(Policy::from_toml(&text), Ok(policy));
    }
}
