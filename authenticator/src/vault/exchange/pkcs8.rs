//! Private keys as PKCS#8 (RFC 5958): what WebDriver and CXF carry.

use der::asn1::{AnyRef, BitStringRef, ObjectIdentifier, OctetStringRef};
use der::{Decode as _, Encode as _, Reader as _, SliceReader};
use doppelkey_core::{Algorithm, PrivateKey};
use zeroize::Zeroizing;

/// The key as a PKCS#8 PrivateKeyInfo in DER; `None` for an algorithm whose keys this build cannot carry.
pub fn private_key_to_pkcs8(key: &PrivateKey) -> Option<Zeroizing<Vec<u8>>> {
    let bytes = key.as_bytes();
    let info = match key.algorithm() {
        Algorithm::Es256 => {
            use p256::elliptic_curve::sec1::ToSec1Point as _;
            let public = p256::SecretKey::from_slice(bytes).ok()?.public_key().to_sec1_point(false);
            elliptic(bytes, PRIME256V1, Some(public.as_bytes()))
        }
        Algorithm::Es384 => elliptic(bytes, SECP384R1, None),
        Algorithm::Es512 => elliptic(bytes, SECP521R1, None),
        Algorithm::Es256K => elliptic(bytes, SECP256K1, None),
        Algorithm::EdDsa => {
            let inner = Zeroizing::new(OctetStringRef::new(bytes).ok()?.to_der().ok()?);
            private_key_info(&ED25519.to_der().ok()?, &inner)
        }
        Algorithm::Rs256 => {
            let identifier = [RSA_ENCRYPTION.to_der().ok()?, vec![0x05, 0x00]].concat();
            private_key_info(&identifier, &rsa_private(bytes)?)
        }
        Algorithm::Ps256 => private_key_info(&RSASSA_PSS.to_der().ok()?, &rsa_private(bytes)?),
        algorithm => {
            let (_, identifier) = ML_DSA.into_iter().find(|(known, _)| *known == algorithm)?;
            let inner = Zeroizing::new(tagged(SEED, bytes).ok()?);
            private_key_info(&identifier.to_der().ok()?, &inner)
        }
    };
    info.ok()
}

/// The key in a PKCS#8 PrivateKeyInfo in DER; `None` if it is none, or of an algorithm that this build has not.
pub fn private_key_from_pkcs8(der: &[u8]) -> Option<PrivateKey> {
    let parsed = Parsed::parse(der).ok()?;
    match (parsed.algorithm, parsed.curve) {
        (EC_PUBLIC_KEY, Some(curve)) => {
            let algorithm = match curve {
                PRIME256V1 => Algorithm::Es256,
                SECP384R1 => Algorithm::Es384,
                SECP521R1 => Algorithm::Es512,
                SECP256K1 => Algorithm::Es256K,
                _ => return None,
            };
            PrivateKey::from_bytes(algorithm, &sec1_private(parsed.private).ok()?)
        }
        (ED25519, None) => {
            let seed = <&OctetStringRef>::from_der(parsed.private).ok()?;
            PrivateKey::from_bytes(Algorithm::EdDsa, seed.as_bytes())
        }
        (RSA_ENCRYPTION, _) => PrivateKey::from_bytes(Algorithm::Rs256, &rsa_primes(parsed.private)?),
        (RSASSA_PSS, _) => PrivateKey::from_bytes(Algorithm::Ps256, &rsa_primes(parsed.private)?),
        (identifier, None) => {
            let (algorithm, _) = ML_DSA.into_iter().find(|(_, known)| *known == identifier)?;
            // Of RFC 9881's three choices, the seed alone: a key without one cannot be kept.
            let seed = parsed.private.strip_prefix(&[SEED, 32])?;
            PrivateKey::from_bytes(algorithm, seed)
        }
        _ => None,
    }
}

/// The RSAPrivateKey (RFC 8017) of two primes, one after the other.
fn rsa_private(primes: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    use rsa::pkcs1::EncodeRsaPrivateKey as _;
    let (p, q) = primes.split_at(primes.len() / 2);
    let prime = |bytes: &[u8]| rsa::BoxedUint::from_be_slice(bytes, 8 * bytes.len() as u32).ok();
    let key = rsa::PrivateKey::from_p_q(prime(p)?, prime(q)?, rsa::BoxedUint::from(65537_u64)).ok()?;
    Some(Zeroizing::new(key.to_pkcs1_der().ok()?.as_bytes().to_vec()))
}

