//! The W3C vectors as cases.

use serde_json::{Value, json};

use super::super::authenticator_data::AuthenticatorData;
use super::super::cbor;
use super::super::response::to_base64url;
use super::workshop::unhex;
use super::{Mutant, right, wrong};

pub(super) fn vectors() -> Vec<Mutant> {
    let suite: Value =
        serde_json::from_str(include_str!("../../../../tests/vectors/webauthn-l3-vectors.json")).unwrap();
    suite["vectors"].as_array().unwrap().iter().flat_map(cases).collect()
}

fn cases(vector: &Value) -> [Mutant; 2] {
    let name = format!("w3c/{}", vector["name"].as_str().unwrap());
    let policy = json!({
        "rp_id": "example.org",
        "origins": ["https://example.org"],
        "cross_origin": vector["cross_origin"],
        "top_origins": ["https://example.com"],
    });
    let challenge = |ceremony: &str| to_base64url(&unhex(vector[ceremony]["challenge"].as_str().unwrap()));
    let registration = json!({
        "ceremony": "registration",
        "challenge": challenge("registration"),
        "policy": policy,
        "credential": vector["registration_json"],
    });
    let mut credential = vector["authentication_json"].clone();
    credential["response"]["userHandle"] = json!(to_base64url(b"user handle"));
    let authentication = json!({
        "ceremony": "authentication",
        "challenge": challenge("authentication"),
        "policy": policy,
        "record": record(vector),
        "credential": credential,
    });
    let registered = match vector["name"].as_str() {
        // its authorization lists are empty: nothing tells the origin or the purpose of the key
        Some("android-key.ES256") => wrong(&name, 23, registration),
        _ => right(&name, registration),
    };
    [registered, right(&name, authentication)]
}

fn record(vector: &Value) -> Value {
    let object = unhex(vector["registration"]["attestationObject"].as_str().unwrap());
    let object = cbor::read(&object).unwrap();
    let data = cbor::member(object.as_map().unwrap(), "authData").unwrap();
    let data = AuthenticatorData::parse(data.as_bytes().unwrap()).unwrap();
    let attested = data.attested.unwrap();
    json!({
        "id": to_base64url(attested.id),
        "public_key_cose": to_base64url(attested.key_bytes),
        "sign_count": data.sign_count,
        "backup_eligible": data.flags.be(),
        "backup_state": data.flags.bs(),
        "user_handle": to_base64url(b"user handle"),
    })
}
