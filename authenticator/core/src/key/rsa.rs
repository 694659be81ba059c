//! RSA of 2048 bits with exponent 65537 (RFC 8017; in COSE, RFC 8812): kept as its two primes.

use core::convert::Infallible;

use ::rsa::traits::{PrivateKeyParts as _, PublicKeyParts as _, SignatureScheme};
use ::rsa::{BoxedUint, Pkcs1v15Sign, PrivateKey, Pss};
use heapless::Vec;
use hmac::{Hmac, KeyInit as _, Mac as _};
use rand_core::{CryptoRng, TryCryptoRng, TryRng};
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize as _, ZeroizeOnDrop};

use super::{PRIVATE_KEY_MAX, Signature};
use crate::cbor::Writer;

pub(super) fn generate(rng: &mut impl CryptoRng, bytes: &mut Vec<u8, PRIVATE_KEY_MAX>) {
    loop {
        let key = PrivateKey::new(rng, BITS).expect("2048 bits are enough for two primes");
        bytes.clear();
        for prime in key.primes() {
            let mut prime = prime.to_be_bytes();
            let _ = bytes.extend_from_slice(&prime);
            prime.zeroize();
        }
        if is_valid(bytes) {
            return;
        }
    }
}

/// Two odd numbers of 1,024 bits whose product has 2,048.
pub(super) fn is_valid(bytes: &[u8]) -> bool {
    let (primes, rest) = bytes.as_chunks::<PRIME_SIZE>();
    primes.len() == 2
        && rest.is_empty()
        && primes.iter().all(|prime| prime[0] & 0x80 != 0 && prime[PRIME_SIZE - 1] & 1 != 0)
}

pub(super) fn sign_pkcs1(bytes: &[u8], message: &[u8], out: &mut Signature) -> Option<()> {
    sign(Pkcs1v15Sign::new::<Sha256>(), bytes, message, out)
}

pub(super) fn sign_pss(bytes: &[u8], message: &[u8], out: &mut Signature) -> Option<()> {
    sign(Pss::<Sha256>::new(), bytes, message, out)
}

fn sign(scheme: impl SignatureScheme, bytes: &[u8], message: &[u8], out: &mut Signature) -> Option<()> {
    let digest = Sha256::digest(message);
    let mut derived = Derived::new(bytes, &digest);
    let signature = scheme.sign(Some(&mut derived), &key(bytes)?, &digest).ok()?;
    out.extend_from_slice(&signature).ok()
}

/// kty RSA.
pub(super) fn write_public(bytes: &[u8], number: i32, out: &mut Writer<'_>) -> Option<()> {
    let key = key(bytes)?;
    out.map(4).int(1).int(3).int(3).int(number).int(-1).bytes(&key.n_bytes()).int(-2).bytes(&key.e_bytes());
    Some(())
}

fn key(bytes: &[u8]) -> Option<PrivateKey> {
    let (p, q) = bytes.split_at_checked(PRIME_SIZE)?;
    let prime = |bytes| BoxedUint::from_be_slice(bytes, 8 * PRIME_SIZE as u32).ok();
    PrivateKey::from_p_q(prime(p)?, prime(q)?, BoxedUint::from(EXPONENT)).ok()
}

/// PSS's salt and the blinding: HMAC-SHA-256 under the private key of the digest and a counter. As RFC 6979 has it
/// for ECDSA, what must be unpredictable to others need not be random.
#[derive(ZeroizeOnDrop)]
struct Derived {
    key: [u8; 32],
    counter: u64,
    block: [u8; 32],
    left: usize,
}

impl Derived {
    fn new(private: &[u8], digest: &[u8]) -> Self {
        let mut mac = Hmac::<Sha256>::new_from_slice(private).expect("HMAC takes keys of every length");
        mac.update(digest);
        Derived { key: mac.finalize().into_bytes().into(), counter: 0, block: [0; 32], left: 0 }
    }

    fn byte(&mut self) -> u8 {
        if self.left == 0 {
            let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of every length");
            mac.update(&self.counter.to_be_bytes());
            self.block = mac.finalize().into_bytes().into();
            (self.counter, self.left) = (self.counter + 1, self.block.len());
        }
        self.left -= 1;
        self.block[self.left]
    }
}

impl TryRng for Derived {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_be_bytes(core::array::from_fn(|_| self.byte())))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_be_bytes(core::array::from_fn(|_| self.byte())))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.fill_with(|| self.byte());
        Ok(())
    }
}

impl TryCryptoRng for Derived {}

const BITS: usize = 2048;
const PRIME_SIZE: usize = BITS / 16;
const EXPONENT: u64 = 65537;
