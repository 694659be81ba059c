//! The same answers from AWS-LC, about four times as fast (feature `aws-lc-rs`).
//!
//! Keys are read and checked, and DER is parsed, by the same code as without it; only the arithmetic is another's.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PSS_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use rsa::traits::PublicKeyParts as _;

use super::{Hash, PublicKey, Scheme, ecdsa_scalars};

/// Whether `signature` is this key's over `message`; `None` for a key or scheme that AWS-LC is not asked about.
pub(super) fn verify(key: &PublicKey, scheme: Scheme, message: &[u8], signature: &[u8]) -> Option<bool> {
    match (key, scheme) {
        (PublicKey::P256(key), Scheme::Ecdsa(Hash::Sha256)) => {
            let point = key.to_sec1_point(false);
            Some(ecdsa::<32>(&ECDSA_P256_SHA256_FIXED, point.as_bytes(), message, signature))
        }
        (PublicKey::P384(key), Scheme::Ecdsa(Hash::Sha384)) => {
            let point = key.to_sec1_point(false);
            Some(ecdsa::<48>(&ECDSA_P384_SHA384_FIXED, point.as_bytes(), message, signature))
        }
        (PublicKey::P521(key), Scheme::Ecdsa(Hash::Sha512)) => {
            let point = key.to_sec1_point(false);
            Some(ecdsa::<66>(&ECDSA_P521_SHA512_FIXED, point.as_bytes(), message, signature))
        }
        (PublicKey::Ed25519(key), Scheme::EdDsa) => {
            Some(UnparsedPublicKey::new(&ED25519, key.as_bytes()).verify(message, signature).is_ok())
        }
        (PublicKey::Rsa(key), scheme) => {
            let parameters = match scheme {
                Scheme::Pkcs1(Hash::Sha256) => &RSA_PKCS1_2048_8192_SHA256,
                Scheme::Pkcs1(Hash::Sha384) => &RSA_PKCS1_2048_8192_SHA384,
                Scheme::Pkcs1(Hash::Sha512) => &RSA_PKCS1_2048_8192_SHA512,
                Scheme::Pss(Hash::Sha256) => &RSA_PSS_2048_8192_SHA256,
                _ => return None,
            };
            let (n, e) = (key.n_bytes(), key.e_bytes());
            Some(RsaPublicKeyComponents { n: &n, e: &e }.verify(parameters, message, signature).is_ok())
        }
        _ => None,
    }
}

fn ecdsa<const N: usize>(
    algorithm: &'static dyn VerificationAlgorithm,
    point: &[u8],
    message: &[u8],
    der: &[u8],
) -> bool {
    let Some((r, s)) = ecdsa_scalars::<N>(der) else { return false };
    UnparsedPublicKey::new(algorithm, point).verify(message, &[r, s].concat()).is_ok()
}
