//! Private keys: made, kept as bytes, used to sign; and their public halves in COSE form (RFC 9052, RFC 9053).

use heapless::Vec;
use p256::NistP256;
use p256::elliptic_curve::Generate as _;
use p256::elliptic_curve::sec1::ToSec1Point as _;
use rand_core::CryptoRng;
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::cbor::Writer;

/// The longest private key in bytes, as it is kept.
pub const PRIVATE_KEY_MAX: usize = 32;

/// Room in bytes for the longest COSE_Key.
pub(crate) const PUBLIC_KEY_MAX: usize = 80;

/// The longest signature in bytes: an ES256 one in DER.
pub(crate) const SIGNATURE_MAX: usize = 72;

/// COSE algorithms that can be offered (RFC 9053; IANA "COSE Algorithms").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256: −7.
    Es256,
    /// Ed25519: −8.
    EdDsa,
}

impl Algorithm {
    /// Every algorithm this build has, in the order it prefers them.
    pub const ALL: &'static [Algorithm] = &[Algorithm::Es256, Algorithm::EdDsa];

    /// The COSE algorithm number.
    pub const fn cose(self) -> i32 {
        match self {
            Algorithm::Es256 => -7,
            Algorithm::EdDsa => -8,
        }
    }

    /// The algorithm with this COSE number, if this build has it.
    pub fn from_cose(number: i32) -> Option<Self> {
        Self::ALL.iter().copied().find(|algorithm| algorithm.cose() == number)
    }
}

/// A private key and its algorithm; zeroized when dropped, and its bytes never shown.
#[derive(Clone, PartialEq, Eq, ZeroizeOnDrop)]
pub struct PrivateKey {
    #[zeroize(skip)]
    algorithm: Algorithm,
    bytes: Vec<u8, PRIVATE_KEY_MAX>,
}

impl PrivateKey {
    /// Makes a new key.
    pub fn generate(algorithm: Algorithm, rng: &mut impl CryptoRng) -> Self {
        let mut bytes = [0_u8; 32];
        match algorithm {
            Algorithm::Es256 => {
                bytes.copy_from_slice(&p256::NonZeroScalar::generate_from_rng(rng).to_bytes())
            }
            Algorithm::EdDsa => rng.fill_bytes(&mut bytes),
        }
        let key = PrivateKey { algorithm, bytes: Vec::from_array(bytes) };
        bytes.zeroize();
        key
    }

    /// Takes a key from its bytes: a big-endian scalar (ES256) or a seed (EdDSA), 32 bytes each.
    ///
    /// `None` if they are not a private key of this algorithm.
    pub fn from_bytes(algorithm: Algorithm, bytes: &[u8]) -> Option<Self> {
        let key = PrivateKey { algorithm, bytes: Vec::from_slice(bytes).ok()? };
        let valid = match algorithm {
            Algorithm::Es256 => key.scalar().is_some(),
            Algorithm::EdDsa => key.seed().is_some(),
        };
        valid.then_some(key)
    }

    /// The algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The bytes that [`PrivateKey::from_bytes`] takes. A secret: keep it sealed.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn scalar(&self) -> Option<p256::NonZeroScalar> {
        let bytes: [u8; 32] = self.bytes.as_slice().try_into().ok()?;
        p256::NonZeroScalar::from_repr(bytes.into()).into_option()
    }

    fn seed(&self) -> Option<ed25519_dalek::SigningKey> {
        let bytes: &[u8; 32] = self.bytes.as_slice().try_into().ok()?;
        Some(ed25519_dalek::SigningKey::from_bytes(bytes))
    }

    /// Signs a message as the algorithm's WebAuthn form wants it (§6.5.5): ECDSA in DER over its SHA-256, Ed25519 raw.
    ///
    /// `None` only for a key that [`PrivateKey::from_bytes`] would have refused.
    pub(crate) fn sign(&self, message: &[u8]) -> Option<Vec<u8, SIGNATURE_MAX>> {
        match self.algorithm {
            // From the scalar: a `SigningKey` would spend as long again on a public key that nobody asks for.
            Algorithm::Es256 => {
                let digest = Sha256::digest(message);
                let (signature, _) =
                    ecdsa::hazmat::sign_prehashed_rfc6979::<NistP256, Sha256>(&self.scalar()?, &digest, &[]);
                Vec::from_slice(signature.to_der().as_bytes()).ok()
            }
            Algorithm::EdDsa => {
                use ed25519_dalek::Signer as _;
                Vec::from_slice(&self.seed()?.sign(message).to_bytes()).ok()
            }
        }
    }

    /// Writes the public key as a COSE_Key.
    pub(crate) fn write_public(&self, out: &mut Writer<'_>) {
        match self.algorithm {
            Algorithm::Es256 => {
                if let Some(scalar) = self.scalar() {
                    write_p256(out, &p256::PublicKey::from_secret_scalar(&scalar), Algorithm::Es256.cose());
                }
            }
            Algorithm::EdDsa => {
                if let Some(key) = self.seed() {
                    out.map(4).int(1).int(1).int(3).int(Algorithm::EdDsa.cose()).int(-1).int(6);
                    out.int(-2).bytes(key.verifying_key().as_bytes());
                }
            }
        }
    }
}

impl core::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "PrivateKey({:?}, …)", self.algorithm)
    }
}

/// Writes a point of P-256 as a COSE_Key (kty EC2, crv P-256) under this algorithm.
pub(crate) fn write_p256(out: &mut Writer<'_>, key: &p256::PublicKey, algorithm: i32) {
    let point = key.to_sec1_point(false);
    let coordinates = &point.as_bytes()[1..];
    out.map(5).int(1).int(2).int(3).int(algorithm).int(-1).int(1);
    out.int(-2).bytes(&coordinates[..32]).int(-3).bytes(&coordinates[32..]);
}
