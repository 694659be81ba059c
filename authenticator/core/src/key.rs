//! Private keys: made, kept as bytes, used to sign; and their public halves in COSE form (RFC 9052, RFC 9053).
//!
//! What is kept is what the algorithm cannot do without, so sizes differ:
//!
//! | algorithm | kept | bytes |
//! |---|---|---|
//! | ES256, ES256K | big-endian scalar | 32 |
//! | ES384 | big-endian scalar | 48 |
//! | ES512 | big-endian scalar | 66 |
//! | EdDSA, ML-DSA-44, -65, -87 | seed | 32 |
//! | RS256, PS256 (2048 bits) | two big-endian primes, one after the other | 256 |

#[cfg(any(test, feature = "compact-curves"))]
#[cfg_attr(
    not(feature = "compact-curves"),
    allow(dead_code, reason = "its tests are all there is of it then")
)]
mod compact;
#[cfg(any(feature = "es384", feature = "es512", feature = "es256k"))]
mod curves;
mod ed25519;
#[cfg(feature = "ml-dsa")]
mod ml_dsa;
mod p256;
#[cfg(feature = "rsa")]
mod rsa;

use heapless::Vec;
use rand_core::CryptoRng;
use subtle::ConstantTimeEq as _;
use zeroize::ZeroizeOnDrop;

use crate::cbor::Writer;

pub(crate) use p256::{Scalar, agree, generate_scalar, write_agreement_key};

/// The longest private key in bytes, as it is kept.
pub const PRIVATE_KEY_MAX: usize = largest(&[
    (true, 32),
    (cfg!(feature = "es384"), 48),
    (cfg!(feature = "es512"), 66),
    (cfg!(feature = "rsa"), 256),
]);

/// Room in bytes for the longest COSE_Key.
pub const PUBLIC_KEY_MAX: usize = largest(&[
    (true, 80),
    (cfg!(feature = "es384"), 112),
    (cfg!(feature = "es512"), 152),
    (cfg!(feature = "rsa"), 276),
    (cfg!(feature = "ml-dsa"), 2604),
]);

/// The longest signature in bytes; ECDSA's are in DER.
pub const SIGNATURE_MAX: usize = largest(&[
    (true, 72),
    (cfg!(feature = "es384"), 104),
    (cfg!(feature = "es512"), 139),
    (cfg!(feature = "rsa"), 256),
    (cfg!(feature = "ml-dsa"), 4627),
]);

/// A signature.
pub type Signature = Vec<u8, SIGNATURE_MAX>;

/// COSE algorithms that can be offered (RFC 9053, RFC 8812, RFC 9964; IANA "COSE Algorithms").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256: −7.
    Es256,
    /// Ed25519: −8.
    EdDsa,
    /// ECDSA on P-384 with SHA-384: −35.
    #[cfg(feature = "es384")]
    Es384,
    /// ECDSA on P-521 with SHA-512: −36.
    #[cfg(feature = "es512")]
    Es512,
    /// ECDSA on secp256k1 with SHA-256: −47.
    #[cfg(feature = "es256k")]
    Es256K,
    /// RSASSA-PKCS1-v1_5 with SHA-256, 2048 bits: −257.
    #[cfg(feature = "rsa")]
    Rs256,
    /// RSASSA-PSS with SHA-256, 2048 bits: −37.
    #[cfg(feature = "rsa")]
    Ps256,
    /// ML-DSA-44: −48.
    #[cfg(feature = "ml-dsa")]
    MlDsa44,
    /// ML-DSA-65: −49.
    #[cfg(feature = "ml-dsa")]
    MlDsa65,
    /// ML-DSA-87: −50.
    #[cfg(feature = "ml-dsa")]
    MlDsa87,
}

