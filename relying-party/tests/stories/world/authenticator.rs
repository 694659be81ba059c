//! An authenticator and the browser around it, written for these tests alone: ES256, attestation `none`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// What to do wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twist {
    /// Nothing.
    None,
    /// Flip a bit of the signature.
    BadSignature,
    /// Claim the origin of somebody else.
    ForeignOrigin,
    /// Do not raise the counter.
    SameCounter,
    /// Claim a credential id that nobody has.
    UnknownCredential,
    /// Leave UP out.
    UserAbsent,
    /// Nothing, but begin the client data with a byte order mark.
    ByteOrderMark,
}

/// One authenticator with its passkeys.
#[derive(Clone)]
pub struct Authenticator {
    /// `platform` or `cross-platform`.
    pub attachment: &'static str,
    /// UV.
    pub verifies_user: bool,
    /// BE and BS, and no counter.
    pub synced: bool,
    pub passkeys: Vec<Passkey>,
}

/// One passkey.
#[derive(Clone)]
pub struct Passkey {
    pub id: Vec<u8>,
    pub handle: String,
    pub counter: u32,
    key: SigningKey,
}

impl Authenticator {
    /// A phone or laptop: synced passkeys, verified user.
    pub fn platform() -> Self {
        Self { attachment: "platform", verifies_user: true, synced: true, passkeys: Vec::new() }
    }

    /// A security key: counters, user present only.
    pub fn security_key() -> Self {
        Self { attachment: "cross-platform", verifies_user: false, synced: false, passkeys: Vec::new() }
    }

    /// A phone that has had this synced passkey for long.
    pub fn with_passkey(id: Vec<u8>, handle: &[u8], secret: &[u8; 32]) -> Self {
        let key = SigningKey::from_slice(secret).expect("below the order of the curve");
        let passkey = Passkey { id, handle: URL_SAFE_NO_PAD.encode(handle), counter: 0, key };
        Self { passkeys: vec![passkey], ..Self::platform() }
    }

    /// Answers `navigator.credentials.create()`.
    pub fn create(&mut self, options: &Value, origin: &str, twist: Twist) -> Value {
        let mut id = vec![0; 32];
        getrandom::fill(&mut id).expect("randomness");
        self.create_with_id(options, origin, twist, id)
    }

    /// The same with a credential id of the story's choice.
    pub fn create_with_id(&mut self, options: &Value, origin: &str, twist: Twist, id: Vec<u8>) -> Value {
        let mut secret = [1; 32];
        getrandom::fill(&mut secret[1..]).expect("randomness");
        let key = SigningKey::from_slice(&secret).expect("below the order of the curve");
        let handle = options["user"]["id"].as_str().expect("a user handle").to_string();
        let passkey = Passkey { id, handle, counter: 0, key };
        let mut data = self.authenticator_data(options["rp"]["id"].as_str().expect("an RP ID"), 0x40, 0);
        if twist == Twist::UserAbsent {
            data[32] &= !0x01;
        }
        data.extend([0; 16]);
        data.extend(u16::try_from(passkey.id.len()).expect("short").to_be_bytes());
        data.extend(&passkey.id);
        data.extend(cose_key(&passkey.key));
        let attestation = attestation_object(&data);
        let client_data = client_data("webauthn.create", options, origin, twist);
        let id = URL_SAFE_NO_PAD.encode(&passkey.id);
        self.passkeys.push(passkey);
        json!({
            "id": id, "rawId": id, "type": "public-key",
            "authenticatorAttachment": self.attachment,
            "clientExtensionResults": {},
            "response": {
                "clientDataJSON": URL_SAFE_NO_PAD.encode(client_data),
                "attestationObject": URL_SAFE_NO_PAD.encode(attestation),
                "transports": if self.attachment == "platform" { ["internal", "hybrid"] } else { ["usb", "nfc"] },
            },
        })
    }

    /// Answers `navigator.credentials.get()` with the latest passkey that fits.
    pub fn get(&mut self, options: &Value, origin: &str, twist: Twist) -> Value {
        let allowed: Vec<Vec<u8>> = options["allowCredentials"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|item| URL_SAFE_NO_PAD.decode(item["id"].as_str().expect("an id")).expect("base64url"))
            .collect();
        let fits = |passkey: &Passkey| allowed.is_empty() || allowed.contains(&passkey.id);
        let index = self.passkeys.iter().rposition(fits).unwrap_or(self.passkeys.len() - 1);
        if !self.synced && twist != Twist::SameCounter {
            self.passkeys[index].counter += 1;
        }
        let passkey = self.passkeys[index].clone();
        let data = self.authenticator_data(options["rpId"].as_str().expect("an RP ID"), 0, passkey.counter);
        let client_data = client_data("webauthn.get", options, origin, twist);
        let mut signed = data.clone();
        signed.extend(Sha256::digest(&client_data));
        let signature: Signature = passkey.key.sign(&signed);
        let mut signature = signature.to_der().as_bytes().to_vec();
        if twist == Twist::BadSignature {
            *signature.last_mut().expect("not empty") ^= 1;
        }
        let id = if twist == Twist::UnknownCredential { vec![7; 32] } else { passkey.id.clone() };
        let id = URL_SAFE_NO_PAD.encode(id);
        json!({
            "id": id, "rawId": id, "type": "public-key",
            "authenticatorAttachment": self.attachment,
            "clientExtensionResults": {},
            "response": {
                "clientDataJSON": URL_SAFE_NO_PAD.encode(client_data),
                "authenticatorData": URL_SAFE_NO_PAD.encode(data),
                "signature": URL_SAFE_NO_PAD.encode(signature),
                "userHandle": passkey.handle,
            },
        })
    }

    fn authenticator_data(&self, rp_id: &str, more_flags: u8, counter: u32) -> Vec<u8> {
        let mut flags = 0x01 | more_flags;
        flags |= if self.verifies_user { 0x04 } else { 0 };
        flags |= if self.synced { 0x18 } else { 0 };
        let mut data = Sha256::digest(rp_id.as_bytes()).to_vec();
        data.push(flags);
        data.extend(counter.to_be_bytes());
        data
    }
}

fn client_data(kind: &str, options: &Value, origin: &str, twist: Twist) -> Vec<u8> {
    let origin = if twist == Twist::ForeignOrigin { "https://evil.example" } else { origin };
    let text =
        json!({ "type": kind, "challenge": options["challenge"], "origin": origin, "crossOrigin": false });
    let mark = if twist == Twist::ByteOrderMark { "\u{feff}" } else { "" };
    format!("{mark}{text}").into_bytes()
}

/// `{1: 2, 3: -7, -1: 1, -2: x, -3: y}`
fn cose_key(key: &SigningKey) -> Vec<u8> {
    let point = key.verifying_key().to_sec1_point(false);
    let bytes = point.as_bytes();
    let mut cbor = vec![0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 0x20];
    cbor.extend(&bytes[1..33]);
    cbor.extend([0x22, 0x58, 0x20]);
    cbor.extend(&bytes[33..]);
    cbor
}

/// `{"fmt": "none", "attStmt": {}, "authData": …}`
fn attestation_object(data: &[u8]) -> Vec<u8> {
    let mut cbor = vec![0xa3, 0x63];
    cbor.extend(b"fmt\x64none\x67attStmt\xa0\x68authData");
    match u8::try_from(data.len()) {
        Ok(length) => cbor.extend([0x58, length]),
        Err(_) => {
            cbor.push(0x59);
            cbor.extend(u16::try_from(data.len()).expect("short").to_be_bytes());
        }
    }
    cbor.extend(data);
    cbor
}
