//! makeCredential and getAssertion, as a platform asks for them, and what a relying party sees of the answers.
#![allow(dead_code, reason = "each test file uses some of it")]

use ciborium::Value;
use doppelkey_core::testing::World;
use doppelkey_core::{Configuration, CredentialStore, OptionId};
use sha2::{Digest as _, Sha256};

use super::{bytes, get, get_named, map, named, send};

pub(crate) const CLIENT_DATA_HASH: [u8; 32] = [0xCD; 32];
pub(crate) const RP_ID: &str = "example.com";

/// A device as it is by default.
pub(crate) fn world() -> World {
    World::new(Configuration::default())
}

/// A model whose built-in verification needs no enrolment.
pub(crate) fn verifying() -> World {
    let mut configuration = Configuration::default();
    configuration.set_option(OptionId::BioEnroll, false);
    World::new(configuration)
}

/// A makeCredential request: parameters by key, to be changed at will.
pub(crate) struct Make(pub(crate) std::collections::BTreeMap<i32, Value>);

impl Make {
    /// A discoverable ES256 credential for this user.
    pub(crate) fn new(user: &str) -> Self {
        let parameters = [
            (1, bytes(CLIENT_DATA_HASH)),
            (2, named([("id", RP_ID.into()), ("name", "Example".into())])),
            (3, named([("id", bytes(user)), ("name", user.into()), ("displayName", user.into())])),
            (4, algorithms(&[-7])),
            (7, named([("rk", true.into())])),
        ];
        Make(parameters.into())
    }

    /// The same, but kept in its own id.
    pub(crate) fn not_discoverable(user: &str) -> Self {
        let mut make = Make::new(user);
        make.0.remove(&7);
        make
    }

    pub(crate) fn with(mut self, key: i32, value: Value) -> Self {
        self.0.insert(key, value);
        self
    }

    pub(crate) fn rp(self, id: &str) -> Self {
        self.with(2, named([("id", id.into())]))
    }

    pub(crate) fn option(self, name: &str, value: bool) -> Self {
        self.member(7, name, value.into())
    }

    pub(crate) fn extension(self, name: &str, value: Value) -> Self {
        self.member(6, name, value)
    }

    fn member(mut self, key: i32, name: &str, value: Value) -> Self {
        let members = self.0.entry(key).or_insert_with(|| Value::Map(Vec::new()));
        put_named(members, name, value);
        self
    }

    pub(crate) fn send<S: CredentialStore>(&self, world: &mut World<S>) -> Result<Made, u8> {
        let response = send(world, 0x01, &map(self.0.clone()))?;
        let data = Data::parse(get(&response, 2).expect("authData").as_bytes().expect("bytes"));
        Ok(Made { response, data })
    }
}

/// A getAssertion request.
pub(crate) struct Get(pub(crate) std::collections::BTreeMap<i32, Value>);

impl Get {
    /// Any discoverable credential of this RP.
    pub(crate) fn new() -> Self {
        Get([(1, Value::from(RP_ID)), (2, bytes(CLIENT_DATA_HASH))].into())
    }

    /// One of these credentials.
    pub(crate) fn allowing<'a>(ids: impl IntoIterator<Item = &'a [u8]>) -> Self {
        Get::new().with(3, descriptors(ids))
    }

    pub(crate) fn with(mut self, key: i32, value: Value) -> Self {
        self.0.insert(key, value);
        self
    }

    pub(crate) fn option(self, name: &str, value: bool) -> Self {
        self.member(5, name, value.into())
    }

    pub(crate) fn extension(self, name: &str, value: Value) -> Self {
        self.member(4, name, value)
    }

    fn member(mut self, key: i32, name: &str, value: Value) -> Self {
        let members = self.0.entry(key).or_insert_with(|| Value::Map(Vec::new()));
        put_named(members, name, value);
        self
    }

    pub(crate) fn send<S: CredentialStore>(&self, world: &mut World<S>) -> Result<Got, u8> {
        Ok(Got::new(send(world, 0x02, &map(self.0.clone()))?))
    }
}

/// getNextAssertion.
pub(crate) fn next<S: CredentialStore>(world: &mut World<S>) -> Result<Got, u8> {
    super::raw(world, &[0x08]).map(Got::new)
}

