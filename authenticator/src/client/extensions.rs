//! Client extensions, to authenticator extensions and back (WebAuthn §10, CTAP §12).

use std::collections::BTreeMap;

use ciborium::Value;
use rand_core::CryptoRng;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::channel::{Channel, Limit};
use super::ctap::Info;
use super::error::Error;
use super::options::{Bytes, CreationExtensions, Descriptor, Prf, PrfValues, RequestExtensions};
use super::pin::SharedSecret;
use crate::cbor::Map;
use crate::text::from_base64url;

/// Client extension outputs: what `getClientExtensionResults()` gives.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Outputs {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cred_props: Option<CredProps>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hmac_create_secret: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cred_blob: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) get_cred_blob: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prf: Option<PrfOutput>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) large_blob: Option<LargeBlobOutput>,
}

#[derive(Debug, Serialize)]
pub(crate) struct CredProps {
    pub(crate) rk: bool,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct PrfOutput {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) results: Option<PrfValues>,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct LargeBlobOutput {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) supported: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) blob: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) written: Option<bool>,
}

/// Authenticator extension inputs, and the secret that its PRF results come back under.
#[derive(Default)]
pub(crate) struct Inputs {
    pub(crate) map: Map,
    pub(crate) secret: Option<SharedSecret>,
}

/// What it takes to agree on a secret with the authenticator.
pub(crate) struct Agreement<'a> {
    pub(crate) channel: &'a mut Channel,
    pub(crate) info: &'a Info,
    pub(crate) rng: &'a mut dyn CryptoRng,
    pub(crate) limit: &'a Limit,
}

/// The authenticator's inputs for a registration.
///
/// # Errors
/// [`Error::Unsupported`] where the options insist on what the authenticator does not have.
pub(crate) fn creation_inputs(
    asked: &CreationExtensions,
    discoverable: bool,
    is_verified: bool,
    agreement: Agreement<'_>,
) -> Result<Inputs, Error> {
    let info = agreement.info;
    let mut inputs = Inputs::default();
    if let Some(level) = protection(asked, info)? {
        inputs.map = inputs.map.with("credProtect", level);
    }
    if asked.min_pin_length && info.has_extension("minPinLength") {
        inputs.map = inputs.map.with("minPinLength", true);
    }
    if let Some(blob) = asked.cred_blob.as_ref().filter(|_| info.has_extension("credBlob")) {
        inputs.map = inputs.map.with("credBlob", Value::Bytes(blob.0.clone()));
    }
    if wants_large_blob_key(asked, discoverable, info)? {
        inputs.map = inputs.map.with("largeBlobKey", true);
    }
    if asked.prf.as_ref().is_some_and(|prf| !prf.eval_by_credential.is_empty()) {
        return Err(Error::Unsupported("prf.evalByCredential at a registration: there is no credential yet"));
    }
    if (asked.hmac_create_secret || asked.prf.is_some()) && info.has_extension("hmac-secret") {
        inputs.map = inputs.map.with("hmac-secret", true);
        let eval = asked.prf.as_ref().and_then(|prf| prf.eval.as_ref());
        // Of a user who is not verified the values would be other ones than at the sign-ins that verify.
        if let Some(values) = eval.filter(|_| is_verified && info.has_extension("hmac-secret-mc")) {
            let (input, secret) = prf_input(values, agreement)?;
            inputs.map = inputs.map.with("hmac-secret-mc", input);
            inputs.secret = Some(secret);
        }
    }
    Ok(inputs)
}

/// credProtect's level for this policy (CTAP §12.1).
fn protection(asked: &CreationExtensions, info: &Info) -> Result<Option<u64>, Error> {
    let level = match asked.credential_protection_policy.as_deref() {
        None => return Ok(None),
        Some("userVerificationOptional") => 1,
        Some("userVerificationOptionalWithCredentialIDList") => 2,
        Some("userVerificationRequired") => 3,
        Some(_) => {
            return Err(Error::Options("credentialProtectionPolicy: not one of the three policies".into()));
        }
    };
    if info.has_extension("credProtect") {
        Ok(Some(level))
    } else if level > 1 && asked.enforce_credential_protection_policy {
        Err(Error::Unsupported("credProtect, which the options enforce"))
    } else {
        Ok(None)
    }
}

/// largeBlob's `support` (WebAuthn §10.1.5).
fn wants_large_blob_key(asked: &CreationExtensions, discoverable: bool, info: &Info) -> Result<bool, Error> {
    let Some(blob) = &asked.large_blob else { return Ok(false) };
    if blob.read.is_some() || blob.write.is_some() {
        return Err(Error::Unsupported("largeBlob.read or .write at a registration"));
    }
    let possible = discoverable && info.has_extension("largeBlobKey") && info.is("largeBlobs");
    if blob.support.as_deref() == Some("required") && !possible {
        return Err(Error::Unsupported("largeBlob, which the options require"));
    }
    Ok(possible)
}

