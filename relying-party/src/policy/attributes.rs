//! What an account is called, and what of it must be there.

use serde::{Deserialize, Deserializer, Serialize};

/// `[attributes]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Attributes {
    /// E-mail address.
    #[serde(deserialize_with = "email")]
    pub email: Attribute,
    /// Phone number.
    pub phone: Attribute,
    /// User name.
    pub username: Attribute,
    /// Least length of a user name.
    pub username_min: u32,
    /// Greatest length of a user name.
    pub username_max: u32,
}

/// One attribute of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Attribute {
    /// Whether one can sign in with it.
    pub identifier: bool,
    /// Whether sign-up asks for it.
    pub signup: Ask,
    /// Whether sign-up proves it by a code: e-mail and phone only, since no code can go to a user name.
    pub verify: bool,
}

/// Whether sign-up asks for an attribute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ask {
    /// It must be given.
    Required,
    /// It may be given.
    Optional,
    /// It is not asked for.
    #[default]
    Off,
}

impl Default for Attribute {
    fn default() -> Self {
        Self { identifier: false, signup: Ask::Off, verify: false }
    }
}

impl Default for Attributes {
    fn default() -> Self {
        Self {
            email: Attribute { identifier: true, signup: Ask::Required, verify: false },
            phone: Attribute::default(),
            username: Attribute::default(),
            username_min: 1,
            username_max: 15,
        }
    }
}

/// What a file does not say of e-mail keeps e-mail's default, which is another than that of the other attributes.
fn email<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Attribute, D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Said {
        identifier: Option<bool>,
        signup: Option<Ask>,
        verify: Option<bool>,
    }
    let said = Said::deserialize(deserializer)?;
    let usual = Attributes::default().email;
    Ok(Attribute {
        identifier: said.identifier.unwrap_or(usual.identifier),
        signup: said.signup.unwrap_or(usual.signup),
        verify: said.verify.unwrap_or(usual.verify),
    })
}