/// Text keys in CTAP2's order: shorter ones first.
fn put_named(map: &mut Value, name: &str, value: Value) {
    let members = map.as_map_mut().expect("a map");
    members.retain(|(key, _)| key.as_text() != Some(name));
    members.push((name.into(), value));
    members.sort_by_key(|(key, _)| {
        let key = key.as_text().expect("a text key").to_owned();
        (key.len(), key)
    });
}

pub(crate) fn algorithms(numbers: &[i32]) -> Value {
    let entry = |alg: &i32| named([("alg", (*alg).into()), ("type", "public-key".into())]);
    Value::Array(numbers.iter().map(entry).collect())
}

pub(crate) fn descriptors<'a>(ids: impl IntoIterator<Item = &'a [u8]>) -> Value {
    let entry = |id| named([("id", bytes(id)), ("type", "public-key".into())]);
    Value::Array(ids.into_iter().map(entry).collect())
}

/// An answer to makeCredential.
#[derive(Debug, PartialEq)]
pub(crate) struct Made {
    pub(crate) response: Value,
    pub(crate) data: Data,
}

impl Made {
    pub(crate) fn id(&self) -> &[u8] {
        &self.data.attested.as_ref().expect("attested credential data").id
    }

    pub(crate) fn public_key(&self) -> &Value {
        &self.data.attested.as_ref().expect("attested credential data").public_key
    }

    pub(crate) fn aaguid(&self) -> [u8; 16] {
        self.data.attested.as_ref().expect("attested credential data").aaguid
    }

    pub(crate) fn format(&self) -> &str {
        get(&self.response, 1).and_then(Value::as_text).expect("fmt")
    }

    pub(crate) fn statement(&self) -> &Value {
        get(&self.response, 3).expect("attStmt")
    }

    /// Whether the packed self attestation verifies.
    pub(crate) fn is_self_attested(&self) -> bool {
        let signature = get_named(self.statement(), "sig").and_then(Value::as_bytes).expect("sig");
        self.format() == "packed"
            && get_named(self.statement(), "alg") == get(self.public_key(), 3)
            && get_named(self.statement(), "x5c").is_none()
            && verifies(self.public_key(), &[&self.data.raw, &CLIENT_DATA_HASH[..]].concat(), signature)
    }
}

/// An answer to getAssertion.
#[derive(Debug, PartialEq)]
pub(crate) struct Got {
    pub(crate) response: Value,
    pub(crate) data: Data,
}

impl Got {
    fn new(response: Value) -> Self {
        let data = Data::parse(get(&response, 2).expect("authData").as_bytes().expect("bytes"));
        Got { response, data }
    }

    pub(crate) fn id(&self) -> &[u8] {
        get_named(get(&self.response, 1).expect("credential"), "id").and_then(Value::as_bytes).expect("id")
    }

    pub(crate) fn user_id(&self) -> Option<&[u8]> {
        Some(get_named(get(&self.response, 4)?, "id")?.as_bytes()?)
    }

    pub(crate) fn user_name(&self) -> Option<&str> {
        get_named(get(&self.response, 4)?, "name")?.as_text()
    }

    pub(crate) fn verifies(&self, made: &Made) -> bool {
        let signature = get(&self.response, 3).and_then(Value::as_bytes).expect("signature");
        verifies(made.public_key(), &[&self.data.raw, &CLIENT_DATA_HASH[..]].concat(), signature)
    }
}

