//! Private keys as PKCS#8 (RFC 5958): what WebDriver and CXF carry.

use der::asn1::{AnyRef, BitStringRef, ObjectIdentifier, OctetStringRef};
use der::{Decode as _, Encode as _, Reader as _, SliceReader};
use doppelkey_core::{Algorithm, PrivateKey};
use zeroize::Zeroizing;

/// The key as a PKCS#8 PrivateKeyInfo in DER; `None` for an algorithm whose keys this build cannot carry.
pub fn private_key_to_pkcs8(key: &PrivateKey) -> Option<Zeroizing<Vec<u8>>> {
    match key.algorithm() {
        Algorithm::Es256 => {
            use p256::elliptic_curve::sec1::ToSec1Point as _;
            let secret = p256::SecretKey::from_slice(key.as_bytes()).ok()?;
            let public = secret.public_key().to_sec1_point(false);
            elliptic(key.as_bytes(), PRIME256V1, public.as_bytes()).ok()
        }
        Algorithm::EdDsa => {
            let inner = Zeroizing::new(OctetStringRef::new(key.as_bytes()).ok()?.to_der().ok()?);
            private_key_info(&ED25519.to_der().ok()?, &inner).ok()
        }
        _ => None,
    }
}

/// The key in a PKCS#8 PrivateKeyInfo in DER; `None` if it is none, or of an algorithm that this build has not.
pub fn private_key_from_pkcs8(der: &[u8]) -> Option<PrivateKey> {
    let parsed = Parsed::parse(der).ok()?;
    match (parsed.algorithm, parsed.curve) {
        (EC_PUBLIC_KEY, Some(PRIME256V1)) => {
            PrivateKey::from_bytes(Algorithm::Es256, &sec1_private(parsed.private).ok()?)
        }
        (ED25519, None) => {
            let seed = <&OctetStringRef>::from_der(parsed.private).ok()?;
            PrivateKey::from_bytes(Algorithm::EdDsa, seed.as_bytes())
        }
        _ => None,
    }
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
                let curve = curve.map(|curve| curve.decode_as::<ObjectIdentifier>()).transpose()?;
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

/// An ECPrivateKey with its public key, in a PrivateKeyInfo.
fn elliptic(scalar: &[u8], curve: ObjectIdentifier, public: &[u8]) -> der::Result<Zeroizing<Vec<u8>>> {
    let scalar = Zeroizing::new(OctetStringRef::new(scalar)?.to_der()?);
    let public = BitStringRef::from_bytes(public)?.to_der()?;
    let body = [&[0x02, 0x01, 0x01][..], &scalar, &tagged(0xA1, &public)?].concat();
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
