//! Personas: what an authenticator pretends to be, and how it attests to that.
//!
//! A persona is a TOML file (`profile.rs` has its members): nine are there for their attestation formats, the others
//! say what real key families advertise and limit. The files in `data/` are built in; a user adds others by path.
//!
//! Certificates come from one CA per installation (`authority.rs`), so that a test can trust it, and nobody else's.

mod attesters;
mod authority;
mod certificate;
mod der;
mod metadata;
mod profile;
#[cfg(test)]
mod tests;
mod tpm;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use doppelkey_core::{Attestation, Attester, Configuration};

pub use authority::Authority;
pub use metadata::metadata_statement;
pub use profile::{Format, Profile};

/// A persona, ready to be an authenticator.
#[derive(Clone, Debug)]
pub struct Persona {
    /// Its name: that of its file, without `.toml`.
    pub name: String,
    /// What the file says.
    pub profile: Profile,
    /// What the authenticator is.
    pub configuration: Configuration,
    /// The certificate that its attestation ends in, in DER; `None` where it has no certificate.
    pub root_certificate: Option<Vec<u8>>,
}

/// Why a persona cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonaError {
    /// What is wrong.
    pub error: String,
    /// What to do next.
    pub hint: String,
}

impl fmt::Display for PersonaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error)
    }
}

impl std::error::Error for PersonaError {}

impl Persona {
    /// The built-in persona of this name, or that of a file: what has a slash or ends in `.toml` is a path.
    ///
    /// # Errors
    /// [`PersonaError`]: there is none of this name, or its file cannot be read or says what cannot be.
    pub fn load(name_or_file: &str, authority: &Authority) -> Result<Self, PersonaError> {
        if name_or_file.contains('/') || name_or_file.ends_with(".toml") {
            return Self::from_file(Path::new(name_or_file), authority);
        }
        let Some((_, text)) = BUILT_IN.iter().find(|(name, _)| *name == name_or_file) else {
            return Err(PersonaError {
                error: format!("there is no persona {name_or_file:?}"),
                hint: "`doppelkey persona list` lists them; a file's name must end in .toml".into(),
            });
        };
        Self::from_toml(name_or_file, text, authority)
    }

    /// Every built-in persona.
    pub fn built_in(authority: &Authority) -> Vec<Self> {
        let known = |(name, text): &(&str, &str)| Self::from_toml(name, text, authority);
        BUILT_IN.iter().map(known).collect::<Result<_, _>>().expect("a test reads every built-in persona")
    }

    /// The names of the built-in personas.
    pub fn names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    fn from_file(path: &Path, authority: &Authority) -> Result<Self, PersonaError> {
        let text = std::fs::read_to_string(path).map_err(|error| PersonaError {
            error: format!("cannot read the persona {}: {error}", path.display()),
            hint: "name a file that you may read, or a persona of `doppelkey persona list`".into(),
        })?;
        let name =
            path.file_stem().map_or_else(|| "persona".into(), |name| name.to_string_lossy().into_owned());
        Self::from_toml(&name, &text, authority)
    }

    fn from_toml(name: &str, text: &str, authority: &Authority) -> Result<Self, PersonaError> {
        let wrong = |error: String| PersonaError {
            error: format!("the persona {name} makes no sense: {error}"),
            hint: "authenticator/src/persona/data has examples with every member".into(),
        };
        let profile: Profile = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
        let mut configuration = profile.configuration().map_err(wrong)?;
        let attesters = attesters::of(&profile, configuration.aaguid, name, authority);
        let root_certificate = attesters.root;
        if let Some(attestations) = attesters.attestations {
            configuration.attestation = attestations;
        }
        Ok(Persona { name: name.into(), profile, configuration, root_certificate })
    }
}

/// An attestation by this attester.
fn by(attester: impl Attester + 'static) -> Attestation {
    Attestation::By(Arc::new(attester))
}

macro_rules! built_in {
    ($($name:literal,)+) => {
        &[$(($name, include_str!(concat!("data/", $name, ".toml"))),)+]
    };
}

const BUILT_IN: &[(&str, &str)] = built_in![
    "none",
    "packed-self",
    "packed",
    "enterprise",
    "fido-u2f",
    "tpm",
    "android-key",
    "apple",
    "compound",
    "feitian-biopass",
    "feitian-epass-nfc",
    "google-password-manager",
    "google-titan-v2",
    "icloud-keychain",
    "nitrokey-3",
    "solo-1",
    "token2",
    "windows-hello",
    "yubico-security-key-nfc",
    "yubikey-4-u2f",
    "yubikey-5-nfc",
    "yubikey-5-nfc-5.7",
    "yubikey-bio",
];
