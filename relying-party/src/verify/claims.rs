//! What a response says of itself, whatever a verification thinks of it: for people who look for what is wrong.

use super::authenticator_data::AuthenticatorData;
use super::registration::read_attestation_object;
use super::response::{Credential, required};

/// What the authenticator data of a response says. Nobody has verified it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claims {
    /// The model of authenticator, if a credential is attested.
    pub(crate) aaguid: Option<[u8; 16]>,
    pub(crate) backup_eligible: bool,
    pub(crate) backup_state: bool,
    pub(crate) user_verified: bool,
}

impl Claims {
    /// Those of an answer to `create()`; `None` if there is no authenticator data that is laid out as its flags say.
    pub(crate) fn of_attestation(credential: &Credential) -> Option<Self> {
        let bytes = required(credential, "attestationObject").ok()?;
        Self::of(&read_attestation_object(&bytes).ok()?.auth_data)
    }

    /// The same of an answer to `get()`.
    pub(crate) fn of_assertion(credential: &Credential) -> Option<Self> {
        Self::of(&required(credential, "authenticatorData").ok()?)
    }

    fn of(authenticator_data: &[u8]) -> Option<Self> {
        let data = AuthenticatorData::parse(authenticator_data).ok()?;
        Some(Self {
            aaguid: data.attested.map(|attested| attested.aaguid),
            backup_eligible: data.flags.be(),
            backup_state: data.flags.bs(),
            user_verified: data.flags.uv(),
        })
    }
}