/// Authenticator data (WebAuthn §6.1).
#[derive(Debug, PartialEq)]
pub(crate) struct Data {
    pub(crate) raw: Vec<u8>,
    pub(crate) up: bool,
    pub(crate) uv: bool,
    pub(crate) be: bool,
    pub(crate) bs: bool,
    pub(crate) sign_count: u32,
    pub(crate) attested: Option<Attested>,
    pub(crate) extensions: Option<Value>,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Attested {
    pub(crate) aaguid: [u8; 16],
    pub(crate) id: Vec<u8>,
    pub(crate) public_key: Value,
}

impl Data {
    pub(crate) fn parse(raw: &[u8]) -> Self {
        assert_eq!(raw[..32], Sha256::digest(RP_ID)[..], "the RP ID's hash");
        let flags = raw[32];
        let mut rest = &raw[37..];
        let attested = (flags & 0x40 != 0).then(|| {
            let length = usize::from(u16::from_be_bytes([rest[16], rest[17]]));
            let (head, tail) = rest.split_at(18 + length);
            rest = tail;
            Attested {
                aaguid: head[..16].try_into().expect("16 bytes"),
                id: head[18..].to_vec(),
                public_key: ciborium::from_reader(&mut rest).expect("a COSE_Key"),
            }
        });
        let extensions =
            (flags & 0x80 != 0).then(|| ciborium::from_reader(&mut rest).expect("extension outputs"));
        assert!(rest.is_empty(), "nothing follows");
        assert_eq!(flags & 0x22, 0, "reserved flags");
        Data {
            raw: raw.to_vec(),
            up: flags & 0x01 != 0,
            uv: flags & 0x04 != 0,
            be: flags & 0x08 != 0,
            bs: flags & 0x10 != 0,
            sign_count: u32::from_be_bytes(raw[33..37].try_into().expect("4 bytes")),
            attested,
            extensions,
        }
    }

    pub(crate) fn extension(&self, name: &str) -> Option<&Value> {
        get_named(self.extensions.as_ref()?, name)
    }
}

macro_rules! ecdsa {
    ($curve:ident, $part:ident, $message:ident, $signature:ident) => {{
        use $curve::ecdsa::signature::Verifier as _;
        let point = [&[4], $part(-2), $part(-3)].concat();
        let key = $curve::ecdsa::VerifyingKey::from_sec1_bytes(&point).expect("a point");
        let signature = $curve::ecdsa::Signature::from_der($signature).expect("DER");
        key.verify($message, &signature).is_ok()
    }};
}

fn rsa_key(n: &[u8], e: &[u8]) -> rsa::PublicKey {
    let number = rsa::BoxedUint::from_be_slice_vartime;
    rsa::PublicKey::new(number(n), number(e)).expect("a public key")
}

fn ml_dsa_verifies<P: ml_dsa::MlDsaParams>(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    use ml_dsa::signature::Verifier as _;
    let key = ml_dsa::VerifyingKey::<P>::decode(&key.try_into().expect("its size"));
    let signature = ml_dsa::Signature::<P>::decode(&signature.try_into().expect("its size"));
    key.verify(message, &signature.expect("a signature")).is_ok()
}

/// Verifies a signature with a COSE_Key.
pub(crate) fn verifies(key: &Value, message: &[u8], signature: &[u8]) -> bool {
    let part = |label| get(key, label).and_then(Value::as_bytes).expect("a part of the key").as_slice();
    match get(key, 3).and_then(Value::as_integer).map(i128::from) {
        Some(-7) => ecdsa!(p256, part, message, signature),
        Some(-35) => ecdsa!(p384, part, message, signature),
        Some(-36) => ecdsa!(p521, part, message, signature),
        Some(-47) => ecdsa!(k256, part, message, signature),
        Some(-8) => {
            use ed25519_dalek::Verifier as _;
            let key = ed25519_dalek::VerifyingKey::from_bytes(part(-2).try_into().expect("32 bytes"));
            let signature = ed25519_dalek::Signature::from_slice(signature).expect("64 bytes");
            key.expect("a point").verify(message, &signature).is_ok()
        }
        Some(-257) => {
            let scheme = rsa::Pkcs1v15Sign::new::<Sha256>();
            rsa_key(part(-1), part(-2)).verify(scheme, &Sha256::digest(message), signature).is_ok()
        }
        Some(-37) => {
            let scheme = rsa::Pss::<Sha256>::new();
            rsa_key(part(-1), part(-2)).verify(scheme, &Sha256::digest(message), signature).is_ok()
        }
        Some(-48) => ml_dsa_verifies::<ml_dsa::MlDsa44>(part(-1), message, signature),
        Some(-49) => ml_dsa_verifies::<ml_dsa::MlDsa65>(part(-1), message, signature),
        Some(-50) => ml_dsa_verifies::<ml_dsa::MlDsa87>(part(-1), message, signature),
        other => panic!("no verifier for {other:?}"),
    }
}
