//! Credential public keys: `COSE_Key` (RFC 9052 §7, RFC 9053, RFC 8230) as WebAuthn Level 3 §6.5.1.1 narrows it.
//!
//! A key has exactly the members its type needs, its curve fits its algorithm, and it is a *safe* key: a point
//! on the curve and not of small order, a modulus of at least 2048 bits, an odd exponent of at least 3.

use std::fmt;

use super::cbor::{self, Value};
use super::signature::{Hash, PublicKey, Scheme};

/// Why a key is not acceptable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// Not a CBOR map, or a member is missing or of the wrong type.
    Member(&'static str),
    /// A member that the key type has no use for (a private part, for example).
    UnexpectedMember,
    /// An algorithm this verifier does not know.
    AlgorithmUnknown(i64),
    /// kty or crv does not fit the algorithm.
    TypeMismatch,
    /// A coordinate or key has the wrong length.
    Length,
    /// The coordinates are no point of the curve.
    NotOnCurve,
    /// The point has small order: every signature would verify.
    SmallOrder,
    /// The modulus has fewer than 2048 bits, or more than 8192.
    ModulusSize,
    /// The exponent is even, or less than 3.
    Exponent,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Member(name) => write!(f, "{name} is missing or of the wrong type"),
            Self::UnexpectedMember => write!(f, "a member that this key type has no use for"),
            Self::AlgorithmUnknown(alg) => write!(f, "algorithm {alg} is unknown"),
            Self::TypeMismatch => write!(f, "kty or crv does not fit the algorithm"),
            Self::Length => write!(f, "a coordinate or key of the wrong length"),
            Self::NotOnCurve => write!(f, "not a point on the curve"),
            Self::SmallOrder => write!(f, "a point of small order"),
            Self::ModulusSize => write!(f, "modulus has less than 2048 bits or more than 8192"),
            Self::Exponent => write!(f, "exponent is even or less than 3"),
        }
    }
}

/// A credential public key with the one algorithm it may be used with.
#[derive(Clone, Debug)]
pub(crate) struct CoseKey {
    pub(crate) alg: i64,
    pub(crate) key: PublicKey,
}

impl CoseKey {
    /// Reads a stored `COSE_Key`.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        Self::from_value(&cbor::read(bytes).map_err(|_| KeyError::Member("COSE_Key"))?)
    }

    /// Reads a `COSE_Key` that is CBOR already.
    pub(crate) fn from_value(value: &Value) -> Result<Self, KeyError> {
        let map = value.as_map().ok_or(KeyError::Member("COSE_Key"))?;
        let alg = label(map, 3).and_then(cbor::integer).ok_or(KeyError::Member("alg"))?;
        let kty = label(map, 1).and_then(cbor::integer).ok_or(KeyError::Member("kty"))?;
        let (expected_kty, curve) = shape(alg).ok_or(KeyError::AlgorithmUnknown(alg))?;
        if kty != expected_kty {
            return Err(KeyError::TypeMismatch);
        }
        if let Some(curve) = curve {
            let found = label(map, -1).and_then(cbor::integer).ok_or(KeyError::Member("crv"))?;
            if found != curve {
                return Err(KeyError::TypeMismatch);
            }
        }
        let expected_members = match kty {
            KTY_EC2 => 5,
            KTY_AKP => 3,
            _ => 4,
        };
        let key = read_key(alg, map)?;
        if map.len() != expected_members {
            return Err(KeyError::UnexpectedMember);
        }
        Ok(Self { alg, key })
    }

    /// Verifies a signature as this key's algorithm writes it.
    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        scheme(self.alg).is_some_and(|scheme| self.key.verify(scheme, message, signature))
    }
}

/// The signature scheme of a COSE algorithm number, also of those only attestation statements use.
pub(crate) fn scheme(alg: i64) -> Option<Scheme> {
    Some(match alg {
        -7 | -9 | -47 => Scheme::Ecdsa(Hash::Sha256),
        -35 | -51 => Scheme::Ecdsa(Hash::Sha384),
        -36 | -52 => Scheme::Ecdsa(Hash::Sha512),
        -8 | -19 | -53 => Scheme::EdDsa,
        -257 => Scheme::Pkcs1(Hash::Sha256),
        -258 => Scheme::Pkcs1(Hash::Sha384),
        -259 => Scheme::Pkcs1(Hash::Sha512),
        -37 => Scheme::Pss(Hash::Sha256),
        -50..=-48 => Scheme::MlDsa,
        _ => return None,
    })
}

const KTY_OKP: i64 = 1;
const KTY_EC2: i64 = 2;
const KTY_RSA: i64 = 3;
const KTY_AKP: i64 = 7;

/// Key type and curve of a credential algorithm; `None` for an algorithm no credential may use.
fn shape(alg: i64) -> Option<(i64, Option<i64>)> {
    Some(match alg {
        -7 | -9 => (KTY_EC2, Some(1)),
        -35 | -51 => (KTY_EC2, Some(2)),
        -36 | -52 => (KTY_EC2, Some(3)),
        -47 => (KTY_EC2, Some(8)),
        -8 | -19 => (KTY_OKP, Some(6)),
        -53 => (KTY_OKP, Some(7)),
        -257 | -37 => (KTY_RSA, None),
        -50..=-48 => (KTY_AKP, None),
        _ => return None,
    })
}

fn read_key(alg: i64, map: &[(Value, Value)]) -> Result<PublicKey, KeyError> {
    let kty_ec2 = |length: usize| -> Result<Vec<u8>, KeyError> {
        let (x, y) = (bytes(map, -2, "x")?, bytes(map, -3, "y")?);
        if x.len() != length || y.len() != length {
            return Err(KeyError::Length);
        }
        Ok([&[0x04], x, y].concat())
    };
    match alg {
        -7 | -9 => PublicKey::p256(&kty_ec2(32)?),
        -35 | -51 => PublicKey::p384(&kty_ec2(48)?),
        -36 | -52 => PublicKey::p521(&kty_ec2(66)?),
        -47 => PublicKey::k256(&kty_ec2(32)?),
        -8 | -19 => PublicKey::ed25519(bytes(map, -2, "x")?),
        -53 => PublicKey::ed448(bytes(map, -2, "x")?),
        -257 | -37 => PublicKey::rsa(bytes(map, -1, "n")?, bytes(map, -2, "e")?),
        -48 => PublicKey::ml_dsa_44(bytes(map, -1, "pub")?),
        -49 => PublicKey::ml_dsa_65(bytes(map, -1, "pub")?),
        -50 => PublicKey::ml_dsa_87(bytes(map, -1, "pub")?),
        _ => Err(KeyError::AlgorithmUnknown(alg)),
    }
}

fn bytes<'v>(map: &'v [(Value, Value)], key: i64, name: &'static str) -> Result<&'v [u8], KeyError> {
    Ok(label(map, key).and_then(Value::as_bytes).ok_or(KeyError::Member(name))?)
}

fn label(map: &[(Value, Value)], key: i64) -> Option<&Value> {
    cbor::labelled(map, key)
}
