//! Public keys and the signature schemes they verify: the one place that calls the cryptographic crates.

#[cfg(feature = "aws-lc-rs")]
mod aws_lc;
#[cfg(test)]
mod tests;

use std::fmt;

use der::Decode as _;
use der::asn1::ObjectIdentifier;
use ed448_goldilocks::elliptic_curve::Group as _;
use ml_dsa::{MlDsa44, MlDsa65, MlDsa87};
use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use rsa::pkcs1;
use sha2::{Digest as _, Sha256, Sha384, Sha512};

use x509_cert::spki::SubjectPublicKeyInfoOwned;

use super::cose::KeyError;

/// A hash function named by a signature scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hash {
    /// Only ever inside a TPM attestation.
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    pub(crate) fn of(self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha1 => sha1::Sha1::digest(message).to_vec(),
            Self::Sha256 => Sha256::digest(message).to_vec(),
            Self::Sha384 => Sha384::digest(message).to_vec(),
            Self::Sha512 => Sha512::digest(message).to_vec(),
        }
    }
}

/// How a signature is made, apart from the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// ECDSA, the signature in DER.
    Ecdsa(Hash),
    /// RSASSA-PKCS1-v1_5.
    Pkcs1(Hash),
    /// RSASSA-PSS, salt as long as the hash.
    Pss(Hash),
    /// Pure Ed25519 or Ed448.
    EdDsa,
    /// Pure ML-DSA with an empty context.
    MlDsa,
}

impl Scheme {
    /// The hash inside, where there is one to name.
    pub(crate) fn hash(self) -> Option<Hash> {
        match self {
            Self::Ecdsa(hash) | Self::Pkcs1(hash) | Self::Pss(hash) => Some(hash),
            Self::EdDsa | Self::MlDsa => None,
        }
    }
}

/// A public key that was checked when it was read: on its curve, not of small order, large enough.
#[derive(Clone, PartialEq)]
pub(crate) enum PublicKey {
    P256(p256::ecdsa::VerifyingKey),
    P384(p384::ecdsa::VerifyingKey),
    P521(p521::ecdsa::VerifyingKey),
    K256(k256::ecdsa::VerifyingKey),
    Ed25519(ed25519_dalek::VerifyingKey),
    Ed448(Box<ed448_goldilocks::VerifyingKey>),
    Rsa(Box<rsa::PublicKey>),
    MlDsa44(Box<ml_dsa::VerifyingKey<MlDsa44>>),
    MlDsa65(Box<ml_dsa::VerifyingKey<MlDsa65>>),
    MlDsa87(Box<ml_dsa::VerifyingKey<MlDsa87>>),
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::P256(_) => "P-256",
            Self::P384(_) => "P-384",
            Self::P521(_) => "P-521",
            Self::K256(_) => "secp256k1",
            Self::Ed25519(_) => "Ed25519",
            Self::Ed448(_) => "Ed448",
            Self::Rsa(_) => "RSA",
            Self::MlDsa44(_) => "ML-DSA-44",
            Self::MlDsa65(_) => "ML-DSA-65",
            Self::MlDsa87(_) => "ML-DSA-87",
        })
    }
}