impl Algorithm {
    /// Every algorithm this build has, in the order it prefers them.
    pub const ALL: &'static [Algorithm] = &[
        Algorithm::Es256,
        Algorithm::EdDsa,
        #[cfg(feature = "es384")]
        Algorithm::Es384,
        #[cfg(feature = "es512")]
        Algorithm::Es512,
        #[cfg(feature = "es256k")]
        Algorithm::Es256K,
        #[cfg(feature = "rsa")]
        Algorithm::Rs256,
        #[cfg(feature = "rsa")]
        Algorithm::Ps256,
        #[cfg(feature = "ml-dsa")]
        Algorithm::MlDsa44,
        #[cfg(feature = "ml-dsa")]
        Algorithm::MlDsa65,
        #[cfg(feature = "ml-dsa")]
        Algorithm::MlDsa87,
    ];

    /// The COSE algorithm number.
    pub const fn cose(self) -> i32 {
        match self {
            Algorithm::Es256 => -7,
            Algorithm::EdDsa => -8,
            #[cfg(feature = "es384")]
            Algorithm::Es384 => -35,
            #[cfg(feature = "es512")]
            Algorithm::Es512 => -36,
            #[cfg(feature = "es256k")]
            Algorithm::Es256K => -47,
            #[cfg(feature = "rsa")]
            Algorithm::Rs256 => -257,
            #[cfg(feature = "rsa")]
            Algorithm::Ps256 => -37,
            #[cfg(feature = "ml-dsa")]
            Algorithm::MlDsa44 => -48,
            #[cfg(feature = "ml-dsa")]
            Algorithm::MlDsa65 => -49,
            #[cfg(feature = "ml-dsa")]
            Algorithm::MlDsa87 => -50,
        }
    }

    /// The size in bytes of its private keys, as they are kept.
    pub const fn private_key_size(self) -> usize {
        match self {
            #[cfg(feature = "es384")]
            Algorithm::Es384 => 48,
            #[cfg(feature = "es512")]
            Algorithm::Es512 => 66,
            #[cfg(feature = "rsa")]
            Algorithm::Rs256 | Algorithm::Ps256 => 256,
            _ => 32,
        }
    }

    /// The algorithm with this COSE number, if this build has it.
    pub fn from_cose(number: i32) -> Option<Self> {
        Self::ALL.iter().copied().find(|algorithm| algorithm.cose() == number)
    }
}

/// A private key and its algorithm; zeroized when dropped, and its bytes never shown.
#[derive(Clone, ZeroizeOnDrop)]
pub struct PrivateKey {
    #[zeroize(skip)]
    algorithm: Algorithm,
    bytes: Vec<u8, PRIVATE_KEY_MAX>,
}

impl PrivateKey {
    /// Makes a new key. Takes far below a millisecond, but for RSA: there it is a search for primes.
    pub fn generate(algorithm: Algorithm, rng: &mut impl CryptoRng) -> Self {
        let mut key = PrivateKey { algorithm, bytes: Vec::new() };
        let bytes = &mut key.bytes;
        match algorithm {
            Algorithm::Es256 => p256::generate(rng, bytes),
            Algorithm::EdDsa => seed(rng, bytes),
            #[cfg(feature = "es384")]
            Algorithm::Es384 => curves::p384::generate(rng, bytes),
            #[cfg(feature = "es512")]
            Algorithm::Es512 => curves::p521::generate(rng, bytes),
            #[cfg(feature = "es256k")]
            Algorithm::Es256K => curves::k256::generate(rng, bytes),
            #[cfg(feature = "rsa")]
            Algorithm::Rs256 | Algorithm::Ps256 => rsa::generate(rng, bytes),
            #[cfg(feature = "ml-dsa")]
            Algorithm::MlDsa44 | Algorithm::MlDsa65 | Algorithm::MlDsa87 => seed(rng, bytes),
        }
        key
    }

    /// Takes a key from its bytes, in the form the module's table says.
    ///
    /// `None` if they are not a private key of this algorithm. Of RSA primes only the form is looked at; ones that
    /// are no primes sign nothing.
    pub fn from_bytes(algorithm: Algorithm, bytes: &[u8]) -> Option<Self> {
        let valid = match algorithm {
            Algorithm::Es256 => p256::is_valid(bytes),
            Algorithm::EdDsa => bytes.len() == SEED_SIZE,
            #[cfg(feature = "es384")]
            Algorithm::Es384 => curves::p384::is_valid(bytes),
            #[cfg(feature = "es512")]
            Algorithm::Es512 => curves::p521::is_valid(bytes),
            #[cfg(feature = "es256k")]
            Algorithm::Es256K => curves::k256::is_valid(bytes),
            #[cfg(feature = "rsa")]
            Algorithm::Rs256 | Algorithm::Ps256 => rsa::is_valid(bytes),
            #[cfg(feature = "ml-dsa")]
            Algorithm::MlDsa44 | Algorithm::MlDsa65 | Algorithm::MlDsa87 => bytes.len() == SEED_SIZE,
        };
        valid.then_some(PrivateKey { algorithm, bytes: Vec::from_slice(bytes).ok()? })
    }

