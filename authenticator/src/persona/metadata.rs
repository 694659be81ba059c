//! The FIDO metadata statement of a persona (FIDO Metadata Statement 3.1).

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ciborium::Value as Cbor;
use doppelkey_core::{Authenticator, Configuration, Input, MemoryStore, Message, OptionId, Output, Version};
use rand_core::UnwrapErr;
use serde_json::{Value, json};

use super::Persona;
use super::profile::{Format, uuid};
use crate::text::hex;

#[cfg(test)]
mod tests;

/// The metadata statement that goes with this persona: a relying party that trusts it accepts its attestation.
pub fn metadata_statement(persona: &Persona) -> Value {
    let Persona { configuration, profile, .. } = persona;
    let is_u2f = !configuration.versions.iter().any(|version| *version != Version::U2fV2);
    let roots = Vec::from_iter(persona.root_certificate.iter().map(|root| BASE64_STANDARD.encode(root)));
    let attestation = match profile.attestation.unwrap_or(Format::PackedSelf) {
        Format::None => "none",
        Format::PackedSelf => "basic_surrogate",
        Format::Packed | Format::FidoU2f | Format::AndroidKey | Format::Compound => "basic_full",
        Format::Tpm => "attca",
        Format::Apple => "anonca",
    };
    json!({
        "legalHeader": "A test persona of Doppelkey: it attests to nothing.",
        "description": profile.description,
        "aaguid": uuid(&configuration.aaguid),
        "authenticatorVersion": configuration.firmware_version.unwrap_or(1),
        "protocolFamily": if is_u2f { "u2f" } else { "fido2" },
        "schema": 3,
        "upv": versions(configuration),
        "authenticationAlgorithms":
            Vec::from_iter(configuration.algorithms.iter().filter_map(|algorithm| registry_name(algorithm.cose()))),
        "publicKeyAlgAndEncodings": ["cose"],
        "attestationTypes": [attestation],
        "userVerificationDetails": verification(configuration),
        "keyProtection": ["software"],
        "matcherProtection": ["software"],
        "cryptoStrength": 128,
        "attachmentHint": ["external", "wired"],
        "tcDisplay": [],
        "attestationRootCertificates": roots,
        "authenticatorGetInfo": get_info(configuration),
    })
}

/// The versions of its protocol: of U2F 1.2, of CTAP those whose minor version is in a name.
fn versions(configuration: &Configuration) -> Value {
    let spoken = [(Version::Fido2_0, 0), (Version::Fido2_1, 1), (Version::Fido2_3, 3)];
    let minors = Vec::from_iter(
        spoken.iter().filter(|(version, _)| configuration.speaks(*version)).map(|(_, minor)| *minor),
    );
    let minors = if minors.is_empty() { vec![2] } else { minors };
    minors.iter().map(|minor| json!({ "major": 1, "minor": minor })).collect()
}

fn verification(configuration: &Configuration) -> Value {
    let mut ways = vec![json!([{ "userVerificationMethod": "presence_internal" }])];
    if configuration.offers(OptionId::ClientPin) {
        ways.push(json!([{
            "userVerificationMethod": "passcode_external",
            "caDesc": { "base": 64, "minLength": configuration.min_pin_length, "maxRetries": configuration.pin_retries, "blockSlowdown": 0 },
        }]));
    }
    if configuration.offers(OptionId::Uv) {
        ways.push(json!([{
            "userVerificationMethod": "fingerprint_internal",
            "baDesc": { "maxTemplates": configuration.max_fingerprints, "maxRetries": configuration.uv_retries, "blockSlowdown": 0 },
        }]));
    }
    Value::Array(ways)
}

/// The FIDO Registry's name of an algorithm.
fn registry_name(cose: i32) -> Option<&'static str> {
    Some(match cose {
        -7 => "secp256r1_ecdsa_sha256_raw",
        -8 => "ed25519_eddsa_sha512_raw",
        -35 => "secp384r1_ecdsa_sha384_raw",
        -36 => "secp521r1_ecdsa_sha512_raw",
        -37 => "rsassa_pss_sha256_raw",
        -47 => "secp256k1_ecdsa_sha256_raw",
        -257 => "rsassa_pkcsv15_sha256_raw",
        _ => return None,
    })
}

/// What such an authenticator answers to authenticatorGetInfo when it is new, with the specification's names.
pub(super) fn get_info(configuration: &Configuration) -> Value {
    let rng = UnwrapErr(getrandom::SysRng);
    let mut authenticator = Authenticator::new(MemoryStore::new(), rng, configuration.clone());
    let mut response = Box::new(Message::new());
    let output = authenticator.handle(std::time::Duration::ZERO, Input::Cbor(&[0x04]), &mut response);
    let Some((0, body)) =
        (output == Output::Respond).then(|| response.split_first()).flatten().map(|(s, b)| (*s, b))
    else {
        return Value::Null;
    };
    let Ok(Cbor::Map(members)) = ciborium::from_reader(body) else { return Value::Null };
    let named = members.into_iter().filter_map(|(key, value)| {
        let number = u64::try_from(key.into_integer().ok()?).ok()?;
        let name = MEMBERS.get(usize::try_from(number).ok()?)?;
        // New at each answer.
        (!name.is_empty() && !name.starts_with("enc")).then(|| ((*name).to_owned(), plain(&value)))
    });
    Value::Object(named.collect())
}

fn plain(value: &Cbor) -> Value {
    match value {
        Cbor::Integer(number) => i64::try_from(*number).map_or(Value::Null, Value::from),
        Cbor::Bytes(bytes) => hex(bytes).into(),
        Cbor::Text(text) => text.as_str().into(),
        Cbor::Bool(set) => (*set).into(),
        Cbor::Array(items) => items.iter().map(plain).collect(),
        Cbor::Map(members) => {
            let named =
                members.iter().filter_map(|(key, value)| Some((key.as_text()?.to_owned(), plain(value))));
            Value::Object(named.collect())
        }
        _ => Value::Null,
    }
}

/// getInfo's members by number (CTAP §6.4).
const MEMBERS: [&str; 0x20] = [
    "",
    "versions",
    "extensions",
    "aaguid",
    "options",
    "maxMsgSize",
    "pinUvAuthProtocols",
    "maxCredentialCountInList",
    "maxCredentialIdLength",
    "transports",
    "algorithms",
    "maxSerializedLargeBlobArray",
    "forcePINChange",
    "minPINLength",
    "firmwareVersion",
    "maxCredBlobLength",
    "maxRPIDsForSetMinPINLength",
    "preferredPlatformUvAttempts",
    "uvModality",
    "certifications",
    "remainingDiscoverableCredentials",
    "vendorPrototypeConfigCommands",
    "attestationFormats",
    "uvCountSinceLastPinEntry",
    "longTouchForReset",
    "encIdentifier",
    "transportsForReset",
    "pinComplexityPolicy",
    "pinComplexityPolicyURL",
    "maxPINLength",
    "encCredStoreState",
    "authenticatorConfigCommands",
];