impl PublicKey {
    /// From a certificate's `SubjectPublicKeyInfo`.
    pub(crate) fn from_spki(info: &SubjectPublicKeyInfoOwned) -> Result<Self, KeyError> {
        let bytes = info.subject_public_key.as_bytes().ok_or(KeyError::Length)?;
        match info.algorithm.oid.to_string().as_str() {
            "1.2.840.10045.2.1" => {
                let curve = info.algorithm.parameters.as_ref().ok_or(KeyError::Member("curve"))?;
                let curve: ObjectIdentifier = curve.decode_as().map_err(|_| KeyError::Member("curve"))?;
                match curve.to_string().as_str() {
                    "1.2.840.10045.3.1.7" => Self::p256(bytes),
                    "1.3.132.0.34" => Self::p384(bytes),
                    "1.3.132.0.35" => Self::p521(bytes),
                    "1.3.132.0.10" => Self::k256(bytes),
                    _ => Err(KeyError::TypeMismatch),
                }
            }
            "1.2.840.113549.1.1.1" => {
                let key = pkcs1::RsaPublicKey::<pkcs1::UintRef<'_>>::from_der(bytes)
                    .map_err(|_| KeyError::Member("RSAPublicKey"))?;
                Self::rsa(key.modulus.as_bytes(), key.public_exponent.as_bytes())
            }
            "1.3.101.112" => Self::ed25519(bytes),
            "1.3.101.113" => Self::ed448(bytes),
            "2.16.840.1.101.3.4.3.17" => Self::ml_dsa_44(bytes),
            "2.16.840.1.101.3.4.3.18" => Self::ml_dsa_65(bytes),
            "2.16.840.1.101.3.4.3.19" => Self::ml_dsa_87(bytes),
            _ => Err(KeyError::TypeMismatch),
        }
    }

    /// From an uncompressed SEC1 point.
    pub(crate) fn p256(point: &[u8]) -> Result<Self, KeyError> {
        p256::ecdsa::VerifyingKey::from_sec1_bytes(point).map(Self::P256).map_err(|_| KeyError::NotOnCurve)
    }

    /// From an uncompressed SEC1 point.
    pub(crate) fn p384(point: &[u8]) -> Result<Self, KeyError> {
        p384::ecdsa::VerifyingKey::from_sec1_bytes(point).map(Self::P384).map_err(|_| KeyError::NotOnCurve)
    }

    /// From an uncompressed SEC1 point.
    pub(crate) fn p521(point: &[u8]) -> Result<Self, KeyError> {
        p521::ecdsa::VerifyingKey::from_sec1_bytes(point).map(Self::P521).map_err(|_| KeyError::NotOnCurve)
    }

    /// From an uncompressed SEC1 point.
    pub(crate) fn k256(point: &[u8]) -> Result<Self, KeyError> {
        k256::ecdsa::VerifyingKey::from_sec1_bytes(point).map(Self::K256).map_err(|_| KeyError::NotOnCurve)
    }