    /// The algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The bytes that [`PrivateKey::from_bytes`] takes. A secret: keep it sealed.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Signs a message as the algorithm's WebAuthn form wants it (WebAuthn §6.5.5): ECDSA in DER, the others raw.
    ///
    /// The same key and message give the same signature, always: no randomness is needed, and none can be bad.
    /// `None` only for an RSA key whose primes are none.
    pub fn sign(&self, message: &[u8]) -> Option<Signature> {
        let mut signature = Vec::new();
        match self.algorithm {
            Algorithm::Es256 => p256::sign(&self.bytes, message, &mut signature),
            Algorithm::EdDsa => ed25519::sign(&self.bytes, message, &mut signature),
            #[cfg(feature = "es384")]
            Algorithm::Es384 => curves::p384::sign(&self.bytes, message, &mut signature),
            #[cfg(feature = "es512")]
            Algorithm::Es512 => curves::p521::sign(&self.bytes, message, &mut signature),
            #[cfg(feature = "es256k")]
            Algorithm::Es256K => curves::k256::sign(&self.bytes, message, &mut signature),
            #[cfg(feature = "rsa")]
            Algorithm::Rs256 => rsa::sign_pkcs1(&self.bytes, message, &mut signature),
            #[cfg(feature = "rsa")]
            Algorithm::Ps256 => rsa::sign_pss(&self.bytes, message, &mut signature),
            #[cfg(feature = "ml-dsa")]
            Algorithm::MlDsa44 => ml_dsa::sign_44(&self.bytes, message, &mut signature),
            #[cfg(feature = "ml-dsa")]
            Algorithm::MlDsa65 => ml_dsa::sign_65(&self.bytes, message, &mut signature),
            #[cfg(feature = "ml-dsa")]
            Algorithm::MlDsa87 => ml_dsa::sign_87(&self.bytes, message, &mut signature),
        }?;
        Some(signature)
    }

    /// The public key as a COSE_Key, in canonical CBOR.
    ///
    /// `None` only for an RSA key whose primes are none.
    pub fn public_key(&self) -> Option<Vec<u8, PUBLIC_KEY_MAX>> {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        self.write_public(&mut writer)?;
        writer.finish().ok()?;
        Some(out)
    }

    /// Writes the public key as a COSE_Key; `None`, and nothing written, for an RSA key whose primes are none.
    pub(crate) fn write_public(&self, out: &mut Writer<'_>) -> Option<()> {
        #[cfg_attr(
            not(any(feature = "rsa", feature = "ml-dsa")),
            expect(unused, reason = "EC keys know theirs")
        )]
        let number = self.algorithm.cose();
        match self.algorithm {
            Algorithm::Es256 => p256::write_public(&self.bytes, out),
            Algorithm::EdDsa => ed25519::write_public(&self.bytes, out),
            #[cfg(feature = "es384")]
            Algorithm::Es384 => curves::p384::write_public(&self.bytes, out),
            #[cfg(feature = "es512")]
            Algorithm::Es512 => curves::p521::write_public(&self.bytes, out),
            #[cfg(feature = "es256k")]
            Algorithm::Es256K => curves::k256::write_public(&self.bytes, out),
            #[cfg(feature = "rsa")]
            Algorithm::Rs256 | Algorithm::Ps256 => rsa::write_public(&self.bytes, number, out),
            #[cfg(feature = "ml-dsa")]
            Algorithm::MlDsa44 => ml_dsa::write_public_44(&self.bytes, number, out),
            #[cfg(feature = "ml-dsa")]
            Algorithm::MlDsa65 => ml_dsa::write_public_65(&self.bytes, number, out),
            #[cfg(feature = "ml-dsa")]
            Algorithm::MlDsa87 => ml_dsa::write_public_87(&self.bytes, number, out),
        }
    }
}

/// An ES256 key pair that was made ahead of its use, in idle time: the scalar multiplication of its public half is done.
pub(crate) struct KeyPair {
    pub(crate) key: PrivateKey,
    /// The public key as a COSE_Key.
    pub(crate) public: Vec<u8, P256_COSE_KEY>,
}

impl KeyPair {
    /// Makes one; `None` if there is no room for it, which there is.
    pub(crate) fn generate(rng: &mut impl CryptoRng) -> Option<Self> {
        let key = PrivateKey::generate(Algorithm::Es256, rng);
        let mut public = Vec::new();
        let mut writer = Writer::new(&mut public);
        key.write_public(&mut writer)?;
        writer.finish().ok()?;
        Some(KeyPair { key, public })
    }
}

/// How long it takes tells nothing of the keys.
impl PartialEq for PrivateKey {
    fn eq(&self, other: &Self) -> bool {
        self.algorithm == other.algorithm && bool::from(self.bytes.ct_eq(&other.bytes))
    }
}

impl Eq for PrivateKey {}

impl core::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "PrivateKey({:?}, …)", self.algorithm)
    }
}

/// Makes a seed.
fn seed(rng: &mut impl CryptoRng, bytes: &mut Vec<u8, PRIVATE_KEY_MAX>) {
    let mut seed = zeroize::Zeroizing::new([0; SEED_SIZE]);
    rng.fill_bytes(&mut *seed);
    let _ = bytes.extend_from_slice(&*seed);
}

/// The largest of the sizes that this build has.
const fn largest(sizes: &[(bool, usize)]) -> usize {
    let (mut index, mut largest) = (0, 0);
    while index < sizes.len() {
        if sizes[index].0 && sizes[index].1 > largest {
            largest = sizes[index].1;
        }
        index += 1;
    }
    largest
}

const SEED_SIZE: usize = 32;
/// A P-256 key in COSE form has 77 bytes.
const P256_COSE_KEY: usize = 77;