/// The two primes of an RSAPrivateKey with the usual exponent.
fn rsa_primes(der: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let key = rsa::pkcs1::RsaPrivateKeyRef::try_from(der).ok()?;
    (key.public_exponent.as_bytes() == [1, 0, 1]).then_some(())?;
    Some(Zeroizing::new([key.prime1.as_bytes(), key.prime2.as_bytes()].concat()))
}

/// What is used of a PrivateKeyInfo: version 0 or 1, the algorithm, the private key's own structure.
struct Parsed<'a> {
    algorithm: ObjectIdentifier,
    curve: Option<ObjectIdentifier>,
    private: &'a [u8],
}

impl<'a> Parsed<'a> {
    fn parse(der: &'a [u8]) -> der::Result<Self> {
        let mut outer = SliceReader::new(der)?;
        let (algorithm, curve, private) = outer.sequence(|info| {
            info.decode::<u8>()?;
            let (algorithm, curve) = info.sequence(|identifier| {
                let algorithm = identifier.decode::<ObjectIdentifier>()?;
                let curve = identifier.decode::<Option<AnyRef<'_>>>()?;
                // NULL for RSA.
                let curve = curve.and_then(|curve| curve.decode_as::<ObjectIdentifier>().ok());
                der::Result::Ok((algorithm, curve))
            })?;
            let private = info.decode::<&OctetStringRef>()?;
            // Attributes and a public key may follow; the private key says it all.
            while !info.is_finished() {
                info.decode::<AnyRef<'_>>()?;
            }
            der::Result::Ok((algorithm, curve, private.as_bytes()))
        })?;
        outer.finish()?;
        Ok(Parsed { algorithm, curve, private })
    }
}

/// The scalar in an ECPrivateKey (RFC 5915), at the length of its field.
fn sec1_private(der: &[u8]) -> der::Result<Zeroizing<Vec<u8>>> {
    let mut reader = SliceReader::new(der)?;
    reader.sequence(|key| {
        key.decode::<u8>()?;
        let scalar = Zeroizing::new(key.decode::<&OctetStringRef>()?.as_bytes().to_vec());
        while !key.is_finished() {
            key.decode::<AnyRef<'_>>()?;
        }
        Ok(scalar)
    })
}

/// An ECPrivateKey, with its public key where that is known, in a PrivateKeyInfo.
fn elliptic(
    scalar: &[u8],
    curve: ObjectIdentifier,
    public: Option<&[u8]>,
) -> der::Result<Zeroizing<Vec<u8>>> {
    let scalar = Zeroizing::new(OctetStringRef::new(scalar)?.to_der()?);
    let public = match public {
        Some(point) => tagged(0xA1, &BitStringRef::from_bytes(point)?.to_der()?)?,
        None => Vec::new(),
    };
    let body = [&[0x02, 0x01, 0x01][..], &scalar, &public].concat();
    let inner = Zeroizing::new(tagged(0x30, &Zeroizing::new(body))?);
    let inner = Zeroizing::new(OctetStringRef::new(&inner)?.to_der()?);
    let identifier = [EC_PUBLIC_KEY.to_der()?, curve.to_der()?].concat();
    assemble(&identifier, &inner)
}

fn private_key_info(identifier: &[u8], private: &[u8]) -> der::Result<Zeroizing<Vec<u8>>> {
    let private = Zeroizing::new(OctetStringRef::new(private)?.to_der()?);
    assemble(identifier, &private)
}

/// Version 0, the algorithm's identifier and the octet string of the key, in a SEQUENCE.
fn assemble(identifier: &[u8], octets: &[u8]) -> der::Result<Zeroizing<Vec<u8>>> {
    let identifier = tagged(0x30, identifier)?;
    let body = Zeroizing::new([&[0x02, 0x01, 0x00][..], &identifier, octets].concat());
    Ok(Zeroizing::new(tagged(0x30, &body)?))
}

/// A value in DER under this tag.
fn tagged(tag: u8, value: &[u8]) -> der::Result<Vec<u8>> {
    let length = der::Length::try_from(value.len())?.to_der()?;
    Ok([&[tag][..], &length, value].concat())
}

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const PRIME256V1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const SECP384R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const SECP521R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
const SECP256K1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.10");
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const RSASSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const ML_DSA: [(Algorithm, ObjectIdentifier); 3] = [
    (Algorithm::MlDsa44, ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.17")),
    (Algorithm::MlDsa65, ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.18")),
    (Algorithm::MlDsa87, ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.19")),
];
/// The tag of a seed among the choices of an ML-DSA private key (RFC 9881).
const SEED: u8 = 0x80;
