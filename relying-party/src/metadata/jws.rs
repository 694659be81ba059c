//! The signature around a BLOB: a compact JSON Web Signature (RFC 7515) with `x5c`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::{MetadataError, Publisher};
use crate::verify::trust::{Certificate, Hash, RevocationLists, Scheme, base64url, chains_to};

#[derive(Deserialize)]
struct Header {
    alg: String,
    x5c: Vec<String>,
    /// Extensions that must be understood: none is.
    crit: Option<serde_json::Value>,
}

/// Gives the payload, once the signature verifies and its certificates are the publisher's.
pub(super) fn open(
    text: &str,
    publisher: &Publisher<'_>,
    lists: &RevocationLists,
    now_s: u64,
) -> Result<Vec<u8>, MetadataError> {
    let mut parts = text.split('.');
    let (Some(header), Some(payload), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(MetadataError::NotSigned("it has not three parts"));
    };
    let signed = &text[..header.len() + 1 + payload.len()];
    let decode = |part| base64url(part).ok_or(MetadataError::NotSigned("a part is not base64url"));
    let header: Header = serde_json::from_slice(&decode(header)?)
        .map_err(|_| MetadataError::NotSigned("its header has no alg or no x5c"))?;
    if header.crit.is_some() {
        return Err(MetadataError::NotSigned("its header has an extension that must be understood"));
    }
    let chain = header.x5c.iter().map(|text| STANDARD.decode(text)).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|_| MetadataError::NotSigned("x5c is not base64"))?;
    let leaf = chain.first().ok_or(MetadataError::NotSigned("x5c is empty"))?;
    chains_to(&chain, &[der(publisher.root)?], lists, now_s).map_err(MetadataError::Chain)?;
    let signer = Certificate::read(leaf).map_err(MetadataError::Chain)?;
    let key = signer.key().map_err(MetadataError::Chain)?;
    let scheme = scheme(&header.alg).ok_or(MetadataError::NotSigned("its alg is not known"))?;
    if !key.verify_jws(scheme, signed.as_bytes(), &decode(signature)?) {
        return Err(MetadataError::SignatureInvalid);
    }
    if !signer.has_dns_name(publisher.name).map_err(MetadataError::Chain)? {
        return Err(MetadataError::Signer);
    }
    decode(payload)
}

/// RFC 7518 §3.1; `none` and the symmetric ones are not among them.
fn scheme(alg: &str) -> Option<Scheme> {
    Some(match alg {
        "ES256" => Scheme::Ecdsa(Hash::Sha256),
        "ES384" => Scheme::Ecdsa(Hash::Sha384),
        "ES512" => Scheme::Ecdsa(Hash::Sha512),
        "RS256" => Scheme::Pkcs1(Hash::Sha256),
        "RS384" => Scheme::Pkcs1(Hash::Sha384),
        "RS512" => Scheme::Pkcs1(Hash::Sha512),
        "PS256" => Scheme::Pss(Hash::Sha256),
        "EdDSA" => Scheme::EdDsa,
        _ => return None,
    })
}

/// A root in DER, or in PEM.
fn der(root: &[u8]) -> Result<Vec<u8>, MetadataError> {
    let malformed = || MetadataError::Chain(crate::verify::CertificateError::Malformed);
    let Some(text) =
        std::str::from_utf8(root).ok().filter(|text| text.contains("-----BEGIN CERTIFICATE-----"))
    else {
        return Ok(root.to_vec());
    };
    let body: String = text
        .lines()
        .skip_while(|line| !line.starts_with("-----BEGIN CERTIFICATE"))
        .skip(1)
        .take_while(|line| !line.starts_with("-----"))
        .flat_map(|line| line.trim().chars())
        .collect();
    STANDARD.decode(body).map_err(|_| malformed())
}