/// The authenticator's inputs for an authentication with these PRF values.
pub(crate) fn request_inputs(
    asked: &RequestExtensions,
    values: Option<&PrfValues>,
    agreement: Agreement<'_>,
) -> Result<Inputs, Error> {
    let info = agreement.info;
    let mut inputs = Inputs::default();
    if asked.get_cred_blob && info.has_extension("credBlob") {
        inputs.map = inputs.map.with("credBlob", true);
    }
    if asked.large_blob.is_some() && info.has_extension("largeBlobKey") {
        inputs.map = inputs.map.with("largeBlobKey", true);
    }
    if let Some(values) = values.filter(|_| info.has_extension("hmac-secret")) {
        let (input, secret) = prf_input(values, agreement)?;
        inputs.map = inputs.map.with("hmac-secret", input);
        inputs.secret = Some(secret);
    }
    Ok(inputs)
}

/// Refuses what the options of an authentication must not say (§10.1.4, §10.1.5).
pub(crate) fn check_request(asked: &RequestExtensions, allowed: &[Descriptor]) -> Result<(), Error> {
    if let Some(prf) = &asked.prf {
        if !prf.eval_by_credential.is_empty() && allowed.is_empty() {
            return Err(Error::Unsupported("prf.evalByCredential without allowCredentials"));
        }
        by_credential(prf, allowed)?;
    }
    if let Some(blob) = &asked.large_blob {
        if blob.support.is_some() || (blob.read && blob.write.is_some()) {
            return Err(Error::Unsupported("largeBlob: an authentication either reads or writes"));
        }
        if blob.write.is_some() && allowed.len() != 1 {
            return Err(Error::Unsupported("largeBlob.write without exactly one allowed credential"));
        }
    }
    Ok(())
}

/// evalByCredential, by credential id.
fn by_credential<'a>(
    prf: &'a Prf,
    allowed: &[Descriptor],
) -> Result<BTreeMap<Vec<u8>, &'a PrfValues>, Error> {
    let foreign = || Error::Syntax("prf.evalByCredential: a key that is no id of allowCredentials");
    let entry = |(key, values): (&String, &'a PrfValues)| {
        let id = from_base64url(key).ok_or_else(foreign)?;
        if allowed.iter().any(|descriptor| descriptor.id.0 == id) { Ok((id, values)) } else { Err(foreign()) }
    };
    prf.eval_by_credential.iter().map(entry).collect()
}

/// The PRF values for this credential: its own, or else those for all.
pub(crate) fn prf_values<'a>(
    asked: &'a RequestExtensions,
    allowed: &[Descriptor],
    credential: Option<&[u8]>,
) -> Result<Option<&'a PrfValues>, Error> {
    let Some(prf) = &asked.prf else { return Ok(None) };
    let own = credential.map(|id| by_credential(prf, allowed).map(|all| all.get(id).copied())).transpose()?;
    Ok(own.flatten().or(prf.eval.as_ref()))
}

/// hmac-secret's input for these values (CTAP §12.5): each becomes a salt under a prefix of WebAuthn's, so that no
/// page can ask for what the operating system uses.
fn prf_input(values: &PrfValues, agreement: Agreement<'_>) -> Result<(Map, SharedSecret), Error> {
    let Agreement { channel, info, rng, limit } = agreement;
    let secret = SharedSecret::agree(channel, info, rng, limit)?;
    let mut salts = salt(&values.first).to_vec();
    if let Some(second) = &values.second {
        salts.extend_from_slice(&salt(second));
    }
    let encrypted = secret.encrypt(&salts, rng);
    let tag = secret.authenticate(&encrypted);
    let input = Map::new()
        .with(1, secret.platform_key())
        .with(2, Value::Bytes(encrypted))
        .with(3, Value::Bytes(tag))
        // Before CTAP 2.1 there was only protocol one, and no such member.
        .with_some(4, (secret.protocol() != 1).then(|| secret.protocol()));
    Ok((input, secret))
}

fn salt(value: &Bytes) -> [u8; 32] {
    Sha256::new_with_prefix(b"WebAuthn PRF\0").chain_update(&value.0).finalize().into()
}

/// The PRF's results in this extension output, if there are any.
pub(crate) fn prf_results(
    outputs: &Map,
    name: &str,
    secret: Option<&SharedSecret>,
) -> Result<Option<PrfValues>, Error> {
    let (Some(secret), Some(Value::Bytes(encrypted))) = (secret, outputs.named(name)) else {
        return Ok(None);
    };
    let plain = secret.decrypt(encrypted)?;
    match plain.len() {
        32 => Ok(Some(PrfValues { first: Bytes(plain.to_vec()), second: None })),
        64 => Ok(Some(PrfValues {
            first: Bytes(plain[..32].to_vec()),
            second: Some(Bytes(plain[32..].to_vec())),
        })),
        _ => Err(Error::BadAnswer("an hmac-secret output is neither 32 nor 64 bytes")),
    }
}
