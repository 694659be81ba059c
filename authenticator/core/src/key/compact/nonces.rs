//! Deterministic nonces (RFC 6979 §3.2), for SHA-256 and orders of 256 bits.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

/// The nonces of one signature: whatever does not do is followed by another.
pub(super) struct Nonces {
    key: Zeroizing<[u8; 32]>,
    value: Zeroizing<[u8; 32]>,
}

impl Nonces {
    /// For a private key, and a digest that was taken modulo the order (steps b to g).
    pub(super) fn new(scalar: &[u8; 32], digest: &[u8; 32]) -> Self {
        let mut nonces = Nonces { key: Zeroizing::new([0; 32]), value: Zeroizing::new([1; 32]) };
        nonces.mix(&[&[0], scalar, digest]);
        nonces.mix(&[&[1], scalar, digest]);
        nonces
    }

    /// A candidate (step h).
    pub(super) fn next(&mut self) -> Zeroizing<[u8; 32]> {
        self.advance();
        let candidate = self.value.clone();
        // What the next one would begin with. Nearly always there is none.
        self.mix(&[&[0]]);
        candidate
    }

    /// K = HMAC(K, V ‖ parts), and V anew.
    fn mix(&mut self, parts: &[&[u8]]) {
        let mut mac = self.keyed();
        mac.update(&*self.value);
        parts.iter().for_each(|part| mac.update(part));
        self.key.copy_from_slice(&mac.finalize().into_bytes());
        self.advance();
    }

    /// V = HMAC(K, V).
    fn advance(&mut self) {
        let mut mac = self.keyed();
        mac.update(&*self.value);
        self.value.copy_from_slice(&mac.finalize().into_bytes());
    }

    fn keyed(&self) -> Hmac<Sha256> {
        Hmac::new_from_slice(&*self.key).expect("HMAC takes keys of every length")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hexadecimal: &str) -> [u8; 32] {
        core::array::from_fn(|at| u8::from_str_radix(&hexadecimal[2 * at..][..2], 16).unwrap())
    }

    /// RFC 6979 §A.2.5, P-256 with SHA-256: its "sample".
    #[test]
    fn the_nonce_of_the_specifications_sample_is_the_one_it_says() {
        use sha2::Digest as _;
        let scalar = bytes("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721");
        // This digest is below the order.
        let mut nonces = Nonces::new(&scalar, &Sha256::digest(b"sample").into());
        let expected = bytes("a6e3c57dd01abe90086538398355dd4c3b17aa873382b0f24d6129493d8aad60");
        assert_eq!(*nonces.next(), expected);
        assert_ne!(*nonces.next(), expected);
    }
}