    /// From the 32 bytes of RFC 8032.
    pub(crate) fn ed25519(bytes: &[u8]) -> Result<Self, KeyError> {
        let bytes = bytes.try_into().map_err(|_| KeyError::Length)?;
        let key = ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::NotOnCurve)?;
        if key.is_weak() { Err(KeyError::SmallOrder) } else { Ok(Self::Ed25519(key)) }
    }

    /// From the 57 bytes of RFC 8032.
    pub(crate) fn ed448(bytes: &[u8]) -> Result<Self, KeyError> {
        let bytes: [u8; 57] = bytes.try_into().map_err(|_| KeyError::Length)?;
        let key = ed448_goldilocks::VerifyingKey::from_bytes(&bytes).map_err(|_| KeyError::NotOnCurve)?;
        // the cofactor is 4
        let small_order = key.to_edwards().double().double().is_identity();
        if small_order.into() { Err(KeyError::SmallOrder) } else { Ok(Self::Ed448(Box::new(key))) }
    }

    /// From modulus and exponent, big-endian.
    pub(crate) fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Self, KeyError> {
        let significant = |bytes: &[u8]| bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
        let modulus = &modulus[significant(modulus)..];
        let exponent = &exponent[significant(exponent)..];
        let bits = modulus.len() * 8 - modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
        if !(2048..=8192).contains(&bits) {
            return Err(KeyError::ModulusSize);
        }
        if exponent.is_empty()
            || exponent.len() > 4
            || exponent.last().is_some_and(|byte| byte % 2 == 0)
            || exponent == [1]
        {
            return Err(KeyError::Exponent);
        }
        let modulus = rsa::BoxedUint::from_be_slice_vartime(modulus);
        let exponent = rsa::BoxedUint::from_be_slice_vartime(exponent);
        let key = rsa::PublicKey::new(modulus, exponent).map_err(|_| KeyError::ModulusSize)?;
        Ok(Self::Rsa(Box::new(key)))
    }

    /// From the encoding of FIPS 204.
    pub(crate) fn ml_dsa_44(bytes: &[u8]) -> Result<Self, KeyError> {
        let encoded = bytes.try_into().map_err(|_| KeyError::Length)?;
        Ok(Self::MlDsa44(Box::new(ml_dsa::VerifyingKey::decode(&encoded))))
    }

    /// From the encoding of FIPS 204.
    pub(crate) fn ml_dsa_65(bytes: &[u8]) -> Result<Self, KeyError> {
        let encoded = bytes.try_into().map_err(|_| KeyError::Length)?;
        Ok(Self::MlDsa65(Box::new(ml_dsa::VerifyingKey::decode(&encoded))))
    }

    /// From the encoding of FIPS 204.
    pub(crate) fn ml_dsa_87(bytes: &[u8]) -> Result<Self, KeyError> {
        let encoded = bytes.try_into().map_err(|_| KeyError::Length)?;
        Ok(Self::MlDsa87(Box::new(ml_dsa::VerifyingKey::decode(&encoded))))
    }

    /// Whether `signature` is this key's over `message`. A scheme that does not fit the key is a no.
    pub(crate) fn verify(&self, scheme: Scheme, message: &[u8], signature: &[u8]) -> bool {
        #[cfg(feature = "aws-lc-rs")]
        if let Some(answer) = aws_lc::verify(self, scheme, message, signature) {
            return answer;
        }
        self.verify_portably(scheme, message, signature)
    }

    /// The same in Rust alone.
    fn verify_portably(&self, scheme: Scheme, message: &[u8], signature: &[u8]) -> bool {
        match (scheme, self) {
            (Scheme::Ecdsa(hash), _) => self.verify_ecdsa(hash, message, signature).is_some(),
            (Scheme::Pkcs1(hash), Self::Rsa(key)) => verify_pkcs1(key, hash, message, signature),
            (Scheme::Pss(hash), Self::Rsa(key)) => verify_pss(key, hash, message, signature),
            (Scheme::EdDsa, Self::Ed25519(key)) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
            (Scheme::EdDsa, Self::Ed448(key)) => ed448_goldilocks::Signature::try_from(signature)
                .is_ok_and(|signature| key.verify_raw(&signature, message).is_ok()),
            (Scheme::MlDsa, Self::MlDsa44(key)) => {
                ml_dsa::Signature::try_from(signature).is_ok_and(|it| key.verify(message, &it).is_ok())
            }
            (Scheme::MlDsa, Self::MlDsa65(key)) => {
                ml_dsa::Signature::try_from(signature).is_ok_and(|it| key.verify(message, &it).is_ok())
            }
            (Scheme::MlDsa, Self::MlDsa87(key)) => {
                ml_dsa::Signature::try_from(signature).is_ok_and(|it| key.verify(message, &it).is_ok())
            }
            _ => false,
        }
    }

    /// The same with a signature as JSON Web Signatures write it: r‖s of fixed length for ECDSA.
    pub(crate) fn verify_jws(&self, scheme: Scheme, message: &[u8], signature: &[u8]) -> bool {
        let Scheme::Ecdsa(hash) = scheme else { return self.verify(scheme, message, signature) };
        let digest = hash.of(message);
        match self {
            Self::P256(key) => p256::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_prehash(&digest, &signature).is_ok()),
            Self::P384(key) => p384::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_prehash(&digest, &signature).is_ok()),
            Self::P521(key) => p521::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_prehash(&digest, &signature).is_ok()),
            _ => false,
        }
    }

    fn verify_ecdsa(&self, hash: Hash, message: &[u8], der: &[u8]) -> Option<()> {
        let digest = hash.of(message);
        match self {
            Self::P256(key) => {
                let (r, s) = ecdsa_scalars::<32>(der)?;
                let signature = p256::ecdsa::Signature::from_scalars(r, s).ok()?;
                key.verify_prehash(&digest, &signature).ok()
            }
            Self::P384(key) => {
                let (r, s) = ecdsa_scalars::<48>(der)?;
                let signature = p384::ecdsa::Signature::from_scalars(r, s).ok()?;
                key.verify_prehash(&digest, &signature).ok()
            }
            Self::P521(key) => {
                let (r, s) = ecdsa_scalars::<66>(der)?;
                let signature = p521::ecdsa::Signature::from_scalars(r, s).ok()?;
                key.verify_prehash(&digest, &signature).ok()
            }
            Self::K256(key) => {
                let (r, s) = ecdsa_scalars::<32>(der)?;
                let signature = k256::ecdsa::Signature::from_scalars(r, s).ok()?;
                // the crate refuses high S, a rule of Bitcoin's and not of COSE's
                key.verify_prehash(&digest, &signature.normalize_s()).ok()
            }
            _ => None,
        }
    }
}

