//! What a verifier that is blind to one step goes on with: what a careless one would have read.
//!
//! Each gives `None` where not even that one would have read anything. What is read is leaked: these are tests.

use ciborium::Value as Cbor;
use serde_json::Value;

use super::super::authenticator_data::{AttestedCredential, AuthenticatorData};
use super::super::client_data::ClientData;
use super::super::cose::CoseKey;
use super::super::options::CredentialRecord;
use super::super::registration::AttestationObject;
use super::super::response::{Credential, Envelope, base64url};
use super::workshop::{cbor, credential_key, es256};

/// Of any type, with whatever else is in it, and one of its two ids.
pub(crate) fn attestation(credential: &Credential) -> Option<Envelope> {
    let attestation_object = member(credential, "attestationObject")?;
    Some(Envelope { attestation_object, ..envelope(credential)? })
}

/// The same of an assertion.
pub(crate) fn assertion(credential: &Credential) -> Option<Envelope> {
    let [authenticator_data, signature] =
        ["authenticatorData", "signature"].map(|name| member(credential, name));
    Some(Envelope {
        authenticator_data: authenticator_data?,
        signature: signature?,
        user_handle: match &credential.response["userHandle"] {
            Value::Null => None,
            _ => Some(member(credential, "userHandle")?),
        },
        ..envelope(credential)?
    })
}

fn envelope(credential: &Credential) -> Option<Envelope> {
    let ids = [&credential.raw_id, &credential.id];
    let id = ids.into_iter().find_map(|id| base64url(id.as_str()?.trim_end_matches('=')))?;
    Some(Envelope { id, client_data: member(credential, "clientDataJSON")?, ..Envelope::default() })
}

fn member(credential: &Credential, name: &str) -> Option<Vec<u8>> {
    base64url(credential.response_text(name)?.trim_end_matches('='))
}

/// Without the bytes that are not UTF-8.
pub(crate) fn text(bytes: &[u8]) -> Option<&'static str> {
    let text = String::from_utf8_lossy(bytes).replace(['\u{fffd}', '\u{feff}'], "");
    Some(text.leak())
}

/// From the first brace on to its match; of two members the last, and none of a wrong type.
pub(crate) fn client_data(text: &str) -> Option<ClientData> {
    let text = &text[text.find('{')?..];
    let value = serde_json::Deserializer::from_str(text).into_iter::<Value>().next()?.ok()?;
    let text = |name: &str| value[name].as_str().map(String::from);
    Some(ClientData {
        kind: text("type")?,
        challenge: text("challenge")?,
        origin: text("origin")?,
        cross_origin: value["crossOrigin"].as_bool(),
        top_origin: text("topOrigin"),
    })
}

/// The first item, in any CBOR.
pub(in crate::verify) fn attestation_object(bytes: &[u8]) -> Option<AttestationObject> {
    let mut value: Cbor = ciborium::from_reader(bytes).ok()?;
    while let Cbor::Tag(_, inside) = value {
        value = *inside;
    }
    let map = value.into_map().ok()?;
    let member = |name: &str| map.iter().find(|(key, _)| key.as_text() == Some(name)).map(|(_, value)| value);
    Some(AttestationObject {
        format: member("fmt")?.as_text()?.into(),
        statement: member("attStmt")?.clone(),
        auth_data: member("authData")?.as_bytes()?.clone(),
    })
}

/// As much of it as there is sense in, whatever its flags promise.
pub(crate) fn authenticator_data(bytes: &[u8]) -> Option<AuthenticatorData<'static>> {
    let variants = [0x00, 0x80, 0x40, 0xc0].into_iter().flat_map(|flags| {
        (37..=bytes.len()).rev().map(move |length| {
            let mut part = bytes[..length].to_vec();
            part[32] ^= flags;
            part
        })
    });
    variants.into_iter().find_map(|part| AuthenticatorData::parse(part.leak()).ok())
}

/// The same, if there is a credential in it.
pub(crate) fn attested(bytes: &[u8]) -> Option<(AuthenticatorData<'static>, AttestedCredential<'static>)> {
    let with_a_credential = |flags: u8| {
        let mut part = bytes.to_vec();
        *part.get_mut(32)? = flags;
        let mut data = authenticator_data(&part)?;
        let attested = data.attested.take()?;
        Some((data, attested))
    };
    let flags = *bytes.get(32)?;
    with_a_credential(flags).or_else(|| with_a_credential(flags | 0x40))
}

/// A key, for one that is none. The statements of such cases do not look at it.
pub(crate) fn key() -> Option<CoseKey> {
    CoseKey::from_bytes(&cbor(&es256(&credential_key()))).ok()
}

/// What is stored in the other cases.
pub(crate) fn record() -> Option<&'static CredentialRecord> {
    Some(Box::leak(Box::new(CredentialRecord {
        id: vec![0xa5; 32],
        public_key_cose: cbor(&es256(&credential_key())),
        sign_count: 7,
        backup_eligible: true,
        backup_state: true,
        user_handle: b"user handle".to_vec(),
    })))
}
