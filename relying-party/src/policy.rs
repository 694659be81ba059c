//! What an operator can decide about accounts and ceremonies while the service runs.
//!
//! One value, three ways to write it: a TOML file at the start, `PATCH /api/v2/policy`, and the form in `/admin`.
//! Every field has a default, so an empty file is a whole policy; an unknown field is an error, so a typing mistake
//! is noticed. The table of options with their meaning is in the `README.md` of this folder.

mod attributes;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::config::{Config, Mail, host_of};
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

    /// Which other origins may use this RP ID: this very service's that the RP ID does not cover, and then the policy's,
    /// since a browser may take only so many.
    pub(crate) fn all_related_origins<'a>(&'a self, config: &'a Config) -> Vec<&'a str> {
        let is_foreign = |origin: &&String| host_of(origin).is_some_and(|host| !config.covers(host));
        let own = config.origins.iter().filter(is_foreign);
        let mut origins: Vec<&str> = own.map(String::as_str).collect();
        for origin in &self.related_origins {
            if !origins.contains(&origin.as_str()) {
                origins.push(origin);
            }
        }
        origins
    }

    fn warnings_about_origins(&self, config: &Config) -> Vec<String> {
        let hosts = self.all_related_origins(config).into_iter().filter_map(host_of);
        let labels: BTreeSet<_> = hosts.map(registrable_label).collect();
        if labels.len() <= LABELS_EVERY_CLIENT_TAKES {
            return Vec::new();
        }
        vec![format!(
            "related_origins, with those of --origin, have {} names before their suffixes ({}); some browsers take only the first \
             {LABELS_EVERY_CLIENT_TAKES}",
            labels.len(),
            labels.into_iter().collect::<Vec<_>>().join(", ")
        )]
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

/// WebAuthn Level 3 §5.8.7.
const HINTS: [&str; 3] = ["security-key", "client-device", "hybrid"];

/// The attestation formats of §8 that are verified here.
const FORMATS: [&str; 7] = ["none", "packed", "fido-u2f", "tpm", "android-key", "apple", "compound"];

/// §5.11.1: a client takes at least so many different registrable labels.
const LABELS_EVERY_CLIENT_TAKES: usize = 5;

fn known(option: &str, words: &[String], known: &[&str]) -> Result<(), String> {
    match words.iter().find(|word| !known.contains(&word.as_str())) {
        Some(odd) => Err(format!("{option}: {odd} is none of {}", known.join(", "))),
        None => Ok(()),
    }
}

fn is_web_origin(origin: &str) -> bool {
    let is_local = |host: &str| host == "localhost" || host.ends_with(".localhost");
    host_of(origin).is_some_and(|host| origin.starts_with("https://") || is_local(host))
}

/// The label before the public suffix. Without a list of suffixes this is a guess: two short labels, as in `co.uk`, are
/// one.
fn registrable_label(host: &str) -> &str {
    let mut labels = host.rsplit('.');
    let (top, second) = (labels.next().unwrap_or(host), labels.next().unwrap_or(host));
    if top.len() == 2 && second.len() <= 3 { labels.next().unwrap_or(second) } else { second }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MetadataFiles;

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
    fn related_origins_beyond_what_every_browser_takes_are_warned_of() {
        let of = |hosts: &[&str]| {
            let related_origins = hosts.iter().map(|host| format!("https://{host}")).collect();
            Policy { related_origins, ..Policy::default() }
        };
        // Countries of one name are one label.
        let countries =
            of(&["a.example.de", "example.co.uk", "example.com", "b.org", "c.org", "d.org", "e.org"]);
        let mut config = Config { dev: false, ..Config::localhost(8080) };
        assert_eq!((countries.check(), countries.warnings(&config)), (Ok(()), Vec::new()));
        let six = of(&["a.org", "b.org", "c.org", "d.org", "e.org", "f.org"]);
        assert_eq!(six.check(), Ok(()));
        assert!(six.warnings(&config)[0].contains("6 names before their suffixes (a, b, c, d, e, f)"));
        // Those of this service itself count, and come first; what the RP ID covers needs no leave.
        config.origins.extend(["https://e.localhost".into(), "https://f.org".into(), "https://g.org".into()]);
        let four = of(&["a.org", "b.org", "c.org", "d.org"]);
        let served = [
            "https://f.org",
            "https://g.org",
            "https://a.org",
            "https://b.org",
            "https://c.org",
            "https://d.org",
        ];
        assert_eq!(four.all_related_origins(&config), served);
        assert!(
            four.warnings(&config)[0]
                .contains("--origin, have 6 names before their suffixes (a, b, c, d, f, g)")
        );
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

    #[test]
    fn a_policy_survives_its_own_toml() {
        let mut policy = Policy::default();
        policy.mfa.after_passkey = AfterPasskey::SkipIfUv;
        policy.passkey.hints = vec!["security-key".into()];
        let text = toml::to_string(&policy).expect("a policy is a table");
        assert_eq!(Policy::from_toml(&text), Ok(policy));
    }
}
