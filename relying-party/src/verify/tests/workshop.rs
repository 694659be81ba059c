//! Right responses, open for change before they are signed.

use ciborium::Value as Cbor;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::super::response::to_base64url;

pub(crate) const CHALLENGE: [u8; 32] = [0xfb; 32];
pub(crate) const UP: u8 = 0x01;
pub(crate) const UV: u8 = 0x04;
pub(crate) const BE: u8 = 0x08;
pub(crate) const BS: u8 = 0x10;
pub(crate) const AT: u8 = 0x40;
pub(crate) const ED: u8 = 0x80;

/// The private key of the vector none.ES256.
pub(crate) fn credential_key() -> SigningKey {
    key("6e68e7a58484a3264f66b77f5d6dc5bc36a47085b615c9727ab334e8c369c2ee")
}

/// The private key of the vector packed-self.ES256: another credential's.
pub(crate) fn other_key() -> SigningKey {
    key("b4bbfa5d68e1693b6ef5a19a0e60ef7ee2cbcac81f7fec7006ac3a21e0c5116a")
}

pub(crate) fn key(hex: &str) -> SigningKey {
    SigningKey::from_slice(&unhex(hex)).unwrap()
}

/// A 2048-bit key whose primes were made once for these tests.
pub(crate) fn rsa_key() -> rsa::PrivateKey {
    use rsa::pkcs8::DecodePrivateKey as _;
    rsa::PrivateKey::from_pkcs8_der(include_bytes!("../signature/rsa-2048.pk8")).unwrap()
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

pub(crate) fn sha256(bytes: &[u8]) -> Vec<u8> {
    Sha256::digest(bytes).to_vec()
}

/// A signature in DER.
pub(crate) fn sign(key: &SigningKey, message: &[u8]) -> Vec<u8> {
    let signature: Signature = key.sign(message);
    signature.to_der().as_bytes().to_vec()
}

pub(crate) fn cbor(value: &Cbor) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).unwrap();
    bytes
}

pub(crate) fn text_map<const N: usize>(members: [(&str, Cbor); N]) -> Cbor {
    Cbor::Map(members.into_iter().map(|(name, value)| (name.into(), value)).collect())
}

pub(crate) fn label_map<const N: usize>(members: [(i64, Cbor); N]) -> Cbor {
    Cbor::Map(members.into_iter().map(|(label, value)| (label.into(), value)).collect())
}

/// An ES256 key in COSE.
pub(crate) fn es256(key: &SigningKey) -> Cbor {
    let point = key.verifying_key().to_sec1_point(false);
    let point = point.as_bytes();
    label_map([
        (1, 2.into()),
        (3, (-7).into()),
        (-1, 1.into()),
        (-2, point[1..33].to_vec().into()),
        (-3, point[33..].to_vec().into()),
    ])
}

/// What goes into `clientDataJSON`.
#[derive(Clone)]
pub(crate) struct ClientData {
    pub(crate) kind: String,
    pub(crate) challenge: String,
    pub(crate) origin: String,
    pub(crate) cross_origin: Option<bool>,
    pub(crate) top_origin: Option<String>,
    /// Instead of all the above.
    pub(crate) raw: Option<Vec<u8>>,
}

impl ClientData {
    fn new(kind: &str) -> Self {
        Self {
            kind: kind.into(),
            challenge: to_base64url(&CHALLENGE),
            origin: "https://example.org".into(),
            cross_origin: Some(false),
            top_origin: None,
            raw: None,
        }
    }

    pub(crate) fn text(&self) -> String {
        let mut members = json!({ "type": self.kind, "challenge": self.challenge, "origin": self.origin });
        if let Some(cross_origin) = self.cross_origin {
            members["crossOrigin"] = cross_origin.into();
        }
        if let Some(top_origin) = &self.top_origin {
            members["topOrigin"] = top_origin.clone().into();
        }
        members.to_string()
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.raw.clone().unwrap_or_else(|| self.text().into_bytes())
    }
}

/// A statement is made from the authenticator data and the hash of the client data.
pub(crate) type Attest = Box<dyn Fn(&[u8], &[u8]) -> Cbor>;

/// A registration in the making: right as it stands, with no attestation.
pub(crate) struct Registration {
    pub(crate) client_data: ClientData,
    pub(crate) rp_id: String,
    pub(crate) flags: u8,
    pub(crate) sign_count: u32,
    pub(crate) aaguid: [u8; 16],
    pub(crate) id: Vec<u8>,
    /// Instead of the length of the id.
    pub(crate) id_length: Option<u16>,
    /// The key, in CBOR.
    pub(crate) key: Vec<u8>,
    pub(crate) extensions: Vec<u8>,
    pub(crate) tail: Vec<u8>,
    pub(crate) format: String,
    pub(crate) attest: Attest,
    /// Instead of what all the above make.
    pub(crate) auth_data: Option<Vec<u8>>,
    pub(crate) attestation_object: Option<Vec<u8>>,
    pub(crate) policy: Value,
}

