//! Names of passkey providers by AAGUID, for the cards on an account page.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::MetadataError;
use super::statement::parse_aaguid;

/// Names by AAGUID. Facts for people, not proof: an authenticator that attests nothing can claim any AAGUID.
#[derive(Clone, Debug)]
pub struct Providers {
    names: BTreeMap<[u8; 16], String>,
}

impl Default for Providers {
    /// The table that is built in (`providers.tsv`).
    fn default() -> Self {
        let lines = TABLE.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let names = lines.filter_map(|line| {
            let (aaguid, name) = line.split_once('\t')?;
            Some((parse_aaguid(aaguid)?, name.to_owned()))
        });
        Self { names: names.collect() }
    }
}

impl Providers {
    /// Adds the community's list: a JSON object of `{"aaguid": {"name": …}}`. What it names replaces what is built in.
    ///
    /// # Errors
    ///
    /// [`MetadataError::Payload`] if it is not such a list; nothing is added then.
    pub fn extend(&mut self, json: &[u8]) -> Result<(), MetadataError> {
        #[derive(Deserialize)]
        struct Named {
            name: String,
        }
        let list: BTreeMap<String, Named> =
            serde_json::from_slice(json).map_err(|why| MetadataError::Payload(why.to_string()))?;
        let parsed = list.into_iter().map(|(text, named)| {
            let aaguid = parse_aaguid(&text);
            aaguid.map(|aaguid| (aaguid, named.name)).ok_or_else(|| {
                MetadataError::Payload(format!(
                    "{:?} is no AAGUID",
                    text.chars().take(64).collect::<String>()
                ))
            })
        });
        self.names.extend(parsed.collect::<Result<Vec<_>, _>>()?);
        Ok(())
    }

    /// The provider's name; `None` for the AAGUID of all zeros too, which names nobody.
    #[must_use]
    pub fn name(&self, aaguid: &[u8; 16]) -> Option<&str> {
        self.names.get(aaguid).map(String::as_str)
    }

    /// The same for an AAGUID as text, with or without hyphens.
    #[must_use]
    pub fn name_of(&self, aaguid: &str) -> Option<&str> {
        self.name(&parse_aaguid(aaguid)?)
    }
}

const TABLE: &str = include_str!("providers.tsv");
