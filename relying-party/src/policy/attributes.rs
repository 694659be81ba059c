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
#[serde(from = "Said")]
pub struct Attribute {
    /// Whether one can sign in with it.
    pub identifier: bool,
    /// Whether sign-up asks for it.
    pub signup: Ask,
    /// Whether sign-up proves it by a code: e-mail and phone only, since no code can go to a user name.
    pub verify: bool,
    /// Whether every account must have it: nobody can remove it, and whoever has none is asked for it on the account's
    /// pages. What sign-up requires, this must require, too; where nothing is said of it, it is what sign-up says.
    pub profile_required: bool,
}

impl Attribute {
    /// Whether accounts can have it at all.
    pub(crate) fn is_on(self) -> bool {
        self.signup != Ask::Off || self.profile_required
    }
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
        Self { identifier: false, signup: Ask::Off, verify: false, profile_required: false }
    }
}

impl Default for Attributes {
    fn default() -> Self {
        Self {
            email: Attribute {
                identifier: true,
                signup: Ask::Required,
                verify: false,
                profile_required: true,
            },
            phone: Attribute::default(),
            username: Attribute::default(),
            username_min: 1,
            username_max: 15,
        }
    }
}

/// What a file says of an attribute.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    identifier: Option<bool>,
    signup: Option<Ask>,
    verify: Option<bool>,
    profile_required: Option<bool>,
}

impl Said {
    fn or(self, usual: Attribute) -> Attribute {
        let signup = self.signup.unwrap_or(usual.signup);
        Attribute {
            identifier: self.identifier.unwrap_or(usual.identifier),
            signup,
            verify: self.verify.unwrap_or(usual.verify),
            profile_required: self.profile_required.unwrap_or(signup == Ask::Required),
        }
    }
}

impl From<Said> for Attribute {
    fn from(said: Said) -> Self {
        said.or(Self::default())
    }
}

/// What a file does not say of e-mail keeps e-mail's default, which is another than that of the other attributes.
fn email<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Attribute, D::Error> {
    Ok(Said::deserialize(deserializer)?.or(Attributes::default().email))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_requires_what_sign_up_requires_where_nothing_else_is_said() {
        let read = |text: &str| toml::from_str::<Attributes>(text).map_err(|error| error.to_string());
        let attributes =
            read("[phone]\nsignup = \"required\"\n[username]\nsignup = \"optional\"").expect("it holds");
        assert!(attributes.email.profile_required && attributes.phone.profile_required);
        assert!(!attributes.username.profile_required);
        let optional = read("[email]\nsignup = \"optional\"").expect("it holds");
        assert!(!optional.email.profile_required && optional.email.identifier);
        let said = read("[username]\nprofile_required = true").expect("it holds");
        assert!(said.username.profile_required && said.username.signup == Ask::Off);
        assert!(read("[phone]\nprofile_requird = true").unwrap_err().contains("profile_requird"));
    }
}