fn verify_pkcs1(key: &rsa::PublicKey, hash: Hash, message: &[u8], signature: &[u8]) -> bool {
    use rsa::pkcs1v15::{Signature, VerifyingKey};
    let Ok(signature) = Signature::try_from(signature) else { return false };
    let key = key.clone();
    match hash {
        Hash::Sha1 => VerifyingKey::<sha1::Sha1>::new(key).verify(message, &signature).is_ok(),
        Hash::Sha256 => VerifyingKey::<Sha256>::new(key).verify(message, &signature).is_ok(),
        Hash::Sha384 => VerifyingKey::<Sha384>::new(key).verify(message, &signature).is_ok(),
        Hash::Sha512 => VerifyingKey::<Sha512>::new(key).verify(message, &signature).is_ok(),
    }
}

fn verify_pss(key: &rsa::PublicKey, hash: Hash, message: &[u8], signature: &[u8]) -> bool {
    use rsa::pss::{Signature, VerifyingKey};
    let Ok(signature) = Signature::try_from(signature) else { return false };
    match hash {
        Hash::Sha256 => VerifyingKey::<Sha256>::new(key.clone()).verify(message, &signature).is_ok(),
        _ => false,
    }
}

/// Reads `SEQUENCE { r INTEGER, s INTEGER }` in strict DER into two scalars of `N` bytes.
///
/// Nothing may be left over, no integer may be negative, padded or too long; zero is refused by the caller's
/// conversion to a scalar. Raw r‖s is no SEQUENCE of these lengths and so is refused too.
fn ecdsa_scalars<const N: usize>(der: &[u8]) -> Option<([u8; N], [u8; N])> {
    let (&[0x30], rest) = der.split_first_chunk()? else { return None };
    let (&[first], rest) = rest.split_first_chunk()?;
    let (length, body) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => match rest.split_first()? {
            (&length @ 0x80.., body) => (usize::from(length), body),
            _ => return None,
        },
        _ => return None,
    };
    if body.len() != length {
        return None;
    }
    let (r, rest) = integer(body)?;
    let (s, rest) = integer(rest)?;
    rest.is_empty().then_some((r, s))
}

fn integer<const N: usize>(der: &[u8]) -> Option<([u8; N], &[u8])> {
    let (&[0x02, length @ 0..=0x7f], rest) = der.split_first_chunk()? else { return None };
    let (value, rest) = rest.split_at_checked(usize::from(length))?;
    let magnitude = match value {
        [] | [0x80..=0xff, ..] => return None,
        [0x00, after @ ..] if after.is_empty() || after[0] >= 0x80 => after,
        [0x00, ..] => return None,
        _ => value,
    };
    let mut scalar = [0; N];
    let start = N.checked_sub(magnitude.len())?;
    scalar[start..].copy_from_slice(magnitude);
    Some((scalar, rest))
}