impl Registration {
    pub(crate) fn new() -> Self {
        Self {
            client_data: ClientData::new("webauthn.create"),
            rp_id: "example.org".into(),
            flags: UP | UV | BE | BS | AT,
            sign_count: 0,
            aaguid: [7; 16],
            id: vec![0xa5; 32],
            id_length: None,
            key: cbor(&es256(&credential_key())),
            extensions: Vec::new(),
            tail: Vec::new(),
            format: "none".into(),
            attest: Box::new(|_, _| Cbor::Map(vec![])),
            auth_data: None,
            attestation_object: None,
            policy: json!({ "rp_id": "example.org", "origins": ["https://example.org"] }),
        }
    }

    pub(crate) fn auth_data(&self) -> Vec<u8> {
        let length = self.id_length.unwrap_or(self.id.len() as u16).to_be_bytes();
        self.auth_data.clone().unwrap_or_else(|| {
            let parts: [&[u8]; 9] = [
                &sha256(self.rp_id.as_bytes()),
                &[self.flags],
                &self.sign_count.to_be_bytes(),
                &self.aaguid,
                &length,
                &self.id,
                &self.key,
                &self.extensions,
                &self.tail,
            ];
            parts.concat()
        })
    }

    pub(crate) fn attestation_object(&self) -> Vec<u8> {
        let auth_data = self.auth_data();
        let statement = (self.attest)(&auth_data, &sha256(&self.client_data.bytes()));
        self.attestation_object.clone().unwrap_or_else(|| {
            cbor(&text_map([
                ("fmt", self.format.as_str().into()),
                ("attStmt", statement),
                ("authData", auth_data.into()),
            ]))
        })
    }

    pub(crate) fn case(&self) -> Value {
        json!({
            "ceremony": "registration",
            "challenge": to_base64url(&CHALLENGE),
            "policy": self.policy,
            "credential": {
                "id": to_base64url(&self.id),
                "rawId": to_base64url(&self.id),
                "type": "public-key",
                "authenticatorAttachment": "platform",
                "clientExtensionResults": {},
                "response": {
                    "clientDataJSON": to_base64url(&self.client_data.bytes()),
                    "attestationObject": to_base64url(&self.attestation_object()),
                    "transports": ["internal"],
                },
            },
        })
    }
}

/// A signature is made from the message to sign.
pub(crate) type Sign = Box<dyn Fn(&[u8]) -> Vec<u8>>;

/// An assertion in the making: right as it stands.
pub(crate) struct Assertion {
    pub(crate) client_data: ClientData,
    pub(crate) rp_id: String,
    pub(crate) flags: u8,
    pub(crate) sign_count: u32,
    pub(crate) tail: Vec<u8>,
    /// Instead of what the above make.
    pub(crate) auth_data: Option<Vec<u8>>,
    pub(crate) sign: Sign,
    /// The key of the record, in CBOR.
    pub(crate) key: Vec<u8>,
    pub(crate) policy: Value,
}

impl Assertion {
    pub(crate) fn new() -> Self {
        Self {
            client_data: ClientData::new("webauthn.get"),
            rp_id: "example.org".into(),
            flags: UP | UV | BE | BS,
            sign_count: 8,
            tail: Vec::new(),
            auth_data: None,
            sign: Box::new(|message| sign(&credential_key(), message)),
            key: cbor(&es256(&credential_key())),
            policy: json!({ "rp_id": "example.org", "origins": ["https://example.org"] }),
        }
    }

    pub(crate) fn case(&self) -> Value {
        let auth_data = self.auth_data.clone().unwrap_or_else(|| {
            let count = self.sign_count.to_be_bytes();
            [&sha256(self.rp_id.as_bytes())[..], &[self.flags], &count, &self.tail].concat()
        });
        let message = [&auth_data[..], &sha256(&self.client_data.bytes())].concat();
        let id = to_base64url(&[0xa5; 32]);
        json!({
            "ceremony": "authentication",
            "challenge": to_base64url(&CHALLENGE),
            "policy": self.policy,
            "record": {
                "id": id,
                "public_key_cose": to_base64url(&self.key),
                "sign_count": 7,
                "backup_eligible": true,
                "backup_state": true,
                "user_handle": to_base64url(b"user handle"),
            },
            "credential": {
                "id": id,
                "rawId": id,
                "type": "public-key",
                "clientExtensionResults": {},
                "response": {
                    "clientDataJSON": to_base64url(&self.client_data.bytes()),
                    "authenticatorData": to_base64url(&auth_data),
                    "signature": to_base64url(&(self.sign)(&message)),
                    "userHandle": to_base64url(b"user handle"),
                },
            },
        })
    }
}
